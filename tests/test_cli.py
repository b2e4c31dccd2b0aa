from __future__ import annotations

import json
import shlex
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from benchmarks.worlds import write_sweep
from tests.commands import COMMAND, conflictscope, environment

GOOD_SCENARIO = {
    "id": "s1",
    "value_a": "care",
    "value_b": "thrift",
    "description": "d",
    "action_a": "give",
    "action_b": "keep",
}


def test_demo_recovers_what_was_planted_and_is_the_same_every_time(tmp_path: Path) -> None:
    """Every ranking of the demo equals the planted order, and the same seed twice prints the same bytes."""

    def demo(name: str) -> str:
        # A new interpreter each, which hashes in another way.
        command = [*COMMAND, "demo", "--no-live", "--json", "--seed", "3", "--runs-dir", str(tmp_path / name)]
        return subprocess.run(
            command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True
        ).stdout

    with ThreadPoolExecutor() as both:  # they mostly wait
        first, second = both.map(demo, ("one", "two"))
    assert first == second
    document = json.loads(first)
    assert (document["run"], document["method"]) == ("demo", "posterior")
    assert len(document["groups"]) == 6
    for group in document["groups"]:
        assert [value["value"] for value in group["values"]] == group["truth"]
        assert [value["rank"] for value in group["values"]] == [1, 2, 3]


def test_a_run_from_start_to_ranking(tmp_path: Path) -> None:
    """run, status and rank for people: each exits 0 and shows what it is for."""
    write_sweep(tmp_path, scenarios=24)
    shown = conflictscope("run", "sweep.toml", cwd=tmp_path).stdout
    assert "planted:alpha / open_ended" in shown
    assert "conflictscope rank bench" in shown
    assert "72 of 72" in conflictscope("status", "bench", cwd=tmp_path).stdout
    ranked = conflictscope("rank", "bench", cwd=tmp_path).stdout
    assert "thrift" in ranked
    assert conflictscope("rank", "runs/bench", cwd=tmp_path).stdout == ranked
    assert sorted(path.name for path in (tmp_path / "runs" / "bench").iterdir()) == [
        "log.jsonl",
        "run.db",
        "sweep.toml",
    ]


def test_rank_json_has_the_documented_shape(tmp_path: Path) -> None:
    """The keys of the contract, best value first, intervals around the mean, counts that add up."""
    write_sweep(tmp_path, scenarios=24)
    conflictscope("run", "sweep.toml", "--json", cwd=tmp_path)
    document = json.loads(conflictscope("rank", "bench", "--json", cwd=tmp_path).stdout)
    assert document.keys() == {"run", "method", "groups"}
    for group in document["groups"]:
        assert group.keys() >= {"target", "mode", "steering", "values", "pairs", "outcomes", "converged"}
        mus = [value["mu"] for value in group["values"]]
        assert mus == sorted(mus, reverse=True)
        assert all(value["low"] < value["mu"] < value["high"] for value in group["values"])
        rated = sum(pair["wins_a"] + pair["wins_b"] + pair["ties"] for pair in group["pairs"])
        assert group["outcomes"] == rated
        assert all(0 < pair["p_a_over_b"] < 1 for pair in group["pairs"])
        assert isinstance(group["converged"], bool)


def test_every_episode_is_logged_as_json(tmp_path: Path) -> None:
    """log.jsonl holds one JSON object a line: start, each resolved episode, end."""
    write_sweep(tmp_path, scenarios=6)
    conflictscope("run", "sweep.toml", "--json", cwd=tmp_path)
    events = [json.loads(line) for line in (tmp_path / "runs" / "bench" / "log.jsonl").read_text().splitlines()]
    assert events[0]["event"] == "run.started"
    assert [event["event"] for event in events].count("episode.resolved") == 18
    assert (events[-1]["event"], events[-1]["state"]) == ("run.ended", "finished")


