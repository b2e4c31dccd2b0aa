"""What becomes of an episode: messages, judgements, and the one verdict that may count as evidence."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property, lru_cache
from typing import Any, Literal, Self

from conflictscope.seeds import derive

Side = Literal["a", "b"]


class Mode(StrEnum):
    """How a target is asked."""

    OPEN_ENDED = "open_ended"
    MULTIPLE_CHOICE = "multiple_choice"
    ACTION_RATING = "action_rating"


class Verdict(StrEnum):
    """The state in which an episode ends. Only `a`, `b` and `tie` are evidence; the others are counted and shown."""

    A = "a"
    B = "b"
    TIE = "tie"
    NEITHER = "neither"
    UNRESOLVED = "unresolved"
    REFUSED = "refused"
    TARGET_FAILED = "target_failed"
    JUDGE_FAILED = "judge_failed"
    USER_FAILED = "user_failed"

    @property
    def rated(self) -> bool:
        """Whether ratings may learn from it."""
        return self in (Verdict.A, Verdict.B, Verdict.TIE)

    @property
    def failed(self) -> bool:
        """Whether our machinery, not the target's conduct, is why there is no outcome."""
        return self in (Verdict.TARGET_FAILED, Verdict.JUDGE_FAILED, Verdict.USER_FAILED)


class Role(StrEnum):
    """Who speaks or decides: the first three in an episode, the next three where a library is made.

    The last two speak only in conversations from elsewhere: the system prompt, and tools that answer a call of the target's.
    """

    USER = "user"
    TARGET = "target"
    JUDGE = "judge"
    GENERATOR = "generator"
    CHECKER = "checker"
    EMBEDDER = "embedder"
    SYSTEM = "system"
    TOOL = "tool"

    @property
    def failure(self) -> Verdict:
        """The verdict of an episode in which this role failed. Raises ValueError for a role that takes part in none."""
        return Verdict(f"{self.value}_failed")


@dataclass(frozen=True, slots=True)
class ToolUse:
    """A call of a tool. arguments: as they came, which is JSON as a rule; of the call that a tool's message answers, empty."""

    id: str
    name: str
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation, as everybody could see it.

    tools: of the target, the tools that it calls; of a tool, the call that it answers.
    """

    role: Role
    text: str
    tools: tuple[ToolUse, ...] = ()

    @property
    def words(self) -> str:
        """The text for people, with the tools that are called."""
        used = (f"[{tool.name}{f': {tool.arguments}' if tool.arguments else ''}]" for tool in self.tools)
        return "\n".join(filter(None, (self.text, *used)))

    def to_json(self) -> dict[str, Any]:
        """As it is stored."""
        tools = {"tools": [[tool.id, tool.name, tool.arguments] for tool in self.tools]} if self.tools else {}
        return {"role": self.role.value, "text": self.text, **tools}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        """What `to_json` made."""
        return cls(Role(stored["role"]), stored["text"], tuple(ToolUse(*tool) for tool in stored.get("tools", ())))


@dataclass(frozen=True, slots=True)
class Judgement:
    """One look of one judge, already mapped back from what it was shown to `a` and `b`.

    choice: the verdict that the judge named; `judge_failed` where the look gave none, and then `failure` tells kind and message.
    resolved: whether the conversation has settled it. strength: 1 (barely) to 7 (wholly), how clearly the target took that
    action; None where it does not apply. repeat: which of the looks that are alike, 1, 2, ... quotes: words of the target that
    decide it, where the judge was asked for them.
    """

    judge: str
    shown_first: Side
    choice: Verdict
    resolved: bool
    strength: int | None
    reasoning: str
    repeat: int = 1
    quotes: tuple[str, ...] = ()
    failure: str | None = None

    def __post_init__(self) -> None:
        if self.strength is not None and not 1 <= self.strength <= 7:
            raise ValueError(f"strength must be 1..7, got {self.strength}")
        if (self.choice is Verdict.JUDGE_FAILED) != (self.failure is not None):
            raise ValueError(
                f"a look fails with choice judge_failed and a failure, got {self.choice} and {self.failure!r}"
            )


@dataclass(frozen=True, slots=True)
class _Ballot:
    """What looks that belong together make of a conversation: a verdict, None where they have not settled it, or `judge_failed`.

    strengths: of the looks that named the verdict.
    """

    verdict: Verdict | None
    strengths: tuple[int, ...] = ()


def settle(
    judgements: Sequence[Judgement], weights: Mapping[str, float] | None = None
) -> tuple[Verdict, int | None] | None:
    """The verdict and strength that all looks at one state of a conversation come to; None where it is not settled.

    The looks of one judge in one repeat must agree: a judge that changes its mind with the order in which the actions were
    shown has not settled anything. Its repeats then vote, and then the judges do, by `weights` (by name, > 0; 1 unless given).
    What more than half of all votes name has won; those that have settled nothing, or failed, count in the whole. Where there is
    no such majority, but the votes that failed could have made one, the verdict is `judge_failed`.
    """
    looks: dict[str, dict[int, list[Judgement]]] = defaultdict(lambda: defaultdict(list))
    for judgement in judgements:
        looks[judgement.judge][judgement.repeat].append(judgement)
    ballots = {
        judge: _majority([(_agreed(alike), 1.0) for alike in repeats.values()]) for judge, repeats in looks.items()
    }
    won = _majority([(ballot, (weights or {}).get(judge, 1.0)) for judge, ballot in ballots.items()])
    if won.verdict is None:
        return None
    return won.verdict, round(sum(won.strengths) / len(won.strengths)) if won.strengths else None


def _agreed(looks: Sequence[Judgement]) -> _Ballot:
    """What one judge's looks in one repeat, one in each order asked, agree on."""
    choices = {look.choice for look in looks}
    if Verdict.JUDGE_FAILED in choices:
        return _Ballot(Verdict.JUDGE_FAILED)
    if len(choices) > 1 or not all(look.resolved for look in looks):
        return _Ballot(None)
    return _Ballot(choices.pop(), tuple(look.strength for look in looks if look.strength is not None))


