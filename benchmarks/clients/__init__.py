"""The same job in the hands of several clients: a simulated user's opening message, a target's reply, a judge's verdict.

Each client is a module that is run in a process of its own, `python -m benchmarks.clients.NAME JOB.json`, plays the job once for
every number of episodes that it names, and prints what each took. `benchmarks.jobs` and `benchmarks.in_flight` run them.
This module imports nothing of ours: what a client loads is its own affair.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

MAX_TOKENS = 8_192  # as our roles have it
OPENING, REPLY = "{{opening}}", "{{reply}}"  # where the judge's message has the two messages of the conversation
_FILES_BESIDE_SOCKETS = 200


@dataclass(frozen=True)
class Episode:
    """What is sent in three calls, as our own prompts have it. The target is sent the opening message alone.

    user, judge: system prompt and message each. seed: of the first call; the others have the two that follow.
    """

    user: tuple[str, str]
    judge: tuple[str, str]
    seed: int

    def judged(self, opening: str, reply: str) -> str:
        """The judge's message about a conversation."""
        return self.judge[1].replace(OPENING, opening).replace(REPLY, reply)


@dataclass(frozen=True)
class Job:
    """What a client is asked to do.

    url: of the server, without `/v1`. in_flight: episodes at a time. sizes: episodes of each play; the first ones of `episodes`.
    schema: of the verdict, as `response_format` names it. settings: of the client itself.
    """

    url: str
    in_flight: int
    sizes: Sequence[int]
    episodes: Sequence[Episode]
    schema: Mapping[str, Any]
    settings: Sequence[str] = ()

    @classmethod
    def read(cls, path: Path) -> Job:
        """What `write` wrote."""
        told = json.loads(path.read_text())
        episodes = [Episode(tuple(each["user"]), tuple(each["judge"]), each["seed"]) for each in told.pop("episodes")]
        return cls(episodes=episodes, **told)

    def write(self, path: Path) -> None:
        """Into a file."""
        path.write_text(json.dumps(asdict(self)))


@dataclass(frozen=True)
class Played:
    """What one play took, in seconds. cpu_s: of the process, all threads. before_s: until the first call of an episode."""

    episodes: int
    wall_s: float
    cpu_s: float
    before_s: float = 0.0
    busiest_worker_cpu_s: float = 0.0


def serve(play: Callable[[Job, int], Played]) -> None:
    """The command of a client."""
    _, path = sys.argv
    job = Job.read(Path(path))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, job.in_flight + _FILES_BESIDE_SOCKETS)), hard))
    print(json.dumps([asdict(play(job, size)) for size in job.sizes]))


class Clock:
    """Wall time and CPU since it was made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        self.wall_s = 0.0

    def stop(self) -> None:
        """Keep the wall time until now."""
        self.wall_s = time.perf_counter() - self._wall

    def played(self, episodes: int, **more: float) -> Played:
        """What so many episodes took."""
        return Played(episodes, time.perf_counter() - self._wall, time.process_time() - self._cpu, **more)
