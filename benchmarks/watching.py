"""What watching costs a sweep: episodes per second with nobody looking on, with the terminal, with three web viewers.

    python -m benchmarks.watching

Planted models in process. `paced`: a call takes half a second, and what is in flight makes some 200 episodes a second of it, as a
fast service does. `flat out`: calls take no time, so that sweep, server and browsers all want the cores. In each of ROUNDS
rounds the sweep is run anew under each look: `nobody` (--no-live), `terminal` (its own live view, on a pseudo-terminal of
200x60), `events` (`view` with three clients that read the event stream), `pages` (`view` with three pages in Chromium, where
there is one). A rate is that of the middle nine tenths of the episodes, by the times in the run file. Medians, and ratios to
`nobody`; CPU is that of the sweep's own process for each episode.
"""

from __future__ import annotations

import fcntl
import http.client
import os
import pty
import re
import shutil
import sqlite3
import struct
import subprocess
import sys
import tempfile
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from datetime import datetime
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

from benchmarks.worlds import write_sweep

ROUNDS = 3
VIEWERS = 3
COMMAND = [sys.executable, "-m", "conflictscope"]
PACES = {
    "paced": {"median_s": 0.5, "p95_s": 0.7, "scenarios": 2_000, "concurrency": 320},
    "flat out": {"scenarios": 5_000, "concurrency": 64},
}
COLUMNS = f"{'pace':<10}{'watched by':<12}{'episodes/s':>12}{'ratio':>8}{'CPU ms':>10}"


def run(sweep: Path, runs: Path, name: str, *, terminal: bool) -> tuple[float, float]:
    """Run a sweep to its end: episodes per second, and the milliseconds of CPU that its process took for each."""
    command = [*COMMAND, "run", str(sweep), "--runs-dir", str(runs), "--name", name]
    if terminal:
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 60, 200, 0, 0))
        process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env=os.environ | {"TERM": "xterm-256color"}
        )
        os.close(slave)
        reader = threading.Thread(target=drain, args=(master,))
        reader.start()
    else:
        process = subprocess.Popen([*command, "--no-live"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, process.returncode
    if terminal:
        reader.join()
    with closing(sqlite3.connect(runs / name / "run.db")) as database:
        ended = sorted(datetime.fromisoformat(at) for (at,) in database.execute("SELECT created_at FROM episodes"))
    edge = len(ended) // 20
    kept = ended[edge:-edge]
    return (len(kept) - 1) / (kept[-1] - kept[0]).total_seconds(), (used.ru_utime + used.ru_stime) / len(ended) * 1_000


def drain(master: int) -> None:
    """Read what a terminal would show, to its end, as a terminal does."""
    with open(master, "rb", buffering=0) as screen:
        try:
            while screen.read(65_536):
                pass
        except OSError:  # Linux's end of a pseudo-terminal
            pass


@contextmanager
def serving(runs: Path) -> Iterator[str]:
    """`view` of a runs folder, at its address."""
    process = subprocess.Popen(
        [*COMMAND, "view", str(runs), "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout is not None
        [address] = re.findall(r"http://\S+", process.stdout.readline())
        yield address
    finally:
        process.terminate()
        process.communicate()


@contextmanager
def events(runs: Path, name: str) -> Iterator[None]:
    """Three clients that read the events of a run, once it is there."""

    def read(address: str) -> None:
        url = urlsplit(address)
        while not over.is_set():
            connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=30)
            connection.request("GET", "/?" + url.query)
            cookie = (connection.getresponse().getheader("set-cookie") or "").partition(";")[0]
            connection.close()
            connection.request("GET", f"/runs/{name}/events", headers={"cookie": cookie})
            answer = connection.getresponse()
            if answer.status == 200:
                with closing(connection):
                    while not over.is_set() and answer.readline():
                        pass
            else:
                over.wait(0.2)

    over = threading.Event()
    with serving(runs) as address:
        threads = [threading.Thread(target=read, args=(address,)) for _ in range(VIEWERS)]
        for thread in threads:
            thread.start()
        yield
        over.set()
        for thread in threads:
            thread.join()


@contextmanager
def pages(runs: Path, name: str) -> Iterator[None]:
    """Three pages of a run in a browser; each is opened anew until the run is there."""
    from playwright.sync_api import sync_playwright

    with serving(runs) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        opened = [browser.new_context().new_page() for _ in range(VIEWERS)]
        # The page of the runs finds a new one by itself, and then goes to it.
        follow = f"""() => new MutationObserver(() => document.querySelector('a[href="/runs/{name}"]')?.click())
            .observe(document.body, {{ childList: true, subtree: true }})"""
        for page in opened:
            page.goto(address)
            page.evaluate(follow)
        yield
        seen = [page.locator("[data-text=done]").inner_text() for page in opened]
        assert all(seen), seen
        browser.close()


def looks() -> dict[str, Callable[[Path, str], AbstractContextManager[None]]]:
    """Ways to look on."""
    nobody = {"nobody": lambda *_: nullcontext(), "terminal": lambda *_: nullcontext()}
    return {**nobody, "events": events, **({"pages": pages} if shutil.which("chromium") else {})}


def main() -> None:
    """Measure and print."""
    if sys.argv[1:]:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        print(COLUMNS)
        for pace, settings in PACES.items():
            sweep = write_sweep(Path(folder, pace), targets=2, **settings)  # type: ignore[arg-type]
            found: dict[str, list[tuple[float, float]]] = {look: [] for look in looks()}
            for number in range(ROUNDS):
                for look, watching in looks().items():
                    runs = Path(folder, f"{pace}-{number}-{look}")
                    runs.mkdir()
                    with watching(runs, "watched"):
                        found[look].append(run(sweep, runs, "watched", terminal=look == "terminal"))
                    shutil.rmtree(runs)
            alone = median(rate for rate, _ in found["nobody"])
            for look, measured in found.items():
                rate, cpu_ms = (median(column) for column in zip(*measured, strict=True))
                print(f"{pace:<10}{look:<12}{rate:>12.1f}{rate / alone:>8.3f}{cpu_ms:>10.1f}", flush=True)


if __name__ == "__main__":
    main()
