from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest
from genai_prices import calc_price
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic_ai.models.function import FunctionModel
from pydantic_ai.usage import RequestUsage

from conflictscope.arena import Budget, FlatPrice, known_price
from conflictscope.arena.lanes.budget import KnownPrice, Meter
from conflictscope.arena.lanes.steps import Reply, Request
from conflictscope.errors import CallFailed, LimitReached
from tests.arena.lanes.doubles import Counted, Doing, Held, Rows, call, lane, reply, request
from tests.virtual_time import VirtualLoop, in_virtual_time, settle

# Flat ones, and those whose price for all tokens depends on how many go in.
FLAT = [("gpt-4o-mini", "openai"), ("gpt-5.1", "openai"), ("claude-sonnet-5", "anthropic")]
TIERED = [("gpt-5.4", "openai"), ("claude-sonnet-4-5", "anthropic"), ("gemini-2.5-pro", "google")]
PRICE = FlatPrice(input_usd=0.0, output_usd=10_000.0)  # a cent for each token that comes out


def a_meter(following: Doing | Held, budget: Budget, price: FlatPrice | None = PRICE) -> Meter:
    return Meter(following, budget, price, "m")


# -- reservations ------------------------------------------------------------------------------------------------------


async def test_the_most_that_a_call_can_cost_is_set_aside_while_it_is_on_its_way() -> None:
    """Every byte of the request a token, and a frame, and all of max_tokens; afterwards what it did cost is spent."""
    step, budget = Held(), Budget(10.0)
    asking = asyncio.create_task(a_meter(step, budget, FlatPrice(100.0, 1_000.0))(request(size=500, max_tokens=200)))
    await settle()
    most_usd = (500 + 1_000) * 100e-6 + 200 * 1_000e-6
    assert budget.reserved_usd == step.seen[0].reserved_usd == pytest.approx(most_usd)
    assert budget.spent_usd == 0.0
    step.seen[0].spent_usd = 0.125
    await step.end(0)
    await asking
    assert (budget.reserved_usd, budget.spent_usd) == (0.0, 0.125)


async def test_what_is_not_spent_is_given_back_also_after_a_failure() -> None:
    """A call that failed before any work costs nothing; one whose end was not seen counts with all that was set aside."""
    step, budget = Held(), Budget(10.0)
    meter = a_meter(step, budget)
    asking = [asyncio.create_task(meter(request())) for _ in range(3)]
    await settle()
    assert budget.reserved_usd == pytest.approx(3.0)
    await step.end(0, CallFailed("http_429", "slow down"))
    assert (budget.reserved_usd, budget.spent_usd) == (pytest.approx(2.0), 0.0)
    step.seen[1].spent_usd = step.seen[1].reserved_usd
    await step.end(1, CallFailed("timeout", "late"))
    assert (budget.reserved_usd, budget.spent_usd) == (pytest.approx(1.0), pytest.approx(1.0))
    asking[2].cancel()
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert (budget.reserved_usd, budget.spent_usd) == (0.0, pytest.approx(1.0))
    assert [type(answer) for answer in answers] == [CallFailed, CallFailed, asyncio.CancelledError]


@pytest.mark.parametrize("kind", ["timeout", "connection", "malformed", "unexpected", "http_429", "http_500", "refused"])  # fmt: skip
async def test_a_failed_call_counts_with_what_was_reserved_where_its_end_was_not_seen(kind: str) -> None:
    """In a whole lane: a service that went silent may bill the work; one that turned us away does not."""
    unseen = kind in ("timeout", "connection", "malformed", "unexpected")
    journal, budget = Rows(), Budget(100.0)
    with pytest.raises(CallFailed):
        await lane(Counted(CallFailed(kind, "no")), journal, budget, price=PRICE).request(call())
    (row,) = journal.rows
    assert row.sent.reserved_usd == pytest.approx(1.0)
    assert row.end.at_risk_usd == budget.spent_usd == (row.sent.reserved_usd if unseen else 0.0)
    assert budget.reserved_usd == 0.0


async def test_a_call_that_is_abandoned_counts_with_what_was_reserved() -> None:
    """Who stops waiting does not know what it will cost; the row and the budget say the same."""
    entered = asyncio.Event()

    class Hanging(Counted):
        async def __call__(self, *_: object) -> object:  # type: ignore[override]
            entered.set()
            await asyncio.Event().wait()
            raise AssertionError

    journal, budget = Rows(), Budget(100.0)
    asking = asyncio.create_task(lane(Hanging(), journal, budget, price=PRICE).request(call()))
    await entered.wait()
    asking.cancel()
    await asyncio.wait([asking])
    assert journal.rows[0].end.at_risk_usd == budget.spent_usd == pytest.approx(1.0)
    assert budget.reserved_usd == 0.0


