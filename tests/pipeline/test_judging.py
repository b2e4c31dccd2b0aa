from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from conflictscope import pipeline
from conflictscope.errors import InputError
from conflictscope.outcome import Group, Judgement, Mode, Outcome, PairedLooks, Side, Verdict
from conflictscope.pipeline.judging import gold_of_table, judge_errors, measured_votes
from conflictscope.ports import EpisodeRecord
from conflictscope.ranking import JudgeError, Uncorrected, estimate_judge_error
from conflictscope.runfolder import RunFolder
from conflictscope.store import RunReader, RunWriter
from conflictscope.tables import GoldTable

MakeSweep = Callable[..., pipeline.Sweep]
GROUP = Group("alpha", Mode.OPEN_ENDED)


async def errors_of(database: Path, gold: Path | None = None) -> dict[Group, JudgeError | Uncorrected]:
    async with RunReader.open(database) as reader:
        return await judge_errors(reader, await gold_of_table(reader, GoldTable(gold)) if gold else None)


async def outcomes_of(folder: RunFolder) -> list[Outcome]:
    async with RunReader.open(folder.database) as reader:
        return [outcome async for _, outcome in reader.outcomes()]


def episode(
    number: int, group: Group, verdict: Verdict, *looks: tuple[Side, Verdict], judge: str = "j"
) -> EpisodeRecord:
    """An episode with what a judge said each time, by the order shown; what it says of unresolved ones is not resolved."""
    judgements = tuple(
        Judgement(judge, first, choice, choice is not Verdict.UNRESOLVED, None, "") for first, choice in looks
    )
    outcome = Outcome(group, f"s{number}", 1, "x", "y", verdict, None, looks[0][0] if looks else None, judge)
    return EpisodeRecord(outcome, 0, (), judgements, None, 0.0)


async def stored(path: Path, *episodes: EpisodeRecord) -> Path:
    async with RunWriter.open(path) as writer:
        for record in episodes:
            await writer.record_episode(record)
    return path


def labels(
    path: Path, outcomes: list[Outcome], header: str = "target,scenario_id,verdict,mode,steering,repeat"
) -> Path:
    """A table of gold labels that says of each episode what the outcome says."""
    cells = {
        o.key: {
            "target": o.group.target,
            "scenario_id": o.scenario_id,
            "verdict": o.verdict.value,
            "mode": o.group.mode.value,
            "steering": o.group.steering or "",
            "repeat": str(o.repeat),
        }
        for o in outcomes
    }
    names = header.split(",")
    path.write_text("".join(",".join(row) + "\n" for row in [names, *([c[n] for n in names] for c in cells.values())]))
    return path


# -- planted judges ----------------------------------------------------------------------------------------------------


async def test_planted_rates_are_found_from_both_orders(make_sweep: MakeSweep, tmp_path: Path) -> None:
    """A sweep that asks its judge in both orders: flip rate and order bias are within three standard errors.

    Conversations go on where the orders disagree, and end where they agree; that leaves no mark on the estimate.
    """
    sweep = make_sweep('judge.orders="both"', "user.max_turns=3", scenarios=200, error_rate=0.15, order_bias=0.2)
    result = await pipeline.run_sweep(sweep, tmp_path / "runs")
    async with RunReader.open(result.folder.database) as reader:
        judged = await reader.judged_groups()
        errors = await judge_errors(reader)
    assert {row.group for row in judged} == set(sweep.groups)
    error = estimate_judge_error(sum((row.looks["planted:judge"] for row in judged), PairedLooks()))
    assert isinstance(error, JudgeError)
    assert error.flip == pytest.approx(0.15, abs=3 * error.flip_sd)
    assert error.order_bias == pytest.approx(0.2, abs=3 * error.order_bias_sd)
    assert max(error.flip_sd, error.order_bias_sd) < 0.03
    for found in errors.values():  # one judge, one error, of the verdicts on which its two looks agree
        assert isinstance(found, JudgeError)
        assert found.figures == error.agreed().figures


async def test_planted_rates_are_found_from_gold_labels(make_sweep: MakeSweep, tmp_path: Path) -> None:
    """One look in a random order: what a judge without error says of the same conversations are the gold labels."""
    true = await pipeline.run_sweep(make_sweep(scenarios=150), tmp_path / "true")
    sweep = make_sweep(scenarios=150, error_rate=0.1, order_bias=0.25)
    result = await pipeline.run_sweep(sweep, tmp_path / "runs")
    gold = labels(tmp_path / "gold.csv", await outcomes_of(true.folder))
    errors = await errors_of(result.folder.database, gold)
    assert errors.keys() == set(sweep.groups)
    for error in errors.values():
        assert isinstance(error, JudgeError)
        assert error.source == "450 gold labels"
        assert error.flip == pytest.approx(0.1, abs=3 * error.flip_sd)
        assert error.order_bias == pytest.approx(0.25, abs=3 * error.order_bias_sd)
    assert set((await errors_of(result.folder.database)).values()) == {
        Uncorrected("fewer than 30 conversations in which the judge named an action in both orders (0)")
    }


