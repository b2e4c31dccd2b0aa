"""Which values have a common scale."""

from __future__ import annotations

import numpy as np
from scipy.sparse.csgraph import connected_components

from conflictscope.rating import FloatArray, IntArray


def components(counts: FloatArray, *, strong: bool = False) -> IntArray:
    """(K,): the connected component of each value, by size: 0 is the largest.

    counts: (K, K), above 0 where two values were compared. strong: two values are connected only where a path leads from each to
    the other.
    """
    number, label = connected_components(counts > 0, directed=strong, connection="strong")
    by_size = np.argsort(-np.bincount(label, minlength=number), kind="stable")
    place = np.empty(number, dtype=np.int64)
    place[by_size] = np.arange(number)
    numbered: IntArray = place[label]
    return numbered
