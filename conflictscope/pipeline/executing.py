"""Where a sweep's episodes are played: both ends of an executor, put together from the same sweep."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from pydantic_ai import Agent

from conflictscope import agents
from conflictscope.arena import (
    Budget,
    Cluster,
    Driver,
    Line,
    LineBudget,
    LineJournal,
    LineOpenings,
    LineRate,
    LocalExecutor,
    Seat,
    Stop,
    cluster,
    share_of,
)
from conflictscope.config import SweepConfig, behavior_name
from conflictscope.errors import InputError
from conflictscope.pipeline.casting import Lanes, build_models, casts_of, load_agents
from conflictscope.pipeline.models import Models
from conflictscope.pipeline.sweep import Sweep
from conflictscope.pipeline.versions import versions
from conflictscope.planted import Lexicon
from conflictscope.ports import Executor, OutputMode
from conflictscope.redaction import know_secrets
from conflictscope.store import RunWriter


@asynccontextmanager
async def cluster_of(config: SweepConfig, tell: Callable[[str], None]) -> AsyncIterator[Cluster | None]:
    """The cluster that a sweep asks for; None where it is played in this process. Raises InputError."""
    if config.executor.kind == "local":
        yield None
        return
    address = config.executor.address
    tell("Starting Ray on this machine ..." if address is None else f"Connecting to the Ray at {address} ...")
    async with cluster(address, config.executor.workers) as joined:
        crowded = address is None and joined.workers > (os.cpu_count() or 1)
        share = f", which share {os.cpu_count()} cores: more than one a core only takes longer" if crowded else ""
        tell(f"Episodes are played by up to {joined.workers:,} workers{share}.")
        yield joined


@dataclass(frozen=True)
class _Order:
    """What a worker needs to know of a sweep. It takes its keys from its own environment.

    sweep: without its behaviours, which are loaded there. files: of the user's own code, relative to the sweep's folder.
    behaviors: their versions, by name.
    """

    sweep: Sweep
    files: Mapping[str, bytes]
    output_modes: Mapping[str, OutputMode]
    limit_usd: float | None
    behaviors: Mapping[str, Sequence[str]]


@asynccontextmanager
async def executor_of(
    sweep: Sweep,
    joined: Cluster | None,
    loaded: Mapping[str, Agent[Any, Any]],
    lanes: Lanes,
    writer: RunWriter,
    budget: Budget,
    stop: Stop,
) -> AsyncIterator[Executor]:
    """Who plays the episodes of a sweep. lanes: checked by the preflight. Raises InputError where no worker can begin."""
    config = sweep.config
    casts = casts_of(sweep, lanes, loaded)
    if joined is None:
        yield LocalExecutor(casts, writer, seed=config.seed, episode_timeout_s=config.limits.episode_timeout_s)
        return
    # Each worker gets its share of what may be in flight, and with it of the sockets and of the requests of each lane.
    share = share_of(config.limits.concurrency, joined.workers)
    limits = config.limits.model_copy(update={"concurrency": share})
    theirs = replace(sweep, config=config.model_copy(update={"limits": limits}), behaviors={})
    order = _Order(
        theirs, _own_files(sweep.base), lanes.output_modes(), budget.limit_usd, _versions_of(sweep.behaviors)
    )
    driver = Driver(
        joined.hiring(partial(_seat, order), versions()),
        workers=joined.workers,
        episodes_per_worker=min(share, config.executor.episodes_per_worker or share),
        journal=writer,
        openings=writer,
        budget=budget,
        rates=lanes.rates,
        closed=lambda group: casts[group].closed,
        shut=lanes.shut,
        stop=stop,
        answers=writer.answers(),
    )
    lanes.elsewhere = driver.loads
    async with driver.at_work():
        yield driver


@asynccontextmanager
async def _seat(order: _Order, line: Line, journal: LineJournal, openings: LineOpenings) -> AsyncIterator[Seat]:
    """What a worker plays with, made where it is. Raises InputError."""
    know_secrets()
    sweep, config = order.sweep, order.sweep.config
    with tempfile.TemporaryDirectory() as spare:
        try:
            base = _base(order, Path(spare))
            entries = {behavior_name(entry): entry for entry in config.behaviors}
            behaviors = {name: agents.load_behaviors(entry, base) for name, entry in entries.items()}
            _check_behaviors(order.behaviors, _versions_of(behaviors))
            loaded = load_agents(config, base)
        except InputError as error:
            raise InputError(f"on {socket.gethostname()}, {error}") from None
        async with Models(config, sweep.world, Lexicon.of(sweep.scenarios)) as make:
            try:
                models = build_models(config, make, loaded)
            except InputError as error:  # a key that is not there
                raise InputError(f"on {socket.gethostname()}, {error}") from None
            limited = [
                name for name, has in config.providers.items() if has.requests_per_minute or has.tokens_per_minute
            ]
            lanes = Lanes(
                config,
                journal,
                LineBudget(line, order.limit_usd),
                models,
                rates={name: LineRate(line, name) for name in limited},
                share=lambda: 1 / line.workers,
            )
            for name, mode in order.output_modes.items():
                lanes.to(name).output_mode = mode
            casts = casts_of(replace(sweep, behaviors=behaviors), lanes, loaded)
            executor = LocalExecutor(
                casts, openings, seed=config.seed, episode_timeout_s=config.limits.episode_timeout_s
            )
            yield Seat(
                executor, {scenario.id: scenario for scenario in sweep.scenarios}, lanes.loads, lanes.closed_by_name
            )


def _versions_of(behaviors: Mapping[str, Sequence[agents.LoadedBehavior]]) -> dict[str, list[str]]:
    return {name: [each.version for each in loaded] for name, loaded in behaviors.items()}


def _check_behaviors(here: Mapping[str, Sequence[str]], there: Mapping[str, Sequence[str]]) -> None:
    """Those of installed packages come from each node's own. Raises InputError."""
    for name, ours in here.items():
        if there[name] != ours:
            raise InputError(
                f"the behaviour {name!r} is {' + '.join(there[name])} there and {' + '.join(ours)} here: install the same "
                "packages on all nodes"
            )


def _own_files(base: Path) -> dict[str, bytes]:
    """The modules under the sweep's folder that are loaded here: behaviours, agents, and what they import."""
    files = {}
    for name, module in list(sys.modules.items()):
        path = getattr(module, "__file__", None)
        if path is None or name.partition(".")[0] == "conflictscope" or not Path(path).is_relative_to(base.resolve()):
            continue
        relative = Path(path).relative_to(base.resolve())
        if relative.suffix == ".py" and "site-packages" not in relative.parts:
            files[str(relative)] = Path(path).read_bytes()
    return files


def _base(order: _Order, spare: Path) -> Path:
    """The folder that the user's code is loaded from: the sweep's own, or `spare` where that is another machine's."""
    base = order.sweep.base
    try:
        if all((base / path).read_bytes() == content for path, content in order.files.items()):
            return base
    except OSError:
        pass  # it is not here
    for path, content in order.files.items():
        (spare / path).parent.mkdir(parents=True, exist_ok=True)
        (spare / path).write_bytes(content)
    return spare
