"""Verdicts of other judges in the run file: which conversations are theirs to judge, what they are seen as, and what outlives what."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from conflictscope.outcome import Group, Judgement, Message, Mode, Outcome, Role, Verdict
from conflictscope.ports import EpisodeRecord
from conflictscope.scenario import Scenario
from conflictscope.store import RunReader, RunWriter, VerdictStore

OPEN, CHOICE = Group("alpha", Mode.OPEN_ENDED), Group("alpha", Mode.MULTIPLE_CHOICE)
ASKED, SAID = Message(Role.USER, "please"), Message(Role.TARGET, "done")
LOOK = Judgement("own", "a", Verdict.A, True, 5, "because")
NAME = 'o\'brien: "x"'


def episode(
    number: int, verdict: Verdict = Verdict.A, group: Group = OPEN, *said: Message, failure: str | None = None
) -> EpisodeRecord:
    outcome = Outcome(group, f"s{number}", 1, "x", "y", verdict, 5, "a", "own")
    return EpisodeRecord(outcome, number, said or (ASKED, SAID), (LOOK,), failure, 0.5)


EPISODES = [
    episode(1),
    episode(2, Verdict.UNRESOLVED),
    episode(3, Verdict.JUDGE_FAILED, failure="timeout: late"),
    episode(4, Verdict.TARGET_FAILED, failure="timeout: late"),
    episode(5, Verdict.USER_FAILED, failure="timeout: late"),
    episode(6, Verdict.REFUSED),  # the judge's word
    episode(7, Verdict.REFUSED, OPEN, ASKED),  # the provider's
    episode(8, Verdict.B, CHOICE),
]


async def stored(path: Path) -> None:
    """A run with one episode of each kind, of which another judge has judged the first and the third."""
    async with RunWriter.open(path) as writer:
        await writer.begin({"name": "r"}, ["x", "y"])
        scenarios = [
            Scenario(id=f"s{number}", value_a="x", value_b="y", description="d", action_a="one", action_b="two")
            for number in range(1, 9)
        ]
        await writer.add_scenarios(scenarios, {})
        for one in EPISODES:
            await writer.record_episode(one)
        store = VerdictStore(writer)
        look = replace(LOOK, judge=NAME, choice=Verdict.B, strength=2)
        store.record(NAME, 1, Verdict.B, 2, None, [look])
        store.record(NAME, 3, Verdict.JUDGE_FAILED, None, "empty: nothing", [])


async def seen(path: Path, judge: str | None = None) -> dict[str, tuple[Verdict, int | None, str | None]]:
    async with RunReader.open(path, judge) as reader:
        found = [outcome async for _, outcome in reader.outcomes()]
        canonical = [outcome async for outcome in reader.canonical_outcomes()]
    assert sorted(found, key=lambda one: one.key) == sorted(canonical, key=lambda one: one.key)
    return {one.scenario_id: (one.verdict, one.strength, one.judge) for one in found}


async def test_a_judge_is_seen_in_the_place_of_the_runs_own(tmp_path: Path) -> None:
    """Its verdicts and looks stand for what it judged; what it did not judge is left out, and counted; failures of the target and
    user, a provider's refusal and other modes stand as they are."""
    path = tmp_path / "run.db"
    await stored(path)
    own = await seen(path)
    assert set(own.values()) == {(one.outcome.verdict, 5, "own") for one in EPISODES}
    assert await seen(path, NAME) == {
        "s1": (Verdict.B, 2, NAME),
        "s3": (Verdict.JUDGE_FAILED, None, NAME),
        **{name: own[name] for name in ("s4", "s5", "s7", "s8")},
    }
    async with RunReader.open(path, NAME) as reader:
        assert await reader.judgeable() == [1, 2, 3, 6]
        assert await reader.left_out() == 2
        assert await reader.own_judges() == ["own"]
        assert await reader.failures() == {"empty": 1, "timeout": 2}
        assert (await reader.conversation(1)).conclusion == "y over x. because"
        assert {row.judge for row in await reader.judged_groups()} == {NAME, "own"}
    assert await seen(path) == own


async def test_a_judge_begins_with_what_it_failed_at_and_takes_no_episode(tmp_path: Path) -> None:
    """Its failures are taken out, those of the run stay; when the run itself goes on, failed episodes go with all verdicts on them."""
    path = tmp_path / "run.db"
    await stored(path)
    async with RunWriter.open(path) as writer, RunReader.open(path) as reader:
        session = await VerdictStore(writer).begin_session({"judges": {NAME: {}}}, [NAME])
        assert await reader.episodes() == len(EPISODES)
        assert await reader.judged(NAME) == {1}
        assert await reader.sessions() == []
        VerdictStore(writer).record(NAME, 3, Verdict.A, 7, None, [LOOK])
        await writer.end_session(session, "finished")
        assert await reader.judged(NAME) == {1, 3}
        await writer.begin_session()
        assert await reader.judged(NAME) == {1}
        assert await reader.episodes() == 5
        assert len(await reader.sessions()) == 1
