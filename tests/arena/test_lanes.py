from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from pydantic_ai.exceptions import ContentFilterError, ModelHTTPError, UnexpectedModelBehavior, UserError
from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, TextPart, UserPromptPart
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.profiles import ModelProfile
from pydantic_ai.settings import ModelSettings
from pydantic_ai.usage import RequestUsage

from conflictscope.arena import Budget, ModelLane, Throttle, lanes
from conflictscope.errors import AccessDenied, CallFailed, LimitReached
from conflictscope.outcome import Role
from conflictscope.ports import Call, CallRecord, OutputMode


class Rows:
    """A journal in memory."""

    def __init__(self) -> None:
        self.rows: list[CallRecord] = []

    async def answered(self, scope: str, fingerprint: str) -> bytes | None:
        for row in self.rows:
            if (row.scope, row.fingerprint) == (scope, fingerprint) and row.reply is not None:
                return row.reply
        return None

    async def record(self, call: CallRecord) -> None:
        self.rows.append(call)


def call(text: str = "hello", scope: str = "episode", seed: int = 1) -> Call:
    messages: list[ModelMessage] = [ModelRequest(parts=[UserPromptPart(text)], instructions="be brief")]
    return Call(
        scope, "alpha", Role.TARGET, "conversation", messages, ModelSettings(seed=seed), ModelRequestParameters()
    )


class Counted:
    """A model that counts its requests and answers, or does what it is told."""

    def __init__(self, act: BaseException | None = None) -> None:
        self.requests = 0
        self.act = act

    async def __call__(self, messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        self.requests += 1
        if self.act is not None:
            raise self.act
        return ModelResponse(
            parts=[TextPart(f"reply {self.requests}")], usage=RequestUsage(input_tokens=3, output_tokens=2)
        )


def lane(
    model: Counted, journal: Rows, budget: Budget | None = None, timeout_s: float = 30, **more: Throttle
) -> ModelLane:
    return ModelLane(FunctionModel(model, model_name="m"), journal, budget or Budget(None), timeout_s=timeout_s, **more)


async def test_a_call_that_was_answered_is_never_made_again() -> None:
    """The same request of the same episode gets the journaled reply; made later, by another process, with other timestamps."""
    model, journal = Counted(), Rows()
    first = await lane(model, journal).request(call())
    again = await lane(model, journal).request(call())
    assert (model.requests, len(journal.rows)) == (1, 1)
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
    """A row is enough to know what was asked, what came, what it took, and by which prompt."""
    journal = Rows()
    await lane(Counted(), journal).request(call())
    (row,) = journal.rows
    assert b"be brief" in row.request
    assert b'"seed":1' in row.request.replace(b" ", b"")
    assert b"reply 1" in (row.reply or b"")
    assert (row.model, row.prompt, row.role) == ("function:m", "conversation", Role.TARGET)
    assert (row.input_tokens, row.output_tokens) == (3, 2)
    assert row.latency_s >= 0
    assert row.cost_usd is None  # genai-prices knows no such model: unknown is not free


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (ModelHTTPError(429, "m", "slow down"), "http_429"),
        (ModelHTTPError(500, "m", None), "http_500"),
        (ContentFilterError("blocked"), "refused"),
        (IndexError("list index out of range"), "unexpected"),
        (UnexpectedModelBehavior("not JSON"), "unparsed"),
        (UserError("no such output mode"), "setup"),
    ],
)
async def test_a_failed_call_is_typed_and_journaled_but_not_an_answer(raised: Exception, kind: str) -> None:
    """Each fault has its kind; the row has no reply; and a resumed run asks again."""
    model, journal = Counted(raised), Rows()
    with pytest.raises(CallFailed) as caught:
        await lane(model, journal).request(call())
    assert caught.value.kind == kind
    assert (journal.rows[0].reply, journal.rows[0].failure) == (None, str(caught.value))
    model.act = None
    await lane(model, journal).request(call())
    assert model.requests == 2


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_a_service_that_refuses_us_stops_the_run(status: int) -> None:
    """A key that is not accepted or a model that is not there would fail every call: no episode is charged with it."""
    model, journal = Counted(ModelHTTPError(status, "m", "no")), Rows()
    with pytest.raises(AccessDenied, match=f"refuses every call: http_{status}"):
        await lane(model, journal).request(call())
    assert (journal.rows[0].failure or "").startswith(f"http_{status}")


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
    secret = replace(call(), settings=ModelSettings(seed=1, extra_headers={"Authorization": "Bearer CANARY"}))
    model = Counted()
    await lane(model, journal).request(secret)
    await lane(model, journal).request(call())
    assert b"CANARY" not in journal.rows[0].request
    assert model.requests == 1


