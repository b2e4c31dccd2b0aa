"""OpenAI files and batches: requests come as a file of JSON lines, results leave as one or two."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from uuid import uuid4

from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from conflictscope.planted.server.batches import Batch, Done, Item, found
from conflictscope.planted.server.endpoint import read_body
from conflictscope.planted.server.exchange import Dialect, Json, ServiceError, dump, parse_object, string
from conflictscope.planted.server.plant import Plant
from conflictscope.planted.server.routing import keyed
from conflictscope.planted.server.services import OPENAI

_MOST_BYTES = 200_000_000
_DAY_S = 24 * 60 * 60


@dataclass(frozen=True)
class StoredFile:
    """A file as it was sent or made."""

    content: bytes
    filename: str
    purpose: str
    id: str = field(default_factory=lambda: f"file-{uuid4().hex[:24]}")
    created_at: int = field(default_factory=lambda: int(time.time()))

    def to_json(self) -> Json:
        """The service's file object."""
        about = {"created_at": self.created_at, "filename": self.filename, "purpose": self.purpose}
        return {"id": self.id, "object": "file", "bytes": len(self.content), "status": "processed", **about}


@dataclass
class _Job:
    """A batch with the files it came from and led to. errors: why none of it was run."""

    batch: Batch
    endpoint: str
    input_file_id: str
    errors: list[Json]
    output_file_id: str | None = None
    error_file_id: str | None = None


class OpenAIBatches:
    """Source: https://platform.openai.com/docs/api-reference/batch and .../files."""

    def __init__(self, plant: Plant, dialects: Iterable[Dialect]) -> None:
        self._plant = plant
        self._dialects = {dialect.path: dialect for dialect in dialects}
        self._files: dict[str, StoredFile] = {}
        self._jobs: dict[str, _Job] = {}

    def routes(self) -> list[Route]:
        """The paths of this API."""
        return [
            keyed("/v1/files", self.upload, "POST"),
            keyed("/v1/files/{id}", self.file, "GET", "DELETE"),
            keyed("/v1/files/{id}/content", self.content),
            keyed("/v1/batches", self.create, "POST"),
            keyed("/v1/batches", self.list),
            keyed("/v1/batches/{id}", self.retrieve),
            keyed("/v1/batches/{id}/cancel", self.cancel, "POST"),
        ]

    async def upload(self, request: Request) -> Response:
        """POST /v1/files."""
        async with request.form(max_files=1, max_fields=10) as form:
            sent, purpose = form.get("file"), form.get("purpose")
            if not isinstance(sent, UploadFile):
                raise ServiceError(400, "Missing required parameter: 'file'.", param="file")
            if purpose != "batch":
                raise ServiceError(400, "'purpose' must be 'batch'.", param="purpose")
            if (sent.size or 0) > _MOST_BYTES:
                raise ServiceError(413, f"The file is too large: the limit is {_MOST_BYTES:,} bytes.")
            stored = self._keep(StoredFile(await sent.read(), sent.filename or "upload", "batch"))
        return JSONResponse(stored.to_json())

    async def file(self, request: Request) -> Response:
        """GET or DELETE /v1/files/{id}."""
        stored = found(self._files, request.path_params["id"], "File object")
        if request.method == "DELETE":
            del self._files[stored.id]
            return JSONResponse({"id": stored.id, "object": "file", "deleted": True})
        return JSONResponse(stored.to_json())

    async def content(self, request: Request) -> Response:
        """GET /v1/files/{id}/content."""
        stored = found(self._files, request.path_params["id"], "File object")
        return Response(stored.content, media_type="application/octet-stream")

    async def create(self, request: Request) -> Response:
        """POST /v1/batches."""
        body = parse_object(await read_body(request.receive, 1_000_000))
        endpoint, file_id = string(body, "endpoint"), string(body, "input_file_id")
        if endpoint not in self._dialects:
            raise ServiceError(400, f"'endpoint' must be one of {', '.join(self._dialects)}.", param="endpoint")
        if body.get("completion_window") != "24h":
            raise ServiceError(400, "'completion_window' must be '24h'.", param="completion_window")
        items, errors = _read_lines(found(self._files, file_id, "File object").content, endpoint)
        batch = Batch.submit(self._plant, self._dialects[endpoint], () if errors else items, "batch_")
        self._jobs[batch.id] = job = _Job(batch, endpoint, file_id, errors)
        return JSONResponse(_to_json(job))

    async def list(self, request: Request) -> Response:
        """GET /v1/batches, the newest first."""
        jobs = [_to_json(job) for job in reversed(self._jobs.values())]
        ends = {"first_id": jobs[0]["id"], "last_id": jobs[-1]["id"]} if jobs else {"first_id": None, "last_id": None}
        return JSONResponse({"object": "list", "data": jobs, **ends, "has_more": False})

    async def retrieve(self, request: Request) -> Response:
        """GET /v1/batches/{id}."""
        job = found(self._jobs, request.path_params["id"], "Batch")
        await job.batch.look(self._plant)
        self._write_results(job)
        return JSONResponse(_to_json(job))

    async def cancel(self, request: Request) -> Response:
        """POST /v1/batches/{id}/cancel."""
        job = found(self._jobs, request.path_params["id"], "Batch")
        if job.batch.ended_at is not None:
            raise ServiceError(400, f"Cannot cancel a batch with status '{_status(job)}'.")
        job.batch.cancel()
        return JSONResponse(_to_json(job))

    def _keep(self, stored: StoredFile) -> StoredFile:
        self._files[stored.id] = stored
        return stored

    def _write_results(self, job: _Job) -> None:
        """The file of good results and that of errors, once; one without lines is not written."""
        if job.batch.state != "done" or job.output_file_id or job.error_file_id:
            return
        good, bad = _result_lines(job.batch.done)
        if good:
            job.output_file_id = self._keep(StoredFile(good, f"{job.batch.id}_output.jsonl", "batch_output")).id
        if bad:
            job.error_file_id = self._keep(StoredFile(bad, f"{job.batch.id}_error.jsonl", "batch_output")).id


