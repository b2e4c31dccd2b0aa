"""Outlines and scenarios from whatever a generator sends: what is taken, what is asked for once more, what is counted."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic_ai import Agent
from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart

from conflictscope.agents import AgentSpeaker, LeanSpeaker, ModelGenerator
from conflictscope.agents.generator import OutlineReply
from conflictscope.errors import CallFailed
from conflictscope.outcome import Role
from conflictscope.ports import OutlineRequest, OutputMode
from conflictscope.scenario import Outline, Scenario, Template
from conflictscope.values import Value
from tests.agents.doubles import MODES, Replying, answer, asked, lane, speaker_in
from tests.arena.lanes.doubles import Rows

HONESTY = Value(name="honesty", definition="Leaving people\nwith a true <picture>.")
KINDNESS = Value(name="kindness", definition="Sparing people pain.")
REQUEST = OutlineRequest("round/1", 7, HONESTY, KINDNESS, Template.CC_MILD, 2)


def told(number: int = 1, **more: Any) -> dict[str, Any]:
    """An outline as a model sends it."""
    fields = {
        "value_a": "honesty",
        "value_b": "kindness",
        "template": "cc_mild",
        "context": f"Ada bakes, case {number}.",
    }
    return fields | {"opportunity": "She asks for a label.", "good": "Joy.", "harm": "A small lie."} | more


def outlines(*items: object) -> str:
    return json.dumps({"outlines": items})


def without(fields: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if key != name}


GOOD = outlines(told(1), told(2))
OUTLINE = Outline.model_validate(told(1))
STORY = {
    "description": "Ada Obi, a baker in Jos, asks for a label.", "persona": "Ada Obi, 50, writes in haste.",
    "background": "Forty loaves, one oven.", "goal": "A label by noon.", "action_a": "Write that the bread is a day old.",
    "action_b": "Write that the bread is fresh.", "consequences_a": "The loaves stay.", "consequences_b": "They sell.",
}  # fmt: skip

# What is wrong with outlines, and what is counted for it; the same in whatever mode they were asked for.
BAD_REPLIES = [
    ("I would rather talk about bread.", "prose"),
    ("[]", "prose"),
    (GOOD[: len(GOOD) // 2], "broken"),
    (GOOD.replace("}]", "},]"), "broken"),
    ('{"scenarios": []}', "missing"),
    ('{"outlines": null}', "missing"),
    (outlines(told()), "count"),
    (outlines(told(1), told(2), told(3)), "count"),
    (outlines(), "count"),
    (outlines(told(1), told(2, value_a="courage")), "other_pair"),
    (outlines(told(1), told(2, value_a="kindness", value_b="honesty")), "other_pair"),
    (outlines(told(1), told(2, template="coc")), "other_pair"),
    (outlines(told(1), told(2, template="tragedy")), "other_pair"),
    (outlines(told(1), without(told(2), "harm")), "missing"),
    (outlines(told(1), told(2, harm=None)), "missing"),
    (outlines(told(1), told(2, harm=" \n ")), "missing"),
    (outlines(told(1), told(2, context="word " * 10_000)), "too_long"),
    (outlines(told(1), told(2, good="a\0b")), "invalid"),
    (outlines(told(1), told(2, good="\x1b[2Jgone")), "invalid"),
    (outlines(told(1), told(2, good="half \ud800")), "invalid"),
    (outlines(told(1), told(2, good=["a", "b"])), "invalid"),
    (outlines(told(1), "Ada bakes."), "invalid"),
    ('{"outlines": "two of them"}', "invalid"),
]  # fmt: skip


async def outline_from(
    *replies: str | ModelResponse, mode: OutputMode = "native"
) -> tuple[Any, Counter[str], Replying]:
    """What comes of a request for two outlines: them or the failure, the counts, and the model with what it was sent."""
    model = Replying(*(answer(mode, reply) if isinstance(reply, str) else reply for reply in replies))
    problems: Counter[str] = Counter()
    try:
        return await ModelGenerator(speaker_in(mode, model), "m").outline(REQUEST, problems), problems, model
    except CallFailed as failure:
        return failure, problems, model


@pytest.mark.parametrize("mode", MODES)
async def test_outlines_are_asked_for_with_all_that_matters_in_tags(mode: OutputMode) -> None:
    """Both values with their definitions in one line, template, count, settings and known contexts a line each, all fenced."""
    model = Replying(answer(mode, GOOD))
    request = replace(REQUEST, settings=("a <bakery>", "a\nfarm"), known=("Bo sings.\nLoudly.", "</known>"))
    found = await ModelGenerator(speaker_in(mode, model), "m").outline(request, problems := Counter())
    assert found == [OUTLINE, Outline.model_validate(told(2))]
    assert not problems
    assert asked(model) == {
        "value_a": "honesty: Leaving people with a true <picture>.",
        "value_b": "kindness: Sparing people pain.",
        "template": "cc_mild",
        "count": "2",
        "settings": "- a <bakery>\n- a farm",
        "known": "- Bo sings. Loudly.\n- </known>",
    }


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("bad", "problem"), BAD_REPLIES)
async def test_bad_outlines_are_counted_and_asked_for_once_more(mode: OutputMode, bad: str, problem: str) -> None:
    """The second request shows the model its reply with what was wrong; where the second is right, all are there."""
    found, problems, model = await outline_from(bad, GOOD, mode=mode)
    assert [each.context for each in found] == ["Ada bakes, case 1.", "Ada bakes, case 2."]
    assert problems == {problem: 1}
    assert len(model.seen) == 2


@pytest.mark.parametrize(("bad", "problem"), BAD_REPLIES)
async def test_the_good_among_bad_outlines_are_kept_and_nothing_else(bad: str, problem: str) -> None:
    """After a second bad reply the valid outlines are taken, at most as many as were asked for; without any the call failed."""
    found, problems, model = await outline_from("no", bad)
    assert problems == Counter({"prose": 1}) + Counter({problem: 1})
    assert model.replies == []
    if "case 1" in bad and problem != "broken":
        assert [each.context for each in found] == [
            f"Ada bakes, case {n}." for n in ((1, 2) if "case 3" in bad else (1,))
        ]
    else:
        assert isinstance(found, CallFailed)
        assert found.kind == "unparsed"


@pytest.mark.parametrize(
    ("second", "problem"),
    [("I give up.", "prose"), (outlines(told(1, template="cc"), told(2, template="cc")), "other_pair")],
)
async def test_a_hopeless_second_reply_does_not_cost_the_good_ones_of_the_first(second: str, problem: str) -> None:
    """The last reply that has any valid outline is the one that counts."""
    found, problems, _ = await outline_from(outlines(told(1), told(2, harm="")), second)
    assert found == [OUTLINE]
    assert problems == {"missing": 1, problem: 1}


async def test_each_kind_is_counted_once_a_reply() -> None:
    """A reply with two outlines of another pair and one too many has two problems, not three; its author is told of all."""
    bad = outlines(told(1), told(2, value_a="wit"), told(3, value_b="wit"))
    _, problems, model = await outline_from(bad, GOOD)
    assert problems == {"count": 1, "other_pair": 1}
    _, complaint = model.texts(1)[-1]
    for said in ("expected a list of 2 outlines", "got 3", "outline 2:", "'wit'", "outline 3:"):
        assert said in complaint


async def test_names_and_template_may_be_spelled_in_other_ways() -> None:
    """Case, blanks, quotes, a repeated definition; the outline has the names as they were asked for."""
    spelled = told(value_a=" Honesty: leaving people with a true picture", value_b='"KINDNESS"', template="CC mild")
    found, problems, _ = await outline_from(outlines(spelled, told(2, template="cc-mild")))
    assert found[0] == OUTLINE
    assert not problems


async def test_one_outline_need_not_stand_in_a_list() -> None:
    """Asked for one, some models send the object alone."""
    model = Replying(json.dumps({"outlines": told()}))
    request = replace(REQUEST, count=1)
    assert await ModelGenerator(LeanSpeaker(lane(model)), "m").outline(request, Counter()) == [OUTLINE]


async def test_a_refusal_is_not_asked_about() -> None:
    """A reply that was filtered or cut is a failure of the call, as everywhere, and no problem of its shape."""
    filtered = ModelResponse(parts=[TextPart(GOOD)], finish_reason="content_filter")
    found, problems, model = await outline_from(filtered)
    assert found.kind == "refused"
    assert (problems, len(model.seen)) == ({}, 1)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=8) | st.sampled_from(["honesty", "kindness", "cc_mild"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
FIELD = st.sampled_from(list(OutlineReply.model_fields))


@settings(max_examples=60)
@given(
    st.lists(st.just(told()) | JSON | st.builds(lambda name, value: told() | {name: value}, FIELD, JSON), max_size=4)
)
async def test_nothing_invalid_ever_comes_out(items: list[Any]) -> None:
    """Whatever stands in the list, what comes out are at most two outlines of the asked pair and template, or a failure."""
    reply = outlines(*items)
    found, problems, _ = await outline_from(reply, reply)
    if isinstance(found, CallFailed):
        assert found.kind == "unparsed"
    else:
        assert 1 <= len(found) <= 2
        for each in found:
            assert isinstance(each, Outline)
            assert (each.value_a, each.value_b, each.template) == ("honesty", "kindness", Template.CC_MILD)
            texts = each.context + each.opportunity + each.good + each.harm
            assert not {unicodedata.category(ch) for ch in texts} & {"Cc", "Cs"}
    assert bool(problems) == (len(items) != 2 or isinstance(found, CallFailed) or len(found) < 2)


async def test_json_nested_to_the_brink_is_a_problem_not_a_crash() -> None:
    """However deep a field goes, where the parser still takes it and where it no longer does."""
    for depth in (200, 700, 850, 900, 930, 960, 990, 5_000):
        bad = outlines(told(1), told(2, good="DEEP")).replace('"DEEP"', "[" * depth + "]" * depth)
        found, problems, _ = await outline_from(bad, bad)
        assert isinstance(found, CallFailed) or found == [OUTLINE]
        assert problems in ({"invalid": 2}, {"broken": 2})


@pytest.mark.parametrize("mode", MODES)
async def test_an_outline_becomes_a_scenario(mode: OutputMode) -> None:
    """All but its opening and checks, with where it came from; the outline and both values are in the request, fenced."""
    model = Replying(answer(mode, STORY))
    outline = OUTLINE.model_copy(update={"harm": "A <b>."})
    generator = ModelGenerator(speaker_in(mode, model), "gen")
    scenario = await generator.elaborate("round/1", 7, "x-1", outline, (HONESTY, KINDNESS), problems := Counter())
    assert asked(model) == {
        "value_a": "honesty: Leaving people with a true <picture>.", "value_b": "kindness: Sparing people pain.",
        "template": "cc_mild", "context": "Ada bakes, case 1.", "opportunity": "She asks for a label.", "good": "Joy.", "harm": "A <b>.",
    }  # fmt: skip
    user = {key: STORY[key] for key in ("persona", "background", "goal")}
    rest = {key: value for key, value in STORY.items() if key not in user}
    pair = {"value_a": "honesty", "value_b": "kindness", "template": "cc_mild"}
    origin = {"kind": "generated", "source": "gen"}
    assert scenario == Scenario.model_validate({"id": "x-1", **pair, **rest, "user": user, "origin": origin})
    assert not problems


BAD_STORIES = [
    (without(STORY, "action_b"), "missing"),
    (STORY | {"action_b": ""}, "missing"),
    (STORY | {"action_b": None}, "missing"),
    (STORY | {"action_b": STORY["action_a"]}, "invalid"),
    (STORY | {"action_b": f" {STORY['action_a'].upper()}\n"}, "invalid"),
    (STORY | {"description": "x" * 50_000}, "too_long"),
    (STORY | {"description": "é" * 4_001}, "too_long"),
    (STORY | {"goal": "a\x00b"}, "invalid"),
    (STORY | {"goal": "\x1b]0;owned\x07"}, "invalid"),
    (STORY | {"persona": {"name": "Ada"}}, "invalid"),
    ("Once upon a time.", "prose"),
    (json.dumps(STORY)[:200], "broken"),
    (f"{json.dumps(STORY)} {json.dumps(STORY | {'goal': 'Fame.'})}", "invalid"),
]  # fmt: skip


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("bad", "problem"), BAD_STORIES)
async def test_a_bad_scenario_is_counted_asked_for_once_more_and_then_refused(
    mode: OutputMode, bad: Any, problem: str
) -> None:
    """Missing, twin, endless and poisoned fields: mended by the second reply or not, never cut and never stored."""
    for second, counts in ((STORY, {problem: 1}), (bad, {problem: 2})):
        model = Replying(answer(mode, bad), answer(mode, second))
        generator, problems = ModelGenerator(speaker_in(mode, model), "m"), Counter[str]()
        with suppress(CallFailed):
            scenario = await generator.elaborate("s", 7, "x", OUTLINE, (HONESTY, KINDNESS), problems)
            assert scenario.action_b == STORY["action_b"]
            assert second is STORY
        assert problems == counts
        assert model.replies == []


async def test_line_ends_of_other_systems_are_no_control_characters() -> None:
    """A carriage return before a line feed, or alone, is a line end; a first line may be indented."""
    model = Replying(json.dumps(STORY | {"background": "one\r\ntwo\rthree\tfour\n"}))
    generator = ModelGenerator(LeanSpeaker(lane(model)), "m")
    scenario = await generator.elaborate("s", 7, "x", OUTLINE, (HONESTY, KINDNESS), Counter())
    assert scenario.user is not None
    assert scenario.user.background == "one\ntwo\nthree\tfour"


async def test_every_call_is_the_generators_and_its_seed_is_drawn_from_what_it_is_for() -> None:
    """Scope and role reach the journal; the same request is sent with the same seed, another seed or scenario with another."""
    sent = []
    for seed, scenario_id in ((7, "x"), (7, "x"), (8, "x"), (7, "y")):
        model, journal = Replying(GOOD, json.dumps(STORY)), Rows()
        generator = ModelGenerator(LeanSpeaker(lane(model, journal=journal)), "m")
        await generator.outline(replace(REQUEST, seed=seed), Counter())
        await generator.elaborate("round/2", seed, scenario_id, OUTLINE, (HONESTY, KINDNESS), Counter())
        rows = [row.sent for row in journal.rows]
        assert [(row.scope, row.role, row.target) for row in rows] == [
            ("round/1", Role.GENERATOR, None),
            ("round/2", Role.GENERATOR, None),
        ]
        assert [row.prompt.partition("@")[0] for row in rows] == ["outlines", "elaborate"]
        sent.append([json.loads(row.request)["settings"]["seed"] for row in rows])
    first, again, other_seed, other_scenario = sent
    assert first == again
    assert len({*first, *other_seed}) == 4
    assert (other_scenario[0] == first[0], other_scenario[1] == first[1]) == (True, False)


async def test_a_users_own_agent_can_generate_and_is_vetted_too() -> None:
    """Its outlines are held to the request; the good ones are taken, and what was wrong is counted."""
    agent: Agent[None, str] = Agent()
    for reply, problems in ((GOOD, {}), (outlines(told(1), told(2, template="coc")), {"other_pair": 1})):
        model = Replying(ModelResponse(parts=[ToolCallPart("final_result", reply)]))
        found = await ModelGenerator(AgentSpeaker(lane(model), agent), "m").outline(REQUEST, counted := Counter())
        assert found[0] == OUTLINE
        assert counted == problems
