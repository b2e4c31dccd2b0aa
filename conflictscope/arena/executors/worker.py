"""The far end of an executor: plays episodes in a process of its own, with lanes of its own.

It writes nothing and decides nothing for the whole run. Calls, reservations, admissions and outcomes go to the driver by one
line, in order, so that what holds in one process holds here: a call that costs money is in the run file before it is sent, and
its reply before any outcome that rests on it.
"""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from itertools import count
from typing import Any, Literal

import structlog

from conflictscope.arena.executors.local import LocalExecutor
from conflictscope.arena.executors.messages import (
    Admit,
    Answer,
    Correct,
    Drop,
    Ended,
    FromDriver,
    FromWorker,
    Gone,
    Leave,
    Left,
    Loads,
    Logged,
    Opening,
    Play,
    Played,
    Reserve,
    Sent,
    Settle,
    Workers,
)
from conflictscope.arena.lanes import Budget, RateLimit
from conflictscope.arena.lanes.throttle import Admission
from conflictscope.arena.runner import collector_out_of_the_way
from conflictscope.errors import LaneClosed, LimitReached
from conflictscope.ports import Assignment, CallEnd, CallSent, CallState, Choice, EpisodeSpec
from conflictscope.redaction import redact
from conflictscope.scenario import Scenario
from conflictscope.snapshot import LaneLoad

# What is told within this time travels together; nothing in an episode is so quick that it would be felt.
LINGER_S = 0.005
_LOADS_S = 1.0  # pause between two words on how the lanes stand
_ROOM = 1_000  # messages that may wait for the driver before calls wait, too
_ANY_CHOICE = Choice("uniform", "plan")  # the driver knows why an episode was chosen

log = structlog.get_logger()


class Line:
    """What a worker has to say to its driver, in order, and the answers to what it asks.

    workers: how many share what there is just now.
    """

    def __init__(self) -> None:
        self.workers = 1
        self._outbox: list[FromWorker] = []
        self._some, self._room = asyncio.Event(), asyncio.Event()
        self._room.set()
        self._numbers = count(1)
        self._asked: dict[int, asyncio.Future[None]] = {}

    def number(self) -> int:
        """A number that nothing else has."""
        return next(self._numbers)

    def tell(self, message: FromWorker) -> None:
        """Say it, behind all that was said before."""
        self._outbox.append(message)
        self._some.set()
        if len(self._outbox) >= _ROOM:
            self._room.clear()

    def ask(self, message: Sent | Reserve | Admit) -> asyncio.Future[None]:
        """Say it, and get the answer: it may raise LimitReached. Shield it: the driver answers whoever waits."""
        self.tell(message)
        answer = self._asked[message.number] = asyncio.get_running_loop().create_future()
        return answer

    def answered(self, answer: Answer) -> None:
        """The driver's answer has come."""
        asked = self._asked.pop(answer.number)
        if answer.limit is None:
            asked.set_result(None)
        else:
            asked.set_exception(LimitReached(answer.limit))
            asked.exception()  # whoever waits gets it; where nobody does any more, it is no news

    async def room(self) -> None:
        """Return when the driver keeps up."""
        await self._room.wait()

    async def listen(self) -> list[FromWorker]:
        """All that there is to say, once there is something."""
        await self._some.wait()
        await asyncio.sleep(LINGER_S)
        said, self._outbox = self._outbox, []
        self._some.clear()
        self._room.set()
        return said


class LineJournal:
    """A Journal that is kept by the driver, with the answers that came with each episode."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self.answers: dict[str, Mapping[str, bytes]] = {}

    def answered(self, scope: str, fingerprint: str) -> bytes | None:
        """As a Journal has it."""
        return self.answers.get(scope, {}).get(fingerprint)

    async def sent(self, call: CallSent) -> int:
        """As a Journal has it."""
        number = self._line.number()
        if call.reserved_usd > 0:
            try:
                await asyncio.shield(self._line.ask(Sent(number, call)))
            except asyncio.CancelledError:
                self.ended(number, CallEnd(CallState.ABANDONED))  # it was not sent after all
                raise
        else:
            await self._line.room()
            self._line.tell(Sent(number, call))
        return number

    def ended(self, number: int, end: CallEnd) -> None:
        """As a Journal has it."""
        self._line.tell(Ended(number, end))

    async def batch_sent(self, batch: str, model: str, handle: bytes, numbers: Sequence[int]) -> None:
        """Nobody sends batches from here: a sweep with `batch = true` is refused before a worker begins."""
        raise AssertionError("batches go out from one process")

    def batch_ended(self, batch: str) -> None:
        """Nobody sends batches from here: a sweep with `batch = true` is refused before a worker begins."""
        raise AssertionError("batches go out from one process")


class LineOpenings:
    """Opening messages: what came with episodes, and what was written here."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self.texts: dict[str, str] = {}

    async def opening(self, scenario_id: str) -> str | None:
        """As an EpisodeSink has it."""
        return self.texts.get(scenario_id)

    async def record_opening(self, scenario_id: str, text: str) -> None:
        """As an EpisodeSink has it."""
        self.texts[scenario_id] = text
        self._line.tell(Opening(scenario_id, text))


