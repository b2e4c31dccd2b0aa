"""The probit model of pairwise outcomes, in counts: likelihoods of levels, and maximum a posteriori fits.

Value i meets value j with the utility difference d = u_i - u_j plus noise N(0, 1). Cutpoints, symmetric around 0, divide the
line into levels: below -margin j won, within +-margin the two tied, above +margin i won (Rao and Kupper 1967 with a normal
link); more cutpoints grade the wins by how clear they were (Chu and Ghahramani 2005). The log-likelihood is concave in
utilities and cutpoints together, so Newton's method finds the one maximum.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, log_ndtr

from conflictscope.ranking.tally import Cells
from conflictscope.rating import FloatArray, IntArray

PRIOR_SD = 1 / math.sqrt(2)
"""Standard deviation of a utility before any outcome: as great as the noise of one side of a comparison."""

# Cutpoints have a wide half-normal prior, which matters only where all outcomes are ties.
CUT_SD = 2.0
_HALF_LOG_2_PI = 0.5 * math.log(2 * math.pi)
_MOST_STEPS = 100
_LONGEST_STEP = 2.0
_STEP_TOLERANCE = 1e-10
_BATCH_TOLERANCE = 1e-6


@dataclass(frozen=True)
class LevelTerms:
    """log_p, and its derivatives in the lower end (a), the upper end (b) and twice in both; all of one shape."""

    log_p: FloatArray
    a: FloatArray
    b: FloatArray
    aa: FloatArray
    ab: FloatArray
    bb: FloatArray


def level_terms(a: ArrayLike, b: ArrayLike) -> LevelTerms:
    """The log-probability that standard normal noise falls between `a` and `b` (a < b, either may be infinite)."""
    a, b = np.broadcast_arrays(np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64))
    # In the upper tail both distribution functions are near 1, so the difference is taken in the mirrored, lower tail.
    mirrored = a + b > 0
    lower, upper = np.where(mirrored, -b, a), np.where(mirrored, -a, b)
    log_upper = log_ndtr(upper)
    with np.errstate(divide="ignore"):  # a level of no width has no chance
        log_p = log_upper + np.log1p(-np.exp(log_ndtr(lower) - log_upper))
    density_a, density_b = (np.exp(-0.5 * x * x - _HALF_LOG_2_PI - log_p) for x in (a, b))
    finite_a, finite_b = (np.where(np.isfinite(x), x, 0.0) for x in (a, b))
    return LevelTerms(
        log_p,
        a=-density_a,
        b=density_b,
        aa=finite_a * density_a - density_a**2,
        ab=density_a * density_b,
        bb=-finite_b * density_b - density_b**2,
    )


def interval(d: ArrayLike, low: ArrayLike, high: ArrayLike) -> tuple[FloatArray, FloatArray, FloatArray]:
    """log of Phi(high - d) - Phi(low - d), and its first two derivatives in `d`; elementwise, broadcast."""
    terms = level_terms(np.subtract(low, d), np.subtract(high, d))
    return terms.log_p, -(terms.a + terms.b), terms.aa + 2 * terms.ab + terms.bb


@dataclass(frozen=True)
class Levels:
    """Outcomes as levels between cutpoints.

    i, j: (N,) indices of the two values. low, high: (N,) which cutpoint a level begins and ends at: 0 is the point 0, +-c the
    c-th cutpoint above or below it, +-(cuts + 1) infinity. count: (N,), > 0. size: number of values. cuts: number of cutpoints
    above 0 whose place is to be estimated; the first is the margin of ties where there are any (`tied`).
    """

    i: IntArray
    j: IntArray
    low: IntArray
    high: IntArray
    count: FloatArray
    size: int
    cuts: int
    tied: bool

    @classmethod
    def of(cls, cells: Cells, size: int, *, graded: bool = False) -> Levels:
        """The three levels win, tie, loss; or `graded`, with the wins divided by those strengths that occur."""
        level = cells.level if graded else np.sign(cells.level)
        known = cells.graded if graded else np.ones(len(level), dtype=np.bool_)
        strength = np.abs(level)
        used = np.unique(strength[known & (strength > 0)])
        tied = bool(np.any(level == 0))
        grade = np.searchsorted(used, strength)
        cuts = max(0, len(used) - 1) + tied
        # Of a win: where its grade begins and ends. A win of unknown strength spans all grades.
        begin = np.where(known, grade, 0) + tied
        end = np.where(known & (grade < len(used) - 1), grade + 1 + tied, cuts + 1)
        end = np.where(end > cuts, cuts + 1, end)
        low = np.select([level > 0, level < 0], [begin, -end], default=-1)
        high = np.select([level > 0, level < 0], [end, -begin], default=1)
        return cls(cells.i, cells.j, low, high, cells.count, size, cuts, tied)

    def ends(self, cutpoints: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Lower and upper ends of the levels, (N,) each, for (cuts,) cutpoints above 0."""
        line = np.concatenate(([0.0], cutpoints, [np.inf]))
        return (np.sign(self.low) * line[np.abs(self.low)], np.sign(self.high) * line[np.abs(self.high)])

    def met(self) -> FloatArray:
        """(K, K): above 0 where two values were compared, in the row of i and the column of j."""
        met = np.zeros((self.size, self.size))
        np.add.at(met, (self.i, self.j), self.count)
        return met

    def design(self) -> tuple[FloatArray, FloatArray]:
        """(N, cuts) each: how the lower and the upper ends depend on the cutpoints: 1, -1 or 0."""
        number = np.arange(1, self.cuts + 1)
        low, high = (
            np.sign(end)[:, None] * (np.abs(end)[:, None] == number).astype(np.float64) for end in (self.low, self.high)
        )
        return low, high


