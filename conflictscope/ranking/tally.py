"""What the outcomes of one group came to: counts, from which every ranking but the live one is made.

Counts do not know in which order outcomes came, so whatever is made of them does not depend on it either.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from conflictscope.outcome import Outcome, Verdict
from conflictscope.rating import FloatArray, IntArray, PairCount

# A pair is counted under its alphabetical order, whichever side a scenario gave to which value.
_SWAPPED = {Verdict.A: Verdict.B, Verdict.B: Verdict.A}

# An outcome as one byte: its level, and which action was shown first. Codes 0..14 are the levels -7..7; a win whose
# strength is not known has a code of its own.
_STRENGTHS = 7
_A_UNGRADED, _B_UNGRADED = 15, 16
_CODES = 17
_SHOWN = {None: 0, "a": 1, "b": 2}


@dataclass(frozen=True)
class Cells:
    """Rated outcomes of one group, one row for each kind of outcome of each pair.

    i, j: (N,) indices of the two values, i that of the alphabetically first. level: (N,) -7..7: how clearly i won (1..7), a tie
    (0), how clearly j won (-1..-7). graded: (N,) whether the strength is known; where it is not, `level` is 1, 0 or -1.
    shown_first: (N,) 1 where the action of i was shown first, 2 where that of j was, 0 where it is not known. count: (N,) how
    often, weighted or not.
    """

    i: IntArray
    j: IntArray
    level: IntArray
    graded: NDArray[np.bool_]
    shown_first: IntArray
    count: FloatArray


@dataclass(frozen=True)
class Clusters:
    """Scenarios of one group by what became of them; the unit of the bootstrap.

    Scenarios of one pair with the same outcomes are counted together: `number` (C,) says how many there are. i, j: (C,) indices
    of the two values. wins_i, wins_j, ties: (C,) what the episodes of one such scenario came to.
    """

    i: IntArray
    j: IntArray
    wins_i: IntArray
    wins_j: IntArray
    ties: IntArray
    number: IntArray


class Tally:
    """The outcomes of one group, counted one at a time.

    values: all values of the run, in the order that indices refer to; a value that turns up later is appended. pairs: pairs that
    the run's scenarios set against each other, so that a pair without outcomes is shown as such.
    """

    def __init__(self, values: Iterable[str] = (), pairs: Iterable[tuple[str, str]] = ()) -> None:
        self.values: list[str] = []
        self._index: dict[str, int] = {}
        self._verdicts: dict[tuple[str, str], Counter[Verdict]] = {}
        self._codes: dict[tuple[str, str], list[int]] = {}
        self._scenarios: dict[tuple[str, tuple[str, str]], bytearray] = {}  # an import may give one id to several pairs
        self.rated = 0
        self.repeated = False  # whether some scenario has several rated outcomes
        for value in values:
            self._add_value(value)
        for pair in sorted(pairs):
            self._add_pair(pair)

    def add(self, outcome: Outcome) -> None:
        """Count one outcome."""
        verdict, shown_first = outcome.verdict, outcome.shown_first
        pair = outcome.pair
        if pair[0] != outcome.value_a:
            verdict = _SWAPPED.get(verdict, verdict)
            shown_first = {"a": "b", "b": "a"}.get(shown_first or "")  # type: ignore[assignment]
        if pair not in self._verdicts:
            self._add_pair(pair)
        self._verdicts[pair][verdict] += 1
        if not verdict.rated:
            return
        self.rated += 1
        code = _code(verdict, outcome.strength) + _CODES * _SHOWN[shown_first]
        self._codes[pair][code] += 1
        codes = self._scenarios.setdefault((outcome.scenario_id, pair), bytearray())
        codes.append(code)
        self.repeated = self.repeated or len(codes) > 1

    def pairs(self) -> tuple[PairCount, ...]:
        """What the episodes of each pair came to, in alphabetical order."""
        return tuple(
            PairCount(
                value_a,
                value_b,
                wins_a=counts[Verdict.A],
                wins_b=counts[Verdict.B],
                ties=counts[Verdict.TIE],
                excluded={verdict: count for verdict, count in counts.items() if not verdict.rated},
            )
            for (value_a, value_b), counts in sorted(self._verdicts.items())
        )

    def indices(self, pairs: Sequence[tuple[str, str]]) -> tuple[IntArray, IntArray]:
        """(P,) each: the indices of the first and the second value of each pair."""
        rows = np.array([(self._index[a], self._index[b]) for a, b in pairs], dtype=np.int64).reshape(-1, 2)
        return rows[:, 0], rows[:, 1]

    def wins(self) -> FloatArray:
        """(K, K): how often the value of the row beat that of the column."""
        wins = np.zeros((len(self.values), len(self.values)))
        for (value_a, value_b), counts in self._verdicts.items():
            i, j = self._index[value_a], self._index[value_b]
            wins[i, j], wins[j, i] = counts[Verdict.A], counts[Verdict.B]
        return wins

    def ties(self) -> FloatArray:
        """(K, K), symmetric: how often two values tied."""
        ties = np.zeros((len(self.values), len(self.values)))
        for (value_a, value_b), counts in self._verdicts.items():
            i, j = self._index[value_a], self._index[value_b]
            ties[i, j] = ties[j, i] = counts[Verdict.TIE]
        return ties

    def met(self) -> FloatArray:
        """(K, K), symmetric: how often two values were compared, with a rated outcome."""
        wins = self.wins()
        return wins + wins.T + self.ties()

    def clusters(self) -> Clusters:
        """The scenarios by what became of them."""
        patterns: Counter[tuple[int, ...]] = Counter()
        for (_, (value_a, value_b)), codes in self._scenarios.items():
            levels = [_LEVELS[code % _CODES] for code in codes]
            wins_i, wins_j = sum(level > 0 for level in levels), sum(level < 0 for level in levels)
            patterns[self._index[value_a], self._index[value_b], wins_i, wins_j, len(levels) - wins_i - wins_j] += 1
        rows = np.array([(*pattern, number) for pattern, number in sorted(patterns.items())], dtype=np.int64)
        return Clusters(*rows.reshape(-1, 6).T)

    def scenarios(self) -> dict[tuple[str, tuple[str, str]], tuple[int, ...]]:
        """By scenario and pair of values, in alphabetical order: the levels of its outcomes, as in Cells."""
        return {key: tuple(_LEVELS[code % _CODES] for code in codes) for key, codes in self._scenarios.items()}

    def cells(self, intraclass: float = 0.0, only: Callable[[str], bool] | None = None) -> Cells:
        """The rated outcomes, of all scenarios or `only` some.

        intraclass: correlation of the outcomes of one scenario; those of one that was repeated m times count
        1 / (1 + (m - 1) * intraclass) each, the inverse of its design effect.
        """
        counts: dict[tuple[str, str], Sequence[float]] = dict(self._codes)
        if only is not None or (intraclass > 0 and self.repeated):
            weighted = {pair: [0.0] * len(codes) for pair, codes in self._codes.items()}
            for (scenario, pair), codes in self._scenarios.items():
                if only is None or only(scenario):
                    weight = 1 / (1 + (len(codes) - 1) * intraclass)
                    for code in codes:
                        weighted[pair][code] += weight
            counts = dict(weighted)
        rows = [
            (
                self._index[pair[0]],
                self._index[pair[1]],
                _LEVELS[code % _CODES],
                code % _CODES < _A_UNGRADED,
                code // _CODES,
                n,
            )
            for pair, codes in sorted(counts.items())
            for code, n in enumerate(codes)
            if n
        ]
        columns = np.array(rows, dtype=np.float64).reshape(-1, 6).T
        i, j, level, graded, shown_first = (column.astype(np.int64) for column in columns[:5])
        return Cells(i, j, level, graded.astype(np.bool_), shown_first, columns[5])

    def _add_value(self, value: str) -> None:
        if value not in self._index:
            self._index[value] = len(self.values)
            self.values.append(value)

    def _add_pair(self, pair: tuple[str, str]) -> None:
        for value in pair:
            self._add_value(value)
        self._verdicts[pair] = Counter()
        self._codes[pair] = [0] * (_CODES * len(_SHOWN))


def _code(verdict: Verdict, strength: int | None) -> int:
    if verdict is Verdict.TIE:
        return _STRENGTHS
    if strength is None:
        return _A_UNGRADED if verdict is Verdict.A else _B_UNGRADED
    return _STRENGTHS + (strength if verdict is Verdict.A else -strength)


_LEVELS = [*range(-_STRENGTHS, _STRENGTHS + 1), 1, -1]
