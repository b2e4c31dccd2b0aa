"""The ASGI application: which path leads where, and what is common to all of them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from uuid import uuid4

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from conflictscope.planted.models import PlantedModel
from conflictscope.planted.server.anthropic_batches import AnthropicBatches
from conflictscope.planted.server.chat_completions import ChatCompletions
from conflictscope.planted.server.endpoint import ModelEndpoint
from conflictscope.planted.server.exchange import Json, ServiceError
from conflictscope.planted.server.messages import Messages
from conflictscope.planted.server.openai_batches import OpenAIBatches
from conflictscope.planted.server.plant import Plant
from conflictscope.planted.server.responses import Responses
from conflictscope.planted.server.routing import keyed
from conflictscope.planted.server.services import ANTHROPIC, OPENAI, Service, rfc3339
from conflictscope.planted.world import PlantedWorld


def create_app(world: PlantedWorld, models: Mapping[str, PlantedModel], *, window_s: float = 60.0) -> Starlette:
    """The planted world as an ASGI application; its Plant, with the metrics, is `app.state.plant`.

    models: by the names that requests use. window_s: length of the sliding window of the world's limits, in seconds.
    """
    plant = Plant(world, models, window_s)
    chat, responses, messages = ChatCompletions(), Responses(), Messages()
    listing = _Models(models)

    async def tell_metrics(_: Request) -> Response:
        return JSONResponse(plant.metrics.to_json())

    app = Starlette(
        routes=[
            # The paths of model requests first: the router tries them in turn.
            *(Route(each.path, ModelEndpoint(plant, each), methods=["POST"]) for each in (chat, messages, responses)),
            Route("/metrics", tell_metrics),
            keyed("/v1/models", listing.list),
            keyed("/v1/models/{id}", listing.retrieve),
            *OpenAIBatches(plant, (chat, responses)).routes(),
            *AnthropicBatches(plant, messages).routes(),
        ],
        exception_handlers={ServiceError: _service_error, HTTPException: _http_error},
    )
    app.router.redirect_slashes = False
    app.state.plant = plant
    return app


class _Models:
    """GET /v1/models, in the shape of the service that is asked."""

    def __init__(self, models: Mapping[str, PlantedModel]) -> None:
        self._names = list(models)
        self._since = int(time.time())

    async def list(self, request: Request) -> Response:
        entries = [self._entry(name, _service(request)) for name in self._names]
        if _service(request) is OPENAI:
            return JSONResponse({"object": "list", "data": entries})
        ends = {"first_id": self._names[0], "last_id": self._names[-1]}
        return JSONResponse({"data": entries, "has_more": False, **ends})

    async def retrieve(self, request: Request) -> Response:
        name = request.path_params["id"]
        if name not in self._names:
            raise ServiceError(404, f"The model `{name}` does not exist.", param="model", code="model_not_found")
        return JSONResponse(self._entry(name, _service(request)))

    def _entry(self, name: str, service: Service) -> Json:
        if service is OPENAI:
            return {"id": name, "object": "model", "created": self._since, "owned_by": "conflictscope"}
        created_at = rfc3339(datetime.fromtimestamp(self._since, UTC))
        return {"id": name, "type": "model", "display_name": name, "created_at": created_at, "lifecycle": "active"}


def _service(request: Request) -> Service:
    """Which service a request takes this server for."""
    anthropic = request.url.path.startswith("/v1/messages") or "anthropic-version" in request.headers
    return ANTHROPIC if anthropic else OPENAI


async def _service_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)
    request_id, service = f"req_{uuid4().hex}", _service(request)
    name = "request-id" if service is ANTHROPIC else "x-request-id"
    return JSONResponse(service.error_body(error, request_id), error.status, {name: request_id})


async def _http_error(request: Request, error: Exception) -> Response:
    """What the router and the reader of forms find wrong: an unknown path, a method, a form that is none."""
    assert isinstance(error, HTTPException)
    what = {404: "Invalid URL", 405: "Method not allowed"}.get(error.status_code)
    message = f"{what} ({request.method} {request.url.path})" if what else error.detail
    response = await _service_error(request, ServiceError(error.status_code, message))
    response.headers.update(error.headers or {})
    return response
