from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from conflictscope.outcome import Group, Mode, Outcome, Verdict, fold_position
from conflictscope.ranking import GroupFold

GROUP = Group("alpha", Mode.OPEN_ENDED)


def outcome(number: int, value_a: str, value_b: str, verdict: Verdict) -> Outcome:
    return Outcome(GROUP, f"s{number}", 1, value_a, value_b, verdict)


outcomes = st.lists(
    st.tuples(st.permutations(["x", "y", "z"]), st.sampled_from(list(Verdict))), min_size=1, max_size=40
).map(lambda rows: [outcome(number, order[0], order[1], verdict) for number, (order, verdict) in enumerate(rows)])


@given(outcomes, st.randoms())
def test_the_same_outcomes_give_the_same_ranking_in_any_order(rows: list[Outcome], random: st.DrawFn) -> None:
    """Folded in the canonical order, a permuted log gives a ranking that is equal to the last bit."""

    def ranked(log: list[Outcome]) -> dict[str, object]:
        fold = GroupFold(GROUP, ["x", "y", "z"], draw_probability=0.2)
        for row in sorted(log, key=lambda row: (fold_position(row.key), row.key)):
            fold.add(row)
        return fold.ranking().to_json()

    shuffled = list(rows)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert ranked(rows) == ranked(shuffled)


@given(outcomes)
def test_every_outcome_is_counted_once_and_under_its_own_pair(rows: list[Outcome]) -> None:
    """Wins, ties and excluded states of all pairs add up to the log; a win goes to the value that won."""
    fold = GroupFold(GROUP, ["x", "y", "z"])
    for row in rows:
        fold.add(row)
    ranking = fold.ranking()
    assert sum(pair.rated + pair.left_out for pair in ranking.pairs) == len(rows)
    assert ranking.outcomes == sum(row.verdict.rated for row in rows)
    for pair in ranking.pairs:
        won = [
            {"a": row.value_a, "b": row.value_b}[row.verdict]
            for row in rows
            if {row.value_a, row.value_b} == {pair.value_a, pair.value_b} and row.verdict in ("a", "b")
        ]
        assert (pair.wins_a, pair.wins_b) == (won.count(pair.value_a), won.count(pair.value_b))
        assert pair.value_a < pair.value_b


def test_values_and_pairs_without_outcomes_are_shown_as_such() -> None:
    """A value that was never compared has no rank, a scale of its own and a note; a planned pair without outcomes counts zero."""
    fold = GroupFold(GROUP, ["x", "y", "z"], [("x", "y"), ("y", "z")])
    fold.add(outcome(1, "x", "y", Verdict.B))
    ranking = fold.ranking()
    assert ranking.order == ["y", "x", "z"]
    assert ranking.ranks == {"y": 1, "x": 2, "z": None}
    assert ranking.above("y", "z") is None
    assert [pair.rated for pair in ranking.pairs] == [1, 0]
    assert "never compared, so not ranked: z" in ranking.notes()
    assert not ranking.converged


def test_a_pair_that_loses_more_than_one_in_twenty_says_so() -> None:
    """Above 5 % of a pair's episodes left out, a note names the pair, the share and the states."""
    fold = GroupFold(GROUP)
    for number in range(95):
        fold.add(outcome(number, "x", "y", Verdict.A))
    for number in range(95, 100):
        fold.add(outcome(number, "x", "y", Verdict.REFUSED))
    assert fold.ranking().notes() == []
    fold.add(outcome(100, "x", "y", Verdict.TARGET_FAILED))
    assert fold.ranking().notes() == ["x / y: 6 of 101 episodes (6%) left out: 5 refused, 1 target_failed"]


def test_p_above_and_intervals_are_those_of_normal_beliefs() -> None:
    """The reported probability and 95 % interval agree with scipy's normal distribution."""
    fold = GroupFold(GROUP)
    for number in range(20):
        fold.add(outcome(number, "x", "y", Verdict.A if number % 4 else Verdict.B))
    ranking = fold.ranking()
    x, y = ranking.ratings["x"], ranking.ratings["y"]
    assert ranking.above("x", "y") == pytest.approx(norm.cdf((x.mu - y.mu) / np.hypot(x.sigma, y.sigma)))
    assert (x.low, x.high) == pytest.approx(norm.interval(0.95, x.mu, x.sigma))
