"""Comparing two groups on the scenarios that both were given: what sets their rankings apart, and what a steering reached.

Scenarios are drawn jointly for both groups (a cluster bootstrap, Cameron, Gelbach and Miller 2008), so what a scenario does to
both cancels in the difference. Each round fits the probit model of `probit.py` anew, with a wide prior whose mean is drawn from
that prior, so that the little which the prior adds is uncertain too (randomised maximum a posteriori; Fong, Lyddon and Holmes
2019): a perfect record, which is the same in every round, still has an interval.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.special import ndtri

from conflictscope.comparison import Alignment, Comparison, Estimate, PairAlignment, ValueShift
from conflictscope.errors import InputError
from conflictscope.outcome import Group
from conflictscope.ranking.components import components
from conflictscope.ranking.judge_error import JudgeError, Uncorrected
from conflictscope.ranking.posterior import fit_posterior
from conflictscope.ranking.probit import fit_map_batched
from conflictscope.ranking.tally import Tally
from conflictscope.rating import FloatArray, IntArray

_ROUNDS = 1000
_PRIOR_SD = 1.5  # wide: that of a single ranking would draw two groups together
_LEVEL = 1e-6  # utilities that differ by less are equal, as far as the fit can tell
_MOST_NUMBERS = 4_000_000  # of a batch
_MOST_WRONG = 0.45  # of verdicts: nearer to chance they say nothing
_Z95 = float(ndtri(0.975))

BoolArray = NDArray[np.bool_]
Pair = tuple[str, str]


@dataclass(frozen=True)
class GroupOutcomes:
    """Rated outcomes of one group. values: of the run. counts: by scenario and pair of values, in alphabetical order: how often
    the first value won, the second won, the two tied. wrong: how often a decisive one is the wrong way round, as far as that is
    known, and the standard error of that."""

    group: Group
    values: tuple[str, ...]
    counts: Mapping[tuple[str, Pair], tuple[int, int, int]]
    wrong: tuple[float, float] = (0.0, 0.0)

    @classmethod
    def of(cls, group: Group, tally: Tally, error: JudgeError | Uncorrected | None = None) -> GroupOutcomes:
        """From the counts of the group, and the error of its verdicts."""
        counts = {}
        for key, levels in tally.scenarios().items():
            won, lost = sum(level > 0 for level in levels), sum(level < 0 for level in levels)
            counts[key] = (won, lost, len(levels) - won - lost)
        wrong = error.wrong if isinstance(error, JudgeError) else (0.0, 0.0)
        return cls(group, tuple(tally.values), counts, wrong)


@dataclass(frozen=True)
class _Shared:
    """What became of the scenarios that two groups share.

    pairs: (P,) of values. number: (C,) how many scenarios have the same outcomes in both groups. each: (C, 6 P) the outcomes of
    one of these: group x (first value won, second won, tied) x pair. unshared: scenarios of the first group only, of the second.
    """

    pairs: Sequence[Pair]
    number: IntArray
    each: csr_array
    unshared: tuple[int, int]

    @classmethod
    def of(cls, first: GroupOutcomes, second: GroupOutcomes, among: Collection[str] | None = None) -> _Shared:
        """Of all pairs, or those of two values `among` some. Raises InputError where no scenario is shared."""

        def wanted(pair: Pair) -> bool:
            return among is None or (pair[0] in among and pair[1] in among)

        keys = [key for key in first.counts.keys() & second.counts.keys() if wanted(key[1])]
        if not keys:
            what = "scenario" if among is None else f"scenario of two of the values {', '.join(among)}"
            raise InputError(f"{first.group} and {second.group}: no {what} has rated outcomes in both")
        pairs = sorted({pair for _, pair in keys})
        place = {pair: number for number, pair in enumerate(pairs)}
        scenarios: dict[str, list[tuple[int, ...]]] = defaultdict(list)
        for key in keys:
            scenarios[key[0]].append((place[key[1]], *first.counts[key], *second.counts[key]))
        # In order, so that a seed gives the same draws in every process.
        patterns = sorted(Counter(tuple(sorted(rows)) for rows in scenarios.values()).items())
        of_pattern = np.repeat(np.arange(len(patterns)), [len(rows) for rows, _ in patterns])
        table = np.array([row for rows, _ in patterns for row in rows])
        columns = table[:, :1] + len(pairs) * np.arange(6)
        each = csr_array(
            (table[:, 1:].ravel().astype(np.float64), (np.repeat(of_pattern, 6), columns.ravel())),
            shape=(len(patterns), 6 * len(pairs)),
        )
        only = [
            len({scenario for scenario, pair in own.counts if wanted(pair)} - scenarios.keys())
            for own in (first, second)
        ]
        return cls(pairs, np.array([number for _, number in patterns]), each, (only[0], only[1]))

    @property
    def scenarios(self) -> int:
        """How many scenarios are shared."""
        return int(self.number.sum())

    def seen(self) -> FloatArray:
        """(1, 2, 3, P): the counts as they are."""
        return self._by_kind(self.number[None].astype(np.float64))

    def drawn(self, rounds: int, rng: np.random.Generator) -> FloatArray:
        """(rounds, 2, 3, P): the counts had other scenarios been drawn."""
        at_once = max(1, _MOST_NUMBERS // len(self.number))
        share = self.number / self.scenarios
        return np.concatenate(
            [
                self._by_kind(
                    rng.multinomial(self.scenarios, share, size=min(at_once, rounds - start)).astype(np.float64)
                )
                for start in range(0, rounds, at_once)
            ]
        )

    def decided(self) -> FloatArray:
        """(2, P): how many scenarios have a decisive outcome."""
        size = len(self.pairs)
        wins = [
            self.each[:, start : start + size] + self.each[:, start + size : start + 2 * size]
            for start in (0, 3 * size)
        ]
        return np.array([self.number @ (won > 0) for won in wins], dtype=np.float64)

    def _by_kind(self, often: FloatArray) -> FloatArray:
        counts: FloatArray = (often @ self.each).reshape(len(often), 2, 3, len(self.pairs))
        return counts


def compare(first: GroupOutcomes, second: GroupOutcomes, *, rounds: int = _ROUNDS, seed: int = 0) -> Comparison:
    """How the utilities, ranks and rankings of two groups differ on the scenarios that they share.

    Where the error of a group's judge is known, outcomes are seen through it, in each round through one that is off by as much as
    it is uncertain, in both groups alike, for they have one judge. The interval of a difference of utilities is normal, with the
    standard deviation of the rounds; that of a difference of ranks is the central 95 % of the rounds. So are those of tau and
    rho, but for this: noise draws two rankings to be unlike, in each round once more. So where they are rather alike (above 0)
    the interval reaches up to 1 unless some two values are resolved in opposite orders, and where they are rather reversed it
    reaches down to -1 unless some two are resolved in the same order.
    rounds: of the bootstrap, at least 2. Raises InputError where no scenario is shared, or a group has no decisive outcome on
    those that are.
    """
    if rounds < 2:
        raise ValueError(f"rounds must be at least 2, got {rounds}")
    shared = _Shared.of(first, second)
    seen = shared.seen()
    for own, kinds in zip((first, second), seen[0], strict=True):
        if not kinds[:2].any():
            raise InputError(
                f"{own.group}: no decisive outcome on the {shared.scenarios} scenarios shared with "
                f"{(second if own is first else first).group}: all are ties"
            )
    rng = np.random.default_rng(seed)
    values = sorted({value for pair in shared.pairs for value in pair})
    index = {value: number for number, value in enumerate(values)}
    i, j = np.array([[index[a], index[b]] for a, b in shared.pairs]).T
    met = np.zeros((len(values), len(values)))
    met[i, j] = 1
    component = components(met)
    same = component[:, None] == component[None, :]
    counts = np.concatenate([seen, shared.drawn(rounds, rng)])
    off = np.append(0.0, rng.normal(size=rounds)) if first.wrong[1] or second.wrong[1] else np.zeros(rounds + 1)
    wrong = [np.clip(own.wrong[0] + off * own.wrong[1], 0.0, _MOST_WRONG) for own in (first, second)]
    both = np.stack([_utilities(counts[:, group], i, j, same, rng, wrong[group]) for group in (0, 1)], axis=1)
    mu, draws = both[:1], both[1:]
    signs, drawn_signs = order_signs(mu, same), order_signs(draws, same)
    ranks, drawn_ranks = _ranks(signs, same)[0], _ranks(drawn_signs, same)
    difference, spread = mu[0, 1] - mu[0, 0], np.std(draws[:, 1] - draws[:, 0], axis=0, ddof=1)
    low_rank, high_rank = _central(drawn_ranks[:, 1] - drawn_ranks[:, 0])
    orders = _resolved_orders(mu[0], draws, same)
    tau = rho = None
    if signs.any(axis=(2, 3)).all():
        tau = _likeness(kendall(signs), kendall(drawn_signs), orders)
        rho = _likeness(spearman(signs), spearman(drawn_signs), orders)
    shifts = [
        ValueShift(
            value,
            int(component[k]),
            (float(mu[0, 0, k]), float(mu[0, 1, k])),
            _estimate(difference[k], difference[k] - _Z95 * spread[k], difference[k] + _Z95 * spread[k]),
            (float(ranks[0, k]), float(ranks[1, k])),
            _estimate(ranks[1, k] - ranks[0, k], low_rank[k], high_rank[k]),
        )
        for k, value in enumerate(values)
    ]
    return Comparison(
        first.group,
        second.group,
        tuple(sorted(shifts, key=lambda shift: (-abs(shift.utility_difference.value), shift.value))),
        tau,
        rho,
        shared.scenarios,
        shared.unshared,
        len(shared.pairs),
        tuple(sorted({*first.values, *second.values} - set(values))),
    )


def _utilities(
    counts: FloatArray, i: IntArray, j: IntArray, same: BoolArray, rng: np.random.Generator, wrong: FloatArray
) -> FloatArray:
    """(B, K) utilities of one group from (B, 3, P) counts, less the mean of their component.

    The first counts are those that were seen, with a prior around 0; the others are draws. wrong: (B,) how often a win is told
    for the other value.
    """
    rounds, size = len(counts), len(same)
    wins, ties = np.zeros((rounds, size, size)), np.zeros((rounds, size, size))
    wins[:, i, j], wins[:, j, i] = counts[:, 0], counts[:, 1]
    ties[:, i, j] = ties[:, j, i] = counts[:, 2]
    # The margin says how wide a tie is, the same in every round; its error hardly touches a difference.
    margin = fit_posterior(wins[0], ties[0], prior_sd=_PRIOR_SD).margin
    prior_mean = rng.normal(0, _PRIOR_SD, (rounds, size))
    prior_mean[0] = 0.0
    at_once = max(1, _MOST_NUMBERS // size**2)
    mu = np.concatenate(
        [
            fit_map_batched(
                wins[some], ties[some] if margin > 0 else None, margin, _PRIOR_SD, prior_mean[some], wrong[some]
            )[0]
            for some in (slice(start, start + at_once) for start in range(0, rounds, at_once))
        ]
    )
    centred: FloatArray = mu - mu @ same / same.sum(axis=1)
    return centred


def order_signs(mu: FloatArray, same: BoolArray) -> FloatArray:
    """(..., K, K): 1 where the row of (..., K) utilities is above the column, -1 where below, 0 where level.

    same: (K, K), which have a common scale; 0 where they have none.
    """
    difference = mu[..., :, None] - mu[..., None, :]
    return np.where(same & (np.abs(difference) > _LEVEL), np.sign(difference), 0.0)


def _ranks(signs: FloatArray, same: BoolArray) -> FloatArray:
    """(..., K): 1 for the best of a component; values that are level share their mean rank."""
    ranks: FloatArray = (same.sum(axis=1) + 1 - signs.sum(axis=-1)) / 2
    return ranks


def kendall(signs: FloatArray) -> FloatArray:
    """(B,) Kendall's tau-b between two rankings given as (B, 2, K, K) signs; 0 where in one of them all values are level."""
    return _cosine(signs.reshape(*signs.shape[:2], -1))


