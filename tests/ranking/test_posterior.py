from __future__ import annotations

import choix
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import integrate
from scipy.stats import norm

from conflictscope.ranking.posterior import Posterior, fit_posterior
from conflictscope.ranking.probit import fit_map_batched


def simulated(
    seed: int, size: int, outcomes: int, margin: float = 0.0, sd: float = 0.5
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True utilities, wins and ties of a planted world without agents."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(0, sd, size)
    i = rng.integers(0, size, outcomes)
    j = (i + rng.integers(1, size, outcomes)) % size
    d = truth[i] - truth[j] + rng.normal(size=outcomes)
    wins, ties = np.zeros((size, size)), np.zeros((size, size))
    np.add.at(wins, (i[d > margin], j[d > margin]), 1)
    np.add.at(wins, (j[d < -margin], i[d < -margin]), 1)
    tied = np.abs(d) <= margin
    np.add.at(ties, (i[tied], j[tied]), 1)
    return truth, wins, ties + ties.T


def covered(post: Posterior, truth: np.ndarray) -> np.ndarray:
    """For each pair, whether its 95 % interval holds the true difference."""
    i, j = np.triu_indices(len(truth), 1)
    sd = np.sqrt(post.cov[i, i] + post.cov[j, j] - 2 * post.cov[i, j])
    return np.abs(post.mu[i] - post.mu[j] - truth[i] + truth[j]) < 1.96 * sd


@pytest.mark.parametrize("seed", range(5))
def test_means_and_covariances_are_those_of_choix(seed: int) -> None:
    """choix does expectation propagation outcome by outcome; on counts it is the same, as far as choix goes (1e-5)."""
    _, wins, _ = simulated(seed, 5, 120)
    data = [(a, b) for a in range(5) for b in range(5) for _ in range(int(wins[a, b]))]
    mean, cov = choix.ep_pairwise(5, data, alpha=2.0, model="probit")
    post = fit_posterior(wins)
    assert post.mu == pytest.approx(mean, abs=1e-5)
    assert post.cov == pytest.approx(cov, abs=1e-5)


@pytest.mark.parametrize(("wins", "ties"), [((3, 0), 0), ((4, 2), 0), ((5, 1), 3), ((40, 22), 11)])
def test_two_values_are_as_numerical_integration_says(wins: tuple[int, int], ties: int) -> None:
    """With two values the exact posterior of the difference is one integral, at the margin that was fitted."""
    first, second = wins
    post = fit_posterior(np.array([[0, first], [second, 0]]), np.array([[0, ties], [ties, 0]]))

    def density(d: float) -> float:
        tie = norm.cdf(post.margin - d) - norm.cdf(-post.margin - d)
        likelihood = norm.cdf(d - post.margin) ** first * norm.cdf(-d - post.margin) ** second * tie**ties
        return norm.pdf(d, 0, 1) * likelihood * 1e9

    mass, mean, square = (integrate.quad(lambda d, k=k: d**k * density(d), -6, 6, limit=200)[0] for k in range(3))
    spread = post.cov[0, 0] + post.cov[1, 1] - 2 * post.cov[0, 1]
    assert post.mu[0] - post.mu[1] == pytest.approx(mean / mass, abs=0.01)
    assert spread == pytest.approx(square / mass - (mean / mass) ** 2, rel=0.05)


@pytest.mark.parametrize(("margin", "outcomes"), [(0.0, 200), (0.0, 3000), (0.45, 1000)])
def test_intervals_hold_the_truth_as_often_as_they_say(margin: float, outcomes: int) -> None:
    """Over 150 worlds, 95 % intervals of pair differences hold the truth in 92 to 98 % (two standard errors of that)."""
    shares = [
        covered(fit_posterior(wins, ties), truth).mean()
        for truth, wins, ties in (simulated(seed, 6, outcomes, margin) for seed in range(150))
    ]
    assert 0.92 <= np.mean(shares) <= 0.98


def test_the_margin_of_ties_is_estimated() -> None:
    """With 20,000 outcomes the margin is within 0.03 of the planted one."""
    _, wins, ties = simulated(3, 6, 20_000, margin=0.4)
    assert fit_posterior(wins, ties).margin == pytest.approx(0.4, abs=0.03)


@given(
    arrays.arrays(np.int64, (4, 4), elements=st.integers(0, 30)),
    arrays.arrays(np.int64, (4, 4), elements=st.integers(0, 10)),
    st.permutations(range(4)),
)
def test_any_counts_give_a_finite_answer_that_knows_no_order(
    wins: np.ndarray, ties: np.ndarray, order: list[int]
) -> None:
    """Perfect records, all ties, values never compared: always finite; and values named in another order have equal beliefs."""
    np.fill_diagonal(wins, 0)
    ties = np.triu(ties, 1) + np.triu(ties, 1).T
    post = fit_posterior(wins, ties)
    assert np.all(np.isfinite(post.mu))
    assert np.all(np.linalg.eigvalsh(post.cov) > 0)
    assert np.all((post.p_above() >= 0) & (post.p_above() <= 1))
    other = fit_posterior(wins[np.ix_(order, order)], ties[np.ix_(order, order)])
    assert other.mu == pytest.approx(post.mu[order], abs=1e-9)
    assert other.cov == pytest.approx(post.cov[np.ix_(order, order)], abs=1e-9)


def test_a_million_outcomes_are_no_harder_than_a_few() -> None:
    """Counts of any size converge, and to the truth."""
    truth, wins, _ = simulated(5, 20, 1_000_000)
    post = fit_posterior(wins)
    centred = post.centred()[0]
    assert centred == pytest.approx(truth - truth.mean(), abs=0.02)


def test_values_never_compared_are_components_of_their_own() -> None:
    """Between components nothing is known: 0.5; utilities are centred in each."""
    wins = np.zeros((5, 5))
    wins[0, 1], wins[2, 3], wins[3, 2] = 9, 4, 1
    post = fit_posterior(wins)
    assert post.component.tolist() == [0, 0, 1, 1, 2]
    above = post.p_above()
    assert above[0, 1] > 0.99
    assert above[2, 3] > 0.8
    assert np.all(above[:2, 2:] == 0.5)
    mu, cov = post.centred()
    assert mu[4] == 0
    assert mu[0] == pytest.approx(-mu[1])
    assert cov[4, 4] == pytest.approx(0)


@pytest.mark.parametrize(
    ("wins", "ties", "problem"),
    [
        (np.zeros((1, 1)), None, "at least 2 values, got 1"),
        (np.zeros((2, 3)), None, r"must be \(K, K\), got shape \(2, 3\)"),
        (np.array([[0, -1], [0, 0]]), None, "wins must be finite and >= 0"),
        (np.array([[0, np.nan], [0, 0]]), None, "wins must be finite and >= 0"),
        (np.eye(2), None, "diagonal must be 0"),
        (np.zeros((2, 2)), np.array([[0, 1], [2, 0]]), "ties must be symmetric"),
        (np.zeros((2, 2)), np.zeros((3, 3)), r"ties must be \(2, 2\)"),
    ],
)
def test_bad_counts_are_refused(wins: np.ndarray, ties: np.ndarray | None, problem: str) -> None:
    """One clear message, never NaN."""
    with pytest.raises(ValueError, match=problem):
        fit_posterior(wins, ties)


def test_a_batch_of_fits_is_close_to_the_posterior() -> None:
    """Laplace's approximation, many worlds at once, against expectation propagation one by one, at n = 2,000."""
    worlds = [simulated(seed, 6, 2000, 0.2) for seed in range(4)]
    posts = [fit_posterior(wins, ties) for _, wins, ties in worlds]
    margins = np.array([post.margin for post in posts])
    mu, cov = fit_map_batched(np.array([w for _, w, _ in worlds]), np.array([t for _, _, t in worlds]), margins)
    for row, post in enumerate(posts):
        assert mu[row] == pytest.approx(post.mu, abs=0.01)
        assert cov[row] == pytest.approx(post.cov, rel=0.03, abs=1e-3)
