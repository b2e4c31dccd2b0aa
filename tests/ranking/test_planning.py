"""What a simulated sweep says, against slow loops, closed forms and what must hold of any chance."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from itertools import combinations, islice, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from conflictscope.arena import Plan
from conflictscope.errors import InputError
from conflictscope.forecast import Assumptions, RankingForecast
from conflictscope.outcome import Group, Mode
from conflictscope.ranking import doubts, fit_posterior
from conflictscope.ranking.planning import Design, Worlds, _Play, forecast, outcomes_needed
from conflictscope.ranking.posterior import Posterior
from conflictscope.rating import DEFAULT_RULE, StopRule
from conflictscope.scenario import Scenario

GROUP = Group("alpha", Mode.OPEN_ENDED)


def all_pairs(values: int, scenarios: int) -> dict[tuple[str, str], int]:
    return dict.fromkeys(combinations([f"v{number}" for number in range(values)], 2), scenarios)


def design(
    scenarios: dict[tuple[str, str], int], repeats: int = 1, policy: str = "uniform", floor: float = 0.25
) -> Design:
    return Design.of(scenarios, repeats, policy, floor)


def simulated(
    of: Design, worlds: Worlds, *, affordable: int | None = None, rule: StopRule = DEFAULT_RULE
) -> RankingForecast:
    return forecast(of, worlds, [GROUP], affordable=affordable, rule=rule, rng=np.random.default_rng(2))


def assumed(
    of: Design, count: int, spread: float = 0.5, judge_error: float = 0.0, ties: float = 0.0, seed: int = 1
) -> Worlds:
    rng = np.random.default_rng(seed)
    return Worlds.assumed(Assumptions(spread, judge_error, ties), len(of.values), count, rng)


@given(
    st.lists(st.integers(1, 7), min_size=3, max_size=3),
    st.integers(1, 3),
    st.integers(1, 60),
)
def test_pairs_are_served_as_the_plan_serves_them(scenarios: list[int], repeats: int, episodes: int) -> None:
    """After any number of episodes each pair has had as many as in the order that a sweep is played in."""
    counts = dict(zip(all_pairs(3, 1), scenarios, strict=True))
    library = [
        Scenario(id=f"{a}{b}{n}", value_a=a, value_b=b, description="d", action_a="x", action_b="y")
        for (a, b), count in counts.items()
        for n in range(count)
    ]
    plan = Plan(library, [GROUP], repeats, seed=3)
    episodes = min(episodes, len(plan))
    played = Counter(spec.scenario.pair for spec in islice(plan, episodes))
    assert design(counts, repeats).served(episodes).tolist() == [played[pair] for pair in sorted(counts)]
    assert design(counts, repeats).planned == len(plan)


def test_simulation_agrees_with_a_slow_loop() -> None:
    """Worlds played one at a time, each outcome drawn by itself and all of them fitted by EP, come to the same chances."""
    of = design(all_pairs(3, 30))
    told = simulated(of, assumed(of, 1000, judge_error=0.1, ties=0.2)).at_plan
    rng = np.random.default_rng(5)
    margin = assumed(of, 1, ties=0.2).margin
    pairs = [(0, 1), (0, 2), (1, 2)]
    tops, taus = [], []
    for _ in range(150):
        truth = rng.normal(0, 0.5, 3)
        wins, ties = np.zeros((3, 3)), np.zeros((3, 3))
        for i, j in pairs * 30:
            x = truth[i] - truth[j] + rng.normal()
            if abs(x) <= margin:
                ties[i, j] += 1
                ties[j, i] += 1
            else:
                won = (x > 0) != (rng.random() < 0.1)
                wins[(i, j) if won else (j, i)] += 1
        mu = fit_posterior(wins, ties).mu
        tops.append(mu.argmax() == truth.argmax())
        taus.append(np.mean([np.sign((truth[i] - truth[j]) * (mu[i] - mu[j])) for i, j in pairs]))
    for slow, fast in ((tops, told.right_top), (taus, told.tau), (np.equal(taus, 1), told.right_order)):
        assert abs(np.mean(slow) - fast) < 3.5 * np.std(slow) / math.sqrt(150)


def test_the_batched_fit_stands_in_for_the_joint_posterior() -> None:
    """On the counts of simulated worlds, EP has the same beliefs about pairs, and stops at the same look, but for the odd one."""
    of = design(all_pairs(3, 100))
    rule = StopRule(delta=0.2, alpha=0.1, least_per_pair=5)
    play = _Play(of, assumed(of, 30, judge_error=0.05, ties=0.3), rule, np.random.default_rng(3))
    resolved_at = np.zeros(30, dtype=int)
    for before, episodes in pairwise((15, 15, 25, 40, 60, 90, 120, 170, 220, 300)):
        play.look(episodes)
        wins, ties = play.counts()
        for world in range(30):
            exact = fit_posterior(wins[world], ties[world])
            stand_in = Posterior(play.mu[world], play.cov[world], exact.margin, exact.component)
            if episodes >= 60:  # before that, the margin of ties is still on its way
                assert np.abs(stand_in.p_above() - exact.p_above()).max() < 0.02
            doubt = doubts(exact.mu, exact.cov, rule.delta)[1].sum()
            if resolved_at[world] == 0 and doubt <= rule.alpha:
                resolved_at[world] = round(math.sqrt(before * episodes))
    assert 5 < np.count_nonzero(resolved_at) < 30
    assert np.count_nonzero(resolved_at != play.resolved_at) <= 3


def test_assumed_worlds_have_the_ties_and_errors_that_were_assumed() -> None:
    """Over many worlds, the share of ties is the one asked for, and errors move wins to the other side alone."""
    of = design(all_pairs(4, 1))
    shares = assumed(of, 10_000, spread=0.7, ties=0.3).shares(of.i, of.j)
    assert shares.sum(axis=2) == pytest.approx(1)
    assert shares[:, :, 2].mean() == pytest.approx(0.3, abs=0.004)
    erring = assumed(of, 10_000, spread=0.7, ties=0.3, judge_error=0.1).shares(of.i, of.j)
    assert erring[:, :, 2] == pytest.approx(shares[:, :, 2])
    assert erring[:, :, 0] == pytest.approx(0.9 * shares[:, :, 0] + 0.1 * shares[:, :, 1])


@pytest.mark.parametrize("difference", [0.1, 0.2, 0.3, 0.5])
@pytest.mark.parametrize("judge_error", [0.0, 0.1])
def test_outcomes_needed_give_the_exact_test_its_power(difference: float, judge_error: float) -> None:
    """With that many outcomes an exact binomial test of an even share at 5 % finds the greater one in about 80 % of cases."""
    of = design(all_pairs(2, 1))
    share, outcomes = outcomes_needed(assumed(of, 1, judge_error=judge_error), difference)
    assert outcomes is not None
    beyond = binom.isf(0.05, outcomes, 0.5)
    power = binom.sf(beyond - 1, outcomes, share)
    assert power == pytest.approx(0.8, abs=0.04)


def test_errors_and_episodes_that_are_no_evidence_cost_outcomes() -> None:
    """A flip rate of 10 % takes a fifth of a win share's lead; half of the episodes without a verdict ask for twice as many."""
    of = design(all_pairs(2, 1))
    plain = assumed(of, 1)
    share, outcomes = outcomes_needed(plain, 0.2)
    erring = outcomes_needed(assumed(of, 1, judge_error=0.1), 0.2)
    assert erring[0] - 0.5 == pytest.approx(0.8 * (share - 0.5))
    assert outcomes is not None
    assert erring[1] is not None
    assert erring[1] > 1.5 * outcomes
    assert outcomes_needed(replace(plain, left_out=0.5), 0.2)[1] == pytest.approx(2 * outcomes, abs=2)
    assert outcomes_needed(replace(plain, judge_error=0.49999), 0.001)[1] is None


