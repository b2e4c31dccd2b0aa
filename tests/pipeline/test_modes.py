"""Sweeps in the modes that ask questions: what is asked, what is kept, and what a comparison of modes finds again."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from benchmarks import modes
from benchmarks.served import serving as served_in_another_process
from conflictscope import pipeline
from conflictscope.agents import ratings
from conflictscope.outcome import Message, Mode, Outcome, Role, Verdict
from conflictscope.runfolder import RunFolder
from conflictscope.store import RunReader, readable
from tests.scripted import Answer, Asked, reply_body, serving

MakeSweep = Callable[..., pipeline.Sweep]
RATING, CHOICE = 'modes=["action_rating"]', 'modes=["multiple_choice"]'
BOTH_ORDERS = 'multiple_choice.orders="both"'


async def rows(folder: RunFolder, query: str) -> list[Any]:
    async with RunReader.open(folder.database) as reader:
        return await reader._rows(query)


async def outcomes(folder: RunFolder) -> list[Outcome]:
    async with RunReader.open(folder.database) as reader:
        return [outcome async for _, outcome in reader.outcomes()]


async def played(sweep: pipeline.Sweep, tmp_path: Path) -> RunFolder:
    result = await pipeline.run_sweep(sweep, tmp_path / "runs")
    assert result.state == "finished"
    return result.folder


async def test_each_action_is_rated_in_a_request_of_its_own(make_sweep: MakeSweep, tmp_path: Path) -> None:
    """Two requests an episode, each with one action and no word of the other or of the first reply; the drawn one first."""
    sweep = make_sweep(RATING, scenarios=12)
    folder = await played(sweep, tmp_path)
    actions = {scenario.id: (scenario.action_a, scenario.action_b) for scenario in sweep.scenarios}
    query = """SELECT e.key, e.scenario_id, e.shown_first, body(c.request) FROM episodes e JOIN calls c ON c.scope = e.key
               ORDER BY e.key, c.seq"""
    asked: dict[str, list[str]] = {}
    with closing(readable(sqlite3.connect(folder.database))) as connection:
        found = connection.execute(query).fetchall()
    for key, scenario_id, shown_first, text in found:
        assert len(json.loads(text)["messages"]) == 1
        (seen,) = [side for side, action in zip("ab", actions[scenario_id], strict=True) if action in text]
        asked.setdefault(key + shown_first, []).append(seen)
    assert len(asked) == 12 * 3
    assert all(order == ([key[-1], *({"a", "b"} - {key[-1]})]) for key, order in asked.items())
    assert len({key[-1] for key in asked}) == 2


async def test_both_ratings_can_be_had_from_a_run(make_sweep: MakeSweep, tmp_path: Path) -> None:
    """Of every episode, from its transcript; verdict and strength are those of their difference, and one judgement tells both."""
    folder = await played(make_sweep(RATING, scenarios=30), tmp_path)
    query = """SELECT e.transcript, e.shown_first, e.verdict, e.strength, j.reasoning
               FROM episodes e JOIN judgements j ON j.episode_seq = e.seq"""
    found = await rows(folder, query)
    assert len(found) == 30 * 3
    for transcript, shown_first, verdict, strength, reasoning in found:
        messages = [Message(Role(each["role"]), each["text"]) for each in json.loads(transcript)]
        a, b = ratings(messages, shown_first)
        assert a is not None
        assert b is not None
        assert (verdict, strength) == (("a", a - b + 1) if a > b else ("b", b - a + 1) if b > a else ("tie", None))
        assert reasoning == f"a {a}, b {b}"


async def test_a_target_that_rates_nothing_has_no_preference(make_sweep: MakeSweep, tmp_path: Path) -> None:
    """One that refuses is `refused`, one that leaves it open `unresolved`: no tie and no win is made of it."""
    sweep = make_sweep(RATING, scenarios=12)
    assert sweep.world is not None
    rates = zip(sweep.world.targets.items(), ({"refusal_rate": 1.0}, {"neither_rate": 1.0}, {}), strict=True)
    targets = {name: target.model_copy(update=update) for (name, target), update in rates}
    sweep = pipeline.Sweep(**{**vars(sweep), "world": sweep.world.model_copy(update={"targets": targets})})
    verdicts: dict[str, Counter[Verdict]] = {}
    for outcome in await outcomes(await played(sweep, tmp_path)):
        verdicts.setdefault(outcome.group.target, Counter())[outcome.verdict] += 1
    assert verdicts["planted:alpha"] == {Verdict.REFUSED: 12}
    assert verdicts["planted:beta"] == {Verdict.UNRESOLVED: 12}
    assert verdicts["planted:gamma"].keys() <= {Verdict.A, Verdict.B, Verdict.TIE}


async def test_in_both_orders_a_target_that_changes_its_mind_is_unresolved(
    make_sweep: MakeSweep, tmp_path: Path
) -> None:
    """Two judgements an episode, one for each order; only those that agree are rated, and the changes of mind can be counted."""
    folder = await played(make_sweep(CHOICE, BOTH_ORDERS, scenarios=30), tmp_path)
    found = await rows(
        folder,
        """SELECT e.verdict, group_concat(j.choice), count(DISTINCT j.shown_first) FROM episodes e
           JOIN judgements j ON j.episode_seq = e.seq GROUP BY e.seq""",
    )
    assert len(found) == 30 * 3
    for verdict, choices, orders in found:
        first, second = choices.split(",")
        assert orders == 2
        assert verdict == (first if first == second else "unresolved")
    assert len({verdict for verdict, _, _ in found}) == 3
    async with RunReader.open(folder.database) as reader:
        looks = [pair for group in await reader.judged_groups() for pair in group.looks.values()]
    assert sum(each.changed for each in looks) == sum(verdict == "unresolved" for verdict, _, _ in found)


@pytest.mark.parametrize(
    ("settings", "tells"),
    [(["multiple_choice.logprobs=true"], True), ([], False), (["multiple_choice.logprobs=false"], False)],
)
async def test_a_service_that_tells_how_probable_letters_were_gives_choices_a_strength(
    tmp_path: Path, make_sweep: MakeSweep, monkeypatch: pytest.MonkeyPatch, settings: list[str], tells: bool
) -> None:
    """Over HTTP: where it is wanted of a service in OpenAI's place it is asked for, and stored; else it is not even asked for."""
    monkeypatch.setenv("OPENAI_API_KEY", "none")

    def letter(asked: Asked) -> Answer:
        body = reply_body(asked.path, asked.body, Answer(text="A"))
        if asked.body.get("logprobs"):
            top = [{"token": token, "logprob": logprob, "bytes": None} for token, logprob in (("A", -0.1), ("B", -2.4))]
            told = {"token": "A", "logprob": -0.1, "bytes": None, "top_logprobs": top}
            body["choices"][0]["logprobs"] = {"content": [told], "refusal": None}
        return Answer(body=json.dumps(body).encode())

    with serving() as service:
        service.otherwise = letter
        url = f'providers.openai.base_url="{service.url}/v1"'
        sweep = make_sweep(CHOICE, 'targets=[{model="openai-chat:gpt-4o"}]', url, *settings, scenarios=6)
        folder = await played(sweep, tmp_path)
    questions = [asked.body for asked in service.asked if "exactly one of two things" in str(asked.body)]
    assert [body.get("top_logprobs") for body in questions] == [5 if tells else None] * 6
    assert {outcome.strength for outcome in await outcomes(folder)} == ({6} if tells else {None})
    reasons = {reason for (reason,) in await rows(folder, "SELECT reasoning FROM judgements")}
    assert reasons == {"the reply names A, P(A) = 0.909" if tells else "the reply names A"}


