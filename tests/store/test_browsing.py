from __future__ import annotations

from pathlib import Path

import pytest

from conflictscope.board import EpisodeFilter
from conflictscope.outcome import Group, Judgement, Message, Mode, Outcome, Role, ToolUse, Verdict
from conflictscope.ports import CallEnd, CallSent, CallState, EpisodeRecord
from conflictscope.scenario import Scenario
from conflictscope.store import RunReader, RunWriter, VerdictStore
from conflictscope.store import browsing as browsing_module

OPEN, RUSHED = Group("alpha", Mode.OPEN_ENDED, "gentle"), Group("alpha", Mode.OPEN_ENDED, "gentle", "rushed")
CHOICE = Group("beta", Mode.MULTIPLE_CHOICE)
SAID = [
    "Plain words about a lighthouse",
    "100% sure_thing",
    'it\'s "quoted" with a \\ backslash',
    "null \x00 byte and ÉCLAIR",
    "target user role text",
    "灯台 stands",
]


def record(number: int) -> EpisodeRecord:
    group = (OPEN, RUSHED, CHOICE)[number % 3]
    verdict = (Verdict.A, Verdict.B, Verdict.TARGET_FAILED)[number % 3]
    a, b = ("x", "y") if number % 2 else ("z", "x")
    tools = (ToolUse("1", "lookup", '{"place": "harbour"}'),) if number == 0 else ()
    look = Judgement("judge", "a", Verdict.A, True, 5, f"reason{number} with \x00 after", quotes=("words",))
    failure = "timeout: very late" if verdict.failed else None
    said = (Message(Role.USER, "hello"), Message(Role.TARGET, SAID[number % 6], tools))
    outcome = Outcome(group, f"s{number}", 1, a, b, verdict, 5, "a", "judge")
    return EpisodeRecord(outcome, number, said, (look,), failure, 0.5)


async def stored(path: Path, episodes: int = 12) -> None:
    async with RunWriter.open(path) as writer:
        await writer.begin({"kind": "import", "name": "r"}, ["x", "y", "z"])
        scenarios = [
            Scenario(id=f"s{n}", value_a=a, value_b=b, description=f"a dilemma{n} at Sea", action_a="one", action_b="two")
            for n in range(episodes) for a, b in [("x", "y") if n % 2 else ("z", "x")]
        ]  # fmt: skip
        await writer.add_scenarios(scenarios, {})
        for number in range(episodes):
            one = record(number)
            sent = await writer.sent(CallSent(one.outcome.key, "f", Role.TARGET, "alpha", "m", "p@1", b"{}", 0.0))
            writer.ended(sent, CallEnd(CallState.COMMITTED, reply=b"{}", cost_usd=0.5, latency_s=2.0))
            await writer.record_episode(one)
        await writer.record_opening("s0", "hello")


async def numbers(path: Path, wanted: EpisodeFilter) -> list[int]:
    async with RunReader.open(path) as reader:
        return [row.seq - 1 for row in (await reader.episode_page(wanted)).rows]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (EpisodeFilter(), range(12)),
        (EpisodeFilter(target="beta"), [2, 5, 8, 11]),
        (EpisodeFilter(mode=Mode.OPEN_ENDED, behavior="rushed"), [1, 4, 7, 10]),
        (EpisodeFilter(steering="gentle"), [0, 1, 3, 4, 6, 7, 9, 10]),
        (EpisodeFilter(verdict=Verdict.A, pair=("x", "z")), [0, 6]),
        (EpisodeFilter(pair=("z", "x")), [0, 2, 4, 6, 8, 10]),
        (EpisodeFilter(failure="timeout", scenario_id="s5"), [5]),
        (EpisodeFilter(failure="timeout: very late"), []),
        (EpisodeFilter(text="LIGHThouse plain"), [0, 6]),
        (EpisodeFilter(text="lighthouse dilemma6"), [6]),  # one word was said, the other is of the scenario
        (EpisodeFilter(text="reason10"), [10]),
        (EpisodeFilter(text="AFTER sea dilemma7"), [7]),  # behind a NUL in the reasoning
        (EpisodeFilter(text="harbour"), [0]),
        (EpisodeFilter(text="100%"), [1, 7]),
        (EpisodeFilter(text="%"), [1, 7]),
        (EpisodeFilter(text="_"), [1, 7]),
        (EpisodeFilter(text="p%n"), []),
        (EpisodeFilter(text="it's \"QUOTED\" \\"), [2, 8]),
        (EpisodeFilter(text="\x00 éclair"), [3, 9]),
        (EpisodeFilter(text="u0000"), []),
        (EpisodeFilter(text="target"), [4, 10]),  # not the role in the stored JSON
        (EpisodeFilter(text="灯台"), [5, 11]),
        (EpisodeFilter(text="' OR 1=1 --"), []),
        (EpisodeFilter(text="\ud800"), []),
        (EpisodeFilter(text="  \n"), range(12)),
    ],
)  # fmt: skip
async def test_a_filter_lets_through_what_it_says(tmp_path: Path, wanted: EpisodeFilter, found: list[int]) -> None:
    """Each condition must hold, words are found as they are, wherever they stand; the newest comes first."""
    await stored(tmp_path / "run.db")
    assert await numbers(tmp_path / "run.db", wanted) == sorted(found, reverse=True)


