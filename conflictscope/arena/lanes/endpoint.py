"""The end of a lane: one request to the model, within its deadline. Whatever goes wrong becomes a typed failure."""

from __future__ import annotations

import asyncio
import time
from contextvars import ContextVar

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
from conflictscope.errors import CallFailed
from conflictscope.redaction import redact, redact_bytes

_on_its_way: ContextVar[Request] = ContextVar("request_on_its_way")

log = structlog.get_logger()


async def note_headers(response: httpx2.Response) -> None:
    """A response hook for HTTP clients: what the service says of its limits reaches the throttle of the lane that asked."""
    request = _on_its_way.get(None)
    if request is not None:
        request.headers = response.headers


class Endpoint:
    """Asks the model."""

    def __init__(self, model: Model, name: str, price: Price | None, timeout_s: float) -> None:
        self._model = model
        self._name = name
        self._price = price
        self._timeout_s = timeout_s

    async def __call__(self, request: Request) -> Reply:
        """The reply."""
        _on_its_way.set(request)
        started = time.perf_counter()
        try:
            response = await self._ask(request)
            if _broken_off(response):
                raise CallFailed("malformed", "the reply was broken off before its end")
            body = RESPONSE.dump_json(response, exclude_none=True)
        except CallFailed as failure:
            log.warning("call.failed", scope=request.call.scope, model=self._name, error=str(failure)[:500])
            raise
        except Exception as error:  # one strange reply must end one episode, not the sweep
            log.warning("call.failed", scope=request.call.scope, model=self._name, exc_info=True)
            raise CallFailed("unexpected", redact(f"{type(error).__name__}: {error}")) from error
        clean = redact_bytes(body)
        if clean is not body:
            body, response = clean, RESPONSE.validate_json(clean)
        cost_usd = self._price.usd(response.usage) if self._price is not None else None
        return Reply(response, body, cost_usd, time.perf_counter() - started)

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
        except ContentFilterError as error:
            raise _failed("refused", error) from error
        except ModelQuotaExceededError as error:
            raise _failed("quota", error) from error
        except ModelHTTPError as error:
            raise _failed(f"http_{error.status_code}", error) from error
        except ModelConnectionError as error:
            timed_out = isinstance(error, ModelTimeoutError) and not _lost(error)
            raise _failed("timeout" if timed_out else "connection", error) from error
        except (
            ModelAPIError,
            UnexpectedModelBehavior,
        ) as error:  # a body that could not be decoded, or lacks its content
            raise _failed("connection" if _lost(error) else "malformed", error) from error
        except UserError as error:
            raise _failed("setup", error) from error


def _broken_off(response: ModelResponse) -> bool:
    """Whether a reply that Anthropic streamed has ended without saying why it ends, which it always says."""
    said = (response.provider_details or {}).get("finish_reason")
    return response.provider_name == "anthropic" and response.finish_reason is None and said is None


def _failed(kind: str, error: Exception) -> CallFailed:
    return CallFailed(kind, redact(str(error)), retry_after_s=getattr(error, "retry_after", None))


def _lost(error: BaseException | None) -> bool:
    """Whether a connection was lost at the root of an error; the SDKs tell some of these as time-outs."""
    while error is not None:
        if isinstance(error, aiohttp.ServerTimeoutError):
            return False
        if isinstance(error, aiohttp.ClientConnectionError | aiohttp.ClientPayloadError | httpx2.NetworkError):
            return True
        error = error.__cause__
    return False