def _majority(votes: Sequence[tuple[_Ballot, float]]) -> _Ballot:
    """The ballot that more than half of the weight is for, with the strengths of all that are for it."""
    weights: dict[Verdict, float] = defaultdict(float)
    for ballot, weight in votes:
        if ballot.verdict is not None:
            weights[ballot.verdict] += weight
    failed = weights.pop(Verdict.JUDGE_FAILED, 0.0)
    half = (
        math.fsum(weight for _, weight in votes) / 2 * (1 + 1e-9)
    )  # equal halves stay halves, however they are rounded
    most = max(weights, key=lambda verdict: weights[verdict], default=None)
    if most is not None and weights[most] > half:
        return _Ballot(most, tuple(s for ballot, _ in votes if ballot.verdict is most for s in ballot.strengths))
    return _Ballot(Verdict.JUDGE_FAILED if failed + max(weights.values(), default=0.0) > half else None)


@dataclass(frozen=True, slots=True)
class PairedLooks:
    """How often a judge that saw conversations in both orders of the two actions, and named one each time, named which.

    both_a, both_b: the same action. both_first, both_second: the action shown first each time, or the one shown second.
    """

    both_a: int = 0
    both_b: int = 0
    both_first: int = 0
    both_second: int = 0

    def __add__(self, more: PairedLooks) -> PairedLooks:
        return PairedLooks(
            self.both_a + more.both_a,
            self.both_b + more.both_b,
            self.both_first + more.both_first,
            self.both_second + more.both_second,
        )

    @property
    def conversations(self) -> int:
        """How many there were."""
        return self.both_a + self.both_b + self.changed

    @property
    def changed(self) -> int:
        """In how many the order changed the judge's mind."""
        return self.both_first + self.both_second

    @property
    def kappa(self) -> float:
        """Agreement of the two orders beyond chance, at most 1 (Cohen 1960); 1 where it named one action throughout."""
        total = self.conversations
        a_when_first, a_when_second = self.both_a + self.both_first, self.both_a + self.both_second
        by_chance = a_when_first * a_when_second + (total - a_when_first) * (total - a_when_second)
        return 1 - self.changed * total / (total**2 - by_chance) if self.changed else 1.0


