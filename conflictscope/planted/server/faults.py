"""What a service does wrong, as the world asks for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from conflictscope.planted.server.exchange import Answer, Ask, Dialect, ServiceError, dump, event
from conflictscope.planted.world import Faults

_HTML = (
    b"<!DOCTYPE html>\n<html>\n<head><title>Just a moment...</title></head>\n"
    b"<body><h1>We are checking your connection</h1></body>\n</html>\n"
)
_ELSEWHERE = {"ok": True, "service": "gateway", "data": []}


def refusal(kind: str, faults: Faults, dialect: Dialect) -> ServiceError | None:
    """The error that a fault is; None for those that are no plain error."""
    match kind:
        case "rate_limit":
            return ServiceError(429, "Rate limit reached. Please slow down.", retry_after_s=faults.retry_after_s)
        case "server_error":
            return ServiceError(500, "The server had an error while processing your request.")
        case "unauthorized":
            return ServiceError(401, "Incorrect API key provided.")
        case "overloaded":
            return ServiceError(dialect.service.overloaded, "Overloaded. Please try again later.")
        case _:
            return None


def malformed(turn: int, dialect: Dialect, ask: Ask, answer: Answer) -> tuple[bytes, str]:
    """A body that is not what was asked for, and its content type; the kinds take turns.

    None is made from the answer itself: nothing that a client might save from it can be the model's word.
    """
    hollow = replace(answer, content=None, cut=False)
    content_type = "text/event-stream" if ask.stream else "application/json"
    kinds: list[Callable[[], tuple[bytes, str]]] = [
        lambda: (_truncated(dialect, ask, hollow), content_type),
        lambda: (_HTML, "text/html; charset=utf-8"),
        lambda: (b"", content_type),
        lambda: (event(_ELSEWHERE) if ask.stream else dump(_ELSEWHERE), content_type),
        lambda: (
            b"".join(dialect.events(ask, hollow)) if ask.stream else dump(dialect.write(ask, hollow)),
            content_type,
        ),
    ]
    return kinds[turn % len(kinds)]()


def _truncated(dialect: Dialect, ask: Ask, hollow: Answer) -> bytes:
    """The beginning of a reply, cut within a word; of a stream, within its first event."""
    whole = dialect.events(ask, hollow)[0] if ask.stream else dump(dialect.write(ask, hollow))
    return whole[: len(whole) // 2]
