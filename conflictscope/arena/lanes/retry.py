"""The one layer of retries: the SDKs' own are off."""

from __future__ import annotations

import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt
from tenacity.stop import stop_base
from tenacity.wait import wait_random, wait_random_exponential

from conflictscope.arena.lanes.steps import Reply, Request, Step
from conflictscope.errors import CallFailed

_RETRYABLE = {"timeout", "connection", "malformed", "api", "unexpected", "expired", "http_408", "http_409", "http_429"}

_backoff = wait_random_exponential(multiplier=0.5, max=30)
_jitter = wait_random(0, 0.5)

log = structlog.get_logger()


def retryable(error: BaseException) -> bool:
    """Whether the same request may do better: overload, faults of the service or of the way there, unusable bodies."""
    return isinstance(error, CallFailed) and (error.kind in _RETRYABLE or error.kind.startswith("http_5"))


class _TimeIsUp(stop_base):
    """Whether the attempts and the pauses so far, and the one that would come now, take `retry_time_s` or longer."""

    def __init__(self, retry_time_s: float) -> None:
        self._retry_time_s = retry_time_s

    def __call__(self, retry_state: RetryCallState) -> bool:
        request: Request = retry_state.args[0]
        return request.asked_s + retry_state.idle_for + retry_state.upcoming_sleep >= self._retry_time_s


class Retry:
    """Sends a call again, with growing jittered pauses or as long as the service asks, within `attempts` and `retry_time_s`.

    What counts is the time of the requests themselves and of the pauses between them: a busy lane, in which an attempt waits long
    for its turn, gives up no earlier than an idle one.

    errors: requests that failed so far. retries: those that were sent again.
    """

    def __init__(self, following: Step, attempts: int, retry_time_s: float) -> None:
        self._next = following
        self._retrying = AsyncRetrying(
            stop=stop_after_attempt(attempts) | _TimeIsUp(retry_time_s),
            wait=_pause_s,
            retry=retry_if_exception(retryable),
            before_sleep=self._again,
            reraise=True,
        )
        self.errors = self.retries = 0

    async def __call__(self, request: Request) -> Reply:
        """The reply, or the last failure."""
        try:
            return await self._next(request)
        except CallFailed as failure:
            self.errors += 1
            if not retryable(failure):
                raise
            first = [failure]

        async def attempt(request: Request) -> Reply:
            if first:  # tenacity comes in only where it is needed, and begins with the failure that there was
                raise first.pop()
            try:
                return await self._next(request)
            except CallFailed:
                self.errors += 1
                raise

        return await self._retrying.copy()(attempt, request)

    def _again(self, state: RetryCallState) -> None:
        self.retries += 1
        _tell(state)


def _failure(state: RetryCallState) -> CallFailed:
    failure = state.outcome.exception() if state.outcome is not None else None
    assert isinstance(failure, CallFailed), "only those are retried"
    return failure


def _pause_s(state: RetryCallState) -> float:
    asked_s = _failure(state).retry_after_s
    return _backoff(state) if asked_s is None else asked_s + _jitter(state)


def _tell(state: RetryCallState) -> None:
    request: Request = state.args[0]
    failure, pause_s = _failure(state), state.next_action.sleep if state.next_action else 0.0
    log.info("call.retried", scope=request.call.scope, kind=failure.kind, attempt=state.attempt_number, pause_s=pause_s)