# -- panels and repeats ------------------------------------------------------------------------------------------------

PANEL = 'judge.models=["planted:judge", "planted:hasty", "planted:biased"]'
RATES = {"judge": (0.05, 0.0), "hasty": (0.2, 0.0), "biased": (0.1, 0.25)}  # error rate and order bias


@pytest.fixture
def panel_sweep(make_sweep: MakeSweep, tmp_path: Path) -> MakeSweep:
    """A sweep whose world has two judges more."""

    def make(*overrides: str, scenarios: int = 12, **rates: float) -> pipeline.Sweep:
        make_sweep(scenarios=scenarios, **{"error_rate": RATES["judge"][0], **rates})
        folder = tmp_path / "sweep"
        world = folder / "world.toml"
        sections = (
            f"[judges.{name}]\nerror_rate = {RATES[name][0]}\norder_bias = {RATES[name][1]}\n"
            for name in ("hasty", "biased")
        )
        world.write_text(world.read_text() + "\n" + "\n".join(sections))
        return pipeline.load_sweep(str(folder / "sweep.toml"), list(overrides))

    return make


async def test_each_planted_judge_of_a_panel_is_found_by_its_own_rates(panel_sweep: MakeSweep, tmp_path: Path) -> None:
    """Three judges, both orders, two repeats: flip rate and bias of each within three standard errors, and no two err alike."""
    sweep = panel_sweep(PANEL, 'judge.orders="both"', "judge.repeats=2", "user.max_turns=2", scenarios=200)
    result = await pipeline.run_sweep(sweep, tmp_path / "runs")
    async with RunReader.open(result.folder.database) as reader:
        judged = await reader.judged_groups()
        errors = await judge_errors(reader)
    assert {row.judge for row in judged} == {"panel:planted:judge+planted:hasty+planted:biased"}
    assert all(row.voted for row in judged)
    for name, (error_rate, order_bias) in RATES.items():
        error = estimate_judge_error(sum((row.looks[f"planted:{name}"] for row in judged), PairedLooks()))
        assert isinstance(error, JudgeError)
        assert error.flip == pytest.approx(error_rate, abs=3 * error.flip_sd)
        assert error.order_bias == pytest.approx(order_bias, abs=3 * error.order_bias_sd)
    for found in errors.values():
        assert isinstance(found, Uncorrected)
        assert found.reason.startswith(
            "how often a vote errs, only gold labels tell; planted:biased names the wrong action in "
        )


@pytest.mark.parametrize(("vote", "most_wrong"), [("majority", 0.11), ("weighted", 0.08)])
async def test_a_panel_errs_less_than_its_judges_and_gold_labels_tell_how_often(
    panel_sweep: MakeSweep, tmp_path: Path, vote: str, most_wrong: float
) -> None:
    """One look each in a random order: by majority, less than two of three; weighted, hardly more than the best of them."""
    weights = ['judge.errors={"planted:judge"=0.05, "planted:hasty"=0.2, "planted:biased"=0.22}'] * (vote == "weighted")
    true = await pipeline.run_sweep(panel_sweep(scenarios=150, error_rate=0.0), tmp_path / "true")
    panel = panel_sweep(PANEL, f'judge.vote="{vote}"', *weights, scenarios=150)
    result = await pipeline.run_sweep(panel, tmp_path / "runs")
    gold = labels(tmp_path / "gold.csv", await outcomes_of(true.folder))
    for error in (await errors_of(result.folder.database, gold)).values():
        assert isinstance(error, JudgeError)
        assert 0 < (error.wrong_first + error.wrong_second) / 2 < most_wrong


async def test_weights_are_measured_in_another_run(panel_sweep: MakeSweep, tmp_path: Path) -> None:
    """`errors_from` takes the errors of one look, or of two that agree, as they were there; and the run keeps the figures."""
    pilot = panel_sweep(PANEL, 'judge.orders="both"', scenarios=150)
    await pipeline.run_sweep(pilot, tmp_path / "sweep" / "runs")
    weighted = (PANEL, 'judge.vote="weighted"', 'judge.errors_from="runs/bench"')
    measured = {}
    for orders in ("random", "both"):
        sweep = await measured_votes(panel_sweep(*weighted, f'judge.orders="{orders}"'))
        assert sweep.config.judge is not None
        assert sweep.config.judge.errors_from is None
        measured[orders] = sweep.config.judge.errors
    assert measured["random"] == pytest.approx(
        {"planted:judge": 0.05, "planted:hasty": 0.2, "planted:biased": 0.1 * 0.75 + 0.125}, abs=0.04
    )
    assert all(measured["both"][name] < measured["random"][name] for name in measured["both"])
    result = await pipeline.run_sweep(panel_sweep(*weighted), tmp_path / "runs")
    assert f'"planted:hasty" = {measured["random"]["planted:hasty"]}' in result.folder.sweep.read_text()


