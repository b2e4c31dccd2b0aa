"""Executing a sweep in its run folder: begin or resume, play, stop cleanly, say how it ended."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import structlog

from conflictscope.arena import Budget, Plan, Runner, Stop
from conflictscope.errors import InputError
from conflictscope.monitor import PATIENCE_S, Monitor
from conflictscope.pipeline.casting import Lanes, build_models, load_agents
from conflictscope.pipeline.executing import cluster_of, executor_of
from conflictscope.pipeline.judging import measured_votes
from conflictscope.pipeline.models import Models
from conflictscope.pipeline.preflight import preflight, preflight_questions
from conflictscope.pipeline.scheduling import build_scheduler
from conflictscope.pipeline.showing import shown
from conflictscope.pipeline.stopping import stopped_by_signals, stopped_by_time, unless_stopped
from conflictscope.pipeline.sweep import Sweep, SweepFile, load_beside
from conflictscope.pipeline.versions import versions
from conflictscope.planted import Lexicon
from conflictscope.redaction import know_secrets, redact
from conflictscope.runfolder import RunFolder
from conflictscope.snapshot import Snapshot
from conflictscope.store import RunReader, RunWriter

_KEYS_AT_ONCE = 1_000

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class RunResult:
    """How an execution ended.

    state: `finished`; `converged` (every ranking is settled); `enough` (limits.done_share was reached); `interrupted`; `limit`;
    `failed` (a lane was closed). message: why, in words. left: keys of the episodes that are left, where the run ended with
    `enough` or `failed`. in_batches: how many calls wait in batches, which a resume collects.
    """

    folder: RunFolder
    state: str
    message: str
    snapshot: Snapshot
    failed_share_allowed: float
    left: Sequence[str] = ()
    in_batches: int = 0

    @property
    def exit_code(self) -> int:
        """0 done, 1 too many failed episodes or a closed lane, 3 a limit, 130 interrupted."""
        progress = self.snapshot.progress
        too_many_failed = progress.failed > self.failed_share_allowed * max(1, progress.done)
        return {"failed": 1, "limit": 3, "interrupted": 130}.get(self.state, int(too_many_failed))


Viewer = Callable[[Monitor], Awaitable[None]]


async def run_sweep(
    sweep: Sweep,
    runs_dir: Path,
    viewer: Viewer | None = None,
    tell: Callable[[str], None] = lambda text: None,
    *,
    spent_usd: float = 0.0,
    spent_s: float = 0.0,
) -> RunResult:
    """Execute a sweep, or what is left of it, in its folder under `runs_dir`.

    viewer: shows the run while it goes on, from its file; it is cancelled when the run ends. tell: shows a line before that.
    spent_usd, spent_s: what the making of its library cost, and how long it took just now, which count against its limits.
    Raises InputError where the run cannot start, StoreError where it can no longer be written.
    """
    know_secrets()
    sweep = await measured_votes(sweep)
    folder = RunFolder.named(sweep.config.name, runs_dir)
    limits = sweep.config.limits
    loaded = load_agents(sweep.config, sweep.base)
    async with AsyncExitStack() as house, Models(sweep.config, sweep.world, Lexicon.of(sweep.scenarios)) as make:
        try:
            models = build_models(sweep.config, make, loaded)
        except InputError as error:
            raise InputError(str(error), path=sweep.source) from None
        plan = Plan(sweep.scenarios, sweep.groups, sweep.config.repeats, sweep.config.seed)
        await _check_resumable(folder, sweep)
        cluster = await house.enter_async_context(cluster_of(sweep.config, tell))
        folder.create()
        stop = Stop()
        with folder.locked(), folder.logging(), stopped_by_signals(stop, tell):
            await _check_resumable(folder, sweep)  # again: another process may have begun it before we held the lock
            async with RunWriter.open(folder.database) as writer, RunReader.open(folder.database) as reader:
                await _begin(writer, folder, sweep, len(plan))
                config = sweep.config
                session = await writer.begin_session(
                    {
                        "limits": limits.model_dump(),
                        "stop": config.stop.model_dump(),
                        "schedule": config.schedule.model_dump(),
                    }
                )
                scheduler, settling = await build_scheduler(sweep, plan, writer, reader)
                stored = await reader.episodes()
                if stored:
                    rest = f"{len(plan) - stored:,} are left" if stored < len(plan) else "nothing is left to ask"
                    if stored < len(plan) and settling.all:
                        rest = "and every ranking is settled"
                    tell(f"Resuming {folder.name}: {stored:,} of {len(plan):,} episodes are there, {rest}.")
                log.info("run.started", run=folder.name, planned=len(plan), session=session)
                _, spent_before_usd = await reader.spent_usd()
                budget = Budget(limits.cost_usd, spent_usd + spent_before_usd)
                lanes = Lanes(sweep.config, writer, budget, models)
                for name in models:
                    lanes.to(name)
                former = await writer.sent_batches()
                if former and cluster is not None:
                    raise InputError(
                        'calls of this run wait in batches, which only this process can collect: set executor.kind = "local"',
                        path=folder.path,
                    )
                lanes.resume(former)
                monitor = Monitor(reader, folder, PATIENCE_S)
                try:
                    time_s = None if limits.time_s is None else max(0.0, limits.time_s - spent_s)
                    async with lanes.recorded(writer):
                        with stopped_by_time(stop, time_s):
                            if (some_left := stored < len(plan)) and not settling.all:
                                await unless_stopped(
                                    stop, preflight(preflight_questions(sweep.config), lanes, writer, session, tell)
                                )
                            if some_left and not stop.asked:  # else the plan need not be looked through
                                async with (
                                    executor_of(sweep, cluster, loaded, lanes, writer, budget, stop) as executor,
                                    shown(partial(viewer, monitor) if viewer else None),
                                ):
                                    runner = Runner(
                                        executor,
                                        writer,
                                        concurrency=limits.concurrency,
                                        stop=stop,
                                        enough=math.ceil(limits.done_share * len(plan))
                                        if limits.done_share < 1
                                        else None,
                                        stored=stored,
                                    )
                                    await runner.run(scheduler)
                except InputError:
                    await writer.end_session(session, "failed")
                    raise
                finally:
                    await lanes.close()
                closed = lanes.closed()
                state = stop.reason or ("failed" if closed else "converged" if settling.all else "finished")
                message = stop.message or "\n".join(closed)
                await writer.end_session(session, state)
                log.info("run.ended", run=folder.name, state=state, reason=message)
                while (snapshot := await monitor.snapshot(failures=True)).progress.read < 1:
                    pass  # what a viewer has read of a long run is not read again
                left = await _left(plan, writer) if state in ("enough", "failed") else []
                in_batches = await reader.in_batches()
    return RunResult(folder, state, message, snapshot, limits.failed_share, left, in_batches)


async def check_before_library(file: SweepFile) -> None:
    """Check all of a sweep that hangs on no scenario, before a library is made for it. Raises InputError."""
    _, world = load_beside(file)
    loaded = load_agents(file.config, file.path.parent)
    async with Models(file.config, world, Lexicon.of(())) as make:
        try:
            build_models(file.config, make, loaded)
        except InputError as error:
            raise InputError(str(error), path=file.source) from None


async def _left(plan: Plan, writer: RunWriter) -> list[str]:
    """Keys of the planned episodes that are not stored."""
    keys = (spec.key for spec in plan)
    left: list[str] = []
    while some := list(islice(keys, _KEYS_AT_ONCE)):
        finished = await writer.finished(some)
        left += (key for key in some if key not in finished)
    return left


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
    behaviors = {each.version: redact(each.source) for loaded in sweep.behaviors.values() for each in loaded}
    await writer.add_scenarios(sweep.scenarios, sweep.prompts() | behaviors)
    folder.write_sweep(sweep.as_executed())
