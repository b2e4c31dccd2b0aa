"""The near end of an executor, with workers that are scripted: no Ray, no other process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from conflictscope.arena import Budget, Driver, RateLimit, Stop
from conflictscope.arena.executors import driver as driver_module
from conflictscope.arena.executors.driver import LOST_IN_A_ROW, WorkerLost
from conflictscope.arena.executors.messages import (
    Admit,
    Answer,
    Drop,
    Ended,
    Gone,
    Leave,
    Left,
    Loads,
    Opening,
    Play,
    Played,
    Reserve,
    Sent,
    Settle,
    Workers,
)
from conflictscope.errors import InputError, LaneClosed, LimitReached
from conflictscope.outcome import Group, Mode, Outcome, Role, Verdict
from conflictscope.ports import Assignment, CallEnd, CallSent, CallState, Choice, EpisodeRecord, EpisodeSpec
from conflictscope.scenario import Scenario
from conflictscope.snapshot import LaneLoad


@pytest.fixture(autouse=True)
def _no_linger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver_module, "LINGER_S", 0.0)


GROUP = Group("alpha", Mode.OPEN_ENDED)
CHOICE = Choice("thompson", "floor")


@dataclass
class Book:
    """A journal and openings in memory."""

    rows: list[tuple[int, CallSent]] = field(default_factory=list)
    ends: dict[int, CallEnd] = field(default_factory=dict)
    openings: dict[str, str] = field(default_factory=dict)

    def answered(self, scope: str, fingerprint: str) -> bytes | None:
        return None

    async def sent(self, call: CallSent) -> int:
        self.rows.append((len(self.rows) + 1, call))
        return len(self.rows)

    def ended(self, number: int, end: CallEnd) -> None:
        assert number not in self.ends
        self.ends[number] = end

    async def batch_sent(self, batch: str, model: str, handle: bytes, numbers: Sequence[int]) -> None:
        raise AssertionError

    def batch_ended(self, batch: str) -> None:
        raise AssertionError

    async def opening(self, scenario_id: str) -> str | None:
        return self.openings.get(scenario_id)

    async def record_opening(self, scenario_id: str, text: str) -> None:
        self.openings[scenario_id] = text


class Puppet:
    """A worker that says what a test has it say, and keeps what it is told."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.ended = False
        self._mouth: asyncio.Queue[Any] = asyncio.Queue()

    async def take(self, messages: Sequence[Any]) -> None:
        self.heard.extend(messages)
        if any(isinstance(message, Leave) for message in messages):
            self.say(Gone())

    async def give(self) -> Sequence[Any]:
        said = await self._mouth.get()
        if isinstance(said, Exception):
            raise said
        return [said]

    def end(self) -> None:
        self.ended = True

    def say(self, message: Any) -> None:
        self._mouth.put_nowait(message)

    def die(self) -> None:
        self._mouth.put_nowait(WorkerLost("killed"))

    def of(self, kind: type) -> list[Any]:
        return [message for message in self.heard if isinstance(message, kind)]


class Stage:
    """A driver with puppets: `hired` are those so far."""

    def __init__(self, workers: int = 2, room: int = 4, **given: Any) -> None:
        self.hired: list[Puppet] = []
        self.book, self.stop, self.shut = Book(), Stop(), {}
        self.budget = given.pop("budget", Budget(None))
        self.rates = given.pop("rates", {})
        self.hire = given.pop("hire", self._hire)
        self.settings = {"workers": workers, "episodes_per_worker": room, "answers": {}, **given}
        self.plays: list[asyncio.Task[EpisodeRecord]] = []

    async def _hire(self) -> Puppet:
        self.hired.append(Puppet())
        return self.hired[-1]

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Stage]:
        self.driver = Driver(
            self.hire,
            journal=self.book,
            openings=self.book,
            budget=self.budget,
            rates=self.rates,
            closed=lambda group: bool(self.shut),
            shut=self.shut.__setitem__,
            stop=self.stop,
            **self.settings,
        )
        async with self.driver.at_work():
            await settled()
            try:
                yield self
            finally:
                for play in self.plays:
                    play.cancel()

    def play(self, number: int, opening: str | None = "hello") -> asyncio.Task[EpisodeRecord]:
        assignment = Assignment(EpisodeSpec(GROUP, scenario(number, opening), 1), CHOICE)
        self.plays.append(asyncio.create_task(self.driver.play(assignment)))
        return self.plays[-1]

    def puppet_of(self, number: int) -> tuple[Puppet, Play]:
        """Who was handed the episode of a scenario last."""
        [*_, found] = [
            (puppet, play) for puppet in self.hired for play in puppet.of(Play) if play.scenario_id == f"s{number}"
        ]
        return found


