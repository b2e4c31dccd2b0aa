"""What the outcomes of one group came to: counts, from which every ranking but the live one is made.

Counts do not know in which order outcomes came, so whatever is made of them does not depend on it either.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

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

# In which order verdicts are counted: what is evidence first.
_LEFT_OUT = tuple(verdict for verdict in Verdict if not verdict.rated)
_PLACE = {verdict: place for place, verdict in enumerate((Verdict.A, Verdict.B, Verdict.TIE, *_LEFT_OUT))}

# Both values, verdict, strength, and the action shown first, as an outcome has them.
_Given: TypeAlias = tuple[str, str, Verdict | str, int | None, str | None]


class Kind(NamedTuple):
    """What outcomes have in common that count alike.

    pair: in alphabetical order; verdict: in terms of it. place, code: where they are counted in the `counts` and the `codes` of
    the pair; code is None where they are no evidence.
    """

    pair: tuple[str, str]
    verdict: Verdict
    place: int
    code: int | None
    counts: list[int]
    codes: list[int]


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
        self._counts: dict[tuple[str, str], list[int]] = {}  # by verdict, in the order of _PLACE
        self._kinds: dict[_Given, Kind] = {}
        self._ends = self.indices(())
        self._codes: dict[tuple[str, str], list[int]] = {}
        self._scenarios: dict[tuple[str, tuple[str, str]], bytearray] = {}  # an import may give one id to several pairs
        self.rated = 0
        self.repeated = False  # whether some scenario has several rated outcomes
        # Scenarios by pattern (pair, wins, losses, ties), and how often each code occurs by pair and outcomes of a scenario: made
        # at the first look, and kept up with at each further one. `_changed`: with how many outcomes a scenario was counted then.
        self._patterns: Counter[tuple[tuple[str, str], int, int, int]] = Counter()
        self._sized: dict[tuple[tuple[str, str], int], Counter[int]] = {}
        self._changed: dict[tuple[str, tuple[str, str]], int] | None = None
        for value in values:
            self._add_value(value)
        for pair in sorted(pairs):
            self._add_pair(pair)

    def add(self, outcome: Outcome) -> Kind:
        """Count one outcome; returns what it is."""
        return self.count(
            outcome.scenario_id,
            outcome.value_a,
            outcome.value_b,
            outcome.verdict,
            outcome.strength,
            outcome.shown_first,
        )

    def count(
        self,
        scenario_id: str,
        value_a: str,
        value_b: str,
        verdict: Verdict | str,
        strength: int | None,
        shown_first: str | None,
    ) -> Kind:
        """Count one outcome by its parts, as they are stored: the shortest way for a long log. Returns what it is."""
        given = (value_a, value_b, verdict, strength, shown_first)
        kind = self._kinds.get(given) or self._kind(given)
        pair, _, place, code, counts, all_codes = kind
        counts[place] += 1
        if code is None:
            return kind
        self.rated += 1
        all_codes[code] += 1
        scenario = (scenario_id, pair)
        codes = self._scenarios.get(scenario)
        if codes is None:
            codes = self._scenarios[scenario] = bytearray()
        else:
            self.repeated = True
        if self._changed is not None:
            self._changed.setdefault(scenario, len(codes))
        codes.append(code)
        return kind

    def _kind(self, given: _Given) -> Kind:
        value_a, value_b, verdict, strength, shown_first = given
        verdict, pair = Verdict(verdict), (value_a, value_b)
        if value_a > value_b:
            pair, verdict = (value_b, value_a), _SWAPPED.get(verdict, verdict)
            shown_first = {"a": "b", "b": "a"}.get(shown_first or "")
        if pair not in self._counts:
            self._add_pair(pair)
        code = _code(verdict, strength) + _CODES * _SHOWN[shown_first] if verdict.rated else None
        kind = Kind(pair, verdict, _PLACE[verdict], code, self._counts[pair], self._codes[pair])
        self._kinds[given] = kind
        return kind

    def pairs(self) -> tuple[PairCount, ...]:
        """What the episodes of each pair came to, in alphabetical order."""
        return tuple(
            PairCount(
                value_a,
                value_b,
                wins_a=counts[0],
                wins_b=counts[1],
                ties=counts[2],
                excluded={verdict: count for verdict, count in zip(_LEFT_OUT, counts[3:], strict=True) if count},
            )
            for (value_a, value_b), counts in sorted(self._counts.items())
        )

    @property
    def episodes(self) -> int:
        """How many were counted, rated or not."""
        return sum(map(sum, self._counts.values()))

    def indices(self, pairs: Sequence[tuple[str, str]]) -> tuple[IntArray, IntArray]:
        """(P,) each: the indices of the first and the second value of each pair."""
        rows = np.array([(self._index[a], self._index[b]) for a, b in pairs], dtype=np.int64).reshape(-1, 2)
        return rows[:, 0], rows[:, 1]

    def wins(self) -> FloatArray:
        """(K, K): how often the value of the row beat that of the column."""
        wins = np.zeros((len(self.values), len(self.values)))
        i, j, counts = self._matches()
        wins[i, j], wins[j, i] = counts[:, 0], counts[:, 1]
        return wins

    def ties(self) -> FloatArray:
        """(K, K), symmetric: how often two values tied."""
        ties = np.zeros((len(self.values), len(self.values)))
        i, j, counts = self._matches()
        ties[i, j] = ties[j, i] = counts[:, 2]
        return ties

    def _matches(self) -> tuple[IntArray, IntArray, IntArray]:
        """(P,) each the indices of the values of all pairs, and (P, V) their counts."""
        if len(self._ends[0]) < len(self._counts):
            self._ends = self.indices(list(self._counts))
        return *self._ends, np.array(list(self._counts.values()), dtype=np.int64).reshape(-1, len(_PLACE))

    def met(self) -> FloatArray:
        """(K, K), symmetric: how often two values were compared, with a rated outcome."""
        wins = self.wins()
        return wins + wins.T + self.ties()

    def clusters(self) -> Clusters:
        """The scenarios by what became of them."""
        self._keep_up()
        rows = sorted(
            (self._index[a], self._index[b], *pattern, number)
            for ((a, b), *pattern), number in self._patterns.items()
            if number
        )
        return Clusters(*np.array(rows, dtype=np.int64).reshape(-1, 6).T)

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
            for (pair, size), found in self._alike(only):
                weight = 1 / (1 + (size - 1) * intraclass)
                for code, number in found.items():
                    weighted[pair][code] += weight * number
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

    def _alike(
        self, only: Callable[[str], bool] | None
    ) -> Iterable[tuple[tuple[tuple[str, str], int], Mapping[int, int]]]:
        """How often each code occurs, by pair and number of outcomes of a scenario."""
        if only is None:
            self._keep_up()
            return sorted(self._sized.items())
        found: dict[tuple[tuple[str, str], int], Counter[int]] = defaultdict(Counter)
        for (scenario, pair), codes in self._scenarios.items():
            if only(scenario):
                found[pair, len(codes)].update(codes)
        return sorted(found.items())

    def _keep_up(self) -> None:
        """Count the scenarios anew that have changed since the last look."""
        if self._changed is None:
            self._changed = dict.fromkeys(self._scenarios, 0)
        for scenario, size in self._changed.items():
            codes, pair = self._scenarios[scenario], scenario[1]
            self._count(pair, codes[:size], -1)
            self._count(pair, codes, 1)
        self._changed = {}

    def _count(self, pair: tuple[str, str], codes: bytearray, times: int) -> None:
        if not codes:
            return
        wins, losses, sized = 0, 0, self._sized.setdefault((pair, len(codes)), Counter())
        for code, number in Counter(codes).items():
            sized[code] += times * number
            level = _LEVELS[code % _CODES]
            wins, losses = wins + number * (level > 0), losses + number * (level < 0)
        self._patterns[pair, wins, losses, len(codes) - wins - losses] += times

    def _add_value(self, value: str) -> None:
        if value not in self._index:
            self._index[value] = len(self.values)
            self.values.append(value)

    def _add_pair(self, pair: tuple[str, str]) -> None:
        for value in pair:
            self._add_value(value)
        self._counts[pair] = [0] * len(_PLACE)
        self._codes[pair] = [0] * (_CODES * len(_SHOWN))


def _code(verdict: Verdict, strength: int | None) -> int:
    if verdict is Verdict.TIE:
        return _STRENGTHS
    if strength is None:
        return _A_UNGRADED if verdict is Verdict.A else _B_UNGRADED
    return _STRENGTHS + (strength if verdict is Verdict.A else -strength)


_LEVELS = [*range(-_STRENGTHS, _STRENGTHS + 1), 1, -1]
