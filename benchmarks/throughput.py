"""Episodes per second, and wall time against the ideal.

    python -m benchmarks.throughput            both measurements, about a minute
    python -m benchmarks.throughput --json

1. Latency 0: 3 targets x 250 scenarios in process, on one core (the process is pinned to it); then ten times as many
   episodes, to show that memory does not grow with them.
2. Planted latencies (median 2 s, p95 5 s), 1,000 in flight, 3,000 three-call episodes (user, target, judge). The ideal is
   the same plan with the same drawn latencies, replayed by workers that need no time of their own.
"""

from __future__ import annotations

import argparse
import asyncio
import heapq
import json
import os
import platform
import resource
import sqlite3
import tempfile
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmarks.worlds import write_sweep
from conflictscope import pipeline
from conflictscope.arena import Plan
from conflictscope.store import readable


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    as_json = parser.parse_args().json
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    figures: dict[str, Any] = {
        "python": platform.python_version(),
        "latency_0_warm_up": _no_latency(50),
        "latency_0": _no_latency(250),
        "latency_0_ten_times": _no_latency(2_500),
        "in_flight_1000": _against_ideal(3_000, 1_000, 2.0, 5.0),
    }
    if as_json:
        print(json.dumps(figures, indent=2))
        return
    for name, values in figures.items():
        print(f"{name}: " + (values if isinstance(values, str) else ", ".join(f"{k} {v}" for k, v in values.items())))


def _no_latency(scenarios: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        sweep = pipeline.load_sweep(str(write_sweep(Path(folder), scenarios=scenarios)))
        started, cpu = time.perf_counter(), time.process_time()
        result = asyncio.run(pipeline.run_sweep(sweep, Path(folder) / "runs"))
        wall, used = time.perf_counter() - started, time.process_time() - cpu
    done = result.snapshot.progress.done
    return {
        "episodes": done,
        "calls": result.snapshot.progress.total.calls,
        "episodes_per_s": round(done / wall),
        "cpu_ms_per_episode": round(1000 * used / done, 2),
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def _against_ideal(episodes: int, in_flight: int, median_s: float, p95_s: float) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = write_sweep(
            Path(folder), scenarios=episodes, targets=1, concurrency=in_flight, median_s=median_s, p95_s=p95_s
        )
        sweep = pipeline.load_sweep(str(path))
        started, cpu = time.perf_counter(), time.process_time()
        result = asyncio.run(pipeline.run_sweep(sweep, Path(folder) / "runs"))
        wall, used = time.perf_counter() - started, time.process_time() - cpu
        ideal = replayed(sweep, drawn_latencies(result.folder.database), in_flight)
    return {
        "episodes": result.snapshot.progress.done,
        "calls": result.snapshot.progress.total.calls,
        "wall_s": round(wall, 2),
        "ideal_s": round(ideal, 2),
        "wall_over_ideal": round(wall / ideal, 3),
        "cpu_s": round(used, 2),
    }


def drawn_latencies(database: Path) -> dict[str, float]:
    """Seconds that planted models in process took on purpose, by the scope of the calls."""
    drawn: dict[str, float] = {}
    with closing(readable(sqlite3.connect(database))) as connection:
        for scope, reply in connection.execute("SELECT scope, body(reply) FROM calls"):
            drawn[scope] = drawn.get(scope, 0.0) + json.loads(reply)["provider_details"]["latency_s"]
    return drawn


def replayed(sweep: pipeline.Sweep, drawn: Mapping[str, float], in_flight: int) -> float:
    """Seconds until the last episode ends where each takes exactly the latencies that its models drew, and nothing else time."""
    free_at = [0.0] * in_flight
    for spec in Plan(sweep.scenarios, sweep.groups, sweep.config.repeats, sweep.config.seed):
        needed = drawn[spec.key] + drawn.get(f"opening/{spec.scenario.id}", 0.0)
        heapq.heapreplace(free_at, free_at[0] + needed)
    return max(free_at)


if __name__ == "__main__":
    main()
