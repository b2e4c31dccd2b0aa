"""Closing a lane on an error that will not go away."""

from __future__ import annotations

import structlog

from conflictscope.arena.lanes.steps import Reply, Request, Step
from conflictscope.errors import CallFailed, LaneClosed

IN_A_ROW = 5
# How a model takes one conversation is no fault of the lane's.
_CONDUCT = {"refused"}

log = structlog.get_logger()


class Breaker:
    """Closes the lane when IN_A_ROW episodes in a row, with no reply between them, end in the same error, or a step says so."""

    def __init__(self, following: Step, name: str) -> None:
        self._next = following
        self._name = name
        self._kind = ""
        self._scopes: set[str] = set()
        self.closed: str | None = None

    async def __call__(self, request: Request) -> Reply:
        """The reply. Raises LaneClosed, also for a call that was on its way when the lane was closed."""
        if self.closed is not None:
            raise LaneClosed(self.closed)
        try:
            reply = await self._next(request)
        except CallFailed as failure:
            if failure.kind in _CONDUCT:
                raise
            self._count(failure, request.call.scope)
            if self.closed is not None:
                raise LaneClosed(self.closed) from failure
            raise
        except LaneClosed as closed:  # a step behind this one has seen enough
            self.closed = self.closed or str(closed)
            raise
        self._scopes.clear()
        return reply

    def _count(self, failure: CallFailed, scope: str) -> None:
        if failure.kind != self._kind:
            self._kind = failure.kind
            self._scopes.clear()
        self._scopes.add(scope)
        if len(self._scopes) >= IN_A_ROW and self.closed is None:
            self.closed = f"{self._name} gave {IN_A_ROW} episodes in a row the same error: {failure}"
            log.error("lane.closed", model=self._name, kind=failure.kind, error=str(failure)[:500])
