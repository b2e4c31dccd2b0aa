"""Conversations in flight at realistic latencies, over HTTP: wall time against the time that no client could beat.

    python -m benchmarks.in_flight [IN_FLIGHT] [EPISODES]       default: 2,000 and 6,000, of three calls each

A planted server in another process takes its time for each reply (log-normal, median 8 s, 95th percentile 20 s). The client has
one core. The ideal is the same plan with the same latencies, played by as many workers to whom nothing else takes any time; the
wall time is that of the whole command after the preflight, which waits for its own reply.
"""

from __future__ import annotations

import asyncio
import os
import resource
import sqlite3
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path

from pydantic_ai.messages import ModelRequest, ModelResponse, TextPart, UserPromptPart

from benchmarks.served import serving
from benchmarks.throughput import replayed
from benchmarks.worlds import write_sweep
from conflictscope import pipeline
from conflictscope.arena.lanes.journal import RESPONSE, decode
from conflictscope.documents import read_document
from conflictscope.pipeline import Sweep
from conflictscope.planted import Lexicon, parse_world, planted_model
from conflictscope.store import readable

MEDIAN_S, P95_S = 8.0, 20.0


def drawn_latencies(sweep: Sweep, database: Path, world: Path) -> Mapping[str, float]:
    """Seconds that the server took on purpose, by the scope of the calls: each request is put to the planted model again."""
    planted, lexicon = parse_world(read_document(world)), Lexicon.of(sweep.scenarios)
    drawn: dict[str, float] = defaultdict(float)
    with closing(readable(sqlite3.connect(database))) as connection:
        for scope, name, request, body in connection.execute(
            "SELECT scope, model, body(request), body(reply) FROM calls WHERE state = 'committed'"
        ):
            messages, settings, _ = decode(request)
            last = messages[-1]
            assert isinstance(last, ModelRequest)
            texts = [
                "".join(str(part.content) for part in message.parts if isinstance(part, TextPart | UserPromptPart))
                for message in messages
            ]
            model = planted_model(planted, name.partition(":")[2], lexicon)
            again = model.reply(last.instructions or "", texts, settings.get("seed", 0), settings.get("max_tokens"))
            reply: ModelResponse = RESPONSE.validate_json(body)
            assert reply.text == again.text, "the server was asked something else than the journal says"
            drawn[scope] += again.latency_s
    return drawn


def preflight_s(database: Path) -> float:
    """Seconds from the first call to the first one of an episode."""
    with closing(sqlite3.connect(database)) as connection:
        [(first, episode)] = connection.execute(
            "SELECT min(created_at), min(created_at) FILTER (WHERE scope NOT LIKE 'preflight/%') FROM calls"
        ).fetchall()
    return (datetime.fromisoformat(episode) - datetime.fromisoformat(first)).total_seconds()


@contextmanager
def watched_sockets() -> Iterator[list[int]]:
    """The most files and sockets that this process had open at once, as the only item of a list."""
    most, over = [0], threading.Event()

    def watch() -> None:
        while not over.wait(0.25):
            most[0] = max(most[0], len(os.listdir("/proc/self/fd")))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield most
    finally:
        over.set()
        thread.join()


def main() -> None:
    """Run and print."""
    in_flight, episodes = (int(text) for text in sys.argv[1:3]) if len(sys.argv) > 2 else (2_000, 6_000)
    os.environ["OPENAI_API_KEY"] = "not-a-real-key"
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)

        def write(base_url: str | None) -> Path:
            return write_sweep(
                folder,
                scenarios=episodes,
                targets=1,
                concurrency=in_flight,
                median_s=MEDIAN_S,
                p95_s=P95_S,
                base_url=base_url,
            )

        write(None)
        with serving(folder, cores[-1]) as server:
            sweep = pipeline.load_sweep(str(write(server.openai_url)))
            os.sched_setaffinity(0, {cores[0]})
            started, cpu = time.perf_counter(), time.process_time()
            with watched_sockets() as most_files:
                result = asyncio.run(pipeline.run_sweep(sweep, folder / "runs"))
            seconds, cpu_s = time.perf_counter() - started, time.process_time() - cpu
            metrics = server.metrics()
        before_s = preflight_s(result.folder.database)
        drawn = drawn_latencies(sweep, result.folder.database, folder / "world.toml")
        ideal_s = replayed(sweep, drawn, in_flight)
    progress = result.snapshot.progress
    print(f"episodes                {progress.done:,} ({progress.failed} failed), {progress.total.calls:,} calls")
    print(f"preflight               {before_s:.1f} s")
    print(
        f"wall time / ideal       {seconds - before_s:.1f} s / {ideal_s:.1f} s = {(seconds - before_s) / ideal_s:.3f}"
    )
    print(f"CPU of the client       {cpu_s:.1f} s: {cpu_s / seconds:.2f} of a core")
    print(f"resident memory         {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MB at the most")
    print(f"open files and sockets  {most_files[0]:,} at the most")
    print(f"in flight on the server {metrics['highest_in_flight']:,} at the most; asked for: {in_flight:,}")
    print(f"connections             {metrics['connections_opened'] - 1:,} opened, and one to read these figures")


if __name__ == "__main__":
    main()
