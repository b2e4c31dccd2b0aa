"""How many requests of a lane are in flight, adapted to how the service takes them."""

from __future__ import annotations

import asyncio
from collections import deque

import structlog

from conflictscope.arena.lanes.steps import Reply, Request, Step
from conflictscope.errors import CallFailed

_OVERLOAD = {"http_429", "http_503", "http_529"}
# A round is a limit's worth of requests. Few rejections are noise that retries deal with; one in eight is the service's word.
_SHRINK_SHARE = 0.125
_FEWEST_REJECTED = 4
_SHRINK_TO = 0.7
_GROW_BY = 1.25
# While replies take this much longer than they did at best, more of them at once would only take longer still.
_SLOW = 2.0
_BEST_FADES = 1.02

log = structlog.get_logger()


class Concurrency:
    """Slots, first come first served. Begins with as many as were asked for, and never has more.

    Shrinks by 30 % once a round sees one request in eight rejected for overload (429, 503, 529); grows by 25 % with every round
    that stays below that and whose mean latency is within twice the best. Results of requests that were sent before a
    change say nothing about it and are not counted.
    """

    def __init__(self, following: Step, most: int, name: str) -> None:
        self._next = following
        self._most = most
        self._name = name
        self._limit = most
        self._in_flight = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._round = 0
        self._begin_round()
        self._best_s = float("inf")

    @property
    def limit(self) -> int:
        """Requests that may be in flight now."""
        return self._limit

    @property
    def most(self) -> int:
        """Requests that may ever be."""
        return self._most

    @property
    def in_flight(self) -> int:
        """Requests that are."""
        return self._in_flight

    @property
    def waiting(self) -> int:
        """Requests that wait for one to end."""
        return len(self._waiting)

    async def __call__(self, request: Request) -> Reply:
        """The reply."""
        await self._enter()
        number = self._round
        try:
            reply = await self._next(request)
        except CallFailed as failure:
            if number == self._round:
                self._rejected += failure.kind in _OVERLOAD
                self._look()
            raise
        else:
            if number == self._round:
                self._answered += 1
                self._latency_s += reply.latency_s
                self._look()
            return reply
        finally:
            self._in_flight -= 1
            self._wake()

    async def _enter(self) -> None:
        if self._in_flight < self._limit and not self._waiting:
            self._in_flight += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # the slot came, but its taker has gone
                self._in_flight -= 1
                self._wake()
            elif turn in self._waiting:  # else it was passed over already, between its cancellation and now
                self._waiting.remove(turn)
            raise

    def _wake(self) -> None:
        while self._waiting and self._in_flight < self._limit:
            turn = self._waiting.popleft()
            if not turn.done():
                self._in_flight += 1
                turn.set_result(None)

    def _begin_round(self) -> None:
        self._round += 1
        self._answered = self._rejected = 0
        self._latency_s = 0.0

    def _look(self) -> None:
        """Shrink as soon as the round has seen too many rejections; else grow when it is over."""
        if self._rejected >= max(_FEWEST_REJECTED, _SHRINK_SHARE * self._limit):
            self._set(max(1, int(self._limit * _SHRINK_TO)))
        elif self._answered >= self._limit:
            mean_s = self._latency_s / self._answered
            self._best_s = min(self._best_s * _BEST_FADES, mean_s)
            slow = mean_s > _SLOW * self._best_s
            self._set(self._limit if slow else min(self._most, int(self._limit * _GROW_BY) + 1))

    def _set(self, limit: int) -> None:
        if limit != self._limit:
            log.info("lane.concurrency", model=self._name, limit=limit, before=self._limit, rejected=self._rejected)
        self._limit = limit
        self._begin_round()
        self._wake()
