from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from pydantic_ai.exceptions import ContentFilterError, ModelHTTPError, UnexpectedModelBehavior, UserError
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.settings import ModelSettings

from conflictscope.arena import Budget, ModelLane, Policy
from conflictscope.arena.lanes.endpoint import Endpoint
from conflictscope.errors import CallFailed, LaneClosed
from conflictscope.outcome import Role
from conflictscope.ports import Call
from conflictscope.snapshot import LaneLoad
from tests.arena.lanes.doubles import ONE_TRY, Counted, Rows, call, lane, request
from tests.virtual_time import VirtualLoop, in_virtual_time


async def test_a_call_that_was_answered_is_never_made_again() -> None:
    """The same request of the same episode gets the journaled reply; made later, by another process, with other timestamps."""
    model, journal = Counted(), Rows()
    first = await lane(model, journal).request(call())
    again = await lane(model, journal).request(call())
    assert (model.requests, journal.states()) == (1, ["committed"])
    assert again.parts == first.parts
    assert again.usage == first.usage


@pytest.mark.parametrize("other", [call(text="bye"), call(scope="another episode"), call(seed=2)])
async def test_another_request_is_another_call(other: Call) -> None:
    """A request that differs in text, episode or seed is not answered from the journal."""
    model, journal = Counted(), Rows()
    await lane(model, journal).request(call())
    await lane(model, journal).request(other)
    assert model.requests == 2


async def test_the_journal_holds_request_reply_usage_and_latency() -> None:
    """A row is enough to know what was asked, for whom, what came, what it took, and by which prompt."""
    journal = Rows()
    await lane(Counted(), journal).request(call())
    (row,) = journal.rows
    assert b"be brief" in row.sent.request
    assert b'"seed":1' in row.sent.request.replace(b" ", b"")
    assert b"reply 1" in (row.end.reply or b"")
    assert (row.sent.model, row.sent.prompt, row.sent.role) == ("function:m", "conversation", Role.TARGET)
    assert row.sent.target == "alpha"
    assert (row.end.input_tokens, row.end.output_tokens) == (3, 2)
    assert row.end.latency_s >= 0
    assert row.end.cost_usd is None  # genai-prices knows no such model: unknown is not free


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (ModelHTTPError(429, "m", "slow down"), "http_429"),
        (ModelHTTPError(500, "m", None), "http_500"),
        (ContentFilterError("blocked"), "refused"),
        (IndexError("list index out of range"), "unexpected"),
        (UnexpectedModelBehavior("not JSON"), "malformed"),
        (UserError("no such output mode"), "setup"),
    ],
)
async def test_a_failed_call_is_typed_and_journaled_but_not_an_answer(raised: Exception, kind: str) -> None:
    """Each fault has its kind; the row has no reply; and a resumed run asks again."""
    model, journal = Counted(raised), Rows()
    with pytest.raises(CallFailed) as caught:
        await lane(model, journal).request(call())
    assert caught.value.kind == kind
    assert journal.states() == ["failed"]
    assert (journal.rows[0].end.reply, journal.rows[0].end.failure) == (None, str(caught.value))
    model.act = None
    await lane(model, journal).request(call())
    assert model.requests == 2


async def test_a_reply_that_cannot_be_stored_fails_its_episode_only() -> None:
    """Half a surrogate pair is text that no file can hold: a typed failure, not the end of the sweep."""

    class Broken(Counted):
        async def __call__(self, messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
            return ModelResponse(parts=[TextPart("\ud83d")])

    with pytest.raises(CallFailed, match="unexpected: PydanticSerializationError"):
        await lane(Broken(), Rows()).request(call())


async def test_no_header_is_written_down() -> None:
    """Settings that may carry a key are in neither the journal nor the fingerprint."""
    journal = Rows()
    settings = ModelSettings(**call().settings, extra_headers={"Authorization": "Bearer CANARY"})
    model = Counted()
    await lane(model, journal).request(replace(call(), settings=settings))
    await lane(model, journal).request(call())
    assert b"CANARY" not in journal.rows[0].sent.request
    assert model.requests == 1


async def test_the_time_of_asking_is_noted_over_all_attempts() -> None:
    """A call that meets its deadline twice was asked for twice as long, whatever it waited for in between."""
    endpoint = Endpoint(FunctionModel(Hanging()), "function:m", None, 0.02)
    asked = request()
    for attempts in (1, 2):
        with pytest.raises(CallFailed):
            await endpoint(asked)
        assert asked.asked_s >= attempts * 0.02


async def test_a_lane_is_called_what_its_model_is_called_in_the_sweep_file() -> None:
    """Two ways to one model are two lanes: in the journal, in messages, and in what counts as the same request."""
    journal, model = Rows(), Counted()
    for name in ("openai-chat:m", "openai-responses:m"):
        road = ModelLane(FunctionModel(model, model_name="m"), journal, Budget(None), ONE_TRY, name=name)
        await road.request(call())
        await road.request(call())
    assert [row.sent.model for row in journal.rows] == ["openai-chat:m", "openai-responses:m"]
    assert model.requests == 2


class Hanging(Counted):
    """Never answers."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = asyncio.Event()

    async def __call__(self, messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        self.entered.set()
        await asyncio.Event().wait()
        raise AssertionError


async def test_a_model_that_never_answers_meets_the_deadline() -> None:
    """The deadline fires on a call that hangs, and says how long it waited."""
    with pytest.raises(CallFailed, match=r"timeout: function:m gave no reply within 0\.02 s"):
        await lane(Hanging(), Rows(), policy=Policy(call_timeout_s=0.02, attempts=1)).request(call())


async def test_a_call_that_is_cancelled_is_abandoned_in_the_journal() -> None:
    """Cancellation is no time-out: it goes on as it came, and the row says that nobody waited for the end."""
    model, journal = Hanging(), Rows()
    task = asyncio.create_task(lane(model, journal).request(call()))
    await model.entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert journal.states() == ["abandoned"]


class Gate:
    """A model that fails so often, then answers when it is let."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.open = asyncio.Event()

    async def __call__(self, messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        if self.failures:
            self.failures -= 1
            raise ModelHTTPError(500, "m", None)
        await self.open.wait()
        return ModelResponse(parts=[TextPart("fine")])


def test_a_lane_tells_how_it_stands() -> None:
    """In flight and waiting while they are, failed and repeated requests once each, and nothing left behind at the end."""

    async def main(loop: VirtualLoop) -> None:
        gate = Gate(failures=2)
        policy = Policy(call_timeout_s=10_000, attempts=3, concurrency=2)
        busy = ModelLane(FunctionModel(gate, model_name="m"), Rows(), Budget(None), policy, name="openai:m")
        assert busy.load == LaneLoad("openai:m", 0, 2, 2, 0, 0, 0)
        asking = [asyncio.create_task(busy.request(call(scope=str(number)))) for number in range(5)]
        await asyncio.sleep(100)
        assert busy.load == LaneLoad("openai:m", 2, 2, 2, 3, retries=2, errors=2)
        gate.open.set()
        await asyncio.gather(*asking)
        assert (busy.load.in_flight, busy.load.waiting, busy.load.closed) == (0, 0, None)

    in_virtual_time(main)


async def test_a_closed_lane_tells_why() -> None:
    """The load of a lane that answers nobody any more holds the reason."""
    shut = lane(Counted(ModelHTTPError(401, "m", "no such key")), Rows())
    for number in range(5):
        with pytest.raises((CallFailed, LaneClosed)):
            await shut.request(call(scope=str(number)))
    assert shut.load.closed == shut.closed is not None
    assert "no such key" in str(shut.load.closed)
