"""Anthropic message batches: requests come in one body, results leave as JSON lines."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from conflictscope.planted.server.batches import Batch, Done, Item, found
from conflictscope.planted.server.endpoint import read_body
from conflictscope.planted.server.exchange import Dialect, Json, ServiceError, dump, objects, parse_object, string
from conflictscope.planted.server.plant import Plant
from conflictscope.planted.server.routing import keyed
from conflictscope.planted.server.services import ANTHROPIC, rfc3339

_MOST_BYTES = 256_000_000
_CUSTOM_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")


class AnthropicBatches:
    """Source: https://docs.claude.com/en/api/creating-message-batches."""

    def __init__(self, plant: Plant, dialect: Dialect) -> None:
        self._plant = plant
        self._dialect = dialect
        self._batches: dict[str, Batch] = {}

    def routes(self) -> list[Route]:
        """The paths of this API."""
        return [
            keyed("/v1/messages/batches", self.create, "POST"),
            keyed("/v1/messages/batches", self.list),
            keyed("/v1/messages/batches/{id}", self.retrieve),
            keyed("/v1/messages/batches/{id}/results", self.results),
            keyed("/v1/messages/batches/{id}/cancel", self.cancel, "POST"),
        ]

    async def create(self, request: Request) -> Response:
        """POST /v1/messages/batches."""
        items: dict[str, Item] = {}
        body = parse_object(await read_body(request.receive, _MOST_BYTES))
        for place, asked in enumerate(objects(body, "requests")):
            custom_id = string(asked, "custom_id", f"requests.{place}.")
            if not _CUSTOM_ID.fullmatch(custom_id):
                raise ServiceError(400, f"requests.{place}.custom_id: 1 to 64 letters, digits, '_' or '-'")
            if custom_id in items:
                raise ServiceError(400, f"requests.{place}.custom_id: {custom_id} stands twice")
            items[custom_id] = Item(custom_id, asked.get("params"))
        batch = Batch.submit(self._plant, self._dialect, list(items.values()), "msgbatch_")
        self._batches[batch.id] = batch
        return JSONResponse(_to_json(batch, request))

    async def list(self, request: Request) -> Response:
        """GET /v1/messages/batches, the newest first."""
        batches = [_to_json(batch, request) for batch in reversed(self._batches.values())]
        ends = (batches[0]["id"], batches[-1]["id"]) if batches else (None, None)
        return JSONResponse({"data": batches, "first_id": ends[0], "last_id": ends[1], "has_more": False})

    async def retrieve(self, request: Request) -> Response:
        """GET /v1/messages/batches/{id}."""
        batch = await self._look(request)
        return JSONResponse(_to_json(batch, request))

    async def results(self, request: Request) -> Response:
        """GET /v1/messages/batches/{id}/results."""
        batch = await self._look(request)
        if batch.ended_at is None:
            raise ServiceError(400, f"The batch {batch.id} has not ended: it has no results yet.")
        return Response(b"".join(_result_lines(batch)), media_type="application/x-jsonl")

    async def cancel(self, request: Request) -> Response:
        """POST /v1/messages/batches/{id}/cancel."""
        batch: Batch = found(self._batches, request.path_params["id"], "batch")
        batch.cancel()
        return JSONResponse(_to_json(batch, request))

    async def _look(self, request: Request) -> Batch:
        batch: Batch = found(self._batches, request.path_params["id"], "batch")
        await batch.look(self._plant)
        return batch


def _result_lines(batch: Batch) -> Sequence[bytes]:
    if batch.state == "cancelled":
        return [dump({"custom_id": item.custom_id, "result": {"type": "canceled"}}) + b"\n" for item in batch.items]
    return [dump({"custom_id": each.custom_id, "result": _result(each)}) + b"\n" for each in batch.done]


def _result(done: Done) -> Json:
    if isinstance(done.result, ServiceError):
        return {"type": "errored", "error": ANTHROPIC.error_body(done.result, f"req_{uuid4().hex}")}
    return {"type": "succeeded", "message": done.result}


def _to_json(batch: Batch, request: Request) -> Json:
    created = datetime.fromtimestamp(batch.created_at, UTC)
    ended = batch.ended_at is not None
    errored = sum(isinstance(each.result, ServiceError) for each in batch.done)
    cancelled = len(batch.items) if batch.state == "cancelled" else 0
    host = request.headers.get("host", "127.0.0.1")
    return {
        "id": batch.id,
        "type": "message_batch",
        "processing_status": "ended" if ended else "canceling" if batch.state == "cancelling" else "in_progress",
        "request_counts": {
            "processing": 0 if ended else len(batch.items),
            "succeeded": len(batch.done) - errored,
            "errored": errored,
            "canceled": cancelled,
            "expired": 0,
        },
        "created_at": rfc3339(created),
        "expires_at": rfc3339(created + timedelta(days=1)),
        "ended_at": _moment(batch.ended_at),
        "cancel_initiated_at": _moment(batch.cancelled_at),
        "archived_at": None,
        "results_url": f"http://{host}/v1/messages/batches/{batch.id}/results" if ended else None,
    }


def _moment(seconds: float | None) -> str | None:
    return None if seconds is None else rfc3339(datetime.fromtimestamp(seconds, UTC))
