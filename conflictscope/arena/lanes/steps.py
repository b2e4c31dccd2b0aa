"""What passes through a lane from step to step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from pydantic_ai.messages import ModelResponse

from conflictscope.ports import Call


@dataclass(slots=True)
class Request:
    """A call on its way to the model, and what the steps on this way note on it.

    body: the call as it is journaled. fingerprint: a hash of model and body. reserved_usd: what the budget set aside for it.
    spent_usd: what it cost, or may have cost, so far: nothing before it is sent; what was reserved as long as its end was
    not seen. asked_s: how long the model was asked, over all attempts. headers: what the HTTP response said of
    limits, names in lower case. received: its body; empty where it is streamed, None where no response came. number: of its
    row in the journal. in_batch: whether it went out in a batch, which will be collected whoever waits for it.
    """

    call: Call
    body: bytes
    fingerprint: str
    reserved_usd: float = 0.0
    spent_usd: float = 0.0
    asked_s: float = 0.0
    headers: Mapping[str, str] = field(default_factory=dict)
    received: bytes | None = None
    number: int = 0
    in_batch: bool = False


@dataclass(slots=True)
class Reply:
    """A model's reply on its way back. body: as it is journaled. latency_s: from sending to the whole reply."""

    response: ModelResponse
    body: bytes
    cost_usd: float | None
    latency_s: float


class Step(Protocol):
    """One step of a lane; it holds the next one, and the last one asks the model."""

    async def __call__(self, request: Request) -> Reply:
        """The reply. Raises CallFailed, LimitReached, LaneClosed."""
        ...
