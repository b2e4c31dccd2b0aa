from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conflictscope.planted.server.limits import SlidingWindow
from conflictscope.planted.server.services import duration
from conflictscope.planted.world import ServiceLimits
from tests.planted.served import CHAT, MESSAGES, RESPONSES, body, plant


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def window(
    clock: Clock, requests: int | None = None, tokens: int | None = None, seconds: float = 60.0
) -> SlidingWindow:
    return SlidingWindow(ServiceLimits(requests_per_minute=requests, tokens_per_minute=tokens), seconds, clock)


# -- the window --------------------------------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.floats(0, 20), st.integers(1, 40)), min_size=1, max_size=60),
    st.none() | st.integers(1, 5),
    st.none() | st.integers(1, 100),
)
def test_no_span_of_a_window_lets_in_more_than_the_limit(
    asked: list[tuple[float, int]], requests: int | None, tokens: int | None
) -> None:
    """Whatever comes whenever: in any 60 s, also across the minute, at most the limits are let in."""
    clock = Clock()
    limit = window(clock, requests, tokens)
    let_in: list[tuple[float, int]] = []
    for pause_s, size in asked:
        clock.now += pause_s
        if limit.admit(size) == 0:
            let_in.append((clock.now, size))
    for start, _ in let_in:
        span = [size for moment, size in let_in if start <= moment < start + 60]
        assert requests is None or len(span) <= requests
        assert tokens is None or sum(span) <= tokens


@given(st.lists(st.tuples(st.floats(0, 20), st.integers(1, 40)), min_size=1, max_size=40), st.integers(1, 5))
def test_whoever_waits_as_told_is_let_in(asked: list[tuple[float, int]], requests: int) -> None:
    """The wait is exact: after it the request is let in, and shortly before it is not."""
    clock = Clock()
    limit = window(clock, requests, 100)
    for pause_s, size in asked:
        clock.now += pause_s
        wait_s = limit.admit(size)
        if wait_s:
            arrived = clock.now
            clock.now = arrived + wait_s * 0.999
            assert limit.admit(size) > 0
            clock.now = arrived + wait_s + 1e-6
            assert limit.admit(size) == 0


def test_what_is_turned_away_does_not_count() -> None:
    """However often one asks in vain, the place is free when the first has left the window."""
    clock = Clock()
    limit = window(clock, requests=1)
    assert limit.admit(1) == 0
    waits = []
    for _ in range(10):
        clock.now += 5
        waits.append(limit.admit(1))
    assert waits == [55, 50, 45, 40, 35, 30, 25, 20, 15, 10]
    clock.now += 10
    assert limit.admit(1) == 0


def test_a_request_that_is_greater_than_the_limit_is_never_let_in() -> None:
    """It is told to wait a whole window, for there is nothing better to tell."""
    limit = window(Clock(), tokens=10)
    assert (limit.admit(11), limit.admit(10)) == (60, 0)


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0, "0ms"), (0.0081, "9ms"), (1, "1s"), (1.5, "1.5s"), (59.999, "59.999s"), (60, "1m0s"), (360, "6m0s"), (61.25, "1m1.25s")],
)  # fmt: skip
def test_durations_read_as_openai_writes_them(seconds: float, told: str) -> None:
    """Milliseconds below a second, minutes above sixty."""
    assert duration(seconds) == told


# -- over HTTP ---------------------------------------------------------------------------------------------------------


async def test_limits_stand_in_the_headers_of_openai() -> None:
    """Limit, what remains and when it is whole again, for requests and tokens, on every reply; none where none are set."""
    async with plant(limits={"requests_per_minute": 3, "tokens_per_minute": 1000}) as (_, client):
        responses = [await client.post(path, json=body(path)) for path in (CHAT, RESPONSES)]
        spent = [sum(response.json()["usage"].get(k, 0) for k in ("total_tokens",)) for response in responses]
    heads = [response.headers for response in responses]
    assert [head["x-ratelimit-limit-requests"] for head in heads] == ["3", "3"]
    assert [head["x-ratelimit-remaining-requests"] for head in heads] == ["2", "1"]
    assert [head["x-ratelimit-remaining-tokens"] for head in heads] == [str(1000 - spent[0]), str(1000 - sum(spent))]
    assert all(re.fullmatch(r"1m0s|5\d(\.\d+)?s", head["x-ratelimit-reset-requests"]) for head in heads)
    assert all(head["x-request-id"].startswith("req_") and int(head["openai-processing-ms"]) >= 0 for head in heads)
    async with plant() as (_, client):
        free = await client.post(CHAT, json=body(CHAT))
    assert not any(name.startswith("x-ratelimit") for name in free.headers)
    assert "server" not in free.headers


async def test_limits_stand_in_the_headers_of_anthropic() -> None:
    """With moments in RFC 3339, and tokens as a whole and as input and output."""
    async with plant(limits={"requests_per_minute": 3, "tokens_per_minute": 1000}) as (_, client):
        head = (await client.post(MESSAGES, json=body(MESSAGES))).headers
    for what, limit in (("requests", "3"), ("tokens", "1000"), ("input-tokens", "1000"), ("output-tokens", "1000")):
        assert head[f"anthropic-ratelimit-{what}-limit"] == limit
        assert int(head[f"anthropic-ratelimit-{what}-remaining"]) < int(limit)
        ahead = datetime.fromisoformat(head[f"anthropic-ratelimit-{what}-reset"]) - datetime.now(UTC)
        assert 50 < ahead.total_seconds() <= 61
    assert head["request-id"].startswith("req_")


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
async def test_more_than_the_limit_is_answered_with_429(path: str) -> None:
    """With how long to wait; each model has a window of its own, and what is turned away counts as rejected."""
    async with plant(limits={"requests_per_minute": 2}) as (server, client):
        statuses = [(await client.post(path, json=body(path))).status_code for _ in range(4)]
        refused = await client.post(path, json=body(path))
        other = await client.post(path, json=body(path, model="user"))
        told = server.metrics.to_json()
    assert statuses == [200, 200, 429, 429]
    assert 58 <= int(refused.headers["retry-after"]) <= 60
    assert ("retry-after-ms" in refused.headers) is (path == CHAT)
    assert refused.json()["error"]["type"] == ("requests" if path == CHAT else "rate_limit_error")
    assert (other.status_code, told["rejected"], told["by_status"]["429"]) == (200, 3, 3)
    assert told["faults"] == {}


async def test_a_short_window_lets_in_again() -> None:
    """Asked without a pause, a served window lets in, turns away, and lets in again."""
    async with plant(window_s=0.2, limits={"requests_per_minute": 2}) as (server, client):
        while server.metrics.answered < 6:
            await asyncio.gather(*(client.post(CHAT, json=body(CHAT)) for _ in range(20)))
        assert server.metrics.rejected > 0
