from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.messages import ModelResponse
from pydantic_ai.models import Model
from pydantic_ai.models.wrapper import WrapperModel

from conflictscope import pipeline
from conflictscope.errors import InputError
from conflictscope.outcome import Group, Mode, Outcome, Role, Verdict
from conflictscope.planted import Lexicon, PlantedWorld, planted_model
from conflictscope.ports import CallSent
from conflictscope.ranking import GroupFold
from conflictscope.runfolder import RunFolder
from conflictscope.snapshot import Purpose
from conflictscope.store import RunReader, RunWriter

MakeSweep = Callable[..., pipeline.Sweep]


async def outcomes(folder: RunFolder) -> list[Outcome]:
    async with RunReader.open(folder.database) as reader:
        return [outcome async for _, outcome in reader.outcomes()]


async def test_a_sweep_plays_every_episode_and_ranks_every_group(make_sweep: MakeSweep, tmp_path: Path) -> None:
    """Targets x modes x steerings, each with its ranking, and one outcome per episode."""
    steering = 'steering=[{name="thrifty", ranking=["thrift", "care"]}]'
    sweep = make_sweep('modes=["open_ended", "multiple_choice"]', steering, "repeats=2", scenarios=12)
    result = await pipeline.run_sweep(sweep, tmp_path / "runs")
    assert (result.state, result.exit_code) == ("finished", 0)
    rankings = await pipeline.rank(result.folder)
    assert len(rankings) == len(sweep.groups) == 3 * 2 * 2
    assert {ranking.group for ranking in rankings} == set(sweep.groups)
    assert result.snapshot.progress.done == result.snapshot.progress.planned == 12 * 2 * 12
    assert len({outcome.key for outcome in await outcomes(result.folder)}) == 12 * 2 * 12


async def test_the_same_seed_gives_the_same_outcomes_whatever_the_concurrency(
    make_sweep: MakeSweep, tmp_path: Path
) -> None:
    """One episode in flight or fifty: the same set of outcomes, and rankings equal to the last bit."""
    runs = []
    for concurrency in (1, 50):
        sweep = make_sweep(f"limits.concurrency={concurrency}", error_rate=0.1, order_bias=0.1)
        result = await pipeline.run_sweep(sweep, tmp_path / f"runs{concurrency}")
        rankings = [ranking.to_json() for ranking in await pipeline.rank(result.folder)]
        runs.append((sorted(map(repr, await outcomes(result.folder))), json.dumps(rankings)))
    assert runs[0] == runs[1]


async def test_another_seed_gives_other_outcomes(make_sweep: MakeSweep, tmp_path: Path) -> None:
    """The seed of the sweep matters."""
    verdicts = []
    for seed in (1, 2):
        result = await pipeline.run_sweep(make_sweep(f"seed={seed}", scenarios=30), tmp_path / f"runs{seed}")
        verdicts.append({outcome.key: outcome.verdict for outcome in await outcomes(result.folder)})
    assert verdicts[0].keys() == verdicts[1].keys()
    assert verdicts[0] != verdicts[1]


async def test_planted_priorities_are_recovered(make_sweep: MakeSweep, tmp_path: Path) -> None:
    """With enough scenarios the ranking of every target is its planted order."""
    sweep = make_sweep(scenarios=240, error_rate=0.02)
    result = await pipeline.run_sweep(sweep, tmp_path / "runs")
    for ranking in await pipeline.rank(result.folder):
        assert ranking.order == sweep.truth(ranking.group)


async def test_steering_moves_a_steerable_target_and_no_other(make_sweep: MakeSweep, tmp_path: Path) -> None:
    """A stated ranking reaches a planted target through its system prompt alone: followed at 1, ignored at 0."""
    stated = ["thrift", "courage", "candour", "care"]
    folder = make_sweep(scenarios=120).base
    world = {
        "targets": {
            name: {"utilities": dict.fromkeys(stated, 0.0), "steerability": s}
            for name, s in (("alpha", 1.0), ("beta", 0.0))
        }
    }
    (folder / "world.toml").write_text(tomli_w.dumps(world))
    overrides = [
        'targets=[{model="planted:alpha"}, {model="planted:beta"}]',
        f'steering=[{{name="up", ranking={json.dumps(stated)}}}]',
    ]
    sweep = pipeline.load_sweep(str(folder / "sweep.toml"), [*overrides, "repeats=3"])
    result = await pipeline.run_sweep(sweep, tmp_path / "runs")
    rankings = {ranking.group: ranking for ranking in await pipeline.rank(result.folder)}
    assert rankings[Group("planted:alpha", Mode.OPEN_ENDED, "up")].order == stated
    unmoved = rankings[Group("planted:beta", Mode.OPEN_ENDED, "up")]
    assert max(abs(rating.mu) for rating in unmoved.ratings.values()) < 0.5


