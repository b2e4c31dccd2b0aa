"""Planted runs audited: what was planted is found again, by the pipeline and by the command."""

from __future__ import annotations

import asyncio
import json
import tomllib
from pathlib import Path

import pytest
import tomli_w

from benchmarks.audits import ERROR_RATE, ORDER_BIAS, true_shift, write_audited
from conflictscope import pipeline
from conflictscope.audit import Audit, Figure
from conflictscope.errors import InputError
from conflictscope.outcome import Group, Judgement, Mode, Outcome, Side, Verdict
from conflictscope.ports import EpisodeRecord
from conflictscope.runfolder import RunFolder
from conflictscope.store import RunReader, RunWriter
from tests.commands import conflictscope

CHOICE, OPEN = Group("planted:alpha", Mode.MULTIPLE_CHOICE), Group("planted:alpha", Mode.OPEN_ENDED)
SIDES: tuple[Side, Side] = ("a", "b")


def holds(figure: Figure | None, truth: float) -> bool:
    return figure is not None and figure.low <= truth <= figure.high


async def audited(folder: Path, **settings: float | str) -> Audit:
    sweep = pipeline.load_sweep(str(write_audited(folder, **settings)))  # type: ignore[arg-type]
    return await pipeline.audit((await pipeline.run_sweep(sweep, folder / "runs")).folder)


async def stored(folder: Path, *records: EpisodeRecord) -> RunFolder:
    run = RunFolder.named("stored", folder)
    run.path.mkdir(parents=True)
    async with RunWriter.open(run.database) as writer:
        await writer.begin({"kind": "sweep", "name": "stored"}, ["x", "y"])
        for record in records:
            await writer.record_episode(record)
    return run


def judged(number: int, verdict: Verdict, **said: Verdict) -> EpisodeRecord:
    """An episode that each of several judges saw in both orders."""
    looks = tuple(Judgement(judge, side, named, True, 4, "so") for judge, named in said.items() for side in SIDES)
    outcome = Outcome(OPEN, f"s{number}", 1, "x", "y", verdict, None, "a", "panel")
    return EpisodeRecord(outcome, 0, (), looks, None, 0.0)


async def test_a_planted_judge_is_found_in_both_orders(tmp_path: Path) -> None:
    """Its error and its order bias are within the intervals; so is that a target has none where nobody judges."""
    found = await audited(tmp_path, seed=2)
    [judge] = [effect for effect in found.orders if effect.who == "planted:judge" and effect.pair is None]
    assert judge.both_orders
    assert holds(judge.error, ERROR_RATE)
    assert holds(judge.bias, ORDER_BIAS)
    [target] = [effect for effect in found.orders if effect.who == "planted:alpha" and effect.pair is None]
    assert not target.both_orders
    assert holds(target.bias, 0.0)
    assert {row.group for row in found.unrated if row.too_many} == {OPEN}  # where the orders disagreed


async def test_a_planted_judge_is_found_in_an_order_that_was_drawn(tmp_path: Path) -> None:
    """Its order bias is; how often it errs is not, and that is said."""
    found = await audited(tmp_path, seed=2, orders="random")
    [judge] = [effect for effect in found.orders if effect.who == "planted:judge" and effect.pair is None]
    assert holds(judge.bias, ORDER_BIAS)
    assert judge.error is None
    assert any("no conversation was judged in both orders" in text for text in found.not_told)


async def test_a_fixed_order_and_a_biased_judge_hide_a_shift_from_the_reference_and_not_from_us(tmp_path: Path) -> None:
    """Thrift, which is never action a, gains by conversations; a judge that favours the action shown first takes it for a loss.

    Ours has the planted shift within its interval; the reference's excludes it, and the audit names the shift that it gets wrong.
    """
    found = await audited(tmp_path, seed=1, order_bias=0.6, error_rate=0.0, scenarios=90, repeats=8)
    [shift] = [shift for shift in found.shifts if shift.pair == ("care", "thrift")]
    assert (shift.first, shift.second) == (CHOICE, OPEN)
    truth = true_shift(shift.pair)
    assert truth < -0.25
    assert holds(shift.ours, truth)
    assert shift.ours.high < 0
    assert not holds(shift.reference, truth)
    assert shift.differs
    said = [text for text in found.changes() if "care wins against thrift" in text]
    assert said == [shift.says()]
    assert "by ours" in said[0]
    assert "by the reference" in said[0]
    # And within conversations, the order of the two turns round.
    [beside] = [beside for beside in found.beside if beside.group == OPEN]
    [pair] = [pair for pair in beside.pairs if pair.pair == ("care", "thrift")]
    assert pair.turned
    assert pair.says() == "turns round: thrift above care (P 1.00) by ours, care above thrift (P 1.00) by the reference"


