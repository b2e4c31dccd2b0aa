"""Whether the judge's strength, 1 to 7, is worth listening to.

Where it tells how clear a win was, it is worth about half as much data again; where it does not, it hurts. So it is put to the
test: it enters the ranking only where utilities that were fitted with it foretell held-out wins, ties and losses better.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from conflictscope.ranking.probit import Levels, fit_map, level_terms
from conflictscope.ranking.tally import Cells, Tally
from conflictscope.rating import FloatArray
from conflictscope.seeds import derive

_FOLDS = 5
_LEAST_OUTCOMES = 50


@dataclass(frozen=True)
class StrengthTest:
    """graded: whether the ordinal model is used. gain: held-out log-loss per outcome of the three-level model less that of the
    ordinal one, in nats; error: its standard error; both None where there was nothing to test. says: why, in words."""

    graded: bool
    gain: float | None
    error: float | None
    says: str


def strength_test(tally: Tally, intraclass: float = 0.0) -> StrengthTest:
    """Cross-validation in 5 folds of scenarios. The ordinal model is taken where it wins by more than the standard error."""
    cells = tally.cells(intraclass)
    if not np.any(cells.graded & (cells.level != 0)):
        return StrengthTest(False, None, None, "three levels (win, tie, loss): no strengths were recorded")
    if len(np.unique(np.abs(cells.level[cells.graded & (cells.level != 0)]))) < 2:
        return StrengthTest(False, None, None, "three levels (win, tie, loss): all recorded strengths are equal")
    if tally.rated < _LEAST_OUTCOMES:
        says = (
            f"three levels (win, tie, loss): {tally.rated} outcomes are too few to test strengths ({_LEAST_OUTCOMES})"
        )
        return StrengthTest(False, None, None, says)
    place = {scenario: derive("fold", scenario) % _FOLDS for scenario, _ in tally.scenarios()}
    gains, weights = [], []
    for fold in range(_FOLDS):
        kept = tally.cells(intraclass, lambda scenario, fold=fold: place[scenario] != fold)  # type: ignore[misc]
        held = tally.cells(intraclass, lambda scenario, fold=fold: place[scenario] == fold)  # type: ignore[misc]
        loss = {graded: _losses(kept, held, len(tally.values), graded=graded) for graded in (False, True)}
        gains.append(loss[False] - loss[True])
        weights.append(held.count)
    gain, weight = np.concatenate(gains), np.concatenate(weights)
    mean = float(np.average(gain, weights=weight))
    error = math.sqrt(float(np.average((gain - mean) ** 2, weights=weight)) / float(weight.sum()))
    graded = mean > error
    used = "ordinal, with the judge's strengths" if graded else "three levels (win, tie, loss)"
    better = "better" if mean > 0 else "worse"
    says = f"{used}: strengths foretell held-out outcomes {abs(mean):.4f} nats {better} (standard error {error:.4f})"
    return StrengthTest(graded, mean, error, says)


def _losses(kept: Cells, held: Cells, size: int, *, graded: bool) -> FloatArray:
    """(N,) minus log-probability of being a win, a tie or a loss, for each held-out cell, by a fit to the others."""
    levels = Levels.of(kept, size, graded=graded)
    fit = fit_map(levels)
    margin = fit.cutpoints[0] if levels.tied else 0.0
    d = fit.mu[held.i] - fit.mu[held.j]
    low = np.select([held.level > 0, held.level < 0], [margin, -np.inf], default=-margin)
    high = np.select([held.level > 0, held.level < 0], [np.inf, -margin], default=margin)
    # Where the fit saw no tie, it gives a held-out one no chance; the least that is given is one in a million.
    return -np.maximum(level_terms(low - d, np.where(high > low, high, low + 1e-12) - d).log_p, math.log(1e-6))
