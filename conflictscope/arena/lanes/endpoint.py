"""The end of a lane: one request to the model, within its deadline. Whatever goes wrong becomes a typed failure."""

from __future__ import annotations

import asyncio
import time

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
    ModelRequestTimeout,
    ModelTimeoutError,
    UnexpectedModelBehavior,
    UserError,
)
from pydantic_ai.messages import ModelResponse
from pydantic_ai.models import Model

from conflictscope.arena.lanes.budget import Price
from conflictscope.arena.lanes.journal import RESPONSE
from conflictscope.arena.lanes.steps import Reply, Request
from conflictscope.arena.lanes.transport import on_its_way
from conflictscope.errors import CallFailed
from conflictscope.redaction import redact, redact_bytes

log = structlog.get_logger()


class Endpoint:
    """Asks the model."""

    def __init__(self, model: Model, name: str, price: Price | None, timeout_s: float) -> None:
        self._model = model
        self._name = name
        self._price = price
        self._timeout_s = timeout_s

    async def __call__(self, request: Request) -> Reply:
        """The reply."""
        on_its_way.set(request)
        started = time.perf_counter()
        try:
            response = await self._ask(request)
            return reply_of(response, self._price, time.perf_counter() - started)
        except CallFailed as failure:
            log.warning("call.failed", scope=request.call.scope, model=self._name, error=str(failure)[:500])
            raise
        except Exception as error:  # one strange reply must end one episode, not the sweep
            log.warning("call.failed", scope=request.call.scope, model=self._name, exc_info=True)
            raise failure_of(error) from error

    async def _ask(self, request: Request) -> ModelResponse:
        call = request.call
        try:
            async with asyncio.timeout(self._timeout_s):
                return await model_request(
                    self._model,
                    call.messages,
                    model_settings=call.settings,
                    model_request_parameters=call.parameters,
                    instrument=False,
                )
        except (TimeoutError, ModelRequestTimeout):
            raise CallFailed("timeout", f"{self._name} gave no reply within {self._timeout_s:g} s") from None
        except (ModelAPIError, ContentFilterError, UnexpectedModelBehavior, UserError) as error:
            raise failure_of(error) from error


def reply_of(response: ModelResponse, price: Price | None, latency_s: float) -> Reply:
    """The reply as it is passed on and journaled: with its price, and without any secret."""
    body = RESPONSE.dump_json(response, exclude_none=True)
    clean = redact_bytes(body)
    if clean is not body:
        body, response = clean, RESPONSE.validate_json(clean)
    return Reply(response, body, price.usd(response.usage) if price is not None else None, latency_s)


def failure_of(error: Exception) -> CallFailed:
    """What an error of pydantic-ai, or of the way there, means for the call."""
    told = redact(str(error))
    match error:
        case ContentFilterError():
            kind = "refused"
        case ModelQuotaExceededError():
            kind = "quota"
        case ModelHTTPError():
            kind = f"http_{error.status_code}"
        case ModelConnectionError():
            timed_out = isinstance(error, ModelTimeoutError) and not _lost(error)
            kind = "timeout" if timed_out else "connection"
        case ModelAPIError() | UnexpectedModelBehavior():  # a body that could not be decoded, or lacks its content
            kind = "connection" if _lost(error) else "malformed"
        case UserError():
            kind = "setup"
        case _:
            kind, told = "unexpected", f"{type(error).__name__}: {told}"
    return CallFailed(kind, told, retry_after_s=getattr(error, "retry_after", None))


def _lost(error: BaseException | None) -> bool:
    """Whether a connection was lost at the root of an error; the SDKs tell some of these as time-outs."""
    while error is not None:
        if isinstance(error, aiohttp.ServerTimeoutError):
            return False
        if isinstance(error, aiohttp.ClientConnectionError | aiohttp.ClientPayloadError | httpx2.NetworkError):
            return True
        error = error.__cause__
    return False
