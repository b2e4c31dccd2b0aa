from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from conflictscope.outcome import PairedLooks
from conflictscope.ranking.agreement import (
    cohen_kappa,
    difference,
    fleiss_kappa,
    flip_rate,
    krippendorff_alpha,
    order_bias,
    proportion,
    retest_agreement,
)

PAIRS = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=1, max_size=40)


def spelled_out(table: list[list[int]]) -> tuple[list[int], list[int]]:
    """The two raters' lists of categories behind a table of counts."""
    items = [(row, column) for row, counts in enumerate(table) for column, n in enumerate(counts) for _ in range(n)]
    return [row for row, _ in items], [column for _, column in items]


def kappa_of(share: np.ndarray) -> float:
    by_chance = share.sum(axis=1) @ share.sum(axis=0)
    return float((np.trace(share) - by_chance) / (1 - by_chance))


@pytest.mark.parametrize(
    "table", [[[20, 5], [10, 15]], [[45, 15], [25, 15]], [[88, 10, 2], [14, 40, 6], [18, 10, 12]], [[1, 9], [8, 2]]]
)
def test_kappa_and_its_interval_are_those_of_the_delta_method(table: list[list[int]]) -> None:
    """The standard error against derivatives of kappa taken by small steps in each cell, to 1e-4."""
    number = sum(map(sum, table))
    share = np.array(table) / number
    slope = np.zeros_like(share)
    for cell in np.ndindex(share.shape):
        step = np.zeros_like(share)
        step[cell] = 1e-6
        slope[cell] = (kappa_of(share + step) - kappa_of(share - step)) / 2e-6
    # Along the simplex only: the derivative across it drops out of the variance of multinomial shares.
    variance = (np.sum(share * slope**2) - np.sum(share * slope) ** 2) / number
    found = cohen_kappa(*spelled_out(table))
    assert found.value == pytest.approx(kappa_of(share))
    assert found.high - found.value == pytest.approx(1.959964 * variance**0.5, rel=1e-4)
    assert found.items == number


def test_kappa_of_the_textbook() -> None:
    """50 grant proposals, both readers yes to 20 and no to 15: .4 (the worked example that goes with Cohen's formula)."""
    assert cohen_kappa(*spelled_out([[20, 5], [10, 15]])).value == pytest.approx(0.4)


@given(PAIRS, st.permutations("abc"))
def test_kappa_knows_no_names_and_no_order(pairs: list[tuple[str, str]], names: list[str]) -> None:
    """Other names for the categories, the raters swapped, the items in another order: the same, and never outside [-1, 1]."""
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    found = cohen_kappa(first, second)
    renamed = dict(zip("abc", names, strict=True))
    other = cohen_kappa([renamed[b] for b in second[::-1]], [renamed[a] for a in first[::-1]])
    assert (other.value, other.low, other.high) == pytest.approx((found.value, found.low, found.high), abs=1e-6)
    assert -1 <= found.low <= found.value <= found.high <= 1


@given(st.tuples(*[st.integers(0, 20)] * 4).filter(any))
def test_kappa_between_two_orders_is_that_of_paired_looks(counts: tuple[int, int, int, int]) -> None:
    """Both ways of the package to the same number agree."""
    looks = PairedLooks(*counts)
    first, second = spelled_out([[looks.both_a, looks.both_first], [looks.both_second, looks.both_b]])
    assert cohen_kappa(first, second).value == pytest.approx(looks.kappa)


def test_raters_that_never_disagree_have_kappa_1() -> None:
    """Even where they name one category throughout, where chance alone would do it."""
    assert cohen_kappa("aaaa", "aaaa").value == cohen_kappa("abab", "abab").value == 1


def test_the_interval_of_flips_is_wilsons() -> None:
    """10 of 100: 5.5 % to 17.4 % (Wilson 1927, by hand); none of 20 is not taken for never."""
    found = flip_rate("a" * 100, "b" * 10 + "a" * 90)
    z = 1.959964
    centre, half = (0.1 + z**2 / 200) / (1 + z**2 / 100), z * (0.1 * 0.9 / 100 + z**2 / 40000) ** 0.5 / (1 + z**2 / 100)
    assert found.value == 0.1
    assert (found.low, found.high) == pytest.approx((centre - half, centre + half), abs=1e-6)
    assert (found.low, found.high) == pytest.approx((0.055, 0.174), abs=0.001)
    assert flip_rate("a" * 20, "a" * 20).high > 0.1