def test_more_spread_and_fewer_errors_resolve_sooner() -> None:
    """The median number of episodes falls with the spread, and grows with the errors."""
    of = design(all_pairs(4, 100))
    medians = [
        simulated(of, assumed(of, 200, spread, error)).median for spread, error in ((2.0, 0.0), (0.7, 0.0), (0.7, 0.2))
    ]
    assert None not in medians
    assert medians == sorted(medians, key=lambda episodes: episodes or 0)
    assert len(set(medians)) == 3


@pytest.mark.parametrize("scenarios", [all_pairs(4, 40), {("a", "b"): 5, ("a", "c"): 90, ("b", "c"): 40}])
def test_thompson_plays_no_more_than_there_is(scenarios: dict[tuple[str, str], int]) -> None:
    """In every world each look has the episodes asked for, no pair more than its pool, and the end is the whole plan."""
    of = design(scenarios, policy="thompson")
    play = _Play(of, assumed(of, 50), DEFAULT_RULE, np.random.default_rng(3))
    for share in (0.1, 0.3, 0.7, 0.9, 1.0):
        episodes = round(of.planned * share)
        play.look(episodes)
        played = play.played
        assert np.all(played.sum(axis=1) == episodes)
        assert np.all(played <= of.scenarios)
    assert np.all(played == of.scenarios)


