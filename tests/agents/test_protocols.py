"""How replies of each kind come out of the three protocols: real SDKs over real sockets, a service that answers by a script."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic_ai.models import Model
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider

from conflictscope.agents import JudgeReply, LeanSpeaker, OutlinesReply, ValuesReply
from conflictscope.agents.speakers import Utterance
from conflictscope.arena import Budget, ModelLane
from conflictscope.errors import CallFailed
from conflictscope.outcome import Role
from conflictscope.ports import OutputMode
from conflictscope.services import RoleSettings
from tests.arena.lanes.doubles import ONE_TRY, Rows
from tests.scripted import VERDICT, Answer, Service, serving

FIELDS = json.loads(VERDICT)
MODES: tuple[OutputMode, ...] = ("native", "tool", "prompted")
PROTOCOLS = ("chat", "responses", "messages")


@pytest.fixture
def service() -> Iterator[Service]:
    """A fresh service that says VERDICT until its script is changed."""
    with serving() as running:
        script(running, says(VERDICT))
        yield running


def says(words: str | None = None, **more: Any) -> Answer:
    """A reply of these words, in whatever shape it was asked for; nobody closes the clients here, so the service does."""
    return Answer(text=None, words=words, headers={"connection": "close"}, **more)


def script(service: Service, *answers: Answer) -> None:
    """Let the service give these answers in turn, and the last one for ever."""
    service.answers.extend(answers[:-1])
    service.otherwise = lambda asked: answers[-1]


def model_at(service: Service, protocol: str, name: str | None = None) -> Model:
    """A model that speaks a protocol to the service."""
    if protocol == "messages":
        anthropic = AnthropicProvider(base_url=service.url, api_key="sk-CANARY")
        return AnthropicModel(name or "claude-haiku-4-5", provider=anthropic)
    openai = OpenAIProvider(base_url=f"{service.url}/v1", api_key="sk-CANARY")
    return (OpenAIChatModel if protocol == "chat" else OpenAIResponsesModel)(name or "gpt-4o-mini", provider=openai)


def speaker_at(model: Model, mode: OutputMode | None = None, settings: RoleSettings | None = None) -> LeanSpeaker:
    road = ModelLane(model, Rows(), Budget(None), ONE_TRY)
    road.output_mode = mode or road.output_mode
    return LeanSpeaker(road, settings or RoleSettings())


UTTERANCE = Utterance("k", "alpha", Role.JUDGE, "judge@1:0", "You are the judge.", ["Which action?"], 7)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("mode", [None, *MODES])
@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (says('{"reasoning": "it', end="length"), "truncated"),
        (says(thinking="Let me see", end="length"), "truncated"),
        (says(arguments={}, end="length"), "truncated"),
        (says(end="length"), "truncated"),
        (says(""), "empty"),
        (says(thinking="Let me see"), "empty"),
        (says(end="refusal"), "refused"),
        (says(end="filter"), "refused"),
        (says("I was going to", end="filter"), "refused"),
    ],
)
async def test_cut_empty_and_refused_replies_are_told_apart(
    service: Service, protocol: str, mode: OutputMode | None, answer: Answer, kind: str
) -> None:
    """In every protocol, for text (no mode) as for each kind of typed output, and without a second request."""
    script(service, answer)
    speaker = speaker_at(model_at(service, protocol), mode)
    with pytest.raises(CallFailed) as caught:
        await (speaker.say(UTTERANCE) if mode is None else speaker.decide(UTTERANCE, JudgeReply))
    assert (caught.value.kind, len(service.asked)) == (kind, 1)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "answer",
    [
        says(VERDICT),
        says(f"My verdict:\n```json\n{VERDICT}\n```", thinking="hm"),
        says(arguments=FIELDS),
        says("I record it.", arguments=FIELDS, thinking="hm"),
    ],
)
async def test_a_verdict_is_read_wherever_it_stands(
    service: Service, protocol: str, mode: OutputMode, answer: Answer
) -> None:
    """Text where a tool was asked for, a call where native JSON was: one request is enough."""
    script(service, answer)
    verdict = await speaker_at(model_at(service, protocol), mode).decide(UTTERANCE, JudgeReply)
    assert (verdict.action, len(service.asked)) == ("action_1", 1)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "bad", [says("Action 1.", thinking="hm"), says(arguments=FIELDS | {"strength": 9}), says("So:", arguments={})]
)
async def test_the_second_request_is_a_conversation_that_the_service_takes(
    service: Service, protocol: str, mode: OutputMode, bad: Answer
) -> None:
    """It says what was wrong; every tool call in it has its tool and its result; and a second bad reply is the end."""
    script(service, bad, says(VERDICT))
    speaker = speaker_at(model_at(service, protocol), mode)
    assert (await speaker.decide(UTTERANCE, JudgeReply)).strength == 6
    first, second = (request.body for request in service.asked)
    assert bool(second.get("tools")) == (mode == "tool")
    called, answered = _calls_and_results(second)
    assert called == answered == (["call_1"] if mode == "tool" and bad.arguments is not None else [])
    told = json.dumps(second)
    assert "does not have the required shape" in told
    assert "does not have the required shape" not in json.dumps(first)
    if bad.arguments:
        assert "got 9" in told
    script(service, bad)
    with pytest.raises(CallFailed, match="unparsed: no valid JudgeReply in two replies"):
        await speaker_at(model_at(service, protocol), mode).decide(UTTERANCE, JudgeReply)
    assert len(service.asked) == 4


def _calls_and_results(body: dict[str, Any]) -> tuple[list[str], list[str]]:
    """The ids of the tool calls in a request's conversation, and of their results, in any of the protocols."""
    called, answered = [], []
    for item in body.get("messages", body.get("input")):
        blocks = item.get("content") if isinstance(item.get("content"), list) else []
        called += [call["id"] for call in item.get("tool_calls") or []]
        called += [block["id"] for block in blocks if block["type"] == "tool_use"]
        called += [item["call_id"]] if item.get("type") == "function_call" else []
        answered += [item["tool_call_id"]] if item.get("role") == "tool" else []
        answered += [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
        answered += [item["call_id"]] if item.get("type") == "function_call_output" else []
    return called, answered


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("mode", ["native", "tool"])
async def test_the_schema_on_the_wire_is_one_that_strict_modes_take(
    service: Service, protocol: str, mode: OutputMode
) -> None:
    """All fields required, nothing else allowed, no keyword that a service refuses; and one tool, that must be called."""
    script(service, says(VERDICT))
    await speaker_at(model_at(service, protocol), mode).decide(UTTERANCE, JudgeReply)
    body = service.asked[0].body
    schemas = list(_schemas(body))
    assert len(schemas) == 1
    schema = schemas[0]
    assert schema["additionalProperties"] is False
    assert sorted(schema["required"]) == sorted(schema["properties"]) == sorted(JudgeReply.model_fields)
    used = set(schema) | {key for field in schema["properties"].values() for key in field}
    assert used <= {"type", "properties", "required", "additionalProperties", "enum", "description", "title"}
    if mode == "tool":
        assert len(body["tools"]) == 1
        assert json.dumps(body["tool_choice"]) in ('"required"', '{"type": "any"}')


def _schemas(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        if "properties" in node:
            yield node
        else:
            for inner in node.values():
                yield from _schemas(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from _schemas(inner)


@pytest.mark.parametrize(
    ("protocol", "name", "sent"),
    [
        ("chat", "gpt-4o-mini", {"max_completion_tokens": 2048, "temperature": 0.5, "seed": 3}),
        ("chat", "gpt-5-mini", {"max_completion_tokens": 2048, "reasoning_effort": "low", "seed": 3}),
        ("responses", "gpt-4o-mini", {"max_output_tokens": 2048, "temperature": 0.5}),
        ("responses", "gpt-5-mini", {"max_output_tokens": 2048, "reasoning": {"effort": "low"}}),
        ("messages", "claude-haiku-4-5", {"max_tokens": 2048, "temperature": 0.5}),
    ],
)
async def test_settings_reach_the_service_in_its_own_words(
    service: Service, protocol: str, name: str, sent: dict[str, Any]
) -> None:
    """What a protocol or model has no word for is left out, not refused."""
    thinks = name == "gpt-5-mini"
    settings = RoleSettings(
        max_tokens=2048, seed=3, temperature=None if thinks else 0.5, thinking="low" if thinks else None
    )
    await speaker_at(model_at(service, protocol, name), settings=settings).say(UTTERANCE)
    body = service.asked[0].body
    known = (
        "max_tokens",
        "max_completion_tokens",
        "max_output_tokens",
        "temperature",
        "seed",
        "reasoning_effort",
        "reasoning",
    )
    assert {key: body[key] for key in known if key in body} == sent


async def test_a_long_reply_is_streamed_where_the_sdk_insists(service: Service) -> None:
    """A bound beyond what Anthropic's SDK waits for in one piece changes nothing in what is read."""
    speaker = speaker_at(model_at(service, "messages"), "prompted", RoleSettings(max_tokens=32_000))
    assert (await speaker.decide(UTTERANCE, JudgeReply)).action == "action_1"
    assert service.asked[0].body["stream"] is True


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("mode", MODES)
async def test_lists_of_objects_come_out_of_every_protocol(service: Service, protocol: str, mode: OutputMode) -> None:
    """Outlines and values: their shape is told to the service, and what it sends in that shape is read."""
    outline = {"value_a": "wit", "value_b": "tact", "template": "coc"}
    outline |= dict.fromkeys(("context", "opportunity", "good", "harm"), "x")
    value = {"name": "wit", "definition": "x"}
    speaker = speaker_at(model_at(service, protocol), mode)
    for schema, field, item in ((OutlinesReply, "outlines", outline), (ValuesReply, "values", value)):
        script(service, Answer(text=json.dumps({field: [item, item]}), headers={"connection": "close"}))
        reply = await speaker.decide(UTTERANCE, schema)
        assert reply.model_dump() == {field: [item, item]}
        told = json.dumps(service.asked[-1].body)
        assert all(name in told for name in item)
