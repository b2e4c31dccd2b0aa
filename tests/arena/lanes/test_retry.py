from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_ai.exceptions import ModelHTTPError

from conflictscope.arena import Policy
from conflictscope.arena.lanes.retry import Retry
from conflictscope.arena.lanes.steps import Reply, Request
from conflictscope.errors import CallFailed, LaneClosed, LimitReached
from tests.arena.lanes.doubles import Counted, Doing, Rows, call, lane, reply, request
from tests.virtual_time import VirtualLoop, in_virtual_time, settle

AGAIN = ["http_408", "http_409", "http_429", "http_500", "http_502", "http_503", "http_504", "http_529", "timeout",
         "connection", "malformed", "unexpected"]  # fmt: skip
NEVER = ["http_400", "http_401", "http_402", "quota", "http_403", "http_404", "http_413", "http_422", "refused", "setup",
         "truncated", "empty", "unparsed", "agent"]  # fmt: skip


def tried(step: Doing, attempts: int = 6, retry_time_s: float = 300.0) -> tuple[Reply | CallFailed, float]:
    """What came of a call in the end, and how long that took."""

    async def main(loop: VirtualLoop) -> tuple[Reply | CallFailed, float]:
        began = loop.time()
        try:
            outcome: Reply | CallFailed = await Retry(step, attempts, retry_time_s)(request())
        except CallFailed as failure:
            outcome = failure
        return outcome, loop.time() - began

    return in_virtual_time(main)


@pytest.mark.parametrize(("kind", "attempts"), [*((kind, 3) for kind in AGAIN), *((kind, 1) for kind in NEVER)])
def test_what_may_do_better_is_tried_again_and_nothing_else(kind: str, attempts: int) -> None:
    """Overload, faults of service and connection, unusable bodies: as often as allowed. Our own mistakes and refusals: once."""
    step = Doing(otherwise=CallFailed(kind, "no"))
    outcome, took_s = tried(step, attempts=3)
    assert outcome is step.otherwise
    assert len(step.seen) == attempts
    assert (took_s > 0) == (attempts > 1)


@pytest.mark.parametrize("error", [LimitReached("spent"), LaneClosed("closed"), RuntimeError("a bug")])
def test_what_is_no_failure_of_a_call_passes_at_once(error: Exception) -> None:
    """A limit, a closed lane or a mistake of ours is never a reason to ask again."""
    step = Doing(error)
    with pytest.raises(type(error)):
        tried(step)
    assert len(step.seen) == 1


def test_the_first_good_reply_ends_it() -> None:
    """Failures of several kinds, then a reply: the reply is what comes out."""
    good = reply()
    step = Doing(CallFailed("http_500", "no"), CallFailed("timeout", "no"), CallFailed("connection", "no"), good)
    assert tried(step)[0] is good
    assert len(step.seen) == 4


@pytest.mark.parametrize("asked_s", [0.0, 0.25, 20.0, 299.0])
def test_the_service_says_how_long_to_wait(asked_s: float) -> None:
    """Retry-After is obeyed, and the next attempt comes within half a second after it: all at once would be a burst."""
    _, took_s = tried(Doing(CallFailed("http_429", "slow down", retry_after_s=asked_s)))
    assert asked_s <= took_s <= asked_s + 0.5


@pytest.mark.parametrize("asked_s", [300.0, 301.0, 86_400.0])
def test_a_wait_beyond_the_time_is_not_waited_for(asked_s: float) -> None:
    """Where the service asks for more than is left, the call fails at once, with what the service said."""
    step = Doing(CallFailed("http_429", "slow down", retry_after_s=asked_s))
    outcome, took_s = tried(step)
    assert isinstance(outcome, CallFailed)
    assert (outcome.kind, outcome.retry_after_s, took_s) == ("http_429", asked_s, 0.0)
    assert len(step.seen) == 1