class LineBudget(Budget):
    """A budget that the driver keeps for all workers: each reservation is a lease of its own, and is given back whole."""

    def __init__(self, line: Line, limit_usd: float | None) -> None:
        super().__init__(limit_usd)
        self._line = line
        self._leases: dict[float, list[int]] = {}  # by amount: one is as good as another

    async def reserve(self, usd: float, what: str) -> None:
        """As a Budget has it."""
        if self.limit_usd is None or usd <= 0:
            return
        number = self._line.number()
        granted = self._line.ask(Reserve(number, usd, what))
        try:
            await asyncio.shield(granted)
        except asyncio.CancelledError:
            granted.add_done_callback(lambda done: self._give_back(done, number))
            raise
        self._leases.setdefault(usd, []).append(number)

    def settle(self, reserved_usd: float, spent_usd: float) -> None:
        """As a Budget has it."""
        if self.limit_usd is None or reserved_usd <= 0:
            return
        numbers = self._leases[reserved_usd]
        self._line.tell(Settle(numbers.pop(), spent_usd))
        if not numbers:
            del self._leases[reserved_usd]

    def _give_back(self, granted: asyncio.Future[None], number: int) -> None:
        if not granted.cancelled() and granted.exception() is None:
            self._line.tell(Settle(number, 0.0))


@dataclass(slots=True)
class _LineAdmission(Admission):
    number: int


class LineRate(RateLimit):
    """A limit of rate that the driver keeps for all workers."""

    def __init__(self, line: Line, provider: str) -> None:
        super().__init__()
        self._line = line
        self._provider = provider

    async def admit(self, tokens: float) -> Admission:
        """As a RateLimit has it."""
        number = self._line.number()
        admitted = self._line.ask(Admit(number, self._provider, tokens))
        try:
            await asyncio.shield(admitted)
        except asyncio.CancelledError:
            admitted.add_done_callback(lambda _: self._line.tell(Correct(number, 0.0)))
            raise
        return _LineAdmission(time.monotonic(), tokens, number)

    def correct(self, admission: Admission, tokens: float) -> None:
        """As a RateLimit has it."""
        assert isinstance(admission, _LineAdmission), "only those are handed out"
        self._line.tell(Correct(admission.number, tokens))


@dataclass(frozen=True, slots=True)
class Seat:
    """What a worker plays with. loads: how its lanes stand. closed: the lanes that are closed, and why."""

    executor: LocalExecutor
    scenarios: Mapping[str, Scenario]
    loads: Callable[[], Sequence[LaneLoad]]
    closed: Callable[[], Mapping[str, str]]


Setup = Callable[[Line, LineJournal, LineOpenings], AbstractAsyncContextManager[Seat]]
"""Makes a worker's seat, in the worker. Raises InputError."""


class Worker:
    """Plays what it is handed.

    It makes itself no sooner than `start`, for an actor of Ray whose making fails tells little of why.
    """

    def __init__(self) -> None:
        self._line = Line()
        self._journal = LineJournal(self._line)
        self._openings = LineOpenings(self._line)
        self._episodes: dict[int, asyncio.Task[None]] = {}
        self._house = AsyncExitStack()
        self._reporting: asyncio.Task[None] | None = None
        self._leaving: asyncio.Task[None] | None = None

    async def start(self, setup: Setup) -> None:
        """Take a seat. Raises InputError."""
        self._log_to_the_driver()
        self._seat = await self._house.enter_async_context(setup(self._line, self._journal, self._openings))
        self._house.enter_context(collector_out_of_the_way())
        self._reporting = asyncio.create_task(self._report())

    async def take(self, messages: Sequence[FromDriver]) -> None:
        """What the driver says."""
        for message in messages:
            match message:
                case Play():
                    self._start(message)
                case Answer():
                    self._line.answered(message)
                case Drop(number):
                    if number in self._episodes:
                        self._episodes[number].cancel()
                case Workers(many):
                    self._line.workers = many
                case Leave():
                    self._leaving = asyncio.create_task(self._leave())

    async def give(self) -> list[FromWorker]:
        """What there is to tell the driver, once there is something."""
        return await self._line.listen()

    def _start(self, play: Play) -> None:
        self._journal.answers.update(play.answers)
        if play.opening is not None:
            self._openings.texts[play.scenario_id] = play.opening
        task = self._episodes[play.number] = asyncio.create_task(self._play(play))
        task.add_done_callback(lambda _: self._episodes.pop(play.number))

    async def _play(self, play: Play) -> None:
        spec = EpisodeSpec(play.group, self._seat.scenarios[play.scenario_id], play.repeat)
        try:
            record = await self._seat.executor.play(Assignment(spec, _ANY_CHOICE))
        except LimitReached as limit:
            self._left(play.number, "limit", str(limit))
        except LaneClosed as closed:
            self._left(play.number, "closed", str(closed))
        except Exception:  # noqa: BLE001 - the driver ends the run with it
            self._left(play.number, "broken", redact(traceback.format_exc()))
        else:
            self._line.tell(Played(play.number, record))
        finally:
            self._journal.answers.pop(spec.key, None)

    def _left(self, number: int, why: Literal["limit", "closed", "broken"], told: str) -> None:
        self._line.tell(Left(number, why, told, self._seat.closed()))

    async def _report(self) -> None:
        """Say how the lanes stand, where that has changed."""
        told: Sequence[LaneLoad] = ()
        while True:
            if (loads := self._seat.loads()) != told:
                self._line.tell(Loads(loads))
                told = loads
            await asyncio.sleep(_LOADS_S)

    async def _leave(self) -> None:
        episodes = list(self._episodes.values())
        for episode in episodes:
            episode.cancel()
        await asyncio.gather(*episodes, return_exceptions=True)
        await self._seat.executor.close()
        if self._reporting is not None:
            self._reporting.cancel()
        self._line.tell(Loads(self._seat.loads()))
        await self._house.aclose()
        self._line.tell(Gone())

    def _log_to_the_driver(self) -> None:
        def pass_on(_: Any, level: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
            told = {
                key: value if isinstance(value, int | float) else redact(str(value)) for key, value in event.items()
            }
            self._line.tell(Logged(level, str(told.pop("event", "")), told))
            raise structlog.DropEvent

        structlog.configure(processors=[structlog.processors.format_exc_info, pass_on])
