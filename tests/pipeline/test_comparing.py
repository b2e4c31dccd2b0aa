"""Planted runs compared: what was planted is found again, by the pipeline and by the command."""

from __future__ import annotations

import asyncio
import csv
import json
from pathlib import Path
from typing import Any

import pytest

from conflictscope import pipeline
from conflictscope.comparison import By
from conflictscope.errors import InputError
from conflictscope.outcome import Group, Mode
from conflictscope.runfolder import RunFolder
from conflictscope.tables import OutcomeTable
from tests.commands import conflictscope

WORLD = """
seed = 1
scenario_sd = 0.5
[targets.alpha]
utilities = { harmlessness = 0.8, honesty = 0.4, helpfulness = 0.0 }
shift_open_ended = { helpfulness = 1.5 }
steerability = 0.7
[targets.deaf]
utilities = { harmlessness = 0.8, honesty = 0.4, helpfulness = 0.0 }
"""
SWEEP = """
name = "planted"
seed = 1
value_set = "hhh"
scenarios = "hhh"
world = "world.toml"
repeats = 4
modes = ["open_ended", "multiple_choice"]
targets = [{ model = "planted:alpha" }, { model = "planted:deaf" }]
user = { model = "planted:user" }
judge = { models = ["planted:judge"] }
[[steering]]
name = "helpful-first"
ranking = ["helpfulness", "honesty", "harmlessness"]
"""
OPEN, CHOICE = Mode.OPEN_ENDED, Mode.MULTIPLE_CHOICE
ALPHA, DEAF = "planted:alpha", "planted:deaf"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a planted run, played once."""
    folder = tmp_path_factory.mktemp("compared")
    (folder / "world.toml").write_text(WORLD)
    (folder / "sweep.toml").write_text(SWEEP)
    sweep = pipeline.load_sweep(str(folder / "sweep.toml"), [])
    asyncio.run(pipeline.run_sweep(sweep, folder / "runs"))
    return folder


async def test_a_planted_shift_between_modes_is_found(runs: Path) -> None:
    """Helpfulness gains 1.5 in conversation: after centring +1 for it and -0.5 for the others, all held, the first resolved; the
    target that does not shift has no resolved difference."""
    found = await pipeline.compare(RunFolder.find("planted", runs / "runs"), (By.MODE,))
    shifts = {
        comparison.first.target: {shift.value: shift.utility_difference for shift in comparison.shifts}
        for comparison in found.comparisons
        if comparison.first.steering is None
    }
    attenuated = (1 + 0.5**2) ** -0.5  # offsets of scenarios flatten what is seen of utilities
    alpha = shifts[ALPHA]
    assert next(iter(alpha)) == "helpfulness"
    assert alpha["helpfulness"].resolved
    for value, planted in (("helpfulness", 1.0), ("honesty", -0.5), ("harmlessness", -0.5)):
        assert alpha[value].low <= planted * attenuated <= alpha[value].high
    assert not any(difference.resolved for difference in shifts[DEAF].values())
    assert found.alignments == ()
    assert all(comparison.by == (By.MODE,) for comparison in found.comparisons)
    assert {comparison.scenarios for comparison in found.comparisons} == {60}


@pytest.mark.parametrize(
    ("error_rate", "orders", "told"),
    [
        (
            0.2,
            "random",
            "not corrected; errors draw utilities together, which passes for a shift between modes: fewer than 30",
        ),
        (0.2, "both", "corrected, as the judge names the wrong action in "),
        (0.0, "both", "corrected, as the judge names the wrong action in 0.0% "),
    ],
)
async def test_a_judges_error_is_told_where_it_may_pass_for_a_shift(
    tmp_path: Path, error_rate: float, orders: str, told: str
) -> None:
    """Where conversations are held beside a mode without a judge; what is known of the error is corrected."""
    (tmp_path / "world.toml").write_text(WORLD + f"[judge]\nerror_rate = {error_rate}\n")
    (tmp_path / "sweep.toml").write_text(SWEEP)
    sweep = pipeline.load_sweep(str(tmp_path / "sweep.toml"), [f'judge.orders="{orders}"', "repeats=1"])
    folder = (await pipeline.run_sweep(sweep, tmp_path / "runs")).folder
    [said] = (await pipeline.compare(folder, (By.MODE,))).judges
    assert said.startswith(told)
    [said] = (await pipeline.compare(folder, (By.STEERING, By.TARGET))).judges
    assert "passes for a shift" not in said


async def test_steering_moves_the_target_that_can_be_steered(runs: Path) -> None:
    """The steerable target gains, the other does not; the groups are the four steered ones, each beside its unsteered one."""
    found = await pipeline.compare(RunFolder.find("planted", runs / "runs"), (By.STEERING,))
    by_group = {alignment.group: alignment for alignment in found.alignments}
    assert set(by_group) == {
        Group(target, mode, "helpful-first") for target in (ALPHA, DEAF) for mode in (OPEN, CHOICE)
    }
    steered, deaf = by_group[Group(ALPHA, CHOICE, "helpful-first")], by_group[Group(DEAF, CHOICE, "helpful-first")]
    assert steered.gain.low > 0.1
    assert steered.reached is not None
    assert steered.reached.low > 0.2
    assert not deaf.gain.resolved
    pairs = [(comparison.first.steering, comparison.second.steering) for comparison in found.comparisons]
    assert pairs == [(None, "helpful-first")] * 4


async def test_all_three_by_default(runs: Path) -> None:
    """Every two groups that differ in one thing only: 4 by target, 4 by mode, 4 by steering, of 8; the same figures every time."""
    found, again = [await pipeline.compare(RunFolder.find("planted", runs / "runs")) for _ in range(2)]
    assert found == again
    counts = {by: sum(comparison.by == (by,) for comparison in found.comparisons) for by in By}
    assert counts == {By.TARGET: 4, By.MODE: 4, By.STEERING: 4, By.BEHAVIOR: 0}
    assert len(found.alignments) == 4
    assert found.refused == ()


def test_the_command_shows_it_and_prints_it_as_json(runs: Path) -> None:
    """For people a table within 80 columns, for programs one document."""
    shown = conflictscope("compare", "planted", "--by", "mode", cwd=runs).stdout
    assert "multiple_choice → open_ended" in shown
    assert "helpfulness" in shown
    assert max(map(len, shown.splitlines())) <= 80
    document: dict[str, Any] = json.loads(conflictscope("compare", "planted", "--json", cwd=runs).stdout)
    assert document.keys() == {"run", "comparisons", "alignments", "refused", "judges"}
    assert document["run"] == "planted"
    comparison = next(c for c in document["comparisons"] if c["differ_in"] == ["mode"])
    assert comparison.keys() == {
        "differ_in", "first", "second", "scenarios", "unshared", "kendall_tau", "spearman_rho", "values", "values_left_out", "notes",
    }  # fmt: skip
    sizes = [abs(value["utility_difference"]["value"]) for value in comparison["values"]]
    assert sizes == sorted(sizes, reverse=True)
    for value in comparison["values"]:
        difference = value["utility_difference"]
        assert difference["value"] == pytest.approx(value["utility"]["second"] - value["utility"]["first"])
        assert value["resolved"] == (difference["low"] > 0 or difference["high"] < 0)
    alignment = document["alignments"][0]
    assert alignment["gain"]["value"] == pytest.approx(alignment["after"]["value"] - alignment["before"]["value"])


async def imported(name: str, rows: list[tuple[str, str, str]], folder: Path) -> RunFolder:
    """A run of recorded outcomes of one pair of values: target, scenario, verdict."""
    with (folder / f"{name}.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["target", "scenario_id", "value_a", "value_b", "verdict"])
        writer.writerows((target, scenario, "care", "thrift", verdict) for target, scenario, verdict in rows)
    run = RunFolder.named(name, folder / "runs")
    await pipeline.import_outcomes(OutcomeTable(folder / f"{name}.csv"), run)
    return run


async def test_imported_outcomes_are_compared_too(tmp_path: Path) -> None:
    """Recorded outcomes of two targets: compared on the scenarios that both have; a third one that shares none is told."""
    rows = [(target, f"s{n}", "ab"[n % 3 > most]) for target, most in (("x", 1), ("y", 0)) for n in range(30)]
    run = await imported("recorded", rows + [("z", f"other{n}", "a") for n in range(5)], tmp_path)
    found = await pipeline.compare(run)
    [comparison] = found.comparisons
    assert (comparison.first.target, comparison.second.target, comparison.scenarios) == ("x", "y", 30)
    assert [reason.partition(":")[0] for reason in found.refused] == [
        f"{target} / multiple_choice and z / multiple_choice" for target in "xy"
    ]


async def test_a_run_with_nothing_to_compare_is_refused(tmp_path: Path) -> None:
    """Groups that share no scenario, one group only, one mode only: an error in words; by the command, exit code 2."""
    apart = await imported("apart", [("x", "s", "a"), ("y", "t", "a")], tmp_path)
    with pytest.raises(InputError, match="no scenario has rated outcomes in both"):
        await pipeline.compare(apart)
    with pytest.raises(InputError, match="differ in mode only; there are: x / multiple_choice; y / multiple_choice"):
        await pipeline.compare(apart, (By.MODE,))
    await imported("one", [("x", "s", "a")], tmp_path)
    done = conflictscope("compare", "one", cwd=tmp_path, code=2)
    assert "no two groups of outcomes differ in target or mode or steering or behavior only" in done.stderr
    assert done.stdout == ""
