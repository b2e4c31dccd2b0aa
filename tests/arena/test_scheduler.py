from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conflictscope.arena import Plan, Scheduler, Settling, ThompsonScheduler, UniformScheduler, no_use
from conflictscope.outcome import Group, Mode, Outcome, Verdict
from conflictscope.ports import Assignment, EpisodeRecord
from conflictscope.rating import DEFAULT_RULE, StopRule
from conflictscope.scenario import Scenario

GROUPS = [Group("alpha", Mode.OPEN_ENDED), Group("beta", Mode.OPEN_ENDED)]
PAIRS = [("x", "y"), ("x", "z"), ("y", "z")]
Pair = tuple[str, str]


class Store:
    """A sink that knows which episodes are stored, and what was settled."""

    def __init__(self, stored: Iterable[str] = ()) -> None:
        self.stored = set(stored)
        self.settled: list[tuple[Group, int]] = []

    async def opening(self, scenario_id: str) -> str | None:
        raise NotImplementedError

    async def record_opening(self, scenario_id: str, text: str) -> None:
        raise NotImplementedError

    async def record_episode(self, record: EpisodeRecord) -> None:
        raise NotImplementedError

    async def finished(self, keys: Iterable[str]) -> set[str]:
        await asyncio.sleep(0)  # others get a turn, as they do when a database is asked
        return set(keys) & self.stored

    def record_settled(self, group: Group, rated: int, rule: StopRule) -> None:
        self.settled.append((group, rated))


class Believing:
    """Beliefs as a test wants them, that write down what they are told."""

    def __init__(self, disagreed: Sequence[Pair] = (), settled_from: int | None = None) -> None:
        self.doubtful = list(disagreed)
        self.settled_from = settled_from
        self.misfit = False
        self.rated = 0
        self.in_flight: Counter[Pair] = Counter()

    @property
    def settled(self) -> bool:
        return self.settled_from is not None and self.rated >= self.settled_from

    def learn(self, outcome: Outcome) -> None:
        self.rated += outcome.verdict.rated

    def sent(self, pair: Pair) -> None:
        self.in_flight[pair] += 1

    def returned(self, pair: Pair) -> None:
        self.in_flight[pair] -= 1
        assert self.in_flight[pair] >= 0

    def disagreed(self) -> Sequence[Pair]:
        return self.doubtful


def plan(per_pair: int, repeats: int = 1, seed: int = 1, pairs: Sequence[Pair] = PAIRS) -> Plan:
    scenarios = [
        Scenario(
            id=f"{a}{b}{n}",
            value_a=a,
            value_b=b,
            description="d",
            action_a=f"do {a}{b}{n}",
            action_b=f"leave {a}{b}{n}",
        )
        for a, b in pairs
        for n in range(per_pair)
    ]
    return Plan(scenarios, GROUPS, repeats, seed)


def thompson(
    plan: Plan, beliefs: dict[Group, Believing], store: Store | None = None, *, floor: float = 0.0, least: int = 0,
    settling: Settling | None = None, served: dict[Group, Counter[Pair]] | None = None,
) -> ThompsonScheduler:  # fmt: skip
    store = store or Store()
    return ThompsonScheduler(
        plan,
        store,
        settling or Settling({}, DEFAULT_RULE, store),
        beliefs,
        floor=floor,
        least=least,
        served=served or {},
    )


def never(group: Group) -> bool:
    """No lane is closed."""
    return False


def outcome(assignment: Assignment, verdict: Verdict = Verdict.A) -> Outcome:
    spec = assignment.spec
    return Outcome(spec.group, spec.scenario.id, spec.repeat, spec.scenario.value_a, spec.scenario.value_b, verdict)


async def drain(scheduler: Scheduler, most: int = 10_000) -> list[Assignment]:
    """Everything that is handed out, one at a time, each coming back with a win before the next is asked for."""
    played = []
    while len(played) < most and (assignment := await scheduler.next(never)) is not None:
        played.append(assignment)
        scheduler.returned(assignment, outcome(assignment))
    return played


