"""Outcomes of planted utilities, without agents: what estimates are measured on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.stats import kendalltau

from conflictscope.outcome import Group, Mode, Outcome, Verdict
from conflictscope.ranking import Posterior, Tally
from conflictscope.rating import FloatArray, IntArray

SPREAD = 0.5
SIZE = 6
GROUP = Group("planted", Mode.MULTIPLE_CHOICE)
NAMES = tuple(f"v{number:02d}" for number in range(50))  # two digits: in alphabetical order, as pairs are


@dataclass(frozen=True)
class World:
    """truth: (K,) utilities N(0, 0.5^2). i, j, won: (n,) which values met, the lower index first, and whether i won."""

    truth: FloatArray
    i: IntArray
    j: IntArray
    won: np.ndarray

    def counts(self, first: int | None = None) -> FloatArray:
        """(K, K) wins of the first so many outcomes."""
        wins = np.zeros((len(self.truth), len(self.truth)))
        i, j, won = self.i[:first], self.j[:first], self.won[:first]
        np.add.at(wins, (np.where(won, i, j), np.where(won, j, i)), 1)
        return wins


def pairs(size: int = SIZE) -> tuple[IntArray, IntArray]:
    """All pairs, the lower index first."""
    i, j = np.triu_indices(size, 1)
    return i, j


def world(
    rng: np.random.Generator, outcomes: int, size: int = SIZE, *, repeats: int = 1, scenario_sd: float = 0.0
) -> World:
    """Pairs drawn uniformly. repeats: outcomes of one scenario, one after another, which share an offset N(0, scenario_sd^2)."""
    truth = rng.normal(0, SPREAD, size)
    all_i, all_j = pairs(size)
    which = np.repeat(rng.integers(0, len(all_i), -(-outcomes // repeats)), repeats)[:outcomes]
    i, j = all_i[which], all_j[which]
    offset = np.repeat(rng.normal(0, scenario_sd, -(-outcomes // repeats)), repeats)[:outcomes] if scenario_sd else 0.0
    return World(truth, i, j, truth[i] - truth[j] + offset + rng.normal(size=outcomes) > 0)


def outcomes_of(world: World, repeats: int = 1) -> Iterator[Outcome]:
    """The outcomes as the ranking takes them."""
    for n, (i, j, won) in enumerate(zip(world.i.tolist(), world.j.tolist(), world.won.tolist(), strict=True)):
        verdict = Verdict.A if won else Verdict.B
        yield Outcome(GROUP, f"s{n // repeats}", 1 + n % repeats, NAMES[i], NAMES[j], verdict)


def tally_of(world: World, repeats: int = 1) -> Tally:
    """Their counts."""
    tally = Tally(NAMES[: len(world.truth)])
    for outcome in outcomes_of(world, repeats):
        tally.add(outcome)
    return tally


def coverage(posterior: Posterior, truth: FloatArray) -> float:
    """The share of pairs whose 95 % interval of the difference holds the truth."""
    i, j = pairs(len(truth))
    cov = posterior.cov
    sd = np.sqrt(cov[i, i] + cov[j, j] - 2 * cov[i, j])
    return float(np.mean(np.abs(posterior.mu[i] - posterior.mu[j] - truth[i] + truth[j]) <= 1.96 * sd))


def tau(mu: FloatArray, truth: FloatArray) -> float:
    """Kendall's tau of two orders."""
    return float(kendalltau(mu, truth).statistic)
