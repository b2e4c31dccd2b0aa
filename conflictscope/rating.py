"""Ratings and rankings as values: what the maths yields and the views show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conflictscope.outcome import Group, Verdict

STANDARD_NORMAL = NormalDist()
_Z95 = STANDARD_NORMAL.inv_cdf(0.975)
_EXCLUDED_SHARE_WORTH_A_NOTE = 0.05
SURE = 0.95
"""The probability from which on an order is called sure."""

_RESOLVED_SHARE = 0.5

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


class Method(StrEnum):
    """How a ranking is made."""

    TRUESKILL = "trueskill"
    POSTERIOR = "posterior"
    BRADLEY_TERRY = "bradley_terry"


@dataclass(frozen=True, slots=True)
class Rating:
    """A belief about one value's utility: mean `mu` and standard deviation `sigma` > 0, in the units of its method.

    interval: the central 95 % where it is not that of a normal belief.
    """

    mu: float
    sigma: float
    interval: tuple[float, float] | None = None

    @property
    def low(self) -> float:
        """Lower end of the central 95 % interval."""
        return self.mu - _Z95 * self.sigma if self.interval is None else self.interval[0]

    @property
    def high(self) -> float:
        """Upper end of the central 95 % interval."""
        return self.mu + _Z95 * self.sigma if self.interval is None else self.interval[1]


@dataclass(frozen=True, slots=True)
class PairCount:
    """What the episodes of one pair of values came to. `value_a` is the alphabetically first."""

    value_a: str
    value_b: str
    wins_a: int
    wins_b: int
    ties: int
    excluded: Mapping[Verdict, int]

    @property
    def rated(self) -> int:
        """How many episodes are evidence."""
        return self.wins_a + self.wins_b + self.ties

    @property
    def left_out(self) -> int:
        """How many episodes are not."""
        return sum(self.excluded.values())


@dataclass(frozen=True, slots=True)
class StopRule:
    """When a ranking is settled (ranking/stopping.py).

    delta: utilities within it are practically equal; 0.1 is a win probability within .46 to .54. alpha: the chance of error that
    is allowed, over all neighbours. least_per_pair: outcomes that each pair of values must have.
    """

    delta: float = 0.1
    alpha: float = 0.05
    least_per_pair: int = 5


DEFAULT_RULE = StopRule()


@dataclass(frozen=True, slots=True)
class Convergence:
    """How far a ranking is from being settled.

    doubt: sum over neighbours of the chance that their order is wrong and they are not practically equal; settled at most
    `rule.alpha`. least_rated: outcomes of the pair of values that has fewest; settled from `rule.least_per_pair` on.
    """

    doubt: float
    least_rated: int
    rule: StopRule = DEFAULT_RULE

    @property
    def settled(self) -> bool:
        """Whether the order is settled."""
        return self.doubt <= self.rule.alpha and self.least_rated >= self.rule.least_per_pair

    def words(self) -> str:
        """How far it is, in words."""
        if self.settled:
            return "settled"
        if self.least_rated < self.rule.least_per_pair:
            return f"not settled yet: a pair has {self.least_rated} of {self.rule.least_per_pair} outcomes"
        return f"not settled yet: doubt {self.doubt:.2g}, settled at {self.rule.alpha:g}"

    def to_json(self) -> dict[str, Any]:
        """By name."""
        return {
            "doubt": self.doubt,
            "alpha": self.rule.alpha,
            "delta": self.rule.delta,
            "least_rated": self.least_rated,
            "least_per_pair": self.rule.least_per_pair,
        }


@dataclass(frozen=True, slots=True)
class Check:
    """One fit check of a ranking. passed: None where it cannot be made. says: in words. figures: what it rests on."""

    name: str
    passed: bool | None
    says: str
    figures: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """By name."""
        return {"check": self.name, "passed": self.passed, "says": self.says, **self.figures}


def resolved_share(p_above: FloatArray, component: IntArray) -> float:
    """Of the pairs of values with a common scale, the share whose order is sure; 0 where there is no such pair.

    p_above: (K, K), component: (K,), both in one order.
    """
    rows, columns = np.triu_indices(len(component), 1)
    p = p_above[rows, columns][component[rows] == component[columns]]
    return float(np.mean(np.maximum(p, 1 - p) >= SURE)) if len(p) else 0.0


@dataclass(frozen=True)
class Ranking:
    """One ranking of the values, for one group.

    ratings: by value, best first, component by component. component: by value; values of different components were never
    compared, not even through others, and have no common scale: each component has ranks of its own. p_above: (K, K) in the
    order of `ratings`, the probability that the value of the row ranks above that of the column; 0.5 on the diagonal and
    between components. resolved_share: of the pairs of values with a common scale, the share whose order is at least 95 % sure
    by the joint posterior (of a live ranking, by itself). tie_groups: neighbours that are practically equal. bounds: by value,
    the best and the worst rank it could have had, had all its episodes that are left out gone for it, or against it; only where
    episodes are left out. checks: of the fit. model: what was fitted, in words. judge_error: how it was corrected for; None
    where nobody asked. uncorrected: the ranking without that correction, where there is one.
    """

    group: Group
    method: Method
    ratings: Mapping[str, Rating]
    component: Mapping[str, int]
    p_above: FloatArray
    pairs: tuple[PairCount, ...]
    convergence: Convergence
    resolved_share: float
    tie_groups: tuple[tuple[str, ...], ...] = ()
    bounds: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()
    model: str = ""
    judge_error: Check | None = None
    uncorrected: Ranking | None = None

    @property
    def order(self) -> list[str]:
        """The values, best first."""
        return list(self.ratings)

    @property
    def ranks(self) -> dict[str, int | None]:
        """1, 2, ... within each component; None for a value that was never compared."""
        size = Counter(self.component.values())
        seen: Counter[int] = Counter()
        ranks: dict[str, int | None] = {}
        for value in self.ratings:
            own = self.component[value]
            seen[own] += 1
            ranks[value] = seen[own] if size[own] > 1 else None
        return ranks

    @property
    def outcomes(self) -> int:
        """How many episodes are rated."""
        return sum(pair.rated for pair in self.pairs)

    @property
    def converged(self) -> bool:
        """Whether the order is settled."""
        return self.convergence.settled

    @property
    def unresolved(self) -> str | None:
        """Why this is no ranking to speak of, in words; None where it is one."""
        if self.outcomes == 0:
            return "unresolved: no rated outcome"
        if all(pair.wins_a + pair.wins_b == 0 for pair in self.pairs):
            return "unresolved: all outcomes are ties"
        if self.resolved_share < _RESOLVED_SHARE:
            return f"unresolved: the order of only {self.resolved_share:.0%} of the pairs of values is 95 % sure"
        return None

    def above(self, value_a: str, value_b: str) -> float | None:
        """The probability that one value ranks above another; None where they have no common scale."""
        if self.component[value_a] != self.component[value_b]:
            return None
        return float(self.p_above[self._place[value_a], self._place[value_b]])

    @cached_property
    def _place(self) -> dict[str, int]:
        return {value: place for place, value in enumerate(self.ratings)}

    def notes(self) -> list[str]:
        """What a reader must know before trusting the ranking, in words."""
        notes = [self.unresolved] if self.unresolved else []
        ranks = self.ranks
        never = [value for value in self.ratings if ranks[value] is None]
        if never:
            notes.append(f"never compared, so not ranked: {', '.join(never)}")
        compared = len(set(self.component.values())) - len(never)
        if compared > 1:
            notes.append(
                f"{compared} sets of values were never compared with each other: each has ranks of its own, and utilities of "
                "different sets have no common scale"
            )
        for pair in self.pairs:
            total = pair.rated + pair.left_out
            if pair.left_out > _EXCLUDED_SHARE_WORTH_A_NOTE * total:
                states = ", ".join(f"{count} {state.value}" for state, count in sorted(pair.excluded.items()))
                notes.append(
                    f"{pair.value_a} / {pair.value_b}: {pair.left_out} of {total} episodes "
                    f"({pair.left_out / total:.0%}) left out: {states}"
                )
        moved = [
            f"{value} {best} to {worst}"
            for value, (best, worst) in self.bounds.items()
            if best != worst and ranks[value] is not None
        ]
        if moved:
            notes.append(f"ranks that the episodes left out could have changed: {', '.join(moved)}")
        notes += [check.says for check in self.checks if check.passed is False and check.name != "left_out"]
        return notes

    def to_json(self) -> dict[str, Any]:
        """The group as `rank --json` shows it."""
        ranks = self.ranks
        tied = {value: number for number, group in enumerate(self.tie_groups, start=1) for value in group}
        return {
            **self.group.to_json(),
            "values": [
                {
                    "value": value,
                    "rank": ranks[value],
                    "mu": r.mu,
                    "sigma": r.sigma,
                    "low": r.low,
                    "high": r.high,
                    "component": self.component[value],
                    "tie_group": tied.get(value),
                    "rank_bounds": None
                    if ranks[value] is None
                    else list(self.bounds.get(value, (ranks[value], ranks[value]))),
                }
                for value, r in self.ratings.items()
            ],
            "p_above": [[self.above(row, column) for column in self.ratings] for row in self.ratings],
            "pairs": [
                {
                    "value_a": pair.value_a,
                    "value_b": pair.value_b,
                    "wins_a": pair.wins_a,
                    "wins_b": pair.wins_b,
                    "ties": pair.ties,
                    "excluded": {state.value: count for state, count in sorted(pair.excluded.items())},
                    "p_a_over_b": self.above(pair.value_a, pair.value_b),
                }
                for pair in self.pairs
            ],
            "outcomes": self.outcomes,
            "converged": self.converged,
            "convergence": self.convergence.to_json(),
            "resolved_share": self.resolved_share,
            "unresolved": self.unresolved,
            "model": self.model,
            "judge_error": self.judge_error.to_json() if self.judge_error else None,
            "uncorrected": self.uncorrected.to_json() if self.uncorrected else None,
            "checks": [check.to_json() for check in self.checks],
            "notes": self.notes(),
        }