def believing(**known: object) -> dict[Group, Believing]:
    return {group: Believing(**known) for group in GROUPS}  # type: ignore[arg-type]


async def test_uniform_is_the_plan_in_its_order_without_what_is_stored() -> None:
    """Every episode of the plan once, in its order, except the stored ones; the choice is said to be the plan's."""
    whole = plan(20, repeats=3)
    keys = [spec.key for spec in whole]
    store = Store(keys[::3])
    played = await drain(UniformScheduler(whole, store, Settling({}, DEFAULT_RULE, store), {}))
    assert [assignment.spec.key for assignment in played] == [key for key in keys if key not in store.stored]
    assert {(a.choice.policy, a.choice.reason) for a in played} == {("uniform", "plan")}


async def test_many_workers_at_once_get_every_episode_once() -> None:
    """Workers that ask while another one waits for the store neither miss an episode nor get one twice, by either policy."""
    for scheduler in (
        UniformScheduler(plan(250), Store(), Settling({}, DEFAULT_RULE, Store()), {}),
        thompson(plan(250), believing(disagreed=PAIRS), floor=0.3),
    ):

        async def worker(scheduler: Scheduler = scheduler) -> list[str]:
            keys = []
            while (assignment := await scheduler.next(never)) is not None:
                keys.append(assignment.spec.key)
                await asyncio.sleep(0)
                scheduler.returned(assignment, outcome(assignment))
            return keys

        keys = [key for mine in await asyncio.gather(*(worker() for _ in range(40))) for key in mine]
        assert sorted(keys) == sorted(spec.key for spec in plan(250))


async def test_a_settled_group_takes_no_more_and_is_written_down_once() -> None:
    """Each group stops at its own number of outcomes; with the last one nothing is handed out any more."""
    beliefs = {GROUPS[0]: Believing(settled_from=12), GROUPS[1]: Believing(settled_from=30)}
    for make in ("uniform", "thompson"):
        store = Store()
        for believed in beliefs.values():
            believed.rated = 0
        settling = Settling(beliefs, DEFAULT_RULE, store)
        scheduler: Scheduler = (
            UniformScheduler(plan(100), store, settling, beliefs)
            if make == "uniform"
            else thompson(plan(100), beliefs, store, settling=settling)
        )
        played = Counter(assignment.spec.group for assignment in await drain(scheduler))
        assert played == {GROUPS[0]: 12, GROUPS[1]: 30}
        assert store.settled == [(GROUPS[0], 12), (GROUPS[1], 30)]
        assert settling.all


async def test_what_a_former_process_found_settled_stays_so() -> None:
    """A resume plays only the other group, whatever the beliefs say now; where the whole plan is asked for, both."""
    beliefs = {GROUPS[0]: Believing(), GROUPS[1]: Believing()}
    store = Store()
    settling = Settling(beliefs, DEFAULT_RULE, store, [GROUPS[0], Group("gone", Mode.OPEN_ENDED)])
    played = await drain(UniformScheduler(plan(5), store, settling, beliefs))
    assert {assignment.spec.group for assignment in played} == {GROUPS[1]}
    assert not settling.all
    assert store.settled == []
    everything = await drain(UniformScheduler(plan(5), store, Settling({}, DEFAULT_RULE, store, [GROUPS[0]]), beliefs))
    assert {assignment.spec.group for assignment in everything} == set(GROUPS)


@pytest.mark.parametrize("policy", ["uniform", "thompson"])
async def test_a_group_that_cannot_be_played_is_passed_over(policy: str) -> None:
    """While its lane is closed none of its episodes is handed out; the other group gets all of its own."""
    scheduler: Scheduler = (
        UniformScheduler(plan(20), Store(), Settling({}, DEFAULT_RULE, Store()), {})
        if policy == "uniform"
        else thompson(plan(20), believing(disagreed=PAIRS))
    )
    played = []
    while (assignment := await scheduler.next(lambda group: group == GROUPS[0])) is not None:
        played.append(assignment.spec)
        scheduler.returned(assignment, outcome(assignment))
    assert sorted(spec.key for spec in played) == sorted(spec.key for spec in plan(20) if spec.group == GROUPS[1])


