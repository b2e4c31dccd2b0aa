from __future__ import annotations

import asyncio
import os
import signal

import pytest

from conflictscope.pipeline.signals import left_by_signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_answered_between_two_steps_of_the_loop(number: int) -> None:
    """The step in which it comes is done to its end; then the task tidies up, and KeyboardInterrupt says why it ended."""
    said: list[str] = []

    async def work() -> None:
        with left_by_signals():
            try:
                os.kill(os.getpid(), number)
                said.append("the step goes on")
                assert not asyncio.current_task().cancelling()  # type: ignore[union-attr]
                await asyncio.sleep(60)
            finally:
                await asyncio.sleep(0)
                said.append("tidied up")

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(work())
    assert said == ["the step goes on", "tidied up"]


def test_a_task_that_others_cancel_is_cancelled() -> None:
    """Without a signal, what comes out of the block is what went on in it."""

    async def work() -> None:
        with left_by_signals():
            await asyncio.sleep(60)

    async def main() -> None:
        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
