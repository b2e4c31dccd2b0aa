"""What is believed of one group while its sweep runs: for deciding when to stop, and what to play next."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from scipy.special import ndtr

from conflictscope.outcome import Group, Outcome
from conflictscope.ranking.checks import transitivity
from conflictscope.ranking.clustering import effective_cells
from conflictscope.ranking.posterior import Posterior, fit_cells
from conflictscope.ranking.probit import laplacian
from conflictscope.ranking.stopping import convergence
from conflictscope.ranking.tally import Tally
from conflictscope.rating import DEFAULT_RULE, Convergence, FloatArray, StopRule
from conflictscope.seeds import derive

_DRAWS = (16, 240)  # pairs of draws: a few, and where they agree, many
_REFIT_GROWTH = 50  # a new fit for every 2 % more outcomes


class GroupBeliefs:
    """The joint posterior of one group, kept up to date as outcomes come in.

    It is fitted anew when there are 2 % more outcomes than at the last fit, so that keeping it costs a bounded share of the
    work. values, pairs: as in Tally. seed: of the draws.
    """

    def __init__(
        self,
        group: Group,
        values: Iterable[str],
        pairs: Iterable[tuple[str, str]],
        rule: StopRule = DEFAULT_RULE,
        seed: int = 0,
    ) -> None:
        self.tally = Tally(values, pairs)
        self._rule = rule
        self._rng = np.random.default_rng(derive(seed, "beliefs", str(group)))
        self._in_flight: Counter[tuple[str, str]] = Counter()
        self._learned: Counter[tuple[str, str]] = Counter()  # rated since the last fit
        self._fitted = -1
        self._settled = self._misfit = False
        self._posterior: Posterior | None = None
        self._factor: FloatArray | None = None  # of the covariance, when all that is in flight has come back

    @property
    def posterior(self) -> Posterior:
        """The latest fit."""
        self._refit()
        assert self._posterior is not None
        return self._posterior

    @property
    def convergence(self) -> Convergence:
        """How far it is from being settled, by the latest fit."""
        posterior = self.posterior
        return convergence(posterior.mu, posterior.cov, self.tally.pairs(), self._rule, posterior.component)

    @property
    def settled(self) -> bool:
        """Whether the stopping rule holds, or held at some time: what it stopped stays stopped."""
        self._refit()
        return self._settled

    @property
    def rated(self) -> int:
        """How many outcomes are evidence so far."""
        return self.tally.rated

    @property
    def misfit(self) -> bool:
        """Whether the outcomes do not fit one ranking (`checks.transitivity`)."""
        self._refit()
        return self._misfit

    def learn(self, outcome: Outcome) -> None:
        """One more outcome; those that are no evidence are counted only."""
        self.tally.add(outcome)
        if outcome.verdict.rated:
            self._learned[outcome.pair] += 1
            self._factor = None

    def sent(self, pair: tuple[str, str]) -> None:
        """An episode of this pair, in alphabetical order, is in flight."""
        self._in_flight[pair] += 1
        self._factor = None

    def returned(self, pair: tuple[str, str]) -> None:
        """It is no longer."""
        self._in_flight[pair] -= 1
        self._factor = None

    def disagreed(self) -> Sequence[tuple[str, str]]:
        """Pairs whose order two draws from the joint posterior disagree on; none where hundreds of draws agree.

        (Double Thompson sampling, Wu and Liu 2016, with a joint posterior.) The covariance is what it will be when all that is in
        flight has come back. Draws that differ in sign, but are both practically equal, do not disagree: the stopping rule does
        not ask for more. The first two draws that disagree are taken, for when few pairs are left in doubt most do not. Of their
        pairs those of neighbours in the ranking count, if there are any: the stopping rule asks about neighbours.
        """
        self._refit()
        if self._factor is None:
            pending = self._in_flight + self._learned
            count = np.array([pending[pair] for pair in self._pairs], dtype=np.float64)
            size = len(self._mean)
            precision = self._precision + laplacian(self._i, self._j, count * self._information, size)
            self._factor = np.linalg.cholesky(np.linalg.inv(precision))
        for number in _DRAWS:
            draws = self._mean + self._rng.standard_normal((2, number, len(self._mean))) @ self._factor.T
            first, second = draws[..., self._i] - draws[..., self._j]
            differ = (first * second < 0) & (np.maximum(np.abs(first), np.abs(second)) >= self._rule.delta)
            rows = np.flatnonzero(differ.any(axis=1))
            if len(rows):
                doubtful = differ[rows[0]]
                near = doubtful & self._near
                return [self._pairs[n] for n in np.flatnonzero(near if near.any() else doubtful)]
        return []

    def _refit(self) -> None:
        grown = self.tally.rated - self._fitted
        if self._posterior is not None and grown < max(1, self._fitted // _REFIT_GROWTH):
            return
        self._fitted = self.tally.rated
        cells = effective_cells(self.tally)
        self._posterior = fit_cells(cells, len(self.tally.values))
        self._settled = self._settled or self.convergence.settled
        self._misfit = transitivity(cells, len(self.tally.values)).passed is False
        self._learned.clear()
        self._factor = None
        self._mean = self._posterior.mu
        self._precision = np.linalg.inv(self._posterior.cov)
        self._pairs = [(pair.value_a, pair.value_b) for pair in self.tally.pairs()]
        self._i, self._j = self.tally.indices(self._pairs)
        place = np.argsort(np.argsort(-self._mean))
        self._near = np.abs(place[self._i] - place[self._j]) == 1
        # What one more outcome of a pair will tell, in expectation.
        chance = ndtr(self._mean[self._i] - self._mean[self._j])
        density = np.exp(-0.5 * (self._mean[self._i] - self._mean[self._j]) ** 2) / math.sqrt(2 * math.pi)
        self._information = density**2 / np.maximum(chance * (1 - chance), 1e-12)
