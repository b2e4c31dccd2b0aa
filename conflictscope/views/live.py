"""Showing a run, or a library in the making, while it goes on: on a terminal's other screen, or a line every few seconds."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import termios
import threading
import time
import tty
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

from rich.console import Console, Group, RenderableType
from rich.text import Text

from conflictscope.snapshot import LibraryProgress, Snapshot
from conflictscope.views.generation import library_line, library_screen
from conflictscope.views.screen import Trail, screen, signs_for
from conflictscope.views.terminal import line

REFRESH_S = 0.25
LINE_EVERY_S = 3.0
DOCUMENT_EVERY_S = 1.0
_BUSY_SHARE = 0.1  # of the time, looking and drawing may take
_ALL_ANEW_S = 5.0  # others may have written to the terminal meanwhile
# The other screen, no cursor, no wrapping at the right edge. Where a terminal has no other screen, this one is left clean.
_ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[H\x1b[2J"
_LEAVE = "\x1b[0m\x1b[H\x1b[2J\x1b[?7h\x1b[?25h\x1b[?1049l"
_KEYS: Mapping[str, int] = {
    "\x1b[A": -1, "\x1bOA": -1, "k": -1, "\x1b[B": 1, "\x1bOB": 1, "j": 1, "\x1b[5~": -5, "\x1b[6~": 5, " ": 5,
    "\x1b[H": -1_000_000, "\x1bOH": -1_000_000, "\x1b[1~": -1_000_000,
}  # fmt: skip
_KEY = re.compile(r"\x1b\[[0-9;]*[~A-Za-z]|\x1bO[A-Za-z]|.", re.DOTALL)
_CHANGES_BY_ITSELF = {"elapsed_s", "rate_per_s", "remaining_s", "lanes"}

Look: TypeAlias = Snapshot | LibraryProgress
Take: TypeAlias = Callable[[], Awaitable[Look]]


class Frames:
    """Turns what is to be on the screen into what must be sent for it: only the lines that differ from what is there."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._there: list[str] = []
        self._size = (0, 0)
        self._whole_at = 0.0

    def frame(self, shown: RenderableType, height: int, width: int) -> str:
        """The text to send. All anew where the terminal has another size, and every few seconds."""
        with self._console.capture() as capture:
            self._console.print(shown, width=width, height=height, crop=True)
        lines = capture.get().split("\n")[:height]
        now = time.monotonic()
        text = ""
        if self._size != (height, width):
            self._there, self._size, text = [], (height, width), "\x1b[0m\x1b[2J"
        elif now - self._whole_at > _ALL_ANEW_S:
            self._there = []
        if not self._there:
            self._whole_at = now
        lines += [""] * (height - len(lines))
        there: Sequence[str | None] = self._there or [None] * height
        for number, (wanted, is_there) in enumerate(zip(lines, there, strict=True), start=1):
            if wanted != is_there:
                text += (
                    f"\x1b[{number};1H\x1b[K{wanted}"  # erased first: at the right edge, it would take the last sign
                )
        self._there = lines
        return text


