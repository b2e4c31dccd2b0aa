"""Comparing two groups: each figure by a second route, and what cannot be compared."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.stats import beta, kendalltau, norm, spearmanr

from benchmarks.rankings.comparisons import two_targets
from conflictscope.comparison import By
from conflictscope.errors import InputError
from conflictscope.outcome import Group, Mode, Outcome, Verdict
from conflictscope.ranking import GroupOutcomes, Tally, align, compare
from conflictscope.ranking.comparing import _PRIOR_SD, kendall, order_signs, spearman
from conflictscope.ranking.probit import fit_map_batched

FIRST = Group("first", Mode.MULTIPLE_CHOICE)
SECOND = Group("second", Mode.MULTIPLE_CHOICE)
STEERED = Group("first", Mode.MULTIPLE_CHOICE, "care-first")


def outcomes(group: Group, rows: Iterable[tuple[str, str, str, int, int, int]], values: str = "") -> GroupOutcomes:
    """rows: scenario, the two values in alphabetical order, wins of the first, of the second, ties."""
    counts = {(scenario, (a, b)): (won, lost, tied) for scenario, a, b, won, lost, tied in rows}
    names = {value for _, pair in counts for value in pair} | set(values)
    return GroupOutcomes(group, tuple(sorted(names)), counts)


def won(pair: str, first: int, second: int, of: int, at: int = 0) -> list[tuple[str, str, str, int, int, int]]:
    """So many scenarios of a pair won by its first value, then by its second, then tied; ids are the same for all calls."""
    a, b = pair
    kinds = [(1, 0, 0)] * first + [(0, 1, 0)] * second + [(0, 0, 1)] * (of - first - second)
    return [(f"{pair}{number + at}", a, b, *kind) for number, kind in enumerate(kinds)]


# -- rankings ----------------------------------------------------------------------------------------------------------


def test_tau_and_rho_are_those_of_scipy() -> None:
    """Kendall's tau-b and Spearman's rho from signs equal scipy's, with and without values that are level."""
    rng = np.random.default_rng(1)
    for size, levels in itertools.product((2, 3, 6, 12), (3, 1000)):
        mu = rng.integers(0, levels, (40, 2, size)).astype(float)
        mu = mu[(np.ptp(mu, axis=2) > 0).all(axis=1)]
        signs = order_signs(mu, np.ones((size, size), dtype=np.bool_))
        assert kendall(signs) == pytest.approx([kendalltau(x, y).statistic for x, y in mu])
        assert spearman(signs) == pytest.approx([spearmanr(x, y).statistic for x, y in mu])


def test_tau_counts_pairs_with_a_common_scale_only() -> None:
    """Two sets of values that never met: the pairs of values across them say nothing."""
    same = np.kron(np.eye(2), np.ones((2, 2))).astype(np.bool_)
    mu = np.array([[[1.0, 0.0, 5.0, 4.0], [1.0, 0.0, -5.0, -4.0]]])
    assert kendall(order_signs(mu, same)) == pytest.approx([0.0])  # one pair alike, one reversed
    assert kendall(order_signs(mu, np.ones((4, 4), dtype=np.bool_))) == pytest.approx([kendalltau(*mu[0]).statistic])


# -- differences -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [0.0, 0.12])
def test_utilities_are_the_most_probable_ones(wrong: float) -> None:
    """The utilities that are compared maximise the probit likelihood, as seen through a judge that errs, times the prior, found by
    a general optimiser."""
    both = two_targets(np.random.default_rng(2), 90, 0.5, size=4)[:2]
    first, second = (replace(own, wrong=(wrong, 0.0)) for own in both)
    found = compare(first, second, rounds=2)
    for which, own in enumerate((first, second)):

        def minus_log(u: np.ndarray, own: GroupOutcomes = own) -> float:
            total = 0.5 * float(np.sum(u**2)) / _PRIOR_SD**2
            for (_, (a, b)), (wins, losses, _) in own.counts.items():
                d = u[own.values.index(a)] - u[own.values.index(b)]
                p = wrong + (1 - 2 * wrong) * norm.cdf(d)
                total -= wins * np.log(p) + losses * np.log(1 - p)
            return total

        best = minimize(minus_log, np.zeros(4)).x
        expected = dict(zip(own.values, best - best.mean(), strict=True))
        for shift in found.shifts:
            assert shift.utilities[which] == pytest.approx(expected[shift.value], abs=1e-3)


