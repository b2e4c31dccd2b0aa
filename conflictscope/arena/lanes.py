"""The way to a model: journal, budget, throttle, deadline, call, meter, journal again, in this order."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from dataclasses import dataclass
from typing import Any

import structlog
from asyncio_throttle.throttler import Throttler
from pydantic import TypeAdapter
from pydantic_ai.direct import model_request
from pydantic_ai.exceptions import (
    ContentFilterError,
    ModelAPIError,
    ModelConnectionError,
    ModelHTTPError,
    ModelRequestTimeout,
    ModelTimeoutError,
    UnexpectedModelBehavior,
    UserError,
)
from pydantic_ai.messages import ModelMessagesTypeAdapter, ModelResponse
from pydantic_ai.models import Model, ModelRequestParameters

from conflictscope.errors import CallFailed, LimitReached
from conflictscope.ports import Call, CallRecord, Journal

_RESPONSE = TypeAdapter(ModelResponse)
_PARAMETERS = TypeAdapter(ModelRequestParameters)
# When and by which run a message was made says nothing about what is asked; without it, equal requests are equal bytes.
_VOLATILE = {"timestamp", "run_id", "conversation_id", "metadata", "usage", "provider_details", "provider_response_id"}
_EXCLUDED: Any = {"__all__": {**dict.fromkeys(_VOLATILE, True), "parts": {"__all__": {"timestamp"}}}}

log = structlog.get_logger()


class Throttle:
    """At most so many requests in any minute, first come first served.

    asyncio-throttle polls every 10 ms for each waiter; the lock lets only one wait in it, the others queue for free.
    """

    def __init__(self, requests_per_minute: int) -> None:
        self._throttler = Throttler(rate_limit=requests_per_minute, period=60.0)
        self._gate = asyncio.Lock()

    async def wait(self) -> None:
        """Return when one more request may go out."""
        async with self._gate:
            await self._throttler.acquire()


@dataclass
class Budget:
    """What the run has spent, and how much it may. A check before each call; what is in flight then may still add."""

    limit_usd: float | None
    spent_usd: float = 0.0

    def check(self) -> None:
        """Raises LimitReached once the limit is spent."""
        if self.limit_usd is not None and self.spent_usd >= self.limit_usd:
            raise LimitReached(
                "limits.cost_usd", f"${self.spent_usd:.4f} spent, the limit is ${self.limit_usd:.4f} (limits.cost_usd)"
            )


class ModelLane:
    """A Lane to one model."""

    def __init__(
        self, model: Model, journal: Journal, budget: Budget, *, timeout_s: float, throttle: Throttle | None = None
    ) -> None:
        self._model = model
        self._journal = journal
        self._budget = budget
        self._timeout_s = timeout_s
        self._throttle = throttle
        self._name = f"{model.system}:{model.model_name}"

    @property
    def model(self) -> Model:
        """The model at the end of the lane."""
        return self._model

    async def request(self, call: Call) -> ModelResponse:
        """The journaled reply where there is one, else the model's. Raises CallFailed, LimitReached."""
        request = _encode(call)
        fingerprint = hashlib.blake2b(self._name.encode() + b"\0" + request, digest_size=16).hexdigest()
        known = await self._journal.answered(call.scope, fingerprint)
        if known is not None:
            return _RESPONSE.validate_json(known)
        self._budget.check()
        if self._throttle is not None:
            await self._throttle.wait()
        started = time.perf_counter()
        try:
            response = await self._call(call)
        except CallFailed as failure:
            await self._record(call, fingerprint, request, None, failure, time.perf_counter() - started)
            raise
        await self._record(call, fingerprint, request, response, None, time.perf_counter() - started)
        return response

    async def _call(self, call: Call) -> ModelResponse:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await model_request(
                    self._model,
                    call.messages,
                    model_settings=call.settings,
                    model_request_parameters=call.parameters,
                    instrument=False,
                )
        except (TimeoutError, ModelTimeoutError, ModelRequestTimeout):
            raise CallFailed("timeout", f"{self._name} gave no reply within {self._timeout_s:g} s") from None
        except ContentFilterError as error:
            raise CallFailed("refused", str(error)) from error
        except ModelHTTPError as error:
            raise CallFailed(f"http_{error.status_code}", str(error)) from error
        except ModelConnectionError as error:
            raise CallFailed("connection", str(error)) from error
        except ModelAPIError as error:
            raise CallFailed("api", str(error)) from error
        except UnexpectedModelBehavior as error:
            raise CallFailed("unparsed", str(error)) from error
        except UserError as error:
            raise CallFailed("setup", str(error)) from error

    async def _record(
        self,
        call: Call,
        fingerprint: str,
        request: bytes,
        response: ModelResponse | None,
        failure: CallFailed | None,
        latency_s: float,
    ) -> None:
        cost = None if response is None else price_usd(response)
        self._budget.spent_usd += cost or 0.0
        if failure is not None:
            log.warning("call.failed", scope=call.scope, model=self._name, kind=failure.kind, error=str(failure)[:500])
        await self._journal.record(
            CallRecord(
                scope=call.scope,
                fingerprint=fingerprint,
                role=call.role,
                model=self._name,
                prompt=call.prompt,
                request=request,
                reply=None if response is None else _RESPONSE.dump_json(response, exclude_none=True),
                failure=None if failure is None else str(failure),
                input_tokens=0 if response is None else response.usage.input_tokens,
                output_tokens=0 if response is None else response.usage.output_tokens,
                cost_usd=cost,
                latency_s=latency_s,
            )
        )


def price_usd(response: ModelResponse) -> float | None:
    """What a reply cost by `genai-prices`; None where the model's price is not known there."""
    if response.provider_name == "planted":
        return 0.0
    try:
        return float(response.cost().total_price)
    except (LookupError, ValueError, AssertionError):
        return None


def _encode(call: Call) -> bytes:
    """The request as stored and compared: equal bytes for equal requests, in every process."""
    messages = ModelMessagesTypeAdapter.dump_json(call.messages, exclude=_EXCLUDED, exclude_none=True)
    parameters = _PARAMETERS.dump_json(call.parameters, exclude_defaults=True)
    settings = json.dumps(call.settings, sort_keys=True, default=str).encode()
    return b'{"messages":%b,"parameters":%b,"settings":%b}' % (messages, parameters, settings)