async def test_a_call_that_may_cost_too_much_waits_for_what_others_give_back() -> None:
    """Room for one: the second goes when the first has cost less than was set aside for it; the third is told the limit."""
    step, budget = Held(), Budget(1.5)
    meter = a_meter(step, budget)
    asking = [asyncio.create_task(meter(request(str(n)))) for n in range(3)]
    await settle()
    assert [each.call.scope for each in step.seen] == ["0"]
    step.seen[0].spent_usd = 0.25
    await step.end(0)
    assert [each.call.scope for each in step.seen] == ["0", "1"]
    assert not asking[2].done()
    step.seen[1].spent_usd = 0.5
    await step.end(1)
    with pytest.raises(
        LimitReached,
        match=r"\$0\.7500 of \$1\.5000 is spent \(limits\.cost_usd\), and one call to m may cost up to \$1\.0000",
    ):
        await asking[2]


async def test_first_come_first_served() -> None:
    """A small call that comes later does not overtake a large one that waits."""
    step, budget = Held(), Budget(1.0)
    meter = a_meter(step, budget)
    sizes = {"first": 60, "large": 80, "small": 10}
    asking = [asyncio.create_task(meter(request(scope, max_tokens=size))) for scope, size in sizes.items()]
    await settle()
    assert [each.call.scope for each in step.seen] == ["first"]
    await step.end(0)
    assert [each.call.scope for each in step.seen] == ["first", "large", "small"]
    await step.end(1)
    await step.end(2)
    await asyncio.gather(*asking)


async def test_a_waiter_that_is_cancelled_leaves_the_queue() -> None:
    """Those behind it get their turn, and nothing stays reserved for it."""
    step, budget = Held(), Budget(1.0)
    meter = a_meter(step, budget)
    asking = [asyncio.create_task(meter(request(str(n)))) for n in range(3)]
    await settle()
    asking[1].cancel()
    await settle()
    await step.end(0)
    await step.end(1)
    assert [each.call.scope for each in step.seen] == ["0", "2"]
    await asyncio.gather(*asking, return_exceptions=True)
    assert budget.reserved_usd == 0.0


async def test_what_others_have_that_costs_nothing_is_not_waited_for() -> None:
    """A free call on its way has nothing to give back: the limit is told at once."""
    step, budget = Held(), Budget(0.5)
    free = asyncio.create_task(a_meter(step, budget, FlatPrice(0.0, 0.0))(request()))
    await settle()
    with pytest.raises(LimitReached):
        await a_meter(step, budget)(request())
    await step.end(0)
    await free


def test_sums_of_dollars_that_do_not_quite_cancel_keep_nobody_waiting() -> None:
    """After any number of amounts set aside and given back, a call that is too dear is told so, instead of waiting for ever."""

    async def main(loop: VirtualLoop) -> None:
        budget = Budget(100_000.0)
        amounts = [0.1 * number for number in range(1, 1_200)]
        for amount in amounts:
            await budget.reserve(amount, "it")
        for amount in amounts[1::2] + amounts[::2]:
            budget.settle(amount, 0.0)
        assert budget.reserved_usd <= 1e-9
        budget.spent_usd = 100_000.0
        with pytest.raises(LimitReached):
            await budget.reserve(0.1, "it")

    in_virtual_time(main)


async def test_without_a_price_or_a_bound_a_limit_cannot_be_kept() -> None:
    """Then the call is not made; without a limit it is, and nothing is set aside for it."""
    step = Doing()
    with pytest.raises(LimitReached, match="the price of m is not known"):
        await a_meter(step, Budget(1.0), None)(request())
    unbounded = request()
    del unbounded.call.settings["max_tokens"]
    with pytest.raises(LimitReached, match="no max_tokens"):
        await a_meter(step, Budget(1.0))(unbounded)
    assert step.seen == []
    free = Budget(None)
    await a_meter(step, free, None)(request())
    await a_meter(step, free)(unbounded)
    assert (len(step.seen), free.reserved_usd, free.spent_usd) == (2, 0.0, 0.0)


SHARES = st.just(1.0) | st.floats(0, 1)
CALLS = st.tuples(
    st.integers(0, 100),  # max_tokens
    st.floats(0, 1),  # the share of it that is used
    st.sampled_from(["reply", "http_500", "timeout", "cancel"]),
    st.floats(0, 10),  # seconds
)


