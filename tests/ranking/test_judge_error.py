from __future__ import annotations

import csv
import gzip
from collections import defaultdict
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.stats import norm

from conflictscope.outcome import PairedLooks
from conflictscope.ranking import JudgeError, Uncorrected, estimate_judge_error, fit_corrected, judge_error_from_gold
from conflictscope.ranking.components import components
from conflictscope.ranking.probit import CUT_SD, PRIOR_SD, Levels, fit_map, laplacian
from conflictscope.ranking.tally import Cells
from conflictscope.rating import FloatArray
from tests.shared_data import shared

PERFECT = JudgeError(0.0, 0.0, np.zeros((2, 2)), "known")


def known(wrong_first: float, wrong_second: float) -> JudgeError:
    return JudgeError(wrong_first, wrong_second, np.zeros((2, 2)), "known")


def names_first(truth_first: bool, flip: float, bias: float) -> float:
    """The probability that a look names the action shown first; a negative bias favours the second."""
    unbiased = 1 - flip if truth_first else flip
    return max(bias, 0.0) + (1 - abs(bias)) * unbiased


def looks_expected(flip: float, bias: float, number: float) -> PairedLooks:
    """What pairs of looks come to on average, half of the truths being a: the order of a shown first comes first."""
    counts: dict[tuple[str, str], float] = defaultdict(float)
    for truth, one, two in product("ab", (True, False), (True, False)):
        p_one, p_two = names_first(truth == "a", flip, bias), names_first(truth == "b", flip, bias)
        chance = (p_one if one else 1 - p_one) * (p_two if two else 1 - p_two)
        counts["a" if one else "b", "b" if two else "a"] += number / 2 * chance
    cells = counts["a", "a"], counts["b", "b"], counts["a", "b"], counts["b", "a"]
    return PairedLooks(*cells)  # type: ignore[arg-type]


def estimated(error: JudgeError | Uncorrected) -> JudgeError:
    assert isinstance(error, JudgeError), error.reason
    return error


# -- the error ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [-0.3, 0.0, 0.2])
@pytest.mark.parametrize("flip", [0.0, 0.1, 0.3])
def test_two_orders_give_back_the_planted_rates(flip: float, bias: float) -> None:
    """From the shares that all combinations of two looks have, enumerated, come the rates that they were made with."""
    error = estimated(estimate_judge_error(looks_expected(flip, bias, 1e6)))
    assert (error.flip, error.order_bias) == pytest.approx((flip, bias), abs=1e-9)
    wrong = 1 - names_first(True, flip, bias), names_first(False, flip, bias)
    assert (error.wrong_first, error.wrong_second) == pytest.approx(wrong, abs=1e-9)


@pytest.mark.parametrize(("flip", "bias"), [(0.1, 0.2), (0.1, -0.2), (0.25, 0.1)])
def test_standard_errors_are_the_spread_of_the_estimates(flip: float, bias: float) -> None:
    """Over 2,000 samples of 400 conversations, estimates spread as far as they say, within a tenth."""
    rng = np.random.default_rng(1)
    mean = looks_expected(flip, bias, 1.0)
    shares = [mean.both_a, mean.both_b, mean.both_first, mean.both_second]
    errors = [estimated(estimate_judge_error(PairedLooks(*row))) for row in rng.multinomial(400, shares, 2000).tolist()]
    for name in ("flip", "order_bias"):
        spread = np.std([getattr(error, name) for error in errors])
        assert np.mean([getattr(error, f"{name}_sd") for error in errors]) == pytest.approx(spread, rel=0.1)
    assert np.std([error.agreed().flip for error in errors]) == pytest.approx(
        np.mean([error.agreed().flip_sd for error in errors]), rel=0.1
    )


@pytest.mark.parametrize(("flip", "bias"), [(0.1, 0.2), (0.3, -0.4)])
def test_two_looks_that_agree_err_where_both_do(flip: float, bias: float) -> None:
    """The share of wrong ones among agreeing pairs of looks, by simulation; the order has no part in it."""
    rng = np.random.default_rng(2)
    one, two = (rng.random(1_000_000) < names_first(first, flip, bias) for first in (True, False))
    right, wrong = one & ~two, ~one & two
    agreed = known(1 - names_first(True, flip, bias), names_first(False, flip, bias)).agreed()
    assert agreed.flip == pytest.approx(wrong.sum() / (right.sum() + wrong.sum()), rel=0.02)
    assert (agreed.order_bias, agreed.wrong_first) == (0, agreed.wrong_second)


