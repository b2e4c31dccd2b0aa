"""Does the ranking fit the outcomes? What is shown with every ranking, and says in words where it must not be trusted."""

from __future__ import annotations

import itertools

import numpy as np
from scipy.special import chdtrc

from conflictscope.outcome import Verdict
from conflictscope.ranking.comparing import kendall
from conflictscope.ranking.components import components
from conflictscope.ranking.posterior import Posterior
from conflictscope.ranking.probit import Levels, differences, fit_map, interval, laplacian, level_terms
from conflictscope.ranking.tally import Cells, Tally
from conflictscope.ranking.trueskill import TrueSkillRanker
from conflictscope.rating import SURE, Check, IntArray
from conflictscope.seeds import derive

REJECTED_BELOW = 0.01
"""p-values below which a fit check fails."""

_WIDE_SD = 5.0  # a prior that leaves the fit to the outcomes, and keeps perfect records finite
_LEAST_PER_PAIR = 5.0
_ORDERS = 16
_MOST_OUTCOMES = 2_000
_MOST_SPREAD = 0.5


def fit_checks(tally: Tally, cells: Cells, posterior: Posterior) -> tuple[Check, ...]:
    """All of them. cells: the rated outcomes, each divided by its design effect."""
    size = len(tally.values)
    return (
        transitivity(cells, size),
        link(cells, size),
        left_out(tally),
        order_sensitivity(tally, posterior),
        borda(tally, posterior),
    )


def transitivity(cells: Cells, size: int) -> Check:
    """Pearson's chi-square test of the counts of each pair against one utility a value and one margin.

    It rejects where preferences go in circles, or where a pair is decided by more than a difference of two utilities.
    """
    levels = Levels.of(cells, size)
    pair, of_pair = _pairs(levels)
    kinds = 3 if levels.tied else 2
    component = components(levels.met())
    free = size - (int(component.max()) + 1) + (1 if levels.tied else 0)
    degrees = len(pair) * (kinds - 1) - free
    if degrees <= 0:
        return Check("transitivity", None, "cannot be tested: no pair of values more than it takes to rank them")
    total = np.bincount(of_pair, weights=levels.count)
    if total.mean() < _LEAST_PER_PAIR:
        says = f"cannot be tested yet: {total.mean():.1f} outcomes per pair ({_LEAST_PER_PAIR:g} are needed)"
        return Check("transitivity", None, says)
    fit = fit_map(levels, _WIDE_SD)
    margin = float(fit.cutpoints[0]) if levels.tied else 0.0
    d = fit.mu[pair[:, 0]] - fit.mu[pair[:, 1]]
    ends = [(margin, np.inf), (-np.inf, -margin), *([(-margin, margin)] if levels.tied else [])]
    sign = np.sign(levels.low + levels.high)
    statistic = 0.0
    for side, (low, high) in zip((1, -1, 0), ends, strict=False):
        expected = total * np.exp(level_terms(low - d, high - d).log_p)
        seen = np.bincount(of_pair, weights=levels.count * (sign == side), minlength=len(pair))
        # A cell that holds next to nothing, and of which nothing is expected, says nothing.
        statistic += float(np.sum((seen - expected) ** 2 / np.maximum(expected, 1e-3)))
    p = float(chdtrc(degrees, statistic))
    passed = p >= REJECTED_BELOW
    says = "one ranking fits the outcomes of all pairs" if passed else (
        "one ranking does NOT fit the outcomes of all pairs: some preferences go in circles or depend on more than two "
        "utilities, so intervals are too narrow"
    )  # fmt: skip
    return Check(
        "transitivity",
        passed,
        f"{says} (chi-square {statistic:.1f}, {degrees} degrees of freedom, p = {p:.3g})",
        {"chi_square": statistic, "degrees": degrees, "p": p},
    )


def link(cells: Cells, size: int) -> Check:
    """A score test of the probit link: does d + g d^3 fit better than d (after Pregibon 1980)?

    g > 0: outcomes of unequal values are more one-sided than the link says; g < 0: less, as where some verdicts are at random.
    """
    levels = Levels.of(cells, size)
    pair, of_pair = _pairs(levels)
    if len(pair) <= size - 1 - int(components(levels.met()).max()):
        return Check("link", None, "cannot be tested: no pair of values more than it takes to rank them")
    if np.bincount(of_pair, weights=levels.count).mean() < _LEAST_PER_PAIR:
        return Check("link", None, "cannot be tested yet: too few outcomes per pair")
    fit = fit_map(levels, _WIDE_SD)
    low, high = levels.ends(fit.cutpoints)
    i, j, count = levels.i, levels.j, levels.count
    d = fit.mu[i] - fit.mu[j]
    _, first, second = interval(d, low, high)
    cubed = d**3
    information = -count * second
    crossed = differences(i, j, information * cubed, size)
    own = float(np.sum(information * cubed**2))
    curvature = laplacian(i, j, information, size) + _WIDE_SD**-2.0 * np.eye(size)
    left = own - float(crossed @ np.linalg.solve(curvature, crossed))
    if left <= 1e-9 * max(own, 1e-300):
        return Check("link", None, "cannot be tested: the values differ too little")
    score = float(np.sum(count * first * cubed))
    statistic = score**2 / left
    p = float(chdtrc(1, statistic))
    passed = p >= REJECTED_BELOW
    tail = "more" if score > 0 else "less"
    says = "the probit link fits" if passed else (
        f"the probit link does NOT fit: between unequal values outcomes are {tail} one-sided than it says; the order stands, "
        "distances and intervals are off"
    )  # fmt: skip
    return Check("link", passed, f"{says} (chi-square {statistic:.1f}, p = {p:.3g})", {"chi_square": statistic, "p": p})


