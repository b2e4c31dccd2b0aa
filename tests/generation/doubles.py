"""Doubles for the roles and the store of a library in the making: deterministic, and with faults on order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from conflictscope.drafts import Round
from conflictscope.errors import CallFailed
from conflictscope.ports import OutlineRequest
from conflictscope.scenario import Check, CheckName, Origin, Outline, Scenario, UserProfile
from conflictscope.seeds import derive, uniform
from conflictscope.values import Value


def words(*purpose: str | int, count: int = 30) -> str:
    """Words that no other purpose has."""
    return " ".join(f"w{derive(*purpose, number) % 10**9}" for number in range(count))


@dataclass
class Inventor:
    """A generator: each outline is new but for `repeats`; the context says how to describe it. fails: whether to fail, by seed."""

    repeats: Callable[[OutlineRequest, int], str | None] = lambda request, number: None
    short_by: int = 0
    fails: Callable[[str, int], bool] = lambda stage, seed: False
    asked: list[OutlineRequest] = field(default_factory=list)
    elaborated: list[str] = field(default_factory=list)

    async def outline(self, request: OutlineRequest, problems: Counter[str]) -> Sequence[Outline]:
        self.asked.append(request)
        if self.fails("outline", request.seed):
            problems["prose"] += 2
            raise CallFailed("unparsed", "prose")
        return [
            Outline(
                value_a=request.value_a.name,
                value_b=request.value_b.name,
                template=request.template,
                context=self.repeats(request, number) or words(request.seed, number),
                opportunity="o",
                good="g",
                harm="h",
            )
            for number in range(max(1, request.count - self.short_by))
        ]

    async def elaborate(
        self,
        scope: str,
        seed: int,
        scenario_id: str,
        outline: Outline,
        values: tuple[Value, Value],
        problems: Counter[str],
    ) -> Scenario:
        self.elaborated.append(scenario_id)
        if self.fails("elaborate", seed):
            raise CallFailed("timeout", "late")
        return Scenario(
            id=scenario_id,
            value_a=outline.value_a,
            value_b=outline.value_b,
            template=outline.template,
            description=outline.context,
            action_a=f"one {scenario_id}",
            action_b=f"two {scenario_id}",
            user=UserProfile(persona="p", background="b", goal="g"),
            origin=Origin(kind="generated", source="double"),
        )


@dataclass
class Examiner:
    """A checker that fails a share of scenarios at one check."""

    name: str = "examiner"
    rejects: float = 0.0
    at: CheckName = CheckName.CONTESTED
    fails: Callable[[int], bool] = lambda seed: False
    checked: list[tuple[str, CheckName]] = field(default_factory=list)

    async def check(
        self,
        scope: str,
        seed: int,
        scenario: Scenario,
        check: CheckName,
        values: tuple[Value, Value],
        problems: Counter[str],
    ) -> Sequence[Check]:
        self.checked.append((scenario.id, check))
        if self.fails(seed):
            raise CallFailed("timeout", "late")
        passed = check is not self.at or uniform(seed, self.name) >= self.rejects
        return [Check(name=check.value, passed=passed, reason="because", checker=self.name)]


@dataclass
class Penman:
    """A writer of openings."""

    written: list[str] = field(default_factory=list)

    async def write(self, scope: str, seed: int, scenario: Scenario, problems: Counter[str]) -> str:
        self.written.append(scenario.id)
        return f"Hello, this is about {scenario.id}."


@dataclass
class Memory:
    """A RoundSink that forgets nothing, and can be stopped after so many ended rounds."""

    begun: dict[str, Round] = field(default_factory=dict)
    ended: int = 0

    async def rounds(self) -> list[Round]:
        return sorted(self.begun.values(), key=lambda one: (one.pair, one.number))

    def begin_round(self, begun: Round) -> None:
        assert begun.key not in self.begun, "a round is begun once"
        self.begun[begun.key] = begun

    def end_round(self, ended: Round) -> None:
        assert not self.begun[ended.key].ended, "a round is ended once"
        assert replace(ended, drafts=(), problems={}, ended=False) == self.begun[ended.key], "and as it was begun"
        self.begun[ended.key] = ended
        self.ended += 1