def test_intervals_are_those_of_a_loop_over_scenarios() -> None:
    """The spread of differences equals that of a plain bootstrap that draws the scenarios themselves, one by one."""
    rng = np.random.default_rng(3)
    first, second, _ = two_targets(rng, 120, 0.5, size=4, repeats=2)
    found = compare(first, second)
    keys, size, rounds = list(first.counts), 4, 400
    wins = np.zeros((rounds, 2, size, size))
    for number in range(rounds):
        for pick in rng.integers(0, len(keys), len(keys)):
            a, b = (first.values.index(value) for value in keys[pick][1])
            for which, own in enumerate((first, second)):
                wins[number, which, a, b] += own.counts[keys[pick]][0]
                wins[number, which, b, a] += own.counts[keys[pick]][1]
    prior_mean = rng.normal(0, _PRIOR_SD, (2 * rounds, size))
    mu, _ = fit_map_batched(wins.reshape(-1, size, size), None, 0.0, _PRIOR_SD, prior_mean)
    mu = (mu - mu.mean(axis=1, keepdims=True)).reshape(rounds, 2, size)
    spread = dict(zip(first.values, np.std(mu[:, 1] - mu[:, 0], axis=0, ddof=1), strict=True))
    for shift in found.shifts:
        half = (shift.utility_difference.high - shift.utility_difference.low) / 2
        assert half / 1.96 == pytest.approx(spread[shift.value], rel=0.12)


def test_differences_hold_the_planted_ones_19_times_of_20() -> None:
    """Coverage of utility differences over 40 planted pairs of targets, and tau's interval holds the planted tau."""
    rng = np.random.default_rng(4)
    held, taus = [], []
    for _ in range(40):
        first, second, truth = two_targets(rng, 300, 0.25)
        found = compare(first, second, rounds=300)
        for shift in found.shifts:
            k = first.values.index(shift.value)
            held.append(shift.utility_difference.low <= truth[1, k] - truth[0, k] <= shift.utility_difference.high)
        assert found.tau is not None
        taus.append(found.tau.low - 1e-9 <= kendalltau(*truth).statistic <= found.tau.high + 1e-9)
    assert 0.90 <= np.mean(held) <= 0.99
    assert np.mean(taus) >= 0.9


def test_a_judge_that_errs_in_one_group_makes_no_difference() -> None:
    """Coverage over 40 planted pairs of targets, of which the second is seen through a judge that errs: where that is known, and
    not where it is not."""
    rng = np.random.default_rng(7)
    held: dict[bool, list[bool]] = {True: [], False: []}
    for _ in range(40):
        first, second, truth = two_targets(rng, 600, 0.0)
        seen = {
            key: (lost, won, 0) if rng.random() < 0.15 else (won, lost, 0)
            for key, (won, lost, _) in second.counts.items()
        }
        for known in held:
            judged = replace(second, counts=seen, wrong=(0.15, 0.01) if known else (0.0, 0.0))
            for shift in compare(first, judged, rounds=300).shifts:
                k = first.values.index(shift.value)
                held[known].append(
                    shift.utility_difference.low <= truth[1, k] - truth[0, k] <= shift.utility_difference.high
                )
    assert 0.90 <= np.mean(held[True]) <= 0.99
    assert np.mean(held[False]) < 0.85


def test_the_same_scenarios_tell_more_than_others() -> None:
    """Where scenarios have offsets, intervals are narrower than those of groups whose offsets have nothing in common."""
    rng = np.random.default_rng(5)

    def width(*, same: bool) -> float:
        first, second, _ = two_targets(rng, 300, 0.25, repeats=3, scenario_sd=1.0, same=same)
        ends = [shift.utility_difference for shift in compare(first, second).shifts]
        return float(np.mean([end.high - end.low for end in ends]))

    assert width(same=False) > 1.3 * width(same=True)


