"""Panels, repeats and quotes through the command line, against a planted world with several judges."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from benchmarks.worlds import write_sweep
from tests.commands import conflictscope

JUDGES = """
[judges.hasty]
error_rate = 0.2
[judges.liar]
misquote_rate = 1.0
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sweep of one target, whose world has two judges more: one that errs, one that quotes what nobody said."""
    write_sweep(tmp_path, scenarios=36, targets=1, error_rate=0.05)
    world = tmp_path / "world.toml"
    world.write_text(world.read_text() + JUDGES)
    return tmp_path


def command(folder: Path, *arguments: str, settings: tuple[str, ...] = (), code: int = 0) -> Any:
    options = [part for setting in settings for part in ("--set", setting)]
    return json.loads(conflictscope(*arguments, *options, "--json", cwd=folder, code=code).stdout)


def rows(folder: Path, query: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(folder / "runs" / "bench" / "run.db")
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def panel(*names: str) -> str:
    return f"judge.models={json.dumps([f'planted:{name}' for name in names])}"


def test_a_panel_is_planned_run_and_ranked(folder: Path) -> None:
    """The forecast has a line a judge with the calls that were made; outcomes name the panel, rankings what each judge does."""
    settings = (panel("judge", "hasty", "liar"), 'judge.orders="both"', "judge.repeats=2", "user.max_turns=1")
    forecast = command(folder, "plan", "sweep.toml", settings=settings)
    planned = {row["model"]: row["calls"] for row in forecast["usage"] if row["role"] == "judge"}
    done = command(folder, "run", "sweep.toml", settings=settings)
    taken = {row["model"]: row["calls"] for row in done["status"]["usage"] if row["role"] == "judge"}
    assert taken == {model: calls["expected"] for model, calls in planned.items()}
    assert taken == {f"planted:{name}": 36 * 4 for name in ("judge", "hasty", "liar")}
    assert rows(folder, "SELECT DISTINCT judge FROM outcomes") == [("panel:planted:judge+planted:hasty+planted:liar",)]
    assert rows(folder, "SELECT count(*), count(DISTINCT judge || shown_first || repeat) FROM judgements") == [
        (36 * 12, 12)
    ]
    (group,) = command(folder, "rank", "bench")["groups"]
    told = group["judge_error"]["says"]
    assert told.startswith("not corrected: how often a vote errs, only gold labels tell; planted:hasty ")
    assert [name in told for name in ("planted:judge", "planted:liar")] == [True, True]


def test_a_judge_that_misquotes_is_voted_without_and_counted(folder: Path) -> None:
    """Two of three agree: the episode has its verdict; the third's looks are typed, counted by `status`, and decide nothing."""
    settings = (panel("judge", "hasty", "liar"), "judge.quotes=true", "user.max_turns=1")
    status = command(folder, "run", "sweep.toml", settings=settings, code=1)["status"]
    stood = status["verdicts"]["a"] + status["verdicts"]["b"]
    assert stood > 20
    assert status["verdicts"]["judge_failed"] == 36 - stood  # the two others differ, and the third could have decided
    assert status["failures"] == {"unquoted": 36 - stood}
    assert status["lost_looks"] == [{"judge": "planted:liar", "failure": "unquoted", "looks": stood}]
    assert rows(folder, "SELECT DISTINCT judge FROM judgements WHERE failure LIKE 'unquoted: %'") == [("planted:liar",)]
    assert f"{stood} by planted:liar" in " ".join(conflictscope("status", "bench", cwd=folder).stdout.split())
    quoted = rows(
        folder,
        "SELECT e.transcript, j.quotes FROM judgements j JOIN episodes e ON e.seq = j.episode_seq WHERE j.failure IS NULL",
    )
    assert len(quoted) == 72
    for transcript, quotes in quoted:
        (quote,) = json.loads(quotes)
        assert quote
        assert quote in json.loads(transcript)[-1]["text"]


def test_a_single_judge_without_standing_fails_its_episodes_and_they_are_asked_anew(folder: Path) -> None:
    """No verdict is left of it; a resume asks again, and what a former process was told is not played back."""
    settings = (panel("liar"), "judge.quotes=true", "user.max_turns=1")
    for sessions in (1, 2):
        status = command(folder, "run", "sweep.toml", settings=settings, code=1)["status"]
        assert status["verdicts"]["judge_failed"] == 36
        assert status["failures"] == {"unquoted": 36}
        assert [row["calls"] for row in status["usage"] if row["role"] == "judge"] == [36 * 2 * sessions]
    assert rows(folder, "SELECT count(*) FROM judgements WHERE choice != 'judge_failed'") == [(0,)]


def test_a_judge_that_the_world_has_not_is_told_beside_those_it_has(folder: Path) -> None:
    """A typing error in a panel stops the sweep before anything is asked."""
    done = conflictscope("run", "sweep.toml", "--set", panel("judge", "hastey"), cwd=folder, code=2)
    assert "the planted judge is 'planted:judge', 'planted:hasty', 'planted:liar'" in done.stderr
