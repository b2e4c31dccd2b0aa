"""Planted judges on stored conversations: verdicts side by side, rankings of each, limits, failures, and what is refused."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conflictscope import pipeline
from conflictscope.errors import InputError
from conflictscope.outcome import Verdict
from conflictscope.runfolder import RunFolder
from tests.commands import conflictscope

MakeSweep = Callable[..., pipeline.Sweep]
JUDGE = "planted:judge"


def rows(folder: RunFolder, query: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(folder.database)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


async def played(make_sweep: MakeSweep, tmp_path: Path, *overrides: str, **settings: Any) -> RunFolder:
    return (await pipeline.run_sweep(make_sweep(*overrides, **settings), tmp_path / "runs")).folder


def answered(folder: RunFolder) -> int:
    return int(rows(folder, "SELECT count(*) FROM calls WHERE state = 'committed'")[0][0])


async def test_the_same_judge_comes_to_the_same_verdicts_and_ranking(make_sweep: MakeSweep, tmp_path: Path) -> None:
    """With a call of the judge for each conversation, and of nobody else; again, nothing is asked at all."""
    folder = await played(make_sweep, tmp_path, error_rate=0.2)
    before = answered(folder)
    result = await pipeline.rejudge(folder, [JUDGE], name="again")
    assert (result.state, result.exit_code, result.conversations, result.usage.calls) == ("finished", 0, 36, 36)
    assert rows(folder, "SELECT DISTINCT role FROM calls WHERE scope LIKE 'rejudge/again/%'") == [("judge",)]
    differing = "SELECT count(*) FROM episodes e JOIN verdicts v ON v.episode_seq = e.seq WHERE v.verdict != e.verdict"
    assert rows(folder, differing) == [(0,)]
    of_run, of_judge = await pipeline.rank(folder), await pipeline.rank(folder, judge="again")
    assert [ranking.to_json() for ranking in of_judge] == [ranking.to_json() for ranking in of_run]
    assert (await pipeline.rejudge(folder, [JUDGE], name="again")).usage.calls == 0
    assert answered(folder) == before + 36


async def test_verdicts_of_several_judges_stand_side_by_side(make_sweep: MakeSweep, tmp_path: Path) -> None:
    """Another world's judge who errs half of the time disagrees; the run's own verdicts, and its state, stay as they were."""
    folder = await played(make_sweep, tmp_path, 'modes=["open_ended", "multiple_choice"]')
    of_run = [ranking.to_json() for ranking in await pipeline.rank(folder)]
    state = (await pipeline.status(folder)).to_json()
    wild = tmp_path / "wild.toml"
    wild.write_text("seed = 1\n[targets.x]\nutilities = { care = 1.0 }\n[judge]\nerror_rate = 0.5\n")
    await pipeline.rejudge(folder, [JUDGE], name="wild", world=str(wild))
    await pipeline.rejudge(folder, [JUDGE], name="both", orders="both")
    assert rows(folder, "SELECT judge, count(*) FROM verdicts GROUP BY 1") == [("both", 36), ("wild", 36)]
    assert rows(folder, "SELECT count(*) FROM looks WHERE judge = 'both'") == [(72,)]
    assert [ranking.to_json() for ranking in await pipeline.rank(folder)] == of_run
    after = (await pipeline.status(folder)).to_json()
    assert [after[key] for key in ("state", "done", "elapsed_s")] == [
        state[key] for key in ("state", "done", "elapsed_s")
    ]
    assert [told["judge"] for told in after["judges"]] == ["both", "wild"]
    by_wild = {str(ranking.group): ranking.to_json() for ranking in await pipeline.rank(folder, judge="wild")}
    for ranking in of_run:
        name = f"{ranking['target']} / {ranking['mode']}"
        # What no judge decides stands as it is, so that modes can still be compared.
        assert (by_wild[name] == ranking) == (ranking["mode"] == "multiple_choice")
    seen = await pipeline.compare(folder, judge="wild")
    assert seen.to_json() != (await pipeline.compare(folder)).to_json()
    assert (await pipeline.compare(folder, judge=JUDGE)).to_json() == (await pipeline.compare(folder)).to_json()


async def test_a_cost_limit_stops_it_and_a_resume_goes_on(make_sweep: MakeSweep, tmp_path: Path) -> None:
    """Exit code 3, nothing invented; what is not judged is left out of its ranking and counted; then it equals the whole."""
    folder = await played(make_sweep, tmp_path, "limits.concurrency=1")
    prices = [f"prices.{JUDGE}.input_usd=1000", f"prices.{JUDGE}.output_usd=1000"]
    stopped = await pipeline.rejudge(folder, [JUDGE], [*prices, "limits.cost_usd=30"], name="again")
    (judged,) = stopped.judges
    assert (stopped.state, stopped.exit_code) == ("limit", 3)
    assert 0 < judged.judged < 36
    assert judged.left == 36 - judged.judged == await pipeline.left_out(folder, "again")
    rankings = await pipeline.rank(folder, judge="again")
    assert sum(ranking.outcomes for ranking in rankings) == judged.judged
    rest = await pipeline.rejudge(folder, [JUDGE], prices, name="again")
    assert (rest.state, rest.usage.calls, rest.judges[0].left) == ("finished", 36 - judged.judged, 0)
    assert await pipeline.left_out(folder, "again") == 0
    assert [each.to_json() for each in await pipeline.rank(folder, judge="again")] == [
        each.to_json() for each in await pipeline.rank(folder)
    ]


async def test_a_judge_that_fails_is_kept_apart_and_tried_again(make_sweep: MakeSweep, tmp_path: Path) -> None:
    """Its failures are typed, are no loss of anybody, make the command exit with 1, and are asked for anew each time."""
    folder = await played(make_sweep, tmp_path)
    short = ["judge.max_tokens=5"]
    failed = await pipeline.rejudge(folder, [JUDGE], short, name="short")
    assert (failed.exit_code, failed.judges[0].verdicts) == (1, {Verdict.JUDGE_FAILED: 36})
    assert {str(failure).partition(":")[0] for (failure,) in rows(folder, "SELECT failure FROM verdicts")} == {
        "truncated"
    }
    ranking = (await pipeline.rank(folder, judge="short"))[0].to_json()
    assert sum(pair["wins_a"] + pair["wins_b"] for pair in ranking["pairs"]) == 0
    assert sum(pair["excluded"]["judge_failed"] for pair in ranking["pairs"]) == 12
    assert (await pipeline.rejudge(folder, [JUDGE], short, name="short")).usage.calls == 36
    assert rows(folder, "SELECT count(*) FROM verdicts") == [(36,)]


async def test_what_cannot_be_is_refused_before_anything_is_asked(make_sweep: MakeSweep, tmp_path: Path) -> None:
    """Names that are taken, other settings under one name, planted models that are no judges, settings of nobody."""
    folder = await played(make_sweep, tmp_path)
    await pipeline.rejudge(folder, [JUDGE], name="again")
    before = answered(folder)
    refused = [
        ({"models": [JUDGE]}, "'planted:judge' is what the run's own judge is called"),
        (
            {"models": [JUDGE], "name": "again", "orders": "both"},
            "'again' has judged here with other settings (orders)",
        ),
        ({"models": ["planted:alpha"]}, "that planted model is no judge"),
        ({"models": ["judge"]}, 'a model is named "provider:name"'),
        ({"models": [JUDGE, JUDGE]}, "names a model twice"),
        ({"models": [JUDGE, "planted:x"], "name": "n"}, "is for the verdicts of one judge"),
        ({"models": [JUDGE], "name": "n", "overrides": ["judge.models=['a:b']"]}, "who judges is told by --judge"),
        ({"models": [JUDGE], "name": "n", "overrides": ["judge.temperature=9"]}, "judge.temperature"),
        ({"models": [JUDGE], "name": "n", "overrides": ["judge.quotes=true"]}, "judge.quotes: is for a sweep"),
        ({"models": [JUDGE], "name": "n", "overrides": ["judge.repeats=3"]}, "judge.repeats: is for a sweep"),
        ({"models": [JUDGE], "name": "n", "overrides": ["providers.openia.base_url='http://x'"]}, "providers.openia"),
        (
            {"models": [JUDGE], "name": "n", "overrides": ["prices.x.input_usd=1", "prices.x.output_usd=1"]},
            "prices: 'x'",
        ),
        ({"models": [JUDGE], "name": "n", "overrides": ["judge.batch=true"]}, "there is no batch API"),
    ]
    for arguments, told in refused:
        with pytest.raises(InputError) as error:
            await pipeline.rejudge(folder, **arguments)
        assert told in str(error.value)
    with pytest.raises(InputError, match="--judge nobody: has not judged here; who has: planted:judge, again"):
        await pipeline.rank(folder, judge="nobody")
    assert answered(folder) == before


def test_the_command_and_the_rankings_of_a_judge(make_sweep: MakeSweep, tmp_path: Path) -> None:
    """`rejudge --json` is one document; `rank --judge` names the judge and how many episodes it left out; the next step is told."""
    source = make_sweep().base / "sweep.toml"
    conflictscope("run", source, "--json", cwd=tmp_path)
    done = conflictscope("rejudge", "bench", "--judge", JUDGE, "--name", "it's", "--json", cwd=tmp_path)
    document = json.loads(done.stdout)
    assert document["judges"][0] | {"verdicts": None} == {
        "judge": "it's", "model": JUDGE, "judged": 36, "left": 0, "verdicts": None,
    }  # fmt: skip
    assert document["calls"]["calls"] == 36
    assert "rank bench --judge 'it'\"'\"'s'" in done.stderr
    ranked = json.loads(conflictscope("rank", "bench", "--judge", "it's", "--json", cwd=tmp_path).stdout)
    assert (ranked["judge"], ranked["left_out"], len(ranked["groups"])) == ("it's", 0, 3)
    assert "judge" not in json.loads(conflictscope("rank", "bench", "--json", cwd=tmp_path).stdout)
    assert "judged anew by it's" in conflictscope("status", "bench", cwd=tmp_path).stdout
