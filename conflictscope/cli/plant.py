"""Planted worlds over HTTP."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Annotated

import typer

from conflictscope import pipeline
from conflictscope.cli.app import Json, out, plant_app
from conflictscope.views.text import plain

if TYPE_CHECKING:
    from conflictscope.planted.server import PlantedServer


@plant_app.command("serve")
def plant_serve(
    world: Annotated[str, typer.Option(help="A world file, or the name of a built-in world.", metavar="W.toml")],
    host: Annotated[str, typer.Option(help="The address to listen on; anything but loopback is open to others.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(help="The port to listen on; 0 picks a free one.", min=0, max=65535)] = 8000,
    scenarios: Annotated[
        list[str] | None,
        typer.Option(
            help="A library, by path or built-in name, whose actions the models know; repeatable. Default: all built in.",
            metavar="LIBRARY",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """The planted world over HTTP, as OpenAI and Anthropic offer their models; with the faults and limits of its file.

    Any key is accepted. GET /metrics counts what was asked. Ctrl-C ends it.

    Example: [bold]conflictscope plant serve --world demo --port 0[/bold]
    """

    def announce(server: PlantedServer) -> None:
        if as_json:
            typer.echo(json.dumps({"url": server.url, "models": server.models}))  # a line: nothing follows to end it
            return
        told = (
            f"{server.url} serves {', '.join(server.models)}. In a sweep file: [providers.openai] "
            f'base_url = "{server.url}/v1", or [providers.anthropic] base_url = "{server.url}". Ctrl-C ends it.'
        )
        out.print(plain(told), soft_wrap=True)

    asyncio.run(pipeline.serve_plant(world, scenarios or [], host, port, announce))
