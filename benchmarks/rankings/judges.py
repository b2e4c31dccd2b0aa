"""Rankings from a judge that errs, with its error estimated: whether the scale is right, and intervals hold the truth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from benchmarks.rankings.row import Row
from conflictscope.outcome import PairedLooks
from conflictscope.ranking.judge_error import (
    JudgeError,
    Uncorrected,
    estimate_judge_error,
    fit_corrected,
    judge_error_from_gold,
)
from conflictscope.ranking.posterior import Posterior, fit_cells
from conflictscope.ranking.tally import Cells
from conflictscope.rating import FloatArray, IntArray

VALUES = 6
UTILITY_SD = 0.5
MARGIN = 0.1
EPISODES = 3_000
GOLD_LABELS = 500
WORLDS = 300


@dataclass(frozen=True)
class Judged:
    """Episodes of a planted world: what was done (1: for i, -1: for j, 0: both), which action a judge was shown first (1: that
    of i, 2: that of j), and what it made of the episode in this order and in the other one."""

    utilities: FloatArray
    i: IntArray
    j: IntArray
    done: IntArray
    shown_first: IntArray
    look: IntArray
    other_look: IntArray

    @classmethod
    def simulate(cls, rng: np.random.Generator, flip: float, order_bias: float) -> Judged:
        """One world. The judge draws as a planted one does: an error of its own first, then the pull of the order."""
        utilities = rng.normal(0, UTILITY_SD, VALUES)
        pairs = np.stack(np.triu_indices(VALUES, 1))
        i, j = pairs[:, rng.integers(0, pairs.shape[1], EPISODES)]
        noisy = utilities[i] - utilities[j] + rng.normal(size=EPISODES)
        done = np.where(np.abs(noisy) <= MARGIN, 0, np.sign(noisy)).astype(np.int64)
        shown_first = rng.integers(1, 3, EPISODES)

        def look(first: IntArray) -> IntArray:
            named = np.where(rng.random(EPISODES) < flip, -done, done)
            favoured = np.where(first == 1, 1, -1)
            return np.where((rng.random(EPISODES) < order_bias) & (done != 0), favoured, named)

        return cls(utilities, i, j, done, shown_first, look(shown_first), look(3 - shown_first))

    def from_both_orders(self) -> tuple[Cells, JudgeError]:
        """Only verdicts on which both orders agree; the error from all pairs of looks."""
        first = (self.look == 1) == (self.shown_first == 1)
        differ = self.look != self.other_look
        looks = PairedLooks(
            both_a=int(np.sum(~differ & (self.look == 1))),
            both_b=int(np.sum(~differ & (self.look == -1))),
            both_first=int(np.sum(differ & first)),
            both_second=int(np.sum(differ & ~first)),
        )
        error = estimate_judge_error(looks)
        return self._cells(~differ), _estimated(error).agreed()

    def from_gold(self) -> tuple[Cells, JudgeError]:
        """One look at each episode; the error from gold labels of some."""
        labelled = np.flatnonzero(self.done)[:GOLD_LABELS]
        first = (self.done == 1) == (self.shown_first == 1)
        wrong = self.look != self.done
        error = judge_error_from_gold(zip(first[labelled].tolist(), wrong[labelled].tolist(), strict=True))
        return self._cells(np.ones(EPISODES, dtype=np.bool_)), _estimated(error)

    def _cells(self, rated: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Cells:
        columns = np.stack([self.i, self.j, self.look, self.shown_first])[:, rated]
        (i, j, level, shown_first), count = np.unique(columns, axis=1, return_counts=True)
        return Cells(i, j, level, np.zeros(len(i), dtype=np.bool_), shown_first, count.astype(np.float64))


def _estimated(error: JudgeError | Uncorrected) -> JudgeError:
    assert isinstance(error, JudgeError), "there are looks enough"
    return error


@dataclass
class Reached:
    """Of differences between two values, over all worlds: estimated on true, and how many intervals held the true one."""

    products: float = 0.0
    squares: float = 0.0
    held: int = 0
    differences: int = 0

    def add(self, utilities: FloatArray, posterior: Posterior) -> None:
        """One more world."""
        i, j = np.triu_indices(len(utilities), 1)
        true, estimated = utilities[i] - utilities[j], posterior.mu[i] - posterior.mu[j]
        sd = np.sqrt(posterior.cov[i, i] + posterior.cov[j, j] - 2 * posterior.cov[i, j])
        self.products += float(true @ estimated)
        self.squares += float(true @ true)
        self.held += int(np.sum(np.abs(estimated - true) <= 1.96 * sd))
        self.differences += len(true)

    @property
    def slope(self) -> float:
        """Of the regression of estimated differences on true ones, through 0."""
        return self.products / self.squares

    @property
    def coverage(self) -> float:
        """The share of 95 % intervals that held the truth."""
        return self.held / self.differences

    def __str__(self) -> str:
        return f"{self.slope:.3f} / {self.coverage:.3f}"


def rows(scale: float = 1.0) -> Iterator[Row]:
    """Each kind of judge, with its error estimated in each way. scale: of the number of worlds."""
    for name, flip, order_bias in (
        ("judge flip rate 10 %", 0.1, 0.0),
        ("judge favouring the first-shown action by 20 %", 0.0, 0.2),
    ):
        for how, observe in (
            ("error from both orders", Judged.from_both_orders),
            (f"error from {GOLD_LABELS} gold labels, random slots", Judged.from_gold),
        ):
            rng = np.random.default_rng(0)
            corrected, uncorrected = Reached(), Reached()
            for _ in range(max(2, round(WORLDS * scale))):
                judged = Judged.simulate(rng, flip, order_bias)
                cells, error = observe(judged)
                corrected.add(judged.utilities, fit_corrected(cells, VALUES, error))
                uncorrected.add(judged.utilities, fit_cells(cells, VALUES))
            yield Row(
                f"{name}, corrected: slope / coverage ({how}, n = {EPISODES:,})",
                "0.95 to 1.05 / >= 0.92",
                f"{corrected} (uncorrected {uncorrected})",
                0.95 <= corrected.slope <= 1.05 and corrected.coverage >= 0.92,
            )