async def test_ratings_and_choices_go_in_batches(
    make_sweep: MakeSweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first questions of all episodes in one batch, the second ones in another; none goes live."""
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    folder = make_sweep(scenarios=4, targets=1).base
    with served_in_another_process(folder) as server:
        sweep = make_sweep(
            'modes=["action_rating", "multiple_choice"]', BOTH_ORDERS, 'targets=[{model="openai:alpha", batch=true}]',
            f'providers.openai.base_url="{server.openai_url}"', "limits.batch_poll_s=0.05", scenarios=4, targets=1,
        )  # fmt: skip
        run = await played(sweep, tmp_path)
    calls = await rows(run, "SELECT batch, count(*) FROM calls WHERE scope NOT LIKE 'preflight/%' GROUP BY batch")
    assert [count for _, count in calls] == [8, 8]
    assert None not in dict(calls)
    assert all(not outcome.verdict.failed for outcome in await outcomes(run))


def test_shifts_between_three_modes_are_found_again() -> None:
    """Two worlds: `compare --by mode` pairs the scenarios of each two modes, and its intervals hold the planted differences."""
    table = list(modes.rows(seeds=2, scenarios=120))
    assert len(table) == 3
    assert [row for row in table if not row.holds] == []
    assert {mode for row in table for mode in row.check.partition(":")[0].split(" → ")} == set(Mode)
