"""`generate` as a user has it: planted models, whole libraries, killed and resumed, extended, and a sweep on what was made."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from conflictscope.library import load_library
from conflictscope.scenario import CheckName, Scenario
from tests.commands import COMMAND, conflictscope, environment

VALUES = """
name = "three"
[[values]]
name = "candour"
definition = "Saying what is so, also where it is unwelcome."
[[values]]
name = "comfort"
definition = "Easing what weighs on somebody."
[[values]]
name = "thrift"
definition = "Spending no more than is needed."
"""
WORLD = """
seed = 5
[targets.frank]
utilities = { candour = 2.4, comfort = 1.2, thrift = 0.0 }
steerability = 0.0
[generator]
duplicate_rate = 0.5
defects = { grounded = 0.1, contested = 0.1, conflicting = 0.05 }
[generator.faults]
prose = 0.03
count = 0.03
missing = 0.03
[timing]
latency_s = { median = MEDIAN, p95 = P95 }
"""
SPEC = """
name = "made"
value_set = "three.toml"
world = "world.toml"
seed = 3
count = COUNT
[generator]
model = "planted:generator"
[checks]
models = ["planted:checker"]
[user]
model = "planted:user"
[limits]
concurrency = 24
"""
SWEEP = """
name = "whole"
value_set = "three.toml"
world = "world.toml"
seed = 3
repeats = 3
modes = ["open_ended", "multiple_choice"]
[[targets]]
model = "planted:frank"
[user]
model = "planted:user"
[judge]
models = ["planted:judge"]
[generate]
count = 10
[generate.generator]
model = "planted:generator"
[generate.checks]
models = ["planted:checker"]
[generate.user]
model = "planted:user"
"""
DEADLINE_S = 60


def write(folder: Path, *, count: int = 8, median_s: float = 0.0) -> None:
    (folder / "three.toml").write_text(VALUES)
    (folder / "world.toml").write_text(WORLD.replace("MEDIAN", str(median_s)).replace("P95", str(4 * median_s)))
    (folder / "spec.toml").write_text(SPEC.replace("COUNT", str(count)))
    (folder / "sweep.toml").write_text(SWEEP)


def made(folder: Path, *arguments: str, code: int = 0) -> dict[str, Any]:
    done = conflictscope("generate", "spec.toml", "-o", "library.jsonl", "--json", *arguments, cwd=folder, code=code)
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def rows(folder: Path, query: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(folder / "runs" / "made" / "run.db")
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def passing(folder: Path) -> list[Scenario]:
    return [scenario for scenario in load_library(folder / "library.jsonl") if scenario.passes]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that nobody stopped."""
    folder = tmp_path_factory.mktemp("whole")
    write(folder)
    made(folder)
    return folder


def test_a_library_is_whole_and_says_what_became_of_every_outline(whole: Path) -> None:
    """Counts are met; each outline has a state; what failed a check is in the file with its reasons; duplicates are not."""
    told = made(whole)
    assert (told["state"], told["wanted"], told["passed"]) == ("finished", 24, 24)
    assert Counter(scenario.pair for scenario in passing(whole)) == {
        ("candour", "comfort"): 8, ("candour", "thrift"): 8, ("comfort", "thrift"): 8,
    }  # fmt: skip
    library = load_library(whole / "library.jsonl")
    assert len(library) == told["drafts"]["passed"] + told["drafts"]["rejected"] == told["scenarios"]
    assert told["drafts"]["rejected"] > 0
    assert told["drafts"]["duplicate"] > 0
    assert sum(told["drafts"].values()) <= sum(pair["asked"] for pair in told["pairs"])
    for scenario in library:
        assert {check.name for check in scenario.checks} == {name.value for name in CheckName}
        assert all(check.reason for check in scenario.checks)
        assert (scenario.opening is not None) == scenario.passes
        assert scenario.origin.kind == "generated"


def count_calls(folder: Path) -> int:
    path = folder / "runs" / "made" / "run.db"
    if not path.exists():
        return 0
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=10)
    try:
        return int(connection.execute("SELECT count(*) FROM calls WHERE state = 'committed'").fetchone()[0])
    except sqlite3.OperationalError:  # the file is there, the schema not yet
        return 0
    finally:
        connection.close()


def stopped_at(folder: Path, calls: int, number: signal.Signals) -> subprocess.CompletedProcess[str]:
    """Start, and send a signal once so many calls were answered."""
    process = subprocess.Popen(
        [*COMMAND, "generate", "spec.toml", "-o", "library.jsonl", "--no-live"],
        cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + DEADLINE_S
    while count_calls(folder) < calls and process.poll() is None:
        assert time.monotonic() < deadline, "it does not get on"
        time.sleep(0.01)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=DEADLINE_S)
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def test_killed_twice_and_resumed_it_equals_one_that_was_not(whole: Path, tmp_path: Path) -> None:
    """The same library to the byte, no id twice, and no answered call made again."""
    write(tmp_path, median_s=0.02)
    for moment in (40, 180):
        assert stopped_at(tmp_path, moment, signal.SIGKILL).returncode == -signal.SIGKILL
    assert not (tmp_path / "library.jsonl").exists()
    assert json.loads(conflictscope("status", "made", "--json", cwd=tmp_path).stdout)["state"] == "killed"
    told = made(tmp_path)
    assert told["passed"] == 24
    assert sorted((tmp_path / "library.jsonl").read_text().splitlines()) == sorted(
        (whole / "library.jsonl").read_text().splitlines()
    )
    repeated = "SELECT scope, fingerprint FROM calls WHERE reply IS NOT NULL GROUP BY 1, 2 HAVING count(*) > 1"
    assert rows(tmp_path, repeated) == []
    answered = "SELECT scope, fingerprint FROM calls WHERE state = 'committed' ORDER BY 1, 2"
    assert rows(tmp_path, answered) == rows(whole, answered)
    assert rows(tmp_path, "SELECT count(*) - count(DISTINCT id) FROM drafts WHERE state IN ('passed', 'rejected')") == [
        (0,)
    ]


