from __future__ import annotations

import numpy as np
import pytest

from conflictscope.ranking import convergence, doubts
from conflictscope.rating import PairCount, StopRule


def pair(rated: int) -> PairCount:
    return PairCount("x", "y", rated, 0, 0, {})


def test_each_neighbouring_pair_is_in_doubt_by_itself() -> None:
    """Neighbours are in doubt by the chance that they are neither in order nor practically equal (checked by simulation)."""
    mu = np.array([0.0, 1.0, 0.95])
    cov = np.array([[0.04, 0.01, 0.0], [0.01, 0.05, 0.02], [0.0, 0.02, 0.03]])
    draws = np.random.default_rng(0).multivariate_normal(mu, cov, 400_000)
    expected = []
    for above, below in ((1, 2), (2, 0)):
        gap = draws[:, above] - draws[:, below]
        expected.append(1 - max(np.mean(gap > 0), np.mean(np.abs(gap) < 0.1)))
    order, doubt = doubts(mu, cov)
    assert order.tolist() == [1, 2, 0]
    assert doubt == pytest.approx(expected, abs=0.005)


def test_many_rankings_at_once_are_the_same_as_one_by_one() -> None:
    """A batch gives what its members give."""
    rng = np.random.default_rng(1)
    mu = rng.normal(size=(7, 4))
    root = rng.normal(size=(7, 4, 4))
    cov = root @ root.transpose(0, 2, 1)
    order, doubt = doubts(mu, cov)
    for row in range(7):
        alone = doubts(mu[row], cov[row])
        assert order[row].tolist() == alone[0].tolist()
        assert doubt[row] == pytest.approx(alone[1])


def test_values_of_different_components_are_not_in_doubt() -> None:
    """They have no order, so there is nothing to be wrong about; each component is ordered on its own."""
    order, doubt = doubts(np.array([0.0, 5.0, 0.1, 4.0]), np.eye(4), component=np.array([0, 1, 0, 1]))
    assert order.tolist() == [2, 0, 1, 3]
    assert doubt[1] == 0
    assert doubt[0] > 0.4
    assert doubt[2] > 0.2


def test_convergence_needs_a_settled_order_and_enough_outcomes_per_pair() -> None:
    """Far apart or practically equal is settled; close but uncertain is not; nor is a pair with 4 outcomes."""
    tight, loose = np.eye(2) * 1e-4, np.eye(2)
    assert convergence(np.array([1.0, 0.0]), tight, [pair(5)]).settled
    assert convergence(np.array([0.01, 0.0]), tight, [pair(5)]).settled
    assert not convergence(np.array([0.5, 0.0]), loose, [pair(500)]).settled
    few = convergence(np.array([1.0, 0.0]), tight, [pair(5), pair(4)])
    assert not few.settled
    assert few.words() == "not settled yet: a pair has 4 of 5 outcomes"
    assert convergence(np.array([1.0, 0.0]), tight, [pair(4)], StopRule(least_per_pair=4)).settled
