"""Playing episodes: a fixed crew of workers, each of which takes the next episode when it is free; a clean stop."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from conflictscope.arena.scheduler import Scheduler
from conflictscope.errors import LaneClosed, LimitReached
from conflictscope.ports import EpisodeSink, Executor

GRACE_S = 5.0
_GC_THRESHOLD = 20_000

log = structlog.get_logger()


class Stop:
    """Asks a runner to stop taking new work. The first reason given is the one that is told.

    reason: None while nobody asked, then `interrupted`, `limit` or `enough`.
    """

    def __init__(self) -> None:
        self.reason: str | None = None
        self.message = ""
        self._asked = asyncio.Event()
        self._hurry = asyncio.Event()

    def request(self, reason: str, message: str = "") -> None:
        """Take no new work; what is in flight has GRACE_S to finish."""
        if not self._asked.is_set():
            self.reason, self.message = reason, message
            self._asked.set()

    def interrupt(self) -> None:
        """What Ctrl-C does: stop; where a stop was asked for already, abandon what is in flight at once."""
        if self._asked.is_set():
            self._hurry.set()
        self.request("interrupted")

    @property
    def asked(self) -> bool:
        """Whether somebody asked."""
        return self._asked.is_set()

    async def wait(self) -> None:
        """Return when somebody asked."""
        await self._asked.wait()

    async def patience_ends(self) -> None:
        """Return when what is in flight must be abandoned."""
        await self._asked.wait()
        try:
            async with asyncio.timeout(GRACE_S):
                await self._hurry.wait()
        except TimeoutError:
            return


class Runner:
    """Has the episodes played that a scheduler hands out, at most `concurrency` at a time.

    enough: how many stored episodes of the plan are enough to stop. stored: how many there are already.
    """

    def __init__(
        self,
        executor: Executor,
        sink: EpisodeSink,
        *,
        concurrency: int,
        stop: Stop,
        enough: int | None = None,
        stored: int = 0,
    ) -> None:
        self._executor = executor
        self._sink = sink
        self._concurrency = concurrency
        self._stop = stop
        self._enough = enough
        self._done = stored

    async def run(self, scheduler: Scheduler) -> None:
        """Play until the scheduler has no more or `stop` is asked for."""
        self._count(0)
        with collector_out_of_the_way():
            try:
                async with asyncio.TaskGroup() as watch:
                    async with asyncio.TaskGroup() as crew:
                        workers = [
                            crew.create_task(self._work(scheduler))
                            for _ in range(min(self._concurrency, len(scheduler)))
                        ]
                        watcher = watch.create_task(self._abandon(workers))
                    watcher.cancel()
            finally:
                await self._executor.close()

    def _count(self, done: int) -> None:
        self._done += done
        if self._enough is not None and self._done >= self._enough:
            self._stop.request("enough", f"{self._done:,} episodes have ended (limits.done_share)")

    async def _work(self, scheduler: Scheduler) -> None:
        while not self._stop.asked and (assignment := await scheduler.next(self._executor.closed)) is not None:
            outcome = None
            try:
                if not self._stop.asked:
                    record = await self._executor.play(assignment)
                    await self._sink.record_episode(record)
                    outcome = record.outcome
                    turns = len(record.transcript)
                    log.info("episode.resolved", key=assignment.spec.key, verdict=outcome.verdict.value, turns=turns)
                    self._count(1)
            except LaneClosed as closed:
                log.info("episode.left", key=assignment.spec.key, error=str(closed))
            except LimitReached as limit:
                self._stop.request("limit", str(limit))
            finally:
                scheduler.returned(assignment, outcome)

    async def _abandon(self, tasks: list[asyncio.Task[None]]) -> None:
        await self._stop.patience_ends()
        for task in tasks:
            task.cancel()


@contextmanager
def collector_out_of_the_way() -> Iterator[None]:
    """Collect garbage less often while episodes run; with a thousand in flight it costs a quarter of the time."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