def spearman(signs: FloatArray) -> FloatArray:
    """(B,) Spearman's rho of the same: a row of signs sums to the value's centred rank, times -2."""
    return _cosine(signs.sum(axis=-1))


def _cosine(both: FloatArray) -> FloatArray:
    first, second = both[:, 0], both[:, 1]
    length = np.sqrt(np.sum(first**2, axis=1) * np.sum(second**2, axis=1))
    cosine: FloatArray = np.divide(np.sum(first * second, axis=1), length, out=np.zeros_like(length), where=length > 0)
    return cosine


def _resolved_orders(mu: FloatArray, draws: FloatArray, same: BoolArray) -> FloatArray:
    """(2, K, K): signs of those differences within each group whose 95 % interval excludes 0."""
    both = []
    for own, drawn in zip(mu, np.swapaxes(draws, 0, 1), strict=True):
        cov = np.cov(drawn, rowvar=False)
        variance = np.diag(cov)[:, None] + np.diag(cov)[None, :] - 2 * cov
        difference = own[:, None] - own[None, :]
        both.append(order_signs(own, same) * (difference**2 > _Z95**2 * variance))
    return np.array(both)


def _likeness(seen: FloatArray, drawn: FloatArray, orders: FloatArray) -> Estimate:
    """An interval for tau or rho; orders: (2, K, K), the resolved ones of both groups."""
    low, high = _central(drawn)
    alike = orders[0] * orders[1]
    if seen[0] >= 0 and not np.any(alike < 0):
        high = 1.0
    if seen[0] <= 0 and not np.any(alike > 0):
        low = -1.0
    return _estimate(seen[0], low, high)


