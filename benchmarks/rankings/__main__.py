"""Print the table: `python -m benchmarks.rankings [PART ...] [--scale S]`; a quarter of an hour for all parts at scale 1."""

from __future__ import annotations

import argparse
import sys
import time

from benchmarks.rankings import comparisons, estimates, judges, plans, schedules, steerings

_PARTS = {
    part.__name__.rpartition(".")[2]: part for part in (estimates, judges, comparisons, steerings, schedules, plans)
}


def main() -> int:
    """Exit code 1 where some figure was not reached."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.rankings", description="Rankings against planted truth."
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(_PARTS)}; all unless given")
    parser.add_argument("--scale", type=float, default=1.0, help="Share of the worlds that are played.")
    options = parser.parse_args()
    if unknown := sorted(set(options.parts) - _PARTS.keys()):
        parser.error(f"no part {unknown[0]!r}; there are {', '.join(_PARTS)}")
    started, missed = time.perf_counter(), 0
    print("| check | figure | reached | |\n| --- | --- | --- | --- |")
    for name in options.parts or _PARTS:
        for row in _PARTS[name].rows(options.scale):
            missed += not row.holds
            print(f"| {row.check} | {row.bound} | {row.reached} | {'' if row.holds else 'MISSED'} |", flush=True)
    print(f"\n{time.perf_counter() - started:,.0f} s", file=sys.stderr)
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