def test_thompson_goes_where_doubt_is_and_its_floor_everywhere() -> None:
    """A pair in doubt gets more than its turn, one beyond doubt about the floor's share of its turn."""
    of = design(all_pairs(3, 10_000), policy="thompson", floor=0.25)
    truth = np.tile([2.0, 0.05, 0.0], (40, 1))
    play = _Play(of, Worlds(truth, 0.0, 0.0, 0.0, "", exchangeable=False), DEFAULT_RULE, np.random.default_rng(3))
    for episodes in (30, 60, 120, 240, 480, 960, 3000):
        play.look(episodes)
    share = play.played.mean(axis=0) / 3000  # of (v0, v1), (v0, v2), (v1, v2)
    assert share[2] > 0.7
    assert share[:2] == pytest.approx(0.25 / 3, abs=0.03)


def test_thompson_needs_fewer_episodes_where_the_pool_is_ample() -> None:
    """Six values, a thousand scenarios a pair: a third of the episodes at least is saved at the stopping rule."""
    uniform, thompson = (
        simulated(of, assumed(of, 200)).median
        for of in (design(all_pairs(6, 1000)), design(all_pairs(6, 1000), policy="thompson"))
    )
    assert uniform is not None
    assert thompson is not None
    assert thompson < 0.67 * uniform


def test_a_known_posterior_tells_pairs_apart() -> None:
    """Two values that a run found equal stay tied, two that it found far apart do not; what it left out costs episodes."""
    of = design(all_pairs(3, 60))
    posterior = Posterior(np.array([0.0, 0.01, 2.0, 9.0]), 0.001 * np.eye(4), 0.0, np.zeros(4, dtype=np.int64))
    rng = np.random.default_rng(1)
    whole = simulated(of, Worlds.believed(posterior, [0, 1, 2], 0.0, "as x", 300, rng))
    tied = {(pair.value_a, pair.value_b): pair.tied for pair in whole.pairs}
    assert tied["v0", "v1"] > 0.7
    assert max(tied["v0", "v2"], tied["v1", "v2"]) < 0.01
    assert whole.at_plan.right_top > 0.99
    halved = simulated(of, Worlds.believed(posterior, [0, 1, 2], 0.5, "as x", 300, rng))
    assert halved.at_plan.resolved <= whole.at_plan.resolved
    assert halved.ninety is not None
    assert whole.ninety is not None
    assert halved.ninety > 1.5 * whole.ninety


