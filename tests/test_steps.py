"""The clock of `benchmarks.steps`: whose time is whose."""

from __future__ import annotations

import asyncio

import pytest

from benchmarks import steps
from benchmarks.steps import STEPS, Clock


def test_what_a_step_calls_counts_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step has its own time without that of the steps inside of it, also where it waits and another goes on."""
    now = [0.0]
    monkeypatch.setattr(steps.time, "thread_time", lambda: now[0])
    clock = Clock()

    def works(seconds: float) -> None:
        now[0] += seconds

    inner = clock.around("inner", works)

    async def outer(seconds: float) -> str:
        works(seconds)
        inner(10 * seconds)
        await asyncio.sleep(0)
        works(seconds)
        return "done"

    async def together() -> list[str]:
        timed = clock.around("outer", outer)
        return await asyncio.gather(timed(1.0), timed(100.0))

    assert asyncio.run(together()) == ["done", "done"]
    assert clock.spent_s == {"outer": 202.0, "inner": 1_010.0}


async def test_a_cancellation_reaches_the_step_that_waits() -> None:
    """The clock stands in nobody's way."""
    seen = []

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    task = asyncio.create_task(Clock().around("waits", waits)())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == ["cancelled"]


def test_every_step_is_there_and_is_left_as_it_was() -> None:
    """A step that is renamed in the product is noticed; after a run nothing is left around it."""
    plain = {(owner, name): getattr(owner, name) for places in STEPS.values() for owner, name in places}
    with Clock().at_work():
        assert all(getattr(owner, name) is not function for (owner, name), function in plain.items())
    assert all(getattr(owner, name) is function for (owner, name), function in plain.items())