async def settled() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


def scenario(number: int, opening: str | None) -> Scenario:
    return Scenario(
        id=f"s{number}", value_a="x", value_b="y", description="d", action_a="do", action_b="leave", opening=opening
    )


def record(number: int) -> EpisodeRecord:
    outcome = Outcome(GROUP, f"s{number}", 1, "x", "y", Verdict.A, 7, "a", "judge")
    return EpisodeRecord(outcome, 1, (), (), None, 0.1)


def call(number: int, usd: float = 0.0, scope: str | None = None) -> CallSent:
    scope = scope or EpisodeSpec(GROUP, scenario(number, None), 1).key
    return CallSent(scope, "print", Role.TARGET, "alpha", "m", "p", b"{}", usd)


COMMITTED = CallEnd(CallState.COMMITTED, reply=b"reply", cost_usd=0.5)


async def test_an_outcome_comes_after_its_calls_and_with_the_reason_why_it_was_played() -> None:
    """Sent, ended and played are dealt with in order; the record says why its episode was chosen."""
    async with Stage(workers=1).open() as stage:
        playing = stage.play(1)
        await settled()
        puppet, play = stage.puppet_of(1)
        puppet.say(Sent(1, call(1)))
        puppet.say(Ended(1, COMMITTED))
        puppet.say(Played(play.number, record(1)))
        assert (await playing).choice == CHOICE
        assert stage.book.ends == {1: COMMITTED}


async def test_no_worker_has_more_than_its_share_in_flight() -> None:
    """Two workers with room for 2 take 4 of 5 episodes, evenly; the fifth goes out when one has ended."""
    async with Stage(workers=2, room=2).open() as stage:
        for number in range(5):
            stage.play(number)
        await settled()
        assert [len(puppet.of(Play)) for puppet in stage.hired] == [2, 2]
        puppet, play = stage.puppet_of(0)
        puppet.say(Played(play.number, record(0)))
        await settled()
        assert sum(len(puppet.of(Play)) for puppet in stage.hired) == 5


async def test_one_worker_writes_the_opening_message_of_a_scenario() -> None:
    """Episodes of a scenario go where its opening message is being written; once it is there, it goes along to whoever is free."""
    async with Stage(workers=2).open() as stage:
        for _ in range(3):
            stage.play(1, opening=None)
        await settled()
        writer, play = stage.puppet_of(1)
        assert len(writer.of(Play)) == 3
        assert play.opening is None
        writer.say(Opening("s1", "written"))
        await settled()
        stage.play(1, opening=None)
        await settled()
        other, play = stage.puppet_of(1)
        assert other is not writer or len(stage.hired[1].of(Play)) == 1
        assert play.opening == "written"


async def test_who_writes_an_opening_message_has_no_more_than_its_share_either() -> None:
    """The repeats of a scenario without an opening wait for the one worker that writes it, rather than fill it up."""
    async with Stage(workers=2, room=2).open() as stage:
        for _ in range(6):
            stage.play(1, opening=None)
        await settled()
        assert sorted(len(puppet.of(Play)) for puppet in stage.hired) == [0, 2]
        writer, _ = stage.puppet_of(1)
        writer.say(Opening("s1", "written"))
        writer.say(Played(writer.of(Play)[0].number, record(1)))
        await settled()
        assert sorted(len(puppet.of(Play)) for puppet in stage.hired) == [2, 3]


