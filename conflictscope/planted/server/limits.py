"""Limits of requests and tokens in a sliding window: in no span of a window's length is more let in than the limit."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Literal, NamedTuple

from conflictscope.planted.world import ServiceLimits


class Standing(NamedTuple):
    """How one limit stands. reset_s: seconds until all that is in the window has left it."""

    what: Literal["requests", "tokens"]
    limit: int
    remaining: int
    reset_s: float


class SlidingWindow:
    """What one model has let in lately. What it turns away does not count.

    window_s: length of the window (a minute, shorter in tests). clock: seconds that only go up.
    """

    def __init__(
        self, limits: ServiceLimits, window_s: float = 60.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._requests = limits.requests_per_minute
        self._tokens = limits.tokens_per_minute
        self._window_s = window_s
        self._clock = clock
        self._let_in: deque[tuple[float, int]] = deque()  # when, and how many tokens
        self._tokens_in = 0

    def admit(self, tokens: int) -> float:
        """Let a request of so many tokens in: 0. Else the seconds until it will be, if nothing else is until then."""
        if self._requests is None and self._tokens is None:
            return 0.0
        now = self._clock()
        self._forget(now)
        if self._tokens is not None and tokens > self._tokens:
            return self._window_s  # it never will be
        wait_s, requests_in, tokens_in = 0.0, len(self._let_in), self._tokens_in
        for moment, leaving in self._let_in:
            if self._fits(requests_in + 1, tokens_in + tokens):
                break
            wait_s, requests_in, tokens_in = moment + self._window_s - now, requests_in - 1, tokens_in - leaving
        if wait_s == 0:
            self._let_in.append((now, tokens))
            self._tokens_in += tokens
        return wait_s

    def standings(self) -> list[Standing]:
        """How each limit stands that there is."""
        standings: list[Standing] = []
        if self._requests is None and self._tokens is None:
            return standings
        now = self._clock()
        self._forget(now)
        reset_s = self._let_in[-1][0] + self._window_s - now if self._let_in else 0.0
        if self._requests is not None:
            standings.append(Standing("requests", self._requests, self._requests - len(self._let_in), reset_s))
        if self._tokens is not None:
            standings.append(Standing("tokens", self._tokens, self._tokens - self._tokens_in, reset_s))
        return standings

    def _fits(self, requests: int, tokens: int) -> bool:
        return (self._requests is None or requests <= self._requests) and (
            self._tokens is None or tokens <= self._tokens
        )

    def _forget(self, now: float) -> None:
        while self._let_in and self._let_in[0][0] + self._window_s <= now:
            self._tokens_in -= self._let_in.popleft()[1]
