from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from conflictscope.outcome import Group, Mode, Outcome, Verdict
from conflictscope.ranking import Tally
from conflictscope.ranking.checks import borda, fit_checks, left_out, link, order_sensitivity, transitivity
from conflictscope.ranking.posterior import fit_cells

GROUP = Group("alpha", Mode.OPEN_ENDED)
NAMES = [f"v{number}" for number in range(6)]


def tally_of(chance: np.ndarray, outcomes: int, seed: int, ties: float = 0.0) -> Tally:
    """Outcomes of all pairs in turn; chance: (K, K), that the row beats the column."""
    rng = np.random.default_rng(seed)
    size = len(chance)
    pairs = [(i, j) for i in range(size) for j in range(i + 1, size)]
    tally = Tally(NAMES[:size])
    for number in range(outcomes):
        i, j = pairs[number % len(pairs)]
        verdict = Verdict.TIE if rng.random() < ties else Verdict.A if rng.random() < chance[i, j] else Verdict.B
        tally.add(Outcome(GROUP, f"s{number}", 1, NAMES[i], NAMES[j], verdict))
    return tally


def probit(truth: np.ndarray) -> np.ndarray:
    return norm.cdf(truth[:, None] - truth[None, :])


def test_transitive_outcomes_pass_and_circles_fail() -> None:
    """Under one ranking about 1 % fail at the level of 1 %; a planted circle is found each time, and said in words."""
    rng = np.random.default_rng(0)
    passed = [
        transitivity(tally_of(probit(rng.normal(0, 0.5, 6)), 1500, seed).cells(), 6).passed for seed in range(100)
    ]
    assert passed.count(False) <= 4
    assert None not in passed
    circle = np.full((3, 3), 0.5)
    circle[[0, 1, 2], [1, 2, 0]], circle[[1, 2, 0], [0, 1, 2]] = 0.7, 0.3
    for seed in range(20):
        check = transitivity(tally_of(circle, 300, seed).cells(), 3)
        assert check.passed is False
        assert "go in circles" in check.says


def test_p_values_of_transitivity_are_uniform_under_one_ranking() -> None:
    """With utilities of 1 probit and 100 outcomes a pair, a tenth of the p-values lies below a tenth, and half below a half."""
    rng = np.random.default_rng(1)
    p = np.array(
        [
            transitivity(tally_of(probit(rng.normal(0, 0.5, 6)), 1500, 1000 + seed).cells(), 6).figures["p"]
            for seed in range(200)
        ]
    )
    assert np.mean(p < 0.1) == pytest.approx(0.1, abs=0.05)
    assert np.mean(p < 0.5) == pytest.approx(0.5, abs=0.09)


def test_a_link_that_does_not_fit_is_found() -> None:
    """Lapses (one verdict in six at random) flatten the tails: the check fails and says less one-sided; without, it passes."""
    truth = np.linspace(-1.5, 1.5, 6)
    lapsed = 5 / 6 * probit(truth) + 1 / 12
    bent = link(tally_of(lapsed, 6000, 0).cells(), 6)
    assert bent.passed is False
    assert "less one-sided" in bent.says
    straight = [link(tally_of(probit(truth), 3000, seed).cells(), 6).passed for seed in range(40)]
    assert straight.count(False) <= 3


def test_what_cannot_be_tested_says_why() -> None:
    """Two values leave nothing over; few outcomes say nothing yet; no outcome at all is no error."""
    two = tally_of(np.array([[0.5, 0.8], [0.2, 0.5]]), 40, 0)
    assert transitivity(two.cells(), 2).passed is None
    assert "cannot be tested" in transitivity(two.cells(), 2).says
    few = tally_of(probit(np.zeros(6)), 30, 0)
    assert transitivity(few.cells(), 6).says == "cannot be tested yet: 2.0 outcomes per pair (5 are needed)"
    empty = Tally(NAMES)
    checks = fit_checks(empty, empty.cells(), fit_cells(empty.cells(), 6))
    assert [check.passed for check in checks] == [None] * 5


def test_the_live_rating_depends_on_the_order_as_much_as_was_measured() -> None:
    """At n = 1,000 the spread over orders is about 0.2 posterior standard deviations (ranking.md: .24), at most .30."""
    tally = tally_of(probit(np.random.default_rng(2).normal(0, 0.5, 6)), 1000, 0)
    check = order_sensitivity(tally, fit_cells(tally.cells(), 6))
    assert check.passed
    assert 0.1 < check.figures["ratio"] < 0.30
    assert order_sensitivity(tally, fit_cells(tally.cells(), 6)).figures == check.figures


def test_borda_agrees_where_it_should_and_says_where_it_cannot() -> None:
    """A clear order has tau 1; where not all values met the same opponents, it is no check."""
    tally = tally_of(probit(np.linspace(1, -1, 4)), 1200, 0)
    check = borda(tally, fit_cells(tally.cells(), 4))
    assert (check.passed, check.figures["tau"]) == (True, pytest.approx(1.0))
    assert "v0 > v1 > v2 > v3" in check.says
    chain = Tally(NAMES[:3])
    for number in range(20):
        chain.add(Outcome(GROUP, f"s{number}", 1, "v0", "v1" if number % 2 else "v2", Verdict.A))
    assert borda(chain, fit_cells(chain.cells(), 3)).passed is None


def test_the_share_that_is_left_out_is_the_greatest_of_a_pair() -> None:
    """One pair with 2 of 10 left out fails the check, however many others are whole."""
    tally = Tally(NAMES[:3])
    for number in range(200):
        tally.add(Outcome(GROUP, f"s{number}", 1, "v0", "v1", Verdict.A))
    for number in range(10):
        verdict = Verdict.REFUSED if number < 2 else Verdict.B
        tally.add(Outcome(GROUP, f"t{number}", 1, "v0", "v2", verdict))
    check = left_out(tally)
    assert (check.passed, check.figures["most"]) == (False, 0.2)
    assert "v0 / v2" in check.says