async def test_who_asks_when_all_workers_are_gone_is_told_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The only worker is lost while it has nothing to do, and no other can be hired: an episode does not wait for ever."""
    monkeypatch.setattr(driver_module, "START_S", 0.01)
    hired: list[Puppet] = []

    async def hire() -> Puppet:
        if hired:
            await asyncio.Event().wait()
        hired.append(Puppet())
        return hired[0]

    async with Stage(workers=1, hire=hire).open() as stage:
        hired[0].die()
        await settled()
        with pytest.raises(LaneClosed, match="no worker could be started"):
            await stage.play(1)


async def test_a_call_that_costs_money_waits_for_its_row() -> None:
    """The worker hears yes only when the journal has said that the row is safe."""
    async with Stage(workers=1).open() as stage:
        safe = asyncio.Event()
        sent = stage.book.sent

        async def slowly(row: CallSent) -> int:
            await safe.wait()
            return await sent(row)

        stage.book.sent = slowly  # type: ignore[method-assign]
        [puppet] = stage.hired
        puppet.say(Sent(1, call(1, usd=1.0)))
        await settled()
        assert puppet.of(Answer) == []
        safe.set()
        await settled()
        assert puppet.of(Answer) == [Answer(1)]


async def test_a_lost_worker_is_replaced_and_its_episodes_are_played_again_with_what_was_answered() -> None:
    """What was answered goes along; what was on its way is abandoned and counted whole; nothing is played twice to its end."""
    budget = Budget(10.0)
    async with Stage(workers=1, budget=budget).open() as stage:
        playing = stage.play(1)
        await settled()
        first, play = stage.puppet_of(1)
        first.say(Reserve(1, 1.0, "a call"))
        await settled()
        first.say(Sent(2, call(1, usd=1.0)))
        first.say(Ended(2, COMMITTED))
        first.say(Settle(1, 0.5))
        first.say(Reserve(3, 2.0, "a call"))
        first.say(Sent(4, call(1, usd=2.0)))
        await settled()
        first.die()
        await settled()
        second, again = stage.puppet_of(1)
        assert second is not first
        assert first.ended
        assert again.answers == {play_scope(1): {"print": b"reply"}}
        assert stage.book.ends[2] == CallEnd(CallState.ABANDONED, at_risk_usd=2.0)
        assert (budget.spent_usd, budget.reserved_usd) == (2.5, 0.0)
        second.say(Played(again.number, record(1)))
        assert (await playing).outcome.key == play_scope(1)
        assert again.number == play.number


def play_scope(number: int) -> str:
    return call(number).scope


async def test_a_call_that_waits_for_its_row_when_its_worker_is_lost_costs_nothing() -> None:
    """It was never sent: the journal is told by the cancelled wait, and no dollar counts as spent."""
    budget = Budget(10.0)
    async with Stage(workers=1, budget=budget).open() as stage:

        async def never(row: CallSent) -> int:
            await asyncio.Event().wait()
            raise AssertionError

        stage.book.sent = never  # type: ignore[method-assign]
        [puppet] = stage.hired
        puppet.say(Reserve(1, 1.0, "a call"))
        puppet.say(Sent(2, call(1, usd=1.0)))
        await settled()
        puppet.die()
        await settled()
        assert (budget.spent_usd, budget.reserved_usd) == (0.0, 0.0)
        assert stage.book.ends == {}


async def test_replies_of_former_processes_go_along_with_the_episode() -> None:
    """A resumed run hands each episode out with what was answered in it and in its opening message, and nothing else."""
    answers = {(play_scope(1), "f"): b"one", (play_scope(2), "f"): b"two", ("opening/s1", "g"): b"three"}
    async with Stage(workers=1, answers=answers).open() as stage:
        stage.play(1, opening=None)
        await settled()
        _, play = stage.puppet_of(1)
        assert play.answers == {play_scope(1): {"f": b"one"}, "opening/s1": {"g": b"three"}}


async def test_leases_of_all_workers_together_never_pass_the_limit() -> None:
    """Of four that want a dollar of 2.50, two get it; a third when something is given back; then nobody has anything left."""
    budget = Budget(2.5)
    async with Stage(workers=2, budget=budget).open() as stage:
        one, two = stage.hired
        for number in (1, 2):
            one.say(Reserve(number, 1.0, "a call"))
            two.say(Reserve(number, 1.0, "a call"))
        await settled()
        granted = one.of(Answer) + two.of(Answer)
        assert len(granted) == 2
        assert budget.reserved_usd == 2.0
        for puppet in (one, two):
            for answer in puppet.of(Answer):
                puppet.say(Settle(answer.number, 0.6))
        await settled()
        answers = one.of(Answer) + two.of(Answer)
        assert sum(answer.limit is None for answer in answers) == 3
        assert budget.spent_usd + budget.reserved_usd == pytest.approx(2.2)


async def test_a_limit_of_rate_holds_for_all_workers_together_and_survives_one() -> None:
    """Three requests a window: of two workers that ask for two each, three are let in; one that is lost gives none back."""
    rate = RateLimit(3, window_s=60.0)
    async with Stage(workers=2, rates={"openai": rate}).open() as stage:
        for puppet in list(stage.hired):
            for number in (1, 2):
                puppet.say(Admit(number, "openai", 10.0))
        await settled()
        assert sum(len(puppet.of(Answer)) for puppet in stage.hired) == 3
        stage.hired[0].die()
        await settled()
        assert sum(len(puppet.of(Answer)) for puppet in stage.hired) <= 3
        assert len(stage.hired) == 3


async def test_workers_know_how_many_they_are() -> None:
    """Whoever comes or goes, all are told: what a service says of its limits is divided by that."""
    async with Stage(workers=2).open() as stage:
        assert [puppet.of(Workers)[-1].many for puppet in stage.hired] == [2, 2]
        stage.hired[1].die()
        await settled()
        assert [message.many for message in stage.hired[0].of(Workers)] == [1, 2, 1, 2]


async def test_the_lanes_of_all_workers_stand_together_and_the_share_of_a_lost_one_goes() -> None:
    """Counts are summed by model; of a worker that is lost or has left, only what it met remains."""
    async with Stage(workers=2).open() as stage:
        one, two = stage.hired
        one.say(
            Loads([LaneLoad("openai:m", 3, 8, 10, 2, retries=1, errors=4), LaneLoad("openai:n", 1, 10, 10, 0, 0, 0)])
        )
        one.say(
            Loads([LaneLoad("openai:m", 5, 8, 10, 2, retries=2, errors=5), LaneLoad("openai:n", 1, 10, 10, 0, 0, 0)])
        )
        two.say(Loads([LaneLoad("openai:m", 1, 10, 10, 0, retries=4, errors=4)]))
        await settled()
        assert stage.driver.loads() == {
            "openai:m": LaneLoad("openai:m", 6, 18, 20, 2, retries=6, errors=9),
            "openai:n": LaneLoad("openai:n", 1, 10, 10, 0, 0, 0),
        }
        one.die()
        await settled()
        assert stage.driver.loads() == {
            "openai:m": LaneLoad("openai:m", 1, 10, 10, 0, retries=6, errors=9),
            "openai:n": LaneLoad("openai:n", 0, 0, 0, 0, 0, 0),
        }
    assert stage.driver.loads()["openai:m"] == LaneLoad("openai:m", 0, 0, 0, 0, retries=6, errors=9)


@pytest.mark.parametrize(("why", "error"), [("limit", LimitReached), ("closed", LaneClosed), ("broken", RuntimeError)])
async def test_an_episode_that_is_left_is_left_here_too(why: Any, error: type[Exception]) -> None:
    """The runner is told as it would be by an episode of its own; a lane that one worker has closed is closed for all."""
    async with Stage(workers=1).open() as stage:
        playing = stage.play(1)
        await settled()
        puppet, play = stage.puppet_of(1)
        puppet.say(Left(play.number, why, "told", {"openai:m": "five in a row"}))
        with pytest.raises(error, match="told"):
            await playing
        assert stage.shut == {"openai:m": "five in a row"}
        assert stage.driver.closed(GROUP)


async def test_whoever_does_not_wait_any_more_has_the_episode_dropped() -> None:
    """A cancelled play is told to the worker, whose place in the queue is free again."""
    async with Stage(workers=1, room=1).open() as stage:
        playing = stage.play(1)
        await settled()
        stage.play(2)
        puppet, play = stage.puppet_of(1)
        playing.cancel()
        await settled()
        assert puppet.of(Drop) == [Drop(play.number)]
        assert len(puppet.of(Play)) == 2


async def test_workers_that_are_lost_one_after_the_other_end_the_run_as_failed() -> None:
    """An episode that takes every worker down with it is left for a resume, with the reason."""
    async with Stage(workers=1).open() as stage:
        playing = stage.play(1)
        for lost in range(LOST_IN_A_ROW):
            await settled()
            assert len(stage.hired) == lost + 1
            stage.hired[-1].die()
        with pytest.raises(LaneClosed, match=f"{LOST_IN_A_ROW} workers in a row were lost"):
            await playing
        assert stage.stop.reason == "failed"
        assert stage.driver.closed(GROUP)
    assert len(stage.hired) == LOST_IN_A_ROW


async def test_what_no_worker_would_do_better_is_told_at_once() -> None:
    """A worker that cannot begin for a reason that holds for all ends the run before it begins."""

    async def hire() -> Puppet:
        raise InputError("python is 3.12.1 there and 3.11.7 here")

    with pytest.raises(InputError, match=r"python is 3\.12\.1 there"):
        async with Stage(hire=hire).open():
            raise AssertionError


async def test_a_cluster_without_room_is_waited_for_so_long_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody begins within START_S, that is told as bad input."""
    monkeypatch.setattr(driver_module, "START_S", 0.01)

    async def hire() -> Puppet:
        await asyncio.Event().wait()
        raise AssertionError

    with pytest.raises(InputError, match=r"no worker could be started within 0\.01 s"):
        async with Stage(hire=hire).open():
            raise AssertionError


