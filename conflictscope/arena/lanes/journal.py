"""The two ends of the call journal in a lane: the replay of what was answered, the record of what is asked."""

from __future__ import annotations

import hashlib
import time
from typing import Any

from pydantic import TypeAdapter
from pydantic_ai.messages import ModelMessage, ModelMessagesTypeAdapter, ModelResponse
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.settings import ModelSettings
from pydantic_core import from_json, to_json

from conflictscope.arena.lanes.steps import Reply, Request, Step
from conflictscope.errors import CallFailed
from conflictscope.ports import Call, CallEnd, CallSent, CallState, Journal
from conflictscope.redaction import redact_bytes

RESPONSE = TypeAdapter(ModelResponse)
_PARAMETERS = TypeAdapter(ModelRequestParameters)
# When and by which run a message was made says nothing about what is asked; without it, equal requests are equal bytes.
_VOLATILE = {"timestamp", "run_id", "conversation_id", "metadata", "usage", "provider_details", "provider_response_id"}
_EXCLUDED: Any = {"__all__": {**dict.fromkeys(_VOLATILE, True), "parts": {"__all__": {"timestamp"}}}}
# Settings that may carry a key, and are never written down.
_SECRET_SETTINGS = {"extra_headers", "extra_body"}
# After these the service may have worked, and may bill it, though nothing usable came back.
_MAYBE_BILLED = {"timeout", "connection", "malformed", "api", "unexpected", "batch"}


class Replay:
    """The outermost step: the reply of a former process where there is one, else what the next step says."""

    def __init__(self, following: Step, journal: Journal, name: str) -> None:
        self._next = following
        self._journal = journal
        self._name = name

    async def __call__(self, call: Call) -> ModelResponse:
        """The reply."""
        request = requested(call, self._name)
        known = self._journal.answered(call.scope, request.fingerprint)
        if known is not None:
            return RESPONSE.validate_json(known)
        return (await self._next(request)).response


class Record:
    """Writes a request down before it is sent, and what became of it after: committed, failed or abandoned."""

    def __init__(self, following: Step, journal: Journal, name: str) -> None:
        self._next = following
        self._journal = journal
        self._name = name

    async def __call__(self, request: Request) -> Reply:
        """The reply."""
        call = request.call
        seq = await self._journal.sent(
            CallSent(
                scope=call.scope,
                fingerprint=request.fingerprint,
                role=call.role,
                target=call.target,
                model=self._name,
                prompt=call.prompt,
                request=request.body,
                reserved_usd=request.reserved_usd,
            )
        )
        started = time.perf_counter()
        request.number, request.spent_usd = seq, request.reserved_usd
        try:
            reply = await self._next(request)
        except CallFailed as failure:
            end = failed(failure, request.spent_usd, time.perf_counter() - started)
            request.spent_usd = end.at_risk_usd
            self._journal.ended(seq, end)
            raise
        except BaseException:
            if not request.in_batch:  # what is in a batch is left there, to be collected by a resumed run
                self._journal.ended(seq, CallEnd(CallState.ABANDONED, at_risk_usd=request.spent_usd))
            raise
        end = committed(reply, request.spent_usd)
        request.spent_usd = (end.cost_usd or 0.0) + end.at_risk_usd
        self._journal.ended(seq, end)
        return reply


def requested(call: Call, name: str) -> Request:
    """A call as it goes on its way to the model of this name."""
    body = redact_bytes(encode(call))
    return Request(call, body, hashlib.blake2b(name.encode() + b"\0" + body, digest_size=16).hexdigest())


def committed(reply: Reply, reserved_usd: float) -> CallEnd:
    """How a call ended that was answered. reserved_usd: what it may have cost where that is not known."""
    usage = reply.response.usage
    return CallEnd(
        CallState.COMMITTED,
        reply=reply.body,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cost_usd=reply.cost_usd,
        at_risk_usd=reserved_usd if reply.cost_usd is None else 0.0,
        latency_s=reply.latency_s,
    )


def failed(failure: CallFailed, at_risk_usd: float, latency_s: float) -> CallEnd:
    """How a call ended that was not. at_risk_usd: what it cost if the service bills it."""
    at_risk_usd = at_risk_usd if failure.kind in _MAYBE_BILLED and failure.sent else 0.0
    return CallEnd(CallState.FAILED, failure=str(failure), at_risk_usd=at_risk_usd, latency_s=latency_s)


def decode(body: bytes) -> tuple[list[ModelMessage], ModelSettings, ModelRequestParameters]:
    """What `encode` put into a stored request."""
    parts = from_json(body)
    messages = ModelMessagesTypeAdapter.validate_python(parts["messages"])
    return messages, parts["settings"], _PARAMETERS.validate_python(parts["parameters"])


def encode(call: Call) -> bytes:
    """The request as stored and compared: equal bytes for equal requests, in every process."""
    messages = ModelMessagesTypeAdapter.dump_json(call.messages, exclude=_EXCLUDED, exclude_none=True)
    parameters = _PARAMETERS.dump_json(call.parameters, exclude_defaults=True)
    plain = {key: value for key, value in call.settings.items() if key not in _SECRET_SETTINGS}
    settings = to_json(dict(sorted(plain.items())), fallback=lambda value: type(value).__name__)
    return b'{"messages":%b,"parameters":%b,"settings":%b}' % (messages, parameters, settings)
