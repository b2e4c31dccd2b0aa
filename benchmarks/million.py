"""A million episodes: memory, time and disk of a planted sweep as it grows, and of every command on the finished run.

    python -m benchmarks.million [--episodes N] [--folder DIR] [--write] [--json]

Planted models in process, latency 0: TARGETS x SCENARIOS x repeats. `plan`, `run` and the others are started as a user starts
them, each in a process of its own, whose memory is its peak of resident memory and whose CPU is that of all its threads.
The run is watched from outside: a row for each tenth of its episodes. Its last tenth is played in TURNS stretches, in turns with
the first tenth of another run of the same sweep, so that both meet the same machine. It ends when all but LEFT have ended, so
that it can be resumed with a few left, and then once more with none. Linux only: figures come from /proc. A million take about
forty minutes on an idle machine and 12 GB of disk under --folder (default: the system's temporary folder); 30,000, the fewest,
two minutes.
"""

from __future__ import annotations

import http.client
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import IO, Any, NamedTuple
from urllib.parse import urlsplit

from benchmarks.figures import Table, arguments, progress, show
from benchmarks.worlds import write_sweep

TARGETS = 2
SCENARIOS = 10_000
LEFT = 500  # episodes; more than are in flight when enough have ended
TURNS = 3
LEAST = 30_000  # episodes; of fewer, a turn is over before it is seen
NAME, FRESH = "million", "first-tenth"
_COMMAND = [sys.executable, "-m", "conflictscope"]
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_POLL_S = 0.1
_METHODS = ("posterior", "bradley_terry", "trueskill")


@dataclass
class Row:
    """What something took. episodes: that it is divided by, where it is told by the episode. file_bytes: by which files grew."""

    step: str
    wall_s: float
    cpu_s: float
    memory_mb: float
    episodes: int | None = None
    file_bytes: int | None = None

    def cells(self) -> dict[str, str]:
        """As they are shown."""
        each = self.episodes
        return {
            "step": self.step,
            "wall s": f"{self.wall_s:,.1f}",
            "CPU s": f"{self.cpu_s:,.1f}",
            "memory MB": f"{self.memory_mb:,.0f}",
            "CPU ms an episode": "" if each is None else f"{self.cpu_s / each * 1_000:.3f}",
            "wall ms an episode": "" if each is None else f"{self.wall_s / each * 1_000:.3f}",
            "bytes an episode": "" if each is None or self.file_bytes is None else f"{self.file_bytes / each:,.0f}",
        }


