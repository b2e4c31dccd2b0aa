"""Print the table: `python -m benchmarks.rankings [SCALE]`; about a quarter of an hour at 1, the default."""

from __future__ import annotations

import sys
import time

from benchmarks.rankings import bootstrap, comparisons, estimates, judges, plans, schedules, steerings


def main() -> int:
    """Exit code 1 where some figure was not reached."""
    scale = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    started, missed = time.perf_counter(), 0
    print("| check | figure | reached | |\n| --- | --- | --- | --- |")
    for part in (estimates, bootstrap, judges, comparisons, steerings, schedules, plans):
        for row in part.rows(scale):
            missed += not row.holds
            print(f"| {row.check} | {row.bound} | {row.reached} | {'' if row.holds else 'MISSED'} |", flush=True)
    print(f"\n{time.perf_counter() - started:,.0f} s", file=sys.stderr)
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
