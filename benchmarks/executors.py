"""What the executor `ray` costs and gains on this machine, and what that means for a cluster: about three minutes.

1. CPU of the process that one starts, all threads, the run file and the ratings included, per episode of three planted calls:
   `local`, which plays them too; the driver of one worker, with free calls, and with calls that cost money under a budget, each
   of which is committed before it is sent. A slope between a small and a large run, so that what happens once does not count.
2. Episodes per second with 1 and with 2 workers where playing takes the CPU, 40 ms an episode: in the middle of each run, from
   a quarter of its episodes to nine tenths, where all workers are there and none has run dry; two runs each, taking turns. Wall
   time is worth something on an idle machine only, and the driver and Ray's own processes need a little of it, too; how the CPU
   is spread (the whole of one worker over the busier of two) is so on any.
3. A plan for 64 nodes of 8 workers: 131,072 episodes in flight, three calls of 8 s in the median each, and a driver that needs
   what was measured. Simulated, not run.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import os
import random
import sqlite3
import statistics
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.figures import Table, arguments, progress, show
from benchmarks.worlds import write_sweep
from conflictscope import pipeline
from conflictscope.arena import LocalExecutor, Seat, cluster

# Half of the episodes have the behaviour: 40 ms in the mean.
COMPUTING = """
import time
from conflictscope import Behavior, Role

class Computing(Behavior):
    role = Role.TARGET

    async def outgoing(self, message, turn):
        until = time.thread_time() + 0.08
        while time.thread_time() < until:
            pass
        return message
"""
PRICES = [
    f"prices.planted:{name}={{input_usd=1.0,output_usd=4.0}}" for name in ("alpha", "beta", "gamma", "user", "judge")
]
SMALL, LARGE = 100, 1_300  # scenarios, for three targets each
BUSY = 70  # scenarios, for three targets, with and without the behaviour
ROUNDS = 2
EXCHANGES = 1_000
NODES, WORKERS, IN_FLIGHT, CALL_S, EPISODES = 64, 8, 256, 8.0, 500_000


def main() -> None:
    given = arguments(__doc__).parse_args()
    paid_for = [*PRICES, "limits.cost_usd=100000"]
    local = slope_ms(["executor.kind=local"])
    free, paid = slope_ms(ray(1)), slope_ms([*ray(1), *paid_for])
    exchange = asyncio.run(exchange_ms())
    one, two = [], []
    for _ in range(ROUNDS):
        one.append(computed(1))
        two.append(computed(2))
        progress(f"1 worker {one[-1].episodes_per_s:.1f} episodes/s, 2 workers {two[-1].episodes_per_s:.1f}")
    by_wall = mean(run.episodes_per_s for run in two) / mean(run.episodes_per_s for run in one)
    by_cpu = mean(run.worker_ms for run in one) / mean(run.worker_ms for run in two)
    rows = [
        row("CPU per episode of three calls, `local`, which plays it too", f"{local:.2f} ms"),
        row("the same, driver, free calls", f"{free:.2f} ms"),
        row("the same, driver, calls that cost money", f"{paid:.2f} ms"),
        row("CPU of the driver for one exchange with a worker, whatever is in it", f"{exchange:.2f} ms"),
        row("40 ms of computing an episode, 1 worker", f"{mean(run.episodes_per_s for run in one):.1f} episodes/s"),
        row("the same, 2 workers", f"{mean(run.episodes_per_s for run in two):.1f} episodes/s"),
        row("2 workers over 1, wall time", f"{by_wall:.2f}"),
        row("2 workers over 1, by CPU: all of the one over the busier of two", f"{by_cpu:.2f}"),
    ]
    runs = "; ".join(
        f"1 worker {a.episodes_per_s:.1f}/s, {a.worker_ms:.1f} ms of its CPU an episode; 2 workers {b.episodes_per_s:.1f}/s, "
        f"{b.worker_ms:.1f} ms of the busier, {b.driver_cpu_s:.1f} s of the driver in all"
        for a, b in zip(one, two, strict=True)
    )
    notes = [
        f"CPU of the process that one starts. 2 workers over 1: {runs}.",
        f"Simulated: {NODES} nodes of {WORKERS} workers with {IN_FLIGHT} episodes in flight each, calls of {CALL_S:g} s.",
        f"Free calls: {plan(free, exchange, rounds=1)}.",
        f"Calls that cost money, which ask twice each before they go out: {plan(paid, exchange, rounds=7)}.",
    ]
    show(Table("executors", "The executor `ray`", rows, ["ray"], notes), given)


def row(what: str, figure: str) -> dict[str, str]:
    return {"what": what, "measured": figure}


def mean(figures: Any) -> float:
    return statistics.fmean(figures)


def ray(workers: int) -> list[str]:
    return ["executor.kind=ray", f"executor.workers={workers}"]


def slope_ms(overrides: Sequence[str]) -> float:
    """CPU of this process per episode, between a small and a large run."""
    few, many = played(SMALL, overrides), played(LARGE, overrides)
    return 1e3 * (many.driver_cpu_s - few.driver_cpu_s) / (many.episodes - few.episodes)


@dataclass(frozen=True)
class Run:
    """episodes_per_s: in its middle. worker_ms: CPU per episode there, all workers', of the worker that took most."""

    episodes: int
    episodes_per_s: float
    driver_cpu_s: float
    worker_ms: float


