"""What a sweep is said to take, against what it took, what it costs by hand, and what a run is learned from."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from conflictscope import pipeline
from conflictscope.errors import InputError
from conflictscope.forecast import Amount, Assumptions, SweepForecast, UsageForecast
from conflictscope.runfolder import RunFolder
from conflictscope.snapshot import Usage
from conflictscope.tables import OutcomeTable
from tests.commands import conflictscope
from tests.moody import at_openai, planted, play, served

CHOICE = 'modes=["multiple_choice"]'
RATING = 'modes=["action_rating"]'
BOTH = 'modes=["open_ended", "multiple_choice"]'
STEERED = 'steering=[{name="thrifty", ranking=["thrift", "care"]}]'
REAL = [
    'targets=[{model="openai:gpt-5.1", name="alpha"}]',
    'user.model="anthropic:claude-sonnet-4-5"',
    'judge.models=["openai-chat:gpt-5-mini"]',
]
MakeSweep = Callable[..., pipeline.Sweep]


@pytest.fixture(autouse=True)
def _few_worlds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most of these tests are about calls and dollars, which depend on no world."""
    monkeypatch.setattr("conflictscope.pipeline.planning._MOST_WORLDS", 60)


async def planned(sweep: pipeline.Sweep, like: RunFolder | None = None) -> SweepForecast:
    return await pipeline.plan_sweep(sweep, Assumptions(), like)


def line(forecast: SweepForecast, role: str, kind: str, target: str | None = None) -> UsageForecast:
    (found,) = [
        each for each in forecast.usage if (each.role, each.kind) == (role, kind) and target in (None, each.target)
    ]
    return found


async def taken(sweep: pipeline.Sweep, runs_dir: Path) -> tuple[dict[str, Usage], RunFolder]:
    """What each role took in a run of the sweep, as `status` tells it."""
    result = await pipeline.run_sweep(sweep, runs_dir)
    assert result.state == "finished"
    used: dict[str, Usage] = {}
    for purpose, usage in result.snapshot.progress.usage.items():
        used[purpose.role] = used.get(purpose.role, Usage()) + usage
    return used, result.folder


@pytest.mark.parametrize(
    "settings",
    [
        [CHOICE],
        [CHOICE, STEERED, "repeats=3"],
        [BOTH, STEERED, "user.max_turns=1"],
        [RATING, STEERED],
        [CHOICE, 'multiple_choice.orders="both"'],
    ],
)
async def test_calls_that_are_exact_are_those_of_the_run(
    make_sweep: MakeSweep, tmp_path: Path, settings: list[str]
) -> None:
    """Where nothing depends on how a conversation goes, calls equal those that `status` counts, and so do tokens asked."""
    sweep = make_sweep(*settings, scenarios=13)
    forecast = await planned(sweep)
    used, _ = await taken(sweep, tmp_path / "runs")
    assert forecast.calls.exact
    assert forecast.calls.expected == sum(usage.calls for usage in used.values())
    for role, usage in used.items():
        lines = [each for each in forecast.usage if each.role == role]
        assert sum(each.calls.expected for each in lines) == usage.calls
        if role == "target" and settings[0] != BOTH:  # tokens of the whole prompt, a fourth of its characters
            tokens = sum(each.input_tokens.expected for each in lines)
            assert tokens == pytest.approx(usage.input_tokens, abs=usage.calls)


async def test_calls_of_conversations_are_within_their_bounds(make_sweep: MakeSweep, tmp_path: Path) -> None:
    """With targets that hesitate and a judge asked in both orders, what each role took lies between the least and the most."""
    sweep = make_sweep(BOTH, 'judge.orders="both"', scenarios=12, error_rate=0.2)
    assert sweep.world is not None
    hesitant = {
        name: target.model_copy(update={"hesitation_rate": 0.5, "neither_rate": 0.05})
        for name, target in sweep.world.targets.items()
    }
    sweep = replace(sweep, world=sweep.world.model_copy(update={"targets": hesitant}))
    forecast = await planned(sweep)
    used, _ = await taken(sweep, tmp_path / "runs")
    for role, usage in used.items():
        calls = sum((each.calls for each in forecast.usage if each.role == role), Amount(0, 0, 0))
        assert calls.least < usage.calls < calls.most
    assert line(forecast, "user", "opening").calls == Amount(12, 12, 12)
    assert line(forecast, "judge", "verdict").calls.most == 2 * 3 * 3 * 12