class Sample(NamedTuple):
    """A process at one moment."""

    at_s: float
    cpu_s: float
    memory_mb: float
    file_bytes: int
    episodes: int

    def between(self, later: Sample, episodes: int) -> Sample:
        """As it was when it had so many episodes, on the straight line to a later sample."""
        share = (episodes - self.episodes) / (later.episodes - self.episodes)
        at_s, cpu_s, memory_mb, file_bytes, _ = (a + share * (b - a) for a, b in zip(self, later, strict=True))
        return Sample(at_s, cpu_s, memory_mb, round(file_bytes), episodes)


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--episodes", type=int, default=1_000_000, help="about as many (default: 1,000,000)")
    parser.add_argument("--folder", type=Path, help="where the run is made, and deleted at the end")
    given = parser.parse_args()
    if given.episodes < LEAST:
        parser.error(f"--episodes: at least {LEAST:,}, got {given.episodes}")
    if given.folder is not None and not given.folder.is_dir():
        parser.error(f"--folder: no folder {str(given.folder)!r}")
    scenarios = min(SCENARIOS, max(1, given.episodes // (10 * TARGETS)))
    repeats = max(1, given.episodes // (scenarios * TARGETS))
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        rows, notes = measure(Path(name), scenarios, repeats)
    show(
        Table(
            "million",
            "A million episodes",
            [row.cells() for row in rows],
            packages=("pydantic-ai-slim", "polars"),
            notes=(
                f"{scenarios * repeats * TARGETS:,} episodes: {TARGETS} targets x {scenarios:,} scenarios x {repeats} repeats.",
                "Memory is resident: at the end of a tenth, else the peak of the process. Each of `run` ends with a ranking.",
                *notes,
            ),
        ),
        given,
    )


def measure(folder: Path, scenarios: int, repeats: int) -> tuple[list[Row], list[str]]:
    """Do all of it in a folder. Returns the rows, and what is to be said of them."""
    planned = scenarios * repeats * TARGETS
    sweep = str(write_sweep(folder, scenarios=scenarios, targets=TARGETS, repeats=repeats))
    runs = folder / "runs"
    at = ["--runs-dir", str(runs)]
    run = ["run", sweep, "--name", NAME, "--no-live", *at]
    rows = [timed("plan", ["plan", sweep, *at])]
    samples, whole = growing(run, runs / NAME, 0.9 * planned, planned, "run, nine tenths, with its ranking")
    rows += [*stretches(samples, "run, tenth", 9), whole]
    first, last = in_turns(run, runs, planned)
    rows += [first, last]
    shutil.rmtree(runs / FRESH)
    rows += [
        timed("resume, a few left", run),
        timed("resume, nothing left", run),
        timed("status", ["status", NAME, *at]),
        *(timed(f"rank, {method}", ["rank", NAME, "--method", method, *at]) for method in _METHODS),
        timed("compare", ["compare", NAME, *at]),
        timed("audit", ["audit", NAME, *at]),
        timed("report", ["report", NAME, "-o", str(folder / "report.html"), *at]),
    ]
    for fmt in ("parquet", "jsonl"):
        rows.append(timed(f"export, {fmt}", ["export", NAME, "--format", fmt, "-o", str(folder / fmt), *at]))
        rows[-1].file_bytes, rows[-1].episodes = _size(folder / fmt), planned
    rows += looked_at(runs)
    peak = max(rows, key=lambda row: row.memory_mb)
    cpu, wall = (
        (getattr(last, name) / (last.episodes or 1)) / (getattr(first, name) / (first.episodes or 1))
        for name in ("cpu_s", "wall_s")
    )
    return rows, [
        f"In turns, the last tenth took {cpu:.2f} times the CPU and {wall:.2f} times the time of the first.",
        f"The most memory was that of `{peak.step}`: {peak.memory_mb:,.0f} MB.",
    ]


def timed(step: str, command: Sequence[str]) -> Row:
    """A command in a process of its own, to its end."""
    began, (process, errors) = time.perf_counter(), _start(command)
    ended = os.wait4(process.pid, 0)
    return _row(step, process, errors, began, ended)


def growing(command: Sequence[str], run: Path, wanted: float, planned: int, step: str) -> tuple[list[Sample], Row]:
    """A run until so many episodes are wanted no more: as it was from its first new episode to its last, and all that it took."""
    command = [*command, "--set", f"limits.done_share={wanted / planned}"]
    before = _episodes(run) if run.exists() else 0
    began, (process, errors) = time.perf_counter(), _start(command)
    samples: list[Sample] = []
    while not (ended := os.wait4(process.pid, os.WNOHANG))[0]:
        time.sleep(_POLL_S)
        sample = _sample(process.pid, began, run)
        if sample is not None and sample.episodes > (samples[-1].episodes if samples else before):
            if 100 * sample.episodes // planned > (100 * samples[-1].episodes // planned if samples else 0):
                progress(f"{run.name}: {sample.episodes:,} of {planned:,}, {sample.memory_mb:,.0f} MB")
            samples.append(sample)
    return samples, _row(step, process, errors, began, ended)


def stretches(samples: Sequence[Sample], step: str, count: int) -> list[Row]:
    """What equal parts of it took, from the first episode to the last that were seen: what comes before and after is not told."""
    at = [samples[0]]
    for number in range(1, count):
        wanted = samples[0].episodes + (samples[-1].episodes - samples[0].episodes) * number // count
        later = next(place for place, sample in enumerate(samples) if sample.episodes > wanted)
        at.append(samples[later - 1].between(samples[later], wanted))
    at.append(samples[-1])
    return [
        Row(
            f"{step} {number}",
            after.at_s - before.at_s,
            after.cpu_s - before.cpu_s,
            after.memory_mb,
            after.episodes - before.episodes,
            after.file_bytes - before.file_bytes,
        )
        for number, (before, after) in enumerate(pairwise(at), start=1)
    ]


def in_turns(run: Sequence[str], runs: Path, planned: int) -> tuple[Row, Row]:
    """The first tenth of a run like this one, and the last tenth of this one."""
    fresh = [FRESH if word == NAME else word for word in run]
    found: tuple[list[Row], list[Row]] = ([], [])
    for turn in range(1, TURNS + 1):
        share = turn / TURNS / 10
        least = planned - LEFT if turn == TURNS else planned
        for rows, command, folder, wanted in (
            (found[0], fresh, runs / FRESH, share * planned),
            (found[1], run, runs / NAME, min(least, (0.9 + share) * planned)),
        ):
            samples, _ = growing(command, folder, wanted, planned, f"{folder.name}, turn {turn}")
            rows += stretches(samples, f"{folder.name}, turn", 1)
    return _sum("a first tenth, in turns with the last", found[0]), _sum("run, tenth 10, in turns", found[1])


def _sum(step: str, rows: Sequence[Row]) -> Row:
    return Row(
        step,
        sum(row.wall_s for row in rows),
        sum(row.cpu_s for row in rows),
        max(row.memory_mb for row in rows),
        sum(row.episodes or 0 for row in rows),
        sum(row.file_bytes or 0 for row in rows),
    )


def looked_at(runs: Path) -> Iterator[Row]:
    """`view`, until it can be reached, and then its pages."""
    process = subprocess.Popen(
        [*_COMMAND, "view", str(runs), "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    with process:
        try:
            began, cpu_s = time.perf_counter(), 0.0
            assert process.stdout is not None
            url = urlsplit(process.stdout.readline().strip())
            cookie = _get(url.netloc, f"/?{url.query}")[0]
            for step, path, awaited in (
                ("view, start and the list of runs", "/", None),
                ("view, the run's page at once", f"/runs/{NAME}", None),
                ("view, the run's page, all read", f"/runs/{NAME}", b"Reading this long run"),
                ("view, episodes", f"/runs/{NAME}/episodes", None),
                ("view, episodes, a search that finds some", f"/runs/{NAME}/episodes?text=office+17", None),
                ("view, episodes, a search that finds none", f"/runs/{NAME}/episodes?text=nowhere", None),
            ):
                while (page := _get(url.netloc, path, cookie)[1]) and awaited is not None and awaited in page:
                    time.sleep(_POLL_S)
                used_s, _, most_mb = _used(process.pid)
                yield _told(Row(step, time.perf_counter() - began, used_s - cpu_s, most_mb))
                began, cpu_s = time.perf_counter(), used_s
        finally:
            process.terminate()


def _get(host: str, path: str, cookie: str = "") -> tuple[str, bytes]:
    """The cookie that an answer sets, and its body."""
    with closing(http.client.HTTPConnection(host, timeout=3_600)) as connection:
        connection.request("GET", path, headers={"cookie": cookie})
        answer = connection.getresponse()
        if answer.status >= 400:
            sys.exit(f"{path}: {answer.status} {answer.reason}")
        return (answer.getheader("set-cookie") or "").partition(";")[0], answer.read()


def _start(command: Sequence[str]) -> tuple[subprocess.Popen[bytes], IO[bytes]]:
    """A command, and where its standard error goes."""
    errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by _row, once the command has ended
    return subprocess.Popen([*_COMMAND, *command], stdout=subprocess.DEVNULL, stderr=errors), errors


def _row(step: str, process: subprocess.Popen[bytes], errors: IO[bytes], began: float, ended: Any) -> Row:
    """Of a process that has ended. Ends the benchmark where it failed."""
    _, status, used = ended
    process.returncode = os.waitstatus_to_exitcode(status)
    with errors:
        if process.returncode:
            errors.seek(0)
            sys.exit(f"{step}: exit code {process.returncode}\n{errors.read().decode()}")
    return _told(Row(step, time.perf_counter() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024))


def _told(row: Row) -> Row:
    progress(f"{row.step}: {row.wall_s:,.1f} s, {row.cpu_s:,.1f} s of CPU, {row.memory_mb:,.0f} MB")
    return row


def _sample(process: int, began: float, run: Path) -> Sample | None:
    """How a run stands; None where it has no episode yet, or its process no more."""
    try:
        episodes = _episodes(run)
        cpu_s, memory_mb, _ = _used(process)
    except (sqlite3.Error, OSError, TypeError):
        return None
    size = sum(path.stat().st_size for path in run.glob("run.db*"))
    return Sample(time.perf_counter() - began, cpu_s, memory_mb, size, episodes) if episodes else None


def _episodes(run: Path) -> int:
    """How many episodes are in its file. Raises sqlite3.Error where there is none yet."""
    with closing(sqlite3.connect(f"{(run / 'run.db').as_uri()}?mode=ro", uri=True)) as database:
        [episodes] = database.execute("SELECT coalesce(max(seq), 0) FROM episodes").fetchone()
    return int(episodes)


def _used(process: int) -> tuple[float, float, float]:
    """CPU of a process in seconds, its resident memory and the peak of that in MB. Raises TypeError for one that has ended."""
    told = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    status = Path(f"/proc/{process}/status").read_text()
    now_mb, most_mb = (int(re.search(rf"{name}:\s+(\d+)", status)[1]) / 1024 for name in ("VmRSS", "VmHWM"))  # type: ignore[index]
    return (int(told[11]) + int(told[12])) * _TICK_S, now_mb, most_mb


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


if __name__ == "__main__":
    main()
