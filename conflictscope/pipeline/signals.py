"""Ctrl-C and SIGTERM, answered by the event loop."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def signals_call(react: Callable[[], None]) -> Iterator[None]:
    """Ctrl-C and SIGTERM call `react` while the block runs, between two steps of the loop.

    Left to itself, `asyncio.run` cancels its task from within the signal handler, in the middle of whatever the loop just does.
    Where that is handing over a result, the loop complains of an invalid state, with a traceback.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals go to the main thread; whoever runs us elsewhere cancels the task instead
        return
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, react)
    try:
        yield
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)


@contextmanager
def left_by_signals() -> Iterator[None]:
    """Ctrl-C and SIGTERM cancel the task that is in the block, which tidies up and raises KeyboardInterrupt.

    Once more ends the process at once.
    """
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None
    left = False

    def leave() -> None:
        nonlocal left
        left = True
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
        task.cancel()

    with signals_call(leave):
        try:
            yield
        except asyncio.CancelledError:
            if left:
                raise KeyboardInterrupt from None
            raise