@settings(max_examples=200)
@given(
    calls=st.lists(CALLS, max_size=40), workers=st.integers(1, 12), limit=st.floats(0.01, 20), spent=st.floats(0, 20)
)
def test_spent_and_reserved_never_pass_the_limit(
    calls: list[tuple[int, float, str, float]], workers: int, limit: float, spent: float
) -> None:
    """Whatever calls cost, however they end and however many are on their way; and nobody waits for ever."""

    async def main(loop: VirtualLoop) -> None:
        budget = Budget(limit, spent)
        begun: list[str] = []

        def check() -> None:
            assert budget.spent_usd + budget.reserved_usd <= max(limit, spent) * (1 + 1e-9)

        class Service:
            async def __call__(self, one: Request) -> Reply:
                number = int(one.call.scope)
                begun.append(one.call.scope)
                check()
                _, share, how, seconds = calls[number]
                one.spent_usd = one.reserved_usd  # as Record does
                await asyncio.sleep(seconds)
                if how == "cancel":
                    asking = asyncio.current_task()
                    assert asking is not None
                    asking.cancel()
                    await asyncio.sleep(1)
                if how != "timeout":
                    one.spent_usd = 0.0 if how == "http_500" else one.reserved_usd * share
                if how != "reply":
                    raise CallFailed(how, "no")
                return reply()

        meter = Meter(Service(), budget, PRICE, "m")
        todo = list(enumerate(calls))
        limited = 0

        async def one_call(number: int, tokens: int) -> None:
            nonlocal limited
            try:
                await meter(request(str(number), max_tokens=tokens))
            except CallFailed:
                pass
            except LimitReached:
                limited += 1
            finally:
                check()

        async def work() -> None:
            while todo:
                number, (tokens, *_) = todo.pop(0)
                await asyncio.wait([asyncio.create_task(one_call(number, tokens))])

        await asyncio.gather(*(work() for _ in range(workers)))
        assert len(begun) + limited == len(calls)
        assert budget.reserved_usd <= 1e-9

    in_virtual_time(main)


# -- prices ------------------------------------------------------------------------------------------------------------


def counted(usage: RequestUsage, model: str, provider: str) -> Decimal:
    return calc_price(usage, model, provider_id=provider).total_price


@pytest.mark.parametrize(("model", "provider"), [*FLAT, *TIERED])
@settings(max_examples=60)
@given(
    input_tokens=st.integers(0, 900_000), output_tokens=st.integers(0, 100_000),
    read=st.floats(0, 1), written=st.floats(0, 1),
)  # fmt: skip
def test_a_known_price_is_what_genai_prices_says(
    model: str, provider: str, input_tokens: int, output_tokens: int, read: float, written: float
) -> None:
    """To the last cent, for every usage: with tiers, and with tokens read from a cache or written to one."""
    price = KnownPrice(model, provider)
    plain = RequestUsage(input_tokens=input_tokens, output_tokens=output_tokens)
    from_cache = int(input_tokens * read)
    cached = RequestUsage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cache_read_tokens=from_cache,
        cache_write_tokens=int((input_tokens - from_cache) * written) if provider == "anthropic" else 0,
    )
    for usage in (plain, cached):
        assert price.usd(usage) == pytest.approx(float(counted(usage, model, provider)), rel=1e-9)


@pytest.mark.parametrize(("model", "provider"), [*FLAT, *TIERED])
@settings(max_examples=60)
@given(
    input_tokens=st.integers(0, 900_000),
    output_tokens=st.integers(0, 100_000),
    of_it=st.tuples(SHARES, SHARES),
)
def test_no_reply_costs_more_than_was_set_aside_for_it(
    model: str, provider: str, input_tokens: int, output_tokens: int, of_it: tuple[float, float]
) -> None:
    """What is reserved for so many tokens is enough for as many or fewer, also where they reach into a dearer tier."""
    price = KnownPrice(model, provider)
    usage = RequestUsage(input_tokens=int(input_tokens * of_it[0]), output_tokens=int(output_tokens * of_it[1]))
    assert price.usd(usage) <= price.at_most_usd(input_tokens, output_tokens) * (1 + 1e-9)


def test_an_unknown_model_has_no_price() -> None:
    """Unknown is not free."""

    async def never(*_: object) -> object:
        raise AssertionError

    assert known_price(FunctionModel(never, model_name="no-such-model")) is None  # type: ignore[arg-type]
    with pytest.raises(LookupError):
        KnownPrice("no-such-model", "openai")


def test_a_price_of_the_sweep_file_is_dollars_per_million_tokens() -> None:
    """Input and output each at its own."""
    price = FlatPrice(input_usd=2.0, output_usd=10.0)
    assert price.usd(RequestUsage(input_tokens=1_000_000, output_tokens=500_000)) == pytest.approx(7.0)
    assert price.at_most_usd(1_000, 100) == pytest.approx(0.003)
