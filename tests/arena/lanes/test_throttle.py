from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from conflictscope.arena import RateLimit
from conflictscope.arena.lanes.steps import Reply, Request
from conflictscope.arena.lanes.throttle import Admission, Throttle
from conflictscope.errors import CallFailed
from tests.arena.lanes.doubles import Doing, reply, request
from tests.virtual_time import VirtualLoop, in_virtual_time, settle

WINDOW_S = 1.0


async def admitted(limit: RateLimit, sizes: Sequence[float]) -> list[Admission]:
    """Let requests of these sizes in, all of which come at once; in the order in which they were let in."""
    order: list[Admission] = []

    async def one(size: float) -> None:
        order.append(await limit.admit(size))

    await asyncio.gather(*(one(size) for size in sizes))
    return order


def most_in_a_window(admissions: Sequence[Admission], window_s: float = WINDOW_S) -> tuple[int, float]:
    """The most requests and tokens in any sliding window, where a request that is alone in its window does not count."""
    requests, tokens = 0, 0.0
    for last in admissions:
        inside = [each for each in admissions if last.at - window_s < each.at <= last.at]
        requests = max(requests, len(inside))
        if len(inside) > 1:
            tokens = max(tokens, sum(each.tokens for each in inside))
    return requests, tokens


# -- windows -----------------------------------------------------------------------------------------------------------


@settings(max_examples=150)
@given(
    arrivals=st.lists(st.tuples(st.floats(0, 0.7), st.integers(0, 60)), max_size=40),
    requests=st.none() | st.integers(1, 12),
    tokens=st.none() | st.integers(20, 200),
)
def test_no_window_holds_more_than_the_limit(
    arrivals: list[tuple[float, int]], requests: int | None, tokens: int | None
) -> None:
    """Whenever requests come and however large they are: never more in any window than allowed, in their order, and all get in."""

    async def main(loop: VirtualLoop) -> list[tuple[int, Admission]]:
        limit = RateLimit(requests, tokens, window_s=WINDOW_S)
        order: list[tuple[int, Admission]] = []

        async def one(number: int, size: int) -> None:
            order.append((number, await limit.admit(size)))

        tasks = []
        for number, (pause_s, size) in enumerate(arrivals):
            await asyncio.sleep(pause_s if pause_s > 0.2 else 0.0)
            tasks.append(asyncio.create_task(one(number, size)))
        await asyncio.gather(*tasks)
        return order

    order = in_virtual_time(main)
    assert [number for number, _ in order] == list(range(len(arrivals)))
    most_requests, most_tokens = most_in_a_window([admission for _, admission in order])
    assert most_requests <= (requests or len(arrivals))
    assert most_tokens <= (tokens or float("inf"))


def test_no_time_is_lost() -> None:
    """A hundred requests at ten a window take nine windows, with 1 % and a little for safety."""

    async def main(loop: VirtualLoop) -> float:
        began = loop.time()
        await admitted(RateLimit(10, window_s=WINDOW_S), [1] * 100)
        return loop.time() - began

    assert 9 * 1.0 < in_virtual_time(main) <= 9 * 1.03


def test_a_minute_is_the_window() -> None:
    """The limits of the sweep file are per minute: the third of two a minute comes after 60 s, and not much later."""

    async def main(loop: VirtualLoop) -> list[float]:
        order = await admitted(RateLimit(2), [1] * 3)
        return [admission.at - 1_000 for admission in order]

    first, second, third = in_virtual_time(main)
    assert first == second == 0
    assert 60 < third < 61


def test_a_request_larger_than_a_window_goes_alone() -> None:
    """It waits until all before it have left the window, and those behind it wait until it has."""

    async def main(loop: VirtualLoop) -> list[float]:
        order = await admitted(RateLimit(None, 100, window_s=WINDOW_S), [40, 40, 500, 10, 90, 1])
        return [round(admission.at - 1_000, 1) for admission in order]

    assert in_virtual_time(main) == [0.0, 0.0, 1.0, 2.0, 2.0, 3.0]


def test_a_thousand_that_wait_wake_nobody_up() -> None:
    """asyncio-throttle looks every 10 ms; however many wait, one of them does."""

    async def main(loop: VirtualLoop) -> tuple[int, float]:
        began = loop.time()
        await admitted(RateLimit(100, window_s=6.0), [1] * 1_000)
        return loop.wake_ups, loop.time() - began

    wake_ups, took_s = in_virtual_time(main)
    assert took_s > 9 * 6
    assert wake_ups <= took_s / 0.01 + 1_000


def test_one_that_leaves_the_queue_takes_nothing_with_it() -> None:
    """Waiters that are cancelled, the first of them too, are not counted; the others keep their order."""

    async def main(loop: VirtualLoop) -> list[str]:
        limit = RateLimit(1, window_s=WINDOW_S)
        entered = []

        async def one(name: str) -> None:
            await limit.admit(1)
            entered.append(f"{name} {loop.time() - 1_000:.0f}")

        tasks = [asyncio.create_task(one(name)) for name in "abcde"]
        await settle()
        tasks[1].cancel()
        tasks[3].cancel()
        await asyncio.wait(tasks)
        return entered

    assert in_virtual_time(main) == ["a 0", "c 1", "e 2"]