@given(st.lists(st.lists(st.sampled_from("ab"), min_size=2, max_size=8), min_size=1, max_size=10))
def test_retest_agreement_is_the_share_of_equal_pairs_of_answers(answers: list[list[str]]) -> None:
    """All pairs of answers to each question written out, the mean over questions."""
    shares = [np.mean([a == b for a, b in combinations(repeats, 2)]) for repeats in answers]
    found = retest_agreement(answers)
    assert found.value == pytest.approx(np.mean(shares))
    assert 0 <= found.low <= found.value <= found.high <= 1


def test_intervals_hold_the_truth_where_looks_of_one_item_are_alike() -> None:
    """Items with a lean of their own, 8 looks each: the interval of the bias holds the mean lean in 90 to 98 % of 400 worlds."""
    rng = np.random.default_rng(3)
    inside = []
    for _ in range(400):
        lean = rng.beta(0.6, 0.4, 60)
        found = order_bias((rng.random((60, 8)) < lean[:, None]).tolist())
        inside.append(found.low <= 0.6 <= found.high)
    assert 0.90 <= np.mean(inside) <= 0.98


def test_each_look_counts_once_in_the_bias() -> None:
    """Items with more looks weigh more: 5 of 8 looks, not the mean of 1 and 4 / 7."""
    found = order_bias([[True], [True, True, True, True, False, False, False]])
    assert (found.value, found.items) == (0.625, 2)


def test_one_item_says_nothing_of_others() -> None:
    """Its interval is all of [0, 1]."""
    found = order_bias([[True] * 9])
    assert (found.value, found.low, found.high) == (1.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("measure", "answers", "problem"),
    [
        (cohen_kappa, ("ab", "a"), "same items, got 2 and 1"),
        (cohen_kappa, ("", ""), "no item"),
        (flip_rate, ("ab", "abc"), "same items, got 2 and 3"),
        (flip_rate, ("", ""), "no item"),
        (retest_agreement, ([],), "no item"),
        (retest_agreement, (["aa", "a"],), "question 1 was not repeated: it has 1 of at least 2 answers"),
        (order_bias, ([],), "no item"),
        (order_bias, ([[True], []],), "item 1 has no look"),
    ],
)
def test_bad_input_is_refused(measure: object, answers: tuple, problem: str) -> None:
    """One clear message, never NaN."""
    with pytest.raises(ValueError, match=problem):
        measure(*answers)


def alpha_by_pairs(items: list[list[str]]) -> float:
    """Krippendorff's definition, pair by pair: what disagrees within items, over what disagrees among all ratings."""
    items = [item for item in items if len(item) > 1]
    ratings = [rating for item in items for rating in item]
    within = sum(2 * (a != b) / (len(item) - 1) for item in items for a, b in combinations(item, 2)) / len(ratings)
    among = 2 * sum(a != b for a, b in combinations(ratings, 2)) / (len(ratings) * (len(ratings) - 1))
    return 1 - within / among if within else 1.0


ITEMS = st.lists(st.lists(st.sampled_from("abc"), max_size=5), min_size=1, max_size=12).filter(
    lambda items: any(len(item) > 1 for item in items)
)


def test_alpha_of_the_textbook() -> None:
    """Four observers, twelve units, five categories, missing data: 0.743 for nominal data (Krippendorff 2011)."""
    observers = ["123321412...", "1233224125.3", ".3332342251.", "12332441251."]
    items = [[value for value in unit if value != "."] for unit in zip(*observers, strict=True)]
    assert krippendorff_alpha(items).value == pytest.approx(0.743, abs=5e-4)


