"""Libraries measured, alone and beside others, and value sets made of prose."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conflictscope import pipeline
from conflictscope.errors import InputError
from conflictscope.library import find, load_library, load_value_set, write_library
from conflictscope.outcome import Mode, Verdict
from conflictscope.runfolder import RunFolder
from conflictscope.tables import DilemmaColumns, OutcomeTable, read_dilemmas
from tests.shared_data import shared

HEADER = "target,scenario_id,value_a,value_b,verdict,strength"
CRITERIA = "- Be kind to strangers.\n- Tell the whole truth.\n- Keep every promise.\n"


def library(
    folder: Path, name: str, count: int, values: str = "xy", checks: list[dict[str, object]] | None = None
) -> Path:
    path = folder / f"{name}.jsonl"
    rows = (
        {
            "id": f"s{number}",
            "value_a": values[0],
            "value_b": values[1],
            "description": f"{name} has case {number}, about word{number} and thing{number}.",
            "action_a": "Go.",
            "action_b": "Stay.",
            **({"checks": checks} if checks else {}),
        }
        for number in range(count)
    )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


async def played(folder: Path, name: str, *rows: str) -> RunFolder:
    """A run of these outcomes."""
    table = folder / f"{name}.csv"
    table.write_text("\n".join([HEADER, *rows]) + "\n")
    run = RunFolder.named(name, folder / "runs")
    await pipeline.import_outcomes(OutcomeTable(table), run)
    return run


async def test_a_built_in_library_is_measured(tmp_path: Path) -> None:
    """Counts, and a likeness that says what it was measured by; the keys of before are there."""
    (stats,) = await pipeline.library_stats([find("libraries", "hhh", tmp_path)])
    told = stats.to_json()
    assert told["library"] == "hhh"
    assert (told["scenarios"], told["situations"], told["passing"]) == (stats.scenarios,) * 3
    assert sum(told["templates"].values()) == sum(pair["scenarios"] for pair in told["pairs"]) == stats.scenarios
    assert told["similarity"]["embedding"] == "hashing (words, offline)"
    assert told["similarity"]["near_duplicates"]["count"] == 0
    assert 0.4 < told["similarity"]["diversity"]["within_pairs"] < 0.9
    assert (told["checks"], told["runs"], told["conditions"]) == ([], [], [])
    json.dumps(told)


async def test_a_run_tells_how_far_targets_agree_and_how_clear_their_preferences_are(tmp_path: Path) -> None:
    """Two targets agree in 2 of 4 scenarios; one is clear in 3 of 4, the other was never asked how strongly."""
    path = library(tmp_path, "mine", 5)
    run = await played(
        tmp_path, "r",
        "m,s0,x,y,a,7", "m,s1,x,y,a,6", "m,s2,x,y,b,6", "m,s3,x,y,b,2",
        "n,s0,x,y,a,", "n,s1,x,y,b,", "n,s2,x,y,b,", "n,s3,x,y,a,", "n,s4,x,y,refused,",
    )  # fmt: skip
    (stats,) = await pipeline.library_stats([path], [run])
    (condition,) = stats.conditions
    assert stats.runs == ("r",)
    assert (condition.mode, condition.steering) == (Mode.MULTIPLE_CHOICE, None)
    assert condition.agree is not None
    assert condition.alpha is not None
    assert (condition.agree.count, condition.agree.total, condition.alpha.items) == (2, 4, 4)
    assert [(one.target, one.clear.count, one.clear.total) for one in condition.targets] == [("m", 3, 4)]


async def test_each_run_counts_for_the_library_it_played(tmp_path: Path) -> None:
    """Also where ids are the same, for the values differ; two runs of one library are taken together."""
    paths = [library(tmp_path, "one", 3), library(tmp_path, "two", 3, "xz")]
    first = await played(tmp_path, "first", "m,s0,x,y,a,7")
    second = await played(tmp_path, "second", "m,s0,x,z,a,7", "m,s1,z,x,b,1")
    third = await played(tmp_path, "third", "n,s0,z,x,b,7", "n,s1,x,z,b,7")
    one, two = await pipeline.library_stats(paths, [first, second, third])
    assert (one.runs, two.runs) == (("first",), ("second", "third"))
    assert one.conditions[0].agree is None
    assert two.conditions[0].agree is not None
    assert (two.conditions[0].agree.count, two.conditions[0].agree.total) == (1, 2)


async def test_a_run_that_played_none_of_the_libraries_is_refused(tmp_path: Path) -> None:
    """As are a run and a library that are named twice."""
    path = library(tmp_path, "mine", 2)
    other = await played(tmp_path, "other", "m,s0,x,z,a,7")
    with pytest.raises(InputError, match="has no outcome of a scenario of the libraries named"):
        await pipeline.library_stats([path], [other])
    run = await played(tmp_path, "r", "m,s0,x,y,a,7")
    with pytest.raises(InputError, match="the run is named twice"):
        await pipeline.library_stats([path], [run, run])
    with pytest.raises(InputError, match="the library is named twice"):
        await pipeline.library_stats([path, path])


@pytest.mark.parametrize(
    ("verdicts", "name", "value"),
    [({"c": True, "d": True}, "cohen_kappa", 1.0), ({"c": True, "d": True, "e": False}, "krippendorff_alpha", -0.2)],
)
async def test_checkers_agreement_is_kappa_of_two_and_alpha_of_more(
    tmp_path: Path, verdicts: dict[str, bool], name: str, value: float
) -> None:
    """Each check of its own."""
    checks = [{"name": "realistic", "passed": ok, "reason": "So.", "checker": who} for who, ok in verdicts.items()]
    (stats,) = await pipeline.library_stats([library(tmp_path, "mine", 2, checks=checks)])
    (found,) = stats.checkers
    assert (found.check, found.checkers, found.agreement.name) == ("realistic", tuple(verdicts), name)
    assert found.agreement.value == pytest.approx(value, abs=0.05)


@pytest.mark.parametrize("name", ["", "no-such-thing"])
async def test_an_embedding_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    """By its option."""
    with pytest.raises(InputError, match="--embedding"):
        await pipeline.library_stats([library(tmp_path, "mine", 2)], embedding=name)


async def test_an_imported_set_is_measured_with_the_recorded_choices_of_its_targets(tmp_path: Path) -> None:
    """MoralChoice: three models on the 42 clean conflicts, each asked in both orders of the two actions."""
    data = shared("moralchoice")
    sides = [f"rules_respected_only_by_action{number}" for number in (1, 2)]
    columns = DilemmaColumns("scenario_id", "context", "action1", "action2", *sides)
    write_library(tmp_path / "m.jsonl", read_dilemmas(data / "scenarios_high_ambiguity.csv", columns).scenarios)
    table = tmp_path / "clean.csv"
    lines = (data / "outcomes.csv").read_text().splitlines()
    table.write_text("\n".join([lines[0], *(line for line in lines[1:] if line.endswith(",1"))]) + "\n")
    ours = {"target": "model", "verdict": "choice", "repeat": "question_ordering"}
    outcomes = OutcomeTable(table, ours, {"A": Verdict.A, "B": Verdict.B})
    run = RunFolder.named("r", tmp_path / "runs")
    assert await pipeline.import_outcomes(outcomes, run) == 252
    (stats,) = await pipeline.library_stats([tmp_path / "m.jsonl"], [run])
    (condition,) = stats.conditions
    assert condition.agree is not None
    assert condition.agree.total == 42
    assert [target.clear.total for target in condition.targets] == [42, 42, 42]


# -- value sets --------------------------------------------------------------------------------------------------------


async def test_criteria_become_a_value_set_that_can_be_loaded(tmp_path: Path) -> None:
    """Named as its file, with a comment that says where it is from."""
    (tmp_path / "c.md").write_text(CRITERIA)
    made = await pipeline.new_value_set(tmp_path / "c.md", tmp_path / "mine.toml")
    assert load_value_set(tmp_path / "mine.toml") == made
    assert (made.name, made.names) == ("mine", ("kind-strangers", "tell-whole-truth", "keep-every-promise"))
    assert (tmp_path / "mine.toml").read_text().startswith("# Made of c.md by `conflictscope values new`.")


async def test_a_file_that_exists_is_written_over_only_by_force(tmp_path: Path) -> None:
    """And stays as it is else."""
    (tmp_path / "c.md").write_text(CRITERIA)
    (tmp_path / "mine.toml").write_text("years of work")
    with pytest.raises(InputError, match="exists: choose another -o, or write over it with --force"):
        await pipeline.new_value_set(tmp_path / "c.md", tmp_path / "mine.toml")
    assert (tmp_path / "mine.toml").read_text() == "years of work"
    await pipeline.new_value_set(tmp_path / "c.md", tmp_path / "mine.toml", force=True)
    assert load_value_set(tmp_path / "mine.toml").name == "mine"


@pytest.mark.parametrize(
    ("output", "options", "told"),
    [
        ("mine.yaml", {}, "-o: expected a .toml file"),
        ("my set!.toml", {}, "-o: the set is named as its file is: name: not a name: got 'my set!'"),
        ("gone/mine.toml", {}, "cannot be written"),
        ("mine.toml", {"world": "demo"}, "--world demo: says where a planted --model comes from, and there is none"),
    ],
)
async def test_what_cannot_be_made_is_told(tmp_path: Path, output: str, options: dict[str, str], told: str) -> None:
    """By the option to blame; and nothing is written."""
    (tmp_path / "c.md").write_text(CRITERIA)
    with pytest.raises(InputError, match=told):
        await pipeline.new_value_set(tmp_path / "c.md", tmp_path / output, **options)
    assert not (tmp_path / output).exists()


async def test_written_libraries_can_be_read(tmp_path: Path) -> None:
    """What was imported is a library like others."""
    table = tmp_path / "d.csv"
    table.write_text("id,text,left,right\n1,T,Go.,Stay.\n")
    imported = read_dilemmas(table, DilemmaColumns("id", "text", "left", "right", value_a="x", value_b="y"))
    write_library(tmp_path / "d.jsonl", imported.scenarios)
    assert load_library(tmp_path / "d.jsonl") == tuple(imported.scenarios)
    with pytest.raises(InputError, match="cannot be written"):
        write_library(tmp_path / "gone" / "d.jsonl", imported.scenarios)
