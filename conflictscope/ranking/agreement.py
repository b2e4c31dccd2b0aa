"""How far answers agree: of two raters, of one rater in both orders, of one rater asked again."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from itertools import chain

import numpy as np
from scipy.special import ndtri

from conflictscope.audit import Figure
from conflictscope.rating import FloatArray

_Z95 = float(ndtri(0.975))


def cohen_kappa(first: Sequence[Hashable], second: Sequence[Hashable]) -> Figure:
    """Agreement of two raters beyond chance, in [-1, 1]; 1 where they never disagree, even if in one category throughout.

    first, second: the category that each named for each item, of equal length. The interval is asymptotic: for many items,
    and of no width where they never disagree. Raises ValueError without items, or for unequal lengths. Source: Cohen 1960;
    the standard error, Fleiss, Cohen and Everitt 1969.
    """
    table = _crossed(first, second)
    share = table / table.sum()
    rows, columns = share.sum(axis=1), share.sum(axis=0)
    agreed, by_chance = float(np.trace(share)), float(rows @ columns)
    items = len(first)
    if table.sum() == np.trace(table):
        return Figure(1.0, 1.0, 1.0, items)
    kappa = (agreed - by_chance) / (1 - by_chance)
    both = (
        rows[None, :] + columns[:, None]
    )  # of cell (k, l): the margins that its two categories have with the other rater
    on_diagonal = np.diag(share) @ ((1 - np.diag(both) * (1 - kappa)) ** 2)
    off_diagonal = (1 - kappa) ** 2 * (np.sum(share * both**2) - np.diag(share) @ np.diag(both) ** 2)
    rest = (kappa - by_chance * (1 - kappa)) ** 2
    error = math.sqrt(max(0.0, on_diagonal + off_diagonal - rest) / items) / (1 - by_chance)
    return Figure(kappa, max(-1.0, kappa - _Z95 * error), min(1.0, kappa + _Z95 * error), items)


def krippendorff_alpha(items: Sequence[Sequence[Hashable]]) -> Figure:
    """Agreement of any number of raters beyond chance, at most 1; 1 where they never disagree.

    items: of each item, the categories that its raters named, in any order and number; items that fewer than two named say
    nothing. The interval is by the jackknife over items; of one item, it is [-1, 1]. Raises ValueError where no item was
    named twice. Source: Krippendorff 2019, chapter 12, for nominal data; with the same raters throughout it is Fleiss' kappa
    but for the correction for a small sample.
    """
    rated = [item for item in items if len(item) >= 2]
    if not rated:
        raise ValueError("no item was judged by two raters")
    counts = _named(rated)
    raters = counts.sum(axis=1)
    disagreed = (raters**2 - np.sum(counts**2, axis=1)) / (raters - 1)  # (N,): ordered pairs of an item, by its raters

    def alpha(disagreed: FloatArray, by_category: FloatArray) -> FloatArray:
        """(...): from the sum over items, and the sums (..., C) by category."""
        total = by_category.sum(axis=-1)
        by_chance = (total**2 - np.sum(by_category**2, axis=-1)) / (total - 1)
        return np.where(disagreed > 0, 1 - disagreed / np.where(by_chance > 0, by_chance, 1), 1.0)

    return _jackknifed(
        float(alpha(disagreed.sum(), counts.sum(axis=0))),
        alpha(disagreed.sum() - disagreed, counts.sum(axis=0) - counts),
    )


def fleiss_kappa(items: Sequence[Sequence[Hashable]]) -> Figure:
    """Agreement of a number of raters, at least 2 and the same for all items, beyond chance; 1 where they never disagree.

    items: of each item, the categories that its raters named, in any order. The interval is by the jackknife over items; of
    one item, it is [-1, 1]. Raises ValueError without items, or where the number of raters differs or is below 2. Source:
    Fleiss 1971.
    """
    numbers = {len(item) for item in items}
    if len(numbers) != 1 or min(numbers) < 2:
        raise ValueError(
            f"all items must have the same number of raters, at least 2, got {sorted(numbers) or 'no item'}"
        )
    [raters] = numbers
    counts = _named(items)
    agreed = (np.sum(counts**2, axis=1) - raters) / (raters * (raters - 1))  # (N,): share of pairs of raters

    def kappa(agreed: FloatArray, by_category: FloatArray) -> FloatArray:
        """(...): from the mean over items, and the sums (..., C) by category."""
        by_chance = np.sum((by_category / by_category.sum(axis=-1, keepdims=True)) ** 2, axis=-1)
        return np.where(agreed < 1, (agreed - by_chance) / np.where(by_chance < 1, 1 - by_chance, 1), 1.0)

    total, rest = counts.sum(axis=0), max(1, len(items) - 1)
    without = kappa((agreed.sum() - agreed) / rest, total - counts) if len(items) > 1 else agreed
    return _jackknifed(float(kappa(agreed.mean(), total)), without)


def flip_rate(original: Sequence[Hashable], swapped: Sequence[Hashable]) -> Figure:
    """Share of items that a rater judges otherwise in the other order, with Wilson's interval.

    original, swapped: what it named in each order, mapped back. Raises ValueError without items, or for unequal lengths.
    """
    table = _crossed(original, swapped)
    return proportion(int(table.sum() - np.trace(table)), len(original))


def proportion(count: int, total: int) -> Figure:
    """A share with Wilson's interval. Raises ValueError unless 0 <= count <= total and total > 0. Source: Wilson 1927."""
    if not 0 <= count <= total or total == 0:
        raise ValueError(f"count must be in 0..total, and total above 0, got {count} of {total}")
    share, weight = count / total, _Z95**2 / total
    middle = (share + weight / 2) / (1 + weight)
    spread = math.sqrt(weight * (share * (1 - share) + weight / 4)) / (1 + weight)
    # Rounding may leave a share of 0 or 1 just outside.
    return Figure(share, min(share, max(0.0, middle - spread)), max(share, min(1.0, middle + spread)), total)


