"""The end of a lane: one request to the model, within its deadline. Whatever goes wrong becomes a typed failure."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from typing import Generic, TypeVar

import aiohttp
import httpx2
import structlog
from pydantic_ai.direct import model_request
from pydantic_ai.exceptions import (
    ContentFilterError,
    ModelAPIError,
    ModelConnectionError,
    ModelHTTPError,
    ModelQuotaExceededError,
    ModelRateLimitError,
    ModelRequestRejectedError,
    ModelRequestTimeout,
    ModelServerError,
    ModelTimeoutError,
    ModelUnavailableError,
    UnexpectedModelBehavior,
    UserError,
)
from pydantic_ai.messages import ModelResponse
from pydantic_ai.models import Model

from conflictscope.arena.lanes.budget import FREE, Price
from conflictscope.arena.lanes.journal import RESPONSE
from conflictscope.arena.lanes.steps import Reply, Request
from conflictscope.arena.lanes.transport import on_its_way
from conflictscope.errors import CallFailed
from conflictscope.redaction import redact, redact_bytes

# What services say of a request that their filter stopped.
_FILTERED = {"invalid_prompt", "content_policy_violation", "content_filter"}
_EXCERPT = 200  # characters of a body that are told

T = TypeVar("T")

log = structlog.get_logger()


class Asking(ABC, Generic[T]):
    """The last step: asks a model within a deadline and makes a reply of what it says."""

    def __init__(self, name: str, price: Price | None, timeout_s: float) -> None:
        self._name = name
        self._price = price
        self._timeout_s = timeout_s

    @abstractmethod
    async def _ask(self, request: Request) -> T:
        """What the model says. Raises whatever pydantic-ai does."""

    @abstractmethod
    def _reply(self, request: Request, said: T, latency_s: float) -> Reply:
        """What is passed on of it. Raises CallFailed where it cannot be used."""

    async def __call__(self, request: Request) -> Reply:
        """The reply."""
        on_its_way.set(request)
        request.received, request.headers = None, {}
        started = time.perf_counter()
        try:
            try:
                said = await self._ask_in_time(request)
            finally:
                asked_s = time.perf_counter() - started
                request.asked_s += asked_s
            return self._reply(request, said, asked_s)
        except CallFailed as failure:
            log.warning("call.failed", scope=request.call.scope, model=self._name, error=str(failure)[:500])
            raise
        except Exception as error:  # one strange reply must end one episode, not the sweep
            log.warning("call.failed", scope=request.call.scope, model=self._name, exc_info=True)
            raise failure_of(error) from error

    async def _ask_in_time(self, request: Request) -> T:
        try:
            async with asyncio.timeout(self._timeout_s) as clock:
                return await self._ask(request)
        except CallFailed:
            raise
        except Exception as error:
            if isinstance(error, TimeoutError) and clock.expired():
                raise CallFailed("timeout", f"{self._name} gave no reply within {self._timeout_s:g} s") from None
            failure = failure_of(error, reading=request.received is not None)
            if failure.kind == "malformed" and request.received:
                failure = CallFailed(failure.kind, f"{failure.told}; the body is {_excerpt(request.received)}")
            raise failure from error


class Endpoint(Asking[ModelResponse]):
    """Asks a model for its next message."""

    def __init__(self, model: Model, name: str, price: Price | None, timeout_s: float) -> None:
        super().__init__(name, price, timeout_s)
        self._model = model

    async def _ask(self, request: Request) -> ModelResponse:
        call = request.call
        return await model_request(
            self._model,
            call.messages,
            model_settings=call.settings,
            model_request_parameters=call.parameters,
            instrument=False,
        )

    def _reply(self, request: Request, said: ModelResponse, latency_s: float) -> Reply:
        return reply_of(said, self._price, latency_s)


def reply_of(response: ModelResponse, price: Price | None, latency_s: float) -> Reply:
    """The reply as it is passed on and journaled: with its price, and without any secret. Raises CallFailed where it is none."""
    if "error" in (response.finish_reason, (response.provider_details or {}).get("finish_reason")):
        raise CallFailed("api", "the service says that the reply failed")
    if _broken_off(response):
        raise CallFailed("malformed", "the reply was broken off before its end")
    body = RESPONSE.dump_json(response, exclude_none=True)
    clean = redact_bytes(body)
    if clean is not body:
        body, response = clean, RESPONSE.validate_json(clean)
    return Reply(response, body, cost_usd(response, price), latency_s)


def cost_usd(response: ModelResponse, price: Price | None) -> float | None:
    """What a reply cost; None where the price is not known, or the service does not say, or not soundly, how much it took."""
    usage = response.usage
    if price is FREE:
        return 0.0
    if price is None or not usage.input_tokens + usage.output_tokens:
        return None
    try:
        return price.usd(usage)
    except (LookupError, ValueError) as error:
        log.warning("call.unpriced", model=response.model_name, error=str(error)[:200])
        return None


def failure_of(error: Exception, *, reading: bool = False) -> CallFailed:
    """What an error of pydantic-ai, or of the way there, means for the call.

    reading: whether it came while they read what the service sent, so that it is the fault of that.
    """
    told = redact(str(error))
    match error:
        case ContentFilterError():
            kind = "refused"
        case ModelAPIError() if {error.provider_error_code, error.provider_error_type} & _FILTERED:
            kind = "refused"
        case ModelQuotaExceededError():
            kind = "quota"
        case ModelHTTPError():
            kind = f"http_{error.status_code}"
        case ModelConnectionError():
            lost = _lost(error)
            kind = "timeout" if isinstance(error, ModelTimeoutError) and lost is None else "connection"
            told = redact(str(lost)) or told  # the SDKs tell a refused connection as "Request timed out."
            return CallFailed(kind, told, sent=not isinstance(lost, aiohttp.ClientConnectorError))
        case ModelRequestTimeout() | TimeoutError():
            kind = "timeout"
        case ModelRateLimitError():  # from here on: told inside of a reply that began well
            kind = "http_429"
        case ModelUnavailableError():
            kind = "http_503"
        case ModelRequestRejectedError():
            kind = "http_400"
        case ModelServerError():
            kind = "api"
        case ModelAPIError() | UnexpectedModelBehavior():  # a body that could not be decoded, or lacks its content
            kind = "connection" if _lost(error) is not None else "malformed"
            told = told.partition("\n")[0].removesuffix(":")  # pydantic goes on for a page
        case UserError():
            kind = "setup"
        case _ if reading:
            kind, told = "malformed", f"the reply is not what was asked for ({type(error).__name__})"
        case _:
            kind, told = "unexpected", f"{type(error).__name__}: {told}"
    return CallFailed(kind, told, retry_after_s=getattr(error, "retry_after", None))


def _excerpt(body: bytes) -> str:
    text = redact(body.decode(errors="replace")).strip()
    return repr(text) if len(text) <= _EXCERPT else f"{text[:_EXCERPT]!r} ..."


def _broken_off(response: ModelResponse) -> bool:
    """Whether a reply has ended without saying why it ends: one that Anthropic streamed, or one with nothing in it."""
    said = (response.provider_details or {}).get("finish_reason")
    services = ("anthropic",) if response.parts else ("anthropic", "openai")
    return response.provider_name in services and response.finish_reason is None and said is None


def _lost(error: BaseException | None) -> BaseException | None:
    """The loss of a connection, or its refusal, at the root of an error; the SDKs tell some of these as time-outs."""
    lost: BaseException | None = None
    while error is not None:
        if isinstance(error, aiohttp.ServerTimeoutError):
            return None
        if isinstance(error, aiohttp.ClientConnectionError | aiohttp.ClientPayloadError | httpx2.NetworkError):
            lost = error
        error = error.__cause__
    return lost
