"""A judge that errs: how often it does, and the ranking when that is taken into account.

One look of a judge at a conversation in which one of two actions was taken names the other one with a probability that
depends on where the action that was taken stood: `wrong_first` where it was shown first, `wrong_second` where it was shown
second. A judge that names the action shown first with probability b, whatever was done, and otherwise errs with probability
e, has

    wrong_first = (1 - b) e        wrong_second = b + (1 - b) e

and every judge that does better than chance is one of these, with b < 0 for one that favours the action shown second. What
the judge calls a tie, or neither action, is taken to be that.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr

from conflictscope.outcome import PairedLooks
from conflictscope.ranking.components import components
from conflictscope.ranking.posterior import Posterior
from conflictscope.ranking.probit import CUT_SD, PRIOR_SD, differences, laplacian
from conflictscope.ranking.tally import Cells
from conflictscope.rating import FloatArray

FEWEST_LOOKS = 30
"""With fewer conversations, or labels, no error is estimated."""

# Of 1 - wrong_first - wrong_second: a judge at chance has 0, and what it says of the values is divided by this.
_LEAST_INFORMATION = 0.15
_MOST_STEPS = 200
_LONGEST_STEP = 1.0
_LEAST_GAIN = 0.1  # of what the slope promises: less, and the step is halved
_STEP_TOLERANCE = 1e-9


@dataclass(frozen=True)
class JudgeError:
    """How often the verdicts that a ranking rests on name the wrong action.

    wrong_first, wrong_second: where the action that was taken was shown first or second; each in [0, 1], together below 1.
    cov: (2, 2) covariance of the two estimates. source: what was counted, in words. one_look: of verdicts on which two looks
    agree, the error of one.
    """

    wrong_first: float
    wrong_second: float
    cov: FloatArray
    source: str
    one_look: JudgeError | None = None

    def __post_init__(self) -> None:
        rates = self.wrong_first, self.wrong_second
        if not (all(0 <= rate <= 1 for rate in rates) and sum(rates) < 1):
            raise ValueError(f"wrong_first and wrong_second must be in [0, 1] and together below 1, got {rates}")

    @property
    def order_bias(self) -> float:
        """The probability b of naming the action shown first whatever was done; negative: the one shown second. In (-1, 1)."""
        return self.wrong_second - self.wrong_first

    @property
    def order_bias_sd(self) -> float:
        """Standard error of `order_bias`."""
        return self._sd(-1.0, 1.0)

    @property
    def wrong(self) -> tuple[float, float]:
        """How often the wrong action is named where each is shown first as often as the other, and its standard error."""
        return 0.5 * (self.wrong_first + self.wrong_second), self._sd(0.5, 0.5)

    @property
    def flip(self) -> float:
        """The probability e, in [0, 0.5), of naming the wrong action where the order does not decide."""
        return min(self.wrong_first, self.wrong_second) / (1 - abs(self.order_bias))

    @property
    def flip_sd(self) -> float:
        """Standard error of `flip`."""
        less, more = sorted((self.wrong_first, self.wrong_second))
        by_less, by_more = ((1 - more) / (1 + less - more) ** 2, less / (1 + less - more) ** 2)
        return self._sd(by_less, by_more) if self.wrong_first <= self.wrong_second else self._sd(by_more, by_less)

    def agreed(self) -> JudgeError:
        """The error of verdicts on which two looks, one in each order, agree; errs where both do, independently."""
        first, second = self.wrong_first, self.wrong_second
        both_right, both_wrong = (1 - first) * (1 - second), first * second
        wrong = both_wrong / (both_right + both_wrong)
        slope = np.array([second * (1 - second), first * (1 - first)]) / (both_right + both_wrong) ** 2
        variance = float(slope @ self.cov @ slope)
        return JudgeError(wrong, wrong, np.full((2, 2), variance), self.source, self)

    @property
    def says(self) -> str:
        """What the judge does, with standard errors, and how that is known."""
        if self.one_look is not None:
            rates = f"{self.one_look._rates}; two looks that agree are wrong in {self.flip:.1%} (se {self.flip_sd:.1%})"
        else:
            rates = self._rates
        return f"{rates}; from {self.source}"

    @property
    def _rates(self) -> str:
        flip = f"names the wrong action in {self.flip:.1%} (se {self.flip_sd:.1%})"
        if self.order_bias_sd == 0:  # the order is not known
            return flip
        favoured = "first" if self.order_bias >= 0 else "second"
        bias = f"{abs(self.order_bias):.1%} (se {self.order_bias_sd:.1%})"
        return f"{flip}, and the one shown {favoured}, whatever was done, in {bias}"

    @property
    def figures(self) -> dict[str, float]:
        """For `--json`: the probabilities and their standard errors, and those of one look where it takes two."""
        names = ("flip", "flip_sd", "order_bias", "order_bias_sd")
        figures = {name: float(getattr(self, name)) for name in names}
        if self.one_look is not None:
            figures |= {f"one_look_{name}": value for name, value in self.one_look.figures.items()}
        return figures

    def _sd(self, by_first: float, by_second: float) -> float:
        slope = np.array([by_first, by_second])
        return math.sqrt(slope @ self.cov @ slope)


@dataclass(frozen=True, slots=True)
class Uncorrected:
    """Why there is no estimate of the judge's error."""

    reason: str


