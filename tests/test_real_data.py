"""Recorded choices of real models, and real third-party dilemmas, through the command line."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import pytest

from conflictscope import pipeline
from conflictscope.library import find, load_library, load_value_set
from tests.commands import conflictscope
from tests.shared_data import shared

MORALCHOICE = [
    "--id=scenario_id", "--description=context", "--action-a=action1", "--action-b=action2",
    "--values-a=rules_respected_only_by_action1", "--values-b=rules_respected_only_by_action2", "--value-set=common-morality",
]  # fmt: skip


def test_15631_recorded_choices_become_a_run(tmp_path: Path) -> None:
    """Imported by their own column names, and ranked: one ranking for each of 14 real models. (Which: tests/ranking/test_recorded.py.)"""
    table = shared("litmus_values") / "stated_outcomes.csv.gz"
    imported = conflictscope(
        "import", table, "--name=litmus", "--column=target=model", "--column=scenario_id=seq",
        "--column=value_a=value_1", "--column=value_b=value_2", "--column=verdict=winner", "--verdict=value_1=a",
        "--verdict=value_2=b", "--json", cwd=tmp_path,
    )  # fmt: skip
    assert json.loads(imported.stdout) == {"run": "litmus", "outcomes": 15_631}
    assert len(json.loads(conflictscope("rank", "litmus", "--json", cwd=tmp_path).stdout)["groups"]) == 14


@pytest.mark.parametrize(("options", "scenarios", "situations"), [([], 42, 42), (["--all-pairs"], 876, 253)])
def test_moralchoice_becomes_a_library_that_runs(
    tmp_path: Path, options: list[str], scenarios: int, situations: int
) -> None:
    """The single-pair scenarios, or all pairs: imported, then swept by 3 planted targets to the end, and ranked."""
    table = shared("moralchoice") / "scenarios_high_ambiguity.csv"
    imported = conflictscope(
        "scenarios", "import", table, "-o", "moral.jsonl", *MORALCHOICE, *options, "--json", cwd=tmp_path
    )
    report = json.loads(imported.stdout)
    assert (report["scenarios"], report["situations"]) == (scenarios, situations)
    library = load_library(tmp_path / "moral.jsonl", load_value_set(find("values", "common-morality", tmp_path)))
    assert len({scenario.origin.situation for scenario in library}) == situations

    example = Path(__file__).parents[1] / "examples" / "moralchoice"
    for name in ("sweep.toml", "world.toml"):
        (tmp_path / name).write_text((example / name).read_text())
    done = conflictscope("run", "sweep.toml", "--set", 'scenarios="moral.jsonl"', "--json", cwd=tmp_path)
    report = json.loads(done.stdout)
    assert report["status"]["done"] == report["status"]["planned"] == scenarios * 3
    assert sum(report["status"]["verdicts"][state] for state in ("a", "b")) >= 0.9 * scenarios * 3
    assert len(report["groups"]) == 3
    sweep = pipeline.load_sweep(str(tmp_path / "sweep.toml"), ['scenarios="moral.jsonl"'])
    pairs = {tuple(sorted(pair)) for pair in combinations(sweep.value_set.names, 2)}
    for group in report["groups"]:
        assert {(pair["value_a"], pair["value_b"]) for pair in group["pairs"]} <= pairs
        assert group["outcomes"] + sum(sum(pair["excluded"].values()) for pair in group["pairs"]) == scenarios