async def test_small_questions_before_a_sweep_are_counted(tmp_path: Path) -> None:
    """Over HTTP, with the preflight, all calls of a sweep of one turn are exact: a model asked alike in two roles is asked once."""
    folder = planted(tmp_path, scenarios=6, targets=2)
    async with served(folder) as service:
        settings = [*at_openai(service, "alpha", "beta"), "user.max_turns=1", 'user.model="openai-chat:user"']
        forecast = await planned(pipeline.load_sweep(str(folder / "sweep.toml"), settings))
        result = await play(folder, settings)
    assert result.state == "finished"
    assert sum(each.kind == "preflight" for each in forecast.usage) == 4
    assert forecast.calls.least == forecast.calls.expected == result.snapshot.progress.total.calls
    alike = ['targets=[{model="openai:gpt-5.1"}]', 'user.model="openai:gpt-5.1"', 'judge.models=["openai:gpt-5.1"]']
    sweep = pipeline.load_sweep(str(folder / "sweep.toml"), alike)
    assert [each.role for each in (await planned(sweep)).usage if each.kind == "preflight"] == ["judge"]


async def test_cost_is_tokens_times_the_given_price(make_sweep: MakeSweep) -> None:
    """By hand: tokens in and out at the dollars per million that the sweep file gives; free models cost nothing."""
    prices = 'prices={"planted:alpha"={input_usd=3.0, output_usd=15.0}}'
    forecast = await planned(make_sweep(CHOICE, "repeats=100", prices, scenarios=12))
    alpha = line(forecast, "target", "multiple_choice", "planted:alpha")
    assert alpha.calls.expected == 1_200
    assert alpha.cost_usd is not None
    by_hand = (3.0 * alpha.input_tokens.expected + 15.0 * alpha.output_tokens.expected) / 1e6
    assert alpha.cost_usd.expected == pytest.approx(by_hand)
    assert by_hand > 0.1
    assert forecast.cost_usd == alpha.cost_usd


async def test_real_models_are_planned_without_keys(make_sweep: MakeSweep, monkeypatch: pytest.MonkeyPatch) -> None:
    """No key, no network: prices are those of genai-prices, half in a batch, and one that is not known is said."""
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    live = await planned(make_sweep(BOTH, *REAL))
    batched = await planned(make_sweep(BOTH, REAL[0].replace('"alpha"', '"alpha", batch=true'), *REAL[1:]))
    alpha, cheap = (line(each, "target", "multiple_choice").cost_usd for each in (live, batched))
    assert alpha is not None
    assert cheap is not None
    assert cheap.expected == pytest.approx(alpha.expected / 2)
    talk = line(live, "target", "conversation")
    assert talk.cost_usd is not None
    assert talk.cost_usd.expected == pytest.approx(
        (1.25 * talk.input_tokens.expected + 10 * talk.output_tokens.expected) / 1e6
    )
    opening = line(live, "user", "opening")  # below 200,000 tokens the lower tier holds
    assert opening.cost_usd is not None
    assert opening.cost_usd.expected == pytest.approx(
        (3 * opening.input_tokens.expected + 15 * opening.output_tokens.expected) / 1e6
    )
    unknown = await planned(make_sweep(CHOICE, REAL[0].replace("gpt-5.1", "my-own"), "limits.cost_usd=1"))
    assert unknown.cost_usd is None
    assert any(
        "the price of openai:my-own is not known" in note and "would not start" in note for note in unknown.notes
    )


async def test_a_budget_that_ends_early_is_said(make_sweep: MakeSweep) -> None:
    """With half of the cost, half of the episodes are paid for, and the forecast looks at that moment."""
    prices = 'prices={"planted:alpha"={input_usd=3.0, output_usd=15.0}}'
    sweep = [CHOICE, "repeats=20", prices, 'targets=[{model="planted:alpha"}]']
    whole = await planned(make_sweep(*sweep, scenarios=12))
    assert whole.cost_usd is not None
    assert whole.affordable is None
    half = await planned(make_sweep(*sweep, f"limits.cost_usd={whole.cost_usd.expected / 2}", scenarios=12))
    assert half.affordable in (119, 120)
    assert half.rankings[0].at_budget is not None
    assert half.rankings[0].at_budget.episodes == half.affordable
    assert any("pays for about 1" in note and "of 240 episodes (50%)" in note for note in half.notes)


async def test_time_hangs_on_what_is_slowest(make_sweep: MakeSweep) -> None:
    """Few in flight: calls times latency; a low limit of requests: minutes; and a time limit that is too short is said."""
    sweep = [CHOICE, "repeats=10", 'targets=[{model="openai:gpt-5.1"}]']
    free = await planned(make_sweep(*sweep, "limits.concurrency=4", "limits.time_s=10", scenarios=12))
    answers = line(free, "target", "multiple_choice")
    questions = line(free, "target", "preflight")
    assert free.bound == "4 episodes in flight (limits.concurrency)"
    by_hand = (120 * answers.latency_s + questions.latency_s) / 4
    assert free.duration_s.expected == pytest.approx(by_hand)
    assert any("longer than limits.time_s = 10" in note for note in free.notes)
    slow = await planned(make_sweep(*sweep, "providers.openai.requests_per_minute=11", scenarios=12))
    assert slow.bound == "11 requests per minute of openai"
    assert slow.duration_s.expected == pytest.approx(600)  # 121 requests, the first 11 at once