_AT_CHANCE = Uncorrected("the judge names the right action hardly more often than by chance: nothing can be corrected")


def estimate_judge_error(looks: PairedLooks) -> JudgeError | Uncorrected:
    """The error of one look, from conversations that a judge saw in both orders.

    With errors that are independent given what was done, it names the action shown first both times, or the one shown second,
    with the probabilities

        F = (1 - wrong_first) wrong_second        S = wrong_first (1 - wrong_second)

    which two equations have one solution for a judge that is right more often than wrong. Errors that both looks share, because
    the conversation itself misleads, are not seen: the bias of the order is found, but the rest is a lower bound.
    """
    number = looks.conversations
    if number < FEWEST_LOOKS:
        return Uncorrected(
            f"fewer than {FEWEST_LOOKS} conversations in which the judge named an action in both orders ({number})"
        )
    first, second = looks.both_first / number, looks.both_second / number
    wrong_first, wrong_second = map(float, wrong_rates(first, second))
    if 1 - wrong_first - wrong_second < _LEAST_INFORMATION:
        return _AT_CHANCE
    slope = np.linalg.inv([[-wrong_second, 1 - wrong_first], [1 - wrong_second, -wrong_first]])
    # Half a count more in each of the three cells, so that what was never seen is not taken to be impossible.
    share = (np.array([looks.both_first, looks.both_second]) + 0.5) / (number + 1.5)
    cov = slope @ ((np.diag(share) - np.outer(share, share)) / number) @ slope.T
    source = (
        f"{number:,} conversations judged in both orders ({looks.changed / number:.1%} judged otherwise in the other order, "
        f"kappa {looks.kappa:.2f}; errors that both looks share are not seen)"
    )
    return JudgeError(wrong_first, wrong_second, cov, source)


