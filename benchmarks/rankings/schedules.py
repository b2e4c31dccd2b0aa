"""When the rule stops, how often it is wrong then, and what the active scheduler saves; with the parts that sweeps use.

Time is virtual: of the episodes in flight one comes back at random, whereupon the scheduler chooses the next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.special import ndtr

from benchmarks.rankings.row import Row
from benchmarks.rankings.simulation import GROUP, NAMES, SIZE, SPREAD, coverage, pairs
from conflictscope.arena import Plan, Scheduler, Settling, ThompsonScheduler, UniformScheduler
from conflictscope.outcome import Group, Outcome, Verdict
from conflictscope.ports import Assignment, EpisodeRecord
from conflictscope.ranking import GroupBeliefs, doubts, fit_posterior
from conflictscope.ranking.probit import fit_map_batched
from conflictscope.rating import DEFAULT_RULE, FloatArray, StopRule
from conflictscope.scenario import Scenario

_POOL = 2000
_MOST = 12_000
_RULE_EVERY = 5


def rows(scale: float = 1.0) -> Iterator[Row]:
    """scale: multiplies the number of worlds."""
    yield _false_stops(round(300 * scale))
    scenarios = library()
    yield from asyncio.run(_savings(round(60 * scale), scenarios))
    yield from asyncio.run(_coverage(round(60 * scale), scenarios))


def _false_stops(worlds: int) -> Row:
    """Pairs drawn uniformly, looked at after every 5 outcomes, up to 12,000. What a stop claims of each pair of neighbours, the
    likelier of "in this order" and "practically equal", must be true of all of them."""
    rng = np.random.default_rng(8)
    truth = rng.normal(0, SPREAD, (worlds, SIZE))
    i, j = pairs()
    chance = ndtr(truth[:, i] - truth[:, j])
    wins = np.zeros((worlds, SIZE, SIZE))
    at_work = np.arange(worlds)
    wrong = stopped = 0
    for _ in range(_MOST // _RULE_EVERY):
        for _ in range(_RULE_EVERY):
            which = rng.integers(0, len(i), len(at_work))
            won = rng.random(len(at_work)) < chance[at_work, which]
            wins[at_work, np.where(won, i[which], j[which]), np.where(won, j[which], i[which])] += 1
        met = wins[at_work][:, i, j] + wins[at_work][:, j, i]
        mu, cov = fit_map_batched(wins[at_work])
        near = (doubts(mu, cov)[1].sum(axis=1) <= 0.06) & (met.min(axis=1) >= 5)
        for row in np.flatnonzero(near):  # the batched fit is close, the posterior decides
            posterior = fit_posterior(wins[at_work[row]])
            order, doubt = doubts(posterior.mu, posterior.cov)
            if doubt.sum() <= 0.05:
                stopped += 1
                wrong += _claims_wrong(posterior.mu, posterior.cov, order, truth[at_work[row]])
                at_work[row] = -1
        at_work = at_work[at_work >= 0]
        if not len(at_work):
            break
    share = wrong / max(1, stopped)
    reached = f"{share:.1%} of {stopped} stops ({worlds - stopped} of {worlds} worlds not settled by {_MOST:,})"
    return Row("false stops, looked at every 5 outcomes", "<= 8 %", reached, share <= 0.08)


def _claims_wrong(mu: FloatArray, cov: FloatArray, order: np.ndarray, truth: FloatArray, delta: float = 0.1) -> bool:
    for above, below in pairwise(order):
        gap, real = mu[above] - mu[below], truth[above] - truth[below]
        sd = np.sqrt(cov[above, above] + cov[below, below] - 2 * cov[above, below])
        equal = ndtr((delta - gap) / sd) - ndtr((-delta - gap) / sd) > ndtr(gap / sd)
        if (equal and abs(real) >= delta) or (not equal and real < 0):
            return True
    return False


class _Nowhere:
    """A sink in which nothing is stored."""

    async def opening(self, scenario_id: str) -> str | None:
        return None

    async def record_opening(self, scenario_id: str, text: str) -> None: ...

    async def record_episode(self, record: EpisodeRecord) -> None: ...

    async def finished(self, keys: Iterable[str]) -> set[str]:
        return set()

    def record_settled(self, group: Group, rated: int, rule: StopRule) -> None: ...


def library() -> list[Scenario]:
    """Two thousand scenarios of each pair."""
    return [
        Scenario.model_construct(
            id=f"{NAMES[i]}-{NAMES[j]}-{n}",
            value_a=NAMES[i],
            value_b=NAMES[j],
            description="a choice",
            action_a="one",
            action_b="the other",
        )
        for i, j in zip(*(side.tolist() for side in pairs()), strict=True)
        for n in range(_POOL)
    ]


@dataclass
class Simulated:
    """A sweep over one world by one policy, in virtual time."""

    truth: FloatArray
    policy: str
    in_flight: int
    scenarios: list[Scenario]
    seed: int

    def __post_init__(self) -> None:
        sink, plan = _Nowhere(), Plan(self.scenarios, [GROUP], 1, self.seed)
        self.beliefs = GroupBeliefs(GROUP, NAMES[:SIZE], plan.pairs, seed=self.seed)
        settling = Settling({}, DEFAULT_RULE, sink)
        self.scheduler: Scheduler = (
            ThompsonScheduler(plan, sink, settling, {GROUP: self.beliefs}, floor=0.25, least=5, served={})
            if self.policy == "thompson"
            else UniformScheduler(plan, sink, settling, {GROUP: self.beliefs})
        )
        self.rng = np.random.default_rng(self.seed)
        self.waiting: list[Assignment] = []

    async def play(self, until: int | None) -> int:
        """Up to so many outcomes, or until the ranking is settled; returns how many there were."""
        while until is None or self.beliefs.rated < until:
            if self.beliefs.rated >= _MOST or (until is None and self.beliefs.settled):
                break
            while (
                len(self.waiting) < self.in_flight
                and (one := await self.scheduler.next(lambda group: False)) is not None
            ):
                self.waiting.append(one)
            place = int(self.rng.integers(len(self.waiting)))
            self.waiting[place], self.waiting[-1] = self.waiting[-1], self.waiting[place]
            one = self.waiting.pop()
            scenario = one.spec.scenario
            gap = self.truth[int(scenario.value_a[1:])] - self.truth[int(scenario.value_b[1:])]
            verdict = Verdict.A if gap + self.rng.normal() > 0 else Verdict.B
            self.scheduler.returned(one, Outcome(GROUP, scenario.id, 1, scenario.value_a, scenario.value_b, verdict))
        return self.beliefs.rated


async def _savings(worlds: int, scenarios: list[Scenario]) -> list[Row]:
    """The uniform policy asks nothing of what is known, so one run of it stands for any number in flight."""
    truths = np.random.default_rng(9).normal(0, SPREAD, (worlds, SIZE))
    uniform, _ = await _stops(truths, "uniform", 100, scenarios)
    rows, wrong = [], np.zeros(0)
    for in_flight, least in ((100, 0.40), (1000, 0.30)):
        thompson, claims_wrong = await _stops(truths, "thompson", in_flight, scenarios)
        wrong = np.append(wrong, claims_wrong)
        kept = thompson.sum() / uniform.sum()
        error = np.std(thompson - kept * uniform, ddof=1) / (uniform.mean() * np.sqrt(worlds))  # of a ratio of means
        # What is in flight when the rule holds is paid for too.
        paid = 1 - (thompson + in_flight).sum() / (uniform + in_flight).sum()
        reached = (
            f"{1 - kept:.0%} +- {error:.0%} ({uniform.mean():,.0f} to {thompson.mean():,.0f} outcomes; {paid:.0%} with those in "
            f"flight then; at the cap {np.sum(uniform >= _MOST)} and {np.sum(thompson >= _MOST)} of {worlds})"
        )
        check = f"saved by thompson, {in_flight:,} in flight, floor .25"
        rows.append(Row(check, f">= {least:.0%}", reached, bool(1 - kept >= least)))
    share = float(wrong.mean())
    error = np.sqrt(share * (1 - share) / worlds)  # a world stops much the same with more in flight
    reached = f"{share:.1%} +- {error:.1%} of {len(wrong)} stops"
    rows.append(Row("false stops, thompson", "<= 8 %", reached, share <= 0.08))
    return rows


async def _stops(
    truths: FloatArray, policy: str, in_flight: int, scenarios: list[Scenario]
) -> tuple[FloatArray, np.ndarray]:
    """For each world the outcomes at its end, and for each that was settled whether what the stop claims is wrong."""
    taken, wrong = [], []
    for number, truth in enumerate(truths):
        sweep = Simulated(truth, policy, in_flight, scenarios, number)
        taken.append(await sweep.play(None))
        posterior = sweep.beliefs.posterior
        order, _ = doubts(posterior.mu, posterior.cov)
        if sweep.beliefs.settled:
            wrong.append(_claims_wrong(posterior.mu, posterior.cov, order, truth))
    return np.array(taken, dtype=np.float64), np.array(wrong)


async def _coverage(worlds: int, scenarios: list[Scenario]) -> Iterator[Row]:
    rng = np.random.default_rng(10)
    covered: dict[int, list[float]] = {200: [], 1000: [], 5000: []}
    for number in range(worlds):
        truth = rng.normal(0, SPREAD, SIZE)
        sweep = Simulated(truth, "thompson", 100, scenarios, number)
        for outcomes, shares in covered.items():
            await sweep.play(outcomes)
            shares.append(coverage(fit_posterior(sweep.beliefs.tally.wins()), truth))
    shares_by_n = {outcomes: float(np.mean(shares)) for outcomes, shares in covered.items()}
    return iter(
        [
            Row(f"coverage, thompson, n = {outcomes:,}", ".93 to .97", f"{share:.3f}", 0.93 <= share <= 0.97)
            for outcomes, share in shares_by_n.items()
        ]
    )