def test_the_other_way_round_the_signs_turn() -> None:
    """Second less first: exchanging the groups turns every difference, and leaves tau, rho and the shared scenarios."""
    first, second, _ = two_targets(np.random.default_rng(6), 100, 0.5)
    one, other = compare(first, second), compare(second, first)
    turned = {shift.value: shift for shift in other.shifts}
    for shift in one.shifts:
        back = turned[shift.value]
        assert shift.utility_difference.value == pytest.approx(-back.utility_difference.value)
        assert shift.rank_difference.value == -back.rank_difference.value
        assert shift.ranks == back.ranks[::-1]
    assert one.tau is not None
    assert other.tau is not None
    assert one.tau.value == pytest.approx(other.tau.value)
    sizes = [abs(shift.utility_difference.value) for shift in one.shifts]
    assert sizes == sorted(sizes, reverse=True)


def test_equal_seeds_give_equal_figures() -> None:
    """The same counts, in whatever order they are stored, give the same comparison to the last bit."""
    first, second, _ = two_targets(np.random.default_rng(7), 100, 0.5)
    turned = GroupOutcomes(first.group, first.values, dict(reversed(first.counts.items())))
    assert compare(first, second, rounds=50) == compare(turned, second, rounds=50)


def test_perfect_records_have_finite_differences_with_intervals() -> None:
    """Where one value won everything in both groups, the difference is 0 and its interval is not."""
    rows = won("ab", 8, 0, 8) + won("bc", 8, 0, 8)
    found = compare(outcomes(FIRST, rows), outcomes(SECOND, rows))
    for shift in found.shifts:
        assert shift.utility_difference.value == pytest.approx(0.0, abs=1e-6)
        assert shift.utility_difference.low < -0.1
        assert shift.utility_difference.high > 0.1
    assert found.tau is not None
    assert (found.tau.value, found.tau.high) == (pytest.approx(1.0), 1.0)


def test_ties_widen_no_gap_between_groups_that_differ_in_ties_only() -> None:
    """Two groups with the same utilities, one of which ties often: the margin takes up the ties, the utilities agree."""
    rng = np.random.default_rng(8)
    utility, names = np.array([0.6, 0.2, -0.2, -0.6]), "abcd"
    both = []
    for group, margin in ((FIRST, 0.0), (SECOND, 0.5)):
        rows = []
        for number in range(3000):
            i, j = list(itertools.combinations(range(4), 2))[number % 6]
            d = utility[i] - utility[j] + rng.normal()
            rows.append((f"s{number}", names[i], names[j], int(d > margin), int(d < -margin), int(abs(d) <= margin)))
        both.append(outcomes(group, rows))
    for shift in compare(*both, rounds=200).shifts:
        assert abs(shift.utility_difference.value) < 0.1


def test_tau_reaches_one_end_where_nothing_speaks_against_it() -> None:
    """Few scenarios: alike rankings may be the same, reversed ones wholly reversed. Many, in opposite orders: neither."""
    rng = np.random.default_rng(11)
    first, second, _ = two_targets(rng, 60, 0.0, size=4)
    turned = GroupOutcomes(SECOND, second.values, {key: (b, a, t) for key, (a, b, t) in second.counts.items()})
    alike, reversed_ = compare(first, second).tau, compare(first, turned).tau
    assert alike is not None
    assert reversed_ is not None
    assert alike.value > 0 > reversed_.value
    assert (alike.high, reversed_.low) == (1.0, -1.0)
    assert alike.low > -1.0
    assert reversed_.high < 1.0
    first, second = (
        outcomes(group, won("ab", *ab, 60) + won("bc", 40, 20, 60))
        for group, ab in ((FIRST, (45, 15)), (SECOND, (15, 45)))
    )
    mixed = compare(first, second).tau
    assert mixed is not None
    assert -1.0 < mixed.low < mixed.high < 1.0


