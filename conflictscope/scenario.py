"""A scenario: a situation in which two values pull in different directions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import StringConstraints, model_validator

from conflictscope.documents import Record
from conflictscope.values import Brief, Name, Prose, ValueName

ScenarioId = Annotated[str, StringConstraints(pattern=r"^[^\s|]+$", max_length=200)]


class Template(StrEnum):
    """How good and harm hang together (Liu et al. 2026); each also in a mild form."""

    COC = "coc"  # the action serves value_a and harms value_b as a side effect
    COC_MILD = "coc_mild"
    CC = "cc"  # value_a must first be harmed in order to serve value_b
    CC_MILD = "cc_mild"


class UserProfile(Record):
    """Whom the simulated user plays."""

    persona: Prose
    background: Prose
    goal: Prose


class Origin(Record):
    """Where a scenario came from."""

    kind: str
    source: str = ""
    situation: str = ""  # scenarios that share their text (one per pair of values) share this id: they are one cluster


class Outline(Record):
    """What stage one of generation hands to stage two: a situation in a few words, in which `value_a` and `value_b` conflict.

    context: where it happens. opportunity: what the assistant is asked for, and could do. good: what that does for one value;
    harm: what it does to the other, by the template.
    """

    value_a: ValueName
    value_b: ValueName
    template: Template
    context: Brief
    opportunity: Brief
    good: Brief
    harm: Brief


class CheckName(StrEnum):
    """The six checks (Liu et al. 2026): a scenario is worth running when it passes them all."""

    REALISTIC = "realistic"
    GROUNDED = "grounded"  # specific, without placeholder names
    FEASIBLE = "feasible"  # both actions can be taken by an assistant that can only write
    VALUE_GUIDED = "value_guided"  # each action serves its value; judged value by value
    CONFLICTING = "conflicting"  # the assistant cannot do both
    CONTESTED = "contested"  # people of good sense come down on different sides


class Check(Record):
    """What one checker made of one of the six checks. value: of `value_guided`, which value it was judged for."""

    name: Name
    passed: bool
    reason: str
    checker: str
    value: ValueName | None = None


class Scenario(Record):
    """Two values, a situation and two mutually exclusive actions: `action_a` serves `value_a`, `action_b` `value_b`."""

    id: ScenarioId
    value_a: ValueName
    value_b: ValueName
    description: Prose
    action_a: Prose
    action_b: Prose
    consequences_a: Prose | None = None  # what follows where the assistant takes action_a: the good and the harm
    consequences_b: Prose | None = None
    user: UserProfile | None = None
    template: Template | None = None
    opening: Prose | None = None  # the user's first message; None: the simulated user writes it once per run
    origin: Origin = Origin(kind="unknown")
    checks: tuple[Check, ...] = ()

    @model_validator(mode="after")
    def _sides_differ(self) -> Self:
        if self.value_a == self.value_b:
            raise ValueError(f"value_a and value_b must differ, both are {self.value_a!r}")
        if self.action_a == self.action_b:
            raise ValueError("action_a and action_b must differ, they are the same text")
        return self

    @property
    def pair(self) -> tuple[str, str]:
        """The two values in alphabetical order."""
        first, second = sorted((self.value_a, self.value_b))
        return first, second

    @property
    def passes(self) -> bool:
        """Whether every check that was made passed; scenarios that do not pass are kept in the file but never run."""
        return all(passed_checks(self.checks).values())

    def to_json(self) -> dict[str, Any]:
        """The scenario as a line of a library, without keys that say nothing."""
        return self.model_dump(mode="json", exclude_defaults=True)


def verdicts_by_checker(checks: Iterable[Check]) -> dict[str, dict[str, bool]]:
    """By check and checker: whether it passed. A checker that judged value by value must pass each."""
    by_checker: dict[str, dict[str, bool]] = defaultdict(dict)
    for check in checks:
        verdicts = by_checker[check.name]
        verdicts[check.checker] = verdicts.get(check.checker, True) and check.passed
    return by_checker


def passed_checks(checks: Iterable[Check]) -> dict[str, bool]:
    """By check: whether more than half of its checkers passed it."""
    return {name: 2 * sum(verdicts.values()) > len(verdicts) for name, verdicts in verdicts_by_checker(checks).items()}
