"""Which values have a common scale."""

from __future__ import annotations

import numpy as np
from scipy.sparse.csgraph import connected_components

from conflictscope.ranking.tally import FloatArray, IntArray


def components(counts: FloatArray) -> IntArray:
    """(K,): the connected component of each value, by size: 0 is the largest.

    counts: (K, K), above 0 where two values were compared.
    """
    number, label = connected_components(counts > 0, directed=False)
    by_size = np.argsort(-np.bincount(label, minlength=number), kind="stable")
    place = np.empty(number, dtype=np.int64)
    place[by_size] = np.arange(number)
    numbered: IntArray = place[label]
    return numbered
