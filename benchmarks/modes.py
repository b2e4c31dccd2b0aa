"""Three modes of one target with planted shifts between them: does `compare --by mode` recover them?

    python -m benchmarks.modes [--seeds 100] [--scenarios 150]

Each seed is a world of its own: four values, one target whose utilities shift in conversation and in rating, and a sweep that
plays every scenario once in each mode, then once more by a judge that errs in 10 % and names the action shown first in another
20 %, asked in both orders. Told, for each two modes: in how many seeds the 95 % interval of the difference of utilities holds the
planted one, for the value that shifts most between them and for all values; about three minutes. Exit code 1 where the former are
fewer than 93 of 100.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from statistics import fmean

import tomli_w

from benchmarks.rankings.row import Row
from benchmarks.worlds import VALUES, write_sweep
from conflictscope import pipeline
from conflictscope.comparison import By, Comparison
from conflictscope.outcome import Mode
from conflictscope.planted import PlantedTarget

SCENARIO_SD = 0.3
MODES = ("multiple_choice", "open_ended", "action_rating")
ERRING = {"error_rate": 0.1, "order_bias": 0.2}
TARGET = PlantedTarget(
    utilities=dict(zip(VALUES, (0.6, 0.2, -0.2, -0.6), strict=True)),
    shift_open_ended={"thrift": 1.0},
    shift_action_rating={"candour": -0.8},
)


def planted(first: Mode, second: Mode) -> dict[str, float]:
    """The difference of centred utilities, second less first, as seen through the offsets of scenarios, which flatten it."""
    return {value: seen(second)[value] - seen(first)[value] for value in VALUES}


def seen(mode: Mode) -> Mapping[str, float]:
    """The utilities of a mode, less their mean, flattened by the offsets of scenarios."""
    utilities = TARGET.utilities_in(mode)
    mean = fmean(utilities.values())
    return {value: float((utility - mean) / (1 + SCENARIO_SD**2) ** 0.5) for value, utility in utilities.items()}


def comparisons(folder: Path, seed: int, scenarios: int, *, erring: bool) -> list[Comparison]:
    """Those of one world. erring: by a judge that errs, without the mode that is not needed to see it."""
    path = write_sweep(folder, scenarios=scenarios, targets=1, seed=seed)
    world = tomllib.loads((folder / "world.toml").read_text())
    world |= {"scenario_sd": SCENARIO_SD, "targets": {"alpha": TARGET.model_dump()}}
    if erring:
        world["judge"] = ERRING
    (folder / "world.toml").write_text(tomli_w.dumps(world))
    modes = ", ".join(f'"{mode}"' for mode in MODES[: 2 if erring else 3])
    orders = "both" if erring else "random"
    sweep = pipeline.load_sweep(str(path), [f"modes=[{modes}]", f'judge.orders="{orders}"'])
    run = asyncio.run(pipeline.run_sweep(sweep, folder / "runs"))
    return list(asyncio.run(pipeline.compare(run.folder, (By.MODE,))).comparisons)


def rows(seeds: int, scenarios: int, first_seed: int = 1, *, erring: bool = False) -> Iterator[Row]:
    """The table, of a judge without error or of one that errs."""
    held: dict[tuple[Mode, Mode], Counter[str]] = defaultdict(Counter)
    found: dict[tuple[Mode, Mode], list[float]] = defaultdict(list)
    for seed in range(first_seed, first_seed + seeds):
        with tempfile.TemporaryDirectory() as folder:
            for comparison in comparisons(Path(folder), seed, scenarios, erring=erring):
                modes = comparison.first.mode, comparison.second.mode
                truth = planted(*modes)
                for shift in comparison.shifts:
                    estimate = shift.utility_difference
                    held[modes][shift.value] += estimate.low <= truth[shift.value] <= estimate.high
                    if shift.value == most(truth):
                        found[modes].append(estimate.value)
    for modes, counts in held.items():
        truth = planted(*modes)
        value = most(truth)
        held_at_all = counts.total() / len(VALUES) / seeds
        reached = f"{counts[value]} of {seeds} (mean {fmean(found[modes]):+.2f}; all values {held_at_all:.1%})"
        check = f"{modes[0]} → {modes[1]}{', a judge that errs' if erring else ''}: {value} {truth[value]:+.2f}"
        yield Row(check, "held in >= 93 of 100", reached, counts[value] >= 0.93 * seeds)


def most(truth: Mapping[str, float]) -> str:
    """The value that shifts most."""
    return max(truth, key=lambda value: abs(truth[value]))


def main() -> int:
    """Exit code 1 where an interval holds too rarely."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--scenarios", type=int, default=150)
    asked = parser.parse_args()
    missed = 0
    print("| modes | bound | reached | |\n| --- | --- | --- | --- |")
    for row in chain.from_iterable(rows(asked.seeds, asked.scenarios, erring=erring) for erring in (False, True)):
        missed += not row.holds
        print(f"| {row.check} | {row.bound} | {row.reached} | {'' if row.holds else 'MISSED'} |")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