def test_a_judge_that_never_changed_its_mind_is_not_taken_to_be_infallible() -> None:
    """No disagreement in 100: the rates are 0, with standard errors above 0."""
    error = estimated(estimate_judge_error(PairedLooks(60, 40)))
    assert (error.flip, error.order_bias) == (0, 0)
    assert 0.001 < error.flip_sd < 0.02
    assert 0.001 < error.order_bias_sd < 0.02


def test_too_few_looks_give_no_estimate_and_say_so() -> None:
    """29 are too few, 30 are enough, of looks as of labels."""
    assert isinstance(estimate_judge_error(PairedLooks(30)), JudgeError)
    assert estimate_judge_error(PairedLooks(20, 7, 1, 1)) == Uncorrected(
        "fewer than 30 conversations in which the judge named an action in both orders (29)"
    )
    labels = [(True, False), (False, False), (True, True)] * 10
    assert isinstance(judge_error_from_gold(labels), JudgeError)
    assert judge_error_from_gold(labels[:29]) == Uncorrected(
        "fewer than 30 gold labels of conversations with a verdict a or b (29)"
    )


def test_a_judge_at_chance_cannot_be_corrected_for() -> None:
    """Where looks agree as often as by chance, or labels as often not, there is no estimate."""
    for error in (
        estimate_judge_error(PairedLooks(25, 25, 25, 25)),
        estimate_judge_error(PairedLooks(0, 0, 100, 0)),
        judge_error_from_gold([(True, False), (False, True)] * 50),
        judge_error_from_gold([(None, True)] * 100),
    ):
        assert isinstance(error, Uncorrected)
        assert "by chance" in error.reason


def test_gold_labels_give_the_rates_by_order_where_it_is_known() -> None:
    """1 of 20 wrong with the truth shown first and 5 of 20 with it second; one rate for all where an order is missing."""
    labels = [(True, n < 1) for n in range(20)] + [(False, n < 5) for n in range(20)]
    error = estimated(judge_error_from_gold(labels))
    assert (error.wrong_first, error.wrong_second) == (0.05, 0.25)
    assert error.order_bias == pytest.approx(0.2)
    assert error.flip == pytest.approx(0.05 / 0.8)
    unordered = estimated(judge_error_from_gold([*labels[:-1], (None, False)]))
    assert (unordered.wrong_first, unordered.wrong_second, unordered.order_bias_sd) == (0.15, 0.15, 0)
    assert unordered.flip_sd == pytest.approx(np.sqrt(0.15 * 0.85 / 40), rel=0.05)


def test_rates_that_cannot_be_are_refused() -> None:
    """A judge must be right more often than wrong."""
    for rates in ((-0.1, 0.0), (0.5, 0.5), (0.0, 1.1), (float("nan"), 0.0)):
        with pytest.raises(ValueError, match="together below 1"):
            known(*rates)


def test_an_error_is_told_in_words_and_numbers() -> None:
    """What the judge does, how sure that is, and what it rests on; of verdicts on which two looks agree, also their rate."""
    error = estimated(estimate_judge_error(PairedLooks(400, 400, 150, 50)))
    assert error.says == (
        "names the wrong action in 6.6% (se 0.9%), and the one shown first, whatever was done, in 10.0% (se 1.4%); from "
        "1,000 conversations judged in both orders (20.0% judged otherwise in the other order, kappa 0.60; errors that both "
        "looks share are not seen)"
    )
    agreed = error.agreed()
    first, _, rest = agreed.says.partition("; ")
    assert error.says.startswith(first)
    assert rest.startswith("two looks that agree are wrong in 1.2% (se 0.2%); from 1,000 conversations")
    assert agreed.figures["flip"] == agreed.flip
    assert agreed.figures["one_look_order_bias"] == pytest.approx(0.1)
    unordered = estimated(judge_error_from_gold([(None, n < 4) for n in range(40)]))
    assert unordered.says == "names the wrong action in 10.0% (se 4.9%); from 40 gold labels"


