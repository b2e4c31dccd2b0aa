"""Comparing two planted targets on the same scenarios: do the intervals hold the truth, and what does pairing gain?"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np
from scipy.special import ndtr

from benchmarks.rankings.row import Row
from benchmarks.rankings.simulation import GROUP, NAMES, SIZE, SPREAD, pairs, tau
from conflictscope.comparison import Estimate
from conflictscope.outcome import Group, Mode
from conflictscope.ranking import GroupOutcomes, align, compare
from conflictscope.rating import FloatArray

_OTHER = Group("other", Mode.MULTIPLE_CHOICE)
_LIKENESS: dict[str, float | None] = {"equal": 0.0, "alike": 0.25, "unlike": None}


def rows(scale: float = 1.0) -> Iterator[Row]:
    """scale: multiplies the number of worlds."""
    for scenarios, repeats, worlds in ((60, 1, 300), (200, 1, 300), (1000, 1, 200), (5000, 1, 100), (200, 5, 200)):
        yield _differences(round(worlds * scale), scenarios, repeats)
    for words, shift in _LIKENESS.items():
        for scenarios in (200, 1000):
            yield _taus(round(200 * scale), scenarios, words, shift)
    for scenarios in (60, 200, 1000):
        yield from _alignments(round(600 * scale), scenarios)
    for repeats in (1, 5):
        yield _pairing(round(300 * scale), repeats)
    yield _speed()


def two_targets(
    rng: np.random.Generator,
    scenarios: int,
    shift: float | None,
    *,
    size: int = SIZE,
    repeats: int = 1,
    scenario_sd: float = 0.7,
    same: bool = True,
) -> tuple[GroupOutcomes, GroupOutcomes, FloatArray]:
    """Outcomes of two targets, and (2, K) true utilities: those that act over all scenarios, centred.

    shift: sd of what sets the second target's utilities apart from the first one's; None: they have nothing in common.
    same: whether an offset of a scenario, N(0, scenario_sd^2), is the same for both.
    """
    first = rng.normal(0, SPREAD, size)
    second = rng.normal(0, SPREAD, size) if shift is None else first + rng.normal(0, shift, size)
    i, j = (index[np.arange(scenarios) % len(index)] for index in pairs(size))
    offsets = rng.normal(0, scenario_sd, (2, scenarios))
    names = NAMES[:size]
    both = []
    for group, utility, offset in zip(
        (GROUP, _OTHER), (first, second), offsets[[0, 0] if same else [0, 1]], strict=True
    ):
        wins = rng.binomial(repeats, ndtr(utility[i] - utility[j] + offset)).tolist()
        rows = zip(i.tolist(), j.tolist(), wins, strict=True)
        counts = {(f"s{n}", (names[a], names[b])): (won, repeats - won, 0) for n, (a, b, won) in enumerate(rows)}
        both.append(GroupOutcomes(group, names, counts))
    truth = np.array([first, second]) / np.sqrt(1 + scenario_sd**2)
    return both[0], both[1], truth - truth.mean(axis=1, keepdims=True)


def _holds(estimate: Estimate, truth: float) -> bool:
    return bool(estimate.low - 1e-9 <= truth <= estimate.high + 1e-9)


def _coverage(check: str, held: Sequence[bool], least: float = 0.93, told: str = "") -> Row:
    share = float(np.mean(held))
    return Row(check, f">= {least:.2f}", f"{share:.3f}{told}", share >= least)


def _differences(worlds: int, scenarios: int, repeats: int) -> Row:
    rng = np.random.default_rng(scenarios + repeats)
    held = []
    for _ in range(worlds):
        first, second, truth = two_targets(rng, scenarios, 0.25, repeats=repeats)
        for shift in compare(first, second, rounds=400).shifts:
            k = NAMES.index(shift.value)
            held.append(_holds(shift.utility_difference, truth[1, k] - truth[0, k]))
    repeated = f" x {repeats} repeats" if repeats > 1 else ""
    check, share = (
        f"comparing: coverage of utility differences, {scenarios:,} scenarios{repeated}",
        float(np.mean(held)),
    )
    # With few outcomes the prior has its say, and intervals are a little wide.
    most, bound = (0.97, ".93 to .97") if scenarios >= 200 else (1.0, ">= .93")
    return Row(check, bound, f"{share:.3f}", 0.93 <= share <= most)


def _taus(worlds: int, scenarios: int, words: str, shift: float | None) -> Row:
    rng = np.random.default_rng(scenarios)
    held, widths = [], []
    for _ in range(worlds):
        first, second, truth = two_targets(rng, scenarios, shift)
        found = compare(first, second, rounds=400).tau
        assert found is not None
        held.append(_holds(found, tau(truth[0], truth[1])))
        widths.append(found.high - found.low)
    told = f" (mean width {np.mean(widths):.2f})"
    return _coverage(f"comparing: coverage of tau, {words} targets, {scenarios:,} scenarios", held, told=told)


def _alignments(worlds: int, scenarios: int) -> Iterator[Row]:
    rng = np.random.default_rng(scenarios + 1)
    ranking = NAMES[:SIZE]
    i, j = pairs()
    held: dict[str, list[bool]] = {"share with steering": [], "gain": [], "share of the possible gain": []}
    for _ in range(worlds):
        before, after, truth = two_targets(rng, scenarios, 0.5)
        found = align(ranking, before, after, rounds=400)
        was, became = (float(np.mean(ndtr(utility[i] - utility[j]))) for utility in truth)
        assert found.reached is not None
        reached = (became - was) / (1 - was)
        estimates = (found.after, found.gain, found.reached)
        for check, estimate, true in zip(held.values(), estimates, (became, became - was, reached), strict=True):
            check.append(_holds(estimate, true))
    for name, shares in held.items():
        yield _coverage(f"alignment: coverage of the {name}, {scenarios:,} scenarios", shares, least=0.92)


def _pairing(worlds: int, repeats: int) -> Row:
    """Variance of the error of utility differences: other scenarios for each target, against the same ones."""
    errors: dict[bool, list[float]] = {True: [], False: []}
    for same, error in errors.items():
        rng = np.random.default_rng(repeats)
        for _ in range(worlds):
            first, second, truth = two_targets(rng, 400, 0.25, repeats=repeats, scenario_sd=1.0, same=same)
            for shift in compare(first, second, rounds=2).shifts:
                k = NAMES.index(shift.value)
                error.append(shift.utility_difference.value - (truth[1, k] - truth[0, k]))
    gain = float(np.var(errors[False]) / np.var(errors[True]))
    check = f"comparing: variance saved by the same scenarios, scenario sd 1, {repeats} repeat{'s' * (repeats > 1)}"
    return Row(check, ">= 1.3 times", f"{gain:.2f} times", gain >= 1.3)


def _speed() -> Row:
    first, second, _ = two_targets(np.random.default_rng(1), 1200, 0.25, size=16)
    started = time.perf_counter()
    compare(first, second)
    taken = time.perf_counter() - started
    return Row("comparing: one pair of targets, 16 values, 1,200 scenarios", "<= 2 s", f"{taken:.2f} s", taken <= 2)
