"""Rankings from a judge that errs, with its error estimated: whether the scale is right, and intervals hold the truth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from benchmarks.rankings.row import Row
from benchmarks.rankings.simulation import SIZE, World, coverage, pairs, world
from conflictscope.outcome import PairedLooks
from conflictscope.ranking import JudgeError, Posterior, Uncorrected, fit_corrected
from conflictscope.ranking.judge_error import estimate_judge_error, judge_error_from_gold
from conflictscope.ranking.posterior import fit_cells
from conflictscope.ranking.tally import Cells
from conflictscope.rating import FloatArray

EPISODES = 3_000
GOLD_LABELS = 500
WORLDS = 300


@dataclass(frozen=True)
class Judged:
    """Outcomes as a judge sees them. All (n,): whether the action of i was shown first, whether the judge says that i won, and
    whether it does so in the other order."""

    world: World
    first: np.ndarray
    said: np.ndarray
    said_again: np.ndarray

    @classmethod
    def draw(cls, rng: np.random.Generator, flip: float, order_bias: float) -> Judged:
        """One world. The judge draws as a planted one does: an error of its own first, then the pull of the order."""
        drawn = world(rng, EPISODES)
        first = rng.random(EPISODES) < 0.5

        def look(first: np.ndarray) -> np.ndarray:
            named = drawn.won != (rng.random(EPISODES) < flip)
            return np.where(rng.random(EPISODES) < order_bias, first, named)

        return cls(drawn, first, look(first), look(~first))

    def from_both_orders(self) -> tuple[Cells, JudgeError]:
        """Only verdicts on which both orders agree; the error from all pairs of looks."""
        agree, named_first = self.said == self.said_again, self.said == self.first
        masks = agree & self.said, agree & ~self.said, ~agree & named_first, ~agree & ~named_first
        error = _estimated(estimate_judge_error(PairedLooks(*(int(mask.sum()) for mask in masks))))
        return self._cells(agree), error.agreed()

    def from_gold(self) -> tuple[Cells, JudgeError]:
        """One look at each episode; the error from gold labels of some."""
        truth_first, wrong = self.world.won == self.first, self.said != self.world.won
        labels = zip(truth_first[:GOLD_LABELS].tolist(), wrong[:GOLD_LABELS].tolist(), strict=True)
        return self._cells(np.ones(EPISODES, dtype=np.bool_)), _estimated(judge_error_from_gold(labels))

    def _cells(self, rated: np.ndarray) -> Cells:
        columns = np.stack([self.world.i, self.world.j, np.where(self.said, 1, -1), np.where(self.first, 1, 2)])
        (i, j, level, shown_first), count = np.unique(columns[:, rated], axis=1, return_counts=True)
        return Cells(i, j, level, np.zeros(len(i), dtype=np.bool_), shown_first, count.astype(np.float64))


def _estimated(error: JudgeError | Uncorrected) -> JudgeError:
    assert isinstance(error, JudgeError), "there are looks enough"
    return error


class Reached:
    """The slope of estimated differences between two values on true ones, over all worlds, and the coverage of intervals."""

    def __init__(self) -> None:
        self._products = self._squares = 0.0
        self._coverage: list[float] = []

    def add(self, posterior: Posterior, truth: FloatArray) -> None:
        """One more world."""
        i, j = pairs()
        true, estimated = truth[i] - truth[j], posterior.mu[i] - posterior.mu[j]
        self._products += float(true @ estimated)
        self._squares += float(true @ true)
        self._coverage.append(coverage(posterior, truth))

    @property
    def slope(self) -> float:
        """Of a regression through 0; below 1 where estimates are too near to each other."""
        return self._products / self._squares

    @property
    def coverage(self) -> float:
        """The share of 95 % intervals that held the truth."""
        return float(np.mean(self._coverage))

    def __str__(self) -> str:
        return f"{self.slope:.3f} / {self.coverage:.3f}"


def rows(scale: float = 1.0) -> Iterator[Row]:
    """Each kind of judge, with its error estimated in each way. scale: multiplies the number of worlds."""
    for judge, flip, order_bias in (
        ("judge flip rate 10 %", 0.1, 0.0),
        ("judge favouring the first-shown action by 20 %", 0.0, 0.2),
    ):
        for how, observe in (
            ("error from both orders", Judged.from_both_orders),
            (f"random slots, error from {GOLD_LABELS} gold labels", Judged.from_gold),
        ):
            rng = np.random.default_rng(6)
            corrected, uncorrected = Reached(), Reached()
            for _ in range(round(WORLDS * scale)):
                judged = Judged.draw(rng, flip, order_bias)
                cells, error = observe(judged)
                corrected.add(fit_corrected(cells, SIZE, error), judged.world.truth)
                uncorrected.add(fit_cells(cells, SIZE), judged.world.truth)
            yield Row(
                f"{judge}, corrected, n = {EPISODES:,}: slope / coverage ({how})",
                ".95 to 1.05 / >= .92",
                f"{corrected} (uncorrected {uncorrected})",
                0.95 <= corrected.slope <= 1.05 and corrected.coverage >= 0.92,
            )
