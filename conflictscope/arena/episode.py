"""The episode as a state machine: no I/O, the whole protocol on one screen.

user --Said--> target --Said--> judge --Judged, not settled, turns left--> user
                                judge --Unjudged, turns left--> user
                                judge --Judged, settled, failed, the last look, or no turn left--> done
user, target, judge --Broke--> done
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from conflictscope.outcome import Judgement, Message, Role, Verdict, settle


@dataclass(frozen=True, slots=True)
class Said:
    """The user or the target said something."""

    text: str


@dataclass(frozen=True, slots=True)
class Judged:
    """The judge looked, or a panel did: one judgement for each judge, repeat and order in which it was asked.

    last: nothing will be said after it.
    """

    judgements: Sequence[Judgement]
    last: bool = False


@dataclass(frozen=True, slots=True)
class Unjudged:
    """The conversation goes on before anybody looks at it."""


@dataclass(frozen=True, slots=True)
class Broke:
    """Whoever's turn it was gave nothing usable, or `role` where it was somebody else's doing. kind: as in CallFailed."""

    kind: str
    message: str
    role: Role | None = None


Event: TypeAlias = Said | Judged | Unjudged | Broke


@dataclass(frozen=True, slots=True)
class Episode:
    """One conversation and what was made of it.

    max_turns: how often the user may speak. next: whose turn it is; None when the episode is over, and then `verdict` is
    set. judgements: of every look so far. failure: kind and message where the machinery failed. weights: of the judges' votes,
    by name, as in `settle`.
    """

    max_turns: int
    next: Role | None = Role.USER
    transcript: tuple[Message, ...] = ()
    judgements: tuple[Judgement, ...] = ()
    verdict: Verdict | None = None
    strength: int | None = None
    failure: str | None = None
    weights: Mapping[str, float] = field(default_factory=dict)

    def advance(self, event: Event) -> Episode:
        """The episode after `event`. Raises ValueError for an event that cannot happen now."""
        match self.next, event:
            case Role.USER, Said(text):
                return self._say(text, Role.TARGET)
            case Role.TARGET, Said(text):
                return self._say(text, Role.JUDGE)
            case Role.JUDGE, Judged(judgements, last):
                return self._look(judgements, last=last)
            case Role.JUDGE, Unjudged() if self.turns_left:
                return replace(self, next=Role.USER)
            case Role.TARGET, Broke("refused"):  # a provider's filter on the target's reply is conduct, not a fault
                return replace(self, next=None, verdict=Verdict.REFUSED)
            case Role() as role, Broke(kind, message, whose):
                return replace(self, next=None, verdict=(whose or role).failure, failure=f"{kind}: {message}")
            case _:
                raise ValueError(f"{type(event).__name__} cannot happen when it is {self.next or 'nobody'}'s turn")

    @property
    def turns_left(self) -> bool:
        """Whether the user may speak once more."""
        return sum(message.role is Role.USER for message in self.transcript) < self.max_turns

    def _say(self, text: str, following: Role) -> Episode:
        assert self.next is not None
        return replace(self, next=following, transcript=(*self.transcript, Message(self.next, text)))

    def _look(self, judgements: Sequence[Judgement], *, last: bool) -> Episode:
        looked = replace(self, judgements=(*self.judgements, *judgements))
        settled = settle(judgements, self.weights)
        if settled is not None:
            verdict, strength = settled
            failures = [look.failure for look in judgements if look.failure is not None]
            failure = failures[0] if verdict.failed else None
            return replace(looked, next=None, verdict=verdict, strength=strength, failure=failure)
        if self.turns_left and not last:
            return replace(looked, next=Role.USER)
        return replace(looked, next=None, verdict=Verdict.UNRESOLVED)
