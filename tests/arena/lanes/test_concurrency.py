from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from conflictscope.arena.lanes.concurrency import Concurrency
from conflictscope.arena.lanes.steps import Reply
from conflictscope.errors import CallFailed
from tests.arena.lanes.doubles import Doing, Held, reply, request
from tests.virtual_time import VirtualLoop, in_virtual_time, settle

BUSY = CallFailed("http_429", "slow down")


async def play(lane: Concurrency, outcomes: int) -> None:
    """Let so many requests through, one after the other, whatever becomes of them."""
    for _ in range(outcomes):
        try:
            await lane(request())
        except CallFailed:
            continue


def a_round(rejected: int, answered: int, latency_s: float = 1.0) -> list[Reply | CallFailed]:
    return [*[BUSY] * rejected, *[reply(latency_s=latency_s)] * answered]


async def shrunk(most: int, to_below: int) -> tuple[Concurrency, Doing]:
    """A lane whose service has rejected requests until its limit was below that."""
    step = Doing(otherwise=BUSY)
    lane = Concurrency(step, most, "m")
    while lane.limit >= to_below:
        await play(lane, 1)
    step.otherwise = reply()
    return lane, step


async def test_it_begins_with_as_many_as_were_asked_for() -> None:
    """All of them go at once; the next one waits for the first that ends."""
    step = Held()
    lane = Concurrency(step, 8, "m")
    asking = [asyncio.create_task(lane(request(str(n)))) for n in range(10)]
    await settle()
    assert (lane.limit, len(step.seen)) == (8, 8)
    await step.end(3)
    assert len(step.seen) == 9
    for number in (0, 1, 2, 4, 5, 6, 7, 8, 9):
        await step.end(number)
    await asyncio.gather(*asking)
    assert step.most == 8


@pytest.mark.parametrize("kind", ["http_429", "http_503", "http_529"])
@pytest.mark.parametrize(("most", "rejections"), [(64, 8), (100, 13), (32, 4), (8, 4), (2, 4)])
async def test_it_shrinks_by_a_third_when_one_in_eight_is_rejected(kind: str, most: int, rejections: int) -> None:
    """One in eight of a limit's worth of requests, but at least four, is the service's word; one less is noise."""
    overload = CallFailed(kind, "busy")
    step = Doing(otherwise=overload)
    lane = Concurrency(step, most, "m")
    await play(lane, rejections - 1)
    assert lane.limit == most
    await play(lane, 1)
    assert lane.limit == max(1, int(most * 0.7))


async def test_a_few_rejections_in_every_round_change_nothing() -> None:
    """Seven in each round of 64 are what retries are for."""
    lane = Concurrency(Doing(*a_round(7, 64) * 10), 64, "m")
    await play(lane, 71 * 10)
    assert lane.limit == 64


@pytest.mark.parametrize("kind", ["http_500", "timeout", "connection", "malformed", "http_401", "refused"])
async def test_only_overload_shrinks_it(kind: str) -> None:
    """Faults of another kind do not become fewer with fewer requests."""
    lane = Concurrency(Doing(otherwise=CallFailed(kind, "no")), 64, "m")
    await play(lane, 200)
    assert lane.limit == 64


async def test_it_never_falls_below_one() -> None:
    """However long a service rejects everything, one request at a time is tried."""
    lane = Concurrency(Doing(otherwise=BUSY), 64, "m")
    await play(lane, 1_000)
    assert lane.limit == 1


async def test_it_grows_back_and_never_above_the_most() -> None:
    """After an overload has passed, each good round gives a quarter more, up to what was asked for."""
    lane, _ = await shrunk(64, to_below=10)
    limits = [lane.limit]
    while lane.limit < 64:
        await play(lane, lane.limit)
        limits.append(lane.limit)
    assert limits == [9, 12, 16, 21, 27, 34, 43, 54, 64]
    await play(lane, 1_000)
    assert lane.limit == 64


async def test_while_replies_are_slow_it_does_not_grow() -> None:
    """Replies that take more than twice the best say that the service is full; when they are quick again, growth goes on."""
    lane, step = await shrunk(64, to_below=10)
    await play(lane, lane.limit)
    before = lane.limit
    step.otherwise = reply(latency_s=2.5)
    for _ in range(3):
        await play(lane, before)
        assert lane.limit == before
    step.otherwise = reply(latency_s=1.9)
    await play(lane, before)
    assert lane.limit > before


async def test_a_service_that_stays_slower_becomes_the_measure() -> None:
    """The best is forgotten slowly: a service whose replies take longer for good does not hold the lane down for ever."""
    lane, step = await shrunk(64, to_below=10)
    await play(lane, lane.limit)
    step.otherwise = reply(latency_s=4.0)
    rounds = 0
    while lane.limit < 64 and rounds < 200:
        await play(lane, lane.limit)
        rounds += 1
    assert lane.limit == 64
    assert rounds > 20


