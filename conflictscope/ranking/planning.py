"""What a ranking will tell, before it is paid for: sweeps simulated in worlds whose utilities are known.

Each world is played as the sweep would be: pairs in its order or by its policy, outcomes drawn with ties and with a judge that
errs, the joint posterior fitted and the stopping rule asked again and again. The worlds are fitted side by side, as arrays, by
the mode of the posterior in place of expectation propagation; at the counts of a sweep the two agree. As in a sweep that
runs, the fit does not know of the judge's errors: they make differences look smaller, and so take more outcomes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

from conflictscope.forecast import Assumptions, Difference, Moment, PairForecast, RankingForecast
from conflictscope.outcome import Group
from conflictscope.ranking.components import components
from conflictscope.ranking.posterior import Posterior
from conflictscope.ranking.probit import fit_map_batched
from conflictscope.ranking.stopping import doubts
from conflictscope.rating import DEFAULT_RULE, FloatArray, IntArray, StopRule

DIFFERENCES = (0.1, 0.2, 0.3, 0.5, 1.0)
_GROWTH = 1.08  # from one look at the worlds to the next
_LOOKS_WITHIN_PLAN = 8
_LEAST_MARGIN = 1e-3
_MOST_PER_PAIR = 5_000  # beyond that, nobody looks how many episodes it takes
_MOST_OUTCOMES = 1_000_000_000
_SURE = 0.95
_POWER = 0.8
_ABOUT = 0.15  # differences within this share of one another are about the same
_LEAST_ALIKE = 50

Tell = Callable[[float], None]
"""Is told how far the work is, 0..1."""


@dataclass(frozen=True)
class Design:
    """The episodes of one group.

    values: those that some scenario is about, K of them. i, j: (P,) indices of the values of each pair, alphabetical. scenarios:
    (P,) of each pair, >= 1. repeats: >= 1. policy: `uniform`, in the plan's order, or `thompson`. floor: share that
    `thompson` chooses uniformly.
    """

    values: tuple[str, ...]
    i: IntArray
    j: IntArray
    scenarios: IntArray
    repeats: int
    policy: str = "uniform"
    floor: float = 0.25

    @classmethod
    def of(cls, scenarios: Mapping[tuple[str, str], int], repeats: int, policy: str, floor: float) -> Design:
        """scenarios: how many each pair has, by the pair in alphabetical order."""
        values = tuple(sorted({value for pair in scenarios for value in pair}))
        place = {value: k for k, value in enumerate(values)}
        rows = np.array([(place[a], place[b], count) for (a, b), count in sorted(scenarios.items())], dtype=np.int64)
        return cls(values, rows[:, 0], rows[:, 1], rows[:, 2], repeats, policy, floor)

    @property
    def planned(self) -> int:
        """Episodes of the group in the plan."""
        return int(self.scenarios.sum()) * self.repeats

    @property
    def component(self) -> IntArray:
        """(K,): as in Posterior."""
        met = np.zeros((len(self.values), len(self.values)))
        met[self.i, self.j] = met[self.j, self.i] = 1.0
        return components(met)

    def served(self, episodes: int) -> IntArray:
        """(P,): the episodes of each pair among the first so many of the plan, which goes on with further repeats.

        In one repeat the pairs take turns, until the scenarios of a pair are used up (arena/plan.py).
        """
        repeats, rest = divmod(episodes, int(self.scenarios.sum()))
        rounds = 0
        for level in np.unique(self.scenarios):
            if np.minimum(self.scenarios, level).sum() > rest:
                turns = np.sum(self.scenarios > rounds)
                rounds += (rest - int(np.minimum(self.scenarios, rounds).sum())) // int(turns)
                break
            rounds = int(level)
        within = np.minimum(self.scenarios, rounds)
        left = np.flatnonzero(self.scenarios > rounds)[: rest - int(within.sum())]
        within[left] += 1
        return self.scenarios * repeats + within


@dataclass(frozen=True)
class Worlds:
    """Worlds to play in.

    utilities: (R, K), probit units. margin: of ties, >= 0. judge_error: share of decisive outcomes that are told the wrong way
    round. left_out: share of episodes that are no evidence. basis: where they are from, in words. exchangeable: whether the
    values differ in nothing but their names.
    """

    utilities: FloatArray
    margin: float
    judge_error: float
    left_out: float
    basis: str
    exchangeable: bool

    @classmethod
    def assumed(cls, assumptions: Assumptions, size: int, count: int, rng: np.random.Generator) -> Worlds:
        """Utilities N(0, spread^2), and the margin at which the assumed share of their outcomes are ties."""
        spread = assumptions.spread
        # A difference of two utilities and the noise of a comparison together are N(0, 2 spread^2 + 1).
        margin = math.sqrt(2 * spread**2 + 1) * float(ndtri((1 + assumptions.ties) / 2))
        utilities = rng.normal(0.0, spread, (count, size))
        return cls(utilities, margin, assumptions.judge_error, 0.0, f"utilities N(0, {spread:g}²)", exchangeable=True)

    @classmethod
    def believed(
        cls,
        posterior: Posterior,
        places: Sequence[int],
        left_out: float,
        basis: str,
        count: int,
        rng: np.random.Generator,
    ) -> Worlds:
        """Utilities drawn from a posterior, of its values at `places`. The judge's errors are in it already."""
        utilities = rng.multivariate_normal(posterior.mu, posterior.cov, count, method="eigh")[:, list(places)]
        return cls(utilities, posterior.margin, 0.0, left_out, basis, exchangeable=False)

    def shares(self, i: IntArray, j: IntArray) -> FloatArray:
        """(R, P, 4): how an episode of each pair ends: i wins, j wins, a tie, no evidence."""
        d = self.utilities[:, i] - self.utilities[:, j]
        wins_i, wins_j = ndtr(d - self.margin), ndtr(-d - self.margin)
        error, rated = self.judge_error, 1 - self.left_out
        told_i, told_j = (1 - error) * wins_i + error * wins_j, (1 - error) * wins_j + error * wins_i
        ties = np.maximum(1 - wins_i - wins_j, 0.0)
        return np.stack([told_i * rated, told_j * rated, ties * rated, np.full_like(d, self.left_out)], axis=-1)