def wrong_rates(first: ArrayLike, second: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """wrong_first and wrong_second from the shares that name the action shown first both times, and the one shown second.

    Arrays of one shape. A judge that is at chance, or below it as shares of a sample may have it, is taken to be at chance.
    """
    f, s = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    information = np.sqrt(np.maximum((1 - f - s) ** 2 - 4 * f * s, 0.0))  # 1 - wrong_first - wrong_second
    return (1 - f + s - information) / 2, (1 + f - s - information) / 2


def judge_error_from_gold(looks: Iterable[tuple[bool | None, bool]]) -> JudgeError | Uncorrected:
    """From verdicts whose truth is known, best of conversations that were picked at random.

    looks: for each, whether the action that was taken was shown first (None: not known, or the verdict rests on both orders), and
    whether the verdict names the other one. Where an order is not known, one rate is estimated for both.
    """
    rows = list(looks)
    if len(rows) < FEWEST_LOOKS:
        return Uncorrected(
            f"fewer than {FEWEST_LOOKS} gold labels of conversations with a verdict a or b ({len(rows)})"
        )
    placed = [[wrong for first, wrong in rows if first is place] for place in (True, False)]
    by_order = all(placed) and sum(map(len, placed)) == len(rows)
    samples = placed if by_order else [[wrong for _, wrong in rows]]
    rates = [sum(sample) / len(sample) for sample in samples]
    smooth = [(sum(sample) + 0.5) / (len(sample) + 1) for sample in samples]
    variances = [p * (1 - p) / len(sample) for p, sample in zip(smooth, samples, strict=True)]
    cov = np.diag(variances) if by_order else np.full((2, 2), variances[0])
    if sum(rates) * 2 / len(rates) > 1 - _LEAST_INFORMATION:
        return _AT_CHANCE
    return JudgeError(rates[0], rates[-1], cov, f"{len(rows):,} gold labels")


# By `Cells.shown_first` (not known, i, j): the share that wrong_first and wrong_second have in how often a judge errs where the
# action of i was taken, and where that of j was. Where the order is not known, either is as likely.
_SHARES = np.array([[[0.5, 0.5], [0.5, 0.5]], [[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]]])


@dataclass(frozen=True)
class _Named:
    """What the judge may name in each row: that i won, that j did, and a tie where there are ties (L levels).

    p: (L, N) probabilities. by: (4, L, N) their derivatives in the difference of utilities d, the margin m, wrong_first and
    wrong_second. twice: (3, L, N) their second derivatives in dd, dm and mm.
    """

    p: FloatArray
    by: FloatArray
    twice: FloatArray

    @classmethod
    def at(cls, d: FloatArray, margin: float, tied: bool, rates: FloatArray, shares: FloatArray) -> _Named:
        """d: (N,). rates: (2,) wrong_first and wrong_second. shares: (N, 2, 2), rows of _SHARES."""
        above, below = d - margin, d + margin
        won, lost = ndtr(above), ndtr(-below)
        tie = ndtr(margin - np.abs(d)) - ndtr(-margin - np.abs(d))
        density_won, density_lost = (np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi) for x in (above, below))
        wrong_i, wrong_j = (shares @ rates).T  # where i's action was taken, where j's was
        # How much of what was won, and of what was lost, is named as each level.
        of_won, of_lost = np.array([1 - wrong_i, wrong_i]), np.array([wrong_j, 1 - wrong_j])
        p = of_won * won + of_lost * lost
        moved = np.array([-1, 1])[:, None] * (won[:, None] * shares[:, 0] - lost[:, None] * shares[:, 1]).T[:, None]
        if tied:
            p = np.vstack([p, tie])
            of_won, of_lost = (np.vstack([share, np.full_like(d, -1.0)]) for share in (of_won, of_lost))
            moved = np.concatenate([moved, np.zeros((2, 1, len(d)))], axis=1)
        by_won, by_lost = of_won * density_won, of_lost * density_lost
        bent_won, bent_lost = above * by_won, below * by_lost
        return cls(
            np.maximum(p, 1e-300),
            np.stack([by_won - by_lost, -by_won - by_lost, *moved]),
            np.stack([bent_lost - bent_won, bent_lost + bent_won, bent_lost - bent_won]),
        )