def computed(workers: int) -> Run:
    """A run whose episodes compute."""
    return played(BUSY, ray(workers), computing=True)


def played(scenarios: int, overrides: Sequence[str], *, computing: bool = False) -> Run:
    """A run, with what it took."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = write_sweep(folder, scenarios=scenarios, concurrency=64)
        (folder / "computing.py").write_text(COMPUTING)
        behaviors = [f"{folder}/computing.py:Computing"] if computing else []
        sweep = pipeline.load_sweep(str(path), overrides, behaviors=behaviors)
        cpu = time.process_time()
        with Busiest() as busiest:
            result = asyncio.run(pipeline.run_sweep(sweep, folder / "runs"))
        assert result.state == "finished", result.message
        took = time.process_time() - cpu
        database = sqlite3.connect(folder / "runs" / "bench" / "run.db")
        ends = [
            datetime.fromisoformat(at) for (at,) in database.execute("SELECT created_at FROM episodes ORDER BY seq")
        ]
        database.close()
        first, last = len(ends) // 4, len(ends) * 9 // 10
        begin, end = ends[first].timestamp(), ends[last].timestamp()
        worker_ms = 1e3 * busiest.cpu_s(begin, end) / (last - first)
        return Run(len(ends), (last - first) / max(1e-9, end - begin), took, worker_ms)


class Busiest(threading.Thread):
    """Looks now and then at what CPU our workers have taken."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._seen: dict[int, list[tuple[float, float]]] = {}  # by process: when, and how much by then
        self._over = threading.Event()

    def __enter__(self) -> Busiest:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        while not self._over.wait(0.2):
            for folder in Path("/proc").glob("[0-9]*"):
                try:
                    ours = (folder / "cmdline").read_bytes().startswith(b"ray::RayWorker") and descends(
                        int(folder.name)
                    )
                    now = cpu_s(int(folder.name)) if ours else None
                except (OSError, ValueError):
                    continue  # it has ended
                if now is not None:
                    self._seen.setdefault(int(folder.name), []).append((time.time(), now))

    def cpu_s(self, begin: float, end: float) -> float:
        """Of the worker that took most between two moments."""
        return max(
            (float(np.ptp(np.interp([begin, end], *np.transpose(seen)))) for seen in self._seen.values()), default=0.0
        )


def stat(process: int) -> list[str]:
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()


def cpu_s(process: int) -> float:
    return sum(int(ticks) for ticks in stat(process)[11:13]) / os.sysconf("SC_CLK_TCK")


def descends(process: int) -> bool:
    """Whether a process is ours."""
    while process > 1 and process != os.getpid():
        process = int(stat(process)[1])
    return process == os.getpid()


@asynccontextmanager
async def nothing_to_play(line: Any, journal: Any, openings: Any) -> AsyncIterator[Seat]:
    yield Seat(LocalExecutor({}, openings, seed=1), {}, list, dict)


async def exchange_ms() -> float:
    """CPU of the driver for saying something to a worker, and hearing that it was heard."""
    async with cluster(None, 1) as joined:
        worker = await joined.hiring(nothing_to_play, {})()
        await worker.take([])
        cpu = time.process_time()
        for _ in range(EXCHANGES):
            await worker.take([])
        return 1e3 * (time.process_time() - cpu) / EXCHANGES


def plan(driver_ms: float, exchange_ms: float, rounds: int) -> str:
    """A closed queue: every episode is with a worker for its three calls, then with the one driver for what that takes.

    rounds: how often an episode waits until the driver has been with all the workers, for each is heard and spoken to in turn.
    """
    draw = random.Random(1)
    workers, driver_s = NODES * WORKERS, driver_ms / 1e3
    waits_s = rounds * workers * 2 * exchange_ms / 1e3

    def episode_s() -> float:
        return waits_s + sum(CALL_S * draw.lognormvariate(0.0, 0.5) for _ in range(3))

    in_flight = workers * IN_FLIGHT
    resolving = [episode_s() for _ in range(in_flight)]
    heapq.heapify(resolving)
    free_at, queued = 0.0, []
    for _ in range(EPISODES):
        ready = resolving[0]
        free_at = max(free_at, ready) + driver_s
        queued.append(free_at - ready)
        heapq.heapreplace(resolving, free_at + episode_s())
    mean_s = 3 * CALL_S * math.exp(0.5**2 / 2)  # a lognormal has that mean over its median
    ideal, alone, queue_s = in_flight / mean_s, 1 / driver_s, statistics.median(queued)
    return (
        f"{EPISODES / free_at:,.0f} episodes per second of {ideal:,.0f} with a driver that takes no time (by itself it can do "
        f"{alone:,.0f}); an episode waits {waits_s:.1f} s for its turns and {queue_s:.1f} s in the queue"
    )


if __name__ == "__main__":
    main()
