"""OpenAI chat completions: POST /v1/chat/completions."""

from __future__ import annotations

import time
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
from conflictscope.planted.server.services import OPENAI

_SYSTEM, _TOOLS = ("system", "developer"), ("tool", "function")


class ChatCompletions(Dialect):
    """Source: https://platform.openai.com/docs/api-reference/chat."""

    path = "/v1/chat/completions"
    service = OPENAI

    def read(self, body: Json) -> Ask:
        """`messages` of all roles; tools as functions."""
        model = string(body, "model")
        system, said = [], []
        for place, message in enumerate(objects(body, "messages")):
            role, text = message.get("role"), text_in(message.get("content"), f"messages[{place}].content")
            if role in _SYSTEM:
                system.append(text)
            elif role in ("user", "assistant", *_TOOLS):
                said.append((role == "assistant", text))
            else:
                raise ServiceError(400, f"Invalid value for 'messages[{place}].role'.", param=f"messages[{place}].role")
        tools = {}
        for place, tool in enumerate(objects(body, "tools", optional=True)):
            function = tool.get("function")
            if not isinstance(function, dict):
                raise ServiceError(400, f"Missing required parameter: 'tools[{place}].function'.", param="tools")
            tools[string(function, "name", f"tools[{place}].function.")] = function.get("parameters")
        must_call, tool_name = read_tool_choice(body.get("tool_choice"), tools)
        options = body.get("stream_options")
        return Ask(
            model,
            "\n\n".join(system),
            alternating(said),
            number(body, "max_completion_tokens", low=1) or number(body, "max_tokens", low=1),
            number(body, "seed") or 0,
            {} if body.get("tool_choice") == "none" else tools,
            must_call,
            tool_name,
            after_tool=body["messages"][-1].get("role") in _TOOLS,
            stream=flag(body, "stream"),
            usage_in_stream=isinstance(options, dict) and flag(options, "include_usage"),
        )

    def write(self, ask: Ask, answer: Answer) -> Json:
        """A chat.completion; without content it has no choices."""
        message: Json = {"role": "assistant", "content": answer.content, "refusal": None, "annotations": []}
        if isinstance(answer.content, ToolCall):
            message |= {"content": None, "tool_calls": [_call(answer.content, answer.content.arguments)]}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish_reason(answer)}
        return {
            **_envelope(ask, "chat.completion"),
            "choices": [] if answer.content is None else [choice],
            "usage": _usage(answer),
        }

    def events(self, ask: Ask, answer: Answer) -> list[bytes]:
        """chat.completion.chunks, then [DONE]."""
        envelope = _envelope(ask, "chat.completion.chunk")
        if ask.usage_in_stream:
            envelope["usage"] = None

        def chunk(delta: Json, finish_reason: str | None = None) -> bytes:
            choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
            return event({**envelope, "choices": [choice]})

        events = []
        if isinstance(answer.content, ToolCall):
            first = {"index": 0, **_call(answer.content, "")}
            events.append(chunk({"role": "assistant", "content": None, "tool_calls": [first]}))
            events += [
                chunk({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}) for piece in answer.pieces()
            ]
        elif answer.content is not None:
            events.append(chunk({"role": "assistant", "content": "", "refusal": None}))
            events += [chunk({"content": piece}) for piece in answer.pieces()]
        if answer.content is not None:
            events.append(chunk({}, _finish_reason(answer)))
        if ask.usage_in_stream:
            events.append(event({**envelope, "choices": [], "usage": _usage(answer)}))
        return [*events, b"data: [DONE]\n\n"]


def read_tool_choice(choice: Any, tools: Json) -> tuple[bool, str | None]:
    """Whether a tool must be called, and which one if it is named; chat completions and responses put it alike."""
    if choice in (None, "auto", "none"):
        return False, None
    if choice == "required":
        name = None
    elif isinstance(choice, dict) and choice.get("type") == "function":
        function = choice.get("function")
        name = string(function if isinstance(function, dict) else choice, "name", "tool_choice.")
    elif isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        allowed = choice.get("allowed_tools")
        return (allowed if isinstance(allowed, dict) else choice).get("mode") == "required" and bool(tools), None
    else:
        raise ServiceError(400, "Invalid value for 'tool_choice'.", param="tool_choice")
    if not tools or (name is not None and name not in tools):
        raise ServiceError(400, "'tool_choice' asks for a tool that is not in 'tools'.", param="tool_choice")
    return True, name


def _envelope(ask: Ask, kind: str) -> Json:
    return {
        "id": f"chatcmpl-{uuid4().hex}",
        "object": kind,
        "created": int(time.time()),
        "model": ask.model,
        "service_tier": "default",
        "system_fingerprint": "fp_planted",
    }


def _call(call: ToolCall, arguments: str) -> Json:
    return {
        "id": f"call_{uuid4().hex[:24]}",
        "type": "function",
        "function": {"name": call.name, "arguments": arguments},
    }


def _finish_reason(answer: Answer) -> str:
    return "length" if answer.cut else "tool_calls" if isinstance(answer.content, ToolCall) else "stop"


def _usage(answer: Answer) -> Json:
    return {
        "prompt_tokens": answer.input_tokens,
        "completion_tokens": answer.output_tokens,
        "total_tokens": answer.input_tokens + answer.output_tokens,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
