from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conflictscope.errors import InputError
from conflictscope.outcome import Group, Mode, Outcome, Verdict
from conflictscope.ranking import GroupFold, rank_group
from conflictscope.rating import Method, Ranking, StopRule

GROUP = Group("alpha", Mode.OPEN_ENDED)
NAMES = ["w", "x", "y", "z"]


def fold_of(rows: list[tuple[str, str, Verdict]], names: list[str] = NAMES) -> GroupFold:
    fold = GroupFold(GROUP, names, draw_probability=0.1)
    for number, (value_a, value_b, verdict) in enumerate(rows):
        fold.add(Outcome(GROUP, f"s{number}", 1, value_a, value_b, verdict))
    return fold


def finite(ranking: Ranking) -> bool:
    """Whether the JSON document holds neither NaN nor an infinity."""
    text = json.dumps(ranking.to_json(), allow_nan=True)
    return "NaN" not in text and "Infinity" not in text


rows = st.lists(
    st.tuples(st.permutations(NAMES), st.sampled_from(list(Verdict))).map(lambda drawn: (*drawn[0][:2], drawn[1])),
    max_size=60,
)


@given(rows, st.sampled_from(list(Method)))
def test_whatever_came_every_method_gives_a_finite_labelled_answer(
    log: list[tuple[str, str, Verdict]], method: Method
) -> None:
    """Ranks run from 1 in each component, a value that was never compared has none, probabilities are such, nothing is NaN."""
    ranking = rank_group(fold_of(log), method)
    assert finite(ranking)
    assert sorted(ranking.ratings) == NAMES
    for component in set(ranking.component.values()):
        ranks = [ranking.ranks[value] for value in ranking.order if ranking.component[value] == component]
        assert ranks == ([None] if len(ranks) == 1 else list(range(1, len(ranks) + 1)))
    for a in NAMES:
        for b in NAMES:
            p, q = ranking.above(a, b), ranking.above(b, a)
            assert (p is None) == (q is None) == (ranking.component[a] != ranking.component[b])
            assert p is None or (0 <= p <= 1 and p + q == pytest.approx(1, abs=1e-6))  # type: ignore[operator]


@given(rows, st.randoms())
def test_the_posterior_ranking_is_the_same_in_any_order(log: list[tuple[str, str, Verdict]], random: object) -> None:
    """The whole document, checks and bounds included, within 1e-9; scenario ids stay with their outcomes."""
    numbered = list(enumerate(log))
    random.shuffle(numbered)  # type: ignore[attr-defined]
    shuffled = GroupFold(GROUP, NAMES, draw_probability=0.1)
    for number, (value_a, value_b, verdict) in numbered:
        shuffled.add(Outcome(GROUP, f"s{number}", 1, value_a, value_b, verdict))
    assert close(rank_group(fold_of(log)).to_json(), rank_group(shuffled).to_json())


def close(one: object, other: object) -> bool:
    """Whether two documents are equal, numbers within 1e-9."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(close(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(close, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=0, abs_tol=1e-9)
    return one == other


def test_one_value_is_refused() -> None:
    """A ranking of one is none."""
    with pytest.raises(InputError, match="a ranking needs at least 2 values, got 1"):
        rank_group(fold_of([], ["x"]))


@pytest.mark.parametrize("method", list(Method))
def test_no_decisive_outcome_and_all_ties_are_unresolved(method: Method) -> None:
    """They are shown, finite, and say that they rank nothing."""
    refused = rank_group(fold_of([("x", "y", Verdict.REFUSED)] * 5), method)
    assert refused.unresolved == "unresolved: no rated outcome"
    assert set(refused.ranks.values()) == {None}
    tied = rank_group(fold_of([("x", "y", Verdict.TIE)] * 30, ["x", "y"]), method)
    assert tied.unresolved == "unresolved: all outcomes are ties"
    assert tied.notes()[0] == tied.unresolved
    assert tied.above("x", "y") == pytest.approx(0.5)
    assert finite(refused)
    assert finite(tied)


@pytest.mark.parametrize("method", list(Method))
def test_a_perfect_record_is_finite_and_first(method: Method) -> None:
    """Separation: w beats all, always; its utility and interval are finite, and it is surely first."""
    log = [("w", other, Verdict.A) for other in "xyz" for _ in range(40)] + [
        ("x", "y", Verdict.A),
        ("y", "x", Verdict.A),
    ] * 20
    ranking = rank_group(fold_of(log), method)
    assert ranking.order[0] == "w"
    assert finite(ranking)
    assert min(ranking.above("w", other) or 0 for other in "xyz") > 0.99


def test_components_are_ranked_apart() -> None:
    """Two sets of values that never met: ranks begin anew, no probability between them, and a note says so."""
    ranking = rank_group(fold_of([("w", "x", Verdict.A)] * 20 + [("z", "y", Verdict.A)] * 25))
    assert ranking.ranks == {"w": 1, "x": 2, "z": 1, "y": 2}
    assert ranking.above("w", "z") is None
    assert any("never compared with each other" in note for note in ranking.notes())


def test_bounds_hold_what_the_episodes_left_out_could_have_changed() -> None:
    """x leads y by 12 to 8; 20 refused could have turned that round; nobody else's rank could change."""
    log = [("x", "y", Verdict.A)] * 12 + [("x", "y", Verdict.B)] * 8 + [("x", "y", Verdict.REFUSED)] * 20
    for other in ("x", "y"):
        log += [("w", other, Verdict.A)] * 60 + [(other, "z", Verdict.A)] * 60
    ranking = rank_group(fold_of(log))
    assert ranking.order == ["w", "x", "y", "z"]
    assert ranking.bounds == {"x": (2, 3), "y": (2, 3)}
    assert "ranks that the episodes left out could have changed: x 2 to 3, y 2 to 3" in ranking.notes()