async def test_a_run_is_learned_from(make_sweep: MakeSweep, tmp_path: Path) -> None:
    """--like: tokens and latency are its means, each ranking that it has is forecast by itself, by what it measured."""
    sweep = make_sweep(BOTH, scenarios=60, median_s=0.001, p95_s=0.002)
    used, folder = await taken(sweep, tmp_path / "runs")
    more = make_sweep(BOTH, STEERED, "repeats=2", scenarios=60)
    forecast = await planned(more, folder)
    assert forecast.like == "bench"
    assert [len(ranking.groups) for ranking in forecast.rankings] == [1] * 6 + [6]
    assert [ranking.exchangeable for ranking in forecast.rankings] == [False] * 6 + [True]
    assert any("has no such ranking" in note and "thrifty" in note for note in forecast.notes)
    verdicts = line(forecast, "judge", "verdict")
    assert verdicts.measured
    assert verdicts.output_tokens.expected / verdicts.calls.expected == pytest.approx(
        used["judge"].output_tokens / used["judge"].calls, abs=0.5
    )
    assert verdicts.latency_s > 0
    assert verdicts.calls.expected == pytest.approx(60 * 2 * 3 * 2)  # no conversation of that run took a second turn
    for ranking in forecast.rankings[:6]:  # utilities are one unit apart
        assert ranking.at_plan.tau > forecast.rankings[6].at_plan.tau


async def test_a_run_without_outcomes_teaches_nothing(make_sweep: MakeSweep, tmp_path: Path) -> None:
    """An import of refusals is refused as a model for a plan."""
    (tmp_path / "o.csv").write_text("target,scenario_id,value_a,value_b,verdict\nm,s,care,thrift,refused\n")
    folder = RunFolder.named("o", tmp_path / "runs")
    await pipeline.import_outcomes(OutcomeTable(tmp_path / "o.csv", {}, {}, {}), folder)
    with pytest.raises(InputError, match="the run has no rated outcome to learn from"):
        await planned(make_sweep(CHOICE), folder)


async def test_choosing_pairs_is_planned_where_it_would_be_done(make_sweep: MakeSweep) -> None:
    """thompson with ample pools; uniform, and why, where the pool of a pair is small."""
    settings = [CHOICE, 'schedule.policy="thompson"']
    assert (await planned(make_sweep(*settings, "repeats=100", scenarios=12))).policy == "thompson"
    small = await planned(make_sweep(*settings, "repeats=99", scenarios=12))
    assert small.policy == "uniform"
    assert any("falls back to uniform: a pair has too few episodes" in note for note in small.notes)


async def test_the_command_prints_one_document_and_writes_nothing(make_sweep: MakeSweep) -> None:
    """plan --json: the forecast with the documented keys, the same in another process; no run folder, no other file."""
    sweep = make_sweep(CHOICE)
    before = sorted(path.name for path in sweep.base.iterdir())
    told = conflictscope("plan", "sweep.toml", "--set", CHOICE, "--json", cwd=sweep.base).stdout
    assert sorted(path.name for path in sweep.base.iterdir()) == before
    document = json.loads(told)
    assert document.keys() == {
        "sweep", "assumptions", "like", "policy", "episodes", "rankings", "usage", "total", "duration_s", "bound",
        "limit_usd", "affordable", "stops_early", "notes",
    }  # fmt: skip
    assert document["episodes"] == 36
    assert document["assumptions"] == {"spread": 0.5, "judge_error": 0.05, "ties": 0.05}
    (ranking,) = document["rankings"]
    assert [group["target"] for group in ranking["groups"]] == ["planted:alpha", "planted:beta", "planted:gamma"]
    assert ranking["worlds"] == 1_000
    assert document["usage"] == json.loads(json.dumps((await planned(sweep)).to_json()))["usage"]


def test_a_run_that_is_not_there_is_told(tmp_path: Path) -> None:
    """--like with no such run: one message, exit code 2, nothing printed."""
    folder = planted(tmp_path, scenarios=6)
    done = conflictscope("plan", "sweep.toml", "--like", "nothing", cwd=folder, code=2)
    assert "no run 'nothing' in runs" in " ".join(done.stderr.split())
    assert (done.stdout, "Traceback" in done.stderr) == ("", False)
