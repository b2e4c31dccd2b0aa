"""Does `plan` foretell when rankings are settled? Against sweeps that are played with the real scheduler and beliefs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import numpy as np

from benchmarks.rankings.row import Row
from benchmarks.rankings.schedules import Simulated, library
from benchmarks.rankings.simulation import GROUP, NAMES, SIZE, SPREAD, pairs
from conflictscope.ranking.planning import Design, Worlds, forecast

_IN_FLIGHT = 100
_FORECASTS_PER_WORLD = 20


def rows(scale: float = 1.0) -> Iterator[Row]:
    """scale: multiplies the number of worlds."""
    scenarios = library()
    rng = np.random.default_rng(11)
    truths = rng.normal(0, SPREAD, (round(30 * scale), SIZE))
    i, j = pairs()
    pool = np.full(len(i), len(scenarios) // len(i))
    for policy in ("uniform", "thompson"):
        taken = [
            asyncio.run(Simulated(truth, policy, _IN_FLIGHT, scenarios, number).play(None))
            for number, truth in enumerate(truths)
        ]
        # The same utilities, so that only what is drawn from them differs.
        worlds = Worlds(np.repeat(truths, _FORECASTS_PER_WORLD, axis=0), 0.0, 0.0, 0.0, "", exchangeable=False)
        design = Design(NAMES[:SIZE], i, j, pool, 1, policy)
        told = forecast(design, worlds, [GROUP], affordable=None, rng=rng)
        foretold, real = told.played * told.planned, float(np.mean(taken))
        yield Row(
            f"plan, {policy}: outcomes until settled",
            "within 15 %",
            f"{foretold:,.0f} foretold, {real:,.0f} in {len(taken)} sweeps",
            abs(foretold / real - 1) <= 0.15,
        )
