"""What all paths but those of model requests share: a key must come, and JSON goes.

Model requests see to both themselves: those without a key are counted, and their way has to be short.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from conflictscope.planted.server.exchange import dump
from conflictscope.planted.server.services import check_key


class AsciiJson(JSONResponse):
    """JSON that can also tell of text that has no place in UTF-8, such as an id that a client made up."""

    def render(self, content: Any) -> bytes:
        """The body."""
        return dump(content)


class _RequireKey:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        check_key(scope["headers"])
        await self._app(scope, receive, send)


def keyed(path: str, endpoint: Callable[[Request], Awaitable[Response]], *methods: str) -> Route:
    """A route that turns away what comes without a key. methods: GET where none is named."""
    return Route(path, endpoint, methods=methods or ("GET",), middleware=[Middleware(_RequireKey)])
