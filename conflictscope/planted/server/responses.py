"""OpenAI responses: POST /v1/responses."""

from __future__ import annotations

import time
from typing import Any
from uuid import uuid4

from conflictscope.planted.models import alternating
from conflictscope.planted.server.chat_completions import read_tool_choice
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


class Responses(Dialect):
    """Source: https://platform.openai.com/docs/api-reference/responses."""

    path = "/v1/responses"
    service = OPENAI

    def read(self, body: Json) -> Ask:
        """`instructions` and `input`, a string or items; nothing is remembered between requests."""
        model = string(body, "model")
        if body.get("previous_response_id") is not None:
            raise ServiceError(
                400, "No response is stored here: send the whole conversation.", param="previous_response_id"
            )
        system = [string(body, "instructions")] if body.get("instructions") is not None else []
        said: list[tuple[bool, str]] = []
        after_tool = False
        if isinstance(body.get("input"), str):
            said.append((False, body["input"]))
        else:
            for place, item in enumerate(objects(body, "input")):
                _read_item(item, f"input[{place}]", system, said)
            after_tool = str(body["input"][-1].get("type")).endswith("_output")
        tools = {
            string(tool, "name", f"tools[{place}]."): tool.get("parameters")
            for place, tool in enumerate(objects(body, "tools", optional=True))
            if tool.get("type") == "function"
        }
        must_call, tool_name = read_tool_choice(body.get("tool_choice"), tools)
        return Ask(
            model,
            "\n\n".join(system),
            alternating(said),
            number(body, "max_output_tokens", low=1),
            tools={} if body.get("tool_choice") == "none" else tools,
            must_call=must_call,
            tool=tool_name,
            after_tool=after_tool,
            stream=flag(body, "stream"),
        )

    def write(self, ask: Ask, answer: Answer) -> Json:
        """A response; without content it has no output."""
        output = [] if answer.content is None else [_item(answer, f"{uuid4().hex}")]
        return _response(ask, answer, f"resp_{uuid4().hex}", output)

    def events(self, ask: Ask, answer: Answer) -> list[bytes]:
        """response.created ... response.completed (or .incomplete), numbered."""
        response_id, key = f"resp_{uuid4().hex}", uuid4().hex
        begun = {**_response(ask, answer, response_id, []), "status": "in_progress", "usage": None}
        begun["incomplete_details"] = None
        told: list[Json] = [{"type": f"response.{stage}", "response": begun} for stage in ("created", "in_progress")]
        output = []
        if answer.content is not None:
            output.append(_item(answer, key))
            told += _item_events(answer, output[0])
        stage = "incomplete" if answer.cut else "completed"
        told.append({"type": f"response.{stage}", "response": _response(ask, answer, response_id, output)})
        return [event({**data, "sequence_number": place}, data["type"]) for place, data in enumerate(told)]


def _read_item(item: Json, where: str, system: list[str], said: list[tuple[bool, str]]) -> None:
    kind, role = item.get("type", "message"), item.get("role")
    if kind == "message" and role in ("system", "developer"):
        system.append(text_in(item.get("content"), f"{where}.content"))
    elif kind == "message" and role in ("user", "assistant"):
        said.append((role == "assistant", text_in(item.get("content"), f"{where}.content")))
    elif kind == "message" or not isinstance(kind, str):
        raise ServiceError(400, f"Invalid value for '{where}'.", param=where)
    elif kind.endswith("_output"):
        said.append((False, text_in(item.get("output"), f"{where}.output")))
    elif kind.endswith("_call"):
        said.append((True, ""))
    # What is left (reasoning, references to stored items) holds no words of the conversation.


def _item(answer: Answer, key: str) -> Json:
    status = "incomplete" if answer.cut else "completed"
    if isinstance(answer.content, ToolCall):
        call = answer.content
        names = {"call_id": f"call_{key[:24]}", "name": call.name, "arguments": call.arguments}
        return {"id": f"fc_{key}", "type": "function_call", "status": status, **names}
    part = _part(answer.content or "")
    return {"id": f"msg_{key}", "type": "message", "status": status, "role": "assistant", "content": [part]}


def _item_events(answer: Answer, item: Json) -> list[Json]:
    at = {"item_id": item["id"], "output_index": 0}
    begun = {**item, "status": "in_progress"}
    if isinstance(answer.content, ToolCall):
        kind, begun["arguments"] = "response.function_call_arguments", ""
        whole: Json = {"arguments": answer.content.arguments, "name": answer.content.name}
        inner = [{"type": f"{kind}.delta", **at, "delta": piece} for piece in answer.pieces()]
        inner.append({"type": f"{kind}.done", **at, **whole})
    else:
        kind, begun["content"] = "response.output_text", []
        at |= {"content_index": 0}
        inner = [{"type": "response.content_part.added", **at, "part": _part("")}]
        inner += [{"type": f"{kind}.delta", **at, "delta": piece, "logprobs": []} for piece in answer.pieces()]
        inner.append({"type": f"{kind}.done", **at, "text": answer.content, "logprobs": []})
        inner.append({"type": "response.content_part.done", **at, "part": item["content"][0]})
    return [
        {"type": "response.output_item.added", "output_index": 0, "item": begun},
        *inner,
        {"type": "response.output_item.done", "output_index": 0, "item": item},
    ]


def _part(text: str) -> Json:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _response(ask: Ask, answer: Answer, response_id: str, output: list[Any]) -> Json:
    return {
        "id": response_id,
        "object": "response",
        "created_at": int(time.time()),
        "model": ask.model,
        "status": "incomplete" if answer.cut else "completed",
        "incomplete_details": {"reason": "max_output_tokens"} if answer.cut else None,
        "error": None,
        "instructions": None,
        "metadata": {},
        "output": output,
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": {
            "input_tokens": answer.input_tokens,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": answer.output_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": answer.input_tokens + answer.output_tokens,
        },
    }
