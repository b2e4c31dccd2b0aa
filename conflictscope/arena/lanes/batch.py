"""The provider's batch API: calls are collected, sent together, and given what came of them when the batch has ended.

A batch is paid for once it is accepted. So it is written down before anything waits for it, it is never cancelled, and a call
that is on its way in one is left in the journal as it is when nobody waits for it any more: a resumed run collects it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TypeAlias

import structlog
from pydantic import TypeAdapter
from pydantic_ai.messages import InstructionPart, ModelMessage, ModelRequest
from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.models.batch import Batch, BatchRequest, BatchResult, EncodedBatchRequest
from pydantic_ai.settings import ModelSettings

from conflictscope.arena.lanes.budget import Budget, Price
from conflictscope.arena.lanes.endpoint import failure_of, reply_of
from conflictscope.arena.lanes.journal import committed, decode, failed
from conflictscope.arena.lanes.retry import retryable
from conflictscope.arena.lanes.steps import Reply, Request, Step
from conflictscope.errors import CallFailed, LaneClosed, StoreError
from conflictscope.ports import BatchedCall, Journal, SentBatch

QUIET_S = 1.0
MOST_REQUESTS = 1_000
_PAUSES_GROW = 1.5
_LONGEST_PAUSE_S = 600.0
_FAILED_LOOKS = 3
# How long the end of a run waits for the provider's word on a batch that is being sent.
_LAST_WORD_S = 60.0
# It is us who are turned away: the batch may be as well as ever.
_TURNED_AWAY = {"http_401", "http_403", "quota", "setup"}
_HANDLE = TypeAdapter(Batch)

_Outcome: TypeAlias = Reply | CallFailed | LaneClosed | StoreError

log = structlog.get_logger()


class BatchOrLive:
    """Waits for what a former process sent in a batch; where there is nothing, sends a call in a batch or live, as it asks."""

    def __init__(self, batched: Step, live: Step, batches: Batches) -> None:
        self._batched = batched
        self._live = live
        self._batches = batches

    async def __call__(self, request: Request) -> Reply:
        """The reply."""
        former = await self._batches.former(request)
        if former is not None:
            return former
        return await (self._batched if request.call.batch else self._live)(request)


@dataclass(slots=True)
class _Waiting:
    """A call that waits for what comes of it, as it is asked, and as it is sent."""

    request: Request
    asked: BatchRequest
    encoded: EncodedBatchRequest
    outcome: asyncio.Future[_Outcome]


@dataclass(slots=True)
class _Collected:
    """The calls of the next batch. size: in bytes."""

    waiting: list[_Waiting] = field(default_factory=list)
    size: int = 0
    quiet: asyncio.TimerHandle | None = None


class Batches:
    """The last step of a call that goes in a batch, and the batches of former processes.

    A batch is sent when no call has come for QUIET_S, or when no further one fits. It is looked at right then and `poll_s`
    later; from there the pauses grow by half, up to ten minutes. A look that fails in a way that a request is repeated after is
    repeated, three times in a row at the most; then, or where the service turns us away, the lane is closed.
    """

    def __init__(
        self, model: Model, name: str, journal: Journal, budget: Budget, price: Price | None, poll_s: float
    ) -> None:
        self._model = model
        self._name = name
        self._journal = journal
        self._budget = budget
        self._price = price
        self._poll_s = poll_s
        self._most_requests = min(MOST_REQUESTS, model.batch_max_requests or MOST_REQUESTS)
        self._most_bytes = model.batch_max_bytes or float("inf")
        self._collected: dict[str, _Collected] = {}  # by what the provider lets stand in one batch
        self._former: dict[tuple[str, str], asyncio.Future[_Outcome]] = {}
        self._sending: set[asyncio.Task[None]] = set()
        self._looking: set[asyncio.Task[None]] = set()

    async def __call__(self, request: Request) -> Reply:
        """The reply, once its batch has ended. Raises LaneClosed where the batch cannot be collected now."""
        request.in_batch, request.spent_usd = False, 0.0  # before it is sent it costs nothing
        call = request.call
        asked = _batch_request(request.number, call.messages, call.settings, call.parameters)
        try:
            encoded = await self._model.batch_encode(asked)
        except Exception as error:
            raise failure_of(error) from error
        waiting = _Waiting(request, asked, encoded, asyncio.get_running_loop().create_future())
        self._collect(waiting)
        outcome = await waiting.outcome
        if isinstance(outcome, Reply):
            return outcome
        log.warning("call.failed", scope=call.scope, model=self._name, error=str(outcome)[:500])
        raise outcome

    def resume(self, sent: SentBatch) -> None:
        """Collect what a former process sent, whether it is asked for again or not; what it set aside stays set aside."""
        asking = [asyncio.get_running_loop().create_future() for _ in sent.calls]
        for call, outcome in zip(sent.calls, asking, strict=True):
            self._former[call.scope, call.fingerprint] = outcome
            self._budget.carry(call.reserved_usd)
        asked = [_batch_request(call.number, *decode(call.request)) for call in sent.calls]
        _start(self._looking, self._give_former(_HANDLE.validate_json(sent.handle), sent.calls, asked, asking))

    async def former(self, request: Request) -> Reply | None:
        """The reply to what a former process sent; None where it did not, or where that came to nothing. Raises LaneClosed."""
        waiting = self._former.pop((request.call.scope, request.fingerprint), None)
        outcome = None if waiting is None else await waiting
        if isinstance(outcome, LaneClosed):
            raise outcome
        return outcome if isinstance(outcome, Reply) else None

    async def close(self) -> None:
        """Wait no longer. What is being sent is written down first; no batch is cancelled."""
        for collected in self._collected.values():
            if collected.quiet is not None:
                collected.quiet.cancel()
        if self._sending:
            await asyncio.wait(self._sending, timeout=_LAST_WORD_S)
        tasks = self._sending | self._looking
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- out -----------------------------------------------------------------------------------------------------------

    def _collect(self, waiting: _Waiting) -> None:
        group, size = waiting.encoded.group, self._model.batch_request_size(waiting.encoded)
        if group in self._collected and self._collected[group].size + size > self._most_bytes:
            self._send(group)
        collected = self._collected.setdefault(group, _Collected())
        collected.waiting.append(waiting)
        collected.size += size
        if collected.quiet is not None:
            collected.quiet.cancel()
        collected.quiet = asyncio.get_running_loop().call_later(QUIET_S, self._send, group)
        if len(collected.waiting) >= self._most_requests:
            self._send(group)

    def _send(self, group: str) -> None:
        collected = self._collected.pop(group)
        if collected.quiet is not None:
            collected.quiet.cancel()
        waiting = [each for each in collected.waiting if not each.outcome.done()]
        for each in waiting:
            each.request.in_batch, each.request.spent_usd = True, each.request.reserved_usd
        if waiting:
            _start(self._sending, self._create(waiting))

    async def _create(self, waiting: Sequence[_Waiting]) -> None:
        try:
            batch = await self._model.batch_create([each.encoded for each in waiting])
        except Exception as error:  # noqa: BLE001 - it becomes a typed failure of each call
            log.warning("batch.refused", model=self._name, calls=len(waiting), error=str(failure_of(error))[:500])
            for each in waiting:
                _tell(each.outcome, failure_of(error))
            return
        log.info("batch.sent", model=self._name, batch=batch.id, calls=len(waiting))
        numbers = [each.request.number for each in waiting]
        try:
            await self._journal.batch_sent(batch.id, self._name, _HANDLE.dump_json(batch), numbers)
        except StoreError as error:
            for each in waiting:
                _tell(each.outcome, error)
        else:
            _start(self._looking, self._give(batch, waiting))

    # -- back ----------------------------------------------------------------------------------------------------------

    async def _give(self, batch: Batch, waiting: Sequence[_Waiting]) -> None:
        """Tell the calls of this process what came of them."""
        outcomes = await self._outcomes(batch, [each.asked for each in waiting])
        for each, outcome in zip(waiting, outcomes, strict=True):
            _tell(each.outcome, outcome)

    async def _give_former(
        self,
        batch: Batch,
        calls: Sequence[BatchedCall],
        asked: Sequence[BatchRequest],
        asking: Sequence[asyncio.Future[_Outcome]],
    ) -> None:
        """End the calls of a former process with what came of them, and tell whoever asks again."""
        for call, waiting, outcome in zip(calls, asking, await self._outcomes(batch, asked), strict=True):
            if isinstance(outcome, LaneClosed):  # nobody shall wait for what is reserved
                self._budget.settle(call.reserved_usd, call.reserved_usd)
            else:
                self._end(call, outcome, _age_s(batch))
            _tell(waiting, outcome)

    def _end(self, call: BatchedCall, outcome: Reply | CallFailed, latency_s: float) -> None:
        end = (
            committed(outcome, call.reserved_usd)
            if isinstance(outcome, Reply)
            else failed(outcome, call.reserved_usd, latency_s)
        )
        self._journal.ended(call.number, end)
        self._budget.settle(call.reserved_usd, end.at_risk_usd + (end.cost_usd or 0.0))

    async def _outcomes(self, batch: Batch, asked: Sequence[BatchRequest]) -> Sequence[Reply | CallFailed | LaneClosed]:
        """What came of each request, once the batch has ended, or it is known that it cannot be collected."""
        try:
            results = await self._results(batch)
        except LaneClosed as closed:
            log.error("batch.left", model=self._name, batch=batch.id, error=str(closed)[:500])
            return [LaneClosed(str(closed)) for _ in asked]
        except CallFailed as failure:
            log.error("batch.lost", model=self._name, batch=batch.id, error=str(failure)[:500])
            self._journal.batch_ended(batch.id)
            return [CallFailed("batch", f"{batch.id} cannot be collected: {failure}") for _ in asked]
        outcomes = [self._outcome(batch, request, results.get(request.custom_id)) for request in asked]
        answered = sum(isinstance(outcome, Reply) for outcome in outcomes)
        log.info("batch.collected", model=self._name, batch=batch.id, calls=len(asked), answered=answered)
        self._journal.batch_ended(batch.id)
        return outcomes

    async def _results(self, batch: Batch) -> Mapping[str, BatchResult]:
        """The results of a batch that may still run. Raises LaneClosed where they may come later, CallFailed where not."""
        pause_s, failed_looks = self._poll_s, 0
        while True:
            try:
                if batch.status != "ended":
                    batch = await self._model.batch_status(batch)
                if batch.status == "ended":
                    return {result.custom_id: result for result in await self._model.batch_results(batch)}
                failed_looks = 0
            except Exception as error:
                failure, failed_looks = failure_of(error), failed_looks + 1
                log.warning("batch.look_failed", model=self._name, batch=batch.id, error=str(failure)[:500])
                if failure.kind in _TURNED_AWAY or (retryable(failure) and failed_looks > _FAILED_LOOKS):
                    told = f"{self._name}: the batch {batch.id} cannot be collected now: {failure}"
                    raise LaneClosed(told) from error
                if not retryable(failure):
                    raise failure from error
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * _PAUSES_GROW, max(self._poll_s, _LONGEST_PAUSE_S))

    def _outcome(self, batch: Batch, asked: BatchRequest, result: BatchResult | None) -> Reply | CallFailed:
        """What came of one request of a batch that has ended."""
        if result is None or result.status == "expired":
            return CallFailed("expired", f"the batch {batch.id} ended before the model was asked")
        if result.status == "canceled":
            return CallFailed("canceled", f"somebody canceled the batch {batch.id} before the model was asked")
        try:
            response = self._model.batch_decode(result, asked)
        except Exception as error:  # noqa: BLE001 - one strange reply must end one episode, not the sweep
            return failure_of(error, reading=True)
        try:
            return reply_of(response, self._price, _age_s(batch))
        except CallFailed as failure:
            return failure
        except Exception as error:  # noqa: BLE001 - one strange reply must end one episode, not the sweep
            return failure_of(error)


def _batch_request(
    number: int, messages: list[ModelMessage], settings: ModelSettings, parameters: ModelRequestParameters
) -> BatchRequest:
    """A call as a batch takes it: what `pydantic_ai.direct` does to the parameters of a single request is done here."""
    last = messages[-1]
    if isinstance(last, ModelRequest) and last.instructions is not None:
        parameters = replace(parameters, instruction_parts=[InstructionPart(content=last.instructions)])
    return BatchRequest(
        custom_id=str(number), messages=messages, model_settings=settings, model_request_parameters=parameters
    )


def _age_s(batch: Batch) -> float:
    """How long ago the provider took it."""
    return max(0.0, (datetime.now(UTC) - batch.created_at).total_seconds())


def _tell(asking: asyncio.Future[_Outcome], outcome: _Outcome) -> None:
    if not asking.done():  # nobody may wait any more
        asking.set_result(outcome)


def _start(tasks: set[asyncio.Task[None]], work: Coroutine[None, None, None]) -> None:
    """Do the work beside all else; `tasks` holds it as long as it is done."""
    task = asyncio.create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)
