"""The server on its socket: uvicorn, with connections counted, and with clients that leave set free at once."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from conflictscope.listening import listen, url_of
from conflictscope.planted.language import Lexicon
from conflictscope.planted.models import planted_model
from conflictscope.planted.server.app import create_app
from conflictscope.planted.server.endpoint import TASK
from conflictscope.planted.server.metrics import Metrics
from conflictscope.planted.world import PlantedWorld

_BACKLOG = 4096
_KEEP_ALIVE_S = 600


class PlantedServer(uvicorn.Server):
    """A planted world on a listening socket. It can be reached as soon as it is made, and answers once it serves."""

    def __init__(self, app: Starlette, listening: socket.socket) -> None:
        self._socket = listening
        self.url = url_of(listening)
        self.metrics: Metrics = app.state.plant.metrics
        self.models = list(app.state.plant.models)
        super().__init__(
            uvicorn.Config(
                app,
                http=_counting(self.metrics),
                ws="none",
                loop="asyncio",
                lifespan="off",
                log_config=None,
                log_level="critical",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                backlog=_BACKLOG,
                timeout_keep_alive=_KEEP_ALIVE_S,
                limit_concurrency=None,
            )
        )

    async def run_here(self) -> None:
        """Serve in this event loop until `stop`."""
        await self.serve(sockets=[self._socket])

    def stop(self) -> None:
        """End soon: what is in flight is broken off."""
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to whoever runs the server."""
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Break off what is in flight, some of which would never end, then close."""
        for task in list(self.server_state.tasks):
            task.cancel()
        await super().shutdown(sockets)


def _counting(metrics: Metrics) -> type[HttpToolsProtocol]:
    class CountingProtocol(HttpToolsProtocol):
        """Counts connections, and cancels what is still being worked on for a client that has left."""

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            metrics.connect()
            super().connection_made(transport)

        def connection_lost(self, exc: Exception | None) -> None:
            metrics.disconnect()
            super().connection_lost(exc)
            scope: Any = self.cycle.scope if self.cycle is not None else {}
            if TASK in scope:
                scope[TASK].cancel()

    return CountingProtocol


def planted_server(
    world: PlantedWorld, lexicon: Lexicon, *, host: str = "127.0.0.1", port: int = 0, window_s: float = 60.0
) -> PlantedServer:
    """A server of every model of a world, listening at host:port (0: a free port). Raises InputError where it cannot.

    window_s: length of the sliding window of the world's limits, in seconds.
    """
    _allow_many_sockets()
    models = {name: planted_model(world, name, lexicon) for name in world.models}
    return PlantedServer(create_app(world, models, window_s=window_s), listen(host, port, _BACKLOG))


@contextlib.asynccontextmanager
async def serving(
    world: PlantedWorld, lexicon: Lexicon, *, port: int = 0, window_s: float = 60.0
) -> AsyncIterator[PlantedServer]:
    """A server on loopback in this event loop, for as long as the context lasts: `.url` is where, `.metrics` what it saw."""
    server = planted_server(world, lexicon, port=port, window_s=window_s)
    task = asyncio.create_task(server.run_here())
    try:
        yield server
    finally:
        server.stop()
        await task


def _allow_many_sockets() -> None:
    """Each connection is an open file: as many as this user may have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