# -- real judges -------------------------------------------------------------------------------------------------------


def test_real_judges_are_counted_as_published_and_their_bias_is_found() -> None:
    """LLMBar: changes of mind and kappa are the published ones; both orders find the bias that gold labels show.

    They see no more of the other errors than labels do: what misleads a judge in one order misleads it in the other.
    """
    folder = shared("llmbar_judges")
    with (folder / "published_statistics.csv").open() as file:
        published = {(row["subset"], row["evaluator"], row["strategy"]): row for row in csv.DictReader(file)}
    pairs: dict[tuple[str, ...], list[tuple[str, str, str]]] = defaultdict(list)
    with gzip.open(folder / "verdicts.csv.gz", "rt") as file:
        for row in csv.DictReader(file):
            key = row["subset"], row["evaluator"], row["strategy"]
            pairs[key].append((row["verdict_original_order"], row["verdict_swapped_order"], row["label"]))
    compared = estimates = 0
    for key, rows in pairs.items():
        if any("none" in row for row in rows):
            continue
        counts = [sum(row[:2] == pair for row in rows) for pair in (("1", "1"), ("2", "2"), ("1", "2"), ("2", "1"))]
        looks = PairedLooks(*counts)
        assert (looks.conversations, looks.conversations - looks.changed) == (
            int(published[key]["n"]),
            int(published[key]["same_verdict"]),
        )
        assert looks.kappa == pytest.approx(float(published[key]["kappa_between_orders"]), abs=1e-9)
        compared += 1
        gold = judge_error_from_gold(
            look for one, two, label in rows for look in ((label == "1", one != label), (label == "2", two != label))
        )
        error = estimate_judge_error(looks)
        if isinstance(error, JudgeError) and isinstance(gold, JudgeError):
            estimates += 1
            assert abs(error.order_bias - gold.order_bias) < 3 * gold.order_bias_sd
            assert error.flip < gold.flip + 2 * gold.flip_sd
    assert compared > 100
    assert estimates > 50


# -- the fit -----------------------------------------------------------------------------------------------------------


def probabilities(d: float, margin: float, wrong_i: float, wrong_j: float) -> tuple[float, float, float]:
    """Of the judge saying that i won, that j won, that the two tied."""
    won, lost = norm.cdf(d - margin), norm.cdf(-d - margin)
    return won * (1 - wrong_i) + lost * wrong_j, won * wrong_i + lost * (1 - wrong_j), 1 - won - lost


def wrongs(error: JudgeError, shown_first: int) -> tuple[float, float]:
    """How often the judge errs where i's action was taken, and where j's was."""
    first, second = error.wrong_first, error.wrong_second
    return [((first + second) / 2,) * 2, (first, second), (second, first)][shown_first]


def expected_cells(utilities: FloatArray, margin: float, error: JudgeError, number: float) -> Cells:
    """Counts exactly as often as they are to be expected, for each pair and order."""
    rows = [
        (i, j, level, shown_first, number * p)
        for i in range(len(utilities))
        for j in range(i + 1, len(utilities))
        for shown_first in (0, 1, 2)
        for level, p in zip(
            (1, -1, 0),
            probabilities(utilities[i] - utilities[j], margin, *wrongs(error, shown_first)),
            strict=True,
        )
        if p > 0
    ]
    i, j, level, shown_first, count = np.array(rows).T
    whole = [column.astype(np.int64) for column in (i, j, level, shown_first)]
    return Cells(whole[0], whole[1], whole[2], np.zeros(len(rows), dtype=np.bool_), whole[3], count)


@st.composite
def drawn_cells(draw: st.DrawFn) -> tuple[Cells, int]:
    """Up to 12 kinds of outcomes of 2 to 5 values, each up to a million times: perfect records, ties only, nothing at all."""
    size = draw(st.integers(2, 5))
    pair = st.sampled_from([(i, j) for i in range(size) for j in range(i + 1, size)])
    kind = st.tuples(pair, st.sampled_from([-3, -1, 0, 1, 7]), st.integers(0, 2))
    counts = draw(st.dictionaries(kind, st.sampled_from([0.25, 1.0, 3.0, 50.0, 1e6]), max_size=12))
    rows = np.array([(*pair, level, shown) for (pair, level, shown) in counts], dtype=np.int64).reshape(-1, 4).T
    graded = np.abs(rows[2]) > 1
    return Cells(rows[0], rows[1], rows[2], graded, rows[3], np.array(list(counts.values()), dtype=np.float64)), size


