"""Routes that need a key; model requests see to it themselves, for those that come without one are counted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from conflictscope.planted.server.services import check_key


class _RequireKey:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        check_key(scope["headers"])
        await self._app(scope, receive, send)


def keyed(path: str, endpoint: Callable[[Request], Awaitable[Response]], *methods: str) -> Route:
    """A route that turns away what comes without a key. methods: GET where none is named."""
    return Route(path, endpoint, methods=methods or ("GET",), middleware=[Middleware(_RequireKey)])
