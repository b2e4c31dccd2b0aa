"""Sweeps of planted worlds that end when their rankings are settled, and that choose what they play."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from conflictscope import pipeline
from conflictscope.ranking import GroupBeliefs
from conflictscope.runfolder import RunFolder
from conflictscope.store import RunReader
from tests.commands import conflictscope

MakeSweep = Callable[..., pipeline.Sweep]

CONVERGED = ('modes=["multiple_choice"]', 'stop.when="converged"', "limits.concurrency=8")
THOMPSON = ('schedule.policy="thompson"', "schedule.least_pool=1")
SCENARIOS = 300


def rows(folder: RunFolder, query: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(folder.database)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


async def test_a_sweep_ends_when_its_last_ranking_is_settled(make_sweep: MakeSweep, tmp_path: Path) -> None:
    """Each group stops at a number of outcomes of its own, which is stored with the rule; what was in flight is played to its end,
    the outcomes up to the stop satisfy the rule, and the run is done: exit code 0, no time and no cost left."""
    sweep = make_sweep(*CONVERGED, scenarios=SCENARIOS)
    result = await pipeline.run_sweep(sweep, tmp_path / "runs")
    progress = result.snapshot.progress
    assert (result.state, result.exit_code, progress.state) == ("converged", 0, "converged")
    assert progress.planned == len(sweep.groups) * SCENARIOS
    assert progress.done < progress.planned / 2
    assert (progress.remaining_s, progress.forecast_usd) == (None, None)
    stopped = result.snapshot.stopped
    groups = result.snapshot.to_json()["groups"]
    assert [group["stopped_at"] for group in groups] == [stopped[ranking.group] for ranking in result.snapshot.rankings]
    assert stopped.keys() == set(sweep.groups)
    assert len(set(stopped.values())) > 1
    told = [json.loads(settled) for (settled,) in rows(result.folder, "SELECT settled FROM groups")]
    assert {(rule["delta"], rule["alpha"], rule["least_per_pair"]) for rule in told} == {(0.1, 0.05, 5)}
    assert sorted(rule["outcomes"] for rule in told) == sorted(stopped.values())
    beliefs = {group: GroupBeliefs(group, sweep.value_set.names, ()) for group in sweep.groups}
    async with RunReader.open(result.folder.database) as reader:
        async for _, outcome in reader.outcomes():
            believed = beliefs[outcome.group]
            if believed.rated < stopped[outcome.group]:
                believed.learn(outcome)
    assert all(believed.settled for believed in beliefs.values())
    for ranking in await pipeline.rank(result.folder):
        assert stopped[ranking.group] <= ranking.outcomes < stopped[ranking.group] + 8
        assert ranking.order == sweep.truth(ranking.group)


async def test_a_settled_sweep_plays_nothing_when_it_is_run_again(make_sweep: MakeSweep, tmp_path: Path) -> None:
    """It says so, makes no call, and stays settled whatever the outcomes that were in flight came to; asked for the whole plan it
    plays the rest; and by a stricter rule only what that rule asks for."""
    sweep = make_sweep(*CONVERGED, scenarios=SCENARIOS)
    first = await pipeline.run_sweep(sweep, tmp_path / "runs")
    told: list[str] = []
    again = await pipeline.run_sweep(sweep, tmp_path / "runs", tell=told.append)
    assert (again.state, again.exit_code) == ("converged", 0)
    assert again.snapshot.progress.total.calls == first.snapshot.progress.total.calls
    assert again.snapshot.progress.done == first.snapshot.progress.done
    assert again.snapshot.stopped == first.snapshot.stopped
    (line,) = told
    assert line.endswith("episodes are there, and every ranking is settled.")
    strict = await pipeline.run_sweep(
        make_sweep(*CONVERGED, "stop.alpha=0.001", scenarios=SCENARIOS), tmp_path / "runs"
    )
    assert strict.state == "converged"
    assert all(strict.snapshot.stopped[group] > outcomes for group, outcomes in first.snapshot.stopped.items())
    whole = await pipeline.run_sweep(make_sweep(*CONVERGED, 'stop.when="plan"', scenarios=SCENARIOS), tmp_path / "runs")
    assert (whole.state, whole.snapshot.progress.done) == ("finished", whole.snapshot.progress.planned)
    assert whole.snapshot.stopped == {}


async def test_why_each_episode_was_played_is_stored(make_sweep: MakeSweep, tmp_path: Path) -> None:
    """By the plan under `uniform`; under `thompson` a floor of about its share, and the rest where draws disagree; a resume
    may change the policy, and says of the new episodes only why they were chosen."""
    stopped = ('modes=["multiple_choice"]', "limits.concurrency=8", "limits.done_share=0.1")
    runs = tmp_path / "runs"
    uniform = await pipeline.run_sweep(make_sweep(*stopped, scenarios=SCENARIOS), runs)
    query = "SELECT policy, reason FROM episodes ORDER BY seq"
    plan = rows(uniform.folder, query)
    assert set(plan) == {("uniform", "plan")}
    thompson = await pipeline.run_sweep(make_sweep(*CONVERGED, *THOMPSON, scenarios=SCENARIOS), runs)
    assert thompson.state == "converged"
    chosen = rows(thompson.folder, query)
    assert chosen[: len(plan)] == plan
    counts = Counter(chosen[len(plan) :])
    kinds = {("uniform", "start"), ("uniform", "floor"), ("uniform", "agreement"), ("thompson", "disagreement")}
    assert counts.keys() <= kinds
    assert counts["thompson", "disagreement"] > counts["uniform", "floor"] > 0


async def test_thompson_where_pairs_have_few_scenarios_is_the_plan(make_sweep: MakeSweep, tmp_path: Path) -> None:
    """With fewer than `schedule.least_pool` episodes a pair it is not worth while, and the choice says so."""
    result = await pipeline.run_sweep(make_sweep('schedule.policy="thompson"'), tmp_path / "runs")
    assert set(rows(result.folder, "SELECT policy, reason FROM episodes")) == {("uniform", "pool")}


async def test_thompson_over_a_whole_plan_plays_every_episode_once(make_sweep: MakeSweep, tmp_path: Path) -> None:
    """Without a stop the order differs, not what is played: the same episodes with the same outcomes, over an interruption too."""
    whole = ('modes=["multiple_choice"]', "limits.concurrency=8")
    keys = "SELECT key, verdict FROM episodes ORDER BY key"
    uniform = await pipeline.run_sweep(make_sweep(*whole, scenarios=60), tmp_path / "uniform")
    half = await pipeline.run_sweep(
        make_sweep(*whole, *THOMPSON, "limits.done_share=0.5", scenarios=60), tmp_path / "runs"
    )
    assert half.state == "enough"
    rest = await pipeline.run_sweep(make_sweep(*whole, *THOMPSON, scenarios=60), tmp_path / "runs")
    assert rest.state == "finished"
    assert rows(rest.folder, keys) == rows(uniform.folder, keys)
    assert {policy for (policy,) in rows(rest.folder, "SELECT policy FROM episodes")} == {"uniform", "thompson"}


def test_the_command_tells_a_settled_run_and_how_to_play_on(make_sweep: MakeSweep, tmp_path: Path) -> None:
    """`run` exits with 0 and names the option that plays the rest."""
    source = make_sweep(scenarios=SCENARIOS).base / "sweep.toml"
    options = [option for override in CONVERGED for option in ("--set", override)]
    told = conflictscope("run", source, *options, "--no-live", cwd=tmp_path).stderr
    assert "Every ranking is settled, after " in told
    assert told.rstrip().endswith("--set stop.when=plan")