def difference_sd(cov: FloatArray) -> FloatArray:
    spread: FloatArray = np.sqrt(np.diag(cov)[:, None] + np.diag(cov)[None, :] - 2 * cov)
    return spread


@given(drawn_cells())
def test_with_a_perfect_judge_it_is_the_uncorrected_maximum(drawn: tuple[Cells, int]) -> None:
    """No error, no correction: utilities and margin are those that Newton's method finds for the model without a judge."""
    cells, size = drawn
    corrected, plain = fit_corrected(cells, size, PERFECT), fit_map(Levels.of(cells, size))
    assert corrected.mu == pytest.approx(plain.mu, abs=1e-5)
    assert corrected.margin == pytest.approx(plain.cutpoints.sum(), abs=1e-5)


@given(drawn_cells(), st.floats(0, 0.45), st.floats(0, 0.45), st.floats(0, 0.05))
@settings(max_examples=200)
def test_every_log_has_a_finite_answer(drawn: tuple[Cells, int], first: float, second: float, variance: float) -> None:
    """Perfect records, ties only, values that were never compared, a judge near chance: finite, and a covariance."""
    cells, size = drawn
    error = JudgeError(first, second, np.diag([variance, variance / 2]), "drawn")
    posterior = fit_corrected(cells, size, error)
    assert np.all(np.isfinite(posterior.mu))
    assert np.all(np.isfinite(posterior.cov))
    assert np.linalg.eigvalsh(posterior.cov).min() > 0
    assert posterior.margin >= 0
    np.testing.assert_array_equal(posterior.component, components(-laplacian(cells.i, cells.j, cells.count, size)))


def test_expected_counts_give_back_utilities_and_margin() -> None:
    """With a flat prior, counts as they are to be expected from a judge that errs have their maximum at the truth."""
    utilities, error = np.array([0.8, -0.3, 0.1, -0.6]), known(0.1, 0.35)
    posterior = fit_corrected(expected_cells(utilities, 0.3, error, 1000), 4, error, prior_sd=1e3)
    assert posterior.mu - posterior.mu[0] == pytest.approx(utilities - utilities[0], abs=1e-4)
    assert posterior.margin == pytest.approx(0.3, abs=1e-4)


def test_it_is_the_maximum_that_another_method_finds() -> None:
    """On random counts, L-BFGS on the log-posterior written out with scipy ends near it, and its gradient is 0 there."""
    rng = np.random.default_rng(3)
    error, size = known(0.05, 0.25), 4
    rows = [(i, j, s, level) for i in range(size) for j in range(i + 1, size) for s in range(3) for level in (1, 0, -1)]
    count = rng.integers(1, 40, len(rows)).astype(np.float64)
    i, j, shown, level = np.array(rows, dtype=np.int64).T
    cells = Cells(i, j, level, np.zeros(len(rows), dtype=np.bool_), shown, count)

    def loss(point: FloatArray) -> float:
        total = 0.5 * float(point[:size] @ point[:size]) / PRIOR_SD**2 + 0.5 * point[size] ** 2 / CUT_SD**2
        for (a, b, order, named), times in zip(rows, count, strict=True):
            p = probabilities(point[a] - point[b], point[size], *wrongs(error, order))
            total -= times * np.log(p[{1: 0, -1: 1, 0: 2}[named]])
        return float(total)

    def slope(point: FloatArray) -> FloatArray:
        return np.array([(loss(point + h) - loss(point - h)) / 2e-5 for h in np.eye(size + 1) * 1e-5])

    posterior = fit_corrected(cells, size, error)
    found = np.append(posterior.mu, posterior.margin)
    bounds = [(-2.0, 2.0)] * size + [(0.05, 2.0)]
    other = minimize(loss, np.append(np.full(size, 0.1), 1.0), jac=slope, method="L-BFGS-B", bounds=bounds)
    assert found == pytest.approx(other.x, abs=1e-3)
    assert slope(found) == pytest.approx(np.zeros(size + 1), abs=1e-3)


