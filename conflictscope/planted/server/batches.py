"""A batch of requests: what both services' batch APIs have in common."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import uuid4

from conflictscope.planted.server.exchange import Dialect, Json, ServiceError
from conflictscope.planted.server.plant import Plant

_AT_A_TIME = 100  # requests of a batch between which other requests get their turn


@dataclass(frozen=True, slots=True)
class Item:
    """One request of a batch, as it came."""

    custom_id: str
    body: Any


@dataclass(frozen=True, slots=True)
class Done:
    """What became of an item: the body of its reply, or the error that it met."""

    custom_id: str
    result: Json | ServiceError


@dataclass
class Batch:
    """A batch on its way. Times are seconds since the epoch. done: what became of each item, once it has ended."""

    dialect: Dialect
    items: Sequence[Item]
    lasts_s: float
    id: str
    created_at: float = field(default_factory=time.time)
    ended_at: float | None = None
    cancelled_at: float | None = None
    done: list[Done] = field(default_factory=list)
    _began: float = field(default_factory=time.monotonic)
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @classmethod
    def submit(cls, plant: Plant, dialect: Dialect, items: Sequence[Item], prefix: str) -> Batch:
        """A new batch."""
        plant.metrics.batches += 1
        return cls(dialect, items, plant.world.timing.batch_s, f"{prefix}{uuid4().hex}")

    @property
    def state(self) -> Literal["running", "cancelling", "cancelled", "done"]:
        """Where it stands."""
        if self.ended_at is None:
            return "running" if self.cancelled_at is None else "cancelling"
        return "done" if self.cancelled_at is None else "cancelled"

    def cancel(self) -> None:
        """Answer none of its requests; one that has ended stays as it is."""
        if self.ended_at is None:
            self.cancelled_at = time.time()

    async def look(self, plant: Plant) -> None:
        """Bring it to its end if its time has come."""
        async with self._lock:
            if self.ended_at is not None:
                return
            if self.cancelled_at is None:
                if time.monotonic() - self._began < self.lasts_s:
                    return
                self.done = await self._answer_all(plant)
            self.ended_at = time.time()

    async def _answer_all(self, plant: Plant) -> list[Done]:
        done = []
        for place, item in enumerate(self.items, start=1):
            done.append(Done(item.custom_id, self._answer(plant, item.body)))
            if place % _AT_A_TIME == 0:
                await asyncio.sleep(0)
        return done

    def _answer(self, plant: Plant, body: Any) -> Json | ServiceError:
        """The answer at once: a batch takes its own time, and its requests meet neither faults nor limits."""
        try:
            if not isinstance(body, dict):
                raise ServiceError(400, "The body of a request must be a JSON object.")
            ask = self.dialect.read(body)
            if ask.stream:
                raise ServiceError(400, "A request in a batch cannot be streamed.", param="stream")
            answer, _ = plant.answer(ask)
        except ServiceError as error:
            return error
        plant.metrics.batched += 1
        plant.metrics.spend(answer.input_tokens, answer.output_tokens)
        return self.dialect.write(ask, answer)


def found(things: dict[str, Any], thing_id: str, what: str) -> Any:
    """The thing of this id. Raises ServiceError (404) where there is none."""
    if thing_id not in things:
        raise ServiceError(404, f"No such {what}: {thing_id}", param="id")
    return things[thing_id]
