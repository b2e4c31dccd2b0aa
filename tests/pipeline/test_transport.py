"""Every fault of the wire over a real socket, through the clients that a sweep uses, for both SDKs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from anthropic import AsyncAnthropic
from anthropic.types.beta import BetaMessage
from pydantic_ai import BinaryContent
from pydantic_ai.direct import model_request
from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, TextPart, UserPromptPart
from pydantic_ai.models import infer_model
from pydantic_ai.providers import Provider, infer_provider_class
from pydantic_ai.settings import ModelSettings

from benchmarks.worlds import write_sweep
from conflictscope import pipeline
from conflictscope.agents.judge import JudgeReply
from conflictscope.agents.structured import typed
from conflictscope.arena import Budget, FlatPrice, ModelLane, Policy
from conflictscope.arena.lanes import retry as retry_module
from conflictscope.errors import CallFailed
from conflictscope.pipeline.models import Models
from conflictscope.planted import Lexicon
from conflictscope.ports import OutputMode
from tests.arena.lanes.doubles import Rows, call
from tests.scripted import INPUT_TOKENS, OUTPUT_TOKENS, Answer, Service, reply_body, serving

PROTOCOLS = ["openai-chat:gpt-4o-mini", "openai-responses:gpt-4o-mini", "anthropic:claude-sonnet-5"]
CLAUDE = PROTOCOLS[2]
every_protocol = pytest.mark.parametrize("model", PROTOCOLS)
RETRIED = [408, 409, 429, 500, 502, 503, 504, 529]
NOT_RETRIED = [400, 401, 403, 404, 413, 422]
# The worst that could be billed is far from free, so that what is at risk shows.
PRICE = FlatPrice(1_000.0, 1_000.0)


@pytest.fixture
def service() -> Iterator[Service]:
    with serving() as fresh:
        yield fresh


class Wire:
    """Lanes over real clients to the service. journal: of all of them."""

    def __init__(self, make: Models) -> None:
        self.make = make
        self.journal = Rows()
        self.budget = Budget(None)
        self.call = call()

    def lane(self, model: str, policy: Policy) -> ModelLane:
        return ModelLane(self.make.make(model), self.journal, self.budget, policy, price=PRICE)

    async def fails(self, model: str, attempts: int = 1, timeout_s: float = 30.0) -> CallFailed:
        """The failure of one call."""
        with pytest.raises(CallFailed) as caught:
            await self.says(model, attempts, timeout_s)
        return caught.value

    async def says(self, model: str, attempts: int = 1, timeout_s: float = 30.0) -> str:
        """The text of the reply to one call."""
        lane = self.lane(model, Policy(call_timeout_s=timeout_s, attempts=attempts))
        return (await lane.request(self.call)).text or ""


@pytest.fixture
async def wire(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Wire]:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-some-key")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-some-key")
    monkeypatch.setattr(retry_module, "_pause_s", lambda state: 0.0)
    config = pipeline.load_sweep(
        str(write_sweep(tmp_path, scenarios=1)),
        [f'providers={{anthropic={{base_url="{service.url}"}}, openai={{base_url="{service.url}/v1"}}}}'],
    ).config
    async with Models(config, None, Lexicon.of([])) as make:
        yield Wire(make)


@every_protocol
async def test_a_good_reply_is_one_request(service: Service, wire: Wire, model: str) -> None:
    """Text and usage come through, and the journal has one committed row."""
    service.otherwise = lambda asked: Answer(text="good morning")
    assert await wire.says(model) == "good morning"
    (row,) = wire.journal.rows
    assert (row.end.state, row.end.input_tokens, row.end.output_tokens) == ("committed", INPUT_TOKENS, OUTPUT_TOKENS)
    assert len(service.asked) == 1


@every_protocol
@pytest.mark.parametrize(
    ("status", "attempts"), [*((status, 3) for status in RETRIED), *((status, 1) for status in NOT_RETRIED)]
)
async def test_each_status_is_typed_and_sent_again_or_not(
    service: Service, wire: Wire, model: str, status: int, attempts: int
) -> None:
    """One request for each attempt of ours: the SDKs' own retries are off. No rejection is billed."""
    service.otherwise = lambda asked: Answer(status, text="not now")
    failure = await wire.fails(model, attempts=3)
    assert failure.kind == f"http_{status}"
    assert "not now" in str(failure)
    assert len(service.asked) == attempts
    assert wire.journal.states() == ["failed"] * attempts
    assert {row.end.failure for row in wire.journal.rows} == {str(failure)}
    assert wire.budget.spent_usd == 0.0