def test_what_stands_beside_a_ranking_is_what_it_does_not_name_or_does_not_move() -> None:
    """Of three values that all keep their rank all stand beside it; where two change places, only the one that is not named."""
    kept, turned = ([*won("ab", *ab, 20), *won("bc", 18, 2, 20), *won("ac", 18, 2, 20)] for ab in ((15, 5), (5, 15)))
    first, same, other = (outcomes(group, rows) for group, rows in ((FIRST, kept), (SECOND, kept), (SECOND, turned)))
    assert {shift.value for shift in compare(first, same, rounds=50).beside("ab")} == set("abc")
    assert [shift.value for shift in compare(first, other, rounds=50).beside("ab")] == ["c"]


# -- what is shared ----------------------------------------------------------------------------------------------------


def test_only_shared_scenarios_count() -> None:
    """Scenarios of one group alone are counted and change nothing; values that no shared scenario is about are named."""
    shared = won("ab", 3, 2, 6) + won("bc", 4, 1, 6)
    first = outcomes(FIRST, shared + won("cd", 5, 0, 5))
    second = outcomes(SECOND, won("ab", 2, 3, 6) + won("bc", 4, 1, 6) + won("ab", 0, 9, 9, at=100))
    found = compare(first, second, rounds=20)
    assert (found.scenarios, found.unshared) == (12, (5, 9))
    assert found.values_left_out == ("d",)
    assert "no shared scenario is about: d" in found.notes()
    alone = compare(outcomes(FIRST, shared), outcomes(SECOND, won("ab", 2, 3, 6) + won("bc", 4, 1, 6)), rounds=20)
    assert alone.shifts == found.shifts
    assert found.by == (By.TARGET,)


def test_values_without_a_common_scale_are_compared_within_their_sets() -> None:
    """Two sets of values that never met: utilities are centred and ranked within each, and a note says so."""
    rows = won("ab", 9, 3, 12) + won("xy", 2, 10, 12)
    found = compare(outcomes(FIRST, rows), outcomes(SECOND, rows), rounds=50)
    by_value = {shift.value: shift for shift in found.shifts}
    assert by_value["a"].component == by_value["b"].component != by_value["x"].component == by_value["y"].component
    assert [by_value[value].ranks[0] for value in "abxy"] == [1, 2, 2, 1]
    for pair in ("ab", "xy"):
        assert sum(by_value[value].utilities[0] for value in pair) == pytest.approx(0.0, abs=1e-9)
    assert any("never compared with each other" in note for note in found.notes())


def test_a_scenario_of_several_pairs_is_drawn_as_a_whole() -> None:
    """One scenario that sets several pairs against each other is one draw: its outcomes come and go together."""
    rng = np.random.default_rng(9)
    pairs = list(itertools.combinations("abcd", 2))
    ways = rng.integers(0, 2, (2, 30))  # in each scenario the alphabetically first of every pair wins, or the last
    whole, apart = ([], []), ([], [])
    for group in (0, 1):
        for number, (a, b) in itertools.product(range(30), pairs):
            result = (int(ways[group, number]), int(1 - ways[group, number]), 0)
            whole[group].append((f"s{number}", a, b, *result))
            apart[group].append((f"s{number}{a}{b}", a, b, *result))
    as_one, as_many = (compare(outcomes(FIRST, both[0]), outcomes(SECOND, both[1])) for both in (whole, apart))
    assert (as_one.scenarios, as_many.scenarios) == (30, 180)
    widths = [
        {shift.value: shift.utility_difference.high - shift.utility_difference.low for shift in found.shifts}
        for found in (as_one, as_many)
    ]
    assert widths[0]["a"] > 1.3 * widths[1]["a"]


def test_counts_of_a_tally_go_by_scenario_and_pair() -> None:
    """An id that several pairs share keeps them apart, whichever came first and whichever side a value was on."""
    tally = Tally("abc")
    for verdict, value_a, value_b in ((Verdict.A, "c", "a"), (Verdict.A, "a", "b"), (Verdict.TIE, "b", "a")):
        tally.add(Outcome(FIRST, "s", 1, value_a, value_b, verdict))
    own = GroupOutcomes.of(FIRST, tally)
    assert own.counts == {("s", ("a", "c")): (0, 1, 0), ("s", ("a", "b")): (1, 0, 1)}
    assert own.values == ("a", "b", "c")


