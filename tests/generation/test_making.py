"""Making a library: counts met or told, no scenario twice, failures as states, and a resume that equals no stop at all."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence

import pytest

from conflictscope.drafts import Draft, DraftState
from conflictscope.errors import LaneClosed, LimitReached
from conflictscope.generation import CheckPanel, Crew, Gate, Hashing, LibraryMaker
from conflictscope.generation.lots import have
from conflictscope.scenario import CheckName, Scenario
from conflictscope.spec import CheckersConfig, LibraryPlan, SimilarityConfig, WriterConfig
from conflictscope.values import Value
from tests.generation.doubles import Examiner, Inventor, Memory, Penman, words

pytestmark = pytest.mark.anyio

VALUES = {name: Value(name=name, definition=name) for name in ("honesty", "kindness", "order")}
PAIRS = [("honesty", "kindness"), ("honesty", "order"), ("kindness", "order")]


def library_plan(**changes: object) -> LibraryPlan:
    return LibraryPlan(
        generator=WriterConfig(model="x:y"),
        checks=CheckersConfig(models=("x:y",)),
        user=WriterConfig(model="x:y"),
        **changes,
    )  # type: ignore[arg-type]


async def make(
    memory: Memory,
    generator: Inventor | None = None,
    checkers: Sequence[Examiner] = (),
    writer: Penman | None = None,
    *,
    existing: Sequence[Scenario] = (),
    others: Sequence[Scenario] = (),
    shut: Callable[[], bool] = lambda: False,
    pairs: Sequence[tuple[str, str]] = PAIRS,
    **changes: object,
) -> list[Draft]:
    plan = library_plan(**changes)
    gate = Gate(4, shut, lambda told: None)
    panel = CheckPanel(checkers or [Examiner()], plan.checks.names, seed=3, values=VALUES, gate=gate)
    crew = Crew(generator or Inventor(), panel, writer or Penman(), Hashing())
    maker = LibraryMaker(plan, crew, memory, seed=3, values=VALUES, existing=existing, others=others, gate=gate)
    await maker.run(pairs)
    return [draft for one in await memory.rounds() if one.ended for draft in one.drafts]


def passed(drafts: Sequence[Draft]) -> list[Scenario]:
    return [draft.scenario for draft in drafts if draft.state is DraftState.PASSED and draft.scenario is not None]


async def test_each_pair_gets_its_count_balanced_and_complete() -> None:
    scenarios = passed(await make(Memory(), count=16))
    assert Counter(scenario.pair for scenario in scenarios) == dict.fromkeys(PAIRS, 16)
    assert set(have(scenarios).values()) == {2}, "two of each template in each order of the values"
    assert len({scenario.id for scenario in scenarios}) == 48
    for scenario in scenarios:
        assert scenario.opening is not None
        assert {check.name for check in scenario.checks} == {name.value for name in CheckName}


async def test_what_is_lost_on_the_way_is_made_up_for() -> None:
    """With a third rejected and every eighth elaboration failed, counts are met all the same, and nothing is unaccounted for."""
    generator = Inventor(fails=lambda stage, seed: stage == "elaborate" and seed % 8 == 0)
    memory = Memory()
    drafts = await make(memory, generator, [Examiner(rejects=0.33)], count=20)
    states = Counter(draft.state for draft in drafts)
    assert Counter(scenario.pair for scenario in passed(drafts)) == dict.fromkeys(PAIRS, 20)
    assert states[DraftState.REJECTED] > 0
    assert states[DraftState.FAILED] > 0
    assert states.total() == sum(one.asked for one in memory.begun.values())
    for draft in drafts:
        if draft.state is DraftState.REJECTED:
            assert draft.scenario is not None
            assert [check.reason for check in draft.scenario.checks if not check.passed] == ["because"]
            assert draft.scenario.opening is None, "no opening is paid for what never runs"
        if draft.state is DraftState.FAILED:
            assert draft.scenario is None
            assert draft.reason == "elaborate: timeout: late"


async def test_a_generator_without_a_usable_reply_is_given_up_in_time() -> None:
    """Tries are bounded: five times as many outlines as scenarios are wanted, and no more."""
    generator = Inventor(fails=lambda stage, seed: stage == "outline")
    memory = Memory()
    assert await make(memory, generator, count=4, tries=5) == []
    for pair in PAIRS:
        rounds = [one for one in memory.begun.values() if one.pair == pair]
        assert sum(one.asked for one in rounds) == 20
        assert sum(sum(one.problems.values()) for one in rounds) > 0


async def test_too_few_outlines_in_a_reply_are_asked_for_again() -> None:
    memory = Memory()
    assert len(passed(await make(memory, Inventor(short_by=1), count=12, batch=6))) == 36
    assert len(memory.begun) > len(PAIRS), "the next round makes up for it"


async def test_near_duplicates_within_a_pair_are_not_kept_and_name_their_like() -> None:
    """The same situation in nearly the same words is a duplicate in its pair, and none in another."""
    base = words("base").split()

    def near(request: object, number: int) -> str | None:
        return " ".join([*base[:-1], words(request.seed, number, count=1)]) if number % 2 else None  # type: ignore[attr-defined]

    drafts = await make(Memory(), Inventor(repeats=near), count=12, batch=4, templates=["coc"])
    duplicates = [draft for draft in drafts if draft.state is DraftState.DUPLICATE]
    kept = {draft.id: draft for draft in drafts if draft.kept}
    assert duplicates
    assert len(passed(drafts)) == 36
    for draft in duplicates:
        assert draft.like in kept
        assert draft.cosine is not None
        assert 0.8 <= draft.cosine < 1
        assert draft.scenario is not None
        assert kept[draft.like].scenario is not None
        assert kept[draft.like].scenario.pair == draft.scenario.pair  # type: ignore[union-attr]
    near_ones = [draft for draft in kept.values() if draft.outline.context.startswith(base[0])]
    assert len(near_ones) == 3, "one a pair"


async def test_an_outline_that_is_there_word_for_word_costs_no_further_call() -> None:
    generator = Inventor(repeats=lambda request, number: "the same kitchen as ever")
    drafts = await make(Memory(), generator, count=2, tries=3, templates=["coc"], pairs=PAIRS[:1])
    assert len(generator.elaborated) == 2, "one for each order of the values"
    assert Counter(draft.state for draft in drafts)[DraftState.DUPLICATE] == 5
    assert Counter(generator.elaborated).most_common(1)[0][1] == 1


async def test_what_the_library_holds_counts_and_is_not_repeated() -> None:
    first = passed(await make(Memory(), count=8, pairs=PAIRS[:1]))
    generator = Inventor(repeats=lambda request, number: first[0].description if request.seed % 3 == 0 else None)
    drafts = await make(Memory(), generator, existing=first, count=16, pairs=PAIRS[:1])
    assert len(passed(drafts)) == 8
    assert {draft.like for draft in drafts if draft.state is DraftState.DUPLICATE} <= {s.id for s in first} | {None}
    assert any(draft.state is DraftState.DUPLICATE for draft in drafts)
    told = [context for request in generator.asked for context in request.known]
    assert first[0].description[:200] in told, "the generator is told what is there"


async def test_other_libraries_are_not_repeated_whatever_their_values() -> None:
    other = passed(await make(Memory(), count=1, pairs=[("kindness", "order")]))
    generator = Inventor(repeats=lambda request, number: other[0].description)
    drafts = await make(Memory(), generator, others=other, count=1, tries=2, pairs=[("honesty", "order")])
    assert {draft.state for draft in drafts} == {DraftState.DUPLICATE}
    assert drafts[0].like == other[0].id


async def test_a_check_without_a_verdict_is_a_failure_and_no_verdict() -> None:
    drafts = await make(Memory(), None, [Examiner(fails=lambda seed: seed % 3 == 0)], count=4, tries=50)
    failed = [draft for draft in drafts if draft.state is DraftState.FAILED]
    assert failed
    assert all(draft.reason and draft.reason.startswith("timeout: check ") for draft in failed)
    assert all(draft.scenario is None or not draft.scenario.checks for draft in failed)


async def test_most_of_several_checkers_decide() -> None:
    strict, mild, milder = (
        Examiner(name, rejects) for name, rejects in (("strict", 1.0), ("mild", 0.0), ("milder", 0.0))
    )
    assert len(passed(await make(Memory(), None, [strict, mild, milder], count=2))) == 6
    assert passed(await make(Memory(), None, [strict, mild], count=2, tries=2)) == [], "half is not most"


@pytest.mark.parametrize("moment", [0, 1, 7, 40, 90, 150])
async def test_stopped_anywhere_and_resumed_it_equals_one_that_was_not_stopped(moment: int) -> None:
    """The same requests give the same replies, so the same drafts come of them, in the same states and order."""

    def parts() -> tuple[Inventor, list[Examiner], Penman]:
        return Inventor(fails=lambda stage, seed: seed % 11 == 0), [Examiner(rejects=0.3)], Penman()

    whole = await make(Memory(), *parts(), count=10)
    memory = Memory()
    passages = 0

    def shut() -> bool:
        nonlocal passages
        passages += 1
        return passages > moment

    await make(memory, *parts(), count=10, shut=shut)
    assert await make(memory, *parts(), count=10) == whole


async def test_with_a_greater_count_a_finished_library_goes_on() -> None:
    memory = Memory()
    first = passed(await make(memory, count=4))
    generator = Inventor()
    more = passed(await make(memory, generator, count=9))
    assert set(first) <= set(more)
    assert len(more) == 27
    assert sum(request.count for request in generator.asked) == 15


@pytest.mark.parametrize("halt", [LaneClosed("shut"), LimitReached("spent")])
async def test_a_closed_lane_or_a_limit_leaves_the_round_for_a_resume(halt: Exception) -> None:
    class Halting(Examiner):
        async def check(self, *arguments: object) -> object:  # type: ignore[override]
            raise halt

    memory = Memory()
    assert await make(memory, None, [Halting()], count=2) == []
    assert memory.begun
    assert not any(one.ended for one in memory.begun.values())
    assert len(passed(await make(memory, count=2))) == 6


async def test_cancelling_ends_it_at_once() -> None:
    begun = asyncio.Event()

    class Hanging(Inventor):
        async def outline(self, *arguments: object) -> object:  # type: ignore[override]
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(make(Memory(), Hanging(), count=1))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_threshold_of_one_keeps_all_but_the_same_words() -> None:
    base = words("base")
    generator = Inventor(repeats=lambda request, number: f"{base} {words(request.seed, number, count=1)}")
    drafts = await make(Memory(), generator, count=5, similarity=SimilarityConfig(threshold=1.0))
    assert {draft.state for draft in drafts} == {DraftState.PASSED}
