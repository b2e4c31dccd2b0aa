from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conflictscope.arena import Policy
from conflictscope.arena.lanes.breaker import IN_A_ROW, Breaker
from conflictscope.arena.lanes.steps import Reply, Request, Step
from conflictscope.errors import CallFailed, LaneClosed, LimitReached
from tests.arena.lanes.doubles import Doing, Held, Rows, call, lane, reply, request
from tests.virtual_time import VirtualLoop, in_virtual_time, settle


async def told(guard: Step, scope: str) -> str:
    """What an episode is told: `reply`, the kind of its failure, or `closed`."""
    try:
        await guard(request(scope))
    except CallFailed as failure:
        return failure.kind
    except LaneClosed:
        return "closed"
    return "reply"


def failure(kind: str) -> CallFailed:
    return CallFailed(kind, "go away")


async def test_the_same_error_from_episodes_in_a_row_closes_the_lane() -> None:
    """The last of five is told that the lane is closed, with the error that did it; from then on nothing is asked."""
    step = Doing(otherwise=failure("http_401"))
    breaker = Breaker("openai:m")
    guard = breaker.guarding(step)
    assert IN_A_ROW == 5
    assert [await told(guard, f"e{n}") for n in range(4)] == ["http_401"] * 4
    assert breaker.closed is None
    with pytest.raises(
        LaneClosed, match=r"^openai:m gave 5 episodes in a row the same error: http_401: go away$"
    ) as closed:
        await guard(request("e4"))
    assert breaker.closed == str(closed.value)
    step.otherwise = reply()
    assert [await told(guard, "e0"), await told(guard, "e9")] == ["closed"] * 2
    assert len(step.seen) == 5


async def test_a_reply_between_them_starts_the_count_anew() -> None:
    """Four failures, a reply, four failures: the lane stays open."""
    step = Doing(*[failure("http_500")] * 4, reply(), *[failure("http_500")] * 4)
    breaker = Breaker("m")
    guard = breaker.guarding(step)
    answers = [await told(guard, f"e{n}") for n in range(9)]
    assert answers == [*["http_500"] * 4, "reply", *["http_500"] * 4]
    assert breaker.closed is None


async def test_another_error_starts_the_count_anew() -> None:
    """Errors that differ are no error that stays: 500 and 503 by turns close nothing."""
    step = Doing(*[failure(kind) for _ in range(10) for kind in ("http_500", "http_503")])
    breaker = Breaker("m")
    guard = breaker.guarding(step)
    assert "closed" not in [await told(guard, f"e{n}") for n in range(20)]


async def test_an_episode_counts_once_however_often_it_asks() -> None:
    """Twenty failures of four episodes leave the lane open."""
    breaker = Breaker("m")
    guard = breaker.guarding(Doing(otherwise=failure("http_400")))
    assert [await told(guard, f"e{n % 4}") for n in range(20)] == ["http_400"] * 20
    assert await told(guard, "e4") == "closed"


def test_retries_of_one_call_count_once() -> None:
    """In a lane, the attempts of a call are behind the breaker: five episodes of three attempts each close it, not two."""
    step = Doing(otherwise=failure("http_500"))

    async def model(*_: object) -> object:
        await step(request())
        raise AssertionError

    journal = Rows()

    async def main(loop: VirtualLoop) -> list[str]:
        road = lane(model, journal, policy=Policy(attempts=3))  # type: ignore[arg-type]
        answers = []
        for number in range(7):
            try:
                await road.request(call(scope=f"e{number}"))
            except (CallFailed, LaneClosed) as error:
                answers.append(type(error).__name__)
        return answers

    assert in_virtual_time(main) == ["CallFailed"] * 4 + ["LaneClosed"] * 3
    assert journal.states() == ["failed"] * 3 * 5


