"""When a ranking is settled.

The rule is a region of practical equivalence over neighbours in the ranking: each neighbouring pair must be either in
the right order or practically equal, and the chances of being wrong must add up to little. (Rules such as "the order has
not changed for 100 outcomes" stop wrongly in about half of all worlds.)
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy.special import ndtr

from conflictscope.rating import DEFAULT_RULE, Convergence, FloatArray, IntArray, PairCount, StopRule


def doubts(
    mu: FloatArray, cov: FloatArray, delta: float = 0.1, component: IntArray | None = None
) -> tuple[IntArray, FloatArray]:
    """The values from best to worst, and how doubtful each one's place above the next is.

    mu: (..., K) means in probit units. cov: (..., K, K). delta: differences below it are practically equal (0.1 is a win
    probability within .46 to .54). component: (K,), as in Posterior; neighbours of different components are never in doubt, for
    they have no order. Returns indices (..., K), component by component, and (..., K - 1) numbers in [0, 1]:
    1 - max(P(order is right), P(|difference| < delta)).
    """
    component = np.zeros(mu.shape[-1], dtype=np.int64) if component is None else component
    order = np.lexsort((-mu, np.broadcast_to(component, mu.shape)), axis=-1)
    above, below = order[..., :-1], order[..., 1:]
    gap = np.take_along_axis(mu, above, -1) - np.take_along_axis(mu, below, -1)
    rows = np.take_along_axis(cov, above[..., None], -2)
    variance = np.diagonal(cov, axis1=-2, axis2=-1)
    spread = np.sqrt(
        np.take_along_axis(variance, above, -1)
        + np.take_along_axis(variance, below, -1)
        - 2 * np.take_along_axis(rows, below[..., None], -1)[..., 0]
    )
    right = ndtr(gap / spread)
    equal = ndtr((delta - gap) / spread) - ndtr((-delta - gap) / spread)
    return order, np.where(component[above] == component[below], 1 - np.maximum(right, equal), 0.0)


def convergence(
    mu: FloatArray,
    cov: FloatArray,
    pairs: Iterable[PairCount],
    rule: StopRule = DEFAULT_RULE,
    component: IntArray | None = None,
) -> Convergence:
    """How far a ranking is from being settled: `doubts` in sum at most `alpha`, each pair of values rated often enough.

    mu: (K,), cov: (K, K), component: (K,), as in Posterior.
    """
    doubt = float(doubts(mu, cov, rule.delta, component)[1].sum())
    return Convergence(doubt, min((pair.rated for pair in pairs), default=0), rule)
