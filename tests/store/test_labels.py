from __future__ import annotations

from pathlib import Path

from conflictscope.annotation import Label
from conflictscope.outcome import Group, Message, Mode, Outcome, Role, Verdict
from conflictscope.ports import EpisodeRecord
from conflictscope.scenario import Scenario
from conflictscope.store import RunReader, RunWriter

SAID = (Message(Role.USER, "hello"), Message(Role.TARGET, "half a pair \ud800 \x00"))
SCENARIOS = [
    Scenario(id=f"s{number}", value_a="x", value_b="y", description="d", action_a="do a", action_b="do b")
    for number in range(6)
]


def episode(
    number: int,
    said: tuple[Message, ...] = SAID,
    mode: Mode = Mode.OPEN_ENDED,
    verdict: Verdict = Verdict.A,
    failure: str | None = None,
) -> EpisodeRecord:
    outcome = Outcome(Group("alpha", mode), f"s{number}", 1, "x", "y", verdict, None, "a", "j")
    return EpisodeRecord(outcome, 0, said, (), failure, 0.0)


async def test_conversations_are_those_that_people_can_judge(tmp_path: Path) -> None:
    """Not one that failed, for it may be played again; not one without a word of the target; not one whose scenario is not there."""
    path = tmp_path / "run.db"
    async with RunWriter.open(path) as writer:
        await writer.add_scenarios(SCENARIOS, {})
        for record in (
            episode(0),
            episode(1, verdict=Verdict.REFUSED),
            episode(2, SAID[:1], verdict=Verdict.REFUSED),
            episode(3, mode=Mode.MULTIPLE_CHOICE),
            episode(4, verdict=Verdict.JUDGE_FAILED, failure="timeout: late"),
            episode(5, ()),
            episode(9),
        ):
            await writer.record_episode(record)
    async with RunReader.open(path) as reader:
        found = [(outcome.scenario_id, said) async for outcome, said in reader.conversations()]
        assert await reader.scenarios() == {scenario.id: scenario for scenario in SCENARIOS}
    assert found == [("s0", SAID), ("s1", SAID)]


async def test_labels_live_side_by_side_and_are_replaced_by_person(tmp_path: Path) -> None:
    """What kim said later stands in place of all that kim said before; lee's stay; verdicts and names come back as they were."""
    path = tmp_path / "run.db"
    first, second = episode(0), episode(1)
    strange = 'lee "the \x7f quote" \\ \u202e'
    async with RunWriter.open(path) as writer:
        for record in (first, second):
            await writer.record_episode(record)
    keys = [record.outcome.key for record in (first, second)]
    async with RunWriter.open(path) as writer:
        await writer.replace_labels(
            [
                Label(keys[0], "kim", Verdict.A, "a"),
                Label(keys[1], "kim", Verdict.B, "b", "sure"),
                Label(keys[0], strange, Verdict.UNRESOLVED, "b"),
            ]
        )
        await writer.replace_labels([Label(keys[1], "kim", Verdict.TIE, "b", "not so sure")])
    async with RunReader.open(path) as reader:
        labels = await reader.labels()
    assert [(outcome.key, dict(said)) for outcome, said in labels] == [
        (keys[0], {strange: Verdict.UNRESOLVED}),
        (keys[1], {"kim": Verdict.TIE}),
    ]
