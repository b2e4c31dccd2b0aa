"""The near end of an executor: hands episodes out to workers, and is the only one who writes, pays and admits for all of them.

What a worker says is dealt with in the order in which it was said. When a worker is lost, what it had asked for and what
is not known to have ended is counted with all that it may have cost, and its episodes are handed out again, with the replies
that had come for them: those are not paid for again.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, Protocol, Self

import structlog

from conflictscope.arena.executors.local import Openings
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
from conflictscope.arena.executors.worker import LINGER_S
from conflictscope.arena.lanes import Budget, RateLimit
from conflictscope.arena.lanes.throttle import Admission
from conflictscope.arena.runner import Stop
from conflictscope.errors import InputError, LaneClosed, LimitReached
from conflictscope.outcome import Group, Mode
from conflictscope.ports import Assignment, CallEnd, CallSent, CallState, EpisodeRecord, Journal
from conflictscope.snapshot import LaneLoad

START_S = 60.0
"""Within this time somebody must be at work, at the beginning and whenever nobody is left."""

LOST_IN_A_ROW = 5
"""So many workers are lost with no episode ended between them: then it is not the machines."""

_LEAVE_S = 5.0

log = structlog.get_logger()


class WorkerLost(Exception):
    """A worker answers no more, or could not begin."""


class RemoteWorker(Protocol):
    """A worker somewhere else, already at its seat. Whatever goes wrong on the way to it raises WorkerLost."""

    async def take(self, messages: Sequence[FromDriver]) -> None:
        """As a Worker has it."""
        ...

    async def give(self) -> Sequence[FromWorker]:
        """As a Worker has it."""
        ...

    def end(self) -> None:
        """See to it that it does nothing any more, whatever it is doing."""
        ...


Hire = Callable[[], Awaitable[RemoteWorker]]
"""Makes a worker, however long that takes. Raises WorkerLost, and InputError for what no other worker would do better."""


@dataclass(eq=False, slots=True)
class _Work:
    """An episode that somebody waits for. worker: who plays it; None while it waits for one."""

    number: int
    assignment: Assignment
    done: asyncio.Future[EpisodeRecord]
    worker: _Desk | None = None

    @property
    def scopes(self) -> tuple[str, str]:
        """What its calls belong to in the journal."""
        spec = self.assignment.spec
        return spec.key, f"opening/{spec.scenario.id}"

    @property
    def opens(self) -> bool:
        """Whether its opening message may have to be written first."""
        spec = self.assignment.spec
        return spec.group.mode is Mode.OPEN_ENDED and spec.scenario.opening is None


@dataclass(eq=False, slots=True)
class _Desk:
    """What the driver keeps for one worker.

    calls: those that have not ended, with their numbers in the run file as soon as they have one. leases: dollars by
    reservation. admissions: with the provider. loads: how its lanes stand, as it said last.
    """

    worker: RemoteWorker
    playing: dict[int, _Work] = field(default_factory=dict)
    calls: dict[int, tuple[CallSent, asyncio.Future[int]]] = field(default_factory=dict)
    leases: dict[int, float] = field(default_factory=dict)
    admissions: dict[int, tuple[str, Admission]] = field(default_factory=dict)
    loads: Sequence[LaneLoad] = ()
    outbox: list[FromDriver] = field(default_factory=list)
    some: asyncio.Event = field(default_factory=asyncio.Event)
    asking: set[asyncio.Task[None]] = field(default_factory=set)

    def say(self, message: FromDriver) -> None:
        """Say it to the worker; what comes at about the same time travels together."""
        self.outbox.append(message)
        self.some.set()


class Driver:
    """An Executor that has its episodes played by workers.

    hire: makes one. workers: so many are wanted; one that is lost is replaced. episodes_per_worker: in flight in each. closed:
    whether a group cannot be played; shut: a lane is closed, and why, so that no worker is given what needs it. answers: of
    former processes, by scope and fingerprint. rates: by provider.
    """

    def __init__(
        self,
        hire: Hire,
        *,
        workers: int,
        episodes_per_worker: int,
        journal: Journal,
        openings: Openings,
        budget: Budget,
        rates: Mapping[str, RateLimit],
        closed: Callable[[Group], bool],
        shut: Callable[[str, str], None],
        stop: Stop,
        answers: Mapping[tuple[str, str], bytes],
    ) -> None:
        self._hire = hire
        self._wanted = workers
        self._room = episodes_per_worker
        self._journal = journal
        self._openings = openings
        self._budget = budget
        self._rates = rates
        self._closed = closed
        self._shut = shut
        self._stop = stop
        self._answers: dict[str, dict[str, bytes]] = {}
        for (scope, fingerprint), reply in answers.items():
            self._answers.setdefault(scope, {})[fingerprint] = reply
        self._texts: dict[str, str] = {}
        self._writers: dict[str, _Desk] = {}  # who writes the opening message of a scenario
        self._numbers = count(1)
        self._waiting: deque[_Work] = deque()
        self._desks: list[_Desk] = []
        self._former_loads: list[LaneLoad] = []  # what workers that have gone met
        self._places: list[asyncio.Task[None]] = []
        self._lost_in_a_row = 0
        self._given_up: str | None = None
        self._closing = False
        self._nobody: asyncio.TimerHandle | None = None
        self._somebody: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._handlers: dict[type[Any], Callable[[_Desk, Any], Coroutine[Any, Any, None]]] = {
            Sent: self._sent,
            Ended: self._ended,
            Reserve: self._reserve,
            Settle: self._settle,
            Admit: self._admit,
            Correct: self._correct,
            Opening: self._opening,
            Played: self._played,
            Left: self._left,
            Loads: self._loads,
            Logged: self._logged,
        }

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[Self]:
        """Hire the workers; the block begins with the first of them, and others join. Raises InputError where there is none."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                self._watch_for_somebody()
                self._places = [tasks.create_task(self._place()) for _ in range(self._wanted)]
                try:
                    await self._somebody
                    yield self
                finally:
                    await self.close()
        except BaseExceptionGroup as failures:
            raise _first(failures) from None

    # -- what the runner asks for --------------------------------------------------------------------------------------

    async def play(self, assignment: Assignment) -> EpisodeRecord:
        """As an Executor has it."""
        work = _Work(next(self._numbers), assignment, asyncio.get_running_loop().create_future())
        scenario_id = assignment.spec.scenario.id
        if work.opens and scenario_id not in self._texts:
            text = await self._openings.opening(scenario_id)
            if text is not None:
                self._texts[scenario_id] = text
        self._hand_out(work)
        try:
            record = await work.done
        except asyncio.CancelledError:
            if work.worker is not None:
                work.worker.say(Drop(work.number))
            raise
        finally:
            self._forget(work)
        # Why it was chosen is known here.
        return EpisodeRecord(
            record.outcome,
            record.seed,
            record.transcript,
            record.judgements,
            record.failure,
            record.duration_s,
            assignment.choice,
        )

    def closed(self, group: Group) -> bool:
        """As an Executor has it."""
        return self._given_up is not None or self._closed(group)

    def loads(self) -> dict[str, LaneLoad]:
        """How the lanes of all workers stand together, by model. Of those that have gone, what they met remains."""
        return _together((*self._former_loads, *(load for desk in self._desks for load in desk.loads)))

    async def close(self) -> None:
        """Let the workers tell how their calls ended, and go."""
        self._closing = True
        if self._nobody is not None:
            self._nobody.cancel()
        for desk in self._desks:
            desk.say(Leave())
        leaving = [place for place in self._places if not place.done()]
        if self._desks and leaving:
            await asyncio.wait(leaving, timeout=_LEAVE_S, return_when=asyncio.ALL_COMPLETED)
        for place in leaving:
            place.cancel()
        if leaving:
            await asyncio.wait(leaving)

    # -- handing out ---------------------------------------------------------------------------------------------------

    def _hand_out(self, work: _Work) -> None:
        if self._given_up is not None:
            work.done.set_exception(LaneClosed(self._given_up))
            return
        desk = self._desk_for(work)
        if desk is None:
            self._waiting.append(work)
            if not self._desks and self._nobody is None:
                self._watch_for_somebody()
            return
        work.worker = desk
        desk.playing[work.number] = work
        spec = work.assignment.spec
        answers = {scope: self._answers[scope] for scope in work.scopes if scope in self._answers}
        opening = self._texts.get(spec.scenario.id) if work.opens else None
        desk.say(Play(work.number, spec.group, spec.scenario.id, spec.repeat, opening, answers))

    def _desk_for(self, work: _Work) -> _Desk | None:
        """Who plays it: whoever is writing its opening message already, else who has least to do; None where all are full."""
        scenario_id = work.assignment.spec.scenario.id
        unwritten = work.opens and scenario_id not in self._texts
        if unwritten and scenario_id in self._writers:
            writer = self._writers[scenario_id]
            return writer if len(writer.playing) < self._room else None
        desk = min(self._desks, key=lambda desk: len(desk.playing), default=None)
        if desk is None or len(desk.playing) >= self._room:
            return None
        if unwritten:
            self._writers[scenario_id] = desk
        return desk

    def _hand_out_waiting(self) -> None:
        waiting, self._waiting = self._waiting, deque()
        while waiting:
            if all(len(desk.playing) >= self._room for desk in self._desks):
                self._waiting.extendleft(reversed(waiting))
                return
            work = waiting.popleft()
            if not work.done.done():
                self._hand_out(work)

    def _forget(self, work: _Work) -> None:
        """Nobody waits for it any more."""
        key, _ = work.scopes
        self._answers.pop(key, None)
        if work.worker is not None and work.worker.playing.pop(work.number, None) is not None and self._waiting:
            self._hand_out_waiting()

    # -- workers come and go -------------------------------------------------------------------------------------------

    async def _place(self) -> None:
        """A worker, and the next one when it is lost, until there is no more to do."""
        while self._given_up is None:
            try:
                worker = await self._hire()
            except WorkerLost as lost:
                self._count_lost(lost)
                continue
            desk = _Desk(worker)
            try:
                self._join(desk)
                await self._attend(desk)
                return
            except WorkerLost as lost:
                log.error("worker.lost", error=str(lost)[:500], episodes=len(desk.playing), calls=len(desk.calls))
                self._count_lost(lost)
            finally:
                worker.end()
                self._bury(desk)

    async def _attend(self, desk: _Desk) -> None:
        """Deal with what a worker says until it has left. Raises WorkerLost."""
        speaking = asyncio.create_task(self._speak(desk))
        listening = asyncio.create_task(self._listen(desk))
        try:
            # Who cannot be spoken to will not be heard again, either.
            await asyncio.wait((listening, speaking), return_when=asyncio.FIRST_COMPLETED)
            if not listening.done():
                speaking.result()
            listening.result()
        finally:
            for task in (speaking, listening):
                task.cancel()
            await asyncio.wait((speaking, listening))

    async def _listen(self, desk: _Desk) -> None:
        while True:
            for message in await desk.worker.give():
                if isinstance(message, Gone):
                    return
                await self._handlers[type(message)](desk, message)

    async def _speak(self, desk: _Desk) -> None:
        while True:
            await desk.some.wait()
            await asyncio.sleep(LINGER_S)
            desk.some.clear()
            said, desk.outbox = desk.outbox, []
            await desk.worker.take(said)

    def _join(self, desk: _Desk) -> None:
        if self._nobody is not None:
            self._nobody.cancel()
            self._nobody = None
        self._desks.append(desk)
        log.info("worker.joined", workers=len(self._desks))
        self._share()
        if not self._somebody.done():
            self._somebody.set_result(None)
        self._hand_out_waiting()

    def _share(self) -> None:
        for desk in self._desks:
            desk.say(Workers(len(self._desks)))

    def _bury(self, desk: _Desk) -> None:
        """What a worker leaves behind is counted with the most that it can be, and what it played is handed out again."""
        self._desks.remove(desk)
        gone = (replace(load, in_flight=0, limit=0, most=0, waiting=0) for load in desk.loads)
        self._former_loads = list(_together((*self._former_loads, *gone)).values())
        for task in desk.asking:
            task.cancel()
        for usd in desk.leases.values():
            self._budget.settle(usd, 0.0)
        for call, number in desk.calls.values():
            if number.done():  # else it waited for our word: the journal knows that it was not sent
                self._budget.settle(0.0, call.reserved_usd)
                end = CallEnd(CallState.ABANDONED, at_risk_usd=call.reserved_usd)
                self._journal.ended(number.result(), end)
        self._writers = {scenario: writer for scenario, writer in self._writers.items() if writer is not desk}
        self._share()
        lost = [work for work in desk.playing.values() if not work.done.done()]
        for work in lost:
            work.worker = None
        self._waiting.extendleft(reversed(lost))
        if self._desks:
            self._hand_out_waiting()
        elif (lost or self._waiting) and not self._closing:
            self._watch_for_somebody()

    def _count_lost(self, lost: WorkerLost) -> None:
        self._lost_in_a_row += 1
        if self._lost_in_a_row >= LOST_IN_A_ROW:
            self._give_up(f"{LOST_IN_A_ROW} workers in a row were lost before an episode ended; the last: {lost}")

    def _watch_for_somebody(self) -> None:
        told = f"no worker could be started within {START_S:g} s"
        self._nobody = asyncio.get_running_loop().call_later(START_S, self._give_up, told)

    def _give_up(self, why: str) -> None:
        """Leave what is left to a resume."""
        self._given_up = why
        if not self._somebody.done():
            self._somebody.set_exception(InputError(f"executor: {why}"))
        self._stop.request("failed", why)
        for place in self._places:
            place.cancel()
        for work in (*self._waiting, *(work for desk in self._desks for work in desk.playing.values())):
            if not work.done.done():
                work.done.set_exception(LaneClosed(why))
        self._waiting.clear()

    # -- what workers say ----------------------------------------------------------------------------------------------

    async def _sent(self, desk: _Desk, sent: Sent) -> None:
        number: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        desk.calls[sent.number] = (sent.call, number)
        if sent.call.reserved_usd > 0:
            self._ask(desk, self._commit(desk, sent, number))
        else:
            number.set_result(await self._journal.sent(sent.call))

    async def _commit(self, desk: _Desk, sent: Sent, number: asyncio.Future[int]) -> None:
        number.set_result(await self._journal.sent(sent.call))
        desk.say(Answer(sent.number))

    async def _ended(self, desk: _Desk, ended: Ended) -> None:
        call, number = desk.calls.pop(ended.number)
        end = ended.end
        if end.reply is not None:
            self._answers.setdefault(call.scope, {})[call.fingerprint] = end.reply
        _when_known(number, lambda known: self._journal.ended(known, end))

    async def _reserve(self, desk: _Desk, asked: Reserve) -> None:
        self._ask(desk, self._lease(desk, asked))

    async def _lease(self, desk: _Desk, asked: Reserve) -> None:
        try:
            await self._budget.reserve(asked.usd, asked.what)
        except LimitReached as limit:
            desk.say(Answer(asked.number, str(limit)))
            return
        desk.leases[asked.number] = asked.usd
        desk.say(Answer(asked.number))

    async def _settle(self, desk: _Desk, settled: Settle) -> None:
        self._budget.settle(desk.leases.pop(settled.number), settled.spent_usd)

    async def _admit(self, desk: _Desk, asked: Admit) -> None:
        self._ask(desk, self._let_in(desk, asked))

    async def _let_in(self, desk: _Desk, asked: Admit) -> None:
        desk.admissions[asked.number] = asked.provider, await self._rates[asked.provider].admit(asked.tokens)
        desk.say(Answer(asked.number))

    async def _correct(self, desk: _Desk, corrected: Correct) -> None:
        provider, admission = desk.admissions.pop(corrected.number)
        self._rates[provider].correct(admission, corrected.tokens)

    async def _opening(self, desk: _Desk, opening: Opening) -> None:
        await self._openings.record_opening(opening.scenario_id, opening.text)
        self._texts[opening.scenario_id] = opening.text
        self._writers.pop(opening.scenario_id, None)
        self._answers.pop(f"opening/{opening.scenario_id}", None)

    async def _played(self, desk: _Desk, played: Played) -> None:
        self._lost_in_a_row = 0
        work = desk.playing.get(played.number)
        if work is not None and not work.done.done():
            work.done.set_result(played.record)

    async def _left(self, desk: _Desk, left: Left) -> None:
        for name, why in left.closed.items():
            self._shut(name, why)
        work = desk.playing.get(left.number)
        if work is None or work.done.done():
            return
        errors = {"limit": LimitReached, "closed": LaneClosed, "broken": RuntimeError}
        work.done.set_exception(errors[left.why](left.told))

    async def _loads(self, desk: _Desk, loads: Loads) -> None:
        desk.loads = loads.lanes

    async def _logged(self, desk: _Desk, logged: Logged) -> None:
        getattr(log, logged.level)(logged.event, **logged.fields)

    def _ask(self, desk: _Desk, question: Coroutine[Any, Any, None]) -> None:
        """Answer a question that takes a while beside all else."""
        task = self._tasks.create_task(question)
        desk.asking.add(task)
        task.add_done_callback(desk.asking.discard)


def share_of(concurrency: int, workers: int) -> int:
    """How many of the episodes in flight are one worker's."""
    return math.ceil(concurrency / workers)


def _together(loads: Iterable[LaneLoad]) -> dict[str, LaneLoad]:
    """The lanes of several processes, by model."""
    together: dict[str, LaneLoad] = {}
    for load in loads:
        together[load.model] = together[load.model] + load if load.model in together else load
    return together


def _when_known(number: asyncio.Future[int], then: Callable[[int], None]) -> None:
    """Do something with the number of a call in the run file, at once where it has one already."""
    if not number.done():
        number.add_done_callback(lambda known: None if known.cancelled() else then(known.result()))
    elif not number.cancelled():
        then(number.result())


def _first(failure: BaseException) -> BaseException:
    """The failure inside task groups, which only wrap: whatever came first cancelled the rest."""
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    return failure
