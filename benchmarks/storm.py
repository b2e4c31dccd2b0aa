"""Goodput and rejections against a service with a limit of requests per minute.

    python -m benchmarks.storm

A planted server allows a model 300 requests per minute in a sliding window and answers all others with 429. The same sweep (899
episodes of one call, 200 in flight) is run with the limit in its file, and with nothing but what the server's headers say. A
window lets its first 300 in at once, so goodput is what came after them, per minute, divided by 300. Takes about four minutes.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from pathlib import Path

from benchmarks.served import serving
from benchmarks.worlds import write_sweep
from conflictscope import pipeline

PER_MINUTE = 300
EPISODES = 899  # and one question before them
CONCURRENCY = 200


def storm(name: str, *settings: str) -> None:
    """Run once, and print what came through."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)

        def write(base_url: str | None) -> Path:
            return write_sweep(
                folder,
                scenarios=EPISODES,
                targets=1,
                concurrency=CONCURRENCY,
                median_s=0.5,
                p95_s=1.0,
                base_url=base_url,
                limits={"requests_per_minute": PER_MINUTE},
            )

        write(None)
        with serving(folder) as server:
            sweep = pipeline.load_sweep(str(write(server.openai_url)), ['modes=["multiple_choice"]', *settings])
            started = time.monotonic()
            result = asyncio.run(pipeline.run_sweep(sweep, folder / "runs"))
            seconds = time.monotonic() - started
            metrics = server.metrics()
    goodput = (metrics["answered"] - PER_MINUTE) / (seconds / 60) / PER_MINUTE
    rejected = metrics["rejected"] / metrics["requests"]
    progress = result.snapshot.progress
    print(
        f"{name:<18}{progress.done:>9,}{progress.failed:>8,}{seconds:>9.1f}{metrics['requests']:>10,}"
        f"{goodput:>9.1%}{rejected:>10.2%}"
    )


def main() -> None:
    """Both ways."""
    os.environ["OPENAI_API_KEY"] = "not-a-real-key"
    print(f"{'limit':<18}{'episodes':>9}{'failed':>8}{'seconds':>9}{'requests':>10}{'goodput':>9}{'rejected':>10}")
    storm("in the sweep file", f"providers.openai.requests_per_minute={PER_MINUTE}")
    storm("from headers")


if __name__ == "__main__":
    main()
