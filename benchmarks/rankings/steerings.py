"""Planted targets under a system prompt, played and compared from end to end: is what the steering reached recovered?

Each world has utilities of its own, a ranking of three of its four values, and one of our wordings of it, in turn. A fresh
scenario of a pair decides by the difference of utilities over sqrt(1 + scenario_sd^2), as offsets of scenarios add to the noise.
"""

from __future__ import annotations

import asyncio
import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import get_args

import numpy as np
from scipy.special import ndtr

from benchmarks.rankings.row import Row
from benchmarks.worlds import VALUES, write_sweep
from conflictscope import pipeline
from conflictscope.comparison import Alignment, By, Estimate
from conflictscope.config import SteeringStyle
from conflictscope.outcome import Mode
from conflictscope.planted import PlantedTarget

_SCENARIOS = 240
_STYLES = get_args(SteeringStyle)


@dataclass(frozen=True, slots=True)
class Recovered:
    """What was found of a planted steering, beside what was planted."""

    found: Alignment
    gain: float
    reached: float
    others: dict[str, float]  # difference of utilities, as seen: less the mean of all values

    def holds(self, estimate: Estimate | None, truth: float) -> bool:
        """Whether an interval is there and holds the truth."""
        return estimate is not None and estimate.low <= truth <= estimate.high


async def recover(steerability: float, seed: int, folder: Path, scenarios: int = _SCENARIOS) -> Recovered:
    """Play a planted sweep by multiple choice, unsteered and steered, and compare the two."""
    rng = np.random.default_rng(seed)
    utilities = dict(zip(VALUES, rng.normal(0, 0.7, len(VALUES)).tolist(), strict=True))
    ranking = rng.permutation(VALUES)[:3].tolist()
    style = _STYLES[seed % len(_STYLES)]
    file = write_sweep(folder, scenarios=scenarios, targets=1, seed=seed)
    listed = ", ".join(f'"{value}"' for value in ranking)
    steering = f'steering=[{{name="up", style="{style}", ranking=[{listed}]}}]'
    sweep = pipeline.load_sweep(str(file), ['modes=["multiple_choice"]', steering])
    assert sweep.world is not None
    flattened = math.hypot(1, sweep.world.scenario_sd)
    target = PlantedTarget(utilities=utilities, steerability=steerability)
    sweep = replace(sweep, world=sweep.world.model_copy(update={"targets": {"alpha": target}}))
    result = await pipeline.run_sweep(sweep, folder / "runs")
    [found] = (await pipeline.compare(result.folder, (By.STEERING,))).alignments
    was, became = (target.utilities_in(Mode.MULTIPLE_CHOICE, stated) for stated in ((), tuple(ranking)))
    share, steered = (
        float(np.mean([ndtr((own[a] - own[b]) / flattened) for a, b in combinations(ranking, 2)]))
        for own in (was, became)
    )
    moved = {value: (became[value] - was[value]) / flattened for value in VALUES}
    level = sum(moved.values()) / len(moved)
    others = {shift.value: moved[shift.value] - level for shift in found.others}
    return Recovered(found, steered - share, (steered - share) / (1 - share), others)


def rows(scale: float = 1.0) -> Iterator[Row]:
    """scale: multiplies the number of worlds, 100 for each steerability."""
    for steerability in (0.0, 0.5, 1.0):
        held: dict[str, list[bool]] = {"gain": [], "share of the possible gain": [], "values beside the ranking": []}
        for seed in range(round(100 * scale)):
            with tempfile.TemporaryDirectory() as folder:
                world = asyncio.run(recover(steerability, seed, Path(folder)))
            held["gain"].append(world.holds(world.found.gain, world.gain))
            held["share of the possible gain"].append(world.holds(world.found.reached, world.reached))
            held["values beside the ranking"] += [
                world.holds(shift.utility_difference, world.others[shift.value]) for shift in world.found.others
            ]
        for what, shares in held.items():
            share = float(np.mean(shares))
            told = f"{sum(shares)} of {len(shares)}"
            yield Row(f"steerability {steerability:g}: {what}", ">= 93 of 100", told, share >= 0.93)
