"""The far end of an executor, and its line to the driver: no Ray, no other process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from conflictscope.arena import Line, LineBudget, LineJournal, LineRate, LocalExecutor, Seat
from conflictscope.arena.executors.messages import (
    Admit,
    Answer,
    Correct,
    Ended,
    Gone,
    Leave,
    Loads,
    Reserve,
    Sent,
    Settle,
)
from conflictscope.arena.executors.worker import Worker
from conflictscope.errors import LimitReached
from conflictscope.outcome import Role
from conflictscope.ports import CallEnd, CallSent, CallState
from conflictscope.snapshot import LaneLoad
from tests.virtual_time import VirtualLoop, in_virtual_time


def call(usd: float) -> CallSent:
    return CallSent("scope", "print", Role.TARGET, "alpha", "m", "p", b"{}", usd)


async def started(task: asyncio.Task[object]) -> None:
    for _ in range(5):
        await asyncio.sleep(0)
    assert not task.done()


async def test_a_free_call_goes_on_at_once_and_one_that_costs_money_when_the_driver_says_so() -> None:
    """Both are told before they go on."""
    line = Line()
    journal = LineJournal(line)
    assert await journal.sent(call(0.0)) == 1
    paid = asyncio.create_task(journal.sent(call(1.0)))
    await started(paid)
    assert await line.listen() == [Sent(1, call(0.0)), Sent(2, call(1.0))]
    line.answered(Answer(2))
    assert await paid == 2


async def test_a_call_that_is_cancelled_while_it_waits_is_told_as_abandoned() -> None:
    """The driver may have written it down already; it was not sent."""
    line = Line()
    paid = asyncio.create_task(LineJournal(line).sent(call(1.0)))
    await started(paid)
    paid.cancel()
    with pytest.raises(asyncio.CancelledError):
        await paid
    assert (await line.listen())[-1] == Ended(1, CallEnd(CallState.ABANDONED))
    line.answered(Answer(1))  # comes all the same


async def test_the_answers_of_an_episode_are_found_in_its_scope_only() -> None:
    journal = LineJournal(Line())
    journal.answers["scope"] = {"print": b"reply"}
    assert journal.answered("scope", "print") == b"reply"
    assert journal.answered("scope", "other") is None
    assert journal.answered("elsewhere", "print") is None


async def test_a_limit_that_is_reached_at_the_driver_is_reached_here() -> None:
    line = Line()
    reserving = asyncio.create_task(LineBudget(line, 1.0).reserve(2.0, "one call"))
    await started(reserving)
    line.answered(Answer(1, "$1 of $1 is spent"))
    with pytest.raises(LimitReached, match=r"\$1 of \$1"):
        await reserving


async def test_without_a_limit_nobody_is_asked() -> None:
    """The plain case costs no message."""
    line = Line()
    budget = LineBudget(line, None)
    await budget.reserve(2.0, "one call")
    budget.settle(2.0, 1.0)
    line.tell(Ended(9, CallEnd(CallState.ABANDONED)))
    assert await line.listen() == [Ended(9, CallEnd(CallState.ABANDONED))]


@given(st.lists(st.tuples(st.sampled_from([0.5, 1.0, 2.0]), st.booleans(), st.booleans()), max_size=12))
def test_every_lease_is_given_back_exactly_once(calls: list[tuple[float, bool, bool]]) -> None:
    """Whether a call is settled, cancelled before the answer or after it: as many settlements as granted leases, by amount."""

    async def play() -> None:
        line = Line()
        budget = LineBudget(line, 100.0)
        granted: dict[int, float] = {}
        for usd, cancelled, late in calls:
            reserving = asyncio.create_task(budget.reserve(usd, "one call"))
            await started(reserving)
            number = next(m.number for m in await line.listen() if isinstance(m, Reserve))
            granted[number] = usd
            if cancelled and late:
                reserving.cancel()
                await asyncio.wait([reserving])
                line.answered(Answer(number))
            else:
                line.answered(Answer(number))
                await reserving
                budget.settle(usd, usd / 2)
            for _ in range(3):
                await asyncio.sleep(0)
            [settled] = [m for m in await line.listen() if isinstance(m, Settle)]
            assert granted.pop(settled.number) == usd
        assert granted == {}

    asyncio.run(play())


async def test_an_admission_is_corrected_by_its_number_and_given_up_whole_when_it_is_cancelled() -> None:
    line = Line()
    rate = LineRate(line, "openai")
    first = asyncio.create_task(rate.admit(100.0))
    await started(first)
    line.answered(Answer(1))
    rate.correct(await first, 70.0)
    second = asyncio.create_task(rate.admit(50.0))
    await started(second)
    second.cancel()
    await asyncio.wait([second])
    line.answered(Answer(2))
    await asyncio.sleep(0)
    assert await line.listen() == [
        Admit(1, "openai", 100.0), Correct(1, 70.0), Admit(2, "openai", 50.0), Correct(2, 0.0),
    ]  # fmt: skip


async def test_calls_wait_where_the_driver_is_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not listened to does not grow without bound."""
    line = Line()
    journal = LineJournal(line)

    async def many() -> None:
        while True:
            await journal.sent(call(0.0))

    talking = asyncio.create_task(many())
    await started(talking)
    assert len(await line.listen()) == 1_000
    assert len(await line.listen()) == 1_000
    talking.cancel()


def test_a_worker_says_about_once_a_second_how_its_lanes_stand_where_that_has_changed() -> None:
    """At the beginning, after a second in which something happened, and at the end; of all else it keeps quiet."""
    load = LaneLoad("openai:m", 0, 8, 8, 0, 0, 0)
    loads = [load]

    @asynccontextmanager
    async def setup(line: Line, journal: object, openings: object) -> AsyncIterator[Seat]:
        yield Seat(LocalExecutor({}, openings, seed=1), {}, lambda: list(loads), dict)  # type: ignore[arg-type]

    async def work(loop: VirtualLoop) -> None:
        worker = Worker()
        await worker.start(setup)
        assert await worker.give() == [Loads([load])]
        began = loop.time()
        hearing = asyncio.create_task(worker.give())
        await asyncio.sleep(10.0)
        assert not hearing.done()
        loads[0] = replace(load, in_flight=3, errors=1)
        assert await hearing == [Loads([replace(load, in_flight=3, errors=1)])]
        assert loop.time() - began < 11.5
        loads[0] = replace(load, errors=2)
        await worker.take([Leave()])
        assert await worker.give() == [Loads([replace(load, errors=2)]), Gone()]

    in_virtual_time(work)
    structlog.reset_defaults()