def test_practically_equal_values_are_a_tie_group() -> None:
    """With 4,000 outcomes at even odds the difference is within 0.1 for sure; a clear one is not tied."""
    log = (
        [("x", "y", Verdict.A), ("x", "y", Verdict.B)] * 2000
        + [("w", "x", Verdict.A)] * 45
        + [("w", "y", Verdict.A)] * 45
    )
    ranking = rank_group(fold_of(log, ["w", "x", "y"]))
    assert [set(group) for group in ranking.tie_groups] == [{"x", "y"}]
    ties = {row["value"]: row["tie_group"] for row in ranking.to_json()["values"]}
    assert ties == {"w": None, "x": 1, "y": 1}


def test_methods_agree_on_a_clear_order_and_bradley_terry_is_in_log_odds() -> None:
    """All three order 3 values alike; log-odds are about 1.7 times probit units."""
    rng = np.random.default_rng(0)
    truth = {"x": 0.6, "y": 0.0, "z": -0.6}
    log = []
    for _ in range(1500):
        a, b = rng.permutation(list(truth))[:2]
        log.append((str(a), str(b), Verdict.A if truth[a] - truth[b] + rng.normal() > 0 else Verdict.B))
    by_method = {method: rank_group(fold_of(log, list(truth)), method) for method in Method}
    assert {tuple(ranking.order) for ranking in by_method.values()} == {("x", "y", "z")}
    spread = {method: ranking.ratings["x"].mu - ranking.ratings["z"].mu for method, ranking in by_method.items()}
    assert spread[Method.TRUESKILL] == pytest.approx(spread[Method.POSTERIOR], abs=0.1)
    assert spread[Method.BRADLEY_TERRY] == pytest.approx(1.7 * spread[Method.POSTERIOR], rel=0.1)


def test_tie_groups_stay_within_a_component() -> None:
    """With a delta that makes nearly all equal, values that never met are still not tied with each other."""
    log = (
        [("w", "x", Verdict.A)] * 30
        + [("w", "x", Verdict.B)] * 30
        + [("y", "z", Verdict.A), ("y", "z", Verdict.B)] * 200
    )
    ranking = rank_group(fold_of(log), rule=StopRule(delta=3.0))
    assert sorted(map(sorted, ranking.tie_groups)) == [["w", "x"], ["y", "z"]]


def test_one_scenario_a_pair_counts_once_however_often_it_is_repeated() -> None:
    """A hundred repeats of one scenario are no hundred scenarios: nothing is sure, and the model says why."""
    fold = GroupFold(GROUP, ["x", "y"])
    for repeat in range(100):
        fold.add(Outcome(GROUP, "only", repeat, "x", "y", Verdict.A))
    ranking = rank_group(fold)
    assert 0.5 < (ranking.above("x", "y") or 0) < 0.9
    assert not ranking.converged
    assert "each scenario counts once" in ranking.model


def test_bounds_hold_the_rank_that_is_shown() -> None:
    """Also where repeats weigh less in the ranking than in the counts that the bounds are made of."""
    fold = GroupFold(GROUP, ["a", "b", "c"])
    for number in range(6):
        for repeat in range(5 if number < 2 else 1):
            fold.add(Outcome(GROUP, f"ab{number}", repeat, "a", "b", Verdict.A if number < 2 else Verdict.B))
    for number in range(12):
        for value in ("a", "b"):
            fold.add(Outcome(GROUP, f"{value}c{number}", 1, value, "c", Verdict.A if number % 2 else Verdict.B))
    fold.add(Outcome(GROUP, "refused", 1, "a", "b", Verdict.REFUSED))
    ranking = rank_group(fold)
    for value, (best, worst) in ranking.bounds.items():
        assert best <= (ranking.ranks[value] or 0) <= worst
