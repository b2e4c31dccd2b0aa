from __future__ import annotations

from collections import Counter
from itertools import islice

from conflictscope.arena import Plan
from conflictscope.outcome import Group, Mode
from conflictscope.scenario import Scenario


def scenario(number: int, value_a: str, value_b: str) -> Scenario:
    return Scenario(
        id=f"s{number}",
        value_a=value_a,
        value_b=value_b,
        description="d",
        action_a=f"do {number}",
        action_b=f"leave {number}",
    )


PAIRS = [("x", "y"), ("y", "x"), ("x", "z"), ("y", "z")]
SCENARIOS = [scenario(number, *PAIRS[number % 4]) for number in range(40)]
GROUPS = [Group("alpha", Mode.OPEN_ENDED), Group("beta", Mode.OPEN_ENDED)]


def test_a_plan_holds_every_episode_once() -> None:
    """Scenarios x groups x repeats, each with its own key, and as many as len() says."""
    plan = Plan(SCENARIOS, GROUPS, repeats=3, seed=1)
    keys = [spec.key for spec in plan]
    assert len(keys) == len(set(keys)) == len(plan) == 40 * 2 * 3


def test_pairs_take_turns_and_groups_meet_a_scenario_together() -> None:
    """After any stretch the pairs are as balanced as they can be, and both groups have had the same scenarios."""
    plan = Plan(SCENARIOS, GROUPS, repeats=1, seed=1)
    first = list(islice(plan, 24))
    assert Counter(spec.scenario.pair for spec in first) == {("x", "y"): 8, ("x", "z"): 8, ("y", "z"): 8}
    assert [s.scenario.id for s in first[::2]] == [s.scenario.id for s in first[1::2]]
    assert [s.group for s in first[:2]] == GROUPS


def test_the_order_depends_on_the_seed_and_on_nothing_else() -> None:
    """The same seed gives the same order whatever the order in the file; another seed or repeat another one."""
    order = [spec.scenario.id for spec in Plan(SCENARIOS, GROUPS[:1], 2, seed=1)]
    assert order == [spec.scenario.id for spec in Plan(SCENARIOS[::-1], GROUPS[:1], 2, seed=1)]
    assert order != [spec.scenario.id for spec in Plan(SCENARIOS, GROUPS[:1], 2, seed=2)]
    assert order[:40] != order[40:]


def test_a_plan_of_a_million_is_only_walked_as_far_as_asked() -> None:
    """The plan is a generator: its first episodes come without the others being made."""
    plan = Plan(SCENARIOS, GROUPS, repeats=10**9, seed=1)
    assert len(list(islice(plan, 100))) == 100
