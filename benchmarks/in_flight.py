"""Wall time of conversations in flight, over HTTP: ours, a plain script, and the time that no client could beat.

    python -m benchmarks.in_flight            about six minutes

100, 1,000 and 5,000 conversations begin at once, of three calls one after another; a planted server on another core takes two
seconds for each reply. The ideal is six seconds. The wall time is that from the first call of an episode to the end: of ours with
everything stored and rated, of the script (`asyncio.gather`) with all answers in a list. At 5,000 in flight the CPU of one core
is the limit; the executor `ray`, with two workers, stands beside it there, and shares two cores with the server.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.clients import Played
from benchmarks.executors import cpu_s
from benchmarks.figures import Table, arguments, progress, show
from benchmarks.jobs import make_job, played
from benchmarks.served import Server, serving
from benchmarks.worlds import write_sweep

CALL_S, CALLS = 2.0, 3
IDEAL_S = CALLS * CALL_S
IN_FLIGHT = (100, 1_000, 5_000)
SCRIPT, TUNED = "plain script", "plain script, our settings of the collector"
OURS, RAY = "ours", "ours on ray, 2 workers"
SETTINGS = {TUNED: ("collector",), RAY: ("executor.kind=ray", "executor.workers=2")}
ROUNDS = {1_000: 3}
"""Where a ratio is set a bound; else one round."""


@dataclass(frozen=True)
class Figures:
    """Of one client. server_s: CPU of the server. highest: requests that it had at once. connections: opened to it."""

    client: str
    in_flight: int
    played: Played
    server_s: float
    highest: int
    connections: int

    @property
    def wall_s(self) -> float:
        """From the first call of an episode on."""
        return self.played.wall_s - self.played.before_s

    def row(self, script: Figures) -> dict[str, str]:
        """A line of the table. script: the plain one, as many in flight."""
        busiest_s = max(self.played.cpu_s, self.played.busiest_worker_cpu_s)
        return {
            "in flight": f"{self.in_flight:,}",
            "client": self.client,
            "wall time, s": f"{self.wall_s:.2f}",
            "over ideal": f"{self.wall_s / IDEAL_S:.2f}",
            "over the script": f"{self.wall_s / script.wall_s:.2f}",
            "CPU s of the busiest process": f"{busiest_s:.1f}",
            "calls/s": f"{CALLS * self.in_flight / self.wall_s:,.0f}",
            "server, CPU s": f"{self.server_s:.1f}",
            "most at once": f"{self.highest:,}",
            "connections": f"{self.connections:,}",
        }


def measure(client: str, in_flight: int, cores: Sequence[int]) -> Figures:
    """One client, once, against a server of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_sweep(folder, scenarios=in_flight, targets=1, median_s=CALL_S, p95_s=CALL_S)
        with serving(folder, None if client == RAY else cores[-1]) as server:
            return asked(client, in_flight, server, folder, cores)


def asked(client: str, in_flight: int, server: Server, folder: Path, cores: Sequence[int]) -> Figures:
    """One client, once."""
    script = client in (SCRIPT, TUNED)
    # A script makes ready in the first conversation, as ours does before its own.
    job = make_job(folder, server.url, in_flight, [1, in_flight] if script else [in_flight], SETTINGS.get(client, ()))
    play = played("gather" if script else "ours", job, folder, None if client == RAY else cores[0])[-1]
    metrics = server.metrics()
    assert set(metrics["by_status"]) == {"200"}, metrics["by_status"]
    return Figures(
        client, in_flight, play, cpu_s(server.pid), metrics["highest_in_flight"], metrics["connections_opened"] - 1
    )


NOTES = (
    (
        f"The ideal is {IDEAL_S:g} s: {CALLS} calls of {CALL_S:g} s, one after another, all conversations at once. Wall times "
        "are from the first call of an episode to the end; at 1,000 in flight the middle one of three rounds that take turns."
    ),
    "The script has Python's garbage collector as it is; our runner keeps it out of the way, so a second script does so, too.",
    (
        "At 5,000 in flight 2,500 calls per second would have to begin; the limit is the CPU of one core, of which the busiest "
        "process (for `ray` the driver or a worker; start-up included) takes what the table says."
    ),
    "With `ray`, the driver, two workers and the server share all cores; else the client has one core and the server another.",
)


def main() -> None:
    """Measure and show."""
    given = arguments(__doc__).parse_args()
    cores = sorted(os.sched_getaffinity(0))
    rows = []
    for in_flight in IN_FLIGHT:
        clients = (SCRIPT, TUNED, OURS, *((RAY,) if in_flight == IN_FLIGHT[-1] else ()))
        found: dict[str, list[Figures]] = {client: [] for client in clients}
        for _ in range(ROUNDS.get(in_flight, 1)):
            for client in clients:
                found[client].append(measure(client, in_flight, cores))
                progress(f"{in_flight:,} in flight, {client}: {found[client][-1].wall_s:.2f} s")
        middle = [sorted(figures, key=lambda each: each.wall_s)[len(figures) // 2] for figures in found.values()]
        rows += [each.row(middle[0]) for each in middle]
    packages = ("openai", "pydantic-ai-slim", "aiohttp", "ray")
    show(Table("in_flight", "Wall time of conversations in flight", rows, packages, NOTES), given)


if __name__ == "__main__":
    main()
