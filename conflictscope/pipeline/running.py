"""Executing a sweep in its run folder: begin or resume, play, stop cleanly, say how it ended."""

from __future__ import annotations

import asyncio
import platform
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import structlog

from conflictscope import agents
from conflictscope.arena import Budget, Plan, Runner, Stop
from conflictscope.errors import InputError
from conflictscope.monitor import Monitor
from conflictscope.pipeline.casting import Lanes, build_models, casts_of
from conflictscope.pipeline.sweep import Sweep
from conflictscope.runfolder import RunFolder
from conflictscope.snapshot import Snapshot
from conflictscope.store import RunReader, RunWriter

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class RunResult:
    """How an execution ended. state: finished, interrupted, limit or failed; message: why, in words."""

    folder: RunFolder
    state: str
    message: str
    snapshot: Snapshot
    failed_share_allowed: float

    @property
    def exit_code(self) -> int:
        """0 done, 1 too many failed episodes, 2 access denied, 3 a limit, 130 interrupted."""
        progress = self.snapshot.progress
        too_many_failed = progress.failed > self.failed_share_allowed * max(1, progress.done)
        return {"failed": 2, "limit": 3, "interrupted": 130}.get(self.state, int(too_many_failed))


Viewer = Callable[[Monitor], Awaitable[None]]


async def run_sweep(sweep: Sweep, runs_dir: Path, viewer: Viewer | None = None) -> RunResult:
    """Execute a sweep, or what is left of it, in its folder under `runs_dir`.

    viewer: shows the run while it goes on, from its file; it is cancelled when the run ends. Raises InputError before
    anything is written where the run cannot start, StoreError where it can no longer be written.
    """
    folder = RunFolder.named(sweep.config.name, runs_dir)
    try:
        models, loaded = build_models(sweep)
    except InputError as error:
        raise InputError(str(error), path=sweep.source) from None
    plan = Plan(sweep.scenarios, sweep.groups, sweep.config.repeats, sweep.config.seed)
    await _check_resumable(folder, sweep)
    folder.create()
    stop = Stop()
    with folder.locked(), folder.logging(), _stopped_by_signals(stop):
        await _check_resumable(folder, sweep)  # again: another process may have begun it before we held the lock
        async with RunWriter.open(folder.database) as writer:
            await _begin(writer, folder, sweep, len(plan))
            session = await writer.begin_session()
            log.info("run.started", run=folder.name, planned=len(plan), session=session)
            async with RunReader.open(folder.database) as reader:
                limits = sweep.config.limits
                budget = Budget(limits.cost_usd, (await reader.call_totals()).cost_usd)
                casts = casts_of(sweep, Lanes(sweep, writer, budget, models), loaded)
                runner = Runner(casts, writer, seed=sweep.config.seed, concurrency=limits.concurrency, stop=stop)
                with _stopped_by_time(stop, limits.time_s):
                    async with _shown(viewer, Monitor(reader, folder)):
                        await runner.run(plan)
                state = stop.reason or "finished"
                await writer.end_session(session, state)
                log.info("run.ended", run=folder.name, state=state, reason=stop.message)
                snapshot = await Monitor(reader, folder).snapshot(failures=True)
    return RunResult(folder, state, stop.message, snapshot, sweep.config.limits.failed_share)


async def _check_resumable(folder: RunFolder, sweep: Sweep) -> None:
    """Whether the folder is free, or holds this very sweep. Raises InputError that names what differs."""
    if not folder.exists:
        return
    async with RunReader.open(folder.database) as reader:
        meta = await reader.meta()
    if not meta:
        return  # killed before its first commit
    if meta["kind"] != "sweep":
        raise InputError(f"{folder.name!r} holds imported outcomes: choose another --name", path=folder.path)
    now = sweep.identity()
    differing = [key for key in now if meta["identity"].get(key) != now[key]]
    if differing:
        raise InputError(
            f"a run named {folder.name!r} exists with other settings ({', '.join(differing)}): choose another --name, or undo "
            f"the change; what it was started with is in {folder.sweep}",
            path=folder.path,
        )


async def _begin(writer: RunWriter, folder: RunFolder, sweep: Sweep, planned: int) -> None:
    async with RunReader.open(folder.database) as reader:
        begun = bool(await reader.meta())
    if not begun:
        await writer.begin(
            {
                "kind": "sweep",
                "name": sweep.config.name,
                "source": sweep.source,
                "planned": planned,
                "seed": sweep.config.seed,
                "identity": sweep.identity(),
                "sweep": sweep.config.model_dump(mode="json", exclude_none=True),
                "world": sweep.world.model_dump(mode="json", exclude_none=True) if sweep.world else None,
                "versions": versions(),
            },
            sweep.value_set,
        )
    await writer.add_scenarios(sweep.scenarios, {prompt.version: prompt.text for prompt in agents.all_prompts()})
    folder.write_sweep(sweep.as_executed())


def versions() -> dict[str, str]:
    """What made a run: Python and the packages that matter."""
    packages = ("conflictscope", "pydantic-ai-slim", "openai", "anthropic", "trueskill", "numpy")
    return {"python": platform.python_version(), **{package: metadata.version(package) for package in packages}}


@contextmanager
def _stopped_by_signals(stop: Stop) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # signals go to the main thread; whoever runs us elsewhere cancels the task instead
        return
    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM)
    for number in signals:
        loop.add_signal_handler(number, stop.interrupt)
    try:
        yield
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


@contextmanager
def _stopped_by_time(stop: Stop, time_s: float | None) -> Iterator[None]:
    if time_s is None:
        yield
        return
    message = f"{time_s:g} s have passed (limits.time_s)"
    timer = asyncio.get_running_loop().call_later(time_s, stop.request, "limit", message)
    try:
        yield
    finally:
        timer.cancel()


@asynccontextmanager
async def _shown(viewer: Viewer | None, monitor: Monitor) -> AsyncIterator[None]:
    if viewer is None:
        yield
        return
    task = asyncio.create_task(_isolated(viewer, monitor))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _isolated(viewer: Viewer, monitor: Monitor) -> None:
    """A view that breaks must not take the run with it; what broke it is in the log."""
    try:
        await viewer(monitor)
    except Exception as error:  # noqa: BLE001 - whatever it was, it is in the log
        log.warning("view.failed", error=f"{type(error).__name__}: {error}")