def edited(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


BAD_SWEEPS = {
    "misspelt key": (lambda f: edited(f / "sweep.toml", "concurrency", "concurency"),
                     "sweep.toml:22: unknown key 'limits.concurency'; did you mean 'concurrency'?"),
    "negative concurrency": (lambda f: edited(f / "sweep.toml", "concurrency = 64", "concurrency = -1"),
                             "limits.concurrency: Input should be greater than or equal to 1, got -1"),
    "unknown value in a steering": (lambda f: edited(f / "sweep.toml", "[user]", '[[steering]]\nname = "x"\nranking = ["care", "pity"]\n[user]'),
                                    "steering[0].ranking: 'pity' is not in the value set 'synthetic' (care, candour, courage, thrift)"),
    "a value that is not in the set": (lambda f: (f / "library.jsonl").write_text(json.dumps(GOOD_SCENARIO | {"value_b": "zeal"})),
                                       "library.jsonl:1: value_b: 'zeal' is not in the value set 'synthetic'"),
    "a broken line": (lambda f: (f / "library.jsonl").write_text(json.dumps(GOOD_SCENARIO) + '\n{"id": "s2",'),
                      "library.jsonl:2: not valid JSON"),
    "a missing library": (lambda f: (f / "library.jsonl").unlink(), "library.jsonl: no such file"),
    "broken TOML": (lambda f: edited(f / "sweep.toml", "seed = 1", "seed ="), "sweep.toml:5: not valid TOML"),
    "an unknown planted model": (lambda f: edited(f / "sweep.toml", "planted:beta", "planted:delta"), "sweep.toml:4: world: target 'planted:delta' is not in the world; its targets are alpha, beta, gamma"),
    "an unknown provider": (lambda f: edited(f / "sweep.toml", "planted:beta", "nosuch:model"), "model 'nosuch:model' cannot be used"),
    "a missing key": (lambda f: edited(f / "sweep.toml", "planted:beta", "openai:gpt-5.1"), "OPENAI_API_KEY"),
    "a role as a target": (lambda f: edited(f / "sweep.toml", "planted:beta", "planted:judge"), "target 'planted:judge' is a role, not a target"),
    "a target as the judge": (lambda f: edited(f / "sweep.toml", "planted:judge", "planted:alpha"), "the planted judge is 'planted:judge'"),
    "a provider that nobody uses": (lambda f: edited(f / "sweep.toml", "[limits]", "[providers.opneai]\nrequests_per_minute = 5\n[limits]"), "providers.opneai: no model named here is from there"),
    "a password in an address": (lambda f: edited(f / "sweep.toml", "[limits]", '[providers.planted]\nbase_url = "http://me:secret@host/v1"\n[limits]'), "put keys in the environment"),
    "a value ranked twice": (lambda f: edited(f / "sweep.toml", "[user]", '[[steering]]\nname = "x"\nranking = ["care", "care"]\n[user]'), "names a value twice: care"),
    "nothing at all": (lambda f: (f / "sweep.toml").write_text(""), "sweep.toml: missing key 'name'"),
    "no world": (lambda f: edited(f / "sweep.toml", 'world = "world.toml"', ""), 'planted models need `world = "FILE.toml"`'),
    "a value without a utility": (lambda f: edited(f / "world.toml", "thrift = ", "thrill = "), "has no utility for the value 'thrift'"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_SWEEPS)
def test_bad_input_is_one_message_exit_2_and_nothing_written(tmp_path: Path, case: str) -> None:
    """The message names file, line or key, what was expected and what came; no traceback, no run folder."""
    spoil, message = BAD_SWEEPS[case]
    write_sweep(tmp_path, scenarios=6)
    spoil(tmp_path)
    done = conflictscope("run", "sweep.toml", cwd=tmp_path, code=2)
    assert message in done.stderr
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "runs").exists()


def test_a_runs_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """A file where the runs folder should be: exit 2, one message that names the path and the way out."""
    write_sweep(tmp_path, scenarios=6)
    (tmp_path / "taken").write_text("")
    for command in (["run", "sweep.toml"], ["demo"]):
        done = conflictscope(*command, "--runs-dir", "taken", cwd=tmp_path, code=2)
        assert "taken/" in done.stderr
        assert "--runs-dir" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_name_that_exists_with_other_settings_is_refused(tmp_path: Path) -> None:
    """Exit 2, the differing key is named, and the run is as it was."""
    write_sweep(tmp_path, scenarios=6)
    conflictscope("run", "sweep.toml", "--json", cwd=tmp_path)
    before = conflictscope("rank", "bench", "--json", cwd=tmp_path).stdout
    done = conflictscope("run", "sweep.toml", "--set", "seed=9", cwd=tmp_path, code=2)
    assert "a run named 'bench' exists with other settings (seed): choose another --name" in done.stderr
    assert conflictscope("rank", "bench", "--json", cwd=tmp_path).stdout == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rank", "nothing"], "no run 'nothing' in runs"),
        (["status", "nothing", "--runs-dir", "elsewhere"], "no run 'nothing' in elsewhere"),
        (["run", "no.toml"], "no.toml: no such file"),
        (["run", "dmo"], "did you mean 'demo'?"),
        (["run", "sweep.toml", "--set", "seed"], "--set takes key=value"),
        (["run", "sweep.toml", "--set", "seed.x=1"], "--set seed.x: seed is a int, not a section"),
        (["run", "sweep.toml", "--name", "../up"], "a run's name is letters, digits, dots, dashes and underscores"),
        (["import", "no.csv", "--name", "x"], "no.csv: no such file"),
        (["import", "sweep.toml", "--name", "x", "--column", "target"], "--column takes LEFT=RIGHT, got 'target'"),
        (["import", "sweep.toml", "--name", "x", "--verdict", "yes=win"], "expected one of a, b, tie"),
        (["values", "check", "hhhh"], "did you mean 'hhh'?"),
        (["scenarios", "check", "values.toml"], "unknown key 'name'"),
    ],
)
def test_a_bad_argument_is_one_message_and_exit_2(tmp_path: Path, arguments: list[str], message: str) -> None:
    """Every command tells what it did not understand, and does nothing."""
    write_sweep(tmp_path, scenarios=6)
    done = conflictscope(*arguments, cwd=tmp_path, code=2)
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_bad_row_imports_nothing(tmp_path: Path) -> None:
    """The last of 1,000 rows is bad: file and line are named, and there is no such run."""
    good = "".join(f"m,s{number},x,y,a\n" for number in range(999))
    (tmp_path / "o.csv").write_text("target,scenario_id,value_a,value_b,verdict\n" + good + "m,s999,x,y,maybe\n")
    done = conflictscope("import", "o.csv", "--name", "o", cwd=tmp_path, code=2)
    assert "o.csv:1001: verdict: expected one of a, b, tie" in done.stderr
    assert "got 'maybe'" in done.stderr
    assert not (tmp_path / "runs" / "o").exists()


