"""Calls that go through a batch API: what is sent, what comes back, and what is left for a later process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import pytest
from pydantic_ai.exceptions import ContentFilterError, ModelHTTPError, UnexpectedModelBehavior
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart
from pydantic_ai.models.batch import Batch, BatchRequest, BatchResult, BatchResultStatus, EncodedBatchRequest
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.models.openai import OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.usage import RequestUsage

from conflictscope.agents.judge import JudgeReply
from conflictscope.agents.structured import typed
from conflictscope.arena import Budget, FlatPrice, ModelLane, Policy, known_price
from conflictscope.arena.lanes import batch as batch_module
from conflictscope.arena.lanes.journal import decode, encode
from conflictscope.errors import CallFailed, LaneClosed
from conflictscope.ports import BatchedCall, Call, CallState, SentBatch
from tests.arena.lanes.doubles import Rows, call

POLICY = Policy(attempts=1, batch_poll_s=0.001)
DOLLAR_A_TOKEN = FlatPrice(0.0, 1e6)
Act = Callable[[BatchRequest], ModelResponse | BatchResultStatus]


def answer(asked: BatchRequest) -> ModelResponse:
    usage = RequestUsage(input_tokens=3, output_tokens=2)
    return ModelResponse(parts=[TextPart(f"to {asked.messages[0].parts[0].content}")], usage=usage)  # type: ignore[union-attr]


@dataclass
class Provider:
    """The service's side, which outlives processes. acts: what each further request meets; the last one stays."""

    batches: list[dict[str, BatchRequest]] = field(default_factory=list)
    acts: list[Act] = field(default_factory=lambda: [answer])
    looks: list[BaseException] = field(default_factory=list)  # what further looks at a batch meet
    on_create: BaseException | None = None
    ended: bool = True
    looked: int = 0
    canceled: bool = False
    creating: asyncio.Event = field(default_factory=asyncio.Event)
    may_create: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.may_create.set()

    def act(self) -> Act:
        return self.acts.pop(0) if len(self.acts) > 1 else self.acts[0]