# -- corrections -------------------------------------------------------------------------------------------------------


def test_a_request_counts_with_what_it_really_took() -> None:
    """Less than guessed makes room at once for those that come next; more takes it away from them."""

    async def main(loop: VirtualLoop) -> list[float]:
        limit = RateLimit(None, 100, window_s=WINDOW_S)
        at = []
        first = await limit.admit(90)
        limit.correct(first, 10)
        second = await limit.admit(80)
        at.append(second.at)
        limit.correct(second, 90)
        await asyncio.sleep(0.5)
        at.append((await limit.admit(10)).at)
        return [round(moment - 1_000, 1) for moment in at]

    assert in_virtual_time(main) == [0.0, 1.0]


def test_a_correction_that_comes_while_others_wait_holds_for_them() -> None:
    """One that waits for the oldest to leave waits longer where another turns out larger meanwhile."""

    async def main(loop: VirtualLoop) -> float:
        limit = RateLimit(None, 100, window_s=WINDOW_S)
        await limit.admit(60)
        await asyncio.sleep(0.5)
        second = await limit.admit(30)
        third = asyncio.create_task(limit.admit(30))
        await asyncio.sleep(0.2)
        limit.correct(second, 90)
        return (await third).at - 1_000

    assert 1.5 < in_virtual_time(main) < 1.6


def test_a_correction_after_the_window_changes_nothing() -> None:
    """What has left the window is not counted any more, whatever it took."""

    async def main(loop: VirtualLoop) -> float:
        limit = RateLimit(None, 100, window_s=WINDOW_S)
        first = await limit.admit(50)
        await asyncio.sleep(2)
        await limit.admit(50)
        limit.correct(first, 1_000_000)
        return (await limit.admit(50)).at - 1_000

    assert in_virtual_time(main) == 2.0


@settings(max_examples=150)
@example([(60, 60, 0.0), (30, 90, 0.5), (30, 30, 0.0)], 100)
@given(
    sizes=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60), st.floats(0, 2)), max_size=30),
    tokens=st.integers(60, 200),
)
def test_whoever_is_let_in_fits_with_what_is_known_by_then(sizes: list[tuple[int, int, float]], tokens: int) -> None:
    """Requests are corrected, up or down, while others wait: at each moment of letting in, the window holds no more than allowed."""

    async def main(loop: VirtualLoop) -> None:
        limit = RateLimit(None, tokens, window_s=WINDOW_S)
        order: list[Admission] = []

        async def one(guess: int, took: int, latency_s: float) -> None:
            admission = await limit.admit(guess)
            order.append(admission)
            inside = [each.tokens for each in order if loop.time() - each.at <= WINDOW_S]
            assert sum(inside) <= tokens or len(inside) == 1
            await asyncio.sleep(latency_s)
            limit.correct(admission, took)

        await asyncio.gather(*(one(*size) for size in sizes))

    in_virtual_time(main)


# -- what the service says ---------------------------------------------------------------------------------------------

OPENAI = {"x-ratelimit-limit-requests": "3", "x-ratelimit-limit-tokens": "50000"}
ANTHROPIC = {"anthropic-ratelimit-requests-limit": "3", "anthropic-ratelimit-tokens-limit": "50000"}


class Telling(Doing):
    """A service that sends headers with whatever it says."""

    def __init__(self, headers: Mapping[str, str], *outcomes: Reply | BaseException, latency_s: float = 0.0) -> None:
        super().__init__(*outcomes)
        self.headers = CIMultiDict(headers)
        self.latency_s = latency_s
        self.times: list[float] = []

    async def __call__(self, request: Request) -> Reply:
        self.times.append(asyncio.get_running_loop().time() - 1_000)
        await asyncio.sleep(self.latency_s)
        request.headers = self.headers
        return await super().__call__(request)


def times(step: Telling, calls: int, shared: Sequence[RateLimit] = (), size: int = 100) -> list[float]:
    """When each of so many calls, the first of which comes alone, was sent."""

    async def main(loop: VirtualLoop) -> None:
        throttle = Throttle(step, shared)
        await asyncio.gather(throttle(request(size=size)), return_exceptions=True)
        await asyncio.gather(*(throttle(request(size=size)) for _ in range(calls - 1)), return_exceptions=True)

    in_virtual_time(main)
    return [round(at) for at in step.times]


@pytest.mark.parametrize("headers", [OPENAI, ANTHROPIC, {name.title(): value for name, value in OPENAI.items()}])
@pytest.mark.parametrize("first", [reply(), CallFailed("http_429", "slow down")])
def test_limits_are_learned_from_headers(headers: dict[str, str], first: Reply | CallFailed) -> None:
    """Three a minute, says the service, with a reply or a rejection: then the fourth waits a minute, the first one counted."""
    assert times(Telling(headers, first), 7) == [0, 0, 0, 61, 61, 61, 121]


