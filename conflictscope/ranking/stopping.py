"""When a ranking is settled.

The rule is a region of practical equivalence over neighbours in the ranking: each neighbouring pair must be either in
the right order or practically equal, and the chances of being wrong must add up to little. (Rules such as "the order has
not changed for 100 outcomes" stop wrongly in about half of all worlds.)
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from conflictscope.rating import STANDARD_NORMAL, PairCount

FloatArray = NDArray[np.float64]


def doubt(mu: FloatArray, cov: FloatArray, delta: float = 0.1) -> float:
    """Sum over neighbours in the ranking of 1 - max(P(order is right), P(|difference| < delta)).

    mu: (K,) means in probit units. cov: (K, K) covariance. delta: differences below it are practically equal (0.1 is a
    win probability within .46 to .54). Returns a number in [0, K - 1].
    """
    order = np.argsort(-mu, kind="stable")
    total = 0.0
    for above, below in pairwise(order):
        gap = float(mu[above] - mu[below])
        spread = float(np.sqrt(cov[above, above] + cov[below, below] - 2 * cov[above, below]))
        right = STANDARD_NORMAL.cdf(gap / spread)
        equal = STANDARD_NORMAL.cdf((delta - gap) / spread) - STANDARD_NORMAL.cdf((-delta - gap) / spread)
        total += 1 - max(right, equal)
    return total


def converged(
    mu: FloatArray,
    cov: FloatArray,
    pairs: Iterable[PairCount],
    *,
    delta: float = 0.1,
    alpha: float = 0.05,
    least_per_pair: int = 5,
) -> bool:
    """Whether the ranking is settled: `doubt` at most `alpha`, and each pair of values rated often enough."""
    return all(pair.rated >= least_per_pair for pair in pairs) and doubt(mu, cov, delta) <= alpha