@dataclass(frozen=True)
class MapFit:
    """The most probable utilities (K,) and cutpoints, ascending. log_likelihood: there, without the prior.

    curvature: (K, K) negative second derivative of the log-posterior in the utilities.
    """

    mu: FloatArray
    cutpoints: FloatArray
    log_likelihood: float
    curvature: FloatArray


def laplacian(i: IntArray, j: IntArray, weight: FloatArray, size: int) -> FloatArray:
    """(K, K): the sum of `weight` times (e_i - e_j)(e_i - e_j)^T over all rows."""
    between = np.bincount(i * size + j, weights=weight, minlength=size * size).reshape(size, size)
    between = between + between.T
    return np.diag(between.sum(axis=1)) - between


def differences(i: IntArray, j: IntArray, weight: FloatArray, size: int) -> FloatArray:
    """(K,): the sum of `weight` times (e_i - e_j) over all rows."""
    total = np.bincount(i, weights=weight, minlength=size) - np.bincount(j, weights=weight, minlength=size)
    return total.astype(np.float64, copy=False)


def fit_map(levels: Levels, prior_sd: float = PRIOR_SD) -> MapFit:
    """Utilities and cutpoints together, by Newton's method with step halving.

    prior_sd: of each utility, around 0; it keeps perfect records and values without outcomes finite.
    """
    size, cuts, i, j, count = levels.size, levels.cuts, levels.i, levels.j, levels.count
    of_low, of_high = levels.design()
    prior = np.concatenate([np.full(size, prior_sd**-2.0), np.full(cuts, CUT_SD**-2.0)])

    def at(point: FloatArray) -> tuple[float, LevelTerms]:
        low, high = levels.ends(point[size:])
        d = point[i] - point[j]
        terms = level_terms(low - d, high - d)
        return float(count @ terms.log_p - 0.5 * prior @ point**2), terms

    point = np.concatenate([np.zeros(size), 0.5 * np.arange(1, cuts + 1)])
    value, terms = at(point)
    for _ in range(_MOST_STEPS):
        by_low, by_high = count * (terms.aa + terms.ab), count * (terms.bb + terms.ab)
        gradient = np.concatenate(
            [
                differences(i, j, -count * (terms.a + terms.b), size),
                of_low.T @ (count * terms.a) + of_high.T @ (count * terms.b),
            ]
        )
        curvature = np.diag(prior)
        curvature[:size, :size] -= laplacian(i, j, by_low + by_high, size)
        for cut in range(cuts):
            mixed = differences(i, j, by_low * of_low[:, cut] + by_high * of_high[:, cut], size)
            curvature[:size, size + cut] = curvature[size + cut, :size] = mixed
        crossed = of_low.T @ ((count * terms.ab)[:, None] * of_high)
        curvature[size:, size:] -= (
            of_low.T @ ((count * terms.aa)[:, None] * of_low)
            + of_high.T @ ((count * terms.bb)[:, None] * of_high)
            + crossed
            + crossed.T
        )
        step = np.linalg.solve(curvature, gradient - prior * point)
        step *= min(1.0, _LONGEST_STEP / max(float(np.abs(step).max(initial=0.0)), 1e-300))
        moved, share = point + step, 1.0
        # Cutpoints must stay in order; and a full step may overshoot where levels are rare.
        while np.any(np.diff(moved[size:], prepend=0.0) <= 0) or (reached := at(moved))[0] < value - 1e-9 * abs(value):
            share /= 2
            moved = point + share * step
        point, (value, terms) = moved, reached
        if float(np.abs(step).max(initial=0.0)) < _STEP_TOLERANCE:
            break
    return MapFit(point[:size], point[size:], float(count @ terms.log_p), curvature[:size, :size])


