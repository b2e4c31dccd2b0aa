"""Work is let through up to a bound, and none once a stop is asked for; what one piece runs into takes nothing from others."""

from __future__ import annotations

import asyncio

import pytest

from conflictscope.errors import CallFailed, LaneClosed, LimitReached
from conflictscope.generation.gate import Gate, Halted, all_of

pytestmark = pytest.mark.anyio


async def test_no_more_than_so_many_at_a_time() -> None:
    gate = Gate(3, lambda: False, lambda told: None)
    inside = most = 0

    async def work() -> None:
        nonlocal inside, most
        async with gate.slot():
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1

    await all_of(work() for _ in range(20))
    assert most == 3


async def test_after_a_stop_no_slot_is_to_be_had() -> None:
    shut = False
    gate = Gate(1, lambda: shut, lambda told: None)
    async with gate.slot():
        shut = True
    with pytest.raises(Halted):
        async with gate.slot():
            pass


async def test_a_limit_is_told_and_passed_on() -> None:
    told: list[str] = []
    gate = Gate(1, lambda: False, told.append)
    with pytest.raises(LimitReached):
        async with gate.slot():
            raise LimitReached("$1 is spent")
    assert told == ["$1 is spent"]


@pytest.mark.parametrize(
    ("raised", "seen"),
    [
        ([CallFailed("timeout", "late"), LaneClosed("shut")], LaneClosed),
        ([CallFailed("timeout", "late"), Halted("stop"), KeyError("bug")], KeyError),
        ([CallFailed("timeout", "late")], CallFailed),
    ],
)
async def test_all_end_before_the_gravest_is_raised(raised: list[Exception], seen: type[Exception]) -> None:
    """A bug of ours before a reason to stop, that before a failed call; and only when everybody has finished."""
    finished = []

    async def fails(error: Exception) -> None:
        raise error

    async def works() -> None:
        await asyncio.sleep(0)
        finished.append(1)

    with pytest.raises(seen):
        await all_of([*(fails(error) for error in raised), works(), works()])
    assert len(finished) == 2


async def test_cancelling_the_whole_cancels_its_parts() -> None:
    cancelled = []
    begun = asyncio.Event()

    async def waits() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(1)
            raise

    task = asyncio.create_task(all_of([waits(), waits()]))  # type: ignore[arg-type]
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(cancelled) == 2
