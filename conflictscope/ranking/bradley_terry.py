"""Bradley-Terry strengths, as the paper fits them, with a bootstrap by scenario."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from conflictscope.ranking.components import components
from conflictscope.ranking.posterior import checked_counts
from conflictscope.ranking.tally import Clusters
from conflictscope.rating import FloatArray, IntArray

_MOST_STEPS = 100
_LONGEST_STEP = 2.0
_STEP_TOLERANCE = 1e-9
_MOST_NUMBERS = 4_000_000  # of a batch of curvature matrices


@dataclass(frozen=True)
class BradleyTerry:
    """Log strengths of K values: i beats j with probability 1 / (1 + exp(strength[j] - strength[i])).

    strength: (K,), mean 0 in each component. low, high: (K,) central 95 % of the bootstrap. samples: (B, K) of the bootstrap.
    component: (K,) as in Posterior: strengths of different components have no common scale. A value that was never compared is a
    component of its own, with strength 0 in every sample: an interval of no width that says nothing.
    """

    strength: FloatArray
    low: FloatArray
    high: FloatArray
    samples: FloatArray
    component: IntArray

    def p_above(self) -> FloatArray:
        """(K, K): share of the bootstrap in which the row is stronger than the column; 0.5 on the diagonal, and between
        components."""
        above = np.empty((len(self.strength), len(self.strength)))
        for k, own in enumerate(self.samples.T):
            above[k] = np.mean(own[:, None] > self.samples, axis=0) + 0.5 * np.mean(
                own[:, None] == self.samples, axis=0
            )
        return np.where(self.component[:, None] == self.component[None, :], above, 0.5)


def fit_bradley_terry(
    wins: FloatArray,
    ties: FloatArray | None = None,
    *,
    alpha: float = 0.01,
    bootstraps: int = 1000,
    seed: int = 0,
    clusters: Clusters | None = None,
) -> BradleyTerry:
    """Log strengths from counts, the maximum of the likelihood times a Dirichlet prior.

    wins: (K, K), wins[i, j] is how often i beat j. ties: (K, K), symmetric; a tie is half a win for each side. alpha: strength of
    the prior, >= 0, that of `choix.ilsr_pairwise` (Maystre and Grossglauser 2015), whose fixed point this is: the log-prior is
    alpha K times the sum of log softmax(strength). clusters: the scenarios that the bootstrap draws from; without them each
    outcome is drawn on its own. Raises ValueError for counts that are not such, where there is no decisive outcome, and for
    alpha = 0 where some value won or lost all its comparisons, or a set of values all of those with the others.
    """
    wins = checked_counts(wins, "wins")
    ties = np.zeros_like(wins) if ties is None else checked_counts(ties, "ties", len(wins))
    if not alpha >= 0:
        raise ValueError(f"alpha must be >= 0, got {alpha}")
    if bootstraps < 2:
        raise ValueError(f"bootstraps must be at least 2, got {bootstraps}")
    if not wins.any():
        raise ValueError("no decisive outcome: nothing was won or lost")
    points = wins + ties / 2
    component = components(points + points.T)
    if alpha == 0 and len(set(components(points, strong=True))) > len(set(component)):
        raise ValueError(
            "some values won, or lost, all that they met the others in: strengths are infinite unless alpha > 0"
        )
    i, j = np.triu_indices(len(wins), 1)
    met = (points + points.T)[i, j] > 0
    i, j = i[met], j[met]
    rng = np.random.default_rng(seed)
    drawn = (
        _resampled(wins, ties, i, j, bootstraps, rng)
        if clusters is None
        else _by_cluster(clusters, i, j, bootstraps, rng)
    )
    strength = _fit(points[i, j][None], points[j, i][None], i, j, component, alpha)[0]
    size = len(wins)
    at_once = max(1, _MOST_NUMBERS // size**2)
    samples = np.concatenate(
        [
            _fit(drawn[0][start : start + at_once], drawn[1][start : start + at_once], i, j, component, alpha, strength)
            for start in range(0, bootstraps, at_once)
        ]
    )
    low, high = np.percentile(samples, [2.5, 97.5], axis=0)
    return BradleyTerry(strength, low, high, samples, component)


def _resampled(
    wins: FloatArray, ties: FloatArray, i: IntArray, j: IntArray, rounds: int, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Points of the first and of the second value of each pair, (B, P) each, outcomes drawn one by one."""
    kinds = np.concatenate([wins[i, j], wins[j, i], ties[i, j]])
    drawn = rng.multinomial(round(kinds.sum()), kinds / kinds.sum(), size=rounds).astype(np.float64)
    first, second, tied = np.split(drawn, 3, axis=1)
    return first + tied / 2, second + tied / 2


def _by_cluster(
    clusters: Clusters, i: IntArray, j: IntArray, rounds: int, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """The same, scenarios drawn with all their outcomes."""
    place = {pair: number for number, pair in enumerate(zip(i.tolist(), j.tolist(), strict=True))}
    points = np.zeros((2, len(clusters.number), len(i)))
    for row, (a, b) in enumerate(zip(clusters.i.tolist(), clusters.j.tolist(), strict=True)):
        in_order = a < b
        pair = place[(a, b) if in_order else (b, a)]
        both = (clusters.wins_i[row] + clusters.ties[row] / 2, clusters.wins_j[row] + clusters.ties[row] / 2)
        points[:, row, pair] = both if in_order else both[::-1]
    total = int(clusters.number.sum())
    drawn = rng.multinomial(total, clusters.number / total, size=rounds).astype(np.float64)
    return drawn @ points[0], drawn @ points[1]


def _fit(
    first: FloatArray,
    second: FloatArray,
    i: IntArray,
    j: IntArray,
    component: IntArray,
    alpha: float,
    start: FloatArray | None = None,
) -> FloatArray:
    """(B, K) strengths for (B, P) points of the two values of each pair, by Newton's method, all B at once."""
    rounds, size = len(first), len(component)
    incidence = np.zeros((len(i), size))
    rows = np.arange(len(i))
    incidence[rows, i], incidence[rows, j] = 1.0, -1.0
    outer = (incidence[:, :, None] * incidence[:, None, :]).reshape(len(i), size * size)
    same = (component[:, None] == component[None, :]).astype(np.float64)
    members = same.sum(axis=1)
    theta = np.zeros((rounds, size)) if start is None else np.repeat(start[None], rounds, axis=0)
    total = first + second
    for _ in range(_MOST_STEPS):
        chance = expit(theta[:, i] - theta[:, j])
        weight = np.exp(theta - theta.max(axis=1, keepdims=True))
        share = weight / (weight @ same)
        gradient = (first - total * chance) @ incidence + alpha * members * (1 - members * share)
        curvature = ((total * chance * (1 - chance)) @ outer).reshape(rounds, size, size)
        # The prior's curvature, and the mean of each component, which nothing else determines.
        curvature += same - alpha * members**2 * same * share[:, :, None] * share[:, None, :]
        curvature[:, np.arange(size), np.arange(size)] += alpha * members**2 * share
        step = np.linalg.solve(curvature, gradient[:, :, None])[:, :, 0]
        theta = theta + np.clip(step, -_LONGEST_STEP, _LONGEST_STEP)
        theta -= (theta @ same) / members
        if float(np.abs(step).max(initial=0.0)) < _STEP_TOLERANCE:
            break
    return theta