def test_an_import_touches_nothing_that_is_there(tmp_path: Path) -> None:
    """A folder of that name stays as it is, and an import leaves no trace of having failed."""
    (tmp_path / "o.csv").write_text("target,scenario_id,value_a,value_b,verdict\nm,s,x,y,a\n")
    notes = tmp_path / "runs" / "mine" / "notes.txt"
    notes.parent.mkdir(parents=True)
    notes.write_text("years of work")
    assert (
        "exists: choose another --name"
        in conflictscope("import", "o.csv", "--name", "mine", cwd=tmp_path, code=2).stderr
    )
    assert notes.read_text() == "years of work"
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["mine"]


def test_all_ties_are_ranked_as_equal(tmp_path: Path) -> None:
    """A group in which every outcome is a tie has a finite ranking of equals."""
    (tmp_path / "o.csv").write_text("target,scenario_id,value_a,value_b,verdict\nm,s1,x,y,tie\nm,s2,x,y,tie\n")
    conflictscope("import", "o.csv", "--name", "ties", cwd=tmp_path)
    (group,) = json.loads(conflictscope("rank", "ties", "--json", cwd=tmp_path).stdout)["groups"]
    assert [value["mu"] for value in group["values"]] == [0.0, 0.0]
    assert group["pairs"][0]["p_a_over_b"] == 0.5