@given(ITEMS)
def test_alpha_is_that_of_all_pairs_of_ratings(items: list[list[str]]) -> None:
    """By sums over categories as by counting pairs, for any numbers of raters; and its interval by leaving each item out."""
    found = krippendorff_alpha(items)
    rated = [item for item in items if len(item) > 1]
    assert found.value == pytest.approx(alpha_by_pairs(items))
    assert found.items == len(rated)
    assert -1 <= found.low <= found.value <= found.high <= 1 or found.value < -1
    if len(rated) > 1:
        without = np.array([alpha_by_pairs(rated[:n] + rated[n + 1 :]) for n in range(len(rated))])
        error = np.sqrt((len(rated) - 1) / len(rated) * np.sum((without - without.mean()) ** 2))
        assert found.low == pytest.approx(max(-1, found.value - 1.959964 * error))


def test_alpha_of_raters_that_never_disagree_is_1_and_of_nobody_an_error() -> None:
    """Also where all is in one category; without an item that two raters named there is nothing to tell."""
    assert krippendorff_alpha([["a", "a"], ["b", "b", "b"]]).value == 1
    assert krippendorff_alpha([["a", "a"], ["a", "a"]]) == krippendorff_alpha([["b", "b"], ["b", "b"]])
    with pytest.raises(ValueError, match="two raters"):
        krippendorff_alpha([["a"], []])


def test_the_interval_of_alpha_covers_the_truth() -> None:
    """Three raters that err in a tenth of 200 even items: chance-corrected agreement (1 - 2 / 10)^2, in 95 % of intervals."""
    rng = np.random.default_rng(5)
    truth = rng.random((300, 200, 1)) < 0.5
    named = truth ^ (rng.random((300, 200, 3)) < 0.1)
    found = [krippendorff_alpha(items.tolist()) for items in named]
    covered = sum(interval.low <= 0.64 <= interval.high for interval in found)
    assert 300 * 0.91 <= covered <= 300 * 0.985


# -- shares, and any number of raters ----------------------------------------------------------------------------------


@given(st.integers(1, 500).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total))))
def test_the_interval_of_a_share_is_wilsons(counted: tuple[int, int]) -> None:
    """As scipy has it."""
    count, total = counted
    found, expected = proportion(count, total), binomtest(count, total).proportion_ci(method="wilson")
    assert (found.value, found.low, found.high) == pytest.approx((count / total, expected.low, expected.high), abs=1e-9)


def test_the_interval_of_a_difference_is_newcombes() -> None:
    """The first example of Newcombe 1998, table II: 56/70 less 48/80 has the interval .0524 to .3339 by method 10."""
    found = difference(proportion(56, 70), proportion(48, 80))
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=1e-4)


def test_kappa_of_many_raters_is_that_of_a_worked_example() -> None:
    """Ten subjects, fourteen raters, five categories: kappa .210."""
    table = """0 0 0 0 14  0 2 6 4 2  0 0 3 5 6  0 3 9 2 0  2 2 8 1 1
               7 7 0 0 0   3 2 6 3 0  2 5 3 2 2  6 5 2 1 0  0 2 2 3 7"""
    counts = np.array(table.split(), dtype=int).reshape(10, 5)
    found = fleiss_kappa([[category for category, n in enumerate(row) for _ in range(n)] for row in counts])
    assert found.value == pytest.approx(0.210, abs=5e-4)
    assert found.low < found.value < found.high


@given(st.lists(st.lists(st.sampled_from("abc"), min_size=3, max_size=3), min_size=2, max_size=30))
def test_kappa_of_many_raters_is_alpha_but_for_a_small_sample(items: list[list[str]]) -> None:
    """1 - alpha is 1 - kappa times (n - 1) / n, n the number of answers."""
    answers = 3 * len(items)
    kappa, alpha = fleiss_kappa(items).value, krippendorff_alpha(items).value
    assert 1 - alpha == pytest.approx((1 - kappa) * (answers - 1) / answers)


@pytest.mark.parametrize("items", [[], ["a"], ["ab", "abc"]])
def test_raters_must_be_several_and_the_same_number_throughout(items: list[str]) -> None:
    with pytest.raises(ValueError, match="the same number of raters, at least 2"):
        fleiss_kappa(items)
