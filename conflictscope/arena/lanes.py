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

from conflictscope.errors import AccessDenied, CallFailed, LimitReached
from conflictscope.ports import Call, CallRecord, Journal, OutputMode

_RESPONSE = TypeAdapter(ModelResponse)
_PARAMETERS = TypeAdapter(ModelRequestParameters)
# When and by which run a message was made says nothing about what is asked; without it, equal requests are equal bytes.
_VOLATILE = {"timestamp", "run_id", "conversation_id", "metadata", "usage", "provider_details", "provider_response_id"}
_EXCLUDED: Any = {"__all__": {**dict.fromkeys(_VOLATILE, True), "parts": {"__all__": {"timestamp"}}}}

# Answers that every further call would get too: the key is not accepted, or there is no such model.
_DENIED = {"http_401", "http_403", "http_404"}
# Settings that may carry a key, and are never written down.
_SECRET_SETTINGS = {"extra_headers", "extra_body"}

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
            raise LimitReached(f"${self.spent_usd:.4f} spent, the limit is ${self.limit_usd:.4f} (limits.cost_usd)")

    def add(self, cost_usd: float | None, model: str) -> None:
        """Count a reply. Raises LimitReached where there is a limit and the price is not known: it could not be kept."""
        if cost_usd is not None:
            self.spent_usd += cost_usd
        elif self.limit_usd is not None:
            raise LimitReached(
                f"the price of {model} is not known, so limits.cost_usd cannot be kept: remove that limit"
            )


class ModelLane:
    """A Lane to one model. output_mode: None for the best that the model's profile promises."""

    def __init__(
        self,
        model: Model,
        journal: Journal,
        budget: Budget,
        *,
        timeout_s: float,
        throttle: Throttle | None = None,
        output_mode: OutputMode | None = None,
    ) -> None:
        self._model = model
        self._journal = journal
        self._budget = budget
        self._timeout_s = timeout_s
        self._throttle = throttle
        self._output_mode = output_mode or promised_output_mode(model)
        self._name = f"{model.system}:{model.model_name}"

    @property
    def model(self) -> Model:
        """The model at the end of the lane."""
        return self._model

    @property
    def output_mode(self) -> OutputMode:
        """How this model is asked for typed output."""
        return self._output_mode

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
            self._budget.check()
        started = time.perf_counter()
        try:
            response, reply = await self._call(call)
        except CallFailed as failure:
            log.warning("call.failed", scope=call.scope, model=self._name, kind=failure.kind, error=str(failure)[:500])
            await self._record(call, fingerprint, request, started, failure=str(failure))
            if failure.kind in _DENIED:
                raise AccessDenied(f"{self._name} refuses every call: {failure}") from failure
            raise
        cost = price_usd(response)
        usage = response.usage
        await self._record(call, fingerprint, request, started, reply, usage.input_tokens, usage.output_tokens, cost)
        self._budget.add(cost, self._name)
        return response

    async def _call(self, call: Call) -> tuple[ModelResponse, bytes]:
        """The reply, and the reply as bytes for the journal."""
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await model_request(
                    self._model,
                    call.messages,
                    model_settings=call.settings,
                    model_request_parameters=call.parameters,
                    instrument=False,
                )
            return response, _RESPONSE.dump_json(response, exclude_none=True)
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
        except Exception as error:  # one strange reply must end one episode, not the sweep
            raise CallFailed("unexpected", f"{type(error).__name__}: {error}") from error

    async def _record(
        self,
        call: Call,
        fingerprint: str,
        request: bytes,
        started: float,
        reply: bytes | None = None,
        input_tokens: int = 0,
        output_tokens: int = 0,
        cost_usd: float | None = None,
        failure: str | None = None,
    ) -> None:
        await self._journal.record(
            CallRecord(
                scope=call.scope,
                fingerprint=fingerprint,
                role=call.role,
                model=self._name,
                prompt=call.prompt,
                request=request,
                reply=reply,
                failure=failure,
                input_tokens=input_tokens,
                output_tokens=output_tokens,
                cost_usd=cost_usd,
                latency_s=time.perf_counter() - started,
            )
        )


def promised_output_mode(model: Model) -> OutputMode:
    """The best way to ask for typed output that the model's profile says it has."""
    if model.profile.get("supports_json_schema_output", False):
        return "native"
    return "tool" if model.profile.get("supports_tools", True) else "prompted"


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
    plain = {key: value for key, value in call.settings.items() if key not in _SECRET_SETTINGS}
    settings = json.dumps(plain, sort_keys=True, default=lambda value: type(value).__name__).encode()
    return b'{"messages":%b,"parameters":%b,"settings":%b}' % (messages, parameters, settings)
