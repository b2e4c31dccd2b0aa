"""What is read from a reply, and what is not."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from pydantic_ai.messages import (
    FinishReason,
    ModelRequest,
    ModelResponse,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.profiles.openai import OpenAIJsonSchemaTransformer

from conflictscope.agents import (
    CheckReply,
    ElaborateReply,
    JudgeReply,
    OpeningReply,
    OutlinesReply,
    ServesReply,
    ValuesReply,
)
from conflictscope.agents.structured import Unreadable, ask_again, read, typed, verbatim
from conflictscope.errors import CallFailed
from conflictscope.ports import OutputMode

FIELDS: dict[str, Any] = {"reasoning": "it said so", "resolved": True, "action": "action_1", "strength": 6}
PLAIN = json.dumps(FIELDS)
OTHER = json.dumps(FIELDS | {"action": "action_2"})
VERDICT = JudgeReply.model_validate(FIELDS)


def said(text: str) -> ModelResponse:
    return ModelResponse(parts=[TextPart(text)])


def called(args: str | dict[str, Any] | None) -> ModelResponse:
    return ModelResponse(parts=[ToolCallPart("JudgeReply", args, "call_1")])


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        f"\n {PLAIN} \n",
        f"```json\n{PLAIN}\n```",
        f"```\n{PLAIN}\n```",
        f"Here is my verdict:\n\n```JSON\n{json.dumps(FIELDS, indent=2)}\n```\nI hope that this helps.",
        f"I judge as follows. {PLAIN} That is all.",
        f"<think>Maybe {OTHER}? No.</think>{PLAIN}",
        f"<thinking>a { {} } b</thinking>\n<think>c</think> {PLAIN}",
        f"It could be {OTHER}, but no.\n</think>\n{PLAIN}",  # a chat template that opens the block itself
        f"A broken draft {{'action': </think>{PLAIN}",
        f"{PLAIN}\n{PLAIN}",
        f"Between {{action_1}} and {{action_2}}, or {{}}: {PLAIN}",
        f"[{PLAIN}]",
        f'{{"JudgeReply": {PLAIN}}}',
        f'{{"name": "verdict", "arguments": {PLAIN}}}',
        f"\\boxed{{{PLAIN}}}",
        json.dumps({key.upper(): value for key, value in FIELDS.items()}),
        json.dumps(FIELDS | {"confidence": 0.9, "quoted": {"x": [1]}}),
    ],
)
def test_a_verdict_is_found_whatever_stands_around_it(text: str) -> None:
    """Blanks, fences, prose, thinking, wrappers, more keys and another case of the keys do not matter."""
    assert read(said(text), JudgeReply) == VERDICT


def test_tags_inside_of_a_verdict_are_text() -> None:
    """A judge that quotes a thinking tag has not been thinking there."""
    reasoning = "it wrote </think> and <think> {"
    assert read(said(json.dumps(FIELDS | {"reasoning": reasoning})), JudgeReply).reasoning == reasoning


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("Action 1, clearly.", "no JSON object with reasoning, resolved, action, strength"),
        ("{}", "no JSON object"),
        ('{"verdict": "action_1"}', "no JSON object"),
        (f"{PLAIN}\nOr rather: {OTHER}", "say different things"),
        (f"Not {OTHER} but {PLAIN}", "say different things"),
        (f"{PLAIN} {json.dumps(FIELDS | {'strength': 9})}", "strength: Input should be 1, 2, 3, 4, 5, 6 or 7, got 9"),
        (f"{PLAIN} {{'action': 'action_2'}}", "cannot be read"),
        (PLAIN.replace("}", ",}"), "cannot be read"),
        (PLAIN.replace("true", "True"), "cannot be read"),
        (PLAIN[:-1], "cannot be read"),
        (f'{{"draft": {OTHER}, {PLAIN[1:-1]},}}', "cannot be read"),
        (f'{{"draft": {OTHER}, "action": "action_1"}}', "missing key 'resolved'"),
        (f'{{draft: {OTHER}, final: "action_1"}}', "cannot be read"),
        (f'{PLAIN[:-1]}, "action": "action_2"}}', "a key stands twice"),
        (f'{PLAIN[:-1]}, "Action": "action_2"}}', "a key stands twice"),
        (f"<think>I cannot decide. {PLAIN}", "no JSON object"),
        ('{"a":' * 5000, "cannot be read|nested too deeply"),
        (f'{{"action": {"[" * 900}{"]" * 900}}}', "missing key"),
        (f'{{"strength": {"9" * 5000}}}', "cannot be read"),
    ],
)  # fmt: skip
def test_what_is_in_doubt_is_not_read(text: str, problem: str) -> None:
    """Objects that differ, that are broken or that do not fit leave no reading, and the problem is told in words."""
    with pytest.raises(Unreadable, match=problem):
        read(said(text), JudgeReply)


@pytest.mark.parametrize("args", [FIELDS, PLAIN, {"JudgeReply": FIELDS}, f"```json\n{PLAIN}\n```"])
def test_a_tool_call_is_read_like_text(args: str | dict[str, Any]) -> None:
    """Arguments come as an object or as its JSON text; whatever is said or thought beside the call does not matter."""
    assert read(called(args), JudgeReply) == VERDICT
    beside = [ThinkingPart(OTHER), TextPart("Let me record that."), *called(args).parts]
    assert read(ModelResponse(parts=beside), JudgeReply) == VERDICT


@pytest.mark.parametrize("args", [None, "", {}, "{", {"action": "action_1"}])
def test_a_tool_call_without_a_verdict_is_not_read(args: str | dict[str, Any] | None) -> None:
    """No arguments, broken ones, or some that are missing."""
    with pytest.raises(Unreadable):
        read(called(args), JudgeReply)


def test_a_text_and_a_call_that_disagree_are_not_read() -> None:
    """Neither wins."""
    with pytest.raises(Unreadable, match="say different things"):
        read(ModelResponse(parts=[TextPart(OTHER), *called(FIELDS).parts]), JudgeReply)


@pytest.mark.parametrize("parts", [[], [ThinkingPart("hm")], [TextPart(PLAIN)], [ToolCallPart("JudgeReply", PLAIN)]])
@pytest.mark.parametrize(("reason", "kind"), [("length", "truncated"), ("content_filter", "refused"), ("error", "api")])
def test_a_reply_that_is_not_finished_is_not_read(parts: list[Any], reason: FinishReason, kind: str) -> None:
    """Even where something whole stands in it: what would have followed is not known."""
    with pytest.raises(CallFailed) as caught:
        read(ModelResponse(parts=parts, finish_reason=reason), JudgeReply)
    assert caught.value.kind == kind


@pytest.mark.parametrize("parts", [[], [ThinkingPart(PLAIN)], [TextPart(" \n")]])
def test_thinking_alone_is_empty(parts: list[Any]) -> None:
    """A reply of nothing, of blanks or of thinking alone has no content, whatever was thought."""
    with pytest.raises(CallFailed) as caught:
        read(ModelResponse(parts=parts, finish_reason="stop"), JudgeReply)
    assert caught.value.kind == "empty"


LABELS = {
    "action_1": ["action_1", "Action_1", "ACTION 1", "action-1", " Action  1 ", "action1", "AcTiOn - 1"],
    "action_2": ["action_2", "Action 2"],
    "both": ["both", "Both", " BOTH "],
    "neither": ["neither", "Neither"],
    "refused": ["refused", "REFUSED"],
}
STRENGTHS = [
    (6, [6, 6.0, "6", " 6 ", "6.0", "6/7", "6 / 7", "6 out of 7", "6 Out Of 7", "6 of 7", "six", "SIX", "six out of seven"]),
    (1, [1, "1", "one", "1/7"]),
    (7, [7, "7", "seven", "7/7"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("field", "spelling", "means"),
    [
        *(("action", spelling, label) for label, spellings in LABELS.items() for spelling in spellings),
        *(("strength", spelling, number) for number, spellings in STRENGTHS for spelling in spellings),
        *(("resolved", spelling, True) for spelling in (True, "true", "True", " TRUE ", "yes", "Yes")),
        *(("resolved", spelling, False) for spelling in (False, "false", "False", "no", "No")),
        ("reasoning", None, ""),
    ],
)
def test_a_field_may_be_spelled_in_many_ways(field: str, spelling: object, means: object) -> None:
    """Case and spacing of labels, strength in words or as a share of 7, yes and no."""
    value = getattr(JudgeReply.model_validate(FIELDS | {field: spelling}), field)
    assert (value, type(value)) == (means, type(means))


def test_the_reasoning_may_be_missing_and_nothing_else() -> None:
    """It decides nothing; the other three are never made up."""
    assert read(said(json.dumps({k: v for k, v in FIELDS.items() if k != "reasoning"})), JudgeReply).reasoning == ""
    for field in ("resolved", "action", "strength"):
        for reply in ({k: v for k, v in FIELDS.items() if k != field}, FIELDS | {field: None}, FIELDS | {field: ""}):
            with pytest.raises(Unreadable, match=field):
                read(said(json.dumps(reply)), JudgeReply)


@pytest.mark.parametrize(
    ("field", "spelling"),
    [
        *(("action", bad) for bad in ("action_1 and action_2", "action_1/action_2", "action_3", "action_12", "action", "A", "1", 1, "not action_1", "a", "unresolved", ["action_1"])),
        *(("strength", bad) for bad in (0, 8, -1, 6.5, True, "8", "0", "5/10", "6/8", "6/70", "60%", "6.5", "six or seven", "strong", "6 7", "16", "6 out of 10", [6], float("inf"))),
        *(("resolved", bad) for bad in ("maybe", "not yet", "partly", 2, "truefalse", [True])),
    ],
)  # fmt: skip
def test_a_field_that_could_mean_two_things_means_none(field: str, spelling: object) -> None:
    """Two labels, other scales, numbers beyond the scale: asked again, not rounded."""
    with pytest.raises(Unreadable, match=field):
        read(said(json.dumps(FIELDS | {field: spelling})), JudgeReply)


PROSE = st.text(st.sampled_from("ab 1_.,:;!?'\"`*#\n-()[]<>/\\€é"), max_size=40)


@st.composite
def dressed(draw: st.DrawFn) -> tuple[str, str, int]:
    """A valid reply in any dress: the label, the text, the strength."""
    label, number = draw(st.sampled_from(sorted(LABELS))), draw(st.sampled_from(STRENGTHS))
    fields = FIELDS | {
        "action": draw(st.sampled_from(LABELS[label])),
        "strength": draw(st.sampled_from(number[1])),
        "reasoning": draw(st.text(max_size=30) | st.sampled_from([OTHER, "</think>", "<think>", "```", "}{"])),
    }
    case = draw(st.sampled_from([str, str.upper, str.title]))
    keys = draw(st.permutations(list(fields)))
    text = json.dumps({case(key): fields[key] for key in keys}, indent=draw(st.sampled_from([None, 2])))
    if draw(st.booleans()):
        text = f"```{draw(st.sampled_from(['', 'json', 'JSON']))}\n{text}\n```"
    text = f"{draw(PROSE)}{text}{draw(PROSE)}"
    if draw(st.booleans()):
        thought = f"{draw(PROSE)}{draw(st.sampled_from(['', PLAIN, OTHER, '{', PLAIN[:-9]]))}{draw(PROSE)}"
        text = f"{draw(st.sampled_from(['<think>', '<THINKING>', '']))}{thought}</think>{text}"
    return label, text, number[0]


@given(dressed())
def test_no_dress_changes_what_a_verdict_says(reply: tuple[str, str, int]) -> None:
    """Thinking, prose, fence, case, order of keys: the reply reads as the same label and strength, never as another."""
    label, text, strength = reply
    verdict = read(said(text), JudgeReply)
    assert (verdict.action, verdict.strength, verdict.resolved) == (label, strength, True)


JUNK = st.lists(
    st.sampled_from(
        [" ", "{", "}", "[", "]", '"', "'", ",", ":", "\\", "a", "```", '{"a": ', '{"a": [', '{"action": ', '{"reasoning": "', "{'a': ", '"}']
    ),
    max_size=4,
).map("".join)  # fmt: skip


@given(JUNK, JUNK, JUNK, st.permutations([PLAIN, OTHER]))
def test_two_verdicts_in_one_reply_are_never_one(before: str, between: str, after: str, verdicts: list[str]) -> None:
    """Whatever stands around them, and whichever of them it breaks or hides: neither is taken for what was meant."""
    with pytest.raises(Unreadable):
        read(said(f"{before}{verdicts[0]}{between}{verdicts[1]}{after}"), JudgeReply)


@given(st.text() | st.text(st.sampled_from('{}[]",:1<think>/a\\'), max_size=60))
def test_no_text_breaks_the_reader(text: str) -> None:
    """Whatever a model sends is read, unreadable or empty; nothing else comes out."""
    with suppress(Unreadable, CallFailed):
        read(said(text), JudgeReply)


@pytest.mark.parametrize("cut", range(1, len(PLAIN)))
def test_a_part_of_a_verdict_is_no_verdict(cut: int) -> None:
    """However far it came before the connection or the model stopped."""
    with pytest.raises(Unreadable):
        read(said(PLAIN[:cut]), JudgeReply)


@pytest.mark.parametrize("mode", ["native", "tool", "prompted"])
def test_asking_again_answers_each_open_call(mode: OutputMode) -> None:
    """Where a tool was asked for, each call gets its result; elsewhere a call is replayed as text, for it has no tool."""
    twice = ModelResponse(
        parts=[ToolCallPart("JudgeReply", "{", "call_1"), ToolCallPart("JudgeReply", {"a": 1}, "call_2")]
    )
    reply, again = ask_again(twice, "broken", mode, "be a judge")
    assert isinstance(again, ModelRequest)
    assert again.instructions == "be a judge"
    if mode == "tool":
        assert reply is twice
        assert [(part.tool_call_id, part.outcome) for part in again.parts if isinstance(part, ToolReturnPart)] == [
            ("call_1", "retried"),
            ("call_2", "retried"),
        ]
    else:
        assert reply.parts == [TextPart('{\n{"a": 1}')]
        (complaint,) = again.parts
        assert isinstance(complaint, UserPromptPart)
    assert "broken" in str(again.parts)


def test_asking_again_after_a_text_where_a_tool_was_asked_for() -> None:
    """There is no call to answer: the complaint is a message."""
    reply, again = ask_again(said("Action 1."), "no JSON", "tool", None)
    assert reply.parts == [TextPart("Action 1.")]
    (complaint,) = again.parts
    assert isinstance(complaint, UserPromptPart)
    assert "Call the tool" in str(complaint.content)


def test_a_reply_is_kept_as_it_came() -> None:
    """Text and arguments, whole; what was only thought is in the journal."""
    parts = [ThinkingPart("hm"), TextPart(" one"), ToolCallPart("x", {"é": 1}), ToolCallPart("x", "{'")]
    assert verbatim(ModelResponse(parts=parts)) == ' one\n{"é": 1}\n{\''


REPLIES = [JudgeReply, OutlinesReply, ElaborateReply, CheckReply, ServesReply, OpeningReply, ValuesReply]


def objects_in(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """Every schema of an object in a schema, itself included."""
    inner = [*schema.get("properties", {}).values(), *schema.get("$defs", {}).values(), schema.get("items")]
    found = [schema] if schema.get("type") == "object" else []
    return found + [deeper for part in inner if part for deeper in objects_in(part)]


@pytest.mark.parametrize("mode", ["native", "tool", "prompted"])
@pytest.mark.parametrize("reply", REPLIES)
def test_the_schema_keeps_to_what_strict_modes_take(reply: type[BaseModel], mode: OutputMode) -> None:
    """All fields required, no other keys, and no keyword that a service's strict mode refuses."""
    asked = typed(reply, mode)
    schema = asked.output_tools[0].parameters_json_schema if mode == "tool" else asked.output_object.json_schema  # type: ignore[union-attr]
    assert schema["required"] == list(schema["properties"]) == list(reply.model_fields)
    for each in objects_in(schema):
        assert each["additionalProperties"] is False
        assert each["required"] == list(each["properties"])
        used = set(each) | {key for field in each["properties"].values() for key in field}
        assert used <= {
            "type",
            "properties",
            "required",
            "additionalProperties",
            "enum",
            "title",
            "description",
            "items",
            "$ref",
            "$defs",
        }
    openai = OpenAIJsonSchemaTransformer(schema)
    openai.walk()
    assert openai.is_strict_compatible


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("Action 1.", "prose"),
        ("{}", "prose"),
        ('{"verdict": 1}', "missing"),
        (PLAIN[:-1], "broken"),
        ('{"reasoning": "x"}', "missing"),
        (json.dumps(FIELDS | {"action": None}), "missing"),
        (json.dumps(FIELDS | {"action": "A"}), "invalid"),
        (f"{PLAIN} {OTHER}", "invalid"),
        ('{"a":' * 5000, "broken"),
    ],
)
def test_what_is_wrong_has_a_kind(text: str, problem: str) -> None:
    """So that it can be counted; each kind once a reply."""
    with pytest.raises(Unreadable) as caught:
        read(said(text), JudgeReply)
    assert caught.value.problems == (problem,)
