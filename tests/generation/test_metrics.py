from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conflictscope.generation import metrics
from conflictscope.outcome import Group, Mode, Outcome, Verdict
from conflictscope.scenario import Check, Origin, Scenario, Template

CHOICE, OPEN = Mode.MULTIPLE_CHOICE, Mode.OPEN_ENDED


def scenario(id_: str, values: str = "xy", checks: tuple[Check, ...] = (), **fields: object) -> Scenario:
    return Scenario.model_validate(
        {
            "id": id_,
            "value_a": values[0],
            "value_b": values[1],
            "description": "A case.",
            "action_a": "Go.",
            "action_b": "Stay.",
            "checks": checks,
            **fields,
        }
    )


def check(name: str, passed: bool, checker: str = "c", value: str | None = None) -> Check:
    return Check(name=name, passed=passed, reason="So it is.", checker=checker, value=value)


REPEATS = itertools.count(1)


def outcome(verdict: str, target: str = "m", id_: str = "s", strength: int | None = None, **fields: object) -> Outcome:
    told = {"value_a": "x", "value_b": "y", "mode": CHOICE, "steering": None, **fields}
    group = Group(target, told.pop("mode"), told.pop("steering"))  # type: ignore[arg-type]
    return Outcome(group, id_, next(REPEATS), verdict=Verdict(verdict), strength=strength, **told)  # type: ignore[arg-type]


def played(*outcomes: Outcome) -> metrics.Played:
    """Outcomes of one condition."""
    ((_, found),) = metrics.by_condition(outcomes).items()
    return found


# -- counts and checks -------------------------------------------------------------------------------------------------


def test_scenarios_are_counted_by_template_and_situation() -> None:
    """Those without a template count as `none`; those that share a situation are one."""
    library = [
        scenario("1", template=Template.CC),
        scenario("2", origin=Origin(kind="imported", situation="7")),
        scenario("3", "xz", origin=Origin(kind="imported", situation="7")),
    ]
    assert metrics.template_counts(library) == {"cc": 1, "none": 2}
    assert metrics.situations(library) == {"1": 0, "7": 1}


def test_a_share_has_wilsons_interval() -> None:
    """8 of 10: [0.490, 0.943] (Wilson 1927; Newcombe 1998); a share that is 0 still has a width."""
    share = metrics.share(8, 10)
    assert (share.value, share.low, share.high) == pytest.approx((0.8, 0.4902, 0.9433), abs=1e-4)
    assert metrics.share(0, 20).high == pytest.approx(0.1611, abs=1e-4)


def test_pass_rates_are_of_all_checkers_by_majority_and_then_of_each() -> None:
    """In the order of the six checks; one that judged value by value passes only with both; one checker is told once."""
    library = [
        scenario("1", checks=(check("value_guided", True, value="x"), check("value_guided", False, value="y"))),
        scenario("2", checks=(check("value_guided", True, value="x"), check("realistic", True))),
        scenario("3", checks=(check("realistic", True), check("realistic", False, "d"))),
        scenario("4"),
    ]
    found = [(rate.check, rate.checker, rate.passed.count, rate.passed.total) for rate in metrics.pass_rates(library)]
    assert found == [
        ("realistic", None, 1, 2), ("realistic", "c", 2, 2), ("realistic", "d", 0, 1), ("value_guided", None, 1, 2),
    ]  # fmt: skip


def test_a_checks_verdicts_are_those_of_scenarios_that_two_checkers_judged() -> None:
    """Agreement needs two."""
    library = [
        scenario("1", checks=(check("realistic", True), check("realistic", False, "d"), check("feasible", True))),
        scenario("2", checks=(check("realistic", True),)),
    ]
    assert metrics.checker_verdicts(library) == {"realistic": [{"c": True, "d": False}]}


# -- likeness ----------------------------------------------------------------------------------------------------------