async def test_without_bias_and_failures_both_scorings_agree(tmp_path: Path) -> None:
    """No conclusion changes: they differ by the fit only."""
    found = await audited(tmp_path, seed=5, order_bias=0.0, error_rate=0.0)
    assert [beside.rescored for beside in found.beside] == [{}, {}]
    assert [text for text in found.changes() if "turns round" in text] == []
    assert not any(shift.differs for shift in found.shifts)


async def test_several_judges_of_one_run_are_told_apart(tmp_path: Path) -> None:
    """Agreement, the share of variance that is the judges', and what the ranking would be with others of them."""
    records = []
    for number in range(60):
        one = Verdict.A if number % 3 else Verdict.B
        other = Verdict.A if number % 5 else Verdict.B
        records.append(judged(number, one, strict=one, kind=one, odd=other))
    found = await pipeline.audit(await stored(tmp_path, *records))
    assert found.agreement is not None
    assert found.agreement.judges == ("kind", "odd", "strict")
    assert found.agreement.cohen["kind", "strict"].value == 1
    assert {effect.who for effect in found.orders} == {"kind", "odd", "strict"}
    [components] = found.components
    assert list(components.variance) == ["scenario + repeat", "judge", "order", "look"]
    assert {row.drawn: row.tau.items for row in found.stability} == {"scenarios": 60, "judges": 3}
    assert not any("judges" in text for text in found.not_told)


async def test_judges_who_judged_anew_are_held_beside_the_runs_own(tmp_path: Path) -> None:
    """Their verdicts agree as far as those who err alike do, each has rows of its own, and no other part of the audit moves."""
    path = write_audited(tmp_path, seed=4, scenarios=30, error_rate=0.0, order_bias=0.0)
    world = tomllib.loads((tmp_path / "world.toml").read_text())
    (tmp_path / "world.toml").write_text(tomli_w.dumps(world | {"judges": {"hasty": {"error_rate": 0.3}}}))
    folder = (await pipeline.run_sweep(pipeline.load_sweep(str(path)), tmp_path / "runs")).folder
    before = await pipeline.audit(folder)
    assert before.judged_anew is None
    assert any("agreement between judges, and" in text for text in before.not_told)
    await pipeline.rejudge(folder, ["planted:judge"], orders="random", name="again")
    await pipeline.rejudge(folder, ["planted:hasty"], orders="both")
    found = await pipeline.audit(folder)
    assert found.judged_anew is not None
    assert found.judged_anew.judges == ("again", "planted:hasty", "planted:judge")
    assert found.judged_anew.episodes == 120
    kappas = {two: kappa.value for two, kappa in found.judged_anew.cohen.items()}
    assert kappas["again", "planted:judge"] == 1
    assert kappas["planted:hasty", "planted:judge"] < 0.7
    [hasty] = [effect for effect in found.orders if effect.who == "planted:hasty" and effect.pair is None]
    assert holds(hasty.error, 0.3)
    assert not any("agreement between judges" in text for text in found.not_told)
    same = ["agreement", "judge_retests", "retests", "unrated", "components", "stability", "beside", "shifts"]
    assert all(getattr(found, part) == getattr(before, part) for part in same)
    assert set(found.orders) > set(before.orders)


async def test_a_judge_of_the_panel_that_judged_anew_has_rows_of_each(tmp_path: Path) -> None:
    """A look of the one is no look of the other, though both have the model's name."""
    path = write_audited(tmp_path, seed=4, scenarios=30, repeats=1)
    world = tomllib.loads((tmp_path / "world.toml").read_text())
    (tmp_path / "world.toml").write_text(tomli_w.dumps(world | {"judges": {"hasty": {"error_rate": 0.3}}}))
    sweep = pipeline.load_sweep(str(path), ['judge.models=["planted:judge", "planted:hasty"]'])
    folder = (await pipeline.run_sweep(sweep, tmp_path / "runs")).folder
    before = await pipeline.audit(folder)
    await pipeline.rejudge(folder, ["planted:hasty"], orders="random")
    found = await pipeline.audit(folder)
    assert found.orders[: len(before.orders)] == before.orders
    assert {(effect.who, effect.both_orders) for effect in found.orders[len(before.orders) :]} == {
        ("planted:hasty, anew", False)
    }