async def test_every_target_and_steering_meets_the_same_opening(make_sweep: MakeSweep, tmp_path: Path) -> None:
    """Comparisons are paired: one opening message per scenario, whoever answers it, and it is stored."""
    sweep = make_sweep('steering=[{name="up", ranking=["thrift", "care"]}]', "repeats=2")
    result = await pipeline.run_sweep(sweep, tmp_path / "runs")
    with sqlite3.connect(result.folder.database) as connection:
        firsts = set(connection.execute("SELECT scenario_id, json_extract(transcript, '$[0].text') FROM episodes"))
        openings = set(connection.execute("SELECT scenario_id, text FROM openings"))
    connection.close()
    assert firsts == openings
    assert len(openings) == 12


async def test_one_file_holds_what_is_needed_to_rebuild_the_numbers(make_sweep: MakeSweep, tmp_path: Path) -> None:
    """Prompts, seeds, versions, scenarios, every call with its prompt version, and the sweep as executed are kept."""
    sweep = make_sweep("limits.concurrency=3")
    result = await pipeline.run_sweep(sweep, tmp_path / "runs")
    async with RunReader.open(result.folder.database) as reader:
        meta = await reader.meta()
        _, usage = await reader.usage()
    assert meta["seed"] == 1
    assert meta["versions"].keys() >= {"python", "conflictscope", "pydantic-ai-slim", "trueskill"}
    assert meta["world"]["targets"].keys() == {"alpha", "beta", "gamma"}
    with sqlite3.connect(result.folder.database) as connection:
        unknown = connection.execute(
            "SELECT DISTINCT prompt FROM calls WHERE prompt != 'conversation' AND prompt NOT IN (SELECT version FROM prompts)"
        ).fetchall()
        scenarios = connection.execute("SELECT count(*) FROM scenarios").fetchone()
    connection.close()
    assert unknown == []
    assert scenarios == (12,)
    assert {purpose: used.calls for purpose, used in usage.items()} == {
        Purpose("user", None, "planted:user"): 12,
        **{Purpose("target", f"planted:{name}", f"planted:{name}"): 12 for name in ("alpha", "beta", "gamma")},
        **{Purpose("judge", f"planted:{name}", "planted:judge"): 12 for name in ("alpha", "beta", "gamma")},
    }
    again = pipeline.load_sweep(str(result.folder.sweep))
    assert again.identity() == sweep.identity()
    assert again.config.limits.concurrency == 3


async def test_the_live_ratings_are_the_fold_of_the_log_in_its_sequence(make_sweep: MakeSweep, tmp_path: Path) -> None:
    """What a live view showed last is what anybody gets who folds the stored outcomes in the order of their seq."""
    result = await pipeline.run_sweep(make_sweep(scenarios=40), tmp_path / "runs")
    folds: dict[Group, GroupFold] = {}
    async with RunReader.open(result.folder.database) as reader:
        values, pairs = await reader.values(), await reader.pairs()
        async for _, outcome in reader.outcomes():
            folds.setdefault(outcome.group, GroupFold(outcome.group, values, pairs)).add(outcome)
    for shown in result.snapshot.rankings:
        assert shown.to_json() == folds[shown.group].ranking().to_json()


async def test_a_finished_run_started_again_makes_no_call(make_sweep: MakeSweep, tmp_path: Path) -> None:
    """The same name again resumes; where nothing is left, nothing is done, and the state stays finished."""
    sweep = make_sweep()
    first = await pipeline.run_sweep(sweep, tmp_path / "runs")
    second = await pipeline.run_sweep(sweep, tmp_path / "runs")
    assert second.snapshot.progress.total == first.snapshot.progress.total
    assert second.snapshot.progress.state == "finished"


