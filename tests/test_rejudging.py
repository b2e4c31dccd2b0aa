"""Stored conversations judged anew by the command, the judge served over HTTP: who is asked, and what a kill changes."""

from __future__ import annotations

import sqlite3
import subprocess
import time
from pathlib import Path
from typing import Any

from benchmarks.served import serving
from benchmarks.worlds import write_sweep
from tests.commands import COMMAND, conflictscope, environment

KEYS = {"OPENAI_API_KEY": "sk-CANARY"}
EPISODES = 1_000
DEADLINE_S = 120


def rows(folder: Path, query: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(folder / "runs" / "bench" / "run.db", timeout=10)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def test_a_thousand_episodes_are_rejudged_without_a_target_over_a_kill(tmp_path: Path) -> None:
    """The server is asked for verdicts and nothing else; killed and resumed, no answered call is made twice, and the verdicts are
    those of the same judge in the run, which was never killed."""
    write_sweep(tmp_path, scenarios=EPISODES, targets=1, concurrency=64, error_rate=0.1)
    conflictscope("run", "sweep.toml", "--json", cwd=tmp_path)
    write_sweep(tmp_path / "served", scenarios=EPISODES, targets=1, error_rate=0.1, median_s=0.02, p95_s=0.05)
    with serving(tmp_path / "served") as server:
        command = ["rejudge", "bench", "--judge", "openai-chat:judge", "--name", "served", "--set"]
        command += [f'providers.openai.base_url="{server.openai_url}"', "--set", "limits.concurrency=16"]
        # With a price, each call is written down before it is sent, so that what a kill can lose is what is on its way.
        command += ["--set", "prices.openai-chat:judge.input_usd=1", "--set", "prices.openai-chat:judge.output_usd=1"]
        process = subprocess.Popen(
            [*COMMAND, *command], cwd=tmp_path, env=environment() | KEYS, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        deadline = time.monotonic() + DEADLINE_S
        while rows(tmp_path, "SELECT count(*) FROM verdicts")[0][0] < 200:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline, "the judge does not get on"
            time.sleep(0.01)
        process.kill()
        process.communicate()
        [(before,)] = rows(tmp_path, "SELECT count(*) FROM verdicts")
        assert 200 <= before < EPISODES
        conflictscope(*command, cwd=tmp_path, keys=KEYS)
        asked = server.metrics()["by_model"]
    assert asked.keys() == {"judge"}
    # A question before each session, in one or two ways; and what was on its way when it was killed is asked again.
    assert EPISODES < asked["judge"] <= EPISODES + 2 * 2 + 16
    of_both = (
        "SELECT e.key, {}.verdict, {}.strength FROM episodes e JOIN verdicts v ON v.episode_seq = e.seq ORDER BY 1"
    )
    assert rows(tmp_path, of_both.format("v", "v")) == rows(tmp_path, of_both.format("e", "e"))
    assert rows(tmp_path, "SELECT judge, count(*) FROM verdicts") == [("served", EPISODES)]
    twice = "SELECT scope FROM calls WHERE state = 'committed' GROUP BY scope, fingerprint HAVING count(*) > 1"
    assert rows(tmp_path, twice) == []
    assert rows(tmp_path, "SELECT DISTINCT role FROM calls WHERE model = 'openai-chat:judge'") == [("judge",)]