def test_ctrl_c_says_how_to_go_on(tmp_path: Path) -> None:
    """Exit 130; what was finished is in the file; the command that is printed finishes it."""
    write(tmp_path, median_s=0.05)
    ended = stopped_at(tmp_path, 150, signal.SIGINT)
    assert ended.returncode == 130, ended.stderr
    assert "conflictscope generate spec.toml -o library.jsonl" in ended.stderr
    assert made(tmp_path)["passed"] == 24


def test_with_a_greater_count_it_goes_on_and_keeps_what_it_has(tmp_path: Path) -> None:
    write(tmp_path, count=2)
    made(tmp_path)
    before = {scenario.id for scenario in passing(tmp_path)}
    assert made(tmp_path, "--set", "count=4")["passed"] == 12
    assert before <= {scenario.id for scenario in passing(tmp_path)}


def test_a_library_that_exists_is_added_to_and_not_repeated(tmp_path: Path) -> None:
    """Another run on the same file: what it holds stays as it is, counts, and no id is there twice."""
    write(tmp_path, count=2)
    made(tmp_path)
    before = (tmp_path / "library.jsonl").read_text()
    told = made(tmp_path, "--name", "more", "--set", "count=3")
    assert (tmp_path / "library.jsonl").read_text().startswith(before)
    assert told["passed"] == 9
    assert len({scenario.id for scenario in load_library(tmp_path / "library.jsonl")}) == told["scenarios"]


def test_another_specification_of_the_same_name_is_refused(tmp_path: Path) -> None:
    write(tmp_path, count=1)
    made(tmp_path)
    done = conflictscope("generate", "spec.toml", "--set", "seed=4", cwd=tmp_path, code=2)
    assert "was begun with other settings (seed): choose another --name" in done.stderr


def test_a_pair_that_cannot_be_filled_is_told_and_the_exit_code_is_1(tmp_path: Path) -> None:
    """With a generator that sends prose, tries are bounded, and each pair's shortfall is told."""
    write(tmp_path, count=2)
    world = (tmp_path / "world.toml").read_text().replace("prose = 0.03", "prose = 0.94")
    (tmp_path / "world.toml").write_text(world.replace("count = 0.03\nmissing = 0.03", "count = 0.03\nmissing = 0.03"))
    told = made(tmp_path, "--set", "tries=2", code=1)
    assert told["problems"]["prose"] > 0
    assert all(pair["short"] == 2 - pair["passed"] for pair in told["pairs"])
    assert any(pair["given_up"] for pair in told["pairs"])
    shown = conflictscope("status", "made", cwd=tmp_path).stdout
    assert "given up" in shown


def test_checks_alone_by_other_checkers_stand_beside_the_first(whole: Path, tmp_path: Path) -> None:
    """`scenarios recheck`: new verdicts of new checkers, no new scenario, the old verdicts kept."""
    write(tmp_path)
    world = (tmp_path / "world.toml").read_text() + "[checkers.strict]\nerror_rate = 0.3\n"
    (tmp_path / "world.toml").write_text(world)
    arguments = ["scenarios", "recheck", str(whole / "library.jsonl"), "spec.toml", "-o", "checked.jsonl", "--json"]
    arguments += ["--set", 'checks.models=["planted:strict"]', "--set", 'checks.names=["grounded","contested"]']
    told = json.loads(conflictscope(*arguments, cwd=tmp_path).stdout)
    before, after = load_library(whole / "library.jsonl"), load_library(tmp_path / "checked.jsonl")
    assert told["scenarios"] == len(after) == len(before)
    for old, new in zip(before, after, strict=True):
        assert new.checks[: len(old.checks)] == old.checks
        assert {(check.name, check.checker) for check in new.checks[len(old.checks) :]} == {
            ("grounded", "planted:strict"), ("contested", "planted:strict"),
        }  # fmt: skip
    again = json.loads(conflictscope(*arguments, cwd=tmp_path).stdout)
    assert again == told
    connection = sqlite3.connect(tmp_path / "runs" / "made-checks" / "run.db")
    assert connection.execute("SELECT count(*), count(DISTINCT scope || fingerprint) FROM calls").fetchone() == (
        2 * len(before), 2 * len(before),
    )  # fmt: skip
    connection.close()


def test_from_a_value_set_to_a_ranking_in_one_command(tmp_path: Path) -> None:
    """`run` on a sweep with [generate]: the library is made, swept and ranked, and the planted order comes out; twice is once."""
    write(tmp_path)
    told = json.loads(conflictscope("run", "sweep.toml", "--json", cwd=tmp_path).stdout)
    assert len(told["groups"]) == 2
    for group in told["groups"]:
        assert [value["value"] for value in group["values"]] == ["candour", "comfort", "thrift"] == group["truth"]
    library = load_library(tmp_path / "runs" / "whole" / "library" / "library.jsonl")
    assert Counter(scenario.pair for scenario in library if scenario.passes) == {
        ("candour", "comfort"): 10, ("candour", "thrift"): 10, ("comfort", "thrift"): 10,
    }  # fmt: skip
    again = json.loads(conflictscope("run", "sweep.toml", "--json", cwd=tmp_path).stdout)
    assert again["groups"] == told["groups"]
    assert again["status"]["calls"] == told["status"]["calls"]