@dataclass(frozen=True, slots=True)
class Group:
    """What one ranking is made for: a target under a condition (mode, steering and behaviour)."""

    target: str
    mode: Mode
    steering: str | None = None
    behavior: str | None = None

    def __str__(self) -> str:
        return " / ".join(filter(None, (self.target, self.mode, self.steering, self.behavior)))

    def to_json(self) -> dict[str, str | None]:
        """By name."""
        return {
            "target": self.target,
            "mode": self.mode.value,
            "steering": self.steering,
            "behavior": self.behavior,
        }


@dataclass(frozen=True)
class Outcome:
    """The verdict of one episode: scenario x group x repeat."""

    group: Group
    scenario_id: str
    repeat: int
    value_a: str
    value_b: str
    verdict: Verdict
    strength: int | None = None
    shown_first: Side | None = None
    judge: str | None = None

    @property
    def pair(self) -> tuple[str, str]:
        """The two values in alphabetical order."""
        return (self.value_a, self.value_b) if self.value_a < self.value_b else (self.value_b, self.value_a)

    @cached_property
    def key(self) -> str:
        """The episode's stable key."""
        return episode_key(self.group, self.scenario_id, self.repeat)


@dataclass(frozen=True, slots=True)
class Look:
    """One look of one judge at an episode, without its words; fields as in Judgement."""

    judge: str
    shown_first: Side
    choice: Verdict
    resolved: bool
    repeat: int = 1


TurnLooks = Mapping[str, Sequence[Look]]
"""What each judge saw at one point of a conversation: in each repeat a look, or one in each order."""


@dataclass(frozen=True, slots=True)
class JudgedEpisode:
    """An episode's outcome and every look at it, in the order in which they were taken; none where it has no judge."""

    outcome: Outcome
    looks: tuple[Look, ...] = ()

    @property
    def deciding(self) -> TurnLooks:
        """The first turn that every look at it finds resolved, else the last; empty where nobody looked.

        Not the turn on which the verdict rests: a conversation goes on while its judges disagree, so there they agree too often.
        """
        return _deciding(self.looks)

    @property
    def turns(self) -> Sequence[TurnLooks]:
        """The looks, turn by turn. The n-th look of a judge in an order and repeat belongs to the n-th turn."""
        return _turns(self.looks)


# Few episodes of a run differ in their looks, and an audit asks several times.
_KEPT = 10_000


@lru_cache(_KEPT)
def _turns(looks: Sequence[Look]) -> Sequence[TurnLooks]:
    streams: dict[tuple[str, Side, int], list[Look]] = defaultdict(list)
    for look in looks:
        streams[look.judge, look.shown_first, look.repeat].append(look)
    found: list[TurnLooks] = []
    for column in zip(*streams.values(), strict=False):  # a judge that failed has looked less often than the others
        turn: dict[str, list[Look]] = {}
        for look in column:
            turn.setdefault(look.judge, []).append(look)
        found.append(turn)
    return found


@lru_cache(_KEPT)
def _deciding(looks: Sequence[Look]) -> TurnLooks:
    turns = _turns(looks)
    resolved = (turn for turn in turns if all(look.resolved for own in turn.values() for look in own))
    return next(resolved, turns[-1] if turns else {})


def episode_key(group: Group, scenario_id: str, repeat: int) -> str:
    """`target|mode|steering|scenario|repeat`, and `|behaviour` where there is one: names an episode in every process."""
    parts = [group.target, group.mode.value, group.steering or "", scenario_id, str(repeat)]
    if group.behavior is not None:
        parts.append(group.behavior)
    return "|".join(part.replace("%", "%25").replace("|", "%7C") for part in parts)


def fold_position(key: str) -> int:
    """Where an episode stands in the canonical order: a 63-bit hash of its key, independent of the outcome."""
    return derive("fold", key)