@every_protocol
async def test_a_fault_that_passes_costs_one_more_request(service: Service, wire: Wire, model: str) -> None:
    """A rejection, a lost connection, a garbled body, and then the reply."""
    service.answers.extend(
        [Answer(429), Answer(wire="reset"), Answer(wire="cut"), Answer(body=b"<html>"), Answer(text="at last")]
    )
    assert await wire.says(model, attempts=5) == "at last"
    assert wire.journal.states() == ["failed"] * 4 + ["committed"]
    assert len(service.asked) == 5


@every_protocol
@pytest.mark.parametrize(
    ("headers", "seconds"),
    [({"retry-after": "7"}, 7.0), ({"Retry-After": "0"}, 0.0), ({"retry-after-ms": "250"}, 0.25), ({}, None),
     ({"retry-after": "soon"}, None), ({"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0.0)],
)  # fmt: skip
async def test_retry_after_is_read(
    service: Service, wire: Wire, model: str, headers: dict[str, str], seconds: float | None
) -> None:
    """In seconds, in milliseconds, as a date; and where it is none, nothing is read into it."""
    service.otherwise = lambda asked: Answer(429, headers=headers)
    assert (await wire.fails(model)).retry_after_s == seconds


@every_protocol
async def test_credit_that_is_used_up_is_no_passing_fault(service: Service, wire: Wire, model: str) -> None:
    """Whatever the status with which each service says so: `quota`, once."""
    service.otherwise = lambda asked: Answer(402, text="pay first")
    assert (await wire.fails(model, attempts=3)).kind == "quota"
    if model.startswith("openai"):
        said: dict[str, Any] = {
            "message": "You exceeded your current quota",
            "type": "insufficient_quota",
            "param": None,
        }
        body = json.dumps({"error": {**said, "code": "insufficient_quota"}}).encode()
        service.otherwise = lambda asked: Answer(429, body=body)
    else:
        said = {"type": "invalid_request_error", "message": "Your credit balance is too low to access the API."}
        body = json.dumps({"type": "error", "error": said}).encode()
        service.otherwise = lambda asked: Answer(400, body=body)
    assert (await wire.fails(model, attempts=3)).kind == "quota"
    assert len(service.asked) == 2


GARBLED = {
    "HTML": b"<html><body>Welcome to the guest network</body></html>",
    "empty": b"",
    "not UTF-8": b'{"id": "\xff\xfe"}',
    "binary": bytes(range(256)),
}
OF_ANOTHER_SHAPE = {
    "null": b"null",
    "a number": b"7",
    "a list": b"[]",
    "nothing in it": b"{}",
    "an error": b'{"error": {"message": "something went wrong", "type": "some_error"}}',
    "no choices": b'{"choices": []}',
    "no output": b'{"output": []}',
    "no content": b'{"content": []}',
    "no message": b'{"choices": [{"message": null}]}',
    "half an item": b'{"output": [{"type": "message"}]}',
    "half a block": b'{"content": [{"type": "text"}]}',
}


@every_protocol
@pytest.mark.parametrize("body", [*GARBLED.values(), *OF_ANOTHER_SHAPE.values()], ids=[*GARBLED, *OF_ANOTHER_SHAPE])
async def test_a_body_that_is_no_reply_is_never_an_answer(
    service: Service, wire: Wire, model: str, body: bytes
) -> None:
    """Whatever comes with a 200 that is not what was asked for is the service's fault, told on a line with what came.

    It is tried again; what it cost is not known.
    """
    service.otherwise = lambda asked: Answer(body=body)
    failure = await wire.fails(model, attempts=2)
    assert failure.kind == "malformed"
    assert "\n" not in str(failure)
    if body.isascii() and body and body != OF_ANOTHER_SHAPE["no output"]:
        assert str(failure).endswith(f"; the body is {body.decode()!r}")
    assert len(service.asked) == 2
    assert wire.journal.states() == ["failed"] * 2
    assert all(row.end.at_risk_usd == row.sent.reserved_usd > 0 for row in wire.journal.rows)


@every_protocol
async def test_of_a_long_body_the_beginning_is_told(service: Service, wire: Wire, model: str) -> None:
    """An error page may be long; the message and the journal are not."""
    service.otherwise = lambda asked: Answer(body=b"<html>" + b"x" * 100_000)
    failure = await wire.fails(model)
    assert "the body is '<html>xxx" in str(failure)
    assert len(str(failure)) < 500


@every_protocol
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
async def test_a_body_that_ends_too_early_is_malformed(service: Service, wire: Wire, model: str, share: float) -> None:
    """A part of a reply, well delivered, is not a reply; the service may bill it, so what was reserved is at risk."""
    path = {"openai-chat": "/v1/chat/completions", "openai-responses": "/v1/responses"}.get(model.split(":")[0])
    whole = json.dumps(reply_body(path or "/v1/messages", {"model": "m"}, Answer(text="good morning"))).encode()
    service.otherwise = lambda asked: Answer(body=whole[: int(len(whole) * share)])
    assert (await wire.fails(model, attempts=2)).kind == "malformed"
    assert [row.end.at_risk_usd for row in wire.journal.rows] == [row.sent.reserved_usd for row in wire.journal.rows]
    assert wire.budget.spent_usd == sum(row.sent.reserved_usd for row in wire.journal.rows) > 0


@every_protocol
@pytest.mark.parametrize("fault", ["close", "reset", "cut"])
async def test_a_connection_that_is_lost_is_told_as_that(service: Service, wire: Wire, model: str, fault: Any) -> None:
    """Closed or reset before an answer, or in the middle of its body: `connection`, at risk, tried again on another one."""
    service.otherwise = lambda asked: Answer(wire=fault)
    failure = await wire.fails(model, attempts=3)
    assert failure.kind == "connection"
    assert len(service.asked) == service.connections == 3
    assert all(row.end.at_risk_usd == row.sent.reserved_usd > 0 for row in wire.journal.rows)


@every_protocol
async def test_nobody_there_is_a_lost_connection(service: Service, wire: Wire, model: str) -> None:
    """A port on which nobody listens."""
    with serving() as gone:
        port = gone.url.rpartition(":")[2]
    service_port = service.url.rpartition(":")[2]
    provider = wire.make.make(model)
    client = provider.client  # type: ignore[attr-defined]
    client.base_url = str(client.base_url).replace(service_port, port)
    assert (await wire.fails(model)).kind == "connection"
    assert service.asked == []


@every_protocol
async def test_a_service_that_accepts_and_never_answers_meets_the_deadline(
    service: Service, wire: Wire, model: str
) -> None:
    """Each attempt ends by its deadline, typed, at risk, and told with its length."""
    service.otherwise = lambda asked: Answer(wire="hang")
    failure = await wire.fails(model, attempts=2, timeout_s=1.0)
    assert failure.kind == "timeout"
    assert "gave no reply within 1 s" in str(failure)
    assert len(service.asked) == 2
    assert all(row.end.at_risk_usd == row.sent.reserved_usd > 0 for row in wire.journal.rows)


# A reply without a bound, which an agent of one's own may ask for, is streamed by Anthropic's SDK.


async def test_a_streamed_reply_is_one_reply(service: Service, wire: Wire) -> None:
    """Its text and usage come through as those of any other."""
    del wire.call.settings["max_tokens"]
    service.otherwise = lambda asked: Answer(text="good morning")
    assert await wire.says(CLAUDE) == "good morning"
    assert service.asked[0].body["stream"] is True
    (row,) = wire.journal.rows
    assert (row.end.input_tokens, row.end.output_tokens) == (INPUT_TOKENS, OUTPUT_TOKENS)


async def test_an_error_inside_of_a_stream_is_typed_as_outside(service: Service, wire: Wire) -> None:
    """A 200 whose stream brings an overload is a 529."""
    del wire.call.settings["max_tokens"]
    overloaded = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    service.otherwise = lambda asked: Answer(body=_sse(_stream("x")[0], overloaded))
    assert (await wire.fails(CLAUDE)).kind == "http_529"


@pytest.mark.parametrize("events", range(5))
async def test_a_stream_that_stops_before_its_end_is_no_reply(service: Service, wire: Wire, events: int) -> None:
    """However much of it came, and though the connection was closed in order: never a reply, nor an empty text."""
    del wire.call.settings["max_tokens"]
    service.otherwise = lambda asked: Answer(body=_sse(*_stream("good morning")[:events]))
    assert (await wire.fails(CLAUDE, attempts=2)).kind == "malformed"
    assert len(service.asked) == 2


def _stream(text: str) -> list[dict[str, Any]]:
    message = reply_body("/v1/messages", {"model": "m"}, Answer(text=text))
    return [
        {"type": "message_start", "message": {**message, "content": [], "stop_reason": None}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": 1},
        },
    ]


def _sse(*events: dict[str, Any]) -> bytes:
    return "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events).encode()


@every_protocol
async def test_limits_in_the_headers_reach_the_throttle(service: Service, wire: Wire, model: str) -> None:
    """After a reply that tells of two requests a minute, the third of three waits."""
    names = ["x-ratelimit-limit-requests", "x-ratelimit-limit-tokens"]
    if model.startswith("anthropic"):
        names = ["Anthropic-RateLimit-Requests-Limit", "Anthropic-RateLimit-Tokens-Limit"]
    service.otherwise = lambda asked: Answer(headers=dict(zip(names, ("2", "1000000"), strict=True)))
    lane = wire.lane(model, Policy(call_timeout_s=30, attempts=1))
    for scope in ("first", "second"):
        await lane.request(call(scope=scope))
    third = asyncio.create_task(lane.request(call(scope="third")))
    for _ in range(20):  # each a look of the throttle, which would let it through at once
        await asyncio.sleep(0.01)
    assert not third.done()
    third.cancel()
    await asyncio.wait([third])
    assert len(service.asked) == 2
    assert wire.journal.states() == ["committed"] * 2


@pytest.mark.parametrize("model", [PROTOCOLS[0], CLAUDE])
async def test_connections_are_kept(service: Service, wire: Wire, model: str) -> None:
    """Six rounds of eight calls at once open eight connections, not forty-eight."""
    lane = wire.lane(model, Policy(call_timeout_s=30, attempts=1))
    for number in range(6):
        calls = [call(scope=f"{number}.{n}") for n in range(8)]
        await asyncio.gather(*(lane.request(one) for one in calls))
    assert len(service.asked) == 48
    assert service.connections <= 8


async def test_one_client_serves_all_models_of_a_provider(service: Service, wire: Wire) -> None:
    """Chat completions and responses of two models share connections; another provider has its own."""
    for name in ("openai-chat:gpt-4o-mini", "openai-responses:gpt-5.1", "openai:gpt-4o", "anthropic:claude-sonnet-5"):
        await wire.says(name)
    assert (len(service.asked), service.connections) == (4, 2)


@every_protocol
@pytest.mark.parametrize("mode", ["native", "tool"])
async def test_what_is_sent_is_what_the_sdk_sends(service: Service, wire: Wire, model: str, mode: OutputMode) -> None:
    """Every detour that is left out changes nothing: with a history, an image, a shape and settings, the body is the same."""
    picture = BinaryContent(b"\x89PNG", media_type="image/png")
    messages: list[ModelMessage] = [
        ModelRequest(parts=[UserPromptPart(["What is this?", picture])]),
        ModelResponse(parts=[TextPart("A picture.")]),
        ModelRequest(parts=[UserPromptPart("And this: <action_1> \u2603?")], instructions="Be brief."),
    ]
    settings = ModelSettings(seed=7, max_tokens=100, extra_body={"a_field_of_its_own": 3})
    plain = infer_model(model, provider_factory=lambda name: _as_it_comes(name, service))
    async with plain.client:  # type: ignore[attr-defined]
        for made in (wire.make.make(model), plain):
            await model_request(
                made,
                messages,
                model_settings=settings,
                model_request_parameters=typed(JudgeReply, mode),
                instrument=False,
            )
    ours, theirs = service.asked
    assert (ours.path, ours.body) == (theirs.path, theirs.body)


def _as_it_comes(name: str, service: Service) -> Provider[Any]:
    """A provider as pydantic-ai makes it."""
    url = service.url if name == "anthropic" else f"{service.url}/v1"
    return infer_provider_class(name)(base_url=url)  # type: ignore[call-arg]


@every_protocol
async def test_requests_go_the_short_way(
    service: Service, wire: Wire, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An SDK that hands its requests over in another way than it did is noticed: the long way would do, and cost more."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the general client was asked")

    monkeypatch.setattr(httpx2.AsyncClient, "build_request", refuse)
    monkeypatch.setattr(httpx2.AsyncClient, "send", refuse)
    await wire.says(model)
    assert len(service.asked) == 1


CONTENT = [
    {"type": "thinking", "thinking": "on the one hand", "signature": "x"},
    {"type": "text", "text": "here", "citations": None},
    {"type": "tool_use", "id": "t1", "name": "look_up", "input": {"rule": "privacy"}, "caller": {"type": "direct"}},
]
NEWER = {"type": "hologram", "data": [1, 2]}


@pytest.mark.parametrize("content", [CONTENT, [*CONTENT, NEWER]], ids=["known", "newer than the SDK"])
async def test_blocks_of_a_claude_reply_are_told_apart_as_the_sdk_does(
    service: Service, wire: Wire, content: list[dict[str, Any]]
) -> None:
    """Each kind of block is read as its own type; where one is unknown, the whole reply is what the SDK makes of it."""
    service.otherwise = lambda asked: Answer(
        body=json.dumps({**reply_body("/v1/messages", {"model": "m"}, Answer(text="-")), "content": content}).encode()
    )
    client: Any = wire.make.make(CLAUDE).client  # type: ignore[attr-defined]
    message = await client.beta.messages.create(model="m", max_tokens=9, messages=[{"role": "user", "content": "?"}])
    assert isinstance(message, BetaMessage)
    bare = AsyncAnthropic(base_url=service.url, api_key="k", max_retries=0)
    async with bare:
        theirs = await bare.beta.messages.create(model="m", max_tokens=9, messages=[{"role": "user", "content": "?"}])
    assert [type(block) for block in message.content] == [type(block) for block in theirs.content]
    assert message.model_dump(warnings=False) == theirs.model_dump(warnings=False)
