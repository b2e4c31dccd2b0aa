from __future__ import annotations

import asyncio
import contextlib
import io
import threading

from rich.console import Console

from conflictscope.snapshot import Snapshot
from conflictscope.views import Live
from tests.views.test_terminal import snapshot

LEAVES = "\x1b[?1049l"


class SlowTerminal(io.StringIO):
    """A terminal that holds up whoever writes outside of the main thread: seen, and until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.reached, self.let_go = threading.Event(), threading.Event()

    def write(self, text: str) -> int:
        if threading.current_thread() is not threading.main_thread():
            self.reached.set()
            assert self.let_go.wait(60)
        return super().write(text)


async def look() -> Snapshot:
    return snapshot()


async def test_the_screen_is_left_after_a_frame_that_is_on_its_way() -> None:
    """Cancelled while a terminal takes its time, the view leaves the screen once that frame is there, and nothing follows."""
    terminal = SlowTerminal()
    view = asyncio.create_task(Live(Console(file=terminal, width=80, height=24), print).show(look))
    await asyncio.to_thread(terminal.reached.wait, 60)
    view.cancel()
    asyncio.get_running_loop().run_in_executor(None, terminal.let_go.set)
    with contextlib.suppress(asyncio.CancelledError):
        await view
    assert view.cancelled()
    assert terminal.getvalue().endswith(LEAVES)
    assert terminal.getvalue().count(LEAVES) == 1


async def test_a_frame_that_comes_too_late_is_not_shown() -> None:
    """What a thread would write after the screen was left, nobody sees: it would stand among what the shell shows."""
    terminal = io.StringIO()
    live = Live(Console(file=terminal, width=80, height=24), print)
    with live._stage():
        await live._send("first")
    await live._send("too late")
    assert "first" in terminal.getvalue()
    assert terminal.getvalue().endswith(LEAVES)