def difference(first: Figure, second: Figure) -> Figure:
    """The first share less the second, of independent items, in [-1, 1]. Source: Newcombe 1998, method 10."""
    value = first.value - second.value
    low = value - math.hypot(first.value - first.low, second.high - second.value)
    high = value + math.hypot(first.high - first.value, second.value - second.low)
    return Figure(value, low, high, first.items + second.items)


def retest_agreement(answers: Sequence[Sequence[Hashable]]) -> Figure:
    """The chance that two answers to one question are the same.

    answers: of each question, its repeats, two at least. Mean over questions; the interval treats questions, not answers, as
    independent. Raises ValueError without questions, or for one that was not repeated.
    """
    for number, repeats in enumerate(answers):
        if len(repeats) < 2:
            raise ValueError(f"question {number} was not repeated: it has {len(repeats)} of at least 2 answers")
    same = [
        sum(count * (count - 1) for count in Counter(repeats).values()) / (len(repeats) * (len(repeats) - 1))
        for repeats in answers
    ]
    return _mean_by_item(np.array(same), np.ones(len(same)))


def order_bias(named_first: Sequence[Sequence[bool]]) -> Figure:
    """Share of looks that name the action shown first; 0.5 is none, where each item is shown as often in either order.

    named_first: of each item, its looks in both orders. The interval treats items, not looks, as independent. Raises
    ValueError without items, or for one without looks.
    """
    for number, looks in enumerate(named_first):
        if not looks:
            raise ValueError(f"item {number} has no look")
    return _mean_by_item(
        np.array([sum(looks) for looks in named_first], dtype=np.float64),
        np.array([len(looks) for looks in named_first], dtype=np.float64),
    )


def _named(items: Sequence[Sequence[Hashable]]) -> FloatArray:
    """(N, C): how often each item was put in each category."""
    place = {category: number for number, category in enumerate(dict.fromkeys(chain.from_iterable(items)))}
    row = np.repeat(np.arange(len(items)), [len(item) for item in items])
    column = np.array([place[category] for category in chain.from_iterable(items)])
    cells = np.bincount(row * len(place) + column, minlength=len(items) * len(place))
    return cells.reshape(len(items), len(place)).astype(np.float64)


def _jackknifed(value: float, without: FloatArray) -> Figure:
    """A coefficient in [-1, 1] with its interval. without: (N,) the same with each item left out."""
    items = len(without)
    if items == 1:
        return Figure(value, -1.0, 1.0, 1)
    error = math.sqrt((items - 1) / items * float(np.sum((without - without.mean()) ** 2)))
    return Figure(value, max(-1.0, value - _Z95 * error), min(1.0, value + _Z95 * error), items)


def _crossed(first: Sequence[Hashable], second: Sequence[Hashable]) -> FloatArray:
    """(C, C): how often the first rater named the category of the row and the second that of the column."""
    if len(first) != len(second):
        raise ValueError(f"both raters must judge the same items, got {len(first)} and {len(second)}")
    if not first:
        raise ValueError("no item to agree on")
    place = {category: number for number, category in enumerate(dict.fromkeys([*first, *second]))}
    rows, columns = (np.array([place[category] for category in named]) for named in (first, second))
    cells = np.bincount(rows * len(place) + columns, minlength=len(place) ** 2)
    return cells.reshape(len(place), len(place)).astype(np.float64)


def _mean_by_item(total: FloatArray, weight: FloatArray) -> Figure:
    """The ratio of the sums, with the interval of the ratio estimator over items (Cochran 1977, section 2.11).

    One item has no spread to tell an interval from: it is [0, 1].
    """
    items = len(total)
    if not items:
        raise ValueError("no item to agree on")
    mean = float(total.sum() / weight.sum())
    if items == 1:
        return Figure(mean, 0.0, 1.0, 1)
    error = math.sqrt(items / (items - 1) * float(np.sum((total - mean * weight) ** 2))) / float(weight.sum())
    return Figure(mean, max(0.0, mean - _Z95 * error), min(1.0, mean + _Z95 * error), items)