def fit_corrected(cells: Cells, size: int, error: JudgeError, *, prior_sd: float = PRIOR_SD) -> Posterior:
    """The joint posterior of `size` utilities from verdicts that may be wrong.

    The model is that of `probit.py` with three levels (win, tie, loss; how clear a win was is left aside), seen through the
    judge's error. error: of the verdicts in `cells`; where they rest on both orders, that is `JudgeError.agreed()`. prior_sd: of
    each utility before any outcome. The most probable utilities by Newton's method, and by Fisher scoring wherever the
    log-posterior is not concave; their covariance is the inverse of the expected information, and what the uncertainty of the
    error adds to it.
    """
    i, j, count = cells.i, cells.j, cells.count
    tied = bool(np.any(cells.level == 0))
    rates, shares = np.array([error.wrong_first, error.wrong_second]), _SHARES[cells.shown_first]
    # Of each row, the level that was named.
    named = np.select([cells.level > 0, cells.level < 0], [0, 1], default=2), np.arange(len(count))
    free = size + tied  # the margin is the last unknown, where there are ties
    prior = np.append(np.full(size, prior_sd**-2.0), CUT_SD**-2.0)[:free]

    def at(point: FloatArray) -> tuple[float, _Named]:
        levels = _Named.at(point[i] - point[j], float(point[size:].sum()), tied, rates, shares)
        return float(count @ np.log(levels.p[named]) - 0.5 * prior @ point**2), levels

    def gradient(in_d: FloatArray, in_margin: FloatArray) -> FloatArray:
        """(free,) from (N,) in the differences and in the margin."""
        return np.append(differences(i, j, in_d, size), in_margin.sum())[:free]

    def curvature(dd: FloatArray, dm: FloatArray, mm: FloatArray) -> FloatArray:
        """(free, free): minus the second derivatives, from those (N,) of the likelihood."""
        whole = np.zeros((size + 1, size + 1))
        whole[:size, :size] = laplacian(i, j, count * dd, size)
        whole[size, :size] = whole[:size, size] = differences(i, j, count * dm, size)
        whole[size, size] = count @ mm
        return whole[:free, :free] + np.diag(prior)

    def information(levels: _Named) -> FloatArray:
        """(4, 4, N): what an outcome of each row is expected to tell about the four things that `by` derives in."""
        about: FloatArray = np.einsum("aln,bln->abn", levels.by, levels.by / levels.p)
        return about

    point = np.append(np.zeros(size), 0.5)[:free]
    value, levels = at(point)
    for _ in range(_MOST_STEPS):
        score, bent = levels.by[:2, *named] / levels.p[named], levels.twice[:, *named] / levels.p[named]
        # Steps are in the logarithm of the margin, which keeps it above 0, and the likelihood of rare ties close to a parabola.
        scale = np.append(np.ones(size), point[size:])
        slope = scale * (gradient(*(count * score)) - prior * point)
        bending = np.outer(scale, scale) * curvature(
            score[0] ** 2 - bent[0], score[0] * score[1] - bent[1], score[1] ** 2 - bent[2]
        )
        bending[size:, size:] -= slope[size:]
        if np.linalg.eigvalsh(bending)[0] <= 0:
            about = information(levels)
            bending = np.outer(scale, scale) * curvature(about[0, 0], about[0, 1], about[1, 1])
        step = np.linalg.solve(bending, slope)
        step *= min(1.0, _LONGEST_STEP / max(float(np.abs(step).max(initial=0.0)), 1e-300))
        share, gain, rounding = 1.0, _LEAST_GAIN * float(slope @ step), 1e-15 * (count.sum() + abs(value))
        while True:
            moved = np.append(point[:size] + share * step[:size], point[size:] * np.exp(share * step[size:]))
            reached = at(moved)
            if reached[0] >= value + share * gain - rounding:
                break
            share /= 2
        point, (value, levels) = moved, reached
        # On counts that differ a millionfold rounding keeps steps from becoming so small; the last point is as good then.
        if float(np.abs(step).max(initial=0.0)) < _STEP_TOLERANCE:
            break
    about = information(levels)
    cov = np.linalg.inv(curvature(about[0, 0], about[0, 1], about[1, 1])).astype(np.float64, copy=False)
    # How the utilities move with the rates, by implicit differentiation of the score. With 100 gold labels, coverage of 95 %
    # intervals is 87 % without this and 94 % with it.
    moves = cov @ np.array([gradient(*(count * about[:2, rate])) for rate in (2, 3)]).T
    cov += moves @ error.cov @ moves.T
    margin = float(point[size:].sum())
    return Posterior(point[:size], cov[:size, :size], margin, components(-laplacian(i, j, count, size)))
