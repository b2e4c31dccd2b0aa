"""The live ranking: outcomes of a group folded one at a time, in the order of arrival."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from scipy.special import ndtr

from conflictscope.outcome import Group, Outcome, Verdict
from conflictscope.ports import Ranker
from conflictscope.ranking.clustering import effective_cells
from conflictscope.ranking.components import components
from conflictscope.ranking.posterior import Posterior, fit_cells
from conflictscope.ranking.stopping import convergence
from conflictscope.ranking.tally import Kind, Tally
from conflictscope.ranking.trueskill import TrueSkillRanker
from conflictscope.rating import (
    DEFAULT_RULE,
    Convergence,
    FloatArray,
    IntArray,
    Method,
    Ranking,
    Rating,
    StopRule,
    resolved_share,
)


class GroupFold:
    """TrueSkill ratings of one group, with the joint posterior beside them to say how far they are from being settled.

    values: all values of the run; they are rated at the prior until they are compared. pairs: the pairs that the run's
    scenarios set against each other. draw_probability: as in TrueSkillRanker.
    """

    def __init__(
        self,
        group: Group,
        values: Iterable[str] = (),
        pairs: Iterable[tuple[str, str]] = (),
        rule: StopRule = DEFAULT_RULE,
        draw_probability: float | None = None,
    ) -> None:
        values = list(values)
        self.group = group
        self.tally = Tally(values, pairs)
        self.rule = rule
        self._posterior: Posterior | None = None
        self._convergence: Convergence | None = None
        self._ranker: Ranker = (ranker := TrueSkillRanker(draw_probability=draw_probability))
        self._ranker.add(values)
        self.prior = ranker.prior

    def add(self, outcome: Outcome) -> bool:
        """Count one outcome, and rate it where it is evidence. Returns whether it is."""
        return self._rate(self.tally.add(outcome))

    def count(
        self,
        scenario_id: str,
        value_a: str,
        value_b: str,
        verdict: Verdict | str,
        strength: int | None,
        shown_first: str | None,
    ) -> bool:
        """The same by its parts, as in Tally.count."""
        return self._rate(self.tally.count(scenario_id, value_a, value_b, verdict, strength, shown_first))

    def _rate(self, kind: Kind) -> bool:
        self._convergence = None  # an outcome that is no evidence may be the first of its pair, which then has none
        if kind.code is None:
            return False
        self._posterior = None
        # In alphabetical order, so that it makes no difference which side a scenario gave to which value.
        value_a, value_b = kind.pair
        self._ranker.update(value_a, value_b, kind.verdict)
        return True

    @property
    def posterior(self) -> Posterior:
        """The joint posterior of three levels (win, tie, loss), fitted anew where something was learned."""
        if self._posterior is None or len(self._posterior.mu) < len(self.tally.values):
            self._posterior = fit_cells(effective_cells(self.tally), len(self.tally.values))
        return self._posterior

    @property
    def convergence(self) -> Convergence:
        """How far the ranking is from being settled, by the joint posterior."""
        if self._convergence is None:
            posterior = self.posterior
            self._convergence = convergence(
                posterior.mu, posterior.cov, self.tally.pairs(), self.rule, posterior.component
            )
        return self._convergence

    def ratings(self) -> tuple[Rating, ...]:
        """The live ratings, in the order of `tally.values`."""
        ratings = self._ranker.ratings()
        return tuple(ratings.get(value, self.prior) for value in self.tally.values)

    def ranking(self) -> Ranking:
        """The live ranking as of now."""
        values, ratings = self.tally.values, dict(zip(self.tally.values, self.ratings(), strict=True))
        component = components(self.tally.met())
        order = in_order(values, np.array([ratings[value].mu for value in values]), component)
        mu = np.array([ratings[values[k]].mu for k in order])
        variance = np.array([ratings[values[k]].sigma ** 2 for k in order])
        label = component[order]
        above = ndtr((mu[:, None] - mu[None, :]) / np.sqrt(variance[:, None] + variance[None, :]))
        above = np.where(label[:, None] == label[None, :], above, 0.5)
        return Ranking(
            group=self.group,
            method=Method.TRUESKILL,
            ratings={values[k]: ratings[values[k]] for k in order},
            component={values[k]: int(component[k]) for k in order},
            p_above=above,
            pairs=self.tally.pairs(),
            convergence=self.convergence,
            resolved_share=resolved_share(above, label),
            model="TrueSkill, one outcome at a time",
        )


def in_order(values: Sequence[str], mu: FloatArray, component: IntArray) -> list[int]:
    """Indices of the values, component by component, best first; equal ones in alphabetical order, not by chance."""
    return sorted(range(len(values)), key=lambda k: (component[k], -mu[k], values[k]))