def test_pairs_with_few_scenarios_and_sets_never_compared() -> None:
    """The smaller pool stays tied more often; sets of values without a common scale are ranked apart, and pairs between them
    count nowhere."""
    uneven = design({("a", "b"): 4, ("a", "c"): 200, ("b", "c"): 200, ("x", "y"): 4})
    told = simulated(uneven, assumed(uneven, 300))
    assert [(pair.value_a, pair.value_b, pair.pool) for pair in told.pairs] == [
        ("a", "b", 4),
        ("a", "c", 200),
        ("b", "c", 200),
        ("x", "y", 4),
    ]
    tied = [pair.tied for pair in told.pairs]
    assert tied[0] == tied[3] > tied[1] == tied[2]
    assert told.at_plan.tau > 0.7
    assert told.at_plan.right_top > 0.8


def test_the_budget_is_a_moment_of_the_curve() -> None:
    """Where the money ends, the chances are those of the curve there: worse than at the end of the plan."""
    of = design(all_pairs(3, 100))
    told = simulated(of, assumed(of, 500), affordable=40)
    assert told.at_budget is not None
    assert told.at_budget.episodes == 40
    assert told.at_budget in told.curve
    assert told.at_budget.right_order < told.at_plan.right_order
    assert told.at_plan.episodes == told.planned == 300


def test_what_cannot_be_resolved_is_said_not_guessed() -> None:
    """With judges that are wrong almost every second time no number of episodes is made up."""
    of = design(all_pairs(2, 10))
    told = simulated(of, assumed(of, 50, spread=0.01, judge_error=0.49), rule=StopRule(delta=1e-6, alpha=0.01))
    assert (told.median, told.ninety) == (None, None)
    assert told.searched == 5_000
    assert told.played == 1.0


@settings(max_examples=12)
@given(
    values=st.integers(2, 5),
    scenarios=st.integers(1, 30),
    spread=st.floats(0.01, 10),
    judge_error=st.floats(0, 0.49),
    ties=st.floats(0, 0.99),
    policy=st.sampled_from(["uniform", "thompson"]),
)
def test_chances_are_chances(
    values: int, scenarios: int, spread: float, judge_error: float, ties: float, policy: str
) -> None:
    """Whatever is assumed: everything is finite and in its range, and what was resolved stays so."""
    of = design(all_pairs(values, scenarios), policy=policy)
    told = simulated(of, assumed(of, 4, spread, judge_error, ties), rule=StopRule(delta=0.5, alpha=0.2))
    assert [moment.episodes for moment in told.curve] == sorted({moment.episodes for moment in told.curve})
    for moment in told.curve:
        assert all(0 <= share <= 1 for share in (moment.resolved, moment.right_top, moment.right_order))
        assert -1 <= moment.tau <= 1
    resolved = [moment.resolved for moment in told.curve]
    assert resolved == sorted(resolved)
    assert all(0 <= pair.tied <= 1 for pair in told.pairs)
    assert 0 < told.played <= 1


@pytest.mark.parametrize(
    ("assumptions", "message"),
    [
        ({"spread": 0}, "--spread must be > 0 and <= 10, got 0"),
        ({"spread": math.nan}, "--spread must be > 0 and <= 10, got nan"),
        ({"spread": math.inf}, "--spread must be > 0 and <= 10, got inf"),
        ({"judge_error": 0.5}, "--judge-error must be >= 0 and <= 0.49, got 0.5"),
        ({"judge_error": -0.1}, "--judge-error must be >= 0 and <= 0.49, got -0.1"),
        ({"ties": 1}, "--ties must be >= 0 and <= 0.99, got 1"),
        ({"ties": math.nan}, "--ties must be >= 0 and <= 0.99, got nan"),
    ],
)
def test_assumptions_have_bounds(assumptions: dict[str, float], message: str) -> None:
    """The message names the option, its bound and what came."""
    with pytest.raises(InputError) as error:
        Assumptions(**assumptions)
    assert str(error.value) == message
