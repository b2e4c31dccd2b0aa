"""What views show, made up: rankings, histories, comparisons and audits of any size."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from conflictscope.audit import Audit, Figure, OrderEffect
from conflictscope.board import Flips, History, Stretch
from conflictscope.comparison import Alignment, Comparison, Estimate, PairAlignment, ValueShift
from conflictscope.outcome import Group, Mode, Verdict
from conflictscope.rating import Convergence, Method, PairCount, Ranking, Rating
from conflictscope.snapshot import Purpose, Usage

GROUP = Group("planted:guardian", Mode.OPEN_ENDED)
NAMES = ("candour", "care", "thrift", "loyalty", "privacy", "fairness")


def names(count: int) -> tuple[str, ...]:
    """So many values."""
    return NAMES[:count] if count <= len(NAMES) else tuple(f"value-{number:02}" for number in range(count))


def ranking(
    values: tuple[str, ...] = NAMES,
    group: Group = GROUP,
    method: Method = Method.POSTERIOR,
    excluded: dict[Verdict, int] | None = None,
    decided: bool = True,
) -> Ranking:
    """The values in their order, half a probit unit apart; `decided` False: nothing but what was left out."""
    size = len(values)
    pairs = tuple(
        PairCount(*sorted((a, b)), *((8, 3, 1) if decided else (0, 0, 0)), excluded or {})
        for a, b in combinations(values, 2)
    )
    above = np.triu(np.full((size, size), 0.99), 1)
    above += np.tril(np.full((size, size), 0.01), -1) + np.diag(np.full(size, 0.5))
    return Ranking(
        group,
        method,
        ratings={value: Rating(0.5 * (size - k), 0.2) for k, value in enumerate(values)},
        component=dict.fromkeys(values, 0) if decided else {value: k for k, value in enumerate(values)},
        p_above=above,
        pairs=pairs,
        convergence=Convergence(0.01 if decided else 1.0, 12 if decided else 0),
        resolved_share=1.0 if decided else 0.0,
    )


def history(values: tuple[str, ...] = NAMES, group: Group = GROUP, moments: int = 40) -> History:
    """Ratings that come apart; doubt is not known at first."""
    n = np.arange(1, moments + 1)
    mu = 25 + np.outer(np.linspace(0, 1, moments), np.linspace(4, -4, len(values)))
    spread = (8 / np.sqrt(n))[:, None]
    doubt = np.exp(-n / 8.0)
    doubt[: moments // 10] = np.nan
    return History(group, values, 3 * n, mu, mu - spread, mu + spread, doubt)


def comparison(values: tuple[str, ...] = NAMES, second: Group | None = None) -> Comparison:
    """Every second value moves for sure."""
    shifts = tuple(
        ValueShift(value, 0, (1 - 0.4 * k, 1 - 0.4 * k + d), Estimate(d, d - 0.3, d + 0.3), (k + 1.0, len(values) - k), Estimate(0, -1, 1))
        for k, value in enumerate(values)
        for d in (0.8 if k % 2 else 0.1,)
    )  # fmt: skip
    after = second or Group(GROUP.target, Mode.MULTIPLE_CHOICE)
    return Comparison(GROUP, after, shifts, Estimate(0.3, -0.1, 0.6), Estimate(0.4, 0, 0.7), 120, (3, 4), 15, ())


def alignment(group: Group | None = None) -> Alignment:
    """A steering that reached half of what there was to gain."""
    half, more = Estimate(0.5, 0.4, 0.6), Estimate(0.75, 0.65, 0.85)
    return Alignment(
        group or Group(GROUP.target, GROUP.mode, "care-first"),
        ("care", "candour"),
        half,
        more,
        Estimate(0.25, 0.1, 0.4),
        Estimate(0.5, 0.2, 0.8),
        (PairAlignment("care", "candour", half, more, (80, 80)),),
        80,
        ("thrift",),
    )


def audited(judge: str = "planted:judge", values: tuple[str, ...] = NAMES) -> Audit:
    """One judge that saw all in both orders."""
    share = Figure(0.12, 0.08, 0.17, 240)
    pairs = [None, *combinations(values, 2)]
    orders = tuple(OrderEffect(judge, pair, True, 240, share, bias=share, error=share) for pair in pairs)
    return Audit(240, orders, None, None, (), (), (), (), (), (), (), ())


def timeline(stretches: int = 30) -> list[Stretch]:
    """A minute each."""
    return [
        Stretch(f"2026-01-01T00:{minute:02}:00+00:00", 60.0, 120, minute % 3, 300, 2, 1000, 500, 0.0123, 0.8)
        for minute in range(stretches)
    ]


USAGE = {
    Purpose("target", "openai:a", "openai:a"): Usage(calls=120, cost_usd=1.5),
    Purpose("judge", None, "openai:b"): Usage(calls=240, cost_usd=0.25),
}
FLIPS = {("candour", "care"): Flips(3, 24)}
