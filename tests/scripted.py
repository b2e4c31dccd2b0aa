"""A service on loopback that answers as it is told: chat completions, responses and messages, and every fault of the wire."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

VERDICT = json.dumps({"reasoning": "so", "resolved": True, "action": "action_1", "strength": 6})
INPUT_TOKENS, OUTPUT_TOKENS = 100, 10


@dataclass(frozen=True)
class Answer:
    """What a request gets: a status with headers, and a body.

    text: what the model says, in the protocol and the shape in which it was asked: where a tool must be called, as its
    arguments. In its place, words: as text, whatever was asked for; arguments: of a call of the tool that was offered (of
    "unasked" where none was). thinking: before anything else. end: how the reply ends.
    body: these bytes in place of all that. wire: `cut` closes the connection in the middle of the body, `close` and `reset`
    before any answer, `hang` never answers.
    """

    status: int = 200
    text: str | None = VERDICT
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    wire: Literal["whole", "cut", "close", "reset", "hang"] = "whole"
    words: str | None = None
    arguments: Any = None
    thinking: str | None = None
    end: Literal["stop", "length", "filter", "refusal"] = "stop"

    def said(self, body: Mapping[str, Any]) -> tuple[str | None, Any]:
        """The text and the arguments of the reply to a request."""
        if self.text is None:
            return self.words, self.arguments
        forced = body.get("tools") and body.get("tool_choice") not in (None, "auto", {"type": "auto"})
        return (None, self.text) if forced else (self.text, None)


@dataclass(frozen=True)
class Asked:
    """A request that came in."""

    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]

    @property
    def wants_verdict(self) -> bool:
        """Whether a typed verdict was asked for, in whatever way."""
        return '"properties": {"reasoning"' in json.dumps(self.body)


class Service:
    """Answers requests with `answers` in turn, then with what `otherwise` says. asked: every request that came."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.answers: deque[Answer] = deque()
        self.otherwise: Callable[[Asked], Answer] = lambda asked: Answer()
        self.asked: list[Asked] = []
        self.connections = 0
        self.closing = threading.Event()
        self._lock = threading.Lock()

    def count_connection(self) -> None:
        """Note a connection that was opened."""
        with self._lock:
            self.connections += 1

    def answer(self, asked: Asked) -> Answer:
        """The next answer."""
        with self._lock:
            self.asked.append(asked)
            return self.answers.popleft() if self.answers else self.otherwise(asked)


@contextmanager
def serving() -> Iterator[Service]:
    """A fresh service; it has let go of every connection when the block ends."""

    class Bound(_Handler):
        pass

    with _Server(("127.0.0.1", 0), Bound) as server:
        service = Bound.service = Service(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield service
        finally:
            service.closing.set()
            server.shutdown()
            thread.join()
            server.drop_all()


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 1024

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._open: set[socket.socket] = set()

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self._open.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def drop_all(self) -> None:
        """End what idle connections wait for; the threads are joined when the server closes."""
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, *_: object) -> None:
        """A client that leaves early is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    service: Service

    def setup(self) -> None:
        super().setup()
        self.service.count_connection()

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        answer = self.service.answer(Asked(self.path.partition("?")[0], dict(self.headers), body))
        self.close_connection = answer.wire != "whole"
        if answer.wire == "hang":
            self.service.closing.wait()
        elif answer.wire == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        elif answer.wire in ("whole", "cut"):
            self._send(answer, body)

    def _send(self, answer: Answer, body: dict[str, Any]) -> None:
        streamed = bool(body.get("stream")) and answer.status == 200
        if answer.body is not None:
            payload = answer.body
        elif answer.status != 200:
            payload = json.dumps(error_body(self.path, answer)).encode()
        else:
            reply = reply_body(self.path, body, answer)
            payload = (_events(reply) if streamed else json.dumps(reply)).encode()
        self.send_response(answer.status)
        headers = {"content-type": "text/event-stream" if streamed else "application/json", **answer.headers}
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload if answer.wire == "whole" else payload[: len(payload) // 2])

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def error_body(path: str, answer: Answer) -> dict[str, Any]:
    """An error as the service of this path sends it, with the answer's text for a message."""
    message = "no" if answer.text == VERDICT else answer.text
    if "/messages" in path:
        return {"type": "error", "error": {"type": "some_error", "message": message}, "request_id": "r"}
    return {"error": {"message": message, "type": "some_error", "param": None, "code": None}}


def reply_body(path: str, body: Mapping[str, Any], answer: Answer) -> dict[str, Any]:
    """A reply as the service of this path sends it."""
    endpoint = path.partition("?")[0].rpartition("/")[2]
    return {"completions": _chat_completion, "responses": _response, "messages": _message}[endpoint](body, answer)


