from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conflictscope.agents import LeanSpeaker, ModelJudge
from conflictscope.agents.judge import QuotingReply, Unquoted, check_quotes
from conflictscope.outcome import Message, Role, Verdict
from conflictscope.ports import Turn
from conflictscope.scenario import Scenario
from tests.agents.doubles import Replying, lane

SAID = "I've read it.  The essay is “weak”,\nAda: it has <no> plot & no end. I will tell you so."
TRANSCRIPT = (Message(Role.USER, "Be honest, is it good?"), Message(Role.TARGET, SAID))
SCENARIO = Scenario(id="s", value_a="x", value_b="y", description="d", action_a="Tell.", action_b="Spare.")
VERDICT = {"reasoning": "so", "resolved": True, "action": "action_1", "strength": 6}


def reply(*quotes: str, **changes: object) -> QuotingReply:
    return QuotingReply.model_validate({**VERDICT, **changes, "quotes": list(quotes)})


def turn() -> Turn:
    return Turn("key", "alpha", 7, SCENARIO, TRANSCRIPT, "a")


@pytest.mark.parametrize(
    "quote",
    [
        "The essay is “weak”",
        'the ESSAY is "weak", Ada:',
        "'I’ve read it. The essay is weak'",
        "it has &lt;no&gt; plot &amp; no end",
        "it has <no> plot & no end...",
        "… I will tell you so",
    ],
)
def test_a_quote_is_found_however_it_is_spelled(quote: str) -> None:
    """Case, blanks, line breaks, quotation marks, dots where it was cut and the page's escapes make no difference."""
    check_quotes(TRANSCRIPT, reply(quote))


@pytest.mark.parametrize(
    ("quotes", "told"),
    [
        (["The essay is strong"], "the assistant did not say 'The essay is strong'"),
        (["The essay is weak", "is it good?"], "the assistant did not say 'is it good"),  # the user's words
        (["..."], "the assistant did not say '...'"),
        ([], "a verdict needs the words"),
    ],
)
def test_words_that_the_target_did_not_say_are_no_evidence(quotes: list[str], told: str) -> None:
    """Nor are the user's words, nothing at all, or no quote."""
    with pytest.raises(Unquoted, match=told):
        check_quotes(TRANSCRIPT, reply(*quotes))


@pytest.mark.parametrize("changes", [{"action": "neither"}, {"resolved": False}])
def test_what_was_not_done_needs_no_quote(changes: dict[str, object]) -> None:
    """Where the target has done nothing there may be nothing to quote."""
    check_quotes(TRANSCRIPT, reply(**changes))


@given(st.data())
def test_every_passage_of_a_message_is_found(data: st.DataObject) -> None:
    """Whatever is cut out of what the target said, word for word."""
    start = data.draw(st.integers(0, len(SAID) - 10))
    passage = SAID[start : data.draw(st.integers(start + 8, len(SAID)))]
    check_quotes(TRANSCRIPT, reply(passage))


async def test_quotes_are_asked_for_and_kept_with_the_judgement() -> None:
    """The instructions name the field, the version names both prompts, and what is found is in the judgement."""
    model = Replying(json.dumps({**VERDICT, "quotes": "The essay is “weak”"}))
    (look,) = await ModelJudge(LeanSpeaker(lane(model)), "j", quotes=True).judge(turn())
    assert look.quotes == ("The essay is “weak”",)
    assert "\n- quotes: " in (model.infos[0].instructions or "")


async def test_a_look_with_false_quotes_is_sent_back_once_and_then_has_no_standing() -> None:
    """Asked again with what is wrong; the second time it is typed as `unquoted`, and no verdict of it is left."""
    wrong = json.dumps({**VERDICT, "quotes": ["It is splendid"]})
    right = json.dumps({**VERDICT, "quotes": ["I will tell you so"]})
    for second, choice in ((right, Verdict.A), (wrong, Verdict.JUDGE_FAILED)):
        model = Replying(wrong, second)
        (look,) = await ModelJudge(LeanSpeaker(lane(model)), "j", quotes=True).judge(turn())
        assert look.choice is choice
        assert "the assistant did not say 'It is splendid'" in model.texts(1)[-1][1]
        assert model.replies == []
    assert (look.resolved, look.quotes) == (False, ())
    assert look.failure is not None
    assert look.failure.startswith("unquoted: ")


async def test_repeats_are_requests_of_their_own_and_a_failure_ends_its_repeat() -> None:
    """Three repeats in both orders, a seed each; the first repeat's is that of a judge without repeats."""
    good = json.dumps(VERDICT)
    model = Replying(good, good, "no", "no", good, good)
    looks = await ModelJudge(LeanSpeaker(lane(model)), "j", True, 3).judge(turn())
    assert [(look.repeat, look.shown_first) for look in looks] == [(1, "a"), (1, "b"), (2, "a"), (3, "a"), (3, "b")]
    assert [look.failure is not None for look in looks] == [False, False, True, False, False]
    seeds = [(info.model_settings or {}).get("seed") for info in model.infos]
    assert len(set(seeds)) == 5  # the one that was sent back keeps its own
    alone = Replying(good, good)
    await ModelJudge(LeanSpeaker(lane(alone)), "j", True).judge(turn())
    assert [(info.model_settings or {}).get("seed") for info in alone.infos] == seeds[:2]
