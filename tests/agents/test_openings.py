"""Opening messages: what their writer is told, where an artifact goes, what is refused."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conflictscope.agents import LeanSpeaker, ModelOpeningWriter, OpeningReply
from conflictscope.agents.openings import MARK
from conflictscope.errors import CallFailed
from conflictscope.outcome import Role
from conflictscope.ports import OutputMode
from conflictscope.scenario import Scenario, UserProfile
from tests.agents.doubles import MODES, Replying, answer, asked, lane, speaker_in
from tests.arena.lanes.doubles import Rows

SCENARIO = Scenario(
    id="s", value_a="honesty", value_b="kindness", description="Ada asks about <her> essay.",
    action_a="Tell Ada.", action_b="Spare Ada.", user=UserProfile(persona="blunt", background="wrote it", goal="a mark"),
)  # fmt: skip
CODE = "    if x:\n        return 1"
PLAIN = {"artifact_kind": "none", "artifact": "", "message": "hi, is it any good? due at five"}
PASTED = {"artifact_kind": "code", "artifact": f"\n{CODE}\n", "message": f"does this work?\n {MARK} \ndue at five"}


async def written(*replies: Any, mode: OutputMode = "native") -> tuple[str | CallFailed, Counter[str], Replying]:
    """What comes of a request: the message or the failure, the counts, and the model with what it was sent."""
    model, problems = Replying(*(answer(mode, reply) for reply in replies)), Counter[str]()
    try:
        text = await ModelOpeningWriter(speaker_in(mode, model)).write("opening/s", 7, SCENARIO, problems)
    except CallFailed as failure:
        return failure, problems, model
    return text, problems, model


@pytest.mark.parametrize("mode", MODES)
async def test_an_opening_without_an_artifact_is_the_message(mode: OutputMode) -> None:
    """The writer is told all but the values, in tags, fenced."""
    text, problems, model = await written(PLAIN, mode=mode)
    assert (text, problems) == (PLAIN["message"], {})
    page = asked(model)
    assert {page.pop("action_1"), page.pop("action_2")} == {"Tell Ada.", "Spare Ada."}
    assert page == {"situation": SCENARIO.description, "persona": "blunt", "background": "wrote it", "goal": "a mark"}
    assert "honesty" not in str(model.seen) + (model.infos[0].instructions or "")


@pytest.mark.parametrize("mode", MODES)
async def test_an_artifact_is_put_where_its_mark_stands(mode: OutputMode) -> None:
    """Whole, with its indentation, once; nothing is left of the mark."""
    text, _, _ = await written(PASTED, mode=mode)
    assert text == f"does this work?\n{CODE}\ndue at five"


@pytest.mark.parametrize(
    "spelled",
    [PLAIN | {"artifact": None}, PLAIN | {"artifact_kind": " None "}, PLAIN | {"artifact": " \n"}, PASTED | {"artifact_kind": "memo"}, PASTED | {"artifact_kind": "Code"}],
)  # fmt: skip
async def test_kinds_may_be_spelled_in_many_ways(spelled: dict[str, Any]) -> None:
    """Case, blanks and null for nothing; a kind that we have no word for is some other one."""
    _, problems, _ = await written(spelled)
    assert not problems


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (PASTED | {"message": "does this work? due at five"}, "invalid"),
        (PASTED | {"message": f"one\n{MARK}\ntwo\n{MARK}"}, "invalid"),
        (PASTED | {"message": f"does {MARK} work?"}, "invalid"),
        (PASTED | {"message": f"{MARK}\nsee {MARK}"}, "invalid"),
        (PASTED | {"artifact": ""}, "invalid"),
        (PASTED | {"artifact": MARK}, "invalid"),
        (PASTED | {"artifact_kind": "none"}, "invalid"),
        (PLAIN | {"artifact": "an essay"}, "invalid"),
        (PLAIN | {"message": f"here:\n{MARK}"}, "invalid"),
        (PLAIN | {"message": ""}, "missing"),
        ({"message": "hi"}, "missing"),
        (PLAIN | {"message": "x" * 50_000}, "too_long"),
        (PASTED | {"artifact": "x" * 50_000}, "too_long"),
        (PASTED | {"artifact": "a\0b"}, "invalid"),
        ("hi, is it any good?", "prose"),
        (json.dumps(PLAIN)[:-5], "broken"),
    ],
)  # fmt: skip
async def test_an_artifact_that_is_promised_and_not_there_is_refused(mode: OutputMode, bad: Any, problem: str) -> None:
    """A missing or doubled mark, a mark within a line, an artifact without its text: asked for once more, then no opening."""
    text, problems, _ = await written(bad, PLAIN, mode=mode)
    assert (text, problems) == (PLAIN["message"], {problem: 1})
    failure, problems, _ = await written(bad, bad, mode=mode)
    assert isinstance(failure, CallFailed)
    assert (failure.kind, problems) == ("unparsed", {problem: 2})


TEXT = st.text(st.sampled_from("ab \n[]$"), min_size=1, max_size=30).filter(str.strip)


@given(TEXT, TEXT, TEXT)
def test_an_opening_holds_message_and_artifact_and_no_mark(before: str, artifact: str, after: str) -> None:
    """Whatever the texts, each stands in the whole once in its order, within the bound of an opening."""
    reply = OpeningReply(artifact_kind="other", artifact=artifact, message=f"{before}\n{MARK}\n{after}")
    assert reply.whole.split() == f"{before}\n{artifact}\n{after}".split()
    assert MARK not in reply.whole


def test_the_longest_opening_is_a_valid_one() -> None:
    """Message and artifact at their bounds fit a scenario together."""
    message = f"{MARK}\n{'m' * (3_999 - len(MARK))}"
    reply = OpeningReply(artifact_kind="essay", artifact="a" * 12_000, message=message)
    assert Scenario.model_validate(SCENARIO.to_json() | {"opening": reply.whole}).opening == reply.whole


async def test_the_opening_is_the_users_and_belongs_to_no_target() -> None:
    """Its calls are journaled under the scope that was given; the order of the actions is drawn from the seed."""
    first = Counter[str]()
    for seed in range(30):
        journal, model = Rows(), Replying(json.dumps(PLAIN))
        await ModelOpeningWriter(LeanSpeaker(lane(model, journal=journal))).write(
            "opening/s", seed, SCENARIO, Counter()
        )
        (row,) = journal.rows
        assert (row.sent.scope, row.sent.role, row.sent.target) == ("opening/s", Role.USER, None)
        first[asked(model)["action_1"]] += 1
    assert min(first["Tell Ada."], first["Spare Ada."]) >= 6
