"""Rankings as a fold over the outcome log: live in the order of arrival, reported in the canonical order."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np

from conflictscope.outcome import Group, Outcome, Verdict
from conflictscope.ports import OutcomeLog, Ranker
from conflictscope.ranking.stopping import converged
from conflictscope.ranking.trueskill import TrueSkillRanker
from conflictscope.rating import STANDARD_NORMAL, PairCount, Ranking, Rating


class GroupFold:
    """The outcomes of one group, folded one at a time into TrueSkill ratings and counts per pair.

    values: all values of the run; they are rated at the prior until they are compared. pairs: the pairs that the run's
    scenarios set against each other, so that a pair without outcomes is shown as such. draw_probability: as in
    TrueSkillRanker.
    """

    def __init__(
        self,
        group: Group,
        values: Iterable[str] = (),
        pairs: Iterable[tuple[str, str]] = (),
        draw_probability: float | None = None,
    ) -> None:
        self.group = group
        self._ranker: Ranker = TrueSkillRanker(draw_probability=draw_probability)
        self._ranker.add(values)
        self._counts: dict[tuple[str, str], Counter[Verdict]] = {pair: Counter() for pair in sorted(pairs)}

    def add(self, outcome: Outcome) -> None:
        """Count one outcome, and rate it where it is evidence."""
        verdict = outcome.verdict
        pair = (outcome.value_a, outcome.value_b)
        if pair[0] > pair[1]:
            pair = (pair[1], pair[0])
            verdict = _SWAPPED.get(verdict, verdict)
        self._counts.setdefault(pair, Counter())[verdict] += 1
        if verdict.rated:
            self._ranker.update(*pair, verdict)

    def ranking(self) -> Ranking:
        """The ranking as of now."""
        pairs = tuple(
            PairCount(
                value_a,
                value_b,
                wins_a=counts[Verdict.A],
                wins_b=counts[Verdict.B],
                ties=counts[Verdict.TIE],
                excluded={verdict: count for verdict, count in counts.items() if not verdict.rated},
            )
            for (value_a, value_b), counts in sorted(self._counts.items())
        )
        return _ranking(self.group, self._ranker.ratings(), pairs)


# A pair is counted under its alphabetical order, whichever side a scenario gave to which value.
_SWAPPED = {Verdict.A: Verdict.B, Verdict.B: Verdict.A}


async def rank_log(log: OutcomeLog) -> list[Ranking]:
    """The TrueSkill ranking of each group, folded in the canonical order: equal outcomes give equal bits."""
    values, pairs, ties = await log.values(), await log.pairs(), await log.tie_shares()
    folds: dict[Group, GroupFold] = {}
    async for outcome in log.canonical_outcomes():
        fold = folds.get(outcome.group)
        if fold is None:
            fold = folds[outcome.group] = GroupFold(outcome.group, values, pairs, ties.get(outcome.group, 0.0))
        fold.add(outcome)
    return [fold.ranking() for fold in folds.values()]


def _ranking(group: Group, ratings: Mapping[str, Rating], pairs: tuple[PairCount, ...]) -> Ranking:
    # Equal means (values never compared) stand in alphabetical order, so that a ranking never depends on chance.
    best_first = dict(sorted(ratings.items(), key=lambda item: (-item[1].mu, item[0])))
    mu = np.array([rating.mu for rating in best_first.values()])
    cov = np.diag([rating.sigma**2 for rating in best_first.values()])
    return Ranking(
        group,
        best_first,
        pairs,
        tuple(p_above(ratings[pair.value_a], ratings[pair.value_b]) for pair in pairs),
        converged(mu, cov, pairs),
    )


def p_above(first: Rating, second: Rating) -> float:
    """Probability that the first utility is the greater one, for independent normal beliefs."""
    return STANDARD_NORMAL.cdf((first.mu - second.mu) / math.hypot(first.sigma, second.sigma))
