"""The manners of the two services: their keys, errors and headers."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import ClassVar

from conflictscope.planted.server.exchange import Json, ServiceError
from conflictscope.planted.server.limits import Standing

Headers = list[tuple[bytes, bytes]]


class Service(ABC):
    """What all protocols of one service have in common. overloaded: the status by which it says that it is."""

    overloaded: ClassVar[int]

    @abstractmethod
    def error_body(self, error: ServiceError, request_id: str) -> Json:
        """The body of an error."""

    @abstractmethod
    def headers(self, request_id: str, took_s: float, standings: Iterable[Standing]) -> Headers:
        """What stands above every reply. standings: of the limits that there are."""

    def retry_after(self, seconds: float) -> Headers:
        """How long to wait before the next attempt, in whole seconds."""
        return [(b"retry-after", b"%d" % math.ceil(seconds))]


class OpenAI(Service):
    """api.openai.com. Source: https://platform.openai.com/docs/guides/rate-limits and .../error-codes."""

    overloaded = 503
    _KINDS: ClassVar = {429: "requests", 500: "server_error", 503: "server_error"}
    _CODES: ClassVar = {401: "invalid_api_key", 429: "rate_limit_exceeded", 500: "server_error"}

    def error_body(self, error: ServiceError, request_id: str) -> Json:
        """{"error": {...}}."""
        kind = error.kind or self._KINDS.get(error.status, "invalid_request_error")
        code = error.code or self._CODES.get(error.status)
        return {"error": {"message": error.message, "type": kind, "param": error.param, "code": code}}

    def headers(self, request_id: str, took_s: float, standings: Iterable[Standing]) -> Headers:
        """x-ratelimit-*, with times as durations ("250ms", "1s", "6m0s")."""
        headers = [
            (b"x-request-id", request_id.encode()),
            (b"openai-processing-ms", b"%d" % (took_s * 1000)),
            (b"openai-version", b"2020-10-01"),
        ]
        for standing in standings:
            what = standing.what.encode()
            headers += [
                (b"x-ratelimit-limit-" + what, b"%d" % standing.limit),
                (b"x-ratelimit-remaining-" + what, b"%d" % standing.remaining),
                (b"x-ratelimit-reset-" + what, duration(standing.reset_s).encode()),
            ]
        return headers

    def retry_after(self, seconds: float) -> Headers:
        """In whole seconds and, as this service adds, in milliseconds."""
        return [*super().retry_after(seconds), (b"retry-after-ms", b"%d" % math.ceil(seconds * 1000))]


class Anthropic(Service):
    """api.anthropic.com. Source: https://docs.claude.com/en/api/rate-limits and .../errors."""

    overloaded = 529
    _KINDS: ClassVar = {
        401: "authentication_error",
        404: "not_found_error",
        413: "request_too_large",
        429: "rate_limit_error",
        500: "api_error",
        529: "overloaded_error",
    }

    def error_body(self, error: ServiceError, request_id: str) -> Json:
        """{"type": "error", "error": {...}, "request_id": ...}."""
        told = {"type": self._KINDS.get(error.status, "invalid_request_error"), "message": error.message}
        return {"type": "error", "error": told, "request_id": request_id}

    def headers(self, request_id: str, took_s: float, standings: Iterable[Standing]) -> Headers:
        """anthropic-ratelimit-*, with times as RFC 3339; tokens are told as a whole, and as input and output alike."""
        headers = [(b"request-id", request_id.encode())]
        for standing in standings:
            reset = rfc3339(datetime.now(UTC) + timedelta(seconds=math.ceil(standing.reset_s))).encode()
            for what in ("tokens", "input-tokens", "output-tokens") if standing.what == "tokens" else ("requests",):
                prefix = b"anthropic-ratelimit-%b-" % what.encode()
                headers += [
                    (prefix + b"limit", b"%d" % standing.limit),
                    (prefix + b"remaining", b"%d" % standing.remaining),
                    (prefix + b"reset", reset),
                ]
        return headers


OPENAI, ANTHROPIC = OpenAI(), Anthropic()


def check_key(headers: Headers) -> None:
    """Any key will do, but one must come. Raises ServiceError without it; the key itself goes nowhere from here."""
    if not any(name in (b"authorization", b"x-api-key") and value.strip() for name, value in headers):
        raise ServiceError(
            401, "You didn't provide an API key: send it as `Authorization: Bearer KEY` or `x-api-key: KEY`."
        )


def duration(seconds: float) -> str:
    """Seconds as OpenAI writes them in headers: "8ms", "1s", "1.5s", "6m0s"."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    minutes, rest = divmod(round(seconds, 3), 60)
    return f"{minutes:.0f}m{rest:g}s" if minutes else f"{rest:g}s"


def rfc3339(moment: datetime) -> str:
    """A moment in UTC as Anthropic writes it: "2026-11-21T06:00:00Z"."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