async def test_limits_may_change_on_a_resume_but_nothing_that_is_measured(
    make_sweep: MakeSweep, tmp_path: Path
) -> None:
    """Another concurrency is fine; another seed, scenario or utility is refused, each by its name."""
    sweep = make_sweep()
    await pipeline.run_sweep(sweep, tmp_path / "runs")
    await pipeline.run_sweep(make_sweep("limits.concurrency=2"), tmp_path / "runs")
    with pytest.raises(InputError, match=r"exists with other settings \(seed\)"):
        await pipeline.run_sweep(make_sweep("seed=5"), tmp_path / "runs")
    with pytest.raises(InputError, match=r"exists with other settings \(scenarios\)"):
        await pipeline.run_sweep(make_sweep(scenarios=13), tmp_path / "runs")
    with pytest.raises(InputError, match=r"exists with other settings \(world\)"):
        await pipeline.run_sweep(make_sweep(error_rate=0.5), tmp_path / "runs")


PRICED = 'prices={"planted:alpha"={input_usd=0.0, output_usd=100.0}}'


async def test_a_cost_limit_is_never_passed_and_the_run_resumes(make_sweep: MakeSweep, tmp_path: Path) -> None:
    """Exit 3, within the limit and nothing lost; with the limit raised, the rest is done, and no reply is paid for twice."""
    priced = [PRICED, 'targets=[{model="planted:alpha", max_tokens=200}]']
    stopped = await pipeline.run_sweep(make_sweep(*priced, "limits.cost_usd=0.04"), tmp_path / "runs")
    assert (stopped.state, stopped.exit_code) == ("limit", 3)
    assert "limits.cost_usd" in stopped.message
    assert "one call to planted:alpha may cost up to $0.02" in stopped.message
    progress = stopped.snapshot.progress
    assert 0.02 < progress.total.spent_usd <= 0.04
    assert 0 < progress.done < 12
    done = await pipeline.run_sweep(make_sweep(*priced, "limits.cost_usd=100"), tmp_path / "runs")
    assert done.exit_code == 0
    committed = done.snapshot.progress.total.calls - done.snapshot.progress.total.abandoned
    assert committed == 12 + 2 * 12


async def test_what_a_killed_process_had_on_its_way_counts_against_the_limit(
    make_sweep: MakeSweep, tmp_path: Path
) -> None:
    """Nobody saw how it ended, so it may have cost all that was set aside: a resume has only the rest to spend."""
    priced = [PRICED, 'targets=[{model="planted:alpha", max_tokens=200}]', "limits.cost_usd=1.0"]
    begun = await pipeline.run_sweep(
        make_sweep(*priced, "limits.done_share=0.1", "limits.concurrency=2", scenarios=40), tmp_path / "runs"
    )
    spent = begun.snapshot.progress.total.spent_usd
    assert 0 < spent < 0.5
    async with RunWriter.open(begun.folder.database) as writer:
        await writer.begin_session()
        await writer.sent(CallSent("e", "f", Role.TARGET, None, "planted:alpha", "p", b"{}", 0.99 - spent))
    stopped = await pipeline.run_sweep(make_sweep(*priced, scenarios=40), tmp_path / "runs")
    total = stopped.snapshot.progress.total
    assert (stopped.state, stopped.exit_code) == ("limit", 3)
    assert stopped.message.startswith("$0.9900 of $1.0000 is spent (limits.cost_usd)")
    assert total.spent_usd == pytest.approx(0.99)
    assert (total.at_risk_usd, total.abandoned) == (pytest.approx(0.99 - spent), 1)