def _central(draws: FloatArray) -> FloatArray:
    """Ends of the central 95 % of the first axis, each a figure that was drawn."""
    ends: FloatArray = np.percentile(draws, [2.5, 97.5], axis=0, method="inverted_cdf")
    return ends


def _estimate(value: float, low: float, high: float) -> Estimate:
    return Estimate(float(value), float(low), float(high))


def align(
    ranking: Sequence[str], before: GroupOutcomes, after: GroupOutcomes, *, rounds: int = _ROUNDS, seed: int = 0
) -> Alignment:
    """What a steering that states `ranking`, best first, reached: `after` is the steered group, `before` the one without.

    The share of decisive outcomes that agree with the ranking, the mean over pairs of values (so that a pair with many scenarios
    counts no more than another), on the scenarios that both groups share. Intervals are the central 95 % of the bootstrap, with
    Jeffreys' half an outcome for and half a one against added, so that a share of 1 has an interval too. Raises InputError where
    no scenario of two values of the ranking is shared, or none has a decisive outcome in both groups.
    """
    place = {value: number for number, value in enumerate(ranking)}
    if len(place) < len(ranking):
        raise InputError(f"{after.group}: the ranking names a value twice: {', '.join(ranking)}")
    shared = _Shared.of(before, after, place)
    ahead = np.array([place[a] < place[b] for a, b in shared.pairs])
    agreed, decisive = _agreed(shared.seen(), ahead)
    used = np.flatnonzero((decisive[0] > 0).all(axis=0))
    if not len(used):
        raise InputError(
            f"{after.group}: no two values of the ranking have decisive outcomes with and without steering"
        )
    rng = np.random.default_rng(seed)
    share = agreed[0][:, used] / decisive[0][:, used]  # (2, P)
    drawn_agreed, drawn_decisive = (kind[:, :, used] for kind in _agreed(shared.drawn(rounds, rng), ahead))
    # A pair that a round has drawn no scenario of keeps its share.
    drawn = np.where(drawn_decisive > 0, drawn_agreed / np.maximum(drawn_decisive, 1), share)
    decided = shared.decided()[:, used]
    by_pair = _central(_softened(drawn, decided, rng))
    pairs = []
    for number, k in enumerate(used.tolist()):
        preferred, other = sorted(shared.pairs[k], key=place.__getitem__)
        was, became = (_estimate(share[g, number], *by_pair[:, g, number]) for g in (0, 1))
        outcomes = int(decisive[0, 0, k]), int(decisive[0, 1, k])
        pairs.append(PairAlignment(preferred, other, was, became, outcomes))
    mean = share.mean(axis=1)
    # As many scenarios of one pair would tell as much as these of several do.
    means = _softened(drawn.mean(axis=2), len(used) ** 2 / np.sum(1 / decided, axis=1), rng)
    gain, gains = mean[1] - mean[0], means[:, 1] - means[:, 0]
    reached = _estimate(gain / (1 - mean[0]), *_central(gains / (1 - means[:, 0]))) if mean[0] < 1 else None
    low, high = _central(means)
    named = {value for pair in pairs for value in (pair.preferred, pair.other)}
    return Alignment(
        after.group,
        tuple(ranking),
        before=_estimate(mean[0], low[0], high[0]),
        after=_estimate(mean[1], low[1], high[1]),
        gain=_estimate(gain, *_central(gains)),
        reached=reached,
        pairs=tuple(sorted(pairs, key=lambda pair: (place[pair.preferred], place[pair.other]))),
        scenarios=shared.scenarios,
        values_left_out=tuple(sorted({*before.values, *after.values, *ranking} - named)),
    )


def _agreed(counts: FloatArray, ahead: BoolArray) -> tuple[FloatArray, FloatArray]:
    """(B, 2, P) outcomes that agree with the ranking, and decisive ones. ahead: (P,) whether the pair's first is preferred."""
    return np.where(ahead, counts[:, :, 0], counts[:, :, 1]), counts[:, :, 0] + counts[:, :, 1]


def _softened(shares: FloatArray, outcomes: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Shares of a bootstrap with one outcome more, half for and half against, of a random weight as all have."""
    weight = rng.beta(1.0, outcomes, size=shares.shape)
    return (1 - weight) * shares + weight * rng.beta(0.5, 0.5, size=shares.shape)
