from __future__ import annotations

import csv
import gzip
import math

import pytest
import trueskill
from hypothesis import given
from hypothesis import strategies as st

from conflictscope.ranking import TrueSkillRanker
from tests.shared_data import shared

games = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 4), st.sampled_from(["a", "b", "tie"])).filter(lambda g: g[0] != g[1]),
    max_size=30,
)
environments = st.tuples(
    st.floats(-50, 50), st.floats(0.2, 10), st.floats(0.2, 10), st.floats(0, 0.5), st.floats(0.01, 0.6)
)


@given(games, environments)
def test_every_update_equals_the_package(played: list[tuple[int, int, str]], env: tuple[float, ...]) -> None:
    """Over any games and settings, the closed form gives what trueskill.rate_1vs1 gives."""
    mu, sigma, beta, tau, draw = env
    ours = TrueSkillRanker(mu, sigma, beta, tau, draw)
    package = trueskill.TrueSkill(mu, sigma, beta, tau, draw)
    theirs = {str(player): package.create_rating() for player in range(5)}
    ours.add(theirs)
    for first, second, verdict in played:
        one, two = str(first), str(second)
        ours.update(one, two, verdict)
        if verdict == "b":
            theirs[two], theirs[one] = trueskill.rate_1vs1(theirs[two], theirs[one], env=package)
        else:
            drawn = verdict == "tie"
            theirs[one], theirs[two] = trueskill.rate_1vs1(theirs[one], theirs[two], drawn=drawn, env=package)
    for player, rating in ours.ratings().items():
        assert rating.mu == pytest.approx(theirs[player].mu, abs=1e-6 * sigma)
        assert rating.sigma == pytest.approx(theirs[player].sigma, abs=1e-6 * sigma)


@pytest.mark.parametrize(
    ("draw_probability", "columns"),
    [(0.0, ("mu_no_draws", "sigma_no_draws")), (0.10, ("mu_draws_p10", "sigma_draws_p10"))],
)
def test_4000_real_games_give_the_reference_ratings(draw_probability: float, columns: tuple[str, str]) -> None:
    """Halo 2, package settings, in file order: all 1,313 players within 1e-6 of the recorded reference."""
    folder = shared("halo2_head_to_head")
    with (folder / "reference_ratings.csv").open() as file:
        reference = {row["player"]: row for row in csv.DictReader(file)}
    ranker = TrueSkillRanker(mu=25, sigma=25 / 3, beta=25 / 6, tau=25 / 300, draw_probability=draw_probability)
    ranker.add(reference)
    with gzip.open(folder / "games.csv.gz", "rt") as file:
        for row in csv.DictReader(file):
            verdict = {"1": "a", "2": "b", "draw": "tie"}[row["winner"]]
            if verdict != "tie" or draw_probability:
                ranker.update(row["player_1"], row["player_2"], verdict)
    ratings = ranker.ratings()
    assert len(ratings) == len(reference) == 1313
    for player, row in reference.items():
        assert ratings[player].mu == pytest.approx(float(row[columns[0]]), abs=1e-6)
        assert ratings[player].sigma == pytest.approx(float(row[columns[1]]), abs=1e-6)


@pytest.mark.parametrize("verdict", ["a", "tie"])
@pytest.mark.parametrize("gap", [5, 40, 400])
def test_an_extreme_upset_stays_finite(gap: float, verdict: str) -> None:
    """Where the package raises FloatingPointError, a weak value that beats or ties a strong one gets a finite update."""
    ranker = TrueSkillRanker(sigma=1.0, draw_probability=0.1)
    ranker._believed = {"weak": (-gap, 1.0), "strong": (0.0, 1.0)}
    ranker.update("weak", "strong", verdict)
    weak, strong = ranker.ratings()["weak"], ranker.ratings()["strong"]
    assert -gap < weak.mu < 0
    assert -gap < strong.mu < 0
    assert 0 < weak.sigma < 1
    assert weak.sigma == pytest.approx(strong.sigma)


def test_the_defaults_are_those_measured_for_values() -> None:
    """Mean 0, sigma and beta 1/sqrt(2), no drift, ties by their observed share."""
    ranker = TrueSkillRanker()
    assert (ranker.prior.mu, ranker.prior.sigma, ranker.beta, ranker.tau) == pytest.approx(
        (0.0, math.sqrt(0.5), math.sqrt(0.5), 0.0)
    )
    assert ranker.draw_probability is None


def test_a_tie_never_raises_doubt() -> None:
    """A tie between equals shrinks both sigmas, also as the very first outcome of a live pass."""
    ranker = TrueSkillRanker()
    ranker.update("x", "y", "tie")
    assert ranker.ratings()["x"].mu == pytest.approx(0)
    assert ranker.ratings()["x"].sigma < ranker.prior.sigma


@given(games)
def test_sides_do_not_matter(played: list[tuple[int, int, str]]) -> None:
    """Naming the two values of an outcome the other way round, with the verdict swapped, changes nothing."""
    swap = {"a": "b", "b": "a", "tie": "tie"}
    one, other = TrueSkillRanker(draw_probability=0.1), TrueSkillRanker(draw_probability=0.1)
    for first, second, verdict in played:
        one.update(str(first), str(second), verdict)
        other.update(str(second), str(first), swap[verdict])
    ratings = other.ratings()
    for value, rating in one.ratings().items():
        assert rating.mu == pytest.approx(ratings[value].mu, abs=1e-9)
        assert rating.sigma == pytest.approx(ratings[value].sigma, abs=1e-9)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sigma": 0}, "sigma must be finite and > 0, got 0"),
        ({"beta": -1}, "beta must be finite and > 0, got -1"),
        ({"tau": math.nan}, "tau must be finite and >= 0, got nan"),
        ({"draw_probability": 1}, r"draw_probability must be in \[0, 1\), got 1"),
    ],
)
def test_settings_out_of_range_are_refused(arguments: dict[str, float], message: str) -> None:
    """The message names the parameter, the bound and what came."""
    with pytest.raises(ValueError, match=message):
        TrueSkillRanker(**arguments)  # type: ignore[arg-type]


def test_what_is_no_evidence_cannot_be_rated() -> None:
    """A state that is not a, b or tie, a value against itself, and an impossible tie are refused, and change nothing."""
    ranker = TrueSkillRanker(draw_probability=0)
    for arguments, message in (
        (("x", "y", "unresolved"), "only a, b and tie can be rated"),
        (("x", "x", "a"), "cannot be compared with itself"),
        (("x", "y", "tie"), "a tie needs draw_probability > 0"),
        (("x", "y", "A"), "'A' is not a valid Verdict"),
    ):
        with pytest.raises(ValueError, match=message):
            ranker.update(*arguments)
    assert ranker.ratings() == {}
