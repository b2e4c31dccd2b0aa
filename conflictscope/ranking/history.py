"""How the live ranking of a group came to be: its ratings at a bounded number of points."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from conflictscope.board import History
from conflictscope.ranking.clustering import effective_cells
from conflictscope.ranking.components import components
from conflictscope.ranking.fold import GroupFold
from conflictscope.ranking.probit import fit_map_batched
from conflictscope.ranking.stopping import doubts
from conflictscope.rating import FloatArray, Rating

MOST_POINTS = 200
_SHARE_GROWTH = 1.1
_MARGINS = (1e-3, 3.0)  # of width, for a batch in which others have ties; and finite, where all outcomes are ties


@dataclass(slots=True)
class _Point:
    """The state at one number of rated outcomes.

    ratings: in the order of the fold's values. wins, ties: (K, K), divided by the mean design effect. doubt: once it was worked
    out from them.
    """

    rated: int
    ratings: tuple[Rating, ...]
    wins: FloatArray
    ties: FloatArray
    doubt: float | None = None


class GroupHistory:
    """Watches a fold and keeps points of its history.

    Points lie at multiples of a step in rated outcomes. Where there are MOST_POINTS, every second one is dropped and the step
    doubled, so which ones are kept depends on the number of outcomes only, not on when somebody looked.
    """

    def __init__(self, fold: GroupFold) -> None:
        self._fold = fold
        self._step = 1
        self._points: list[_Point] = []
        self._share, self._share_until = (
            1.0,
            0.0,
        )  # what an outcome counts, where scenarios are repeated, until it is asked again

    def note(self) -> None:
        """To be called when the fold has rated one more outcome."""
        if self._fold.tally.rated % self._step == 0:
            self._points.append(self._now())
            if len(self._points) == MOST_POINTS:
                del self._points[::2]  # the first lies at one step, the second at two
                self._step *= 2

    def history(self) -> History:
        """What is kept, and the present state as the last point.

        The doubt at the present point is that of the fold. At former points it is an approximation, from the most probable
        utilities and the curvature there, for all points in one go: after some 25 outcomes within 0.02 of it; where scenarios are
        repeated, after some 100 within 0.05.
        """
        points = list(self._points)
        rated = self._fold.tally.rated
        if rated and (not points or points[-1].rated < rated):
            points.append(self._now())
        self._work_out([point for point in points[:-1] if point.doubt is None])
        values = self._fold.tally.values
        unmet = self._fold.prior
        ratings = [[*point.ratings, *[unmet] * (len(values) - len(point.ratings))] for point in points]
        shape = (len(points), len(values))
        doubt = [point.doubt for point in points[:-1]] + [self._fold.convergence.doubt] * bool(points)
        return History(
            group=self._fold.group,
            values=tuple(values),
            outcomes=np.array([point.rated for point in points], dtype=np.int64),
            mu=np.array([[one.mu for one in row] for row in ratings]).reshape(shape),
            low=np.array([[one.low for one in row] for row in ratings]).reshape(shape),
            high=np.array([[one.high for one in row] for row in ratings]).reshape(shape),
            doubt=np.array(doubt, dtype=np.float64),
        )

    def _now(self) -> _Point:
        tally = self._fold.tally
        if tally.repeated and tally.rated >= self._share_until:
            self._share = float(effective_cells(tally).count.sum()) / tally.rated
            self._share_until = tally.rated * _SHARE_GROWTH
        return _Point(tally.rated, self._fold.ratings(), tally.wins() * self._share, tally.ties() * self._share)

    def _work_out(self, points: Sequence[_Point]) -> None:
        """The doubt at some points. Those at which the same values were comparable are fitted in one go."""
        size = len(self._fold.tally.values)
        alike: dict[tuple[int, ...], list[_Point]] = defaultdict(list)
        for point in points:
            point.wins, point.ties = _padded(point.wins, size), _padded(point.ties, size)
            alike[tuple(components(point.wins + point.wins.T + point.ties))].append(point)
        for component, some in alike.items():
            wins, ties = np.array([point.wins for point in some]), np.array([point.ties for point in some])
            tied = ties.sum(axis=(1, 2)) / 2
            # The margin within which as many outcomes of equal values are ties as there were ties.
            margin = ndtri((1 + tied / (wins.sum(axis=(1, 2)) + tied)) / 2)
            mu, cov = fit_map_batched(wins, ties, np.clip(margin, *_MARGINS))
            told = doubts(mu, cov, self._fold.rule.delta, np.array(component))[1].sum(axis=1)
            for point, doubt in zip(some, told, strict=True):
                point.doubt = float(doubt)


def _padded(counts: FloatArray, size: int) -> FloatArray:
    """With rows and columns for values that turned up later."""
    return np.pad(counts, (0, size - len(counts)))
