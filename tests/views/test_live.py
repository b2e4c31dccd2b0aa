from __future__ import annotations

import asyncio
import contextlib
import io
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest
from rich.console import Console

from conflictscope.outcome import Verdict
from conflictscope.snapshot import Snapshot
from conflictscope.views import Live, documents, lines, live
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


def parts_of_a_long_run() -> Callable[[], Awaitable[Snapshot]]:
    """Looks at a run that has ended: of the first ones, a part is read."""
    looks = [snapshot(state="finished", read=read, verdicts={Verdict.A: done}) for read, done in ((0.3, 30), (1.0, 99))]
    coming = iter([looks[0], looks[0], looks[1]])

    async def take() -> Snapshot:
        return next(coming)

    return take


async def test_a_run_that_has_ended_is_shown_until_all_of_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the screen, in lines, as documents: the last look is at the whole."""
    for name in ("LINE_EVERY_S", "DOCUMENT_EVERY_S", "REFRESH_S"):
        monkeypatch.setattr(live, name, 0.0)
    terminal = Console(file=io.StringIO(), width=80, height=24)
    await Live(terminal, print).show(parts_of_a_long_run())
    await lines(parts_of_a_long_run(), terminal)
    written: list[Mapping[str, Any]] = []
    await documents(parts_of_a_long_run(), written.append)
    assert isinstance(terminal.file, io.StringIO)
    assert terminal.file.getvalue().count("  99/1,000 episodes") == 1
    assert [one["done"] for one in written] == [30, 99]
