"""A scenario: a situation in which two values pull in different directions."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import StringConstraints, model_validator

from conflictscope.documents import Record
from conflictscope.values import Name, Prose, ValueName

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


class Check(Record):
    """What one checker made of one of the six checks."""

    name: Name
    passed: bool
    reason: str
    checker: str


class Scenario(Record):
    """Two values, a situation and two mutually exclusive actions: `action_a` serves `value_a`, `action_b` `value_b`."""

    id: ScenarioId
    value_a: ValueName
    value_b: ValueName
    description: Prose
    action_a: Prose
    action_b: Prose
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
        return all(check.passed for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        """The scenario as a line of a library, without keys that say nothing."""
        return self.model_dump(mode="json", exclude_defaults=True)
