"""Charts: what each shows, of two values and of fifty, and that a live page can replace its rows."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conflictscope.board import Flips
from conflictscope.outcome import Group, Mode, Verdict
from conflictscope.rating import Method
from conflictscope.snapshot import Usage
from conflictscope.views import charts
from conflictscope.views.charts.base import apart
from tests.hostile import HOSTILE
from tests.views.made import (
    FLIPS,
    GROUP,
    NAMES,
    USAGE,
    alignment,
    audited,
    comparison,
    history,
    names,
    ranking,
    timeline,
)

GROUPS = [Group(f"planted:t{number:02}", Mode.OPEN_ENDED, "care-first" if number % 2 else None) for number in range(12)]
METHODS = [Method.POSTERIOR, Method.BRADLEY_TERRY, Method.TRUESKILL]
EXCLUDED = {Verdict.REFUSED: 3, Verdict.TARGET_FAILED: 1}

MADE: Mapping[str, Callable[[tuple[str, ...]], Any]] = {
    "convergence": lambda values: charts.convergence_chart(history(values)),
    "ranking": lambda values: charts.ranking_chart([ranking(values)]),
    "rankings": lambda values: charts.ranking_chart([ranking(values, group) for group in GROUPS]),
    "methods": lambda values: charts.methods_chart([ranking(values, method=method) for method in METHODS]),
    "pairs": lambda values: charts.pair_matrix(ranking(values), FLIPS),
    "doubt": lambda values: charts.doubt_chart([history(values, group) for group in GROUPS], 0.05),
    "states": lambda values: charts.states_chart([ranking(values, excluded=EXCLUDED)]),
    "states by group": lambda values: charts.states_chart([ranking(values, group, excluded=EXCLUDED) for group in GROUPS]),
    "shift": lambda values: charts.shift_chart(comparison(values)),
    "steering": lambda values: charts.steering_chart([alignment(group) for group in GROUPS]),
    "flips": lambda values: charts.flips_chart(audited(values=values)),
    "throughput": lambda values: charts.throughput_chart(timeline()),
    "spend": lambda values: charts.spend_chart(timeline(), 0.5),
    "failures": lambda values: charts.failures_chart({"timeout": 12, "http_429": 3}),
    "cost": lambda values: charts.cost_chart(USAGE),
}  # fmt: skip


def drawn(chart: Any) -> str:
    """As in a page."""
    return charts.inline_svg(chart, "c1", "What it shows.")


def texts(svg: str) -> list[str]:
    """What can be read in an SVG."""
    return ["".join(text.itertext()) for text in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("size", [2, 6])
def test_a_chart_has_one_data_set_by_name_and_can_be_drawn(name: str, size: int) -> None:
    """`rows` at the top and nowhere else, as JSON; the picture has text in it, and nothing that is no number."""
    chart = MADE[name](names(size))
    spec = charts.chart_spec(chart)
    assert spec["data"] == {"name": "rows", "values": charts.chart_rows(chart)}
    assert spec["data"]["values"]
    assert json.dumps(spec, allow_nan=False).count('"values": [{') == 1
    svg = drawn(chart)
    assert texts(svg)
    assert "NaN" not in svg
    assert "undefined" not in svg


@pytest.mark.parametrize("name", ["convergence", "ranking", "pairs", "shift"])
def test_fifty_values_are_all_named(name: str) -> None:
    """No name is dropped for want of room."""
    assert set(names(50)) <= set(texts(drawn(MADE[name](names(50)))))


def test_no_rows_are_an_empty_chart() -> None:
    """A run that has just begun has nothing to show yet, and what nothing is known of is left out."""
    nobody = ranking(decided=False)
    for chart in (
        charts.convergence_chart(history(moments=0)),
        charts.ranking_chart([nobody]),
        charts.ranking_chart([nobody, nobody]),
        charts.methods_chart([nobody]),
        charts.pair_matrix(nobody, {}),
        charts.doubt_chart([], 0.05),
        charts.states_chart([nobody]),
        charts.throughput_chart([]),
        charts.spend_chart([], 1.0),
        charts.failures_chart({}),
        charts.cost_chart({}),
        charts.steering_chart([]),
        charts.flips_chart(replace(audited(), orders=())),
    ):
        assert charts.chart_rows(chart) == []
        assert "NaN" not in drawn(chart)


def test_nothing_is_done_while_nobody_works_on_a_run() -> None:
    """Between two sessions throughput is 0 and spend stands still: neither is drawn on from the one to the other."""
    minutes = timeline(10)
    course = minutes[:3] + minutes[7:]
    done = [row for row in charts.chart_rows(charts.throughput_chart(course)) if row["what"] == "with a verdict"]
    assert [row["at"][14:16] for row in done if row["per_s"] == 0] == ["03"]
    assert [row["at"][14:16] for row in done if row["per_s"]] == ["00", "01", "02", "07", "08", "09", "10"]
    spent = {row["end"][14:16]: row["spent_usd"] for row in charts.chart_rows(charts.spend_chart(course, None))}
    assert list(spent) == ["01", "02", "03", "07", "08", "09", "10"]
    assert spent["03"] == spent["07"] < spent["08"]


def test_a_value_has_one_colour_in_every_chart() -> None:
    """By the order of the names, whatever the order in which a chart shows them."""
    colour = charts.colours(NAMES)
    assert len(set(colour.values())) == len(NAMES)
    for made in ("convergence", "ranking", "rankings"):
        assert {row["value"]: row["colour"] for row in charts.chart_rows(MADE[made](NAMES))} == colour
    moved = {row["value"]: row["colour"] for row in charts.chart_rows(MADE["shift"](NAMES)) if row["resolved"]}
    assert moved.items() <= colour.items()


def test_what_the_rows_say() -> None:
    """The figures of the ranking, the matrix both ways with its flips, the share that was reached."""
    best, *_ = charts.chart_rows(charts.ranking_chart([ranking()]))
    assert (best["value"], best["rank"], best["mu"]) == ("candour", 1, 3.0)
    assert best["low"] == pytest.approx(3.0 - 1.96 * 0.2, abs=1e-3)
    cells = {(row["winner"], row["loser"]): row for row in charts.chart_rows(MADE["pairs"](NAMES))}
    assert cells["candour", "care"]["share"] == 8.5 / 12
    assert cells["care", "candour"]["counts"] == "3:8 =1"
    assert cells["care", "candour"]["flips"] == "3 of 24 flipped with the order"
    assert cells["care", "thrift"]["flips"] == "not judged in both orders"
    assert "50% of the possible gain" in texts(drawn(charts.steering_chart([alignment()])))
    states = {row["state"]: row["share"] for row in charts.chart_rows(MADE["states by group"](NAMES))}
    assert states == {"decided": 11 / 16, "tie": 1 / 16, "refused": 3 / 16, "target_failed": 1 / 16}


def test_a_line_is_named_once_at_its_end() -> None:
    """The names of lines that end together stand apart."""
    flat = history()
    flat = replace(flat, mu=np.full_like(flat.mu, 25.0))
    named = [row for row in charts.chart_rows(charts.convergence_chart(flat)) if row["label"]]
    assert sorted(row["label"] for row in named) == sorted(NAMES)
    assert {row["outcomes"] for row in named} == {int(flat.outcomes[-1])}
    assert len({row["label_at"] for row in named}) == len(NAMES)


@given(st.lists(st.floats(-1e6, 1e6), max_size=60), st.floats(0.01, 100))
def test_labels_keep_their_distance_and_order(wanted: list[float], gap: float) -> None:
    """Whatever the places that they want, and those that are far apart stay where they are."""
    found = apart(wanted, gap)
    in_order = [found[k] for k in sorted(range(len(wanted)), key=lambda k: wanted[k])]
    assert all(after - before >= gap * 0.99 - 1e-6 for before, after in pairwise(in_order))
    clear = sorted(wanted)
    if all(after - before > gap for before, after in pairwise(clear)):
        assert found == wanted


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_are_names(text: str) -> None:
    """Markup, escapes and half characters neither break a chart nor get out of it."""
    values = ("care", f"x{text}")
    hostile = Group(f"t{text}", Mode.OPEN_ENDED, f"s{text}")
    for chart in (
        charts.convergence_chart(history(values, hostile, moments=3)),
        charts.ranking_chart([ranking(values, hostile), ranking(values)]),
        charts.pair_matrix(ranking(values, hostile), {("care", f"x{text}"): Flips(1, 2)}),
        charts.states_chart([ranking(values, hostile, excluded=EXCLUDED), ranking(values)]),
        charts.shift_chart(comparison(values, hostile)),
        charts.steering_chart([alignment(hostile)]),
        charts.flips_chart(audited(f"j{text}", values)),
        charts.doubt_chart([history(values, hostile, moments=3)], 0.05),
        charts.failures_chart({f"k{text}": 2}),
    ):
        svg = drawn(chart)
        ElementTree.fromstring(svg)
        assert not re.search(r"<(script|img|iframe|a|style|form|base|link|meta|foreignObject)\b", svg)
        assert not re.search("[\x00-\x08\x1b\u202e\u2066\ud800-\udfff]", svg)


@pytest.mark.parametrize(("ending", "begins"), [("svg", b"<svg"), ("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_a_figure_is_written_in_each_format(tmp_path: Path, ending: str, begins: bytes) -> None:
    """For a paper, on white."""
    charts.save_chart(MADE["rankings"](NAMES), tmp_path / f"c.{ending}")
    assert (tmp_path / f"c.{ending}").read_bytes().startswith(begins)


def test_themes_differ_in_colours_only() -> None:
    """A page switches between dark and light without anything moving."""
    light, dark = charts.theme(dark=False), charts.theme(dark=True)
    assert light != dark
    assert light["axis"]["labelFontSize"] == dark["axis"]["labelFontSize"]
    assert light["background"] is dark["background"] is None


@pytest.mark.parametrize("background", ["#ffffff", "#16181d"])
def test_the_palette_is_seen_on_light_and_on_dark(background: str) -> None:
    """A contrast of at least 3, as WCAG 2.2 (1.4.11) asks of what is needed to understand a picture."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    for colour in charts.colours(map(str, range(10))).values():
        one, other = sorted((luminance(colour), luminance(background)))
        assert (other + 0.05) / (one + 0.05) >= 3, colour


def test_requests_are_counted_where_no_price_is_known() -> None:
    """Rather than bars of no length."""
    rows = charts.chart_rows(charts.cost_chart({purpose: Usage(calls=3) for purpose in USAGE}))
    assert [row["calls"] for row in rows] == [3, 3]


def test_altair_is_imported_by_use() -> None:
    """No command that draws nothing waits for it."""
    code = "import sys, conflictscope.cli; sys.exit('altair' in sys.modules or 'vl_convert' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_chart_of_one_group_is_titled_by_it() -> None:
    """So that it can stand alone."""
    assert charts.chart_spec(MADE["ranking"](NAMES))["title"] == str(GROUP)


def test_a_name_of_a_megabyte_is_cut() -> None:
    """Vega measures a name that does not fit again and again."""
    name = "x" * 1_000_000
    assert charts.chart_rows(charts.failures_chart({name: 2}))[0]["what"] == f"{name[:500]}…"
