"""Anthropic messages: POST /v1/messages."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

from conflictscope.planted.models import alternating
from conflictscope.planted.server.exchange import (
    Answer,
    Ask,
    Dialect,
    Json,
    ServiceError,
    ToolCall,
    event,
    flag,
    number,
    objects,
    string,
    text_in,
)
from conflictscope.planted.server.services import ANTHROPIC


class Messages(Dialect):
    """Source: https://docs.claude.com/en/api/messages."""

    path = "/v1/messages"
    service = ANTHROPIC

    def read(self, body: Json) -> Ask:
        """`system` as text or blocks; tool results are blocks of a user's message."""
        model = string(body, "model")
        max_tokens = number(body, "max_tokens", low=1)
        if max_tokens is None:
            raise ServiceError(400, "max_tokens: Field required", param="max_tokens")
        system = [_system(body["system"])] if body.get("system") is not None else []
        said = []
        for place, message in enumerate(objects(body, "messages")):
            role, where = message.get("role"), f"messages.{place}"
            if role not in ("user", "assistant", "system"):
                raise ServiceError(400, f"{where}.role: Input should be 'user' or 'assistant'")
            text = _read_content(message.get("content"), f"{where}.content")
            if role == "system":
                system.append(text)
            else:
                said.append((role == "assistant", text))
        tools = {
            string(tool, "name", f"tools.{place}."): tool["input_schema"]
            for place, tool in enumerate(objects(body, "tools", optional=True))
            if "input_schema" in tool
        }
        choice, must_call, tool_name = body.get("tool_choice"), False, None
        if choice is not None:
            kind = choice.get("type") if isinstance(choice, dict) else None
            if kind not in ("auto", "any", "tool", "none"):
                raise ServiceError(400, "tool_choice.type: Input should be 'auto', 'any', 'tool' or 'none'")
            tool_name = string(choice, "name", "tool_choice.") if kind == "tool" else None
            must_call = kind in ("any", "tool")
            if must_call and (not tools or (tool_name is not None and tool_name not in tools)):
                raise ServiceError(400, "tool_choice: asks for a tool that is not in tools")
            tools = {} if kind == "none" else tools
        return Ask(
            model,
            "\n\n".join(system),
            alternating(said),
            max_tokens,
            tools=tools,
            must_call=must_call,
            tool=tool_name,
            after_tool=_has_tool_result(body["messages"][-1]),
            stream=flag(body, "stream"),
        )

    def write(self, ask: Ask, answer: Answer) -> Json:
        """A message; without content it has no blocks."""
        message = _message(ask, answer.input_tokens, answer.output_tokens)
        content = [] if answer.content is None else [_block(answer.content)]
        return {**message, "content": content, "stop_reason": _stop_reason(answer)}

    def events(self, ask: Ask, answer: Answer) -> list[bytes]:
        """message_start, one content block, message_delta, message_stop."""
        told: list[Json] = [{"type": "message_start", "message": _message(ask, answer.input_tokens, 1)}]
        if answer.content is not None:
            is_call = isinstance(answer.content, ToolCall)
            empty: Json = {"input": {}} if is_call else {"text": ""}
            told.append({"type": "content_block_start", "index": 0, "content_block": _block(answer.content) | empty})
            told.append({"type": "ping"})
            kind, key = ("input_json_delta", "partial_json") if is_call else ("text_delta", "text")
            told += [
                {"type": "content_block_delta", "index": 0, "delta": {"type": kind, key: piece}}
                for piece in answer.pieces()
            ]
            told.append({"type": "content_block_stop", "index": 0})
        end = {"stop_reason": _stop_reason(answer), "stop_sequence": None}
        told.append({"type": "message_delta", "delta": end, "usage": {"output_tokens": answer.output_tokens}})
        told.append({"type": "message_stop"})
        return [event(data, data["type"]) for data in told]


def _system(system: Any) -> str:
    """Blocks of a system prompt stand apart, as several system messages of the other service do."""
    if isinstance(system, list):
        return "\n\n".join(text_in([block], f"system.{place}") for place, block in enumerate(system))
    return text_in(system, "system")


def _read_content(content: Any, where: str) -> str:
    """The text of a message; what a tool returned is a block with content of its own."""
    if not isinstance(content, list):
        return text_in(content, where)
    texts = []
    for place, block in enumerate(content):
        if isinstance(block, dict) and block.get("type") == "tool_result":
            texts.append(text_in(block.get("content"), f"{where}.{place}.content"))
        else:
            texts.append(text_in([block], f"{where}.{place}"))
    return "\n".join(filter(None, texts))


def _has_tool_result(message: Json) -> bool:
    content = message.get("content")
    return isinstance(content, list) and any(block.get("type") == "tool_result" for block in content)


def _message(ask: Ask, input_tokens: int, output_tokens: int) -> Json:
    return {
        "id": f"msg_{uuid4().hex[:24]}",
        "type": "message",
        "role": "assistant",
        "model": ask.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {
            "input_tokens": input_tokens,
            "output_tokens": output_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "service_tier": "standard",
        },
    }


def _block(content: str | ToolCall) -> Json:
    if isinstance(content, str):
        return {"type": "text", "text": content}
    try:
        given = json.loads(content.arguments)
    except ValueError:  # the reply was cut in the middle of them
        given = {}
    return {"type": "tool_use", "id": f"toolu_{uuid4().hex[:24]}", "name": content.name, "input": given}


def _stop_reason(answer: Answer) -> str:
    return "max_tokens" if answer.cut else "tool_use" if isinstance(answer.content, ToolCall) else "end_turn"
