"""What outcomes vary by: components of variance of a crossed design that need not be balanced.

Henderson's Method I (Henderson 1953; Searle, Casella and McCulloch 1992, section 5.3): an outcome is the sum of a mean, an
effect of its level of each factor, and a rest, all drawn independently. For each factor A, with n_a outcomes of level a and
their mean y_a,

    T_A = sum_a n_a y_a^2        E T_A = N mu^2 + sum_B k(A, B) var_B,    k(A, B) = sum_a sum_b n_ab^2 / n_a

and as many equations as there are unknowns are solved. The estimates are unbiased, whatever the effects are distributed like;
so one of a variance that is 0 is below 0 half of the time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy.special import stdtrit

from conflictscope.audit import FEWEST_FOR_SHARE, Components, Figure
from conflictscope.outcome import Group, JudgedEpisode, Side, Verdict
from conflictscope.rating import FloatArray, IntArray

_MOST_PARTS = 20
_POINTS = {Verdict.A: 1.0, Verdict.TIE: 0.5, Verdict.B: 0.0}


def components_of_variance(y: FloatArray, factors: Mapping[str, IntArray], rest: str = "residual") -> dict[str, float]:
    """The variance that each factor has a part in, and `rest` that of what is left.

    y: (N,). factors: (N,) each, the level of every outcome. Raises ValueError where the design cannot tell the factors apart.
    """
    number = len(y)
    levels = [np.unique(level, return_inverse=True)[1] for level in factors.values()]
    levels = [np.zeros(number, dtype=np.int64), *levels, np.arange(number)]
    counts = [np.bincount(level) for level in levels]
    totals = [float(np.sum(np.bincount(level, y) ** 2 / n)) for level, n in zip(levels, counts, strict=True)]
    k = np.empty((len(levels), len(levels)))
    for one, level in enumerate(levels):
        for other in range(one + 1):
            cells, n = np.unique(level * len(counts[other]) + levels[other], return_counts=True)
            a, b = np.divmod(cells, len(counts[other]))
            k[one, other] = np.sum(n**2 / counts[one][a])
            k[other, one] = np.sum(n**2 / counts[other][b])
    if np.linalg.matrix_rank(k) < len(k):
        raise ValueError(f"the design cannot tell apart: {', '.join([*factors, rest])}")
    _, *variances = np.linalg.solve(k, totals).tolist()  # the first is the square of the mean
    return dict(zip([*factors, rest], variances, strict=True))


@dataclass
class _Outcomes:
    """Of one group and pair of values, a row for each look that is rated (each episode, where nobody looked)."""

    points: list[float] = field(default_factory=list)
    scenario: list[int] = field(default_factory=list)
    episode: list[int] = field(default_factory=list)
    judge: list[int] = field(default_factory=list)
    order: list[int] = field(default_factory=list)


def variance_components(episodes: Iterable[JudgedEpisode]) -> tuple[Components, ...]:
    """What the outcomes of each group and pair of values vary by, as far as the run can tell.

    scenario: between scenarios of the pair. repeat: between episodes of one scenario; the seeds of target and user draw it.
    judge: between judges, the same for all episodes. order: the same of which value's action was shown first. look: what is
    left, between looks at one episode. Without repeats `scenario + repeat` cannot be told apart, nor can `repeat + look` with
    one look each; where both are missing nothing is told, nor of fewer scenarios than FEWEST_FOR_SHARE. A factor with one
    level has no component.

    Intervals: the jackknife over 20 parts of the scenarios (or over each, where they are fewer) with Student's t (Kott 2001).
    """
    rows: dict[tuple[Group, tuple[str, str]], _Outcomes] = defaultdict(_Outcomes)
    number: dict[object, int] = defaultdict(lambda: len(number))
    for place, episode in enumerate(episodes):
        outcome = episode.outcome
        looks: list[tuple[str | None, Side | None, Verdict]] = [
            (look.judge, look.shown_first, look.choice if look.resolved else Verdict.UNRESOLVED)
            for looks in episode.deciding.values()
            for look in looks
        ]
        looks = looks or [(outcome.judge, outcome.shown_first, outcome.verdict)]
        straight = outcome.pair[0] == outcome.value_a
        scenario, own = number["scenario", outcome.scenario_id], rows[outcome.group, outcome.pair]
        for judge, shown_first, choice in looks:
            if choice.rated:
                own.points.append(_POINTS[choice] if straight else 1 - _POINTS[choice])
                own.scenario.append(scenario)
                own.episode.append(place)
                own.judge.append(number["judge", judge])
                own.order.append(number["order", shown_first and (shown_first == "a") == straight])
    found = (_decomposed(*of, own) for of, own in sorted(rows.items(), key=lambda item: (str(item[0][0]), item[0][1])))
    return tuple(components for components in found if components is not None)


def _decomposed(group: Group, pair: tuple[str, str], rows: _Outcomes) -> Components | None:
    if not rows.points:  # all of it is unrated
        return None
    y = np.array(rows.points)
    scenario, episode, judge, order = (
        np.unique(column, return_inverse=True)[1] for column in (rows.scenario, rows.episode, rows.judge, rows.order)
    )
    looks, scenarios, episodes = len(y), int(scenario.max()) + 1, int(episode.max()) + 1
    if scenarios < FEWEST_FOR_SHARE or looks == scenarios:
        return None
    factors: dict[str, IntArray] = {"scenario": scenario}
    rest = "look"
    if looks == episodes:
        rest = "repeat + look"
    elif episodes == scenarios:
        factors = {"scenario + repeat": scenario}
    else:
        factors["repeat"] = episode
    factors |= {name: levels for name, levels in (("judge", judge), ("order", order)) if levels.any()}
    parts = min(_MOST_PARTS, scenarios)
    try:
        whole = components_of_variance(y, factors, rest)
        without = []
        for part in range(parts):
            kept = scenario % parts != part
            without.append(
                list(components_of_variance(y[kept], {n: f[kept] for n, f in factors.items()}, rest).values())
            )
    except ValueError:
        return None  # such as a judge that sees one order only
    jackknife = np.array(without)
    error = np.sqrt((parts - 1) / parts * np.sum((jackknife - jackknife.mean(axis=0)) ** 2, axis=0))
    spread = (float(stdtrit(parts - 1, 0.975)) * error).tolist()
    items = {"scenario": scenarios, "scenario + repeat": scenarios, "repeat": episodes, "repeat + look": episodes}
    items |= {"judge": int(judge.max()) + 1, "order": int(order.max()) + 1, "look": looks}
    variance = {
        name: Figure(value, value - by, value + by, items[name])
        for (name, value), by in zip(whole.items(), spread, strict=True)
    }
    return Components(group, pair, variance, looks, episodes, scenarios)