class Live:
    """Shows work on the other screen of a terminal; what is told meanwhile stands at its bottom, and beneath what was there.

    tell: shows a line to whoever sits there, while the screen is not on. keys: whether the terminal's keys are for us: q leaves,
    arrows and pages scroll the rankings.
    """

    def __init__(self, console: Console, tell: Callable[[str], None], *, keys: bool = False) -> None:
        self._console = console
        self._tell = tell
        self._keys = keys
        self._told: list[str] = []
        self._on = False
        self._writing = threading.Lock()

    def tell(self, text: str) -> None:
        """Show a line, now and for good."""
        if self._on:
            self._told.append(text)
        else:
            self._tell(text)

    async def show(self, take: Take) -> None:
        """Redraw up to four times a second until the work ends, somebody leaves by a key, or this is cancelled.

        Where looking and drawing takes long, pauses are longer, so that it takes a tenth of the time at the most.
        """
        pressed = asyncio.Queue[str]()
        frames, trail, signs = Frames(self._console), Trail(), signs_for(self._console.encoding)
        first, cost_s = 0, 0.0
        with self._stage(), _listening(pressed) if self._keys else _deaf() as listening:
            while True:
                began = time.monotonic()
                look = await take()
                ended = _over(look)
                until = None
                while until is None or time.monotonic() < until:
                    height, width = self._console.size.height, self._console.size.width
                    notice = self._told[-1] if self._told else ""
                    shown: RenderableType
                    if isinstance(look, LibraryProgress):
                        shown = library_screen(look, height, notice)
                    else:
                        first = max(0, min(first, len(look.rankings) - 1))
                        changes = trail.changes(look.rankings)
                        lines = screen(
                            look, height, width, changes, signs=signs, first=first, keys=listening, notice=notice
                        )
                        shown = Group(*lines)
                    await self._send(frames.frame(shown, height, width))
                    if ended:
                        return
                    if (
                        until is None
                    ):  # the cheaper of two looks: what was read once or held up once is no reason to wait
                        before_s, cost_s = cost_s, time.monotonic() - began
                        until = time.monotonic() + max(REFRESH_S, min(before_s, cost_s) * (1 / _BUSY_SHARE - 1))
                    try:
                        async with asyncio.timeout(until - time.monotonic()):
                            keys = [await pressed.get()]
                    except TimeoutError:
                        break
                    while not pressed.empty():
                        keys.append(pressed.get_nowait())
                    if "q" in keys:
                        return
                    for key in keys:
                        first = max(0, first + _KEYS.get(key, 0))

    @contextmanager
    def _stage(self) -> Iterator[None]:
        with self._writing:
            self._write(_ENTER)
            self._on = True
        try:
            yield
        finally:
            with self._writing:
                self._on = False
                self._write(_LEAVE)
            while self._told:
                self._tell(self._told.pop(0))

    async def _send(self, text: str) -> None:
        """In a thread: a terminal that takes nothing for a while must not hold up the work that it shows."""
        if text:
            await asyncio.to_thread(self._write_frame, text)

    def _write_frame(self, text: str) -> None:
        """Nothing where the screen is off: whoever waited for this thread was cancelled meanwhile."""
        with self._writing:
            if self._on:
                self._write(text)

    def _write(self, text: str) -> None:
        self._console.file.write(text)
        self._console.file.flush()


def can_show(console: Console) -> bool:
    """Whether a console is a terminal that can be drawn on."""
    return console.is_terminal and not console.is_dumb_terminal


@contextmanager
def _deaf() -> Iterator[bool]:
    yield False


@contextmanager
def _listening(pressed: asyncio.Queue[str]) -> Iterator[bool]:
    """Take keys one by one, unseen, while the block runs; False where there is no keyboard, or we are in the background."""
    if not sys.stdin.isatty() or os.tcgetpgrp(sys.stdin.fileno()) != os.getpgrp():
        yield False
        return
    keyboard, loop = sys.stdin.fileno(), asyncio.get_running_loop()

    def read() -> None:
        text = os.read(keyboard, 1024).decode(errors="replace")
        if not text:  # nobody sits there any more
            loop.remove_reader(keyboard)
        for key in _KEY.findall(text):  # a key that is held down comes several times at once
            pressed.put_nowait("q" if key == "Q" else key)

    before = termios.tcgetattr(keyboard)
    tty.setcbreak(keyboard)
    loop.add_reader(keyboard, read)
    try:
        yield True
    finally:
        loop.remove_reader(keyboard)
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)


async def lines(take: Take, console: Console) -> None:
    """Print one line every few seconds until the work ends or this is cancelled, for logs and pipes."""
    while not _over(look := await take()):
        console.print(_line(look), soft_wrap=True)
        await asyncio.sleep(LINE_EVERY_S)


async def documents(take: Take, write: Callable[[Mapping[str, Any]], None]) -> None:
    """Write a document for each change, one a second at the most, until the work ends; the last one tells how it ended.

    What changes by itself as time goes on is no change.
    """
    before: Mapping[str, Any] = {}
    while True:
        look = await take()
        document = look.to_json()
        told = {key: value for key, value in document.items() if key not in _CHANGES_BY_ITSELF}
        if told != before:
            write(document)
        if _over(look):
            return
        before = told
        await asyncio.sleep(DOCUMENT_EVERY_S)


def _over(look: Look) -> bool:
    """Whether the work has ended, and all that came of it was read: of a long run, a look may tell a part."""
    if isinstance(look, LibraryProgress):
        return look.state != "running"
    return look.progress.state != "running" and look.progress.read == 1


def _line(look: Look) -> Text:
    return library_line(look) if isinstance(look, LibraryProgress) else line(look)
