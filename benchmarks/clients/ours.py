"""Ours: the run of a sweep, stored and rated. Settings are those of `--set`."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import tempfile
import time
from contextlib import closing, nullcontext
from datetime import datetime
from pathlib import Path

from benchmarks.clients import Clock, Job, Played, serve
from benchmarks.executors import Busiest
from benchmarks.worlds import write_sweep
from conflictscope import pipeline


def timed(job: Job, size: int) -> Played:
    """All of it, from the reading of the sweep file on."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = write_sweep(folder, scenarios=size, targets=1, concurrency=job.in_flight, base_url=f"{job.url}/v1")
        busiest = Busiest() if "executor.kind=ray" in job.settings else None
        began, clock = time.time(), Clock()
        sweep = pipeline.load_sweep(str(path), job.settings)
        with busiest or nullcontext():
            result = asyncio.run(pipeline.run_sweep(sweep, folder / "runs"))
        took = clock.played(size)
        assert result.state == "finished", (result.state, result.message)
        assert not result.snapshot.progress.failed, result.snapshot.progress.failures
        before_s = first_call(result.folder.database) - began
    return Played(size, took.wall_s, took.cpu_s, before_s, busiest.cpu_s(began, time.time()) if busiest else 0.0)


def first_call(database: Path) -> float:
    """When an episode asked for the first time, in seconds since the epoch; the preflight comes before."""
    with closing(sqlite3.connect(database)) as connection:
        [(moment,)] = connection.execute("SELECT min(created_at) FROM calls WHERE scope NOT LIKE 'preflight/%'")
    return datetime.fromisoformat(moment).timestamp()


if __name__ == "__main__":
    os.environ["OPENAI_API_KEY"] = "not-a-real-key"
    serve(timed)