def _chat_completion(body: Mapping[str, Any], answer: Answer) -> dict[str, Any]:
    text, arguments = answer.said(body)
    message: dict[str, Any] = {"role": "assistant", "content": text}
    end = {"length": "length", "filter": "content_filter"}.get(answer.end, "stop")
    if answer.thinking is not None:
        message["reasoning_content"] = answer.thinking
    if answer.end == "refusal":
        message |= {"content": None, "refusal": "I won't."}
    if arguments is not None:
        name = body["tools"][0]["function"]["name"] if body.get("tools") else "unasked"
        function = {"name": name, "arguments": _as_text(arguments)}
        message["tool_calls"] = [{"id": "call_1", "type": "function", "function": function}]
        end = "tool_calls" if end == "stop" else end
    usage = {
        "prompt_tokens": INPUT_TOKENS,
        "completion_tokens": OUTPUT_TOKENS,
        "total_tokens": INPUT_TOKENS + OUTPUT_TOKENS,
    }
    return {"id": "c", "object": "chat.completion", "created": 1, "model": body["model"], "usage": usage,
            "choices": [{"index": 0, "message": message, "finish_reason": end}]}  # fmt: skip


def _response(body: Mapping[str, Any], answer: Answer) -> dict[str, Any]:
    text, arguments = answer.said(body)
    output: list[dict[str, Any]] = []
    if answer.thinking is not None:
        summary = [{"type": "summary_text", "text": answer.thinking}]
        output.append({"type": "reasoning", "id": "rs_1", "summary": summary})
    if text is not None or answer.end == "refusal":
        said = {"type": "output_text", "text": text, "annotations": []}
        content = {"type": "refusal", "refusal": "I won't."} if answer.end == "refusal" else said
        message = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed"}
        output.append({**message, "content": [content]})
    if arguments is not None:
        name = body["tools"][0]["name"] if body.get("tools") else "unasked"
        call = {"name": name, "arguments": _as_text(arguments), "call_id": "call_1"}
        output.append({"type": "function_call", "id": "fc_1", "status": "completed", **call})
    reason = {"length": "max_output_tokens", "filter": "content_filter"}.get(answer.end)
    usage = {"input_tokens": INPUT_TOKENS, "output_tokens": OUTPUT_TOKENS, "total_tokens": INPUT_TOKENS + OUTPUT_TOKENS,
             "input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}  # fmt: skip
    return {"id": "r", "object": "response", "created_at": 1, "model": body["model"], "output": output, "usage": usage,
            "status": "incomplete" if reason else "completed", "incomplete_details": {"reason": reason} if reason else None,
            "parallel_tool_calls": True, "tool_choice": "auto", "tools": []}  # fmt: skip


def _message(body: Mapping[str, Any], answer: Answer) -> dict[str, Any]:
    text, arguments = answer.said(body)
    content: list[dict[str, Any]] = []
    end = {"length": "max_tokens", "filter": "refusal", "refusal": "refusal"}.get(answer.end, "end_turn")
    if answer.thinking is not None:
        content.append({"type": "thinking", "thinking": answer.thinking, "signature": "s"})
    if text is not None:
        content.append({"type": "text", "text": text})
    if arguments is not None:
        name = body["tools"][0]["name"] if body.get("tools") else "unasked"
        given = json.loads(arguments) if isinstance(arguments, str) else arguments
        content.append({"type": "tool_use", "id": "call_1", "name": name, "input": given})
        end = "tool_use" if end == "end_turn" else end
    usage = {"input_tokens": INPUT_TOKENS, "output_tokens": OUTPUT_TOKENS}
    return {"id": "m", "type": "message", "role": "assistant", "model": body["model"], "usage": usage,
            "content": content, "stop_reason": end, "stop_sequence": None}  # fmt: skip


def _events(message: Mapping[str, Any]) -> str:
    """A message as Anthropic streams it; pydantic-ai asks for that where a reply may be long."""
    (block,) = message["content"]
    empty, delta = {"type": "text", "text": ""}, {"type": "text_delta", "text": block.get("text")}
    if block["type"] == "tool_use":
        empty, delta = {**block, "input": {}}, {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
    end = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    events = [
        {"type": "message_start", "message": {**message, "content": [], "stop_reason": None}},
        {"type": "content_block_start", "index": 0, "content_block": empty},
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": end, "usage": {"output_tokens": OUTPUT_TOKENS}},
        {"type": "message_stop"},
    ]
    return "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)


def _as_text(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else json.dumps(arguments)
