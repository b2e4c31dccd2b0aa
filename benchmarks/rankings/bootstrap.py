"""The bootstrap of Bradley-Terry against the paper's way: a loop over choix, rows resampled one by one."""

from __future__ import annotations

import time
from collections.abc import Iterator

import choix
import numpy as np

from benchmarks.rankings.row import Row
from benchmarks.rankings.simulation import SIZE, world
from conflictscope.ranking import fit_bradley_terry

_LOOPS = 10


def rows(scale: float = 1.0) -> Iterator[Row]:
    """scale: multiplies the rounds of the loop that are timed; the time of 1,000 is reckoned from them."""
    drawn = world(np.random.default_rng(6), 3000)
    winner, loser = np.where(drawn.won, drawn.i, drawn.j), np.where(drawn.won, drawn.j, drawn.i)
    data = np.stack([winner, loser], axis=1).tolist()
    wins = drawn.counts()
    ours = []
    for _ in range(10):
        started = time.perf_counter()
        fit_bradley_terry(wins)
        ours.append(time.perf_counter() - started)
    rng = np.random.default_rng(7)
    rounds = max(2, round(_LOOPS * scale))
    started = time.perf_counter()
    for _ in range(rounds):
        resampled = [data[row] for row in rng.integers(0, len(data), len(data))]
        choix.ilsr_pairwise(SIZE, resampled, alpha=0.01)
    loop = (time.perf_counter() - started) / rounds * 1000
    taken = float(np.median(ours))
    yield Row("Bradley-Terry, 1,000 bootstraps, n = 3,000", "<= .1 s", f"{taken:.4f} s", taken <= 0.1)
    ratio = f"{loop / taken:,.0f} times ({loop:.1f} s, reckoned from {rounds} rounds)"
    yield Row("the same against a loop over choix", ">= 1,000 times faster", ratio, loop / taken >= 1000)
