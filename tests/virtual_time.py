"""An event loop whose time passes only where nobody can go on without it: hours of waiting take no time at all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar
from unittest.mock import patch

T = TypeVar("T")


class Deadlock(Exception):
    """Everybody waits, and nobody is left who could wake them."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop with its own clock. wake_ups: how often time had to pass."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.wake_ups = 0
        super().__init__()
        look: Callable[[float], Any] = self._selector.select  # type: ignore[attr-defined]

        def select(timeout: float | None) -> Any:
            if timeout is None:
                raise Deadlock
            self.now += max(0.0, timeout)
            self.wake_ups += timeout > 0
            return look(0)

        self._selector.select = select  # type: ignore[attr-defined]

    def time(self) -> float:
        return self.now


def in_virtual_time(main: Callable[[VirtualLoop], Coroutine[Any, Any, T]]) -> T:
    """Run `main` with a clock of its own, which `time.monotonic` tells too. Raises Deadlock where nothing can go on."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, VirtualLoop)
        with patch.object(time, "monotonic", loop.time):
            return runner.run(main(loop))


async def settle(rounds: int = 20) -> None:
    """Let every task go as far as it gets without time passing."""
    for _ in range(rounds):
        await asyncio.sleep(0)


async def all_of(*work: Awaitable[T]) -> list[T]:
    """Results in order; the first failure comes out."""
    return list(await asyncio.gather(*work))