@pytest.mark.parametrize("text", ["", "hello"])
@pytest.mark.parametrize("limit", [1, 4, 5, 12])
async def test_pages_follow_each_other_without_a_gap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int, text: str
) -> None:
    """All episodes once, newest first, also where a page spans several queries; the last page says that it is the last."""
    monkeypatch.setattr(browsing_module, "_WINDOW", 3)
    await stored(tmp_path / "run.db")
    seen, before = list[int](), None
    async with RunReader.open(tmp_path / "run.db") as reader:
        while True:
            page = await reader.episode_page(EpisodeFilter(text=text), before, limit)
            assert 1 <= len(page.rows) <= limit
            seen += [row.seq for row in page.rows]
            if (before := page.before) is None:
                break
    assert seen == list(range(12, 0, -1))


async def test_an_episode_is_told_in_full(tmp_path: Path) -> None:
    """Scenario, opening, conversation, looks, calls, labels; and what a judge made of it anew, with the calls of that."""
    path = tmp_path / "run.db"
    await stored(path)
    key = record(0).outcome.key
    async with RunWriter.open(path) as writer:
        again = Judgement("other", "b", Verdict.B, True, 2, "on second thoughts")
        sent = await writer.sent(CallSent(f"rejudge/other/{key}", "g", Role.JUDGE, None, "o", "p@2", b"{}", 0.0))
        writer.ended(sent, CallEnd(CallState.FAILED, failure="timeout: late"))
        VerdictStore(writer).record("other", 1, Verdict.B, 2, None, [again])
    async with RunReader.open(path) as reader:
        episode, missing = await reader.episode(1), await reader.episode(99)
        choices = await reader.filter_choices()
    assert missing is None
    assert episode is not None
    assert (episode.row.key, episode.row.turns, episode.opening) == (key, 1, "hello")
    assert episode.scenario is not None
    assert tuple(episode.transcript) == record(0).transcript
    assert [(look.judge, look.anew, look.choice, look.quotes) for look in episode.judgements] == [
        ("judge", False, Verdict.A, ("words",)),
        ("other", True, Verdict.B, ()),
    ]
    assert [(call.role, call.state, call.cost_usd) for call in episode.calls] == [
        ("target", "committed", 0.5),
        ("judge", "failed", None),
    ]
    assert episode.verdicts == {"other": Verdict.B}
    assert (choices.targets, choices.modes) == (["alpha", "beta"], [Mode.MULTIPLE_CHOICE, Mode.OPEN_ENDED])
    assert (choices.steerings, choices.behaviors) == (["gentle"], ["rushed"])
    assert (choices.pairs, choices.failures) == ([("x", "y"), ("x", "z")], ["timeout"])
    assert choices.verdicts == [Verdict.A, Verdict.B, Verdict.TARGET_FAILED]


async def test_groups_that_differ_by_behaviour_only_are_not_mixed(tmp_path: Path) -> None:
    """Judged episodes come group by group, in the order of the canonical outcomes."""
    await stored(tmp_path / "run.db")
    async with RunReader.open(tmp_path / "run.db") as reader:
        judged = [episode.outcome async for episode in reader.judged_episodes()]
        assert judged == [outcome async for outcome in reader.canonical_outcomes()]