async def test_a_limit_on_cost_needs_prices() -> None:
    """With a cost limit, the first reply of unknown price stops the run with what to do; without one it is only counted."""
    await lane(Counted(), Rows()).request(call())
    with pytest.raises(LimitReached, match="the price of function:m is not known"):
        await lane(Counted(), Rows(), Budget(1.0)).request(call())


async def test_a_model_that_never_answers_meets_the_deadline() -> None:
    """The deadline fires on a call that hangs, and says how long it waited."""

    class Hanging(Counted):
        async def __call__(self, messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
            await asyncio.Event().wait()
            raise AssertionError

    with pytest.raises(CallFailed, match=r"timeout: function:m gave no reply within 0\.02 s"):
        await lane(Hanging(), Rows(), timeout_s=0.02).request(call())


async def test_cancellation_is_not_taken_for_a_timeout() -> None:
    """A cancelled call stays cancelled, and leaves no row."""
    entered = asyncio.Event()

    class Hanging(Counted):
        async def __call__(self, messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
            entered.set()
            await asyncio.Event().wait()
            raise AssertionError

    journal = Rows()
    task = asyncio.create_task(lane(Hanging(), journal).request(call()))
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert journal.rows == []


async def test_a_spent_budget_stops_before_the_next_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replies add to what is spent; once it reaches the limit no further call is made, journaled ones still answer."""
    monkeypatch.setattr(lanes, "price_usd", lambda response: 0.6)
    model, journal, budget = Counted(), Rows(), Budget(1.0)
    one = lane(model, journal, budget)
    await one.request(call("1"))
    await one.request(call("2"))
    with pytest.raises(LimitReached, match=r"\$1\.2000 spent, the limit is \$1\.0000"):
        await one.request(call("3"))
    await one.request(call("1"))
    assert model.requests == 2


async def test_known_models_have_a_price() -> None:
    """A reply of a priced model costs what genai-prices says; a planted one costs nothing."""
    usage = RequestUsage(input_tokens=1_000_000)
    priced = ModelResponse(parts=[], usage=usage, model_name="gpt-4o-mini", provider_name="openai")
    assert lanes.price_usd(priced) == pytest.approx(0.15)
    assert lanes.price_usd(ModelResponse(parts=[], usage=usage, model_name="alpha", provider_name="planted")) == 0.0


async def test_a_throttle_lets_calls_through_in_order_and_only_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 5 callers with 3 allowed a minute, the first 3 go at once, in the order in which they came; the others wait."""
    throttle = Throttle(requests_per_minute=3)
    passed: list[int] = []

    async def caller(number: int) -> None:
        await throttle.wait()
        passed.append(number)

    tasks = [asyncio.create_task(caller(number)) for number in range(5)]
    await asyncio.wait(tasks[:3], timeout=5)
    assert passed == [0, 1, 2]
    for task in tasks[3:]:
        assert not task.done()
        task.cancel()


@pytest.mark.parametrize(
    ("profile", "mode"),
    [
        (ModelProfile(supports_json_schema_output=True), "native"),
        (ModelProfile(supports_json_schema_output=False), "tool"),
        (ModelProfile(supports_json_schema_output=False, supports_tools=False), "prompted"),
    ],
)
def test_typed_output_is_asked_for_as_the_profile_promises_unless_told_otherwise(
    profile: ModelProfile, mode: OutputMode
) -> None:
    """Native, else a tool, else words; what was found out about the model itself wins."""
    model = FunctionModel(Counted(), profile=profile)
    assert ModelLane(model, Rows(), Budget(None), timeout_s=30).output_mode == mode
    told = ModelLane(model, Rows(), Budget(None), timeout_s=30, output_mode="prompted")
    assert told.output_mode == "prompted"
