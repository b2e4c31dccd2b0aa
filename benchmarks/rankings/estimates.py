"""How good the estimates are, and how little they depend on the order in which outcomes come."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from scipy.special import ndtr

from benchmarks.rankings.row import Row
from benchmarks.rankings.simulation import (
    GROUP,
    NAMES,
    SIZE,
    SPREAD,
    World,
    coverage,
    outcomes_of,
    pairs,
    tally_of,
    tau,
    world,
)
from conflictscope.ranking import GroupFold, Posterior, Tally, TrueSkillRanker, fit_posterior, rank_group
from conflictscope.ranking.checks import order_sensitivity
from conflictscope.ranking.clustering import effective_cells
from conflictscope.ranking.posterior import fit_cells
from conflictscope.ranking.strength import strength_test

_LEAST_TAU = {200: 0.80, 1000: 0.90, 5000: 0.94}


def rows(scale: float = 1.0) -> Iterator[Row]:
    """scale: multiplies the number of worlds."""
    yield from _coverage_and_tau(round(400 * scale))
    yield _permutations()
    yield _live_spread(round(40 * scale))
    yield _fast_side(round(200 * scale))
    yield _repeats(round(150 * scale))
    yield from _strengths(round(60 * scale))


def _coverage_and_tau(worlds: int) -> Iterator[Row]:
    for outcomes, least in _LEAST_TAU.items():
        rng = np.random.default_rng(outcomes)
        covered, taus = [], []
        for _ in range(worlds):
            drawn = world(rng, outcomes)
            posterior = fit_posterior(drawn.counts())
            covered.append(coverage(posterior, drawn.truth))
            taus.append(tau(posterior.mu, drawn.truth))
        share, order = float(np.mean(covered)), float(np.mean(taus))
        yield Row(f"coverage, uniform, n = {outcomes:,}", ".93 to .97", f"{share:.3f}", 0.93 <= share <= 0.97)
        yield Row(f"Kendall tau, uniform, n = {outcomes:,}", f">= {least:.2f}", f"{order:.3f}", order >= least)


def _permutations() -> Row:
    rng = np.random.default_rng(1)
    log = list(outcomes_of(world(rng, 1000)))
    seen: list[np.ndarray] = []
    for _ in range(50):
        fold = GroupFold(GROUP, NAMES[:SIZE])
        for place in rng.permutation(len(log)):
            fold.add(log[place])
        ranking = rank_group(fold)
        seen.append(np.array([[r.mu, r.sigma, r.low, r.high] for _, r in sorted(ranking.ratings.items())]))
    most = max(float(np.abs(one - seen[0]).max()) for one in seen)
    return Row("final ranking over 50 permutations: greatest difference", "<= 1e-9", f"{most:.1e}", most <= 1e-9)


def _live_spread(worlds: int) -> Row:
    rng = np.random.default_rng(2)
    ratios = []
    for number in range(worlds):
        tally = tally_of(world(rng, 1000))
        check = order_sensitivity(tally, fit_cells(tally.cells(), SIZE), number)
        ratios.append(check.figures["ratio"])
    ratio = float(np.mean(ratios))
    return Row("live TrueSkill, n = 1,000: spread over orders / posterior sd", "<= .30", f"{ratio:.3f}", ratio <= 0.30)


def _fast_side(worlds: int) -> Row:
    """Conversations that end with a win of the first value take half as long."""
    rng = np.random.default_rng(3)
    live, final = [], []
    for _ in range(worlds):
        drawn = world(rng, 3000)
        arrival = np.argsort(rng.exponential(np.where(drawn.won, 1.0, 2.0)), kind="stable")
        arrived = World(drawn.truth, drawn.i[arrival], drawn.j[arrival], drawn.won[arrival])
        final.append(coverage(fit_posterior(arrived.counts()), drawn.truth))
        live.append(_live_coverage(arrived))
    share = float(np.mean(final))
    reached = f"{share:.3f} (live TrueSkill {np.mean(live):.3f})"
    return Row("one side arrives twice as fast, n = 3,000: coverage", ">= .93", reached, share >= 0.93)


def _live_coverage(drawn: World) -> float:
    ranker = TrueSkillRanker(draw_probability=0.0)
    ranker.add(NAMES[:SIZE])
    for i, j, won in zip(drawn.i.tolist(), drawn.j.tolist(), drawn.won.tolist(), strict=True):
        ranker.update(NAMES[i], NAMES[j], "a" if won else "b")
    ratings = [ranker.ratings()[name] for name in NAMES[:SIZE]]
    mu, cov = np.array([r.mu for r in ratings]), np.diag([r.sigma**2 for r in ratings])
    return coverage(Posterior(mu, cov, 0.0, np.zeros(SIZE, dtype=np.int64)), drawn.truth)


def _repeats(worlds: int) -> Row:
    """The truth is in units of what a fresh scenario decides: noise and offset together have the variance 1 + 1."""
    rng = np.random.default_rng(4)
    naive, ours = [], []
    for _ in range(worlds):
        drawn = world(rng, 3000, repeats=5, scenario_sd=1.0)
        truth = drawn.truth / np.sqrt(2)
        naive.append(coverage(fit_posterior(drawn.counts()), truth))
        ours.append(coverage(fit_cells(effective_cells(tally_of(drawn, 5)), SIZE), truth))
    share = float(np.mean(ours))
    reached = f"{share:.3f} (without the design effect {np.mean(naive):.3f})"
    return Row("5 repeats a scenario, scenario sd 1, n = 3,000: coverage", ">= .92", reached, share >= 0.92)


def _strengths(worlds: int) -> Iterator[Row]:
    """Strengths that tell how clear a win was, that say nothing, and that follow the pair instead of the outcome."""
    for kind in ("informative", "random", "by pair"):
        rng = np.random.default_rng(11)
        covered, taken = [], 0
        for _ in range(worlds):
            truth = rng.normal(0, SPREAD, SIZE)
            i, j = pairs()
            which = rng.integers(0, len(i), 1000)
            d = truth[i[which]] - truth[j[which]]
            latent = d + rng.normal(size=1000)
            strength = {
                "informative": np.clip(1 + np.floor(np.abs(latent) * 3), 1, 7),
                "random": rng.integers(1, 8, 1000),
                "by pair": 1 + np.round(6 * np.abs(2 * ndtr(d) - 1)),
            }[kind].astype(int)
            tally = Tally(NAMES[:SIZE])
            for outcome, graded in zip(
                outcomes_of(World(truth, i[which], j[which], latent > 0)), strength.tolist(), strict=True
            ):
                tally.add(replace(outcome, strength=graded))
            test = strength_test(tally)
            taken += test.graded
            covered.append(coverage(fit_cells(tally.cells(), SIZE, graded=test.graded), truth))
        share = float(np.mean(covered))
        reached = f"{share:.3f} (strengths used in {taken} of {worlds} worlds)"
        yield Row(
            f"strengths {kind}, n = 1,000: coverage of the model chosen", ".92 to .98", reached, 0.92 <= share <= 0.98
        )