def _read_lines(content: bytes, endpoint: str) -> tuple[list[Item], list[Json]]:
    """The requests of an input file, and what is wrong with it, each with its line."""
    items: dict[str, Item] = {}
    errors: list[Json] = []
    for number, line in enumerate(content.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            data = parse_object(line)
            custom_id = string(data, "custom_id")
            if custom_id in items:
                raise ServiceError(400, f"The custom_id {custom_id!r} stands twice.", code="duplicate_custom_id")
            if data.get("method") != "POST" or data.get("url") != endpoint:
                raise ServiceError(400, f"'method' must be POST and 'url' {endpoint}.", code="mismatched_endpoint")
            items[custom_id] = Item(custom_id, data.get("body"))
        except ServiceError as error:
            code = error.code or "invalid_json_line"
            errors.append({"code": code, "line": number, "message": error.message, "param": error.param})
    if not items and not errors:
        errors.append({"code": "empty_file", "line": None, "message": "The file holds no request.", "param": None})
    return list(items.values()), errors


def _result_lines(done: Sequence[Done]) -> tuple[bytes, bytes]:
    good: list[bytes] = []
    bad: list[bytes] = []
    for each in done:
        request_id = f"req_{uuid4().hex}"
        if isinstance(each.result, ServiceError):
            lines, status, body = bad, each.result.status, OPENAI.error_body(each.result, request_id)
        else:
            lines, status, body = good, 200, each.result
        response = {"status_code": status, "request_id": request_id, "body": body}
        line = {"id": f"batch_req_{uuid4().hex}", "custom_id": each.custom_id, "response": response, "error": None}
        lines.append(dump(line) + b"\n")
    return b"".join(good), b"".join(bad)


def _status(job: _Job) -> str:
    if job.errors:
        return "failed"
    return {"running": "in_progress", "done": "completed"}.get(job.batch.state, job.batch.state)


def _to_json(job: _Job) -> Json:
    batch, status = job.batch, _status(job)
    failed = sum(isinstance(each.result, ServiceError) for each in batch.done)
    ended_at = None if batch.ended_at is None else int(batch.ended_at)
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": job.endpoint,
        "errors": {"object": "list", "data": job.errors} if job.errors else None,
        "input_file_id": job.input_file_id,
        "completion_window": "24h",
        "status": status,
        "output_file_id": job.output_file_id,
        "error_file_id": job.error_file_id,
        "created_at": int(batch.created_at),
        "in_progress_at": int(batch.created_at),
        "expires_at": int(batch.created_at) + _DAY_S,
        "completed_at": ended_at if status == "completed" else None,
        "failed_at": int(batch.created_at) if status == "failed" else None,
        "cancelling_at": None if batch.cancelled_at is None else int(batch.cancelled_at),
        "cancelled_at": ended_at if status == "cancelled" else None,
        "request_counts": {"total": len(batch.items), "completed": len(batch.done) - failed, "failed": failed},
        "metadata": None,
    }
