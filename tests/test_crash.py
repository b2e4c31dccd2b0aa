"""Killed anywhere and resumed, a run equals the run that was never killed."""

from __future__ import annotations

import json
import random
import signal
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest

from benchmarks.worlds import write_sweep
from tests.commands import COMMAND, conflictscope, environment

OUTCOMES = """SELECT e.key, value_a, value_b, verdict, strength, shown_first, judge, seed, transcript FROM episodes e ORDER BY key"""
DEADLINE_S = 60


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, "run", "sweep.toml", "--no-live", *arguments],
        cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def committed(folder: Path) -> int:
    """How many episodes the run file holds now."""
    path = folder / "runs" / "bench" / "run.db"
    if not path.exists():
        return 0
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=10)
    try:
        return int(connection.execute("SELECT count(*) FROM episodes").fetchone()[0])
    except sqlite3.OperationalError:  # the file is there, the schema not yet
        return 0
    finally:
        connection.close()


def wait_until(folder: Path, process: subprocess.Popen[str], episodes: int) -> None:
    """Return when the run file holds so many episodes, or the process has ended."""
    deadline = time.monotonic() + DEADLINE_S
    while committed(folder) < episodes and process.poll() is None:
        assert time.monotonic() < deadline, "the run does not get on"
        time.sleep(0.01)


def rows(folder: Path, query: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(folder / "runs" / "bench" / "run.db")
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 3 targets x 100 scenarios that nobody killed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    write_sweep(folder, scenarios=100, concurrency=40, median_s=0.05, p95_s=0.2, error_rate=0.05)
    conflictscope("run", "sweep.toml", "--json", cwd=folder)
    return folder


@pytest.mark.parametrize("seed", [1, 2])
def test_kill_9_at_random_moments_changes_nothing(undisturbed: Path, tmp_path: Path, seed: int) -> None:
    """Killed three times and resumed: the same outcomes, the same ranking, no episode twice, no committed call repeated."""
    write_sweep(tmp_path, scenarios=100, concurrency=40, median_s=0.05, p95_s=0.2, error_rate=0.05)
    draw = random.Random(seed)
    killed = 0
    for moment in sorted(draw.sample(range(1, 280), 3)):
        process = start(tmp_path)
        wait_until(tmp_path, process, moment)
        process.kill()
        process.communicate()
        killed += process.returncode == -signal.SIGKILL
    assert killed == 3
    status = json.loads(conflictscope("status", "bench", "--json", cwd=tmp_path).stdout)
    assert status["state"] == "killed"
    assert 0 < status["done"] < 300

    conflictscope("run", "sweep.toml", "--json", cwd=tmp_path)
    assert rows(tmp_path, OUTCOMES) == rows(undisturbed, OUTCOMES)
    assert rows(tmp_path, "SELECT count(*), count(DISTINCT key), max(seq) FROM episodes") == [(300, 300, 300)]
    repeated = (
        "SELECT scope, fingerprint FROM calls WHERE reply IS NOT NULL GROUP BY scope, fingerprint HAVING count(*) > 1"
    )
    assert rows(tmp_path, repeated) == []
    calls = "SELECT scope, fingerprint FROM calls WHERE state = 'committed' ORDER BY scope, fingerprint"
    assert rows(tmp_path, calls) == rows(undisturbed, calls)
    assert rows(tmp_path, "SELECT DISTINCT state FROM calls WHERE state != 'committed'") in ([], [("abandoned",)])
    ranked, expected = (
        conflictscope("rank", "bench", "--json", cwd=folder).stdout for folder in (tmp_path, undisturbed)
    )
    assert ranked == expected


def test_ctrl_c_stops_cleanly_and_says_how_to_go_on(undisturbed: Path, tmp_path: Path) -> None:
    """One interrupt: exit 130 within seconds, the command that resumes is printed, and that command finishes the run."""
    write_sweep(tmp_path, scenarios=100, concurrency=40, median_s=0.05, p95_s=0.2, error_rate=0.05)
    process = start(tmp_path, "--set", "limits.call_timeout_s=60")
    wait_until(tmp_path, process, 50)
    process.send_signal(signal.SIGINT)
    asked = time.monotonic()
    stdout, stderr = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 130, stdout + stderr
    assert time.monotonic() - asked < 15
    assert "conflictscope run sweep.toml --set limits.call_timeout_s=60" in stderr
    assert json.loads(conflictscope("status", "bench", "--json", cwd=tmp_path).stdout)["state"] == "interrupted"
    before = committed(tmp_path)
    assert 50 <= before < 300
    conflictscope("run", "sweep.toml", "--set", "limits.call_timeout_s=60", "--json", cwd=tmp_path)
    assert rows(tmp_path, OUTCOMES) == rows(undisturbed, OUTCOMES)


def test_ctrl_c_does_not_wait_for_calls_that_hang(tmp_path: Path) -> None:
    """With many calls taking hours, an interrupt ends the process after the grace of 5 s, with nothing invented."""
    write_sweep(tmp_path, scenarios=100, concurrency=20, median_s=0.01, p95_s=10_000.0)
    process = start(tmp_path, "--set", "limits.call_timeout_s=100000")
    wait_until(tmp_path, process, 3)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 130, stdout + stderr
    assert 3 <= committed(tmp_path) < 300
    assert rows(tmp_path, "SELECT DISTINCT verdict FROM episodes WHERE verdict NOT IN ('a', 'b')") == []
    assert {state for (state,) in rows(tmp_path, "SELECT DISTINCT state FROM calls")} == {"committed", "abandoned"}
