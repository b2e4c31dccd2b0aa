"""The way of one model request through the server: the hot path, and therefore plain ASGI."""

from __future__ import annotations

import asyncio
import time
from uuid import uuid4

from starlette.types import Receive, Scope, Send

from conflictscope.planted.server.exchange import Answer, Ask, Dialect, ServiceError, dump, parse_object
from conflictscope.planted.server.faults import malformed, refusal
from conflictscope.planted.server.metrics import Visit
from conflictscope.planted.server.plant import Plant
from conflictscope.planted.server.services import Headers, check_key

MOST_BYTES = 32 * 1024 * 1024  # of a request body; what Anthropic takes
TASK = "planted.task"  # where a request's scope holds its task, to be cancelled when the client leaves


class ClientGoneError(Exception):
    """The client closed the connection before its request was whole."""


class ModelEndpoint:
    """One of the protocols as an ASGI application."""

    def __init__(self, plant: Plant, dialect: Dialect) -> None:
        self._plant = plant
        self._dialect = dialect
        self._faulty = any(plant.world.faults.rates.values())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, and count what came of it."""
        scope[TASK] = asyncio.current_task()
        visit = self._plant.metrics.arrive()
        try:
            await _Exchange(self._plant, self._dialect, self._faulty, visit, send).run(scope, receive)
        except ClientGoneError:
            return
        finally:
            self._plant.metrics.leave(visit)


class _Exchange:
    """One request and its reply."""

    def __init__(self, plant: Plant, dialect: Dialect, faulty: bool, visit: Visit, send: Send) -> None:
        self._plant = plant
        self._metrics = plant.metrics
        self._dialect = dialect
        self._service = dialect.service
        self._faulty = faulty
        self._visit = visit
        self._send = send
        self._model: str | None = None
        self._request_id = f"req_{uuid4().hex}"
        self._began = time.perf_counter()

    async def run(self, scope: Scope, receive: Receive) -> None:
        try:
            check_key(scope["headers"])
            body = await read_body(receive, MOST_BYTES)
            ask = self._dialect.read(parse_object(body))
            answer, latency_s = self._plant.answer(ask)
            self._model = ask.model
            self._metrics.by_model[ask.model] += 1
            fingerprint = self._metrics.fingerprint(self._dialect.path, body)
            self._let_in(answer)
            fault = self._fault()
        except ServiceError as error:
            await self._refuse(error)
            return
        if fault == "hang":
            self._visit.outcome = "hang"
            await asyncio.Event().wait()  # until the task is cancelled: the client leaves, or the server ends
        if latency_s:
            await asyncio.sleep(latency_s)
        self._metrics.spend(answer.input_tokens, answer.output_tokens)
        if fault == "malformed":
            turn = self._metrics.faults["malformed"] - 1
            await self._reply(200, *malformed(turn, self._dialect, ask, answer))
        elif fault == "disconnect":
            await self._break_off(ask, answer)
        else:
            await self._deliver(ask, answer)
            self._metrics.deliver(fingerprint)

    def _let_in(self, answer: Answer) -> None:
        assert self._model is not None
        wait_s = self._plant.windows[self._model].admit(answer.input_tokens + answer.output_tokens)
        if wait_s:
            self._metrics.rejected += 1
            raise ServiceError(
                429,
                f"Rate limit reached for {self._model}. Please try again in {wait_s:.3f}s.",
                retry_after_s=wait_s,
            )

    def _fault(self) -> str | None:
        """The fault that this request meets, if it is to be answered at all."""
        if not self._faulty:
            return None
        faults = self._plant.world.faults
        kind = faults.draw(self._plant.world.seed, self._visit.number)
        if kind is None:
            return None
        self._metrics.faults[kind] += 1
        error = refusal(kind, faults, self._dialect)
        if error is not None:
            raise error
        return kind

    async def _deliver(self, ask: Ask, answer: Answer) -> None:
        if ask.stream:
            await self._reply(200, b"".join(self._dialect.events(ask, answer)), "text/event-stream")
        else:
            await self._reply(200, dump(self._dialect.write(ask, answer)))

    async def _break_off(self, ask: Ask, answer: Answer) -> None:
        """Half of the body, or of a stream's events; the server closes the connection of a reply that is not whole."""
        self._visit.outcome = "disconnect"
        if ask.stream:
            events = self._dialect.events(ask, answer)
            await self._start(200, "text/event-stream")
            part = b"".join(events[: len(events) // 2])
        else:
            whole = dump(self._dialect.write(ask, answer))
            await self._start(200, "application/json", [(b"content-length", b"%d" % len(whole))])
            part = whole[: len(whole) // 2]
        await self._send({"type": "http.response.body", "body": part, "more_body": True})

    async def _refuse(self, error: ServiceError) -> None:
        headers = [] if error.retry_after_s is None else self._service.retry_after(error.retry_after_s)
        await self._reply(error.status, dump(self._service.error_body(error, self._request_id)), headers=headers)

    async def _reply(
        self, status: int, body: bytes, content_type: str = "application/json", headers: Headers | None = None
    ) -> None:
        self._visit.outcome = str(status)
        # A stream has no length: it comes in chunks.
        length = [] if content_type == "text/event-stream" else [(b"content-length", b"%d" % len(body))]
        await self._start(status, content_type, [*length, *(headers or [])])
        await self._send({"type": "http.response.body", "body": body})

    async def _start(self, status: int, content_type: str, headers: Headers | None = None) -> None:
        standings = self._plant.windows[self._model].standings() if self._model else []
        every = self._service.headers(self._request_id, time.perf_counter() - self._began, standings)
        await self._send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [(b"content-type", content_type.encode()), *every, *(headers or [])],
            }
        )


async def read_body(receive: Receive, most_bytes: int) -> bytes:
    """The whole body. Raises ServiceError (413) for more than `most_bytes`, ClientGoneError where it breaks off."""
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        part = message.get("body", b"")
        parts.append(part)
        size += len(part)
        if size > most_bytes:
            raise ServiceError(413, f"The request is too large: the limit is {most_bytes:,} bytes.")
        if not message.get("more_body", False):
            return b"".join(parts)
