"""A planted world served in this event loop, whose faults change as a test says, and the command line that meets it."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import PrivateAttr

from benchmarks.worlds import write_sweep
from conflictscope import pipeline
from conflictscope.planted import Lexicon
from conflictscope.planted.server import PlantedServer, serving
from conflictscope.planted.world import Faults
from tests.commands import COMMAND, environment

KEYS = {"OPENAI_API_KEY": "sk-not-a-real-key", "ANTHROPIC_API_KEY": "sk-not-a-real-key"}
OUTCOMES = "SELECT key, verdict, strength, shown_first, judge, seed, transcript FROM episodes ORDER BY key"
Mood = Callable[[int], str | None]
"""Which fault the request of this number (0, 1, ...) meets; None for none."""


class Moody(Faults):
    """Faults by a mood instead of by chance."""

    _service: Any = PrivateAttr(None)
    hang: float = 1.0  # any: a world without faults is never asked for one

    def draw(self, *purpose: str | int) -> str | None:
        """What the mood says."""
        fault: str | None = self._service.mood(purpose[-1])
        return fault


@dataclass
class Service:
    """A served world. mood may be set at any time."""

    server: PlantedServer
    mood: Mood = lambda number: None

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def requests(self) -> int:
        """How many model requests have come."""
        return self.server.metrics.requests


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[Service]:
    """The world of a folder that `write_sweep` wrote, without faults until a mood is set."""
    sweep = pipeline.load_sweep(str(folder / "sweep.toml"))
    assert sweep.world is not None
    faults = Moody()
    world = sweep.world.model_copy(update={"faults": faults})
    async with serving(world, Lexicon.of(sweep.scenarios)) as server:
        service = faults._service = Service(server)
        yield service


def planted(folder: Path, **settings: Any) -> Path:
    """Write a sweep whose models can be served; returns its folder."""
    return write_sweep(folder, **settings).parent


def at_openai(service: Service | str, *targets: str) -> list[str]:
    """Settings by which every model of the sweep is asked for there, by chat completions."""
    url = service if isinstance(service, str) else service.url
    named = ", ".join(f'{{model="openai-chat:{target}"}}' for target in targets or ("alpha",))
    return [
        f"targets=[{named}]",
        'user.model="openai-chat:user"',
        'judge.models=["openai-chat:judge"]',
        f'providers.openai.base_url="{url}/v1"',
    ]


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    stdout: str
    stderr: str


async def conflictscope(folder: Path, command: str, *arguments: str, settings: list[str] | None = None) -> Done:
    """A command of ours in a process of its own, while this event loop goes on."""
    process = await start(folder, command, *arguments, settings=settings)
    stdout, stderr = await process.communicate()
    return Done(process.returncode or 0, stdout.decode(), stderr.decode())


async def start(
    folder: Path, command: str, *arguments: str, settings: list[str] | None = None
) -> asyncio.subprocess.Process:
    """The same, on its way."""
    options = [part for setting in settings or [] for part in ("--set", setting)]
    return await asyncio.create_subprocess_exec(
        *COMMAND, command, *arguments, *options, cwd=folder, env=environment() | KEYS,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def play(folder: Path, settings: list[str], name: str = "bench") -> pipeline.RunResult:
    """Play the sweep, or what is left of it, in this process."""
    with pytest.MonkeyPatch.context() as patch:
        for key, value in KEYS.items():
            patch.setenv(key, value)
        sweep = pipeline.load_sweep(str(folder / "sweep.toml"), settings, name=name)
        return await pipeline.run_sweep(sweep, folder / "runs")


def rows(folder: Path, query: str, name: str = "bench") -> list[tuple[Any, ...]]:
    """What a run file holds now; nothing where it is still being made."""
    path = folder / "runs" / name / "run.db"
    if not path.exists():
        return []
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=10)
    try:
        return connection.execute(query).fetchall()
    except sqlite3.OperationalError:
        return []
    finally:
        connection.close()


async def until(holds: Callable[[], bool], process: asyncio.subprocess.Process | None = None) -> None:
    """Return when it does. Fails where the process ends before, or after a minute."""
    async with asyncio.timeout(60):
        while not holds():
            assert process is None or process.returncode is None, "the run ended by itself"
            await asyncio.sleep(0.01)


def document(done: Done) -> Any:
    """What a command with --json printed."""
    return json.loads(done.stdout)
