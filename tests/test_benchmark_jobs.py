"""What `benchmarks.jobs` compares: every client asks for the same calls."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from pydantic_ai.messages import ModelRequest

from benchmarks.clients import gather
from benchmarks.jobs import episode, make_job
from benchmarks.worlds import write_sweep
from conflictscope import pipeline
from conflictscope.arena.lanes.journal import RESPONSE, decode
from conflictscope.documents import read_document
from conflictscope.planted import Lexicon, parse_world
from conflictscope.planted.server import serving
from conflictscope.store import readable

pytestmark = pytest.mark.anyio


async def asked_by_a_run(folder: Path, scenarios: int) -> dict[tuple[str, str], tuple[str | None, str, str]]:
    """Instructions, message and answer of each call of a planted run, by scenario and role."""
    sweep = pipeline.load_sweep(str(write_sweep(folder, scenarios=scenarios, targets=1)))
    result = await pipeline.run_sweep(sweep, folder / "runs")
    calls = {}
    with closing(readable(sqlite3.connect(result.folder.database))) as connection:
        for scope, role, request, body in connection.execute(
            "SELECT scope, role, body(request), body(reply) FROM calls"
        ):
            [message] = decode(request)[0]
            assert isinstance(message, ModelRequest)
            [part] = message.parts
            [scenario] = (each.id for each in sweep.scenarios if each.id in scope)
            calls[scenario, role] = message.instructions, str(part.content), RESPONSE.validate_json(body).text
    return calls


async def test_the_texts_of_the_other_clients_are_those_of_our_runs(tmp_path: Path) -> None:
    calls = await asked_by_a_run(tmp_path, 4)
    for scenario in pipeline.load_sweep(str(tmp_path / "sweep.toml")).scenarios:
        [(*user, opening), (_, heard, reply), (*judge, _)] = (
            calls[scenario.id, role] for role in ("user", "target", "judge")
        )
        both_orders = [episode(number, scenario) for number in (0, 1)]
        assert tuple(user) in [each.user for each in both_orders]
        assert heard == opening
        assert tuple(judge) in [(each.judge[0], each.judged(opening, reply)) for each in both_orders]


async def test_the_plain_script_asks_for_three_calls_an_episode_and_gets_a_verdict(tmp_path: Path) -> None:
    sweep = pipeline.load_sweep(str(write_sweep(tmp_path, scenarios=5, targets=1)))
    async with serving(parse_world(read_document(tmp_path / "world.toml")), Lexicon.of(sweep.scenarios)) as server:
        job = make_job(tmp_path, server.url, 2, [1, 5])
        job.write(tmp_path / "job.json")
        actions = await gather.play(job.read(tmp_path / "job.json"), 5, ready=lambda: None)
    assert set(actions) <= {"action_1", "action_2", "both", "neither", "refused"}
    assert len(actions) == 5
    assert server.metrics.by_model == {"user": 5, "alpha": 5, "judge": 5}
    assert server.metrics.highest_in_flight <= 2
