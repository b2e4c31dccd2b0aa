"""Repeats of one scenario are not independent: how alike they are, and what that costs."""

from __future__ import annotations

import numpy as np

from conflictscope.ranking.tally import Cells, Clusters, Tally
from conflictscope.rating import FloatArray, IntArray


def intraclass_correlation(clusters: Clusters) -> float:
    """How alike outcomes of one scenario are beyond those of its pair of values, in [0, 1]; 0 where nothing was repeated, 1
    where no pair has two scenarios.

    The one-way analysis of variance estimate (Donner 1986), pooled over pairs; a tie counts half a win.
    """
    size = clusters.wins_i + clusters.wins_j + clusters.ties
    share = (clusters.wins_i + clusters.ties / 2) / size
    squares = clusters.wins_i + clusters.ties / 4
    number = clusters.number
    degrees_within = float(np.sum(number * (size - 1)))
    _, pair = np.unique(np.stack([clusters.i, clusters.j]), axis=1, return_inverse=True)

    def by_pair(weight: FloatArray | IntArray) -> FloatArray:
        return np.bincount(pair, weights=weight.astype(np.float64)).astype(np.float64, copy=False)

    outcomes = by_pair(number * size)
    degrees_between = float(np.sum(by_pair(number) - 1))
    if degrees_within == 0:
        return 0.0
    if degrees_between == 0:
        return 1.0  # one scenario a pair: what is its own cannot be told from what is the pair's, so it counts once
    mean = by_pair(number * size * share) / outcomes
    within = float(np.sum(number * (squares - size * share**2))) / degrees_within
    between = float(np.sum(number * size * (share - mean[pair]) ** 2)) / degrees_between
    typical = (float(outcomes.sum()) - float(np.sum(by_pair(number * size**2) / outcomes))) / degrees_between
    whole = between + (typical - 1) * within
    return float(np.clip((between - within) / whole, 0.0, 1.0)) if whole > 0 else 0.0


def intraclass_of(tally: Tally) -> float:
    """The same from a tally."""
    return intraclass_correlation(tally.clusters()) if tally.repeated else 0.0


def effective_cells(tally: Tally) -> Cells:
    """The rated outcomes of a group, each divided by the design effect of its scenario's repeats."""
    return tally.cells(intraclass_of(tally))
