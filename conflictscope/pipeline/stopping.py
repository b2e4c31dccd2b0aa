"""What ends work early: signals, the time limit, a limit that some piece of it runs into."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from conflictscope.arena import GRACE_S, Stop
from conflictscope.errors import LimitReached
from conflictscope.pipeline.signals import signals_call


async def unless_stopped(stop: Stop, work: Coroutine[Any, Any, None]) -> None:
    """Do the work, or drop it when a stop is asked for. A limit that it reaches asks for one."""
    task = asyncio.ensure_future(work)
    waiter = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((task, waiter), return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiter.cancel()
        task.cancel()
        await asyncio.wait((task, waiter))
    if not task.cancelled():
        try:
            task.result()
        except LimitReached as limit:
            stop.request("limit", str(limit))


async def until_patience_ends(stop: Stop, work: Awaitable[None]) -> None:
    """Do the work; where a stop was asked for, what is in flight has its grace, and is abandoned then."""
    task = asyncio.ensure_future(work)
    watcher = asyncio.ensure_future(stop.patience_ends())
    try:
        await asyncio.wait((task, watcher), return_when=asyncio.FIRST_COMPLETED)
    finally:
        watcher.cancel()
        task.cancel()
        await asyncio.wait((task, watcher))
    if not task.cancelled():
        task.result()


@contextmanager
def stopped_by_signals(stop: Stop, tell: Callable[[str], None]) -> Iterator[None]:
    """Ctrl-C and SIGTERM ask for a stop; once more, and what is in flight is abandoned."""

    def interrupt() -> None:
        if not stop.asked:
            tell(f"Stopping: what is in flight has {GRACE_S:g} s to finish; once more abandons it.")
        stop.interrupt()

    with signals_call(interrupt):
        yield


@contextmanager
def stopped_by_time(stop: Stop, time_s: float | None) -> Iterator[None]:
    """A stop is asked for after so many seconds."""
    if time_s is None:
        yield
        return
    message = f"{time_s:g} s have passed (limits.time_s)"
    timer = asyncio.get_running_loop().call_later(time_s, stop.request, "limit", message)
    try:
        yield
    finally:
        timer.cancel()