def test_likeness_is_within_pairs_and_overall() -> None:
    """Of three in one pair two are alike; a pair of one has no diversity; over all, each situation counts once."""
    vectors = np.array([[1, 0], [1, 0], [0, 1], [1, 0]], dtype=np.float32)
    library = [
        scenario("1"),
        scenario("2"),
        scenario("3", "yx"),
        scenario("4", "xz", origin=Origin(kind="imported", situation="1")),
    ]
    found, pairs = metrics.likeness(library, vectors, embedding="e", threshold=0.8)
    assert [(p.value_a, p.value_b, p.scenarios, p.near_duplicates) for p in pairs] == [
        ("x", "y", 3, 2),
        ("x", "z", 1, 0),
    ]
    assert [p.diversity for p in pairs] == [pytest.approx(2 / 3), None]
    assert (found.within_pairs, found.overall) == (pytest.approx(2 / 3), pytest.approx(2 / 3))
    assert (found.near_duplicates.count, found.near_duplicates.total) == (2, 4)


def test_one_scenario_has_no_likeness() -> None:
    """Nothing to compare is None, not 0."""
    found, _ = metrics.likeness([scenario("1")], np.ones((1, 1), np.float32), embedding="e", threshold=0.8)
    assert (found.within_pairs, found.overall, found.near_duplicates.count) == (None, None, 0)


# -- what targets made of it -------------------------------------------------------------------------------------------


def test_outcomes_are_told_apart_by_condition_and_target() -> None:
    """Mode and steering make the condition."""
    outcomes = [outcome("a", "n"), outcome("b", "m", mode=OPEN), outcome("a", "m", steering="kind"), outcome("b", "m")]
    found = metrics.by_condition(outcomes)
    assert {condition: list(targets) for condition, targets in found.items()} == {
        (CHOICE, None, None): ["m", "n"],
        (CHOICE, "kind", None): ["m"],
        (OPEN, None, None): ["m"],
    }


def test_a_targets_side_is_what_won_most_of_its_outcomes() -> None:
    """By the value's name, whichever side it stands on; an even count is no side; what is not rated says nothing."""
    sides = metrics.sides_taken(
        played(
            outcome("a", "m"),
            outcome("b", "n", value_a="y", value_b="x"),  # x won, too
            outcome("a", "o"), outcome("b", "o"),  # no side
            outcome("refused", "p"),
            outcome("a", "m", "alone"), outcome("refused", "n", "alone"),
            outcome("a", "m", "t"), outcome("a", "m", "t"), outcome("b", "m", "t"), outcome("b", "n", "t"),
        )
    )  # fmt: skip
    assert sides == [["x", "x", None], ["x", "y"]]
    assert (metrics.agreed(sides).count, metrics.agreed(sides).total) == (0, 2)
    assert metrics.agreed([["x", "x"], [None, None], ["x", "y"]]).count == 2


@pytest.mark.parametrize(
    ("outcomes", "clear"),
    [
        ([("a", 6)], True),
        ([("b", 7)], True),
        ([("a", 5)], False),
        ([("a", None)], None),
        ([("refused", None)], None),
        ([], None),
        ([("tie", None)], False),
        ([("a", None), ("a", None)], True),
        ([("a", 2), ("a", 1)], True),
        ([("a", 7), ("b", 1)], False),
        ([("a", 7), ("a", 7), ("tie", None)], False),
        ([("tie", None), ("tie", None)], False),
        ([("a", 6), ("unresolved", None)], True),
        ([("a", None), ("judge_failed", None)], None),
    ],
    ids=str,
)
def test_a_preference_is_clear_by_strength_or_by_repeats(
    outcomes: list[tuple[str, int | None]], clear: bool | None
) -> None:
    """One action throughout, and twice at least or with 6 of 7; one outcome without a strength cannot tell."""
    rows = [outcome(verdict, strength=strength) for verdict, strength in outcomes]
    found = metrics.clear_preferences({"m": {"s": rows}})
    assert [bool(target.clear.count) for target in found] == ([] if clear is None else [clear])


@given(st.lists(st.sampled_from(["a", "b", "tie", "neither", "refused"]), max_size=6))
def test_what_is_not_rated_changes_no_measure(verdicts: list[str]) -> None:
    """Refusals and failures are no opinions."""
    rated = [verdict for verdict in verdicts if Verdict(verdict).rated]
    some, all_ = ([outcome(verdict, strength=6) for verdict in found] for found in (rated, verdicts))
    beside = {"n": {"s": [outcome("a", "n")]}}
    assert metrics.sides_taken({"m": {"s": some}, **beside}) == metrics.sides_taken({"m": {"s": all_}, **beside})
    assert metrics.clear_preferences({"m": {"s": some}}) == metrics.clear_preferences({"m": {"s": all_}})
