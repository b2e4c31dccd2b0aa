"""A forecast as people see it."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from conflictscope.forecast import Amount, Assumptions, RankingForecast, SweepForecast, UsageForecast
from conflictscope.outcome import Group, Mode
from conflictscope.ranking.planning import Design, Worlds, forecast
from conflictscope.views import print_forecast

TALK, CHOICE = Group("planted:alpha", Mode.OPEN_ENDED), Group("planted:alpha", Mode.MULTIPLE_CHOICE)


def ranking(*groups: Group, affordable: int | None = None) -> RankingForecast:
    design = Design.of({("care", "candour"): 20, ("candour", "thrift"): 20}, 1, "uniform", 0.25)
    rng = np.random.default_rng(1)
    worlds = Worlds.assumed(Assumptions(), 3, 50, rng)
    return forecast(design, worlds, groups, affordable=affordable, rng=rng)


def sweep_forecast(*rankings: RankingForecast, usd: float | None = 1.25) -> SweepForecast:
    cost = None if usd is None else Amount(usd / 2, usd, 2 * usd)
    calls, tokens = Amount(40, 123_456, 200_000), Amount(1e6, 12_345_678, 9e7)
    usage = UsageForecast(
        "target",
        "planted:alpha",
        "conversation",
        "a:" + "m" * 60,
        calls,
        tokens,
        tokens,
        cost,
        2.0,
        batch=False,
        measured=False,
    )
    return SweepForecast(
        "hhh", Assumptions(), None, "uniform", 80, rankings, (usage,), Amount(5, 70, 4000), "4 episodes in flight", 2.5,
        None, stops_early=True, notes=("a \x1b[31mnote",),
    )  # fmt: skip


def shown(told: SweepForecast, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False, color_system=None)
    print_forecast(console, told)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_one_ranking_is_a_chart_and_a_table() -> None:
    """The curve marks the plan and the money; resolved, tied, differences, calls, cost and time follow."""
    text = shown(sweep_forecast(ranking(TALK, CHOICE, affordable=12)))
    told = " ".join(text.split())
    for what in ("<- the plan", "<- the money", "Half are resolved by", "pairs are still tied", "It stops once it is resolved",
                 "about 123,456 (40 to 200,000)", "about $1.25 ($0.62 to $2.50); limits.cost_usd is $2.50",
                 "about 1:10 (5 s to 1:06:40), held up by 4 episodes in flight", "123 k 12.3 M 12.3 M $1.25"):  # fmt: skip
        assert what in told
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_many_rankings_are_a_line_each() -> None:
    """More than two are shown side by side, with small bars, and nothing is cut off in 80 columns."""
    parts = [ranking(group) for group in (TALK, CHOICE, replace(TALK, target="b"), replace(CHOICE, target="b"))]
    text = shown(sweep_forecast(*parts))
    assert "planted:alpha / multiple_choice" in text
    assert "90 % by" in text
    assert all(row.split()[-1].replace(".", "").isdigit() for row in text.splitlines() if " / " in row)
    assert max(map(len, text.splitlines())) <= 80


def test_what_is_not_known_is_said() -> None:
    """No price: a question mark and `not known`, never $0.00; never resolved: more than what was looked at."""
    one = replace(ranking(TALK), median=None, ninety=None, searched=5_000)
    text = " ".join(shown(sweep_forecast(one, usd=None)).split())
    assert "cost not known" in text
    assert "$0.00" not in text
    assert "Half are resolved by more than 5,000 episodes" in text


@pytest.mark.parametrize("width", [40, 60, 200])
def test_any_width_will_do(width: int) -> None:
    """Narrow or wide, nothing is wider than the terminal."""
    assert max(map(len, shown(sweep_forecast(ranking(TALK)), width).splitlines())) <= width