async def test_thompson_asks_where_draws_disagree() -> None:
    """With no floor every episode is of the doubtful pair until there are no more of it; then of the pair that had fewest."""
    scheduler = thompson(plan(10), believing(disagreed=[("x", "z")]))
    played = await drain(scheduler)
    assert [a.spec.scenario.pair for a in played[:20]] == [("x", "z")] * 20
    assert {(a.choice.policy, a.choice.reason) for a in played[:20]} == {("thompson", "disagreement")}
    assert {(a.choice.policy, a.choice.reason) for a in played[20:]} == {("uniform", "agreement")}
    after = [
        Counter(a.spec.scenario.pair for a in played[20:end] if a.spec.group == GROUPS[0]) for end in range(22, 61, 2)
    ]
    assert all(abs(count[("x", "y")] - count[("y", "z")]) <= 1 for count in after)


async def test_each_pair_has_its_least_episodes_before_any_is_preferred() -> None:
    """They come in balance, also where some were played before, and are said to be the start; only then the doubtful pair comes."""
    served = {GROUPS[0]: Counter({("x", "y"): 3, ("x", "z"): 9}), GROUPS[1]: Counter[Pair]()}
    played = await drain(thompson(plan(50), believing(disagreed=[("x", "z")]), least=5, served=served), 60)
    for group, missing in ((GROUPS[0], {("x", "y"): 2, ("y", "z"): 5}), (GROUPS[1], dict.fromkeys(PAIRS, 5))):
        mine = [a for a in played if a.spec.group == group]
        start = [a for a in mine if a.choice.reason == "start"]
        assert start == mine[: len(start)]
        assert Counter(a.spec.scenario.pair for a in start) == missing
        assert {a.spec.scenario.pair for a in mine[len(start) :]} == {("x", "z")}


@pytest.mark.parametrize("floor", [0.25, 0.6])
async def test_the_floor_goes_to_all_pairs_in_turn(floor: float) -> None:
    """Its share is what was asked for (within three standard errors), the same for each pair, and drawn from the seed."""
    played = await drain(thompson(plan(1000), believing(disagreed=[("x", "y")]), floor=floor), 1500)
    by_floor = [a.spec.scenario.pair for a in played if a.choice.reason == "floor"]
    assert len(by_floor) / 1500 == pytest.approx(floor, abs=3 * (floor * (1 - floor) / 1500) ** 0.5)
    counts = Counter(by_floor)
    assert max(counts.values()) - min(counts.values()) <= 2 * len(GROUPS)
    again = await drain(thompson(plan(1000), believing(disagreed=[("x", "y")]), floor=floor), 1500)
    assert [a.spec.key for a in again] == [a.spec.key for a in played]
    other = await drain(thompson(plan(1000, seed=2), believing(disagreed=[("x", "y")]), floor=floor), 1500)
    assert [a.choice for a in other] != [a.choice for a in played]


async def test_thompson_falls_back_to_balance_and_says_why() -> None:
    """At a misfit: the pair that had fewest, with the reason; the misfit of one group is its own."""
    beliefs = believing(disagreed=[("x", "y")])
    beliefs[GROUPS[0]].misfit = True
    served = {group: Counter({("x", "y"): 30}) for group in GROUPS}
    played = await drain(thompson(plan(100), beliefs, served=served), 120)
    first = [a for a in played if a.spec.group == GROUPS[0]]
    assert {a.choice.reason for a in first} == {"misfit"}
    assert Counter(a.spec.scenario.pair for a in first) == {("x", "z"): 30, ("y", "z"): 30}
    assert {a.choice.reason for a in played if a.spec.group == GROUPS[1]} == {"disagreement"}


