"""Closing a lane on an error that will not go away."""

from __future__ import annotations

import structlog

from conflictscope.arena.lanes.steps import Reply, Request, Step
from conflictscope.errors import CallFailed, LaneClosed

IN_A_ROW = 5
# How a model takes one conversation is no fault of the lane's, and shows that it works.
_CONDUCT = {"refused"}
# What is wrong with one request may be wrong with that one only. Such an answer comes at once, before the replies that were
# asked for at the same time, so it counts only where its request was sent after the one before it had failed.
_OF_THE_REQUEST = {"http_400", "http_413", "http_422"}

log = structlog.get_logger()


class Breaker:
    """Closes the lane when IN_A_ROW episodes in a row, with no reply between them, end in the same error, or a step says so."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._kind = ""
        self._scopes: set[str] = set()
        self._failures = 0
        self.closed: str | None = None

    def guarding(self, following: Step) -> Step:
        """The outer step: counts how calls end. Raises LaneClosed, also for a call that was on its way at the closing."""

        async def guard(request: Request) -> Reply:
            self.check()
            failures_before = self._failures
            try:
                reply = await following(request)
            except CallFailed as failure:
                if failure.kind in _CONDUCT:
                    self._scopes.clear()
                    raise
                if failure.kind not in _OF_THE_REQUEST or failures_before == self._failures:
                    self._count(failure, request.call.scope)
                if self.closed is not None:
                    raise LaneClosed(self.closed) from failure
                raise
            except LaneClosed as closed:  # a step behind this one has seen enough
                self.closed = self.closed or str(closed)
                raise
            self._scopes.clear()
            return reply

        return guard

    def barring(self, following: Step) -> Step:
        """The inner step: a request that waited for its turn while the lane was closed is not sent any more."""

        async def bar(request: Request) -> Reply:
            self.check()
            return await following(request)

        return bar

    def check(self) -> None:
        """Raises LaneClosed once the lane is closed."""
        if self.closed is not None:
            raise LaneClosed(self.closed)

    def _count(self, failure: CallFailed, scope: str) -> None:
        self._failures += 1
        if failure.kind != self._kind:
            self._kind = failure.kind
            self._scopes.clear()
        self._scopes.add(scope)
        if len(self._scopes) >= IN_A_ROW and self.closed is None:
            self.closed = f"{self._name} gave {IN_A_ROW} episodes in a row the same error: {failure}"
            log.error("lane.closed", model=self._name, kind=failure.kind, error=str(failure)[:500])
