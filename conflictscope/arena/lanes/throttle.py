"""Requests and tokens per minute."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from asyncio_throttle.throttler import Throttler

from conflictscope.arena.lanes.steps import Reply, Request, Step
from conflictscope.errors import CallFailed

WINDOW_S = 60.0
# Requests may take longer to arrive in one minute than in the next; a window that is 1 % longer here is kept there.
_MARGIN = 1.01
_FIRST_GUESS_TOKENS_PER_BYTE = 0.3
_FIRST_GUESS_OUTPUT_TOKENS = 500.0
_LEARNING_RATE = 0.1
_REQUEST_HEADERS = ("x-ratelimit-limit-requests", "anthropic-ratelimit-requests-limit")
_TOKEN_HEADERS = ("x-ratelimit-limit-tokens", "anthropic-ratelimit-tokens-limit")


@dataclass(slots=True)
class Admission:
    """A request that was let in. tokens: what it is counted with."""

    at: float
    tokens: float


class RateLimit:
    """At most so many requests and tokens in any window, first come first served.

    asyncio-throttle polls every 10 ms for each waiter; the gate lets only one wait in it, the others queue for free.
    """

    def __init__(
        self,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        *,
        window_s: float = WINDOW_S,
    ) -> None:
        self._window_s = window_s * _MARGIN
        # Without a limit it still counts, so that a limit that is learned later finds what was sent already.
        self._throttler = Throttler(rate_limit=requests_per_minute or sys.maxsize, period=self._window_s)
        self._tokens_per_window = tokens_per_minute
        self._admitted: deque[Admission] = deque()
        self._tokens = 0.0
        self._gate = asyncio.Lock()

    def set_limits(self, requests_per_minute: int | None, tokens_per_minute: int | None) -> None:
        """Take over what the service says; None leaves what is known."""
        if requests_per_minute is not None:
            self._throttler.rate_limit = requests_per_minute
        if tokens_per_minute is not None:
            self._tokens_per_window = tokens_per_minute

    async def admit(self, tokens: float) -> Admission:
        """Return when a request of about so many tokens may be sent. One that is larger than a whole window goes alone."""
        async with self._gate:
            pause_s = self._pause_s(tokens)
            while pause_s > 0:
                await asyncio.sleep(pause_s)
                pause_s = self._pause_s(tokens)  # others may have been corrected meanwhile
            await self._throttler.acquire()
            admission = Admission(time.monotonic(), tokens)
            self._admitted.append(admission)
            self._tokens += tokens
            return admission

    def correct(self, admission: Admission, tokens: float) -> None:
        """Count an admitted request with what it really took."""
        if self._admitted and admission.at >= self._admitted[0].at:
            self._tokens += tokens - admission.tokens
            admission.tokens = tokens

    def _pause_s(self, tokens: float) -> float:
        """How long until the oldest requests have left the window, so that one of `tokens` fits; 0 where it does now."""
        now = time.monotonic()
        while self._admitted and now - self._admitted[0].at > self._window_s:
            self._tokens -= self._admitted.popleft().tokens
        if self._tokens_per_window is None:
            return 0.0
        excess = self._tokens + tokens - self._tokens_per_window
        leaves_in_s = 0.0
        for admission in self._admitted:
            if excess <= 0:
                break
            excess -= admission.tokens
            leaves_in_s = admission.at + self._window_s - now + 0.001
        return leaves_in_s


class Throttle:
    """Waits until every limit that the lane is under lets the request through.

    Those are the limits given for the provider, which its lanes share, and what the service's headers say of this model.
    The shared ones come last, and one request at a time is between the two, so that a lane that waits for its own minute
    holds no places in the minute of all. How many tokens a request will take is guessed from what the ones before it took.

    share: how much of what the service says is ours, in (0, 1], where other processes use it too.
    """

    def __init__(self, following: Step, shared: Sequence[RateLimit], share: Callable[[], float] = lambda: 1.0) -> None:
        self._next = following
        self._own = RateLimit()
        self._share = share
        self._limits = (self._own, *shared)
        self._gate = asyncio.Lock()
        self._tokens_per_byte = _FIRST_GUESS_TOKENS_PER_BYTE
        self._output_tokens = _FIRST_GUESS_OUTPUT_TOKENS

    async def __call__(self, request: Request) -> Reply:
        """The reply."""
        guess = len(request.body) * self._tokens_per_byte + self._output_tokens
        admissions: list[Admission] = []
        tokens = 0.0  # a request that is not sent takes none
        try:
            async with self._gate:
                for limit in self._limits:
                    admissions.append(await limit.admit(guess))  # noqa: PERF401 - those before a cancelled one count
            tokens = guess  # where no usage comes back, the guess stands
            reply = await self._next(request)
            usage = reply.response.usage
            if not usage.input_tokens + usage.output_tokens:
                return reply
            tokens = usage.input_tokens + usage.output_tokens
            self._tokens_per_byte += _LEARNING_RATE * (usage.input_tokens / len(request.body) - self._tokens_per_byte)
            self._output_tokens += _LEARNING_RATE * (usage.output_tokens - self._output_tokens)
            return reply
        except CallFailed as failure:
            if failure.kind.startswith("http_"):
                tokens = 0  # turned away before any work
            raise
        finally:
            if request.headers:
                self._own.set_limits(
                    self._ours(request.headers, _REQUEST_HEADERS), self._ours(request.headers, _TOKEN_HEADERS)
                )
            for limit, admission in zip(self._limits, admissions, strict=False):
                limit.correct(admission, tokens)

    def _ours(self, headers: Mapping[str, str], names: Sequence[str]) -> int | None:
        limit = _limit_in(headers, names)
        return None if limit is None else max(1, int(limit * self._share()))


def _limit_in(headers: Mapping[str, str], names: Sequence[str]) -> int | None:
    for name in names:
        text = headers.get(name, "")
        if text.isdecimal() and int(text) > 0:
            return int(text)
    return None