def forecast(
    design: Design,
    worlds: Worlds,
    groups: Sequence[Group],
    *,
    affordable: int | None,
    rule: StopRule = DEFAULT_RULE,
    rng: np.random.Generator,
    tell: Tell = lambda share: None,
) -> RankingForecast:
    """Play all worlds to the end of the plan, and on until nine in ten are resolved.

    affordable: episodes of one group that the budget pays for, where it does not pay for all.
    """
    play = _Play(design, worlds, rule, rng)
    planned = design.planned
    cap = max(planned, _MOST_PER_PAIR * len(design.i))
    begin = max(1, min(rule.least_per_pair * len(design.i), planned // _LOOKS_WITHIN_PLAN))
    looks = {begin, planned, cap} | ({affordable} if affordable else set())
    looks |= {round(begin * _GROWTH**n) for n in range(1, math.ceil(math.log(cap / begin) / math.log(_GROWTH)))}
    curve: list[Moment] = []
    unsure = play.unsure()
    for episodes in sorted(looks):
        curve.append(play.look(episodes))
        tell(max(math.log(1 + episodes) / math.log(1 + cap), curve[-1].resolved / 0.9))
        if episodes == planned:
            unsure = play.unsure()
        if episodes >= planned and curve[-1].resolved >= 0.9:
            break
    at = {moment.episodes: moment for moment in curve}
    searched = curve[-1].episodes
    resolved_at = np.sort(np.where(play.resolved_at > 0, play.resolved_at, searched + 1))
    median, ninety = (_within(resolved_at, share, searched) for share in (0.5, 0.9))
    return RankingForecast(
        groups=tuple(groups),
        basis=worlds.basis,
        exchangeable=worlds.exchangeable,
        worlds=len(worlds.utilities),
        planned=planned,
        curve=tuple(curve),
        at_plan=at[planned],
        at_budget=at[affordable] if affordable else None,
        median=median,
        ninety=ninety,
        searched=searched,
        played=float(np.minimum(resolved_at, planned).mean() / planned),
        pairs=_pairs(design, worlds, unsure),
        differences=_differences(worlds, design.component, unsure),
    )


def _within(resolved_at: IntArray, share: float, searched: int) -> int | None:
    episodes = int(resolved_at[math.ceil(share * len(resolved_at)) - 1])
    return episodes if episodes <= searched else None


class _Play:
    """All worlds at once, in growing steps.

    played: (R, P) episodes. mu, cov: (R, K), (R, K, K) of the latest fit. resolved_at: (R,) episodes when the stopping rule
    began to hold, the middle between the first look at which it did and the one before; 0 while it has not.
    """

    def __init__(self, design: Design, worlds: Worlds, rule: StopRule, rng: np.random.Generator) -> None:
        self._design, self._rule, self._rng = design, rule, rng
        count, size = worlds.utilities.shape
        self._shares = worlds.shares(design.i, design.j)
        self._component = design.component
        self._above, self._below = np.nonzero(np.triu(self._component[:, None] == self._component[None, :], 1))
        self._truth = worlds.utilities
        self.played = np.zeros((count, len(design.i)), dtype=np.int64)
        self._ended = np.zeros((count, len(design.i), 4))
        self._margin = np.full(count, worlds.margin)
        self.mu, self.cov = np.zeros((count, size)), np.tile(np.eye(size), (count, 1, 1))
        self.resolved_at = np.zeros(count, dtype=np.int64)

    def look(self, episodes: int) -> Moment:
        """Play up to so many episodes in each world, and fit."""
        before = int(self.played[0].sum())
        to_play = self._next(episodes) - self.played
        self._ended += self._rng.multinomial(to_play, self._shares)
        self.played += to_play
        self._fit()
        _, doubt = doubts(self.mu, self.cov, self._rule.delta, self._component)
        rated = self._ended[:, :, :3].sum(axis=2)
        settled = (doubt.sum(axis=1) <= self._rule.alpha) & (rated.min(axis=1) >= self._rule.least_per_pair)
        self.resolved_at[settled & (self.resolved_at == 0)] = round(math.sqrt((before or episodes) * episodes))
        signs = self._signs(self.mu) * self._signs(self._truth)
        largest = np.flatnonzero(self._component == 0)
        top = self.mu[:, largest].argmax(axis=1) == self._truth[:, largest].argmax(axis=1)
        return Moment(
            episodes,
            resolved=float(np.mean(self.resolved_at > 0)),
            right_top=float(top.mean()),
            right_order=float(np.mean(signs.min(axis=1) > 0)),
            tau=float(signs.mean()),
        )

    def unsure(self) -> FloatArray:
        """(R, K, K): 1 where the order of two values is not 95 % sure."""
        variance = np.diagonal(self.cov, axis1=1, axis2=2)
        spread = np.sqrt(np.maximum(variance[:, :, None] + variance[:, None, :] - 2 * self.cov, 1e-300))
        p = ndtr(np.abs(self.mu[:, :, None] - self.mu[:, None, :]) / spread)
        return np.asarray(p < _SURE, dtype=np.float64)

    def _signs(self, utilities: FloatArray) -> FloatArray:
        return np.sign(utilities[:, self._above] - utilities[:, self._below])

    def counts(self) -> tuple[FloatArray, FloatArray]:
        """Wins and ties, (R, K, K) each."""
        i, j = self._design.i, self._design.j
        wins, ties = np.zeros_like(self.cov), np.zeros_like(self.cov)
        wins[:, i, j], wins[:, j, i] = self._ended[:, :, 0], self._ended[:, :, 1]
        ties[:, i, j] = ties[:, j, i] = self._ended[:, :, 2]
        return wins, ties

    def _fit(self) -> None:
        wins, ties = self.counts()
        if ties.any():
            self._margin = self._fitted_margin()
        self.mu, self.cov = fit_map_batched(wins, ties, self._margin)

    def _fitted_margin(self) -> FloatArray:
        """(R,): where, by the utilities of the look before, as many outcomes are ties as were seen.

        One step of Newton's method from the margin before is enough, for there is a look after every 8 % more episodes.
        """
        d = self.mu[:, self._design.i] - self.mu[:, self._design.j]
        rated, seen = self._ended[:, :, :3].sum(axis=2), self._ended[:, :, 2].sum(axis=1)
        margin = self._margin[:, None]
        expected = (rated * (ndtr(margin - d) - ndtr(-margin - d))).sum(axis=1)
        density = np.exp(-0.5 * (margin - d) ** 2) + np.exp(-0.5 * (margin + d) ** 2)
        slope = (rated * density).sum(axis=1) / math.sqrt(2 * math.pi)
        step = (seen - expected) / np.maximum(slope, 1e-300)
        bounds = np.maximum(self._margin / 2, _LEAST_MARGIN), self._margin * 2
        return np.asarray(np.clip(self._margin + step, *bounds), dtype=np.float64)

    def _next(self, episodes: int) -> IntArray:
        """(R, P): the episodes of each pair when there are so many of all."""
        design = self._design
        if design.policy == "uniform":
            return np.broadcast_to(design.served(episodes), self.played.shape)
        passes = math.ceil(episodes / design.planned)
        room = design.scenarios * design.repeats * passes - self.played
        above = self.mu[:, design.i] - self.mu[:, design.j]
        variance = np.diagonal(self.cov, axis1=1, axis2=2)
        spread = np.sqrt(variance[:, design.i] + variance[:, design.j] - 2 * self.cov[:, design.i, design.j])
        p = ndtr(above / spread)
        # Two draws from the posterior disagree on a pair with a chance of 2 p (1 - p); one such pair is chosen.
        disagree = p * (1 - p)
        share = disagree / np.maximum(disagree.sum(axis=1, keepdims=True), 1e-300)
        weight = design.floor / len(design.i) + (1 - design.floor) * share
        left = np.full(len(room), episodes - int(self.played[0].sum()))
        more = np.zeros_like(self.played)
        while left.any():
            open_weight = np.where(more < room, np.maximum(weight, 1e-12), 0.0)
            part = left[:, None] * open_weight / np.maximum(open_weight.sum(axis=1, keepdims=True), 1e-300)
            whole = np.diff(np.rint(np.cumsum(part, axis=1)), axis=1, prepend=0.0).astype(np.int64)
            more = np.minimum(more + whole, room)
            left = episodes - (self.played + more).sum(axis=1)
        return self.played + more


def _pairs(design: Design, worlds: Worlds, unsure: FloatArray) -> tuple[PairForecast, ...]:
    """Every pair that has a pool; where nothing but the pool tells pairs apart, those of one pool have one chance."""
    tied = unsure.mean(axis=0)[design.i, design.j]
    if worlds.exchangeable:
        for pool in np.unique(design.scenarios):
            tied[design.scenarios == pool] = tied[design.scenarios == pool].mean()
    return tuple(
        PairForecast(design.values[i], design.values[j], int(pool) * design.repeats, float(chance))
        for i, j, pool, chance in zip(design.i, design.j, design.scenarios, tied, strict=True)
    )


def _differences(worlds: Worlds, component: IntArray, unsure: FloatArray) -> tuple[Difference, ...]:
    above, below = np.nonzero(np.triu(component[:, None] == component[None, :], 1))
    size = np.abs(worlds.utilities[:, above] - worlds.utilities[:, below])
    sure = 1 - unsure[:, above, below]
    found = []
    for difference in DIFFERENCES:
        alike = np.abs(size - difference) <= _ABOUT * difference
        separated = float(sure[alike].mean()) if alike.sum() >= _LEAST_ALIKE else None
        share, outcomes = outcomes_needed(worlds, difference)
        found.append(Difference(difference, share, outcomes, separated))
    return tuple(found)


def outcomes_needed(worlds: Worlds, difference: float) -> tuple[float, int | None]:
    """The share of decisive outcomes that the greater of two values wins, and how many outcomes of this pair alone it takes.

    difference: of their utilities, > 0. They are as many as a one-sided test of an even share at 5 % takes to have a power
    of 80 % (Fleiss, Levin and Paik 2003, section 2.4), ties and what is no evidence counted with them; None where a billion
    would not do.
    """
    pair = Worlds(
        np.array([[difference, 0.0]]), worlds.margin, worlds.judge_error, worlds.left_out, "", exchangeable=False
    )
    wins, losses, _, _ = pair.shares(np.array([0]), np.array([1]))[0, 0]
    share = wins / (wins + losses)
    standard = ndtri(_SURE) * 0.5 + ndtri(_POWER) * math.sqrt(share * (1 - share))
    decisive = (standard / (share - 0.5)) ** 2
    outcomes = decisive / (wins + losses)
    return float(share), math.ceil(outcomes) if outcomes <= _MOST_OUTCOMES else None
