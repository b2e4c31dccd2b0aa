"""What a library is made of and worth, as values: what the maths yields and the views show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from conflictscope.outcome import Mode


@dataclass(frozen=True, slots=True)
class Share:
    """count of total, and the ends of the 95 % interval of the share, in [0, 1]."""

    count: int
    total: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """In [0, 1]."""
        return self.count / self.total

    def to_json(self) -> dict[str, float]:
        """By name."""
        return {"count": self.count, "total": self.total, "share": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True, slots=True)
class Coefficient:
    """Agreement beyond chance, at most 1, with the ends of its 95 % interval.

    name: `cohen_kappa` of two raters, or `krippendorff_alpha` of any number. items: how many it rests on.
    """

    name: str
    value: float
    low: float
    high: float
    items: int

    def to_json(self) -> dict[str, Any]:
        """By name."""
        return {"name": self.name, "value": self.value, "low": self.low, "high": self.high, "items": self.items}


@dataclass(frozen=True, slots=True)
class PassRate:
    """Which share of the scenarios that were put to it passed a check. checker: None for all of them together, by majority."""

    check: str
    checker: str | None
    passed: Share

    def to_json(self) -> dict[str, Any]:
        """By name."""
        return {"check": self.check, "checker": self.checker, **self.passed.to_json()}


@dataclass(frozen=True, slots=True)
class CheckerAgreement:
    """How far several checkers agree in one check, on the scenarios that at least two of them judged."""

    check: str
    checkers: tuple[str, ...]
    agreement: Coefficient

    def to_json(self) -> dict[str, Any]:
        """By name."""
        return {"check": self.check, "checkers": list(self.checkers), "agreement": self.agreement.to_json()}


@dataclass(frozen=True, slots=True)
class PairCounts:
    """One pair of values, in alphabetical order.

    diversity: 1 less the mean cosine of its scenarios, two by two; None for less than two. near_duplicates: how many of its
    scenarios have a near-duplicate in the pair.
    """

    value_a: str
    value_b: str
    scenarios: int
    diversity: float | None
    near_duplicates: int

    def to_json(self) -> dict[str, Any]:
        """By name."""
        return {
            "value_a": self.value_a,
            "value_b": self.value_b,
            "scenarios": self.scenarios,
            "diversity": self.diversity,
            "near_duplicates": self.near_duplicates,
        }


@dataclass(frozen=True, slots=True)
class Likeness:
    """How alike the scenarios are, by the cosine of the embeddings of their descriptions.

    within_pairs: the mean over pairs of values of their diversity (1 less the mean cosine). overall: the diversity of all
    situations, whichever values they are about. Each None where there are no two to compare. near_duplicates: the share of
    scenarios with another one of their pair from a cosine of `threshold` on.
    """

    embedding: str
    threshold: float
    within_pairs: float | None
    overall: float | None
    near_duplicates: Share

    def to_json(self) -> dict[str, Any]:
        """By name."""
        return {
            "embedding": self.embedding,
            "threshold": self.threshold,
            "diversity": {"within_pairs": self.within_pairs, "overall": self.overall},
            "near_duplicates": self.near_duplicates.to_json(),
        }


@dataclass(frozen=True, slots=True)
class ClearPreference:
    """In which share of scenarios a target prefers one action clearly, of those where its outcomes can tell."""

    target: str
    clear: Share

    def to_json(self) -> dict[str, Any]:
        """By name."""
        return {"target": self.target, **self.clear.to_json()}


@dataclass(frozen=True, slots=True)
class ConditionStats:
    """What targets made of the library under one condition.

    agree: the share of scenarios, of those that at least two targets decided, in which all of them took the same side; alpha: the
    same beyond chance; both None where no scenario was decided by two.
    """

    mode: Mode
    steering: str | None
    behavior: str | None
    agree: Share | None
    alpha: Coefficient | None
    targets: tuple[ClearPreference, ...]

    def __str__(self) -> str:
        return " / ".join(filter(None, (self.mode, self.steering, self.behavior)))

    def to_json(self) -> dict[str, Any]:
        """By name."""
        return {
            "mode": self.mode.value,
            "steering": self.steering,
            "behavior": self.behavior,
            "targets_agree": self.agree.to_json() if self.agree else None,
            "alpha": self.alpha.to_json() if self.alpha else None,
            "clear_preference": [target.to_json() for target in self.targets],
        }


@dataclass(frozen=True)
class LibraryStats:
    """What a library is made of and worth.

    situations: scenarios that share their text (one for each pair of values) count once. passing: pass all their checks. pairs:
    in alphabetical order. templates: scenarios by template, `none` where they name none. rates: of all checkers of a check
    first, then of each where there are several. runs: the names of the runs that `conditions` are from.
    """

    name: str
    scenarios: int
    situations: int
    passing: int
    pairs: tuple[PairCounts, ...]
    templates: dict[str, int]
    rates: tuple[PassRate, ...]
    checkers: tuple[CheckerAgreement, ...]
    likeness: Likeness
    runs: tuple[str, ...]
    conditions: tuple[ConditionStats, ...]

    def to_json(self) -> dict[str, Any]:
        """As `scenarios stats --json` shows it."""
        return {
            "library": self.name,
            "scenarios": self.scenarios,
            "situations": self.situations,
            "passing": self.passing,
            "pairs": [pair.to_json() for pair in self.pairs],
            "templates": self.templates,
            "checks": [rate.to_json() for rate in self.rates],
            "checker_agreement": [agreement.to_json() for agreement in self.checkers],
            "similarity": self.likeness.to_json(),
            "runs": list(self.runs),
            "conditions": [condition.to_json() for condition in self.conditions],
        }
