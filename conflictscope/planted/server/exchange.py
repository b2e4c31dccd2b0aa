"""What is asked of a planted model and what it answers, whatever the protocol, and how odd JSON is refused.

A body comes from anywhere, so nothing about its shape is taken for granted: every reader here either returns what its
name says or raises ServiceError, which becomes a 400 in the service's own shape.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from conflictscope.planted.server.services import Service

Json = dict[str, Any]
_encode = json.JSONEncoder(separators=(",", ":")).encode
_PIECE = 24  # characters of a streamed delta


class ServiceError(Exception):
    """A request that is answered with an error. kind: the OpenAI type of the error, where its status does not say it."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        kind: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.kind = kind
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class Ask:
    """A request to a model, as every protocol can put it.

    instructions, texts: see PlantedModel.reply. tools: the parameters' JSON schema of each tool on offer. must_call: a tool
    has to be called; tool: the one that has to be, where it is named; after_tool: what came last is what a tool returned.
    usage_in_stream: whether a stream tells the usage.
    """

    model: str
    instructions: str
    texts: list[str]
    max_tokens: int | None = None
    seed: int = 0
    tools: Mapping[str, Any] = field(default_factory=dict)
    must_call: bool = False
    tool: str | None = None
    after_tool: bool = False
    stream: bool = False
    usage_in_stream: bool = True


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool that the model calls. arguments: JSON of an object, or the beginning of it where the reply was cut."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model answers: text, or a call of a tool, or (from a service that has lost its mind) neither."""

    content: str | ToolCall | None
    cut: bool
    input_tokens: int
    output_tokens: int

    def pieces(self) -> Iterator[str]:
        """The text, or the arguments, in the pieces in which it is streamed."""
        whole = self.content.arguments if isinstance(self.content, ToolCall) else self.content or ""
        return (whole[start : start + _PIECE] for start in range(0, len(whole), _PIECE))


class Dialect(ABC):
    """One of the protocols: how it puts requests and replies."""

    path: ClassVar[str]
    service: ClassVar[Service]

    @abstractmethod
    def read(self, body: Json) -> Ask:
        """The request in a body. Raises ServiceError."""

    @abstractmethod
    def write(self, ask: Ask, answer: Answer) -> Json:
        """The body of a reply."""

    @abstractmethod
    def events(self, ask: Ask, answer: Answer) -> list[bytes]:
        """The server-sent events of a streamed reply."""


def chosen_tool(ask: Ask, text: str) -> ToolCall | None:
    """The call that a reply is: where the request forces one, or offers one tool, not called just now, to a reply in JSON."""
    if not ask.tools:
        return None
    given = _json_object(text)
    if not ask.must_call and (given is None or len(ask.tools) > 1 or ask.after_tool):
        return None
    name = ask.tool or next(
        (name for name, schema in ask.tools.items() if _fits(given or {}, schema)), next(iter(ask.tools))
    )
    if text.startswith("{"):  # whole, or cut by the token limit
        return ToolCall(name, text)
    properties = ask.tools[name].get("properties") if isinstance(ask.tools[name], dict) else None
    first = next(iter(properties), "answer") if isinstance(properties, dict) else "answer"
    return ToolCall(name, json.dumps({first: text}))


def _fits(given: Json, schema: Any) -> bool:
    required = schema.get("required") if isinstance(schema, dict) else None
    return isinstance(required, list) and all(isinstance(key, str) and key in given for key in required)


def _json_object(text: str) -> Json | None:
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


# -- reading what comes ------------------------------------------------------------------------------------------------


def parse_object(body: bytes) -> Json:
    """The JSON object that a body is."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):  # not JSON, not UTF-8, a number of 5,000 digits; nested a thousand deep
        raise ServiceError(400, "We could not parse the JSON body of your request.") from None
    if not isinstance(found, dict):
        raise ServiceError(400, f"The body must be a JSON object, got {_kind(found)}.")
    return found


def string(body: Json, key: str, where: str = "") -> str:
    """A string that must be there."""
    found = body.get(key)
    if not isinstance(found, str):
        raise ServiceError(400, _told(where + key, "a string", found), param=where + key)
    return found


def objects(body: Json, key: str, where: str = "", *, optional: bool = False) -> list[Json]:
    """A list of objects, not empty unless it is optional."""
    found = body.get(key)
    if found is None and optional:
        return []
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found) or not (found or optional):
        raise ServiceError(400, _told(where + key, "a list of objects", found), param=where + key)
    return found


def number(body: Json, key: str, *, low: int | None = None) -> int | None:
    """A whole number (>= low), or None where none is given."""
    found = body.get(key)
    if found is None:
        return None
    if not isinstance(found, int) or isinstance(found, bool) or (low is not None and found < low):
        raise ServiceError(400, _told(key, "an integer" + ("" if low is None else f" >= {low}"), found), param=key)
    return found


def flag(body: Json, key: str) -> bool:
    """A boolean, false where none is given."""
    found = body.get(key)
    if found is not None and not isinstance(found, bool):
        raise ServiceError(400, _told(key, "a boolean", found), param=key)
    return bool(found)


def text_in(content: Any, where: str) -> str:
    """The text of a content: a string, or blocks of which those with text count; images and thoughts are not read."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise ServiceError(400, _told(where, "a string or a list of blocks", content), param=where)
    texts = []
    for place, block in enumerate(content):
        if not isinstance(block, dict):
            raise ServiceError(400, _told(f"{where}[{place}]", "an object", block), param=f"{where}[{place}]")
        if "text" in block:
            texts.append(string(block, "text", f"{where}[{place}]."))
    return "\n".join(texts)


def _told(key: str, expected: str, found: Any) -> str:
    return (
        f"Missing required parameter: '{key}'." if found is None else f"'{key}' must be {expected}, got {_kind(found)}."
    )


def _kind(found: Any) -> str:
    match found:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case str():
            return "a string"
        case list():
            return "a list"
        case dict():
            return "an object"
        case _:
            return "a number"


# -- writing what goes -------------------------------------------------------------------------------------------------


def dump(data: Any) -> bytes:
    """Compact JSON, ASCII only: text without a place in UTF-8 (half a surrogate pair) cannot hurt."""
    return _encode(data).encode()


def event(data: Json, name: str | None = None) -> bytes:
    """One server-sent event."""
    return b"data: %b\n\n" % dump(data) if name is None else b"event: %b\ndata: %b\n\n" % (name.encode(), dump(data))
