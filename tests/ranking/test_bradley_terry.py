from __future__ import annotations

import choix
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.optimize import minimize
from scipy.special import expit, log_softmax

from conflictscope.outcome import Group, Mode, Outcome, Verdict
from conflictscope.ranking.bradley_terry import fit_bradley_terry
from conflictscope.ranking.components import components
from conflictscope.ranking.tally import Clusters, Tally


def counts(size: int, most: int) -> st.SearchStrategy[np.ndarray]:
    """Count matrices with a diagonal of 0."""
    return arrays.arrays(np.int64, (size, size), elements=st.integers(0, most)).map(
        lambda drawn: np.where(np.eye(size, dtype=bool), 0, drawn)
    )


def as_list(wins: np.ndarray) -> list[tuple[int, int]]:
    """The outcomes one by one, as choix takes them."""
    winner, loser = np.nonzero(wins)
    return [pair for pair in zip(winner, loser, strict=True) for _ in range(int(wins[pair]))]


def simulated(seed: int, size: int, outcomes: int, truth: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """True log strengths and wins of a world with the logistic link."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(0, 0.8, size) if truth is None else truth
    i = rng.integers(0, size, outcomes)
    j = (i + rng.integers(1, size, outcomes)) % size
    won = rng.random(outcomes) < expit(truth[i] - truth[j])
    wins = np.zeros((size, size))
    np.add.at(wins, (np.where(won, i, j), np.where(won, j, i)), 1)
    return truth, wins


@settings(max_examples=40)
@given(st.integers(2, 6).flatmap(lambda size: counts(size, 12)), st.sampled_from([0.01, 0.1, 1.0]))
def test_strengths_are_those_of_choix(wins: np.ndarray, alpha: float) -> None:
    """To 1e-6, for any counts that compare all values, perfect records among them."""
    wins[0, 1:] += 1  # all are compared
    ours = fit_bradley_terry(wins, alpha=alpha, bootstraps=2).strength
    theirs = choix.ilsr_pairwise(len(wins), as_list(wins), alpha=alpha, max_iter=10_000, tol=1e-10)
    assert ours == pytest.approx(theirs, abs=1e-6)


@settings(max_examples=40)
@given(counts(4, 9), counts(4, 4), st.sampled_from([0.001, 0.01, 0.3]))
def test_strengths_are_the_maximum_that_the_docstring_names(wins: np.ndarray, ties: np.ndarray, alpha: float) -> None:
    """A general optimiser finds the same maximum, to 1e-4; a tie is half a win for each side."""
    wins[0, 1:] += 1
    ties = ties + ties.T
    points = wins + ties / 2

    def loss(theta: np.ndarray) -> float:
        likelihood = np.sum(points * -np.logaddexp(0, theta[None, :] - theta[:, None]))
        return -float(likelihood + alpha * 4 * np.sum(log_softmax(theta)))

    found = minimize(loss, np.zeros(4), tol=1e-12, options={"gtol": 1e-7}).x
    ours = fit_bradley_terry(wins, ties, alpha=alpha, bootstraps=2).strength
    assert ours == pytest.approx(found - found.mean(), abs=1e-4)


def test_the_same_seed_gives_the_same_intervals() -> None:
    """And another seed others."""
    _, wins = simulated(1, 5, 300)
    first, again, other = (fit_bradley_terry(wins, bootstraps=50, seed=seed) for seed in (3, 3, 4))
    assert np.array_equal(first.samples, again.samples)
    assert not np.array_equal(first.samples, other.samples)


def test_the_bootstrap_of_counts_is_that_of_rows() -> None:
    """Outcomes resampled one by one and fitted by choix: the same spread, within the error of 600 rounds (a tenth)."""
    _, wins = simulated(2, 4, 400)
    data, rng = as_list(wins), np.random.default_rng(0)
    loop = np.array(
        [
            choix.ilsr_pairwise(4, [data[row] for row in rng.integers(0, len(data), len(data))], alpha=0.01)
            for _ in range(600)
        ]
    )
    fit = fit_bradley_terry(wins, bootstraps=4000)
    assert fit.samples.std(axis=0) == pytest.approx(loop.std(axis=0), rel=0.1)
    assert fit.low == pytest.approx(np.percentile(loop, 2.5, axis=0), abs=0.06)
    assert fit.high == pytest.approx(np.percentile(loop, 97.5, axis=0), abs=0.06)
    stronger = np.mean(loop[:, :, None] > loop[:, None, :], axis=0)
    assert fit.p_above() == pytest.approx(np.where(np.eye(4, dtype=bool), 0.5, stronger), abs=0.07)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """Over 100 worlds of 2,000 outcomes, 95 % intervals hold the true strength in 92 to 98 %."""
    inside = []
    for seed in range(100):
        truth, wins = simulated(seed, 5, 2000)
        fit = fit_bradley_terry(wins, bootstraps=400, seed=seed)
        centred = truth - truth.mean()
        inside += list((fit.low <= centred) & (centred <= fit.high))
    assert 0.92 <= np.mean(inside) <= 0.98


def tally_of(repeats: int) -> Tally:
    """90 scenarios of three values; the outcomes of one scenario are all the same."""
    rng, tally = np.random.default_rng(5), Tally()
    group = Group("target", Mode.OPEN_ENDED)
    for number in range(90):
        value_a, value_b = [("x", "y"), ("z", "y"), ("x", "z")][number % 3]  # not always in alphabetical order
        verdict = rng.choice([Verdict.A, Verdict.B, Verdict.TIE], p=[0.5, 0.35, 0.15])
        for repeat in range(repeats):
            tally.add(Outcome(group, str(number), repeat, value_a, value_b, Verdict(verdict)))
    return tally


def test_repeats_that_all_agree_add_nothing() -> None:
    """Clusters of 16 equal outcomes have the intervals of single outcomes; as independent outcomes they were 4 times narrower."""
    once, often = tally_of(1), tally_of(16)
    widths = []
    for tally, clusters in ((once, once.clusters()), (often, often.clusters()), (often, None)):
        fit = fit_bradley_terry(tally.wins(), tally.ties(), bootstraps=4000, clusters=clusters)
        widths.append(fit.high - fit.low)
    assert widths[1] == pytest.approx(widths[0], rel=0.05)
    assert widths[2] * 4 == pytest.approx(widths[0], rel=0.1)


def test_single_outcomes_as_clusters_change_nothing() -> None:
    """Where no scenario is repeated, the bootstrap by scenario spreads as the one by outcome does."""
    tally = tally_of(1)
    with_clusters, without = (
        fit_bradley_terry(tally.wins(), tally.ties(), bootstraps=4000, clusters=clusters)
        for clusters in (tally.clusters(), None)
    )
    assert np.array_equal(with_clusters.strength, without.strength)
    assert with_clusters.samples.std(axis=0) == pytest.approx(without.samples.std(axis=0), rel=0.06)


def test_a_pair_of_clusters_in_either_order_is_one_pair() -> None:
    """A scenario counted as (1, 0) is the mirror of the same counted as (0, 1)."""
    number = np.array([30, 20])
    wins = np.array([[0, 30], [20, 0]])
    none = np.zeros(2, dtype=np.int64)
    plain = Clusters(np.array([0, 0]), np.array([1, 1]), np.array([1, 0]), np.array([0, 1]), none, number)
    mirrored = Clusters(np.array([0, 1]), np.array([1, 0]), np.array([1, 1]), np.array([0, 0]), none, number)
    fits = [fit_bradley_terry(wins, bootstraps=100, clusters=clusters) for clusters in (plain, mirrored)]
    assert np.array_equal(fits[0].samples, fits[1].samples)


def test_sets_never_compared_are_fitted_apart() -> None:
    """Each component is as if it were alone, with mean 0; a value without comparisons stays at 0; between components: 0.5."""
    _, large = simulated(7, 4, 200)
    small = np.array([[0, 9], [4, 0]])
    wins = np.zeros((7, 7))
    wins[np.ix_([1, 2, 4, 6], [1, 2, 4, 6])] = large
    wins[np.ix_([0, 5], [0, 5])] = small
    fit = fit_bradley_terry(wins, bootstraps=200)
    assert fit.component.tolist() == [1, 0, 0, 2, 0, 1, 0]
    assert fit.strength[[1, 2, 4, 6]] == pytest.approx(fit_bradley_terry(large, bootstraps=2).strength, abs=1e-9)
    assert fit.strength[[0, 5]] == pytest.approx(fit_bradley_terry(small, bootstraps=2).strength, abs=1e-9)
    assert fit.samples[:, 3].tolist() == [0.0] * 200
    apart = fit.component[:, None] != fit.component[None, :]
    assert np.all(fit.p_above()[apart] == 0.5)
    assert fit.samples[:, [0, 5]].sum(axis=1) == pytest.approx(np.zeros(200), abs=1e-9)


@settings(max_examples=60)
@given(st.integers(2, 5).flatmap(lambda size: counts(size, 20)), st.sampled_from([1e-6, 0.01, 5.0]))
def test_any_counts_with_a_decision_give_finite_ordered_numbers(wins: np.ndarray, alpha: float) -> None:
    """Perfect records and values never compared among them."""
    wins[0, 1] += 1
    fit = fit_bradley_terry(wins, alpha=alpha, bootstraps=20)
    assert np.all(np.isfinite(fit.samples))
    assert np.all(fit.low <= fit.high)
    above = fit.p_above()
    assert above + above.T == pytest.approx(np.ones_like(above))


def test_a_long_chain_of_perfect_records_settles() -> None:
    """40 values, each beating all below it 100,000 times: finite, in order, and balanced against the prior as choix's fixed point is."""
    size, alpha = 40, 0.01
    fit = fit_bradley_terry(np.triu(np.full((size, size), 1e5), 1), alpha=alpha, bootstraps=2)
    assert np.all(np.diff(fit.strength) < 0)
    share = np.exp(fit.strength - np.logaddexp.reduce(fit.strength))
    upset = np.triu(expit(fit.strength[None, :] - fit.strength[:, None]), 1) * 1e5
    balance = (upset - upset.T).sum(axis=1) + alpha * size * (1 - size * share)
    assert balance == pytest.approx(np.zeros(size), abs=1e-7)


WINS = np.array([[0, 3, 1], [2, 0, 4], [5, 1, 0]])
PERFECT = np.array([[0, 3, 2], [0, 0, 1], [0, 1, 0]])


@pytest.mark.parametrize(
    ("wins", "options", "problem"),
    [
        (np.zeros((1, 1)), {}, "at least 2 values, got 1"),
        (np.zeros((2, 3)), {}, r"wins must be \(K, K\), got shape \(2, 3\)"),
        (np.array([[0, -1], [0, 0]]), {}, "wins must be finite and >= 0"),
        (np.array([[0, np.nan], [0, 0]]), {}, "wins must be finite and >= 0"),
        (np.eye(2), {}, "diagonal must be 0"),
        (WINS, {"ties": WINS}, "ties must be symmetric"),
        (WINS, {"ties": np.zeros((2, 2))}, r"ties must be \(3, 3\), got shape \(2, 2\)"),
        (np.zeros((2, 2)), {}, "no decisive outcome"),
        (np.zeros((2, 2)), {"ties": np.array([[0, 5], [5, 0]])}, "no decisive outcome"),
        (WINS, {"alpha": -0.1}, "alpha must be 0, or finite and at least 1e-06, got -0.1"),
        (WINS, {"alpha": np.nan}, "alpha must be 0"),
        (WINS, {"alpha": 1e-300}, "alpha must be 0"),
        (WINS, {"bootstraps": 1}, "bootstraps must be at least 2, got 1"),
        (PERFECT, {"alpha": 0}, r"won, or lost, all that they met the others in: .* unless alpha > 0"),
        (WINS, {"alpha": 0, "bootstraps": 1000}, "in a sample of the bootstrap: .* unless alpha > 0"),
        (WINS, {"clusters": tally_of(1).clusters()}, "clusters must hold the outcomes that wins and ties count"),
    ],
)
def test_bad_input_is_refused(wins: np.ndarray, options: dict, problem: str) -> None:
    """One clear message, never NaN."""
    with pytest.raises(ValueError, match=problem):
        fit_bradley_terry(wins, **options)


def test_components_are_numbered_by_size() -> None:
    """0 is the largest; of equal ones, that with the first value. One comparison connects, in either direction."""
    met = np.zeros((6, 6))
    met[5, 4] = met[4, 2] = met[0, 3] = 1
    assert components(met).tolist() == [1, 2, 0, 1, 0, 0]
    assert components(met.T).tolist() == [1, 2, 0, 1, 0, 0]


def test_strong_components_need_a_way_back() -> None:
    """A cycle is one strong component; a value that only won, or only lost, is one of its own."""
    wins = np.zeros((4, 4))
    wins[0, 1] = wins[1, 2] = wins[2, 0] = wins[3, 0] = 1
    label = components(wins, strong=True)
    assert label[0] == label[1] == label[2] == 0
    assert label[3] == 1
