"""A lane: the steps to one model, in the order in which they stand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import inf

from pydantic_ai.messages import ModelResponse
from pydantic_ai.models import Model

from conflictscope.arena.lanes.batch import Batches, BatchOrLive
from conflictscope.arena.lanes.breaker import Breaker
from conflictscope.arena.lanes.budget import Budget, Meter, Price
from conflictscope.arena.lanes.concurrency import Concurrency
from conflictscope.arena.lanes.endpoint import Endpoint
from conflictscope.arena.lanes.journal import Record, Replay
from conflictscope.arena.lanes.retry import Retry
from conflictscope.arena.lanes.steps import Step
from conflictscope.arena.lanes.throttle import RateLimit, Throttle
from conflictscope.ports import Call, Journal, OutputMode, SentBatch
from conflictscope.snapshot import LaneLoad

# A call in a batch that expired, or met what a single call is repeated after, goes into further batches, so often at the most.
_BATCHES_PER_CALL = 3


@dataclass(frozen=True, slots=True)
class Policy:
    """How far a lane goes for a reply.

    call_timeout_s: one request. attempts: how often one call is sent at the most; retry_time_s: no further attempt once its
    attempts and the pauses between them took this long. concurrency: requests in flight at the most. batch_poll_s: pause
    between the first looks at a batch. share: as in Throttle.
    """

    call_timeout_s: float = 120.0
    attempts: int = 6
    retry_time_s: float = 300.0
    concurrency: int = 64
    batch_poll_s: float = 30.0
    share: Callable[[], float] = lambda: 1.0


class ModelLane:
    """A Lane to one model.

    name: what the sweep file calls the model, which is also its name in the journal and in messages; else what pydantic-ai calls
    its provider and it. rates: limits that this lane shares with others (those of its provider); what the service's headers
    say of this model is kept beside them. output_mode: how the model is asked for typed output; until somebody finds out, the
    best that its profile promises. batch_price: of a call in a batch.
    """

    def __init__(
        self,
        model: Model,
        journal: Journal,
        budget: Budget,
        policy: Policy,
        *,
        name: str | None = None,
        price: Price | None = None,
        batch_price: Price | None = None,
        rates: Sequence[RateLimit] = (),
    ) -> None:
        self._model = model
        self.output_mode = output_modes(model)[0]
        self.name = name or f"{model.system}:{model.model_name}"
        self._breaker = Breaker(self.name)
        endpoint = Endpoint(model, self.name, price, policy.call_timeout_s)
        self._live = live_steps(endpoint, self._breaker, journal, budget, policy, self.name, price, rates)
        self._batches = Batches(model, self.name, journal, budget, batch_price, policy.batch_poll_s)
        # A call in a batch takes as long as the batch, and the service sees to it how many of them it works on.
        metered = Meter(Record(self._batches, journal, self.name), budget, batch_price, self.name)
        self._batched = Retry(metered, _BATCHES_PER_CALL, inf)
        guarded = self._breaker.guarding(BatchOrLive(self._batched, self._live.first, self._batches))
        self._replay = Replay(guarded, journal, self.name)

    @property
    def model(self) -> Model:
        """The model at the end of the lane."""
        return self._model

    @property
    def closed(self) -> str | None:
        """Why the lane answers nobody any more; None while it is open."""
        return self._breaker.closed

    @property
    def load(self) -> LaneLoad:
        """How it stands."""
        live = self._live.load(self.name, self.closed)
        batched = self._batched
        return replace(live, retries=live.retries + batched.retries, errors=live.errors + batched.errors)

    def shut(self, why: str) -> None:
        """Close the lane, for another process has found that it must be."""
        self._breaker.closed = self._breaker.closed or why

    async def request(self, call: Call) -> ModelResponse:
        """The journaled reply where there is one, else the model's. Raises CallFailed, LimitReached, LaneClosed."""
        return await self._replay(call)

    def resume(self, sent: SentBatch) -> None:
        """Collect a batch that a former process sent through this lane."""
        self._batches.resume(sent)

    async def close(self) -> None:
        """Leave what waits in batches to a later process."""
        await self._batches.close()


@dataclass(frozen=True, slots=True)
class LiveSteps:
    """What a request that is sent by itself passes through. first: the step that it is given to."""

    first: Retry
    slots: Concurrency

    def load(self, name: str, closed: str | None) -> LaneLoad:
        """How they stand."""
        slots = self.slots
        counts = slots.in_flight, slots.limit, slots.most, slots.waiting
        return LaneLoad(name, *counts, self.first.retries, self.first.errors, closed)


def live_steps(
    endpoint: Step,
    breaker: Breaker,
    journal: Journal,
    budget: Budget,
    policy: Policy,
    name: str,
    price: Price | None,
    rates: Sequence[RateLimit],
) -> LiveSteps:
    """The steps, from the endpoint outwards, of a request that is sent by itself; the breaker's guard is to stand around them."""
    # A retry waits outside of the slots, so that one long Retry-After holds up nobody else; an attempt first takes a slot and
    # its share of the budget, and then waits for its minute, so that nothing stands between the throttle's word and the
    # sending.
    record = Record(endpoint, journal, name)
    throttle = Throttle(breaker.barring(record), rates, policy.share)
    meter = Meter(throttle, budget, price, name)
    concurrency = Concurrency(meter, policy.concurrency, name)
    return LiveSteps(Retry(concurrency, policy.attempts, policy.retry_time_s), concurrency)


def output_modes(model: Model) -> list[OutputMode]:
    """The ways to ask for typed output that the model's profile says it has, the best first; words always do."""
    modes: list[OutputMode] = []
    if model.profile.get("supports_json_schema_output", False):
        modes.append("native")
    if model.profile.get("supports_tools", True):
        modes.append("tool")
    return [*modes, "prompted"]