def test_repeat_0_is_a_repeat_like_others(tmp_path: Path) -> None:
    """Zero is not unset: repeats 0 and 1 are two episodes."""
    (tmp_path / "o.csv").write_text("target,scenario_id,value_a,value_b,verdict,repeat\nm,s,x,y,a,0\nm,s,x,y,b,1\n")
    imported = conflictscope("import", "o.csv", "--name", "zero", "--json", cwd=tmp_path)
    assert json.loads(imported.stdout)["outcomes"] == 2


def test_a_reader_that_leaves_early_does_no_harm(tmp_path: Path) -> None:
    """`rank | head` ends without a traceback, and a run whose stderr is closed goes on to its end."""
    write_sweep(tmp_path, scenarios=60, median_s=0.3, p95_s=0.5)
    command = " ".join(map(shlex.quote, COMMAND))
    shell = f"{command} run sweep.toml --json 2> >(head -n 0) | wc -c"
    written = subprocess.run(
        ["bash", "-c", shell], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60
    )
    assert int(written.stdout) > 1000
    assert json.loads(conflictscope("status", "bench", "--json", cwd=tmp_path).stdout)["state"] == "finished"
    shell = f"{command} rank bench | head -n 1"
    ranked = subprocess.run(
        ["bash", "-c", shell], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60
    )
    assert len(ranked.stdout.splitlines()) == 1
    assert "Traceback" not in ranked.stderr


def test_imported_outcomes_can_be_ranked_but_not_run(tmp_path: Path) -> None:
    """An import is a run like others for reading; its name cannot be taken by a sweep or by another import."""
    (tmp_path / "o.csv").write_text(
        "target,scenario_id,value_a,value_b,verdict,mode,repeat\nm,s,x,y,a,open_ended,1\nm,s,x,y,refused,open_ended,2\n"
    )
    conflictscope("import", "o.csv", "--name", "bench", cwd=tmp_path)
    (group,) = json.loads(conflictscope("rank", "bench", "--json", cwd=tmp_path).stdout)["groups"]
    assert (group["mode"], group["outcomes"], group["pairs"][0]["excluded"]) == ("open_ended", 1, {"refused": 1})
    assert json.loads(conflictscope("status", "bench", "--json", cwd=tmp_path).stdout)["state"] == "imported"
    write_sweep(tmp_path, scenarios=6)
    assert "holds imported outcomes" in conflictscope("run", "sweep.toml", cwd=tmp_path, code=2).stderr
    assert "exists: choose another" in conflictscope("import", "o.csv", "--name", "bench", cwd=tmp_path, code=2).stderr


def test_demo_never_deletes_what_is_not_its_own(tmp_path: Path) -> None:
    """A run named demo that is not the demo's stays where it is."""
    (tmp_path / "o.csv").write_text("target,scenario_id,value_a,value_b,verdict\nm,s,x,y,a\n")
    conflictscope("import", "o.csv", "--name", "demo", cwd=tmp_path)
    assert "not the demo's" in conflictscope("demo", cwd=tmp_path, code=2).stderr
    write_sweep(tmp_path, scenarios=6)
    conflictscope("run", "sweep.toml", "--name", "demo", "--runs-dir", "mine", "--json", cwd=tmp_path)
    assert "not the demo's" in conflictscope("demo", "--runs-dir", "mine", cwd=tmp_path, code=2).stderr
    for runs in ("runs", "mine"):
        assert (tmp_path / runs / "demo" / "run.db").exists()


