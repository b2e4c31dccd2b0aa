from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conflictscope.outcome import Group, Mode, Outcome, Verdict
from conflictscope.ranking import Tally
from conflictscope.ranking.clustering import effective_cells, intraclass_correlation, intraclass_of
from conflictscope.ranking.strength import strength_test

GROUP = Group("alpha", Mode.OPEN_ENDED)
NAMES = ["x", "y", "z"]


def outcome(scenario: str, value_a: str, value_b: str, verdict: Verdict, **more: object) -> Outcome:
    return replace(Outcome(GROUP, scenario, 1, value_a, value_b, verdict), **more)  # type: ignore[arg-type]


outcomes = st.lists(
    st.builds(
        lambda number, values, verdict, strength, first: outcome(
            f"s{number}", values[0], values[1], verdict, strength=strength, shown_first=first
        ),
        st.integers(0, 9),
        st.permutations(NAMES),
        st.sampled_from(list(Verdict)),
        st.none() | st.integers(1, 7),
        st.sampled_from([None, "a", "b"]),
    ),
    max_size=40,
)


@given(outcomes, st.randoms())
def test_counts_do_not_know_the_order_nor_which_side_was_a(rows: list[Outcome], random: object) -> None:
    """A log that is shuffled, and in which a and b change places, has the same counts."""
    swapped = {Verdict.A: Verdict.B, Verdict.B: Verdict.A}
    mirrored = [
        replace(
            row,
            value_a=row.value_b,
            value_b=row.value_a,
            verdict=swapped.get(row.verdict, row.verdict),
            shown_first={"a": "b", "b": "a", None: None}[row.shown_first],
        )
        for row in rows
    ]
    random.shuffle(mirrored)  # type: ignore[attr-defined]
    tallies = [Tally(NAMES), Tally(NAMES)]
    for tally, log in zip(tallies, (rows, mirrored), strict=True):
        for row in log:
            tally.add(row)
    one, other = tallies
    assert one.pairs() == other.pairs()
    assert np.array_equal(one.wins(), other.wins())
    for name in ("i", "j", "level", "graded", "shown_first", "count"):
        assert np.array_equal(getattr(one.cells(), name), getattr(other.cells(), name))
    assert {key: sorted(levels) for key, levels in one.scenarios().items()} == {
        key: sorted(levels) for key, levels in other.scenarios().items()
    }


@given(outcomes)
def test_cells_clusters_and_matrices_count_the_same_outcomes(rows: list[Outcome]) -> None:
    """Every rated outcome is in one cell, one scenario and one place of the matrices; nothing else is."""
    tally = Tally(NAMES)
    for row in rows:
        tally.add(row)
    rated = [row for row in rows if row.verdict.rated]
    cells, clusters = tally.cells(), tally.clusters()
    assert tally.rated == len(rated) == cells.count.sum() == tally.met().sum() / 2
    assert np.sum((clusters.wins_i + clusters.wins_j + clusters.ties) * clusters.number) == len(rated)
    graded = Counter(row.strength for row in rated if row.verdict is not Verdict.TIE and row.strength is not None)
    for strength in range(1, 8):
        assert cells.count[cells.graded & (np.abs(cells.level) == strength)].sum() == graded[strength]


def test_repeats_of_a_scenario_count_by_their_design_effect() -> None:
    """With intraclass correlation r, m repeats count m / (1 + (m - 1) r) in all; r = 1 makes them one."""
    tally = Tally(NAMES)
    for number in range(4):
        tally.add(outcome("often", "x", "y", Verdict.A, repeat=number))
    tally.add(outcome("once", "x", "y", Verdict.B))
    assert tally.repeated
    assert tally.cells(0.0).count.tolist() == [4, 1]
    assert tally.cells(0.5).count == pytest.approx([4 / 2.5, 1])
    assert tally.cells(1.0).count == pytest.approx([1, 1])


def correlated(share: float, scenarios: int, repeats: int, seed: int = 0) -> Tally:
    """Scenarios of which a share always has one result, and the others a fair coin for each repeat: their correlation is that."""
    rng = np.random.default_rng(seed)
    tally = Tally(NAMES)
    for number in range(scenarios):
        fixed, own = rng.random() < share, rng.random() < 0.5
        for repeat in range(repeats):
            won = own if fixed else rng.random() < 0.5
            verdict = Verdict.A if won else Verdict.B
            tally.add(outcome(f"s{number}", "x", "y" if number % 2 else "z", verdict, repeat=repeat))
    return tally


@pytest.mark.parametrize("share", [0.0, 0.3, 0.8])
def test_the_correlation_of_repeats_is_recovered(share: float) -> None:
    """Planted intraclass correlations are found within 0.05, with 800 scenarios of 5 repeats."""
    assert intraclass_of(correlated(share, 800, 5)) == pytest.approx(share, abs=0.05)


def test_without_repeats_there_is_no_correlation() -> None:
    """One outcome a scenario: nothing to estimate, counts stay whole."""
    tally = correlated(0.9, 50, 1)
    assert intraclass_correlation(tally.clusters()) == 0
    assert effective_cells(tally).count.sum() == 50


def graded(kind: str, seed: int) -> Tally:
    rng = np.random.default_rng(seed)
    truth = {"x": 0.7, "y": 0.0, "z": -0.7}
    tally = Tally(NAMES)
    for number in range(900):
        a, b = rng.permutation(NAMES)[:2]
        latent = truth[a] - truth[b] + rng.normal()
        strength = int(np.clip(1 + abs(latent) * 3, 1, 7)) if kind == "clear" else int(rng.integers(1, 8))
        tally.add(outcome(f"s{number}", a, b, Verdict.A if latent > 0 else Verdict.B, strength=strength))
    return tally


def test_strengths_are_used_where_they_foretell_and_not_where_they_are_noise() -> None:
    """Of 20 logs with strengths that say how clear a win was several use them; of 20 with random ones at most two."""
    assert sum(strength_test(graded("clear", seed)).graded for seed in range(20)) >= 5
    tests = [strength_test(graded("noise", seed)) for seed in range(20)]
    assert sum(test.graded for test in tests) <= 2
    assert "worse" in tests[0].says
    assert "held-out" in tests[0].says


def test_without_strengths_there_is_nothing_to_test_and_that_is_said() -> None:
    """No strengths, equal strengths, few outcomes: three levels, and the reason."""
    none, equal, few = Tally(NAMES), Tally(NAMES), Tally(NAMES)
    for number in range(60):
        none.add(outcome(f"s{number}", "x", "y", Verdict.A))
        equal.add(outcome(f"s{number}", "x", "y", Verdict.A, strength=4))
    for number in range(10):
        few.add(outcome(f"s{number}", "x", "y", Verdict.A, strength=1 + number % 7))
    assert [strength_test(tally).graded for tally in (none, equal, few)] == [False] * 3
    assert "no strengths were recorded" in strength_test(none).says
    assert "all recorded strengths are equal" in strength_test(equal).says
    assert "10 outcomes are too few" in strength_test(few).says
