"""The joint posterior of all utilities of a group: what is believed of every value and every pair of values.

A Gaussian with full covariance, fitted by expectation propagation (Minka 2001) to the probit model of `probit.py`, on counts:
equal outcomes share one factor, so the cost does not depend on their number, and the order in which they came leaves no trace.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from conflictscope.ranking.components import components
from conflictscope.ranking.probit import PRIOR_SD, Levels, differences, fit_map, interval, laplacian
from conflictscope.ranking.tally import Cells
from conflictscope.rating import FloatArray, IntArray

_MOST_SWEEPS = 200
_TOLERANCE = 1e-10
_ENOUGH_SWEEPS = 60
_ROUNDING = 1e-5
_LEAST_SHARE = 0.1


@dataclass(frozen=True)
class Posterior:
    """A Gaussian belief about K utilities, in probit units (the noise of a comparison has standard deviation 1).

    mu: (K,) means. cov: (K, K) covariance. margin: two values tie where noise and difference together stay within it.
    component: (K,) values with the same number were compared with each other, if only through others; utilities of different
    components have no common scale. 0 is the largest.
    """

    mu: FloatArray
    cov: FloatArray
    margin: float
    component: IntArray

    def p_above(self) -> FloatArray:
        """(K, K): the probability that the utility of the row is greater than that of the column; 0.5 on the diagonal, and
        between components, about which nothing is known."""
        spread = np.sqrt(np.maximum(_difference_variance(self.cov), 1e-300))
        above = ndtr((self.mu[:, None] - self.mu[None, :]) / spread)
        return np.where(self.component[:, None] == self.component[None, :], above, 0.5)

    def centred(self) -> tuple[FloatArray, FloatArray]:
        """Means (K,) and covariance (K, K) of the utilities less the mean utility of their component.

        Outcomes say nothing of the common level, so it has no place in an interval of one value.
        """
        same = (self.component[:, None] == self.component[None, :]).astype(np.float64)
        centre = np.eye(len(self.mu)) - same / same.sum(axis=1, keepdims=True)
        return centre @ self.mu, centre @ self.cov @ centre.T


def _difference_variance(cov: FloatArray) -> FloatArray:
    variance = np.diag(cov)
    return variance[:, None] + variance[None, :] - 2 * cov


def fit_posterior(wins: FloatArray, ties: FloatArray | None = None, *, prior_sd: float = PRIOR_SD) -> Posterior:
    """The joint posterior from count matrices.

    wins: (K, K), wins[i, j] is how often i beat j, >= 0, not necessarily whole. ties: (K, K), symmetric. prior_sd: of each
    utility before any outcome. Raises ValueError for counts that are not such.
    """
    wins, ties = checked_counts(wins, ties)
    size = len(wins)
    i, j = np.triu_indices(size, 1)
    level = np.repeat([1, -1, 0], len(i))
    count = np.concatenate([wins[i, j], wins[j, i], ties[i, j]])
    some = count > 0
    cells = Cells(
        np.tile(i, 3)[some],
        np.tile(j, 3)[some],
        level[some],
        np.zeros(some.sum(), dtype=np.bool_),
        np.zeros(some.sum(), dtype=np.int64),
        count[some],
    )
    return fit_cells(cells, size, prior_sd=prior_sd)


def checked_counts(wins: FloatArray, ties: FloatArray | None) -> tuple[FloatArray, FloatArray]:
    """Both as (K, K) floats. Raises ValueError where they are not finite counts of outcomes between at least two values."""
    wins = np.asarray(wins, dtype=np.float64)
    if wins.ndim != 2 or wins.shape[0] != wins.shape[1]:
        raise ValueError(f"wins must be (K, K), got shape {wins.shape}")
    if len(wins) < 2:
        raise ValueError(f"a ranking needs at least 2 values, got {len(wins)}")
    ties = np.zeros_like(wins) if ties is None else np.asarray(ties, dtype=np.float64)
    if ties.shape != wins.shape:
        raise ValueError(f"ties must be {wins.shape}, got shape {ties.shape}")
    for name, counts in (("wins", wins), ("ties", ties)):
        if not np.all(np.isfinite(counts)) or np.any(counts < 0):
            raise ValueError(f"{name} must be finite and >= 0")
    if not np.array_equal(ties, ties.T):
        raise ValueError("ties must be symmetric: ties[i, j] counts the same outcomes as ties[j, i]")
    if np.any(np.diag(wins)) or np.any(np.diag(ties)):
        raise ValueError("the diagonal must be 0: a value cannot be compared with itself")
    return wins, ties


def fit_cells(cells: Cells, size: int, *, graded: bool = False, prior_sd: float = PRIOR_SD) -> Posterior:
    """The joint posterior from the outcomes of a group. graded: whether the strength of wins counts (see `strength.py`)."""
    return fit_levels(Levels.of(cells, size, graded=graded), prior_sd)


def fit_levels(levels: Levels, prior_sd: float = PRIOR_SD) -> Posterior:
    """Expectation propagation, all factors at once, from the most probable utilities on, where it is nearly done."""
    i, j, count, size = levels.i, levels.j, levels.count, levels.size
    start = fit_map(levels, prior_sd)
    low, high = levels.ends(start.cutpoints)
    prior = prior_sd**-2.0 * np.eye(size)
    d = start.mu[i] - start.mu[j]
    _, first, second = interval(d, low, high)
    # Of one factor, as a Gaussian in d: exp(shift d - precision d^2 / 2).
    precision, shift = -second, first - second * d
    once = np.minimum(count, 1.0)  # what is taken out of the posterior to look at one factor
    keep = 1.0
    before = np.inf
    for sweep in range(_MOST_SWEEPS):
        cov = np.linalg.inv(prior + laplacian(i, j, count * precision, size))
        mu = cov @ differences(i, j, count * shift, size)
        variance = cov[i, i] + cov[j, j] - 2 * cov[i, j]
        cavity_precision = 1 / variance - once * precision
        cavity_variance = 1 / cavity_precision
        cavity_mean = cavity_variance * ((mu[i] - mu[j]) / variance - once * shift)
        scale = np.sqrt(1 + cavity_variance)
        _, first, second = interval(cavity_mean / scale, low / scale, high / scale)
        first, second = first / scale, second / scale**2
        rest = 1 + cavity_variance * second
        new_precision, new_shift = -second / rest, (first - cavity_mean * second) / rest
        moved = float(
            max(np.abs(new_precision - precision).max(initial=0.0), np.abs(new_shift - shift).max(initial=0.0))
        )
        if moved < _TOLERANCE:
            break
        if sweep > _ENOUGH_SWEEPS and moved < _ROUNDING:
            break  # with a million outcomes in one factor and few in another, the last digits swing for ever
        if moved > before:  # it swings: smaller steps
            keep = max(keep * 0.5, _LEAST_SHARE)
        before = moved
        precision += keep * (new_precision - precision)
        shift += keep * (new_shift - shift)
    else:
        # It swings on counts that differ many thousandfold; there the most probable utilities and the curvature are as good.
        mu, cov = start.mu, np.linalg.inv(start.curvature)
    margin = float(start.cutpoints[0]) if levels.tied else 0.0
    return Posterior(mu, cov, margin, components(levels.met()))