@pytest.mark.parametrize(("asked_s", "waited_s", "attempts"), [(40.0, 0.0, 3), (0.0, 1_000.0, 6), (40.0, 1_000.0, 3)])
def test_only_asking_and_pausing_take_from_the_time(asked_s: float, waited_s: float, attempts: int) -> None:
    """However long an attempt waits for a slot, its minute or the budget: with 100 s for retries, 40 s each are 3 attempts."""

    class Slow(Doing):
        async def __call__(self, request: Request) -> Reply:
            await asyncio.sleep(waited_s)
            request.asked_s += asked_s  # as the end of a lane notes it
            return await super().__call__(request)

    step = Slow(otherwise=CallFailed("http_500", "no", retry_after_s=1.0))
    tried(step, attempts=6, retry_time_s=100.0)
    assert len(step.seen) == attempts


@given(
    waits=st.lists(st.none() | st.floats(0, 400), max_size=60),
    attempts=st.integers(1, 50),
    retry_time_s=st.floats(0, 1_000),
)
def test_it_is_bounded_in_count_and_in_time(waits: list[float | None], attempts: int, retry_time_s: float) -> None:
    """Whatever the service asks for: no more attempts than allowed, and none after the time is up."""
    step = Doing(
        *(CallFailed("http_429", "no", retry_after_s=wait) for wait in waits), otherwise=CallFailed("http_500", "no")
    )
    outcome, took_s = tried(step, attempts, retry_time_s)
    assert isinstance(outcome, CallFailed)
    assert 1 <= len(step.seen) <= attempts
    assert took_s <= retry_time_s


def test_pauses_grow_and_differ_from_call_to_call() -> None:
    """Without a word from the service, the n-th pause is drawn from 0 to half a second times 2^(n-1), at most 30 s."""
    pauses: list[list[float]] = []

    class Noting(Doing):
        async def __call__(self, request: object) -> Reply:
            times.append(asyncio.get_running_loop().time())
            raise CallFailed("http_500", "no")

    for _ in range(100):
        times: list[float] = []
        tried(Noting(), attempts=10, retry_time_s=10_000)
        pauses.append([after - before for before, after in pairwise(times)])
    for number, drawn in enumerate(zip(*pauses, strict=True)):
        high = min(30.0, 0.5 * 2**number)
        assert 0 <= min(drawn) < max(drawn) <= high + 1e-6
        assert len(set(drawn)) > 50
    assert max(drawn) > 10


def test_each_attempt_is_a_row_of_the_journal() -> None:
    """Two failures and a reply: three rows of one call, of which only the last has the reply."""
    journal, model = Rows(), Counted(ModelHTTPError(503, "m", "busy"))

    async def main(loop: VirtualLoop) -> None:
        asking = asyncio.create_task(lane(model, journal, policy=Policy(attempts=3)).request(call()))
        while model.requests < 2:
            await asyncio.sleep(0.001)
        model.act = None
        await asking

    in_virtual_time(main)
    assert journal.states() == ["failed", "failed", "committed"]
    assert len({(row.sent.scope, row.sent.fingerprint) for row in journal.rows}) == 1
    assert [row.end.reply is not None for row in journal.rows] == [False, False, True]


def test_a_call_that_is_cancelled_in_a_pause_is_not_tried_again() -> None:
    """Cancellation ends the pause, and passes through."""
    step = Doing(CallFailed("http_429", "slow down", retry_after_s=60))

    async def main(loop: VirtualLoop) -> None:
        asking = asyncio.create_task(Retry(step, 6, 300)(request()))
        await settle()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert loop.time() == 1_000.0

    in_virtual_time(main)
    assert len(step.seen) == 1


def test_calls_do_not_share_their_attempts() -> None:
    """A hundred calls at once, each failing twice: each gets its own three attempts."""
    failures = dict.fromkeys(range(100), 2)

    async def step(one: object) -> Reply:
        number = int(one.call.scope)  # type: ignore[attr-defined]
        failures[number] -= 1
        if failures[number] >= 0:
            raise CallFailed("http_500", "no")
        return reply()

    async def main(loop: VirtualLoop) -> None:
        retry = Retry(step, 3, 300)
        await asyncio.gather(*(retry(request(str(number))) for number in range(100)))

    in_virtual_time(main)
    assert set(failures.values()) == {-1}