class Batching(FunctionModel):
    """A model with a batch API; `batch_decode` is where a request meets its act, as errors come from there."""

    def __init__(self, service: Provider, most: int = 1000, most_bytes: int | None = None) -> None:
        super().__init__(self._live, model_name="m")
        self.service = service
        self.asked: dict[str, BatchRequest] = {}
        self.most = most
        self.most_bytes = most_bytes
        self.live: list[tuple[list[ModelMessage], AgentInfo]] = []

    async def _live(self, messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        self.live.append((messages, info))
        return ModelResponse(parts=[TextPart("live")])

    @property
    def batch_max_requests(self) -> int:
        return self.most

    @property
    def batch_max_bytes(self) -> int | None:
        return self.most_bytes

    def batch_request_size(self, request: EncodedBatchRequest) -> int:
        return 1

    async def batch_encode(self, request: BatchRequest) -> EncodedBatchRequest:
        self.asked[request.custom_id] = request
        return EncodedBatchRequest(custom_id=request.custom_id, group="one", body="")

    async def batch_create(self, requests: Sequence[EncodedBatchRequest]) -> Batch:
        self.service.creating.set()
        await self.service.may_create.wait()
        if self.service.on_create is not None:
            raise self.service.on_create
        self.service.batches.append({each.custom_id: self.asked[each.custom_id] for each in requests})
        return self._handle(len(self.service.batches) - 1, "in_progress")

    def _handle(self, number: int, status: str) -> Batch:
        return Batch(
            id=f"batch-{number}", model_name="m", provider_name="p", group="one", status=status,  # type: ignore[arg-type]
            created_at=datetime.now(UTC), request_count=len(self.service.batches[number]),
        )  # fmt: skip

    async def batch_status(self, batch: Batch) -> Batch:
        self.service.looked += 1
        if self.service.looks:
            raise self.service.looks.pop(0)
        return self._handle(int(batch.id.removeprefix("batch-")), "ended" if self.service.ended else "in_progress")

    async def batch_results(self, batch: Batch) -> list[BatchResult]:
        assert batch.status == "ended"
        return [
            BatchResult(custom_id=custom_id, status="succeeded")
            for custom_id in self.service.batches[int(batch.id.removeprefix("batch-"))]
        ][::-1]  # in no order that anybody may rely on

    async def batch_cancel(self, batch: Batch) -> Batch:
        self.service.canceled = True
        return batch

    def batch_decode(self, result: BatchResult, request: BatchRequest) -> ModelResponse:
        made = self.service.act()(request)
        assert isinstance(made, ModelResponse)
        return made


class BatchRows(Rows):
    """A journal in memory that keeps batches."""

    def __init__(self, provider: Provider) -> None:
        super().__init__()
        self.provider = provider
        self.batches: dict[str, tuple[str, bytes, list[int]]] = {}
        self.ended_batches: list[str] = []
        self.looked_before = False

    async def batch_sent(self, batch: str, model: str, handle: bytes, numbers: Sequence[int]) -> None:
        await asyncio.sleep(0)
        self.looked_before |= self.provider.looked > 0
        self.batches[batch] = (model, handle, list(numbers))

    def batch_ended(self, batch: str) -> None:
        self.ended_batches.append(batch)

    def sent_batches(self) -> list[SentBatch]:
        """As a later process finds them."""
        return [
            SentBatch(batch, model, handle, [self.left(number) for number in numbers if self.is_left(number)])
            for batch, (model, handle, numbers) in self.batches.items()
        ]

    def is_left(self, number: int) -> bool:
        return self.rows[number].end.state is CallState.SENT

    def left(self, number: int) -> BatchedCall:
        sent = self.rows[number].sent
        return BatchedCall(number, sent.scope, sent.fingerprint, sent.request, sent.reserved_usd)


@dataclass
class Bench:
    """A provider and a journal that outlive the lanes of processes."""

    provider: Provider
    journal: BatchRows

    def lane(self, most: int = 1, budget: Budget | None = None, most_bytes: int | None = None) -> ModelLane:
        """A lane of a new process whose batches go out when they hold `most` calls."""
        model = Batching(self.provider, most, most_bytes)
        return ModelLane(model, self.journal, budget or Budget(None), POLICY, batch_price=DOLLAR_A_TOKEN)


@pytest.fixture
async def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Batches go out when they are full: no clock decides."""
    monkeypatch.setattr(batch_module, "QUIET_S", 1e6)
    provider = Provider()
    return Bench(provider, BatchRows(provider))


def batched(text: str = "hello", scope: str = "episode") -> Call:
    return replace(call(text, scope), batch=True)


def text_of(response: ModelResponse) -> str:
    part = response.parts[0]
    assert isinstance(part, TextPart)
    return part.content


async def left_in_batch(bench: Bench, lane: ModelLane, *calls: Call) -> None:
    """Let a process send calls in a batch and end before the batch does."""
    bench.provider.ended = False
    tasks = [asyncio.create_task(lane.request(each)) for each in calls]
    while not bench.provider.looked:
        await asyncio.sleep(0)
    await stop(lane, *tasks)
    bench.provider.ended = True


async def stop(lane: ModelLane, *tasks: asyncio.Task[ModelResponse]) -> None:
    """As the end of a run does it."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await lane.close()


# -- out and back ------------------------------------------------------------------------------------------------------


async def test_calls_go_out_together_and_each_gets_its_own_reply(bench: Bench) -> None:
    """Three calls, one batch, three replies; it is written down before it is looked at, under the numbers of the rows."""
    texts = ["one", "two", "three"]
    lane = bench.lane(most=3)
    replies = await asyncio.gather(*(lane.request(batched(text)) for text in texts))
    assert [text_of(reply) for reply in replies] == [f"to {text}" for text in texts]
    assert [list(batch) for batch in bench.provider.batches] == [["0", "1", "2"]]
    assert bench.journal.batches["batch-0"][2] == [0, 1, 2]
    assert not bench.journal.looked_before
    assert bench.journal.states() == ["committed"] * 3
    assert bench.journal.ended_batches == ["batch-0"]
    assert bench.journal.rows[0].end.cost_usd == 2.0
    assert not lane.model.live  # type: ignore[attr-defined]


async def test_a_batch_goes_out_when_no_more_calls_come(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lone call does not wait for a batch that never fills."""
    monkeypatch.setattr(batch_module, "QUIET_S", 0.0)
    assert text_of(await bench.lane(most=1000).request(batched())) == "to hello"


async def test_a_batch_holds_no_more_bytes_than_the_provider_takes(bench: Bench) -> None:
    """The call that does not fit begins the next batch."""
    lane = bench.lane(most=1000, most_bytes=2)
    tasks = [asyncio.create_task(lane.request(batched(text))) for text in ("one", "two", "three")]
    await asyncio.wait(tasks[:2])
    assert [len(batch) for batch in bench.provider.batches] == [2]
    await stop(lane, *tasks)


async def test_no_batch_is_larger_than_a_thousand(bench: Bench) -> None:
    """However many the provider takes, one batch that is lost must not be all."""
    lane = bench.lane(most=50_000)
    tasks = [asyncio.create_task(lane.request(batched(str(number)))) for number in range(1001)]
    await asyncio.wait(tasks[:1000])
    assert [len(batch) for batch in bench.provider.batches] == [1000]
    await stop(lane, *tasks)


async def test_a_call_is_the_same_in_a_batch_and_alone(bench: Bench) -> None:
    """Messages, settings and instructions reach the model either way."""
    lane = bench.lane()
    await lane.request(batched())
    await lane.request(call("another"))
    (asked,) = bench.provider.batches[0].values()
    ((messages, info),) = lane.model.live  # type: ignore[attr-defined]
    assert [type(part) for part in asked.messages[0].parts] == [type(part) for part in messages[0].parts]
    assert asked.model_settings == info.model_settings
    assert info.instructions == "be brief"
    assert [part.content for part in asked.model_request_parameters.instruction_parts or ()] == ["be brief"]


async def test_a_reply_from_a_batch_is_not_asked_for_again(bench: Bench) -> None:
    """What was committed is replayed, as any reply is, in a batch or not."""
    await bench.lane().request(batched())
    assert text_of(await bench.lane().request(call())) == "to hello"
    assert len(bench.provider.batches) == 1


# -- failures ----------------------------------------------------------------------------------------------------------


def raising(error: Exception) -> Act:
    def act(_: BatchRequest) -> ModelResponse:
        raise error

    return act


@pytest.mark.parametrize(
    ("error", "kind", "batches"),
    [
        (ModelHTTPError(400, "m", "no"), "http_400", 1),
        (ContentFilterError("blocked"), "refused", 1),
        (ModelHTTPError(529, "m", "overloaded"), "http_529", 3),
        (UnexpectedModelBehavior("no content"), "malformed", 3),
        (IndexError("strange"), "malformed", 3),
        (None, "api", 3),
    ],
)
async def test_a_request_that_fails_in_a_batch_is_typed_and_repeated_as_a_live_one(
    bench: Bench, error: Exception | None, kind: str, batches: int
) -> None:
    """What may do better goes into two further batches at the most, each attempt with a row of its own."""
    said_to_have_failed = ModelResponse(parts=[TextPart("x")], finish_reason="error")
    bench.provider.acts = [raising(error) if error else lambda _: said_to_have_failed]
    with pytest.raises(CallFailed) as caught:
        await bench.lane().request(batched())
    assert caught.value.kind == kind
    assert len(bench.provider.batches) == batches
    assert bench.journal.states() == ["failed"] * batches


class Unrun(Batching):
    """Its batches end before the model was asked, in this way, as often as it is told."""

    def __init__(self, provider: Provider, status: BatchResultStatus | None, times: int) -> None:
        super().__init__(provider, 1)
        self.status = status
        self.times = times

    async def batch_results(self, batch: Batch) -> list[BatchResult]:
        self.times -= 1
        results = await super().batch_results(batch)
        if self.times < 0:
            return results
        return [replace(result, status=self.status) for result in results] if self.status else []


@pytest.mark.parametrize("status", ["expired", None])
async def test_what_the_batch_left_out_goes_into_the_next(bench: Bench, status: BatchResultStatus | None) -> None:
    """An expired request, or one without a result, costs nothing and is sent again."""
    lane = ModelLane(Unrun(bench.provider, status, 1), bench.journal, Budget(None), POLICY, batch_price=DOLLAR_A_TOKEN)
    assert text_of(await lane.request(batched())) == "to hello"
    assert bench.journal.states() == ["failed", "committed"]
    assert bench.journal.rows[0].end.at_risk_usd == 0.0


async def test_what_somebody_canceled_is_not_sent_again(bench: Bench) -> None:
    """A cancellation was meant."""
    lane = ModelLane(Unrun(bench.provider, "canceled", 9), bench.journal, Budget(None), POLICY)
    with pytest.raises(CallFailed, match="canceled: somebody canceled the batch batch-0"):
        await lane.request(batched())
    assert len(bench.provider.batches) == 1


async def test_a_batch_that_is_refused_costs_nothing(bench: Bench) -> None:
    """The provider's word on the batch is the failure of each of its calls."""
    bench.provider.on_create = ModelHTTPError(401, "m", "bad key")
    lane = bench.lane(most=2)
    results = await asyncio.gather(lane.request(batched("one")), lane.request(batched("two")), return_exceptions=True)
    assert [result.kind for result in results if isinstance(result, CallFailed)] == ["http_401", "http_401"]
    assert [row.end.at_risk_usd for row in bench.journal.rows] == [0.0, 0.0]


async def test_a_batch_that_is_gone_fails_its_calls_and_may_have_cost(bench: Bench) -> None:
    """404 on what was accepted: the calls are lost, and counted with what was reserved."""
    bench.provider.looks = [ModelHTTPError(404, "m", "no such batch")]
    with pytest.raises(CallFailed, match="batch: batch-0 cannot be collected: http_404"):
        await bench.lane().request(batched())
    assert bench.journal.rows[0].end.at_risk_usd == 100.0


async def test_looks_that_fail_say_nothing_about_the_batch(bench: Bench) -> None:
    """Three transient faults in a row, and three more later, and the batch is collected all the same."""
    fault = ModelHTTPError(503, "m", "later")
    bench.provider.looks = [fault, fault, fault]
    assert text_of(await bench.lane().request(batched())) == "to hello"
    assert len(bench.provider.batches) == 1


@pytest.mark.parametrize(
    "looks",
    [[ModelHTTPError(503, "m", "later")] * 4, [ModelHTTPError(401, "m", "bad key")]],
    ids=["away", "turned away"],
)
async def test_a_batch_that_cannot_be_looked_at_closes_the_lane_and_is_left(
    bench: Bench, looks: list[Exception]
) -> None:
    """It was paid for: its calls do not fail, the lane closes with the reason, and a later process collects them."""
    bench.provider.looks = list(looks)
    lane = bench.lane()
    with pytest.raises(LaneClosed, match="function:m: the batch batch-0 cannot be collected now: http_"):
        await lane.request(batched())
    assert lane.closed
    assert bench.journal.states() == ["sent"]
    later = bench.lane()
    later.resume(*bench.journal.sent_batches())
    assert text_of(await later.request(batched())) == "to hello"
    assert len(bench.provider.batches) == 1


# -- stops -------------------------------------------------------------------------------------------------------------


async def test_a_call_that_was_not_sent_yet_is_abandoned_for_nothing(bench: Bench) -> None:
    """A stop while the batch is collected: nothing was sent, nothing can be billed."""
    lane = bench.lane(most=2)
    task = asyncio.create_task(lane.request(batched()))
    while not bench.journal.rows:
        await asyncio.sleep(0)
    await stop(lane, task)
    assert bench.journal.states() == ["abandoned"]
    assert bench.journal.rows[0].end.at_risk_usd == 0.0
    assert not bench.provider.batches


async def test_a_stop_leaves_the_batch_alone(bench: Bench) -> None:
    """Nobody cancels it, and its calls stay in the journal as sent."""
    await left_in_batch(bench, bench.lane(most=2), batched("one"), batched("two"))
    assert bench.journal.states() == ["sent", "sent"]
    assert not bench.provider.canceled


async def test_a_stop_waits_for_the_word_on_a_batch_that_is_being_sent(bench: Bench) -> None:
    """The provider takes it while we are leaving: it is written down first."""
    bench.provider.may_create.clear()
    lane = bench.lane()
    task = asyncio.create_task(lane.request(batched()))
    await bench.provider.creating.wait()
    task.cancel()
    closing = asyncio.create_task(lane.close())
    await asyncio.wait([task])
    bench.provider.may_create.set()
    await closing
    assert bench.journal.batches["batch-0"][2] == [0]
    assert bench.journal.states() == ["sent"]


# -- resumed -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [True, False])
async def test_a_later_process_collects_instead_of_asking_again(bench: Bench, batch: bool) -> None:
    """Its old row ends with the reply and what was reserved is settled; also where the role is no longer batched."""
    await left_in_batch(bench, bench.lane(most=2), batched("one", "e1"), batched("two", "e2"))
    budget = Budget(1000.0)
    lane = bench.lane(budget=budget)
    lane.resume(*bench.journal.sent_batches())
    assert budget.reserved_usd == 200.0
    assert text_of(await lane.request(replace(call("two", "e2"), batch=batch))) == "to two"
    assert bench.journal.states() == ["committed", "committed"]  # the other one too, though nobody asked yet
    assert (budget.reserved_usd, budget.spent_usd) == (0.0, 4.0)
    assert text_of(await lane.request(replace(call("one", "e1"), batch=batch))) == "to one"
    assert len(bench.provider.batches) == 1
    assert not lane.model.live  # type: ignore[attr-defined]
    await lane.close()


async def test_what_came_to_nothing_is_asked_anew(bench: Bench) -> None:
    """A call of a former process that failed in its batch is a failed row, and a call like any other."""
    await left_in_batch(bench, bench.lane(), batched())
    bench.provider.acts = [raising(ModelHTTPError(500, "m", "no")), answer]
    lane = bench.lane()
    lane.resume(*bench.journal.sent_batches())
    assert text_of(await lane.request(batched())) == "to hello"
    assert bench.journal.states() == ["failed", "committed"]


async def test_what_is_left_twice_is_still_collected_once(bench: Bench) -> None:
    """A second process that stops as well leaves the batch as it found it."""
    await left_in_batch(bench, bench.lane(), batched())
    bench.provider.ended = False
    second = bench.lane()
    second.resume(*bench.journal.sent_batches())
    task = asyncio.create_task(second.request(batched()))
    before = bench.provider.looked
    while bench.provider.looked == before:
        await asyncio.sleep(0)
    await stop(second, task)
    bench.provider.ended = True
    third = bench.lane()
    third.resume(*bench.journal.sent_batches())
    assert text_of(await third.request(batched())) == "to hello"
    assert bench.journal.states() == ["committed"]


async def test_what_is_reserved_for_a_batch_is_given_back_without_being_asked_for(bench: Bench) -> None:
    """A call that does not fit beside it waits for the batch, and not for the episode that the batch belongs to."""
    await left_in_batch(bench, bench.lane(), batched("one", "e1"))
    lane = bench.lane(budget=Budget(110.0))
    lane.resume(*bench.journal.sent_batches())
    assert text_of(await lane.request(batched("two", "e2"))) == "to two"


async def test_a_batch_that_cannot_be_collected_keeps_nobody_waiting_for_its_reservation(bench: Bench) -> None:
    """Its amount counts as spent for this process, and who needs it is told."""
    await left_in_batch(bench, bench.lane(), batched("one", "e1"))
    bench.provider.looks = [ModelHTTPError(401, "m", "bad key")]
    budget = Budget(110.0)
    lane = bench.lane(budget=budget)
    lane.resume(*bench.journal.sent_batches())
    with pytest.raises(LaneClosed):
        await lane.request(batched("one", "e1"))
    assert (budget.reserved_usd, budget.spent_usd) == (0.0, 100.0)


# -- what is stored, what it costs -------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["native", "tool", "prompted"])
def test_a_stored_request_is_enough_to_read_its_result(mode: str) -> None:
    """Messages, settings and the asked shape come back from the journal as they went in."""
    asked = replace(call(), parameters=typed(JudgeReply, mode))  # type: ignore[arg-type]
    messages, settings, parameters = decode(encode(asked))
    assert encode(replace(asked, messages=messages, settings=settings, parameters=parameters)) == encode(asked)
    assert parameters == asked.parameters


def test_a_batch_has_its_own_price() -> None:
    """Half the price of a live request, where the service has it so."""
    model = OpenAIResponsesModel("gpt-5-mini", provider=OpenAIProvider(api_key="none"))
    usage = RequestUsage(input_tokens=1000, output_tokens=1000)
    live, batch = known_price(model), known_price(model, batch=True)
    assert live is not None
    assert batch is not None
    assert batch.usd(usage) == pytest.approx(live.usd(usage) / 2)
    assert batch.at_most_usd(10, 10) == pytest.approx(live.at_most_usd(10, 10) / 2)
