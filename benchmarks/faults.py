"""A sweep against a service that throttles, stalls, truncates and fails, without and with `kill -9`.

    python -m benchmarks.faults [EPISODES]       default: 2,000, of three calls each

A planted server in another process injects 3 % 429 (with Retry-After), 2 % 500, 1 % malformed bodies, 0.5 % connections that
hang and 0.5 % that break off. The sweep is run once from beginning to end, and once killed at five random moments and resumed;
the reference is the same sweep against a server without faults.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.served import Server, serving
from benchmarks.worlds import write_sweep
from conflictscope.documents import read_document
from conflictscope.outcome import Mode
from conflictscope.planted import parse_world

FAULTS = {"rate_limit": 0.03, "server_error": 0.02, "malformed": 0.01, "hang": 0.005, "disconnect": 0.005}
CONCURRENCY = 256
SETTINGS = ("limits.call_timeout_s=3", "limits.failed_share=0.005")


@dataclass(frozen=True)
class Finished:
    """A run that has come to its end, and what the server counted.

    episodes: key -> verdict, strength, order, transcript. lost: replies that the server had sent when the kills came, and that
    were not committed yet. twice: calls that stand in the journal as committed more than once.
    """

    folder: Path
    seconds: float
    metrics: Mapping[str, Any]
    episodes: Mapping[str, tuple[Any, ...]]
    failures: Counter[str]
    calls: Counter[str]
    lost: int
    twice: int
    order: Sequence[str]
    exit_code: int


def play(folder: Path, episodes: int, faults: Mapping[str, float], kills: Sequence[float] = ()) -> Finished:
    """Run the sweep against a server of its own. kills: after how many further committed episodes each `kill -9` comes."""
    folder.mkdir(parents=True)
    write_sweep(folder, scenarios=episodes, targets=1, concurrency=CONCURRENCY, faults=faults)
    with serving(folder) as server:
        write_sweep(
            folder, scenarios=episodes, targets=1, concurrency=CONCURRENCY, faults=faults, base_url=server.openai_url
        )
        started = time.monotonic()
        lost = 0
        for more in kills:
            kill_after(folder, round(more * episodes))
            lost = settled(server)["answered"] - count(
                folder / "runs" / "bench" / "run.db", "calls WHERE state = 'committed'"
            )
        command = [*run_command(folder), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=False)
        seconds = time.monotonic() - started
        metrics = server.metrics()
    document = json.loads(done.stdout)
    with closing(sqlite3.connect(folder / "runs" / "bench" / "run.db")) as database:
        rows = database.execute(
            "SELECT key, verdict, strength, shown_first, transcript, failure FROM episodes"
        ).fetchall()
        calls = Counter(dict(database.execute("SELECT state, count(*) FROM calls GROUP BY state").fetchall()))
        failed = database.execute("SELECT failure FROM episodes WHERE failure IS NOT NULL").fetchall()
        [(twice,)] = database.execute(
            """SELECT count(*) FROM (SELECT 1 FROM calls WHERE state = 'committed' AND fingerprint != ''
               GROUP BY scope, fingerprint HAVING count(*) > 1)"""
        ).fetchall()
    return Finished(
        folder,
        seconds,
        metrics,
        {row[0]: row[1:] for row in rows},
        Counter(text.partition(":")[0] for (text,) in failed),
        calls,
        lost,
        twice,
        [value["value"] for value in document["groups"][0]["values"]],
        done.returncode,
    )


def run_command(folder: Path) -> list[str]:
    """The command line that runs, or resumes, the sweep of a folder."""
    command = [sys.executable, "-m", "conflictscope", "run", str(folder / "sweep.toml")]
    command += ["--runs-dir", str(folder / "runs"), "--no-live"]
    return command + [part for setting in SETTINGS for part in ("--set", setting)]


def environment() -> dict[str, str]:
    """Ours, with a key that the planted server takes."""
    return {**os.environ, "OPENAI_API_KEY": "not-a-real-key"}


def kill_after(folder: Path, more: int) -> None:
    """Start the run, and kill it when it has committed so many further episodes."""
    database = folder / "runs" / "bench" / "run.db"
    target = count(database, "episodes") + more
    process = subprocess.Popen(
        run_command(folder), env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while count(database, "episodes") < target:
            if process.poll() is not None:
                raise RuntimeError(
                    f"the run ended by itself, with exit code {process.returncode}, before it was killed"
                )
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def count(database: Path, rows: str) -> int:
    """How many rows a run file holds."""
    if not database.exists():
        return 0
    with closing(sqlite3.connect(database, timeout=30)) as connection:
        try:
            return int(connection.execute(f"SELECT count(*) FROM {rows}").fetchone()[0])
        except sqlite3.OperationalError:  # it is being made
            return 0


def settled(server: Server) -> Mapping[str, Any]:
    """What the server counted, once it has noticed that nobody waits any more."""
    while (metrics := server.metrics())["in_flight"]:
        time.sleep(0.01)
    return metrics


def truth(folder: Path) -> list[str]:
    """The planted order."""
    return parse_world(read_document(folder / "world.toml")).targets["alpha"].truth(Mode.OPEN_ENDED)


def verdicts_from_malformed(run: Finished) -> int:
    """Committed replies beyond those that the server answered whole: each would have been read from a broken body."""
    return max(0, run.calls["committed"] - int(run.metrics["answered"]))


def describe(name: str, run: Finished, episodes: int) -> None:
    """Print what is asked of a run."""
    injected = sum(run.metrics["faults"].values())
    needed = 3 * episodes + 3  # and one question to each model before
    print(f"\n{name}: {run.seconds:.1f} s, exit {run.exit_code}")
    print(f"  episodes                    {len(run.episodes):,} of {episodes:,}")
    print(f"  failed                      {sum(run.failures.values())} {dict(run.failures) or ''}")
    print(f"  calls                       {dict(run.calls)}")
    print(f"  injected faults             {injected:,} {run.metrics['faults']}")
    requests, answered = run.metrics["requests"], run.metrics["answered"]
    print(
        f"  requests                    {requests:,}: {requests / (needed + injected):.3f} times (calls + injected faults)"
    )
    again = answered - run.calls["committed"] - run.lost
    print(f"  committed calls asked again {run.twice} by the journal, {again} by the server's count")
    print(f"  replies lost in kills       {run.lost}")
    print(f"  replies from broken bodies  {verdicts_from_malformed(run)}")
    print(f"  ranking                     {' > '.join(run.order)}; planted: {' > '.join(truth(run.folder))}")


def main() -> None:
    """Run all three and compare."""
    episodes = int(sys.argv[1]) if len(sys.argv) > 1 else 2_000
    draw = random.Random(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        reference = play(folder / "reference", episodes, {})
        describe("without faults", reference, episodes)
        faulty = play(folder / "faults", episodes, FAULTS)
        describe("with faults", faulty, episodes)
        killed = play(folder / "killed", episodes, FAULTS, [draw.uniform(0.02, 0.25) for _ in range(5)])
        describe("with faults and five kills", killed, episodes)
        print(
            f"\noutcomes and transcripts equal to the reference: with faults {faulty.episodes == reference.episodes}, "
            f"with kills {killed.episodes == reference.episodes}"
        )


if __name__ == "__main__":
    main()