def test_checks_say_ok_and_how_much(tmp_path: Path) -> None:
    """values check and scenarios check on built-in names, from any folder."""
    assert "hhh: 3 values, 3 pairs" in conflictscope("values", "check", "hhh", cwd=tmp_path).stdout
    checked = conflictscope("scenarios", "check", "hhh", "--value-set", "hhh", "--json", cwd=tmp_path)
    assert json.loads(checked.stdout) == {"scenarios": 60, "pairs": 3, "passing": 60}


def test_stats_say_what_a_library_is_made_of(tmp_path: Path) -> None:
    """Scenarios, situations, pairs and templates of the built-in library, for people and for machines."""
    counts = json.loads(conflictscope("scenarios", "stats", "hhh", "--json", cwd=tmp_path).stdout)
    assert (counts["scenarios"], counts["situations"], counts["passing"]) == (60, 60, 60)
    assert [pair["scenarios"] for pair in counts["pairs"]] == [20, 20, 20]
    assert counts["templates"] == {"cc": 15, "cc_mild": 15, "coc": 15, "coc_mild": 15}
    assert "harmlessness / honesty" in conflictscope("scenarios", "stats", "hhh", cwd=tmp_path).stdout


def test_libraries_are_compared_and_drawn(tmp_path: Path) -> None:
    """Several libraries are one document, one table and one chart; rows that do not fit are told with their lines."""
    (tmp_path / "d.csv").write_text('id,text,c\n1,T,"[""Go."", ""Stay.""]"\n2,T,"[""Go.""]"\n')
    columns = ["--id", "id", "--description", "text", "--choices", "c", "--value-a", "x", "--value-b", "y"]
    imported = conflictscope("scenarios", "import", "d.csv", "-o", "d.jsonl", *columns, "--json", cwd=tmp_path)
    assert json.loads(imported.stdout) == {
        "scenarios": 1, "situations": 1, "pairs": 1, "left_out": {"c: expected two actions, got 1": 1},
        "refused": [{"line": 3, "reason": "c: expected two actions, got 1"}],
    }  # fmt: skip
    compared = conflictscope("scenarios", "stats", "d.jsonl", "hhh", "--chart", "c.svg", "--json", cwd=tmp_path)
    assert [stats["library"] for stats in json.loads(compared.stdout)["libraries"]] == ["d", "hhh"]
    assert (tmp_path / "c.svg").read_text().startswith("<svg")
    assert "--chart" in conflictscope("scenarios", "stats", "hhh", "--chart", "c.gif", cwd=tmp_path, code=2).stderr


def test_prose_becomes_a_value_set_that_is_checked(tmp_path: Path) -> None:
    """values new writes it, values check warns of what overlaps on stderr and in --json."""
    (tmp_path / "c.txt").write_text("Tell the whole truth.\nTell the truth, the whole truth.\nHurt nobody.\n")
    assert "3 values, 3 pairs" in conflictscope("values", "new", "c.txt", "-o", "mine.toml", cwd=tmp_path).stdout
    assert "--force" in conflictscope("values", "new", "c.txt", "-o", "mine.toml", cwd=tmp_path, code=2).stderr
    checked = conflictscope("values", "check", "mine.toml", "--json", cwd=tmp_path)
    (warning,) = json.loads(checked.stdout)["warnings"]
    assert "nearly the same" in warning
    assert warning in checked.stderr.replace("\n", " ")


def test_every_command_has_help_with_an_example(tmp_path: Path) -> None:
    """--help of each command says what it does and shows how."""
    for command in (["demo"], ["run"], ["status"], ["rank"], ["plan"], ["import"], ["values", "check"], ["values", "new"], ["scenarios", "check"],
                    ["scenarios", "stats"], ["scenarios", "import"]):  # fmt: skip
        assert "Example: conflictscope" in conflictscope(*command, "--help", cwd=tmp_path).stdout
    assert "conflictscope 0." in conflictscope("--version", cwd=tmp_path).stdout