@pytest.mark.parametrize(("late", "is_told"), [(failure("http_401"), "closed"), (failure("timeout"), "closed"), (reply(), "reply")])  # fmt: skip
async def test_calls_on_their_way_at_the_closing_are_not_charged(late: Reply | CallFailed, is_told: str) -> None:
    """Whatever failure comes back to them, their episodes are left; a reply that does come is used."""
    step = Held()
    breaker = Breaker("m")
    guard = breaker.guarding(step)
    asking = [asyncio.create_task(told(guard, f"e{n}")) for n in range(8)]
    await settle()
    for number in range(5):
        await step.end(number, failure("http_401"))
    assert breaker.closed is not None
    for number in range(5, 8):
        await step.end(number, late)
    assert await asyncio.gather(*asking) == [*["http_401"] * 4, "closed", *[is_told] * 3]


async def test_refusals_are_conduct_and_not_counted() -> None:
    """However many conversations a model refuses, its lane stays open; and a refusal shows that the service works."""
    step = Doing(*[failure("refused")] * 20, *[outcome for _ in range(5) for outcome in (failure("http_500"), failure("refused"))])  # fmt: skip
    breaker = Breaker("m")
    guard = breaker.guarding(step)
    answers = [await told(guard, f"e{n}") for n in range(29)]
    assert answers == ["refused"] * 20 + ["http_500", "refused"] * 4 + ["http_500"]


async def test_what_is_wrong_with_single_requests_does_not_close_a_lane_that_answers_slowly() -> None:
    """Refused parameters come back at once: of many at the same time one counts, for the replies are still on their way."""
    breaker, step, together = Breaker("m"), Doing(otherwise=failure("http_400")), asyncio.Event()

    async def all_at_once(one: Request) -> Reply:
        if one.call.scope == "e49":
            together.set()
        await together.wait()
        return await step(one)

    guard = breaker.guarding(all_at_once)
    answers = await asyncio.gather(*(told(guard, f"e{n}") for n in range(50)))
    assert answers == ["http_400"] * 50
    assert [await told(guard, f"f{n}") for n in range(4)] == ["http_400"] * 3 + ["closed"]


async def test_what_waits_for_its_turn_when_the_lane_closes_is_not_sent() -> None:
    """The inner step lets nothing through once the outer one has closed the lane."""
    breaker, sent = Breaker("m"), Doing(otherwise=failure("http_401"))
    guard, bar = breaker.guarding(sent), breaker.barring(sent)
    for number in range(IN_A_ROW):
        await told(guard, f"e{number}")
    asked = len(sent.seen)
    with pytest.raises(LaneClosed, match="5 episodes in a row"):
        await bar(request("waiting"))
    assert len(sent.seen) == asked


async def test_what_is_no_failure_of_a_call_is_not_counted() -> None:
    """A reached limit passes through, time and again."""
    breaker = Breaker("m")
    guard = breaker.guarding(Doing(otherwise=LimitReached("spent")))
    for number in range(10):
        with pytest.raises(LimitReached):
            await guard(request(f"e{number}"))
    assert breaker.closed is None


@given(
    st.lists(
        st.tuples(st.sampled_from("abcdefg"), st.sampled_from(["reply", "refused", "http_500", "http_401"])),
        max_size=60,
    )
)
def test_it_closes_exactly_when_five_episodes_in_a_row_agree(events: list[tuple[str, str]]) -> None:
    """For any sequence of ends: closed at the first stretch without a reply in which five episodes end in one kind only."""
    outcomes = [reply() if kind == "reply" else failure(kind) for _, kind in events]
    breaker = Breaker("m")
    guard = breaker.guarding(Doing(*outcomes))

    async def main() -> list[str]:
        return [await told(guard, scope) for scope, _ in events]

    answers = asyncio.run(main())
    expected, stretch = [], []
    for scope, kind in events:
        if "closed" in expected:
            expected.append("closed")
            continue
        if kind == "reply":
            stretch = []
        elif kind != "refused":
            stretch = [(kind, scope), *(one for one in stretch if one[0] == kind)]
        expected.append("closed" if len(set(stretch)) == 5 and kind not in ("reply", "refused") else kind)
    assert answers == expected