async def test_what_was_sent_before_a_change_says_nothing_about_it() -> None:
    """64 in flight and all are rejected: one shrinking, not eight."""
    step = Held()
    lane = Concurrency(step, 64, "m")
    asking = [asyncio.create_task(lane(request())) for _ in range(64)]
    await settle()
    for number in range(64):
        await step.end(number, BUSY)
    assert lane.limit == 44
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert set(answers) == {BUSY}


async def test_after_shrinking_nobody_enters_until_enough_have_left() -> None:
    """The new limit holds for new requests; those in flight are not disturbed."""
    step = Held()
    lane = Concurrency(step, 10, "m")
    asking = [asyncio.create_task(lane(request())) for _ in range(12)]
    await settle()
    for number in range(4):
        await step.end(number, BUSY)
    # 10 were let in, the two that waited came after the first two rejections, and then the limit fell to 7.
    assert (lane.limit, len(step.seen), len(step.held)) == (7, 12, 8)
    asking.append(asyncio.create_task(lane(request())))
    await step.end(4)
    assert len(step.seen) == 12
    await step.end(5)
    assert (len(step.seen), len(step.held)) == (13, 7)
    for number in list(step.held):
        await step.end(number)
    await asyncio.gather(*asking, return_exceptions=True)


async def test_first_come_first_served() -> None:
    """Those who wait enter in the order in which they came, also when somebody new comes while a slot is free."""
    step = Held()
    lane = Concurrency(step, 2, "m")
    asking = [asyncio.create_task(lane(request(str(n)))) for n in range(6)]
    await settle()
    for number in (1, 0, 2, 3, 4, 5):
        await step.end(number)
    await asyncio.gather(*asking)
    assert [each.call.scope for each in step.seen] == list("012345")


async def test_when_all_are_cancelled_at_once_each_gets_its_cancellation() -> None:
    """A waiter that is cancelled together with the one whose slot it would have got is cancelled, and nothing else."""
    step = Held()
    lane = Concurrency(step, 2, "m")
    asking = [asyncio.create_task(lane(request(str(n)))) for n in range(6)]
    await settle()
    for task in asking:
        task.cancel()
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(answer) for answer in answers] == [asyncio.CancelledError] * 6
    after = asyncio.create_task(lane(request("after")))
    await settle()
    await step.end(2)
    await after


@settings(max_examples=200)
@example(1, [("enter", 1), ("enter", 1), ("cancel2", 1), ("finish", 1)])
@given(
    most=st.integers(1, 6),
    steps=st.lists(
        st.tuples(st.sampled_from(["enter", "finish", "reject", "cancel", "cancel2"]), st.integers(0, 99)), max_size=80
    ),
)
def test_no_slot_is_ever_lost_or_made_up(most: int, steps: Sequence[tuple[str, int]]) -> None:
    """Whoever comes, ends, is rejected or cancelled, in whatever order: never too many in flight, and all the others get in."""

    async def main(loop: VirtualLoop) -> None:
        step = Held()
        lane = Concurrency(step, most, "m")
        tasks: list[asyncio.Task[Reply]] = []
        cancelled: set[asyncio.Task[Reply]] = set()
        for kind, place in steps:
            alive = [task for task in tasks if not task.done()]
            if kind == "enter":
                tasks.append(asyncio.create_task(lane(request(str(len(tasks))))))
            elif kind in ("finish", "reject") and step.held:
                number = sorted(step.held)[place % len(step.held)]
                if not step.held[number].done():
                    step.held[number].set_result(reply()) if kind == "finish" else step.held[number].set_exception(BUSY)
            elif kind.startswith("cancel") and alive:
                doomed = alive[place % len(alive)]
                cancelled.add(doomed)
                doomed.cancel()
            if kind != "cancel2" and place % 2:  # else the next step comes before anybody took notice of this one
                await settle()
            assert len(step.held) <= most
        while any(not task.done() for task in tasks):
            await settle()
            for future in list(step.held.values()):
                if not future.done():
                    future.set_result(reply())
            assert len(step.held) <= most
            await settle()
        for task in tasks:
            if task.cancelled():
                assert task in cancelled
            else:
                assert task.exception() in (None, BUSY)
        assert step.most <= most
        together = [asyncio.create_task(lane(request())) for _ in range(lane.limit)]
        await settle()
        assert len(step.held) == lane.limit  # every slot is there again
        for number in list(step.held):
            await step.end(number)
        await asyncio.gather(*together)

    in_virtual_time(main)