def left_out(tally: Tally) -> Check:
    """The greatest share of a pair's episodes that is no evidence."""
    shares = [
        (pair.left_out / (pair.rated + pair.left_out), pair.value_a, pair.value_b)
        for pair in tally.pairs()
        if pair.rated + pair.left_out
    ]
    if not shares:
        return Check("left_out", None, "no episode yet")
    most, value_a, value_b = max(shares)
    passed = most <= 0.05
    says = f"at most {most:.0%} of a pair's episodes are left out" + ("" if passed else f" ({value_a} / {value_b})")
    return Check("left_out", passed, says, {"most": most})


def order_sensitivity(tally: Tally, posterior: Posterior, seed: int = 0) -> Check:
    """How far the live TrueSkill rating depends on the order of arrival: its spread over random orders of the outcomes, against
    the posterior standard deviation; root mean squares over values, utilities centred.

    16 orders of at most 2,000 outcomes drawn from the log: of more outcomes the live rating depends less.
    """
    rng = np.random.default_rng(derive(seed, "orders"))
    kinds: list[tuple[str, str, Verdict]] = []
    counts: list[int] = []
    for pair in tally.pairs():
        for verdict, count in ((Verdict.A, pair.wins_a), (Verdict.B, pair.wins_b), (Verdict.TIE, pair.ties)):
            kinds.append((pair.value_a, pair.value_b, verdict))
            counts.append(count)
    log = np.repeat(np.arange(len(kinds)), counts)
    if len(log) < 2:
        return Check("order", None, "cannot be measured: fewer than 2 outcomes")
    log = rng.permutation(log)[:_MOST_OUTCOMES]
    share = float(np.mean([kinds[kind][2] is Verdict.TIE for kind in log]))
    ends = []
    for _ in range(_ORDERS):
        ranker = TrueSkillRanker(draw_probability=min(share, 0.99))
        ranker.add(tally.values)
        for kind in rng.permutation(log):
            ranker.update(*kinds[kind])
        ratings = ranker.ratings()
        ends.append([ratings[value].mu for value in tally.values])
    centred = np.array(ends) - np.mean(ends, axis=1, keepdims=True)
    spread = float(np.sqrt(np.mean(centred.var(axis=0, ddof=1))))
    sd = float(np.sqrt(np.mean(np.diag(posterior.centred()[1]) * max(1.0, tally.rated / len(log)))))
    ratio = spread / sd
    passed = ratio <= _MOST_SPREAD
    says = f"with the order of arrival the live rating moves by {ratio:.2f} posterior standard deviations"
    return Check("order", passed, says + ("" if passed else ": trust `rank`, not the live view"), {"ratio": ratio})


def borda(tally: Tally, posterior: Posterior) -> Check:
    """The cross-check without a model: values by their mean share of wins over their opponents (a tie is half a win)."""
    wins, ties, total = tally.wins(), tally.ties(), tally.met()
    met = total > 0
    if len(tally.values) < 2 or not met.any():
        return Check("borda", None, "cannot be made: no outcome")
    share = np.divide(wins + ties / 2, total, out=np.zeros_like(total), where=met)
    opponents = met.sum(axis=1)
    score = np.divide(share.sum(axis=1), opponents, out=np.full(len(opponents), 0.5), where=opponents > 0)
    ranked = np.flatnonzero(opponents)
    both = np.stack([score[ranked], posterior.mu[ranked]])
    tau = float(kendall(np.sign(both[:, :, None] - both[:, None, :])[None])[0])
    order = [tally.values[k] for k in sorted(ranked, key=lambda k: (-score[k], tally.values[k]))]
    figures = {"tau": tau, **{f"score {tally.values[k]}": float(score[k]) for k in ranked}}
    words = f"by mean share of wins: {' > '.join(order)}; Kendall tau with the ranking {tau:.2f}"
    if len({int(n) for n in opponents[ranked]}) > 1 or len(ranked) < len(tally.values) or np.any(posterior.component):
        return Check("borda", None, f"{words}; no fair check, for not all values met the same opponents", figures)
    above = posterior.p_above()
    against = [
        f"{tally.values[i]} over {tally.values[j]}"
        for i, j in itertools.permutations(ranked, 2)
        if above[i, j] > SURE and score[i] < score[j]
    ]
    if against:
        words += f"; it contradicts {', '.join(against[:3])}{' and more' if len(against) > 3 else ''}"
    return Check("borda", not against, words, figures)


def _pairs(levels: Levels) -> tuple[IntArray, IntArray]:
    """The distinct pairs (P, 2), and which of them each row of `levels` is of."""
    pair, of_pair = np.unique(np.stack([levels.i, levels.j], axis=1), axis=0, return_inverse=True)
    return pair, of_pair.reshape(-1)