def test_uncertainty_is_that_of_the_maximum_and_of_the_error() -> None:
    """At expected counts: the covariance is the inverse of the log-posterior's curvature by differences, and what is added for
    an uncertain error is what refitting with slightly other rates moves."""
    utilities, rates = np.array([0.9, -0.4, 0.2]), np.array([0.1, 0.3])
    cells = expected_cells(utilities, 0.25, known(*rates), 500)

    def differences(rates: FloatArray) -> FloatArray:
        mu = fit_corrected(cells, 3, known(*rates), prior_sd=1e3).mu
        return np.array([mu[0] - mu[1], mu[0] - mu[2]])

    step = 1e-4
    moves = np.stack([(differences(rates + h) - differences(rates - h)) / (2 * step) for h in np.eye(2) * step], axis=1)
    of_error = np.array([[4e-4, 1e-4], [1e-4, 9e-4]])
    sure = fit_corrected(cells, 3, known(*rates), prior_sd=1e3).cov
    unsure = fit_corrected(cells, 3, JudgeError(*rates.tolist(), of_error, "given"), prior_sd=1e3).cov
    contrast = np.array([[1.0, -1.0, 0.0], [1.0, 0.0, -1.0]])
    assert contrast @ (unsure - sure) @ contrast.T == pytest.approx(moves @ of_error @ moves.T, rel=1e-3)

    def log_likelihood(point: FloatArray) -> float:
        total = 0.0
        d = {(0, 1): point[0], (0, 2): point[1], (1, 2): point[1] - point[0]}
        for i, j, level, shown, count in zip(
            cells.i.tolist(),
            cells.j.tolist(),
            cells.level.tolist(),
            cells.shown_first.tolist(),
            cells.count,
            strict=True,
        ):
            p = probabilities(d[i, j], point[2], *wrongs(known(*rates), shown))
            total += count * np.log(p[{1: 0, -1: 1, 0: 2}[level]])
        return total

    truth = np.array([utilities[0] - utilities[1], utilities[0] - utilities[2], 0.25])
    h = np.eye(3) * 1e-3
    curvature = [
        [
            (
                log_likelihood(truth + a + b)
                - log_likelihood(truth + a - b)
                - log_likelihood(truth - a + b)
                + log_likelihood(truth - a - b)
            )
            / 4e-6
            for b in h
        ]
        for a in h
    ]
    expected = np.linalg.inv(-np.array(curvature))[:2, :2]
    assert contrast @ sure @ contrast.T == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(("first", "second"), [(0.1, 0.1), (0.0, 0.2), (0.3, 0.3)])
def test_the_scale_that_a_judge_flattens_is_restored(first: float, second: float) -> None:
    """Over 40 worlds: the slope of estimated differences on true ones is 1, and 95 % intervals hold the truth."""
    rng = np.random.default_rng(4)
    products = squares = plain = 0.0
    held: list[float] = []
    i, j = np.triu_indices(6, 1)
    for _ in range(40):
        utilities, error = rng.normal(0, 0.5, 6), known(first, second)
        cells = expected_cells(utilities, 0.1, error, 1.0)
        drawn = rng.poisson(cells.count * 3000 / cells.count.sum()).astype(np.float64)
        cells = Cells(cells.i, cells.j, cells.level, cells.graded, cells.shown_first, drawn)
        posterior = fit_corrected(cells, 6, error)
        true, estimate = utilities[i] - utilities[j], posterior.mu[i] - posterior.mu[j]
        products, squares = products + float(true @ estimate), squares + float(true @ true)
        without = fit_map(Levels.of(cells, 6)).mu
        plain += float(true @ (without[i] - without[j]))
        held.append(float(np.mean(np.abs(estimate - true) <= 1.96 * difference_sd(posterior.cov)[i, j])))
    assert products / squares == pytest.approx(1, abs=0.07)
    assert plain / squares < 0.85
    assert np.mean(held) > 0.92
