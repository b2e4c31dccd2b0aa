"""Commands that run while a browser looks on."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote, urlsplit

from tests.commands import COMMAND, environment

if TYPE_CHECKING:
    from playwright.sync_api import Page


class OpenPage(Protocol):
    """Opens an address; see conftest."""

    def __call__(self, url: str, *, dark: bool = False, width: int = 1280) -> Page: ...


class Site:
    """A `view` of `folder / "runs"`. address: as it was printed, with the token."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs = folder / "runs"
        self.runs.mkdir()
        self.address = ""
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Serve, at the port of before where there was one."""
        port = urlsplit(self.address).port or 0
        self._process = subprocess.Popen(
            [*COMMAND, "view", str(self.runs), "--port", str(port)],
            env=environment() | {"XDG_STATE_HOME": str(self.folder / "state")},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        [self.address] = re.findall(r"http://\S+", self._process.stdout.readline())

    def kill(self) -> None:
        """As a crash would."""
        assert self._process is not None
        self._process.kill()
        self._process.communicate()

    def of(self, run: str, rest: str = "") -> str:
        """The address of a run's page, with the token."""
        before, token = self.address.split("/?")
        return f"{before}/runs/{quote(run, safe='')}{rest}{'&' if '?' in rest else '?'}{token}"


def unfold(page: Page) -> None:
    """Open all that is folded, and bring every chart into sight, so that it is drawn."""
    page.evaluate("for (const own of document.querySelectorAll('main details')) own.open = true")
    for plot in page.locator(".plot").all():
        plot.scroll_into_view_if_needed()
        plot.locator("canvas").wait_for()


@contextmanager
def viewing(folder: Path) -> Iterator[Site]:
    """A site that is served until the block ends."""
    site = Site(folder)
    site.start()
    try:
        yield site
    finally:
        site.kill()


@contextmanager
def sweeping(sweep: Path, runs: Path, name: str) -> Iterator[None]:
    """A sweep that goes on while the block does; it is interrupted at the end."""
    process = subprocess.Popen(
        [*COMMAND, "run", str(sweep), "--runs-dir", str(runs), "--name", name, "--no-live"],
        env=environment() | {"XDG_STATE_HOME": os.devnull},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