def test_what_was_sent_before_a_limit_was_known_counts_against_it() -> None:
    """Five are on their way when the first reply tells of three a minute: the next ones wait until all five are a minute old."""
    step = Telling(OPENAI, latency_s=0.1)

    async def main(loop: VirtualLoop) -> None:
        throttle = Throttle(step, ())
        await asyncio.gather(*(throttle(request()) for _ in range(5)))
        await throttle(request())

    in_virtual_time(main)
    assert [round(at) for at in step.times] == [0] * 5 + [61]


@pytest.mark.parametrize("name", ["x-ratelimit-limit-tokens", "anthropic-ratelimit-tokens-limit"])
def test_tokens_are_learned_too(name: str) -> None:
    """A thousand tokens a minute, and each request takes about 530 until more is known: one goes, the next waits."""
    heavy = reply(tokens=(30, 500))
    assert times(Telling({name: "1000"}, heavy, heavy, heavy), 3) == [0, 61, 121]


@pytest.mark.parametrize("text", ["", "0", "-1", "many", "1e3", "10, 20", "²", "9" * 5])
def test_what_cannot_be_a_limit_is_none(text: str) -> None:
    """A header that makes no sense, or is far away, changes nothing."""
    assert times(Telling({"x-ratelimit-limit-requests": text, "x-ratelimit-limit-tokens": text}), 20) == [0] * 20


def test_a_limit_of_a_provider_is_shared_by_its_lanes() -> None:
    """Two lanes under one limit of four a minute send four between them."""
    shared = RateLimit(4)
    lanes = [Telling({}), Telling({})]

    async def main(loop: VirtualLoop) -> None:
        throttles = [Throttle(step, [shared]) for step in lanes]
        await asyncio.gather(*(throttles[n % 2](request()) for n in range(6)))

    in_virtual_time(main)
    assert sorted(round(at) for step in lanes for at in step.times) == [0, 0, 0, 0, 61, 61]


def most_sent(sent: Sequence[float]) -> int:
    """The most in any sliding minute."""
    return max(sum(last - 60 < at <= last for at in sent) for last in sent)


@settings(max_examples=40)
@example(1, 4, [0, 0, 0, 1, 1, 1, 1, 1])
@given(own=st.integers(1, 6), together=st.integers(1, 8), calls=st.lists(st.integers(0, 1), min_size=1, max_size=30))
def test_a_limit_of_the_provider_holds_whatever_one_of_its_models_is_told(
    own: int, together: int, calls: list[int]
) -> None:
    """A lane that waits for its own minute holds no places in the minute of all; its own limit holds to within one request."""
    shared = RateLimit(together)
    told = Telling({"x-ratelimit-limit-requests": str(own)})
    lanes = [told, Telling({})]

    async def main(loop: VirtualLoop) -> None:
        throttles = [Throttle(step, [shared]) for step in lanes]
        await throttles[0](request())
        await asyncio.gather(*(throttles[number](request()) for number in calls))

    in_virtual_time(main)
    assert most_sent([at for step in lanes for at in step.times]) <= together
    assert most_sent(told.times) <= own + 1


def test_what_a_service_says_of_one_model_holds_for_that_model() -> None:
    """The headers of one lane do not hold back another lane of the same provider."""
    shared = RateLimit()
    told, free = Telling(OPENAI), Telling({})

    async def main(loop: VirtualLoop) -> None:
        throttles = [Throttle(step, [shared]) for step in (told, free)]
        await throttles[0](request())
        await asyncio.gather(*(throttles[n % 2](request()) for n in range(12)))

    in_virtual_time(main)
    assert [round(at) for at in free.times] == [0] * 6
    assert [round(at) for at in told.times] == [0, 0, 0, 61, 61, 61, 121]


# -- guesses -----------------------------------------------------------------------------------------------------------


def test_the_guess_follows_what_requests_take() -> None:
    """Requests turn out to take a tenth of the first guess: after some, ten times as many fit in a minute."""
    small = Doing(otherwise=reply(tokens=(20, 30)))
    sent: list[float] = []

    async def main(loop: VirtualLoop) -> None:
        throttle = Throttle(small, [RateLimit(None, 2_000)])
        for _ in range(100):
            await throttle(request())
        began = loop.time()
        await asyncio.sleep(61)

        async def one() -> None:
            await throttle(request())
            sent.append(loop.time() - began - 61)

        await asyncio.gather(*(one() for _ in range(100)))

    in_virtual_time(main)
    assert 30 <= sum(at < 1 for at in sent) <= 40


@pytest.mark.parametrize(
    ("outcome", "second_at"),
    [
        (CallFailed("http_429", "slow down"), 0),  # turned away before any work
        (CallFailed("timeout", "late"), 61),  # may have taken all that was guessed
        (reply(tokens=(10, 10)), 0),
        (reply(tokens=(10, 900)), 61),
    ],
)
def test_what_a_request_is_counted_with_in_the_end(outcome: Reply | CallFailed, second_at: int) -> None:
    """A reply by its usage, a rejection with nothing, and one whose end was not seen with what was guessed."""
    assert times(Telling({}, outcome), 2, [RateLimit(None, 1_000)]) == [0, second_at]
