"""What sets two groups apart, and how far a steering moved a target, as values: what the maths yields and the views show."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from conflictscope.outcome import Group

_FEW_PER_PAIR = 4


class By(StrEnum):
    """What two groups differ in."""

    TARGET = "target"
    MODE = "mode"
    STEERING = "steering"
    BEHAVIOR = "behavior"

    def of(self, group: Group) -> str | None:
        """A group's own: its target, mode, steering or behaviour."""
        value: str | None = getattr(group, self.value)
        return value


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and the ends of its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def resolved(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low > 0 or self.high < 0

    def to_json(self) -> dict[str, float]:
        """By name."""
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True, slots=True)
class ValueShift:
    """One value in two groups.

    utilities: of the first and the second group, in probit units, less the mean of the values of its component. ranks: 1 is the
    best of the component; equal values share their mean rank. utility_difference, rank_difference: second less first.
    """

    value: str
    component: int
    utilities: tuple[float, float]
    utility_difference: Estimate
    ranks: tuple[float, float]
    rank_difference: Estimate

    def to_json(self) -> dict[str, Any]:
        """By name."""
        return {
            "value": self.value,
            "component": self.component,
            "utility": {"first": self.utilities[0], "second": self.utilities[1]},
            "utility_difference": self.utility_difference.to_json(),
            "resolved": self.utility_difference.resolved,
            "rank": {"first": self.ranks[0], "second": self.ranks[1]},
            "rank_difference": self.rank_difference.to_json(),
        }


@dataclass(frozen=True)
class Comparison:
    """Two groups on the scenarios in which both have rated outcomes.

    shifts: a value each, the greatest difference first. tau, rho: Kendall's tau-b and Spearman's rho between the two rankings,
    from -1 to 1, over pairs of values with a common scale; None where all values of a group are level. scenarios: how many are
    shared. unshared: how many have rated outcomes in the first group only, in the second only. pairs: of values that were
    compared. values_left_out: values that no shared scenario is about.
    """

    first: Group
    second: Group
    shifts: tuple[ValueShift, ...]
    tau: Estimate | None
    rho: Estimate | None
    scenarios: int
    unshared: tuple[int, int]
    pairs: int
    values_left_out: tuple[str, ...]

    @property
    def by(self) -> tuple[By, ...]:
        """What the groups differ in."""
        return tuple(by for by in By if by.of(self.first) != by.of(self.second))

    @property
    def resolved(self) -> int:
        """Of how many values the difference of utilities excludes 0."""
        return sum(shift.utility_difference.resolved for shift in self.shifts)

    def beside(self, ranking: Collection[str]) -> tuple[ValueShift, ...]:
        """The values that a ranking does not name, and those that it names but that kept their rank."""
        return tuple(s for s in self.shifts if s.value not in ranking or s.rank_difference.value == 0)

    def notes(self) -> list[str]:
        """What a reader must know before trusting it, in words."""
        notes = []
        if self.values_left_out:
            notes.append(f"no shared scenario is about: {', '.join(self.values_left_out)}")
        sets = len({shift.component for shift in self.shifts})
        if sets > 1:
            notes.append(
                f"{sets} sets of values were never compared with each other: utilities and ranks are those within each set"
            )
        if self.tau is None:
            notes.append("no tau and no rho: in one of the groups all values are level")
        if self.scenarios < _FEW_PER_PAIR * self.pairs:
            notes.append(
                f"few scenarios: {self.scenarios} shared for {self.pairs} pairs of values; intervals are rough"
            )
        return notes

    def to_json(self) -> dict[str, Any]:
        """The comparison as `compare --json` shows it."""
        return {
            "differ_in": [by.value for by in self.by],
            "first": self.first.to_json(),
            "second": self.second.to_json(),
            "scenarios": self.scenarios,
            "unshared": {"first": self.unshared[0], "second": self.unshared[1]},
            "kendall_tau": self.tau.to_json() if self.tau else None,
            "spearman_rho": self.rho.to_json() if self.rho else None,
            "values": [shift.to_json() for shift in self.shifts],
            "values_left_out": list(self.values_left_out),
            "notes": self.notes(),
        }


@dataclass(frozen=True, slots=True)
class PairAlignment:
    """One pair of values: the share of decisive outcomes that the preferred value won, before and after steering.

    outcomes: how many were decisive, before and after.
    """

    preferred: str
    other: str
    before: Estimate
    after: Estimate
    outcomes: tuple[int, int]

    def to_json(self) -> dict[str, Any]:
        """By name."""
        return {
            "preferred": self.preferred,
            "other": self.other,
            "before": self.before.to_json(),
            "after": self.after.to_json(),
            "outcomes": {"before": self.outcomes[0], "after": self.outcomes[1]},
        }


@dataclass(frozen=True)
class Alignment:
    """How well decisive outcomes agree with a stated ranking, without steering (before) and with it (after).

    before, after: share that agrees, the mean over pairs. gain: after less before. reached: the share of the possible gain,
    gain / (1 - before); None where there was nothing to gain. scenarios: shared, with a rated outcome of these pairs in both
    groups. values_left_out: values that the ranking does not name, or that no such scenario is about. others: what became of the
    values that the ranking does not name, and of those that kept their rank, over all scenarios that the groups share.
    """

    group: Group
    ranking: tuple[str, ...]
    before: Estimate
    after: Estimate
    gain: Estimate
    reached: Estimate | None
    pairs: tuple[PairAlignment, ...]
    scenarios: int
    values_left_out: tuple[str, ...]
    others: tuple[ValueShift, ...] = ()

    def notes(self) -> list[str]:
        """What a reader must know before trusting it, in words."""
        notes = []
        if self.values_left_out:
            notes.append(
                f"left out, for the ranking does not name them or nothing decisive is shared: {', '.join(self.values_left_out)}"
            )
        if self.scenarios < _FEW_PER_PAIR * len(self.pairs):
            notes.append(_few(self.scenarios, len(self.pairs)))
        if self.reached is None:
            notes.append("nothing to gain: without steering all outcomes agree already")
        return notes

    def to_json(self) -> dict[str, Any]:
        """The alignment as `compare --json` shows it."""
        return {
            "group": self.group.to_json(),
            "ranking": list(self.ranking),
            "scenarios": self.scenarios,
            "before": self.before.to_json(),
            "after": self.after.to_json(),
            "gain": self.gain.to_json(),
            "reached": self.reached.to_json() if self.reached else None,
            "pairs": [pair.to_json() for pair in self.pairs],
            "others": [{"named": shift.value in self.ranking, **shift.to_json()} for shift in self.others],
            "values_left_out": list(self.values_left_out),
            "notes": self.notes(),
        }


@dataclass(frozen=True)
class Comparisons:
    """All comparisons of a run. refused: what could not be compared and why, in words. judges: whether the
    error of those who judged conversations is corrected, and what is known of it, in words."""

    comparisons: tuple[Comparison, ...]
    alignments: tuple[Alignment, ...]
    refused: tuple[str, ...]
    judges: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The document of `compare --json`, less the run."""
        return {
            "comparisons": [comparison.to_json() for comparison in self.comparisons],
            "alignments": [alignment.to_json() for alignment in self.alignments],
            "refused": list(self.refused),
            "judges": list(self.judges),
        }


def _few(scenarios: int, pairs: int) -> str:
    return f"few scenarios: {scenarios} shared for {pairs} pairs of values, so intervals are rough"