def fit_map_batched(
    wins: FloatArray,
    ties: FloatArray | None = None,
    margin: ArrayLike = 0.0,
    prior_sd: float = PRIOR_SD,
    prior_mean: FloatArray | float = 0.0,
    wrong: ArrayLike = 0.0,
) -> tuple[FloatArray, FloatArray]:
    """The most probable utilities for many count matrices at once, at a known margin.

    wins: (B, K, K), how often the value of the row beat that of the column. ties: (B, K, K), symmetric. margin: of ties, one
    number or (B,), >= 0. prior_mean: of the utilities, one number or (B, K). wrong: chance that a win is told for the other
    value, one number or (B,), in [0, 0.5). Returns means (B, K) and covariances (B, K, K), the latter from the curvature at the
    mean.
    """
    rounds, size, _ = wins.shape
    i, j = np.triu_indices(size, 1)
    seen = np.any(wins[:, i, j] + wins[:, j, i] + (ties[:, i, j] if ties is not None else 0.0) > 0, axis=0)
    i, j = i[seen], j[seen]
    margin, wrong = (
        np.broadcast_to(np.asarray(each, dtype=np.float64), (rounds,))[:, None] for each in (margin, wrong)
    )
    kinds: list[tuple[FloatArray, ArrayLike, ArrayLike]] = [
        (wins[:, i, j], margin, np.inf),
        (wins[:, j, i], -np.inf, -margin),
    ]
    if ties is not None and ties.any():
        kinds.append((ties[:, i, j], -margin, margin))
    incidence = np.zeros((len(i), size))
    rows = np.arange(len(i))
    incidence[rows, i], incidence[rows, j] = 1.0, -1.0
    prior = prior_sd**-2.0 * np.eye(size)
    diagonal = np.arange(size)
    mu = np.zeros((rounds, size))
    for _ in range(_MOST_STEPS):
        d = mu[:, i] - mu[:, j]
        first, second = np.zeros_like(d), np.zeros_like(d)
        for count, low, high in kinds:
            once, twice = _seen_through(wrong, d, low, high)
            first += count * once
            second += count * twice
        between = np.zeros((rounds, size, size))
        between[:, i, j] = between[:, j, i] = -second
        curvature = prior - between
        curvature[:, diagonal, diagonal] += between.sum(axis=2)
        gradient = first @ incidence - prior_sd**-2.0 * (mu - prior_mean)
        step = np.linalg.solve(curvature, gradient[:, :, None])[:, :, 0]
        mu += np.clip(step, -_LONGEST_STEP, _LONGEST_STEP)
        if float(np.abs(step).max(initial=0.0)) < _BATCH_TOLERANCE:
            break
    return mu, np.linalg.inv(curvature)


def _seen_through(wrong: FloatArray, d: FloatArray, low: ArrayLike, high: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """The first two derivatives of the log-probability of a level, or of the mirrored one in `wrong` of all cases.

    The second is at most 0: where the mixture is not concave, a curvature that is too great makes a step that is too short.
    """
    log_p, once, twice = interval(d, low, high)
    if not wrong.any():
        return once, twice
    log_other, other_once, other_twice = interval(d, np.negative(high), np.negative(low))
    with np.errstate(divide="ignore"):  # no chance to be wrong
        right = expit(np.log1p(-wrong) - np.log(wrong) + log_p - log_other)
    first = right * once + (1 - right) * other_once
    second = right * (twice + once**2) + (1 - right) * (other_twice + other_once**2) - first**2
    return first, np.minimum(second, 0.0)