async def test_a_cost_limit_without_a_price_is_refused_before_the_first_call(
    make_sweep: MakeSweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the models and the sections to add; there is no run folder, and without a limit nothing is asked for."""
    monkeypatch.setattr("conflictscope.pipeline.casting.known_price", lambda model, **_: None)
    with pytest.raises(InputError) as refused:
        await pipeline.run_sweep(make_sweep("limits.cost_usd=1", PRICED), tmp_path / "runs")
    for part in ("limits.cost_usd", '[prices."planted:beta"]', '[prices."planted:judge"]', "input_usd", "output_usd"):
        assert part in str(refused.value)
    assert "alpha" not in str(refused.value)
    assert not (tmp_path / "runs").exists()
    result = await pipeline.run_sweep(make_sweep(PRICED), tmp_path / "runs")
    assert (result.exit_code, result.snapshot.progress.total.unpriced) == (0, 12 + 2 * 24 + 12)


async def test_a_time_limit_stops_with_its_own_code(make_sweep: MakeSweep, tmp_path: Path) -> None:
    """A sweep that would take hours ends when its time is up, with what is in flight finished or abandoned."""
    sweep = make_sweep("limits.time_s=0.2", "limits.concurrency=2", median_s=0.05, p95_s=0.06, scenarios=1000)
    result = await pipeline.run_sweep(sweep, tmp_path / "runs")
    assert (result.state, result.exit_code, result.message) == ("limit", 3, "0.2 s have passed (limits.time_s)")
    assert 0 < result.snapshot.progress.done < 1000 * 3


LATE = ("limits.call_timeout_s=0.001", "limits.attempts=1")


async def test_too_many_failed_episodes_are_told_by_the_exit_code(make_sweep: MakeSweep, tmp_path: Path) -> None:
    """Every call times out: every episode has a typed state and a cause, nothing is rated, and the exit code is 1."""
    sweep = make_sweep(*LATE, median_s=30.0, p95_s=31.0, scenarios=4)
    result = await pipeline.run_sweep(sweep, tmp_path / "runs")
    assert (result.state, result.exit_code) == ("finished", 1)
    assert result.snapshot.progress.verdicts == {Verdict.USER_FAILED: 12}
    assert result.snapshot.progress.failures == {"timeout": 12}
    assert all(ranking.outcomes == 0 for ranking in await pipeline.rank(result.folder))


class Refusing(WrapperModel):
    """A model whose service has shut us out."""

    async def request(self, *_: Any) -> ModelResponse:
        raise ModelHTTPError(403, self.model_name, "out")


async def test_a_closed_lane_ends_the_run_with_one_message_and_a_resume_plays_the_rest(
    make_sweep: MakeSweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five failures in a row close beta's lane: exit 1, alpha goes on, the others are left and listed; a resume plays all."""
    sweep = make_sweep("limits.concurrency=8", scenarios=40)

    def one_refuses(world: PlantedWorld, name: str, lexicon: Lexicon) -> Model:
        return Refusing(planted_model(world, name, lexicon)) if name == "beta" else planted_model(world, name, lexicon)

    with monkeypatch.context() as patch:
        patch.setattr("conflictscope.pipeline.models.planted_model", one_refuses)
        failed = await pipeline.run_sweep(sweep, tmp_path / "runs")
    assert (failed.state, failed.exit_code) == ("failed", 1)
    assert failed.message.startswith("planted:beta gave 5 episodes in a row the same error: http_403: ")
    progress = failed.snapshot.progress
    assert progress.verdicts[Verdict.TARGET_FAILED] == 4
    assert progress.failures == {"http_403": 4}
    assert progress.done == 4 + 80
    assert 5 <= progress.usage[Purpose("target", "planted:beta", "planted:beta")].failed <= 5 + 8
    stored = {outcome.key for outcome in await outcomes(failed.folder)}
    assert (len(failed.left), stored & set(failed.left)) == (36, set())
    resumed = await pipeline.run_sweep(sweep, tmp_path / "runs")
    assert (resumed.state, resumed.exit_code, list(resumed.left)) == ("finished", 0, [])
    undisturbed = await pipeline.run_sweep(sweep, tmp_path / "other")
    assert sorted(map(repr, await outcomes(resumed.folder))) == sorted(map(repr, await outcomes(undisturbed.folder)))
    committed = resumed.snapshot.progress.total.calls - progress.total.failed
    assert committed == undisturbed.snapshot.progress.total.calls


async def test_a_share_of_the_episodes_may_be_enough(make_sweep: MakeSweep, tmp_path: Path) -> None:
    """With `done_share` the sweep ends early and with code 0, and lists what is left; a resume without it plays that."""
    sweep = make_sweep("limits.done_share=0.5", "limits.concurrency=4", scenarios=40)
    result = await pipeline.run_sweep(sweep, tmp_path / "runs")
    assert (result.state, result.exit_code) == ("enough", 0)
    assert 60 <= result.snapshot.progress.done < 60 + 4
    assert len(result.left) == 120 - result.snapshot.progress.done
    assert not {outcome.key for outcome in await outcomes(result.folder)} & set(result.left)
    rest = await pipeline.run_sweep(make_sweep(scenarios=40), tmp_path / "runs")
    assert (rest.state, rest.snapshot.progress.done) == ("finished", 120)


async def test_two_processes_cannot_work_on_one_run(make_sweep: MakeSweep, tmp_path: Path) -> None:
    """While one holds a run, another is told so, and reading goes on."""
    sweep = make_sweep()
    result = await pipeline.run_sweep(sweep, tmp_path / "runs")
    with result.folder.locked():
        with pytest.raises(InputError, match="another process is working on this run"):
            await pipeline.run_sweep(sweep, tmp_path / "runs")
        assert (await pipeline.status(result.folder)).progress.done == 36


async def test_a_view_that_breaks_does_not_break_the_run(make_sweep: MakeSweep, tmp_path: Path) -> None:
    """The run ends normally, and the log says what the view died of."""

    async def broken(monitor: object) -> None:
        raise RuntimeError("no such terminal")

    result = await pipeline.run_sweep(make_sweep(median_s=0.001, p95_s=0.002), tmp_path / "runs", broken)
    assert result.state == "finished"
    assert "no such terminal" in (result.folder.path / "log.jsonl").read_text()


async def test_scenarios_that_fail_their_checks_are_not_run(make_sweep: MakeSweep, tmp_path: Path) -> None:
    """A scenario with a failed check stays in the file and out of the plan, and the sweep says how many."""
    base = make_sweep(scenarios=6).base
    lines = (base / "library.jsonl").read_text().splitlines()
    failed = json.loads(lines[0]) | {"checks": [{"name": "realistic", "passed": False, "reason": "no", "checker": "m"}]}
    (base / "library.jsonl").write_text("\n".join([json.dumps(failed), *lines[1:]]))
    sweep = pipeline.load_sweep(str(base / "sweep.toml"))
    assert (len(sweep.scenarios), sweep.left_out) == (5, 1)


async def test_a_users_agent_is_a_target_by_its_name_in_the_sweep_file(make_sweep: MakeSweep, tmp_path: Path) -> None:
    """`agent = "module:attribute"` beside the sweep file plays with its tool, on its own model or on the one named."""
    base = make_sweep(scenarios=6).base
    (base / "my_agents.py").write_text(
        "from pydantic_ai import Agent\n"
        "from pydantic_ai.models.test import TestModel\n"
        "notes = []\n"
        "cautious = Agent(TestModel(custom_output_text='- nothing'), instructions='Be cautious.')\n"
        "@cautious.tool_plain\n"
        "def note(text: str) -> str:\n"
        "    notes.append(text)\n"
        "    return 'noted'\n"
    )
    targets = 'targets=[{agent="my_agents:cautious", name="own"}, {agent="my_agents:cautious", model="planted:alpha", name="named"}]'
    sweep = pipeline.load_sweep(str(base / "sweep.toml"), [targets])
    result = await pipeline.run_sweep(sweep, tmp_path / "runs")
    import my_agents  # type: ignore[import-not-found]

    assert len(my_agents.notes) == 6  # TestModel calls every tool once, and each episode has one reply
    verdicts = {(o.group.target, o.verdict) for o in await outcomes(result.folder)}
    assert {verdict for target, verdict in verdicts if target == "named"} <= {Verdict.A, Verdict.B}
    assert {verdict for target, verdict in verdicts if target == "own"} == {Verdict.NEITHER}


@pytest.mark.parametrize(
    ("agent", "message"),
    [
        ("no_such_module:x", "cannot be loaded: No module named 'no_such_module'"),
        ("json:nothing", "cannot be loaded: module 'json' has no attribute 'nothing'"),
        ("json:dumps", "is a function, not a pydantic_ai.Agent"),
    ],
)
async def test_an_agent_that_is_none_is_refused_before_anything_is_written(
    make_sweep: MakeSweep, tmp_path: Path, agent: str, message: str
) -> None:
    """The message names the agent and what is wrong; there is no run folder."""
    sweep = make_sweep(f'targets=[{{agent="{agent}"}}]')
    with pytest.raises(InputError, match=message):
        await pipeline.run_sweep(sweep, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_world_for_a_server_is_told_where_the_sweep_names_it(make_sweep: MakeSweep, tmp_path: Path) -> None:
    """Faults exist over HTTP only: the message has the sweep file and the line of `world`."""
    make_sweep()
    world = tmp_path / "sweep" / "world.toml"
    world.write_text(world.read_text() + "\n[faults]\nhang = 0.1\n")
    with pytest.raises(
        InputError, match=r"sweep\.toml:\d+: world: the world sets faults\.hang, which exists over HTTP only"
    ):
        pipeline.load_sweep(str(tmp_path / "sweep" / "sweep.toml"))