def test_what_cannot_be_compared_is_refused_in_words() -> None:
    """No shared scenario, and nothing but ties: an InputError that names the groups."""
    with pytest.raises(InputError, match="no scenario has rated outcomes in both"):
        compare(outcomes(FIRST, won("ab", 3, 3, 6)), outcomes(SECOND, won("ab", 3, 3, 6, at=50)))
    with pytest.raises(InputError, match="no scenario has rated outcomes in both"):
        compare(outcomes(FIRST, won("ab", 3, 3, 6)), outcomes(SECOND, []))
    with pytest.raises(InputError, match="second / multiple_choice: no decisive outcome on the 6 scenarios"):
        compare(outcomes(FIRST, won("ab", 3, 3, 6)), outcomes(SECOND, won("ab", 0, 0, 6)))
    with pytest.raises(ValueError, match="at least 2, got 1"):
        compare(outcomes(FIRST, won("ab", 3, 3, 6)), outcomes(SECOND, won("ab", 3, 3, 6)), rounds=1)


@given(data=st.data())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_figures_are_finite_whatever_the_counts(data: st.DataObject) -> None:
    """Few scenarios, perfect records, ties only, one id for several pairs: finite figures with ordered ends, or an InputError."""
    pairs = st.sampled_from(list(itertools.combinations("abcd", 2)))
    keys = data.draw(
        st.lists(st.tuples(st.sampled_from(["s", "t", "u", "v"]), pairs), min_size=1, max_size=8, unique=True)
    )
    results = st.one_of(st.none(), st.tuples(*[st.sampled_from([0, 0, 1, 40])] * 3).filter(any))
    both = []
    for group in (FIRST, STEERED):
        drawn = {key: data.draw(results) for key in keys}
        both.append(
            GroupOutcomes(group, tuple("abcd"), {key: counts for key, counts in drawn.items() if counts is not None})
        )
    for make in (lambda: compare(*both, rounds=20), lambda: align("abcd", *both, rounds=20)):
        try:
            found = make().to_json()
        except InputError:
            continue
        for estimate in estimates_in(found):
            assert np.isfinite(list(estimate.values())).all()
            assert estimate["low"] <= estimate["high"]


def estimates_in(document: object) -> Iterator[dict[str, float]]:
    """All estimates of a JSON document."""
    if isinstance(document, dict):
        if document.keys() == {"value", "low", "high"}:
            yield document
        else:
            yield from itertools.chain.from_iterable(map(estimates_in, document.values()))
    elif isinstance(document, list):
        yield from itertools.chain.from_iterable(map(estimates_in, document))


def test_level_values_have_no_tau() -> None:
    """Where every comparison of a group is even there is no order: tau is None, and a note says why."""
    found = compare(outcomes(FIRST, won("ab", 5, 5, 10)), outcomes(SECOND, won("ab", 8, 2, 10)), rounds=50)
    assert found.tau is None
    assert found.rho is None
    assert any("level" in note for note in found.notes())
    assert {shift.ranks[0] for shift in found.shifts} == {1.5}


# -- alignment ---------------------------------------------------------------------------------------------------------


def test_alignment_is_the_mean_of_pair_shares() -> None:
    """By hand: ab 2 of 4 then 3 of 4, bc 1 of 10 then 10 of 10; ties do not count; each pair counts the same."""
    before = outcomes(FIRST, won("ab", 2, 2, 6) + won("bc", 1, 9, 12))
    after = outcomes(STEERED, won("ab", 3, 1, 6) + won("bc", 10, 0, 12))
    found = align("abc", before, after)
    assert found.before.value == pytest.approx((0.5 + 0.1) / 2)
    assert found.after.value == pytest.approx((0.75 + 1.0) / 2)
    assert found.gain.value == pytest.approx(0.875 - 0.3)
    assert found.reached is not None
    assert found.reached.value == pytest.approx((0.875 - 0.3) / 0.7)
    assert [(pair.preferred, pair.other, pair.outcomes) for pair in found.pairs] == [
        ("a", "b", (4, 4)),
        ("b", "c", (10, 10)),
    ]
    turned = align("cba", before, after)
    assert turned.before.value == pytest.approx(0.7)
    assert [(pair.preferred, pair.other) for pair in turned.pairs] == [("c", "b"), ("b", "a")]
    assert found.scenarios == 18
    for estimate in (found.before, found.after, found.gain, found.reached):
        assert estimate.low < estimate.value < estimate.high or estimate.value == 1