@pytest.mark.parametrize(
    ("named", "told"),
    [("nowhere", "nowhere holds no run"), ("runs/bench", "runs/bench, planted:judge: fewer than 30 conversations")],
)
async def test_weights_that_cannot_be_measured_are_refused(
    panel_sweep: MakeSweep, tmp_path: Path, named: str, told: str
) -> None:
    """No such run, or one that did not ask in both orders: told before anything is asked."""
    await pipeline.run_sweep(panel_sweep(), tmp_path / "sweep" / "runs")
    sweep = panel_sweep(PANEL, 'judge.vote="weighted"', f'judge.errors_from="{named}"')
    with pytest.raises(InputError, match=told):
        await pipeline.run_sweep(sweep, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


async def test_pairs_of_looks_are_those_of_one_judge_in_one_repeat(tmp_path: Path) -> None:
    """Beside a look that failed, a second repeat, another judge and a later turn: never a look of one with a look of another."""
    a, b = Verdict.A, Verdict.B

    def look(judge: str, first: Side, choice: Verdict = a, repeat: int = 1) -> Judgement:
        failure = "timeout: late" if choice is Verdict.JUDGE_FAILED else None
        return Judgement(judge, first, choice, failure is None, None, "", repeat, failure=failure)

    record = episode(1, GROUP, a, ("b", a), judge="panel:j+k+l")
    record = replace(
        record,
        judgements=(
            look("j", "b", Verdict.JUDGE_FAILED), look("j", "b", b, 2), look("j", "a", b, 2),  # the first turn
            look("k", "b"), look("k", "a", b), look("k", "b", a, 2), look("k", "a", a, 2),
            look("l", "b", b), look("l", "a", Verdict.JUDGE_FAILED), look("l", "b", b, 2), look("l", "a", b, 2),
            look("j", "b"), look("j", "a"), look("j", "b", b, 2), look("j", "a", b, 2),  # the second one
            look("k", "b"), look("k", "a"), look("k", "b"), look("l", "b", Verdict.JUDGE_FAILED),
        ),
    )  # fmt: skip
    path = await stored(tmp_path / "run.db", record)
    async with RunReader.open(path) as reader:
        (group,) = await reader.judged_groups()
        assert dict(await reader.lost_looks()) == {("j", "timeout"): 1, ("l", "timeout"): 2}
    assert group.looks == {"j": PairedLooks(both_a=1), "k": PairedLooks(both_second=1)}


# -- what is counted ---------------------------------------------------------------------------------------------------


async def test_the_first_look_that_named_an_action_in_both_orders_is_counted(tmp_path: Path) -> None:
    """Not a later one; not one that was unresolved, a tie, or neither in one order; also of episodes without a verdict."""
    a, b, open_ = Verdict.A, Verdict.B, Verdict.UNRESOLVED
    path = await stored(
        tmp_path / "run.db",
        episode(1, GROUP, a, ("a", a), ("b", b), ("a", a), ("b", a)),  # both first, then both a
        episode(2, GROUP, open_, ("b", a), ("a", b)),  # both second
        episode(3, GROUP, b, ("b", open_), ("a", open_), ("b", b), ("a", b)),
        episode(4, GROUP, a, ("b", a), ("a", a)),
        episode(5, GROUP, open_, ("a", a), ("b", Verdict.TIE)),
        episode(6, GROUP, Verdict.NEITHER, ("a", Verdict.NEITHER), ("b", Verdict.NEITHER)),
        episode(7, Group("beta", Mode.OPEN_ENDED), a, ("a", a)),
        episode(8, Group("beta", Mode.OPEN_ENDED), Verdict.TARGET_FAILED),
    )
    async with RunReader.open(path) as reader:
        alpha, beta = await reader.judged_groups()
    assert (alpha.group, alpha.judge, alpha.looks) == (GROUP, "j", {"j": PairedLooks(1, 1, 1, 1)})
    assert (beta.group.target, beta.looks) == ("beta", {})
    assert not alpha.voted


async def test_each_group_without_an_estimate_says_why(tmp_path: Path) -> None:
    """No judge, too few looks, several judges: each has its reason; groups of one judge share their looks."""
    both: list[tuple[Side, Verdict]] = [("a", Verdict.A), ("b", Verdict.A)]
    beta, asked, mixed = (
        Group("beta", Mode.OPEN_ENDED),
        Group("beta", Mode.MULTIPLE_CHOICE),
        Group("m", Mode.OPEN_ENDED),
    )
    path = await stored(
        tmp_path / "run.db",
        *(episode(n, GROUP, Verdict.A, *both) for n in range(20)),
        *(episode(n, beta, Verdict.A, *both) for n in range(10)),
        *(episode(n, asked, Verdict.A, ("a", Verdict.A), judge="parser") for n in range(40)),
        *(episode(n, mixed, Verdict.A, *both, judge=f"j{n}") for n in range(2)),
        episode(1, Group("few", Mode.OPEN_ENDED), Verdict.A, *both, judge="other"),
    )
    errors = await errors_of(path)
    assert isinstance(errors[GROUP], JudgeError)
    assert isinstance(errors[beta], JudgeError)
    reasons = {group.target: error.reason for group, error in errors.items() if isinstance(error, Uncorrected)}
    assert reasons == {
        "beta": "multiple_choice has no judge",
        "m": "several judges have a part in it",
        "few": "fewer than 30 conversations in which the judge named an action in both orders (1)",
    }


async def test_gold_labels_tell_of_the_verdict_that_is_rated(tmp_path: Path) -> None:
    """Where it rests on both orders there is one rate for all; ties, and episodes that are not rated, are no evidence."""
    a, b = Verdict.A, Verdict.B
    both: list[tuple[Side, Verdict]] = [("a", a), ("b", a)]
    path = await stored(
        tmp_path / "run.db",
        *(episode(n, GROUP, a, *both) for n in range(40)),
        episode(40, GROUP, Verdict.TIE, ("a", Verdict.TIE), ("b", Verdict.TIE)),
        episode(41, GROUP, Verdict.UNRESOLVED, ("a", a), ("b", b)),
    )
    gold = tmp_path / "gold.csv"
    truth = {n: "b" if n < 4 else "tie" if n == 39 else "a" for n in range(42)}
    gold.write_text("target,scenario_id,verdict\n" + "".join(f"alpha,s{n},{said}\n" for n, said in truth.items()))
    error = (await errors_of(path, gold))[GROUP]
    assert isinstance(error, JudgeError)
    assert (error.source, error.order_bias, error.order_bias_sd) == ("39 gold labels", 0, 0)
    assert error.flip == pytest.approx(4 / 39)


@pytest.mark.parametrize(
    ("header", "row", "told"),
    [
        ("target,scenario_id,verdict", "alpha,s9,a", "the run has no such episode (target 'alpha', scenario_id 's9')"),
        ("target,scenario_id,verdict,mode", "alpha,s1,a,multiple_choice", "the run has no such episode"),
        ("target,scenario_id,verdict,repeat", "alpha,s1,a,2", "the run has no such episode"),
        ("target,scenario_id,verdict", "alpha,s2,a", "is of 2 episodes, among them alpha|open_ended||s2|1 and alpha|open_ended|up|s2"),
        ("target,scenario_id,verdict,steering", "alpha,s0,b,", "labels the same episode as line 2"),
    ],
)  # fmt: skip
async def test_a_label_must_be_of_one_episode(tmp_path: Path, header: str, row: str, told: str) -> None:
    """None, several, or one that has a label already: refused with file and line."""
    path = await stored(
        tmp_path / "run.db",
        *(episode(n, GROUP, Verdict.A, ("a", Verdict.A)) for n in range(3)),
        episode(2, Group("alpha", Mode.OPEN_ENDED, "up"), Verdict.A, ("a", Verdict.A)),
    )
    gold = tmp_path / "gold.csv"
    more = "," * (header.count(",") - 2)
    gold.write_text(f"{header}\nalpha,s0,a{more}\n{row}\n")
    with pytest.raises(InputError) as caught:
        await errors_of(path, gold)
    assert str(caught.value).startswith(f"{gold}:3: {told}")


async def test_columns_tell_episodes_of_one_scenario_apart(tmp_path: Path) -> None:
    """An empty steering cell is the episode without steering: its labels are right, and those of the steered ones wrong."""
    steered = Group("alpha", Mode.OPEN_ENDED, "up")
    path = await stored(
        tmp_path / "run.db",
        *(episode(n, group, Verdict.A, ("a", Verdict.A)) for n in range(30) for group in (GROUP, steered)),
    )
    gold = tmp_path / "gold.csv"
    rows = [f"alpha,s{n},{said},{steering}" for n in range(30) for said, steering in (("a", ""), ("b", "up"))]
    gold.write_text("\n".join(["target,scenario_id,verdict,steering", *rows]))
    error = (await errors_of(path, gold))[GROUP]
    assert error == Uncorrected(
        "the judge names the right action hardly more often than by chance: nothing can be corrected"
    )