async def test_a_second_worker_joins_when_there_is_room_for_it() -> None:
    """The run begins with the first; what waits goes to the second as soon as it is there."""
    room = asyncio.Event()

    class Later(Stage):
        async def _hire(self) -> Puppet:
            if self.hired:
                await room.wait()
            return await super()._hire()

    async with Later(workers=2, room=1).open() as stage:
        stage.play(1)
        stage.play(2)
        await settled()
        assert len(stage.hired) == 1
        room.set()
        await settled()
        assert [len(puppet.of(Play)) for puppet in stage.hired] == [1, 1]


async def test_a_call_whose_episode_is_dropped_before_its_row_is_safe_is_abandoned() -> None:
    """Its end is told as soon as it has a number."""
    safe = asyncio.Event()
    async with Stage(workers=1).open() as stage:
        sent: Callable[[CallSent], Any] = stage.book.sent

        async def slowly(row: CallSent) -> int:
            await safe.wait()
            return int(await sent(row))

        stage.book.sent = slowly  # type: ignore[method-assign]
        [puppet] = stage.hired
        puppet.say(Sent(1, call(1, usd=1.0)))
        puppet.say(Ended(1, CallEnd(CallState.ABANDONED)))
        await settled()
        assert stage.book.ends == {}
        safe.set()
        await settled()
        assert stage.book.ends == {1: CallEnd(CallState.ABANDONED)}