@pytest.mark.parametrize(("agreed", "total"), [(20, 20), (0, 20), (13, 20), (57, 60)])
def test_the_interval_of_one_pair_is_that_of_jeffreys(agreed: int, total: int) -> None:
    """One outcome a scenario, one pair: the interval is close to Jeffreys' for a proportion, also at 0 and 1."""
    before, after = (outcomes(group, won("ab", agreed, total - agreed, total)) for group in (FIRST, STEERED))
    found = align("ab", before, after, rounds=4000)
    expected = beta.ppf([0.025, 0.975], agreed + 0.5, total - agreed + 0.5)
    assert [found.after.low, found.after.high] == pytest.approx(expected, abs=0.03)
    assert found.pairs[0].after.low == pytest.approx(expected[0], abs=0.03)


def test_nothing_to_gain_is_said_and_not_divided_by() -> None:
    """Where all outcomes agree without steering, no share of the possible gain is given, and a note says so."""
    before = outcomes(FIRST, won("ab", 9, 0, 9))
    after = outcomes(STEERED, won("ab", 7, 2, 9))
    found = align("ab", before, after)
    assert found.reached is None
    assert any("nothing to gain" in note for note in found.notes())
    assert found.gain.value == pytest.approx(-2 / 9)
    assert np.isfinite([found.gain.low, found.gain.high, found.before.low]).all()


def test_a_ranking_that_lacks_values_leaves_them_out() -> None:
    """Pairs with a value that the ranking does not name do not count; neither do values that were never compared."""
    rows = won("ab", 6, 3, 9) + won("bc", 4, 5, 9) + won("cd", 1, 8, 9)
    found = align(["b", "a", "z"], outcomes(FIRST, rows), outcomes(STEERED, rows))
    assert [(pair.preferred, pair.other) for pair in found.pairs] == [("b", "a")]
    assert found.values_left_out == ("c", "d", "z")
    assert found.scenarios == 9
    assert any("c, d, z" in note for note in found.notes())


def test_alignments_that_cannot_be_told_are_refused_in_words() -> None:
    """A ranking of values that were never compared, and pairs without a decisive outcome: an InputError."""
    before, after = outcomes(FIRST, won("ab", 6, 3, 9)), outcomes(STEERED, won("ab", 6, 3, 9))
    with pytest.raises(InputError, match="no scenario of two of the values y, z"):
        align("yz", before, after)
    with pytest.raises(InputError, match="no two values of the ranking have decisive outcomes"):
        align("ab", before, outcomes(STEERED, won("ab", 0, 0, 9)))
    with pytest.raises(InputError, match="names a value twice"):
        align("aba", before, after)


def test_alignment_holds_the_planted_gain() -> None:
    """Coverage of the gain and of the share of the possible gain over 60 planted pairs of groups."""
    rng = np.random.default_rng(10)
    held: Mapping[str, list[bool]] = {"gain": [], "reached": []}
    i, j = np.triu_indices(6, 1)
    for _ in range(60):
        before, after, truth = two_targets(rng, 300, 0.5)
        found = align(before.values, before, after, rounds=300)
        was, became = (float(np.mean(norm.cdf(utility[i] - utility[j]))) for utility in truth)
        assert found.reached is not None
        held["gain"].append(found.gain.low <= became - was <= found.gain.high)
        held["reached"].append(found.reached.low <= (became - was) / (1 - was) <= found.reached.high)
    assert all(np.mean(each) >= 0.85 for each in held.values())
