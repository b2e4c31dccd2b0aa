"""The planted world as a server: from a world file and libraries to a process that answers over HTTP."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from conflictscope.documents import read_document
from conflictscope.library import builtin_names, find, load_library
from conflictscope.planted import Lexicon, parse_world

if TYPE_CHECKING:
    from conflictscope.planted.server import PlantedServer


async def serve_plant(
    world: str, libraries: Sequence[str], host: str, port: int, announce: Callable[[PlantedServer], None]
) -> None:
    """Serve a world until SIGINT or SIGTERM; `announce` is called once it can be reached. Raises InputError.

    world: a file or a built-in name. libraries: those whose actions the models shall know; none: all that are built in.
    """
    # Imported here: no other command needs a web server.
    from conflictscope.planted.server import planted_server

    here = Path.cwd()
    scenarios = [
        scenario
        for library in libraries or builtin_names("libraries")
        for scenario in load_library(find("libraries", library, here))
    ]
    planted = parse_world(read_document(find("worlds", world, here)))
    server = planted_server(planted, Lexicon.of(scenarios), host=host, port=port)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, server.stop)
    announce(server)
    await server.run_here()
