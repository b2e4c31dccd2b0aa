"""Episodes per second of the same job on the same planted server: ours, inspect-ai, a plain script, one call after another.

    python -m benchmarks.jobs                 about five minutes

A simulated user writes the opening message, the target replies, a judge answers with a verdict in a JSON schema; the texts are
those of our prompts for every client, the replies those of a planted world, at once. The server has one core, the client, a
process of its own, another. Each client plays the job three times in one process: to warm up, small and large. What an episode
takes is the slope between the last two, so that imports, preflights and connecting count for nobody. The server tells that every
client has asked for the same calls, and how busy it was.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.clients import OPENING, REPLY, Episode, Job, Played
from benchmarks.executors import cpu_s
from benchmarks.figures import Table, arguments, progress, show
from benchmarks.served import Server, serving
from benchmarks.worlds import write_sweep
from conflictscope.agents.judge import JudgeReply
from conflictscope.agents.participants import fenced_scenario
from conflictscope.agents.prompts import fenced_transcript, load_prompt
from conflictscope.library import load_library
from conflictscope.outcome import Message, Role
from conflictscope.scenario import Scenario

IN_FLIGHT = 100
ROUNDS = 2
WARM_UP = 20
SCENARIOS = 1_100
ROLES = ("user", "alpha", "judge")


@dataclass(frozen=True)
class Contender:
    """A client, and how it plays. small, large: episodes of the two plays whose difference counts."""

    name: str
    client: str
    small: int
    large: int
    in_flight: int = IN_FLIGHT
    settings: Sequence[str] = ()

    @property
    def sizes(self) -> Sequence[int]:
        """Of all its plays."""
        return min(WARM_UP, self.small), self.small, self.large


OURS = Contender("ours: `run`, stored and rated", "ours", 100, SCENARIOS)
CONTENDERS = (
    OURS,
    Contender("plain script: `asyncio.gather`", "gather", 100, SCENARIOS),
    Contender("plain script, our settings of the collector", "gather", 100, SCENARIOS, settings=("collector",)),
    # From 1,000 samples on inspect-ai writes its log less often; its best settings do so anyway.
    Contender("inspect-ai, defaults", "inspect_eval", 100, 1_000),
    Contender("inspect-ai, best settings", "inspect_eval", 100, 500, settings=("best",)),
    Contender("inspect-ai, best, on our transport", "inspect_eval", 100, 500, settings=("best", "aiohttp")),
    Contender("one call after another (the paper)", "gather", 10, 110, in_flight=1),
)


@dataclass(frozen=True)
class Figures:
    """What an episode took. server: share of its core that the server was busy. sent: tokens per call, as the server counts."""

    episodes_per_s: float
    cpu_ms: float
    server: float
    sent: float


def episode(number: int, scenario: Scenario) -> Episode:
    """What our own roles ask about a scenario."""
    user, judge = load_prompt("user"), load_prompt("judge")
    told = fenced_scenario(scenario, "a" if number % 2 else "b")
    transcript = fenced_transcript([Message(Role.USER, OPENING), Message(Role.TARGET, REPLY)])
    message = judge.message(
        situation=told["situation"], action_1=told["action_1"], action_2=told["action_2"], transcript=transcript
    )
    return Episode((user.instructions(**told), user.message()), (judge.instructions(), message), seed=3 * number)


def make_job(folder: Path, url: str, in_flight: int, sizes: Sequence[int], settings: Sequence[str] = ()) -> Job:
    """The job for the scenarios that `write_sweep` wrote into a folder."""
    schema = {"name": JudgeReply.__name__, "schema": JudgeReply.model_json_schema(), "strict": True}
    episodes = [episode(*each) for each in enumerate(load_library(folder / "library.jsonl")[: max(sizes)])]
    return Job(url, in_flight, sizes, episodes, {"type": "json_schema", "json_schema": schema}, settings)


def played(client: str, job: Job, folder: Path, core: int | None) -> list[Played]:
    """What each play of a job took. core: which the client is pinned to."""
    path = folder / "job.json"
    job.write(path)
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.clients.{client}", str(path)],
        stdout=subprocess.PIPE,
        check=True,
        preexec_fn=None if core is None else lambda: os.sched_setaffinity(0, {core}),
    )
    return [Played(**each) for each in json.loads(done.stdout.splitlines()[-1])]


def measure(contender: Contender, server: Server, folder: Path, core: int) -> Figures:
    """One contender, once."""
    job = make_job(folder, server.url, contender.in_flight, contender.sizes, contender.settings)
    before, busy_s = server.metrics(), cpu_s(server.pid)
    plays = played(contender.client, job, folder, core)
    after, busy_s = server.metrics(), cpu_s(server.pid) - busy_s
    sent = check_calls(before, after, contender)
    small, large = plays[-2:]
    episodes = large.episodes - small.episodes
    return Figures(
        episodes / (large.wall_s - small.wall_s),
        1_000 * (large.cpu_s - small.cpu_s) / episodes,
        busy_s / sum(play.wall_s for play in plays),
        sent,
    )


def check_calls(before: Mapping[str, Any], after: Mapping[str, Any], contender: Contender) -> float:
    """Hold a client to three calls an episode, all of them answered, beside one to each model before a run of ours.

    Returns the tokens that it has sent per call.
    """
    more = len(contender.sizes) if contender.client == "ours" else 0
    calls = {name: after["by_model"][name] - before["by_model"].get(name, 0) for name in ROLES}
    assert calls == dict.fromkeys(ROLES, sum(contender.sizes) + more), (contender.name, calls)
    assert set(after["by_status"]) == {"200"}, (contender.name, after["by_status"])
    return float(after["input_tokens"] - before["input_tokens"]) / sum(calls.values())


NOTES = (
    f"Means of {ROUNDS} rounds; replies come at once, so that the CPU of one core is the limit of every client.",
    (
        "inspect-ai: a task with a solver for user and target and a scorer that asks the judge for the same JSON schema; "
        "chat completions, `display=none`, its `.eval` log with all samples. At its defaults it keeps 10 to 100 connections."
    ),
    (
        f"Its best settings: `max_connections` and `max_samples` {IN_FLIGHT}; `log_realtime`, `log_model_api`, "
        "`log_refusals`, `score_display` and `ctl_server` off; the log written once, at levels `error`. Its last row has an "
        "`http_client` on aiohttp besides, which takes code of one's own."
    ),
    (
        "The script, and one call after another, are on the same SDK and transport; they store, rate and retry nothing. "
        "They have Python's garbage collector as it is; our runner keeps it out of the way, so a second script does so, too."
    ),
)


def main() -> None:
    """Serve on one core, play on another."""
    given = arguments(__doc__).parse_args()
    cores = sorted(os.sched_getaffinity(0))
    measured: dict[Contender, list[Figures]] = {contender: [] for contender in CONTENDERS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_sweep(folder, scenarios=SCENARIOS, targets=1)
        with serving(folder, cores[-1]) as server:
            for _ in range(ROUNDS):
                for contender, figures in measured.items():
                    figures.append(measure(contender, server, folder, cores[0]))
                    progress(f"{contender.name}: {figures[-1].episodes_per_s:.1f} episodes/s")
    means = {contender: of_rounds(figures) for contender, figures in measured.items()}
    check_texts(means)
    table = Table(
        "jobs",
        "Episodes per second: ours, inspect-ai, a plain script, one call after another",
        rows(means),
        ("inspect-ai", "openai", "pydantic-ai-slim", "aiohttp"),
        NOTES,
    )
    show(table, given)


def of_rounds(figures: Sequence[Figures]) -> Figures:
    """The means."""
    return Figures(*map(mean, zip(*map(astuple, figures), strict=True)))


def check_texts(measured: Mapping[Contender, Figures]) -> None:
    """Hold every client to the same texts, by their tokens."""
    for contender, figures in measured.items():
        assert abs(figures.sent / measured[OURS].sent - 1) < 0.02, (contender.name, figures.sent)


def rows(measured: dict[Contender, Figures]) -> list[dict[str, str]]:
    """Lines of the table, with ours over each."""
    ours = measured[OURS]
    return [
        {
            "client": contender.name,
            "in flight": str(contender.in_flight),
            "episodes/s": f"{each.episodes_per_s:.1f}",
            "CPU ms per episode": f"{each.cpu_ms:.2f}",
            "ours is faster by": f"{ours.episodes_per_s / each.episodes_per_s:.2f}",
            "by CPU": f"{each.cpu_ms / ours.cpu_ms:.2f}",
            "tokens sent per call": f"{each.sent:.0f}",
            "server's core busy": f"{each.server:.0%}",
        }
        for contender, each in measured.items()
    ]


if __name__ == "__main__":
    main()
