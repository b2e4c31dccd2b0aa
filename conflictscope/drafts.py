"""Drafts: what becomes of the outlines of a library in the making, and the rounds in which they are asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from conflictscope.scenario import Outline, Scenario, Template


@dataclass(frozen=True, slots=True)
class Cell:
    """One template in one order of a pair's two values: `action_a` serves `value_a`. What a library is balanced over."""

    value_a: str
    value_b: str
    template: Template


@dataclass(frozen=True, slots=True)
class Lot:
    """One request for outlines."""

    cell: Cell
    count: int


class DraftState(StrEnum):
    """What became of an outline."""

    PASSED = "passed"  # a scenario of the library
    REJECTED = "rejected"  # a check failed: in the library with its reasons, and never run
    DUPLICATE = "duplicate"  # the same as another, word for word or by meaning: not in the library
    FAILED = "failed"  # a model gave no usable reply: not in the library


@dataclass(frozen=True, slots=True)
class Draft:
    """An outline and what became of it.

    scenario: once there was one. reason: why it is a duplicate or failed, in words. like, cosine: which scenario it repeats, and
    how near it is (1: the same words).
    """

    id: str
    outline: Outline
    state: DraftState
    scenario: Scenario | None = None
    reason: str | None = None
    like: str | None = None
    cosine: float | None = None

    @property
    def kept(self) -> bool:
        """Whether it stands in the library."""
        return self.state in (DraftState.PASSED, DraftState.REJECTED)


@dataclass(frozen=True, slots=True)
class Round:
    """A round of a pair: what was asked for; once it has ended also what came of it.

    pair: as the value set orders it. number: 1, 2, ... within the pair. problems: kinds of replies that could not be used as they
    came, and how many.
    """

    pair: tuple[str, str]
    number: int
    lots: Sequence[Lot]
    drafts: Sequence[Draft] = ()
    problems: Mapping[str, int] = field(default_factory=dict)
    ended: bool = False

    @property
    def key(self) -> str:
        """What its calls are journaled under."""
        return round_key(self.pair, self.number)

    @property
    def asked(self) -> int:
        """How many outlines it asks for."""
        return sum(lot.count for lot in self.lots)


def round_key(pair: tuple[str, str], number: int) -> str:
    """The key of a round; no two are alike, for no value's name holds a `~` or a `/`."""
    return f"generate/{pair[0]}~{pair[1]}/{number}"