async def test_episodes_come_with_every_look_at_them(tmp_path: Path) -> None:
    """In the order of the looks; an episode that nobody looked at comes without."""
    alone = EpisodeRecord(Outcome(CHOICE, "s9", 1, "x", "y", Verdict.REFUSED), 0, (), (), None, 0.0)
    run = await stored(tmp_path, judged(1, Verdict.A, j=Verdict.A, k=Verdict.B), alone)
    async with RunReader.open(run.database) as reader:
        found = {episode.outcome.scenario_id: episode async for episode in reader.judged_episodes()}
        outcomes = [outcome async for outcome in reader.canonical_outcomes()]
    assert [episode.outcome for episode in found.values()] == outcomes
    assert found["s9"].looks == ()
    assert [(look.judge, look.shown_first, look.choice) for look in found["s1"].looks] == [
        ("j", "a", Verdict.A),
        ("j", "b", Verdict.A),
        ("k", "a", Verdict.B),
        ("k", "b", Verdict.B),
    ]


async def test_an_import_is_audited_for_what_it_holds(tmp_path: Path) -> None:
    """No order and no judge on record: both are said, the reference counts every episode as it is."""
    records = [
        EpisodeRecord(Outcome(CHOICE, f"s{n}", 1, "x", "y", verdict), 0, (), (), None, 0.0)
        for n, verdict in enumerate([Verdict.A] * 30 + [Verdict.TIE] * 40 + [Verdict.B] * 5)
    ]
    found = await pipeline.audit(await stored(tmp_path, *records))
    assert (found.orders, found.agreement, found.retests, found.components) == ((), None, (), ())
    assert found.beside[0].rescored == {(Verdict.TIE, Verdict.B): 40}
    assert found.changes()
    told = " ".join(found.not_told)
    for words in ("no order was recorded", "judged by two", "no scenario was repeated", "counted as they are"):
        assert words in told


async def test_nothing_is_told_of_too_few_or_of_what_is_all_unrated(tmp_path: Path) -> None:
    """Three episodes, and forty that failed: the audit ends, and says what it could not tell."""
    few = [judged(n, Verdict.A, j=Verdict.A) for n in range(3)]
    failed = [
        EpisodeRecord(Outcome(OPEN, f"f{n}", 1, "x", "y", Verdict.TARGET_FAILED), 0, (), (), "timeout: no reply", 0.0)
        for n in range(40)
    ]
    found = await pipeline.audit(await stored(tmp_path, *few, *failed))
    assert found.unrated[0].too_many
    assert (found.components, found.stability, found.beside) == ((), (), ())
    assert any("fewer than 10 outcomes" in text for text in found.not_told)


async def test_a_run_without_episodes_is_refused(tmp_path: Path) -> None:
    run = await stored(tmp_path)
    with pytest.raises(InputError, match="no episodes to audit"):
        await pipeline.audit(run)


def test_the_command_tells_it_in_words_and_as_one_json_document(tmp_path: Path) -> None:
    """Every figure has the number of items that it rests on."""
    sweep = pipeline.load_sweep(str(write_audited(tmp_path, seed=1)))
    asyncio.run(pipeline.run_sweep(sweep, tmp_path / "runs"))
    document = json.loads(conflictscope("audit", "audited", "--json", cwd=tmp_path).stdout)
    assert document["run"] == "audited"
    assert document.keys() == {
        "run", "episodes", "order", "judges", "judged_anew", "judge_retest", "retest", "unrated", "variance", "stability", "reference", "not_told",
    }  # fmt: skip

    def figures(node: object) -> list[dict[str, float]]:
        if isinstance(node, dict):
            own = [node] if {"value", "low", "high"} <= node.keys() else []
            return own + [figure for child in node.values() for figure in figures(child)]
        return [figure for child in node for figure in figures(child)] if isinstance(node, list) else []

    assert len(figures(document)) > 50
    assert all(figure["items"] > 0 for figure in figures(document))
    shown = conflictscope("audit", "audited", cwd=tmp_path).stdout
    for words in ("judged in both orders", "what outcomes vary by", "reference-compatible scoring", "not told:"):
        assert words in shown


async def test_conditions_with_different_behaviours_are_not_held_against_each_other(tmp_path: Path) -> None:
    """A mode is set beside another of the same behaviour only: else a behaviour would pass for the mode's shift."""
    plain, behaving = (Group("t", Mode.OPEN_ENDED, None, name) for name in (None, "mine"))
    choice = Group("t", Mode.MULTIPLE_CHOICE)
    records = [
        EpisodeRecord(
            Outcome(group, f"s{number}", 1, "x", "y", Verdict.A if number % 3 else Verdict.B, None, "a", "j"),
            0,
            (),
            (),
            None,
            0.0,
        )
        for group in (plain, behaving, choice)
        for number in range(40)
    ]
    found = await pipeline.audit(await stored(tmp_path, *records))
    assert {(shift.first, shift.second) for shift in found.shifts} == {(choice, plain)}
