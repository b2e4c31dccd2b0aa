"""Taking no more work than there are slots for, and none at all once a stop is asked for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from conflictscope.errors import CallFailed, LaneClosed, LimitReached

T = TypeVar("T")


class Halted(Exception):
    """No new work is taken."""


LEFT = (Halted, LaneClosed, LimitReached)
"""After these, what was begun is left as it is, for a resume."""


class Gate:
    """Lets `concurrency` pieces of work through at a time, until it is shut.

    shut: whether somebody asked for a stop. limit_reached: told of a limit that a piece of work ran into.
    """

    def __init__(self, concurrency: int, shut: Callable[[], bool], limit_reached: Callable[[str], None]) -> None:
        self._slots = asyncio.Semaphore(concurrency)
        self._shut = shut
        self._limit_reached = limit_reached

    def check(self) -> None:
        """Raises Halted where no new work is taken."""
        if self._shut():
            raise Halted("no new work is taken")

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """A slot for one piece of work. Raises Halted where there is none to be had any more."""
        async with self._slots:
            self.check()
            try:
                yield
            except LimitReached as limit:
                self.left(limit)
                raise

    def left(self, halt: BaseException) -> None:
        """Work was left because of this; a limit asks for a stop of all of it."""
        if isinstance(halt, LimitReached):
            self._limit_reached(str(halt))


async def all_of(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """The results in order, when all have ended: what one of them runs into takes nothing away from the others.

    Raises what one of them raised: a bug of ours before a reason to leave the work (LEFT), that before a failed call.
    """
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        await asyncio.gather(*tasks, return_exceptions=True)
    except asyncio.CancelledError:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
    errors = [error for task in tasks if (error := task.exception()) is not None]
    if errors:
        raise min(errors, key=_rank)
    return [task.result() for task in tasks]


def _rank(error: BaseException) -> int:
    return 2 if isinstance(error, CallFailed) else int(isinstance(error, LEFT))
