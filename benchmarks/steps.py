"""Where the time of one episode goes: microseconds of CPU per step, in process and over HTTP.

    python -m benchmarks.steps            about a minute
    python -m benchmarks.steps --write    into docs/performance.md

Episodes of three planted calls (user, target, judge), one target, 100 in flight, on one core; over HTTP the models are asked
through the openai SDK, and a planted server answers from another core. A clock is put around the steps from outside, for the
time of a run; what a step calls that is a step of its own counts there. What the clock itself takes is measured and taken off.
The sum of the steps is held against the whole episode, measured without the clock. All are differences of a long run and a
short one, so that starting up does not count; the least of ROUNDS rounds.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from types import coroutine
from typing import Any

import structlog
from openai.resources.chat.completions import AsyncCompletions

from benchmarks.figures import Table, arguments, show
from benchmarks.served import serving
from benchmarks.worlds import write_sweep
from conflictscope import pipeline
from conflictscope.agents import judge, participants, speakers
from conflictscope.agents.prompts import Prompt
from conflictscope.arena import Episode, LocalExecutor, ModelLane, Runner, UniformScheduler
from conflictscope.arena.lanes import endpoint, journal, transport
from conflictscope.monitor import Monitor
from conflictscope.planted.models import PlantedModel
from conflictscope.ranking import GroupFold, GroupHistory
from conflictscope.store import RunWriter

ROUNDS = 3
_REST = "not accounted for: the event loop, its callbacks, garbage"
_LOOP = "**the thread of the event loop, without the clock**"
_OTHERS = "other threads: SQLite"
_EPISODE = "**an episode**"
SHORT, LONG = 100, 700
SHORT_HTTP, LONG_HTTP = 50, 250

STEPS: dict[str, list[tuple[Any, str]]] = {
    "draw the next episode": [(UniformScheduler, "next"), (UniformScheduler, "returned")],
    "play: turns, roles, seeds, records": [(Runner, "_work"), (LocalExecutor, "_write_opening")],
    "render prompts": [
        (Prompt, "instructions"),
        (Prompt, "message"),
        (participants, "fenced_scenario"),
        (judge, "fenced_transcript"),
    ],
    "build messages and settings": [(speakers.Utterance, "messages"), (speakers, "request_settings")],
    "request as JSON, keys out, fingerprint": [(journal, "requested")],
    "breaker, retries, slots, budget, throttle": [(ModelLane, "request")],
    "journal: sent, ended": [(journal.Record, "__call__")],
    "deadline, typed failures": [(endpoint.Asking, "__call__")],
    "pydantic-ai": [(endpoint.Endpoint, "_ask")],
    "openai SDK": [(AsyncCompletions, "create")],
    "aiohttp: send, await the response": [(transport._Lean, "send")],
    "planted model": [(PlantedModel, "reply")],
    "reply as JSON, keys out, price": [(endpoint, "reply_of")],
    "read the reply": [(speakers, "read"), (speakers, "text_of")],
    "resolve the verdict": [(Episode, "advance")],
    "a line of the log": [(structlog.BoundLoggerBase, "_proxy_to_logger")],
    "store: hand over to the writer, rows of a commit": [(RunWriter, "record_episode"), (RunWriter, "_commit")],
    "tally and rate (TrueSkill), at the end": [(Monitor, "snapshot"), (GroupFold, "count"), (GroupHistory, "note")],
}


@dataclass
class Clock:
    """CPU time of this thread by step. Of steps inside of each other, the innermost counts.

    call_s, stretch_s: what the clock adds, with each call and with each stretch of a coroutine, to a step that it stands around
    and to the step around that. spent_s: by step, without what the clock adds.
    """

    call_s: tuple[float, float] = (0.0, 0.0)
    stretch_s: tuple[float, float] = (0.0, 0.0)
    spent_s: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    _inside: list[str] = field(default_factory=list)
    _since: float = 0.0

    def enter(self, step: str, own_s: tuple[float, float]) -> None:
        """What is spent from now on is spent in this step."""
        self._turn()
        if self._inside:
            self.spent_s[self._inside[-1]] -= own_s[1]
        self.spent_s[step] -= own_s[0]
        self._inside.append(step)

    def leave(self) -> None:
        """It is spent in the step around it again."""
        self._turn()
        self._inside.pop()

    def _turn(self) -> None:
        now = time.thread_time()
        if self._inside:
            self.spent_s[self._inside[-1]] += now - self._since
        self._since = now

    def around(self, step: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function with the clock around it; where it returns a coroutine, also around that."""

        @wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            self.enter(step, self.call_s)
            try:
                returned = function(*args, **kwargs)
            finally:
                self.leave()
            return self._going_on(step, returned) if inspect.iscoroutine(returned) else returned

        return timed

    async def _going_on(self, step: str, inner: Coroutine[Any, Any, Any]) -> Any:
        return await self._stretches(step, inner)

    @coroutine
    def _stretches(self, step: str, inner: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
        """A coroutine, timed from each time that it goes on to the next time that it waits."""
        go_on: Callable[[Any], Any] = inner.send
        given: Any = None
        while True:
            self.enter(step, self.stretch_s)
            try:
                awaited = go_on(given)
            except StopIteration as end:
                return end.value
            finally:
                self.leave()
            try:
                go_on, given = inner.send, (yield awaited)
            except BaseException as error:  # noqa: BLE001 - whatever it is, a cancellation for one, it is the coroutine's
                go_on, given = inner.throw, error

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Have it around all steps while the block runs."""
        plain = [(owner, name, getattr(owner, name)) for places in STEPS.values() for owner, name in places]
        try:
            for step, places in STEPS.items():
                for owner, name in places:
                    setattr(owner, name, self.around(step, getattr(owner, name)))
            yield
        finally:
            for owner, name, function in plain:
                setattr(owner, name, function)


def calibrated() -> Clock:
    """A clock that knows what it adds."""
    clock, times = Clock(), 10_000
    call, stretch = clock.around("call", _nothing), clock.around("stretch", _nothing_awaited)

    def calls() -> None:
        for _ in range(times):
            call()

    async def stretches() -> None:
        for _ in range(times):
            await stretch()

    clock.around("calls", calls)()
    asyncio.run(clock.around("stretches", stretches)())
    inside, outside = clock.spent_s["call"] / times, clock.spent_s["calls"] / times
    # A coroutine is called, too, before it goes on.
    further = clock.spent_s["stretch"] / times - inside, clock.spent_s["stretches"] / times - outside
    return Clock((inside, outside), further)


def _nothing() -> None:
    pass


async def _nothing_awaited() -> None:
    pass


@dataclass(frozen=True)
class Whole:
    """Seconds of CPU of a sweep: of the thread of the event loop, and of the others, which read and write the file."""

    loop_s: float
    others_s: float


def play(scenarios: int, base_url: str | None) -> Whole:
    """Run a sweep of so many episodes."""
    with tempfile.TemporaryDirectory() as folder:
        path = write_sweep(Path(folder), scenarios=scenarios, targets=1, concurrency=100, base_url=base_url)
        sweep = pipeline.load_sweep(str(path))
        loop, process = time.thread_time(), time.process_time()
        asyncio.run(pipeline.run_sweep(sweep, Path(folder) / "runs"))
        loop, process = time.thread_time() - loop, time.process_time() - process
    return Whole(loop, process - loop)


def least(scenarios: int, base_url: str | None) -> dict[str, float]:
    """Seconds of a sweep: by step, with the clock, and of its threads, without it. The least of ROUNDS: others only add to it."""
    rounds = []
    for _ in range(ROUNDS):
        whole, clock = play(scenarios, base_url), calibrated()
        with clock.at_work():
            play(scenarios, base_url)
        rounds.append({step: clock.spent_s[step] for step in STEPS} | {_LOOP: whole.loop_s, _OTHERS: whole.others_s})
    return {row: min(found[row] for found in rounds) for row in rounds[0]}


def column(short: int, long: int, base_url: str | None = None) -> dict[str, float]:
    """Microseconds per episode by row of the table."""
    play(short, base_url)  # imports
    few, many = least(short, base_url), least(long, base_url)
    made = {row: 1e6 * (many[row] - few[row]) / (long - short) for row in many}
    loop, others = made.pop(_LOOP), made.pop(_OTHERS)
    rest = loop - sum(made.values())
    return {**made, _REST: rest, _LOOP: loop, _OTHERS: others, _EPISODE: loop + others}


def main() -> None:
    """Measure on one core, serve from another, and show."""
    given = arguments(__doc__).parse_args()
    os.environ.update(OPENAI_API_KEY="not-a-real-key")
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        write_sweep(Path(folder), scenarios=LONG_HTTP, targets=1)
        with serving(Path(folder), cores[-1]) as server:
            os.sched_setaffinity(0, {cores[0]})
            over_http = column(SHORT_HTTP, LONG_HTTP, server.openai_url)
    in_process = column(SHORT, LONG)
    rows = [
        {"step": step, "in process, µs": f"{in_process[step]:,.0f}", "over HTTP, µs": f"{over_http[step]:,.0f}"}
        for step in in_process
    ]
    show(
        Table("steps", "The steps of one episode", rows, ("pydantic-ai-slim", "openai", "aiohttp"), [NOTE], PAGE), given
    )


PAGE = "performance.md"
NOTE = (
    f"CPU of an episode of three calls, the least of {ROUNDS} rounds of {LONG - SHORT:,} episodes; over HTTP of "
    f"{LONG_HTTP - SHORT_HTTP:,}."
)


if __name__ == "__main__":
    main()
