"""A server on loopback that answers as the services do, in their own protocols, by a script: for real SDKs over real sockets."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal


@dataclass(frozen=True)
class Answer:
    """What a model says, whatever the protocol; or a status with its error body.

    arguments: of a call of the tool that was asked for (of "unasked" where none was). thinking: before anything else.
    end: how the reply ends. body: sent in place of all that.
    """

    text: str | None = None
    arguments: Any = None
    thinking: str | None = None
    end: Literal["stop", "length", "filter", "refusal"] = "stop"
    status: int = 200
    body: bytes | None = None


@dataclass(frozen=True)
class Request:
    """What the server was sent."""

    path: str
    body: dict[str, Any]
    headers: dict[str, str]


@dataclass
class Service:
    """A running server: `answers` are given in turn, the last one for ever; `seen` grows with each request."""

    answers: list[Answer]
    url: str = ""
    seen: list[Request] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, request: Request) -> Answer:
        """The next answer of the script."""
        with self._lock:
            self.seen.append(request)
            return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@contextmanager
def scripted(*answers: Answer) -> Iterator[Service]:
    """A server that gives these answers, for as long as the block runs."""
    service = Service(list(answers))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            request = Request(self.path.partition("?")[0], body, dict(self.headers))
            answer = service.answer(request)
            streamed = bool(body.get("stream")) and answer.status == 200
            payload = answer.body if answer.body is not None else _payload(request, answer, streamed)
            self.send_response(answer.status)
            self.send_header("content-type", "text/event-stream" if streamed else "application/json")
            self.send_header("content-length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        service.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield service
        finally:
            server.shutdown()
            thread.join()


def _payload(request: Request, answer: Answer, streamed: bool) -> bytes:
    if answer.status != 200:
        return json.dumps({"type": "error", "error": {"message": "no", "type": "x"}}).encode()
    endpoint = request.path.rsplit("/", 1)[-1]
    reply = {"completions": _chat_completion, "responses": _response, "messages": _message}[endpoint](
        request.body, answer
    )
    return _events(reply).encode() if streamed else json.dumps(reply).encode()


def _chat_completion(body: dict[str, Any], answer: Answer) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": answer.text}
    ends = {"stop": "stop", "length": "length", "filter": "content_filter", "refusal": "stop"}
    end = ends[answer.end]
    if answer.thinking is not None:
        message["reasoning_content"] = answer.thinking
    if answer.end == "refusal":
        message |= {"content": None, "refusal": "I won't."}
    if answer.arguments is not None:
        name = body["tools"][0]["function"]["name"] if body.get("tools") else "unasked"
        function = {"name": name, "arguments": _as_text(answer.arguments)}
        message["tool_calls"] = [{"id": "call_1", "type": "function", "function": function}]
        end = "tool_calls" if end == "stop" else end
    usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
    choice = {"index": 0, "message": message, "finish_reason": end}
    return {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": body["model"],
        "choices": [choice],
        "usage": usage,
    }


def _response(body: dict[str, Any], answer: Answer) -> dict[str, Any]:
    output: list[dict[str, Any]] = []
    if answer.thinking is not None:
        summary = [{"type": "summary_text", "text": answer.thinking}]
        output.append({"type": "reasoning", "id": "rs_1", "summary": summary})
    if answer.text is not None or answer.end == "refusal":
        text = {"type": "output_text", "text": answer.text, "annotations": []}
        content = {"type": "refusal", "refusal": "I won't."} if answer.end == "refusal" else text
        output.append(
            {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [content]}
        )
    if answer.arguments is not None:
        name = body["tools"][0]["name"] if body.get("tools") else "unasked"
        call = {"name": name, "arguments": _as_text(answer.arguments), "call_id": "call_1"}
        output.append({"type": "function_call", "id": "fc_1", "status": "completed", **call})
    reason = {"length": "max_output_tokens", "filter": "content_filter"}.get(answer.end)
    usage = {"input_tokens": 100, "output_tokens": 10, "total_tokens": 110,
             "input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}  # fmt: skip
    return {"id": "r", "object": "response", "created_at": 1, "model": body["model"], "output": output, "usage": usage,
            "status": "incomplete" if reason else "completed", "incomplete_details": {"reason": reason} if reason else None,
            "parallel_tool_calls": True, "tool_choice": "auto", "tools": []}  # fmt: skip


def _message(body: dict[str, Any], answer: Answer) -> dict[str, Any]:
    content: list[dict[str, Any]] = []
    end = {"stop": "end_turn", "length": "max_tokens", "filter": "refusal", "refusal": "refusal"}[answer.end]
    if answer.thinking is not None:
        content.append({"type": "thinking", "thinking": answer.thinking, "signature": "s"})
    if answer.text is not None:
        content.append({"type": "text", "text": answer.text})
    if answer.arguments is not None:
        name = body["tools"][0]["name"] if body.get("tools") else "unasked"
        content.append({"type": "tool_use", "id": "call_1", "name": name, "input": answer.arguments})
        end = "tool_use" if end == "end_turn" else end
    usage = {"input_tokens": 100, "output_tokens": 10}
    return {"id": "m", "type": "message", "role": "assistant", "model": body["model"], "usage": usage,
            "content": content, "stop_reason": end, "stop_sequence": None}  # fmt: skip


def _events(message: dict[str, Any]) -> str:
    """A text message as Anthropic streams it; the SDK asks for that where a reply may be long."""
    (block,) = message["content"]
    events = [
        {"type": "message_start", "message": {**message, "content": [], "stop_reason": None}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": block["text"]}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": message["stop_reason"], "stop_sequence": None}, "usage": {"output_tokens": 10}},
        {"type": "message_stop"},
    ]  # fmt: skip
    return "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)


def _as_text(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else json.dumps(arguments)