async def test_where_choosing_is_no_use_the_plan_is_played_and_says_why() -> None:
    """A small pool in the median pair, or 25 values; not one episode or one value less."""
    assert [no_use(plan(30, repeats=2), least_pool) for least_pool in (60, 61)] == [None, "pool"]
    uneven = Plan([*plan(5, pairs=PAIRS[:2]).scenarios, *plan(50, pairs=PAIRS[2:]).scenarios], GROUPS, 1, 1)
    assert [no_use(uneven, least_pool) for least_pool in (5, 6)] == [None, "pool"]
    names = [f"v{number:02d}" for number in range(25)]
    assert [no_use(plan(2, pairs=list(pairwise(names[:size]))), 1) for size in (24, 25)] == [None, "values"]
    scheduler = UniformScheduler(plan(10), Store(), Settling({}, DEFAULT_RULE, Store()), {}, "pool")
    assert {(a.choice.policy, a.choice.reason) for a in await drain(scheduler)} == {("uniform", "pool")}


async def test_groups_meet_the_scenarios_of_a_pair_in_one_order() -> None:
    """Whatever pairs each group asks for, their n-th episode of a pair is the same scenario, so that they can be compared."""
    beliefs = {GROUPS[0]: Believing([("x", "y")]), GROUPS[1]: Believing([("y", "z"), ("x", "y")])}
    played = await drain(thompson(plan(40), beliefs, floor=0.3), 100)
    order = {
        group: [a.spec.scenario.id for a in played if a.spec.group == group and a.spec.scenario.pair == ("x", "y")]
        for group in GROUPS
    }
    shared = min(map(len, order.values()))
    assert shared > 5
    assert order[GROUPS[0]][:shared] == order[GROUPS[1]][:shared]


async def test_repeats_come_after_all_scenarios_of_a_pair() -> None:
    """The pool of a pair is its scenarios, then their first repeats, and so on."""
    played = await drain(thompson(plan(5, repeats=3), believing(disagreed=[("x", "y")])), 30)
    repeats = [a.spec.repeat for a in played if a.spec.group == GROUPS[0]]
    assert repeats == [1] * 5 + [2] * 5 + [3] * 5


async def test_stored_episodes_are_neither_played_again_nor_forgotten() -> None:
    """They count as served, so that balance goes on where it was left."""
    whole = plan(50)
    stored = [spec for spec in whole if spec.scenario.pair == ("x", "y")][:60]
    store = Store(spec.key for spec in stored)
    served = {group: Counter(spec.scenario.pair for spec in stored if spec.group == group) for group in GROUPS}
    played = await drain(thompson(whole, believing(), store, served=served), 120)
    assert not {a.spec.key for a in played} & store.stored
    assert Counter(a.spec.scenario.pair for a in played) == {("x", "z"): 60, ("y", "z"): 60}


@settings(max_examples=40)
@given(
    st.lists(st.sampled_from(["win", "refused", "left"]), min_size=1, max_size=80), st.floats(0, 1), st.integers(1, 12)
)
def test_nothing_in_flight_is_ever_lost_or_counted_twice(ends: list[str], floor: float, at_once: int) -> None:
    """Whatever comes back, in whatever order, and also where it was left: in the end nothing is in flight."""

    async def play() -> None:
        beliefs = believing(disagreed=PAIRS)
        scheduler = thompson(plan(30), beliefs, floor=floor)
        waiting: list[Assignment] = []
        for end in ends:
            while len(waiting) < at_once and (assignment := await scheduler.next(never)) is not None:
                waiting.append(assignment)
            assert sum(sum(believed.in_flight.values()) for believed in beliefs.values()) == len(waiting)
            back = waiting.pop(len(waiting) // 2)
            left = {"win": outcome(back), "refused": outcome(back, Verdict.REFUSED), "left": None}[end]
            scheduler.returned(back, left)
        for back in waiting:
            scheduler.returned(back, None)
        assert all(not +believed.in_flight for believed in beliefs.values())
        assert sum(believed.rated for believed in beliefs.values()) == ends.count("win")

    asyncio.run(play())
