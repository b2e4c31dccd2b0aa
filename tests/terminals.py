"""A terminal in which a command runs, and what stands on its screen: only what our screens are drawn with is understood."""

from __future__ import annotations

import fcntl
import os
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.commands import COMMAND, environment

_PART = re.compile(r"\x1b\[(?P<private>\?)?(?P<numbers>[0-9;]*)(?P<final>[A-Za-z])|\r\n?|\n|[^\x1b\r\n]+|\x1b")
_PATIENCE_S = 60.0


class Terminal:
    """Runs a command of ours in a pseudo-terminal. sent: all that it wrote. screen: the other screen, None while it is off."""

    def __init__(
        self, *arguments: object, cwd: Path, size: tuple[int, int] = (24, 80), env: Mapping[str, str] | None = None
    ) -> None:
        self._master, slave = os.openpty()
        self.resize(*size)
        known = {name: text for name, text in environment().items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
        self.process = subprocess.Popen(
            [*COMMAND, *map(str, arguments)], cwd=cwd, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            env=known | {"TERM": "screen"} | dict(env or {}),
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # type: ignore[arg-type,return-value]
        )  # fmt: skip
        self._slave = slave
        self.settings = termios.tcgetattr(slave)
        self.sent = ""
        self.screen: dict[int, str] | None = None
        self._read = 0
        self._row = 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)
        os.close(self._slave)

    def resize(self, height: int, width: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def press(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    @property
    def echoes(self) -> bool:
        """Whether the terminal shows what is typed, as it does for a shell."""
        return bool(termios.tcgetattr(self._slave)[3] & termios.ECHO)

    @property
    def shown(self) -> str:
        """The other screen as text."""
        return (
            "\n".join(self.screen.get(row, "") for row in range(1, max(self.screen, default=0) + 1))
            if self.screen
            else ""
        )

    def until(self, seen: Callable[[], bool]) -> None:
        """Read what the command writes until something is seen."""
        deadline = time.monotonic() + _PATIENCE_S
        while not seen():
            ready, _, _ = select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"in vain; the screen is\n{self.shown}\nafter\n{self.sent[-2000:]!r}"
            self._take(os.read(self._master, 65536).decode(errors="replace"))

    def until_end(self) -> int:
        """Read all that the command writes; its exit code."""
        deadline = time.monotonic() + _PATIENCE_S
        while self.process.poll() is None or select.select([self._master], [], [], 0)[0]:
            assert time.monotonic() < deadline, f"still there; the screen is\n{self.shown}"
            if select.select([self._master], [], [], 0.1)[0]:
                self._take(os.read(self._master, 65536).decode(errors="replace"))
        return self.process.returncode

    def _take(self, text: str) -> None:
        self.sent += text
        whole = self.sent.rfind("\x1b[", len(self.sent) - 12)  # a sequence may have come in halves
        end = whole if whole >= 0 and not re.match(r"\x1b\[\??[0-9;]*[A-Za-z]", self.sent[whole:]) else len(self.sent)
        if self.sent.endswith("\x1b"):
            end = len(self.sent) - 1
        for part in _PART.finditer(self.sent, self._read, end):
            self._draw(part)
        self._read = end

    def _draw(self, part: re.Match[str]) -> None:
        code = (part["private"] or "") + (part["final"] or "")
        if code in ("?h", "?l") and part["numbers"] == "1049":
            self.screen = {} if code == "?h" else None
        if self.screen is None or code in ("?h", "?l", "m"):
            return
        match code:
            case "H":
                self._row = int((part["numbers"] or "1").partition(";")[0])
            case "J":
                self.screen.clear()
            case "K":
                self.screen[self._row] = ""
            case "":
                assert not set(part[0]) & set("\r\n\x1b"), f"not ours: {part[0]!r}"
                self.screen[self._row] = self.screen.get(self._row, "") + part[0]
            case _:
                raise AssertionError(f"not ours: {part[0]!r}")
