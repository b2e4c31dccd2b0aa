"""What the executor `ray` costs and gains on this machine, and what that means for a cluster.

    python -m benchmarks.executors            about three minutes on an idle machine
    python -m benchmarks.executors --json

1. CPU of the driver per episode of three planted calls: all of the process, the run file and the ratings included, beside
   what an episode takes in one process (`local`). Free calls, and calls that cost money under a budget, each of which is
   committed before it is sent.
2. Episodes per second of 1 and of 2 workers where playing takes the CPU: half of the episodes have a behaviour that computes for
   40 ms. The driver needs a core too: what is left of the second one is the second worker's. Wall time is worth something on
   an idle machine only; how the CPU of the workers is spread (the whole of one over the busier of two) is so on any.
3. A plan for 64 nodes of 32 cores: as many episodes in flight as a worker can take, three calls of 8 s in the median each, and a
   driver that needs what was measured. Simulated, not run.

Every figure is a slope between a small and a large run, so that starting Ray, importing and connecting do not count.
"""

from __future__ import annotations

import argparse
import asyncio
import heapq
import json
import math
import os
import platform
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.worlds import write_sweep
from conflictscope import pipeline

COMPUTING = """
import time
from conflictscope import Behavior, Role

class Computing(Behavior):
    role = Role.TARGET

    async def outgoing(self, message, turn):
        until = time.thread_time() + 0.04
        while time.thread_time() < until:
            pass
        return message
"""
PRICES = [
    f"prices.planted:{name}={{input_usd=1.0,output_usd=4.0}}" for name in ("alpha", "beta", "gamma", "user", "judge")
]
FREE_SMALL, FREE_LARGE = 100, 1_100  # scenarios, for three targets each
BUSY_SMALL, BUSY_LARGE = 10, 110
NODES, CORES, IN_FLIGHT, CALL_S, EPISODES = 64, 32, 64, 8.0, 500_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    as_json = parser.parse_args().json
    BUSIEST.start()
    local = slope(FREE_SMALL, FREE_LARGE, ["executor.kind=local"])
    free = slope(FREE_SMALL, FREE_LARGE, ray(1))
    paid = slope(FREE_SMALL, FREE_LARGE, [*ray(1), *PRICES, "limits.cost_usd=100000"])
    busy = {workers: slope(BUSY_SMALL, BUSY_LARGE, ray(workers), computing=True) for workers in (1, 2)}
    figures = {
        "python": platform.python_version(),
        "ray": metadata.version("ray"),
        "cores": len(os.sched_getaffinity(0)),
        "load_before": round(os.getloadavg()[0], 1),
        "local": local,
        "driver_free_calls": free,
        "driver_paid_calls": paid,
        "computing_1_worker": busy[1],
        "computing_2_workers": busy[2],
        "2_workers_over_1": round(busy[2]["episodes_per_s"] / busy[1]["episodes_per_s"], 2),
        "2_workers_over_1_by_cpu": round(
            busy[1]["busiest_worker_cpu_s"] / max(busy[2]["busiest_worker_cpu_s"], busy[2]["driver_cpu_s"]), 2
        ),
        "plan_for_64_nodes": {
            "free": plan(free["cpu_us_per_episode"] / 1e6),
            "paid": plan(paid["cpu_us_per_episode"] / 1e6),
        },
    }
    if as_json:
        print(json.dumps(figures, indent=2))
        return
    for name, values in figures.items():
        print(f"{name}: {values}")


def ray(workers: int) -> list[str]:
    return ["executor.kind=ray", f"executor.workers={workers}"]


def slope(small: int, large: int, overrides: Sequence[str], *, computing: bool = False) -> dict[str, Any]:
    """Wall time and CPU of this process per episode, between a small and a large run."""
    few, wall_few, cpu_few = played(small, overrides, computing)
    BUSIEST.forget()
    many, wall_many, cpu_many = played(large, overrides, computing)
    return {
        "episodes": many,
        "episodes_per_s": round((many - few) / (wall_many - wall_few), 1),
        "cpu_us_per_episode": round(1e6 * (cpu_many - cpu_few) / (many - few)),
        **(
            {"driver_cpu_s": round(cpu_many, 2), "busiest_worker_cpu_s": round(BUSIEST.seconds(), 2)}
            if computing
            else {}
        ),
    }


class Busiest(threading.Thread):
    """Looks now and then at what CPU our workers have taken since they were first seen."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._seen: dict[int, tuple[float, float]] = {}  # by process: at the first look, at the last

    def run(self) -> None:
        while True:
            for folder in Path("/proc").glob("[0-9]*"):
                try:
                    ours = (folder / "cmdline").read_bytes().startswith(b"ray::RayWorker") and descends(
                        int(folder.name)
                    )
                    now = cpu_s(int(folder.name)) if ours else None
                except (OSError, ValueError):
                    continue  # it has ended
                if now is not None:
                    self._seen[int(folder.name)] = self._seen.get(int(folder.name), (now, now))[0], now
            time.sleep(0.2)

    def forget(self) -> None:
        self._seen.clear()

    def seconds(self) -> float:
        """Of the worker that took most."""
        return max((last - first for first, last in self._seen.values()), default=0.0)


BUSIEST = Busiest()


def stat(process: int) -> list[str]:
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()


def cpu_s(process: int) -> float:
    return sum(int(ticks) for ticks in stat(process)[11:13]) / os.sysconf("SC_CLK_TCK")


def descends(process: int) -> bool:
    """Whether a process is ours."""
    while process > 1 and process != os.getpid():
        process = int(stat(process)[1])
    return process == os.getpid()


def played(scenarios: int, overrides: Sequence[str], computing: bool) -> tuple[int, float, float]:
    """A run: its episodes, wall time and CPU of this process, all threads."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = write_sweep(folder, scenarios=scenarios, concurrency=64)
        (folder / "computing.py").write_text(COMPUTING)
        behaviors = ["./computing.py:Computing"] if computing else []
        sweep = pipeline.load_sweep(str(path), overrides, behaviors=[str(folder / each) for each in behaviors])
        started, cpu = time.perf_counter(), time.process_time()
        result = asyncio.run(pipeline.run_sweep(sweep, folder / "runs"))
        assert result.state == "finished", result.message
        return result.snapshot.progress.done, time.perf_counter() - started, time.process_time() - cpu


def plan(driver_s: float) -> dict[str, Any]:
    """A closed queue: every episode is with a worker for its three calls, then with the one driver for `driver_s`."""
    draw = random.Random(1)

    def episode_s() -> float:
        return sum(CALL_S * draw.lognormvariate(0.0, 0.5) for _ in range(3))

    in_flight = NODES * CORES * IN_FLIGHT
    resolving = [episode_s() for _ in range(in_flight)]
    heapq.heapify(resolving)
    free_at, waits = 0.0, []
    for _ in range(EPISODES):
        ready = resolving[0]
        free_at = max(free_at, ready) + driver_s
        waits.append(free_at - ready)
        heapq.heapreplace(resolving, free_at + episode_s())
    mean_s = 3 * CALL_S * math.exp(0.5**2 / 2)  # a lognormal has that mean over its median
    return {
        "in_flight": in_flight,
        "episodes_per_s": round(EPISODES / free_at),
        "without_a_driver": round(in_flight / mean_s),
        "driver_can_do": round(1 / driver_s),
        "median_wait_s": round(statistics.median(waits), 3),
    }


if __name__ == "__main__":
    main()
