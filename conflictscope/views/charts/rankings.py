"""Rankings in figures: how they came to be, what they are, and what they rest on."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from statistics import mean, pstdev
from typing import TYPE_CHECKING

from conflictscope.board import Flips, History, Pair
from conflictscope.outcome import Verdict
from conflictscope.rating import PairCount, Ranking
from conflictscope.views.charts.base import (
    DIVERGING,
    LABEL,
    PALETTE,
    STEP,
    WIDTH,
    Row,
    apart,
    colours,
    data,
    named,
)

if TYPE_CHECKING:
    import altair

    from conflictscope.views.charts.base import AnyChart

_HEIGHT = 240
_LABEL_PX = 14  # a line of text
_MOST_BANDS = 12  # more of them hide each other
_MOST_CELLS_WITH_TEXT = 12
_LEAST_DOUBT = 1e-4
_COLUMNS = 3
_NO_LABEL = ""

STATES: dict[str, str] = {
    "decided": PALETTE[0],
    "tie": "#7fb2da",
    "neither": PALETTE[1],
    "unresolved": "#e3b07c",
    "refused": PALETTE[3],
    "target_failed": "#5a5f68",
    "judge_failed": "#85898f",
    "user_failed": "#b4b8be",
}
"""The states of episodes, in the order in which they are drawn, and their colours; `a` and `b` are both `decided`."""


def convergence_chart(history: History) -> AnyChart:
    """The live ratings of one group over its rated outcomes: a line and a 95 % band a value, its name at the end of the line."""
    import altair as alt

    # Channels are given as such, not as strings, which Altair takes 25 ms each to make sense of: a live page makes many.
    x = alt.X("outcomes:Q", title="rated outcomes", axis=alt.Axis(grid=False), scale=alt.Scale(nice=False))
    y = alt.Y("mu:Q", title="rating", scale=alt.Scale(zero=False))
    base = alt.Chart().encode(x=x, y=y, detail=alt.Detail("value:N"), color=alt.Color("colour:N", scale=None))
    tooltip = [alt.Tooltip("value:N"), alt.Tooltip("outcomes:Q"), _number("mu"), _number("low"), _number("high")]
    layers = [
        base.mark_line(strokeWidth=2),
        base.transform_filter("datum.label != ''").mark_point(filled=True, size=40, opacity=1).encode(tooltip=tooltip),
        base.transform_filter("datum.label != ''")
        .mark_text(align="left", dx=9, limit=LABEL)
        .encode(y=alt.Y("label_at:Q"), text=alt.Text("label:N"), tooltip=tooltip),
    ]
    if len(history.values) <= _MOST_BANDS:
        layers.insert(0, base.mark_area(opacity=0.14).encode(y=alt.Y("low:Q"), y2=alt.Y2("high:Q")))
    return alt.layer(*layers, data=data(_points(history))).properties(
        title=named(history.group), width=WIDTH, height=max(_HEIGHT, _LABEL_PX * len(history.values))
    )


def _points(history: History) -> list[Row]:
    """A row for each value and moment; the last one of a value holds its label and where it stands."""
    colour = colours(history.values)
    count = len(history.outcomes)
    if not count:
        return []
    bands = len(history.values) <= _MOST_BANDS
    lowest, highest = (history.low, history.high) if bands else (history.mu, history.mu)
    height = max(_HEIGHT, _LABEL_PX * len(history.values))
    gap = (float(highest.max()) - float(lowest.min())) * _LABEL_PX / height
    at = apart([float(mu) for mu in history.mu[-1]], gap)
    return [
        {
            "value": named(value),
            "colour": colour[value],
            "outcomes": int(history.outcomes[moment]),
            "mu": float(history.mu[moment, k]),
            "low": float(history.low[moment, k]),
            "high": float(history.high[moment, k]),
            "label": named(value) if moment == count - 1 else _NO_LABEL,
            "label_at": at[k],
        }
        for k, value in enumerate(history.values)
        for moment in range(count)
    ]


def doubt_chart(histories: Sequence[History], alpha: float) -> AnyChart:
    """How far each ranking is from being settled, over its rated outcomes: it is where its doubt is at most `alpha`."""
    import altair as alt

    names = [named(history.group) for history in histories]
    colour = colours(names)
    height = max(_HEIGHT, _LABEL_PX * len(names))
    rows: list[Row] = []
    ends: list[int] = []
    for name, history in zip(names, histories, strict=True):
        known = [(int(n), float(d)) for n, d in zip(history.outcomes, history.doubt, strict=True) if d == d]
        rows += [
            {
                "group": name,
                "colour": colour[name],
                "outcomes": n,
                "doubt": d,
                "drawn": max(d, _LEAST_DOUBT),
                "label": "",
            }
            for n, d in known
        ]
        if known:
            ends.append(len(rows) - 1)
    top = max((row["drawn"] for row in rows), default=1.0)
    gap = (math.log10(max(top, 1.0)) - math.log10(_LEAST_DOUBT)) * _LABEL_PX / height
    last = max((rows[end]["outcomes"] for end in ends), default=0)  # where no line crosses a label
    for end, at in zip(ends, apart([math.log10(rows[end]["drawn"]) for end in ends], gap), strict=True):
        rows[end] |= {"label": rows[end]["group"], "label_at": 10**at, "label_x": last}
    scale = alt.Scale(type="log", domainMin=_LEAST_DOUBT, nice=False)
    x = alt.X("outcomes:Q", title="rated outcomes", axis=alt.Axis(grid=False))
    y = alt.Y("drawn:Q", title="doubt", scale=scale, axis=alt.Axis(tickCount=4, format="~g"))
    base = alt.Chart().encode(x=x, y=y, detail="group:N", color=alt.Color("colour:N", scale=None))
    settled = (
        alt.Chart()
        .transform_aggregate(rows="count()")
        .mark_rule(strokeDash=[4, 4], strokeWidth=1.5)
        .encode(y=alt.datum(alpha, type="quantitative"))
    )
    labels = base.transform_filter("datum.label != ''").mark_text(align="left", dx=6, limit=LABEL)
    return alt.layer(
        settled,
        base.mark_line(strokeWidth=2).encode(tooltip=["group:N", "outcomes:Q", _number("doubt")]),
        labels.encode(x="label_x:Q", y="label_at:Q", text="label:N"),
        data=data(rows),
    ).properties(title=f"settled below {alpha:g}", width=WIDTH, height=height)


def ranking_chart(rankings: Sequence[Ranking]) -> AnyChart:
    """Utilities with their 95 % intervals, best first; several groups side by side, in the order of their mean ranks."""
    import altair as alt

    rows = [row for ranking in rankings for row in _rated(ranking)]
    y = _names("value", alt.EncodingSortField("rank", op="mean"))
    base = alt.Chart().encode(y=y, color=alt.Color("colour:N", scale=None))
    tooltip = ["group:N", "value:N", "rank:Q", _number("mu"), _number("low"), _number("high")]
    x = alt.X("mu:Q", title=_unit(rankings), scale=alt.Scale(zero=False))
    layers = [
        base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", title=_unit(rankings)), x2="high:Q", tooltip=tooltip),
        base.mark_point(filled=True, size=80, opacity=1).encode(x=x, tooltip=tooltip),
    ]
    if len(rankings) == 1:
        one = alt.layer(*layers, data=data(rows))
        return one.properties(title=named(rankings[0].group), width=WIDTH, height=alt.Step(STEP))
    columns = min(_COLUMNS, len(rankings))
    each = alt.layer(*layers).properties(width=2 * WIDTH // (columns + 1), height=alt.Step(STEP))
    facet = _header([named(ranking.group) for ranking in rankings])
    return alt.FacetChart(data=data(rows), spec=each, facet=facet, columns=columns)


def methods_chart(rankings: Sequence[Ranking]) -> AnyChart:
    """One group by several methods, each less its mean and in units of its own spread, so that they can stand on one axis."""
    import altair as alt

    rows = []
    methods = [ranking.method.value for ranking in rankings]
    for ranking in rankings:
        own = list(_rated(ranking))
        middle = mean([row["mu"] for row in own]) if own else 0.0
        spread = (pstdev([row["mu"] for row in own]) if own else 0.0) or 1.0
        for row in own:
            ends = {key: (row[key] - middle) / spread for key in ("mu", "low", "high")}
            rows.append({**row, **ends, "method": ranking.method.value})
    colour = alt.Color(
        "method:N",
        scale=alt.Scale(domain=methods, range=list(PALETTE[: len(methods)])),
        title=None,
        legend=alt.Legend(orient="top"),
    )
    y = _names(
        "value", [named(value) for value in rankings[0].order]
    )  # Vega-Lite ignores a field to sort by beside an offset
    base = alt.Chart().encode(y=y, yOffset=alt.YOffset("method:N", sort=methods), color=colour)
    title = "utility less the mean, in standard deviations of the values"
    tooltip = ["value:N", "method:N", "rank:Q", _number("mu"), _number("low"), _number("high")]
    return alt.layer(
        base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", title=title), x2="high:Q"),
        base.mark_point(filled=True, size=60, opacity=1).encode(
            x=alt.X("mu:Q", title=title), shape=alt.Shape("method:N", sort=methods, legend=None), tooltip=tooltip
        ),
        data=data(rows),
    ).properties(title=named(rankings[0].group), width=WIDTH, height=alt.Step(12 * len(methods), **{"for": "position"}))


def pair_matrix(ranking: Ranking, flips: Mapping[Pair, Flips]) -> AnyChart:
    """How often the value of a row won against that of a column, of the rated episodes; a tie is half of one.

    flips: of conversations judged in both orders, in how many the order decided; in the tooltips.
    """
    import altair as alt

    place = {value: number for number, value in enumerate(ranking.order)}
    rows = [row for pair in ranking.pairs for row in _both_ways(pair, place, flips)]
    few = len(place) <= _MOST_CELLS_WITH_TEXT
    width, height, font = (54, 40, 12) if few else (_LABEL_PX, _LABEL_PX, 10)
    x = alt.X(
        "loser:N",
        sort=alt.EncodingSortField("loser_place", op="min"),
        title="against",
        axis=alt.Axis(
            orient="top", labelAngle=-40 if few else -90, grid=False, domain=False, ticks=False, labelFontSize=font
        ),
    )
    y = alt.Y(
        "winner:N",
        sort=alt.EncodingSortField("winner_place", op="min"),
        title=None,
        axis=alt.Axis(grid=False, domain=False, ticks=False, labelPadding=6, labelFontSize=font),
    )
    share = alt.Color(
        "share:Q",
        scale=alt.Scale(domain=[0, 0.5, 1], range=list(DIVERGING), type="linear"),
        title="share won",
        legend=alt.Legend(format="%", gradientLength=120),
    )
    counts = ("wins:Q", "losses:Q", "ties:Q", "left_out:Q", "flips:N")
    tooltip = [
        alt.Tooltip("winner:N"),
        alt.Tooltip("loser:N"),
        alt.Tooltip("share:Q", format=".0%"),
        *map(alt.Tooltip, counts),
    ]
    base = alt.Chart().encode(x=x, y=y)
    layers = [base.mark_rect(cornerRadius=2).encode(color=share, tooltip=tooltip)]
    if few:
        layers.append(
            base.mark_text(color="#111111", fontSize=12, dy=-6).encode(text=alt.Text("share:Q", format=".0%"))
        )
        layers.append(base.mark_text(color="#333333", fontSize=10, dy=8).encode(text=alt.Text("counts:N")))
    return alt.layer(*layers, data=data(rows)).properties(
        title=named(ranking.group), width=alt.Step(width), height=alt.Step(height)
    )


def _both_ways(pair: PairCount, place: Mapping[str, int], flips: Mapping[Pair, Flips]) -> Iterator[Row]:
    if not pair.rated:
        return
    seen = flips.get((pair.value_a, pair.value_b))
    told = (
        f"{seen.flipped} of {seen.looked} flipped with the order"
        if seen and seen.looked
        else "not judged in both orders"
    )
    sides = (
        (pair.value_a, pair.value_b, pair.wins_a, pair.wins_b),
        (pair.value_b, pair.value_a, pair.wins_b, pair.wins_a),
    )
    for winner, loser, wins, losses in sides:
        yield {
            "winner": named(winner), "loser": named(loser), "winner_place": place[winner], "loser_place": place[loser],
            "share": (wins + pair.ties / 2) / pair.rated, "wins": wins, "losses": losses, "ties": pair.ties,
            "counts": f"{wins}:{losses}" + (f" ={pair.ties}" if pair.ties else ""), "left_out": pair.left_out, "flips": told,
        }  # fmt: skip


def states_chart(rankings: Sequence[Ranking]) -> AnyChart:
    """What episodes came to, as shares: of each group, or of each pair of values where there is one group."""
    import altair as alt

    if len(rankings) == 1:
        counted = {f"{pair.value_a} / {pair.value_b}": _states([pair]) for pair in rankings[0].pairs}
    else:
        counted = {str(ranking.group): _states(ranking.pairs) for ranking in rankings}
    rows = [
        {
            "of": named(label), "place": place, "state": state, "drawn": drawn, "colour": colour, "episodes": counts[state],
            "share": counts[state] / counts.total(),
        }
        for place, (label, counts) in enumerate(counted.items())
        for drawn, (state, colour) in enumerate(STATES.items())
        if counts[state]
    ]  # fmt: skip
    there = [state for state in STATES if any(row["state"] == state for row in rows)]
    scale = alt.Scale(domain=there, range=[STATES[state] for state in there])
    chart: AnyChart = (
        alt.Chart(data(rows))
        .mark_bar()
        .encode(
            x=alt.X(
                "share:Q",
                stack="zero",
                title="share of episodes",
                axis=alt.Axis(format="%"),
                scale=alt.Scale(domain=[0, 1]),
            ),
            y=_names("of", alt.EncodingSortField("place", op="min")),
            color=alt.Color("state:N", scale=scale, title=None, legend=alt.Legend(orient="top", columns=4)),
            order="drawn:O",
            tooltip=["of:N", "state:N", "episodes:Q", alt.Tooltip("share:Q", format=".1%")],
        )
        .properties(width=WIDTH, height=alt.Step(STEP))
    )
    return chart


def _states(pairs: Sequence[PairCount]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for pair in pairs:
        counts["decided"] += pair.wins_a + pair.wins_b
        counts[Verdict.TIE.value] += pair.ties
        counts.update({state.value: count for state, count in pair.excluded.items()})
    return counts


def _rated(ranking: Ranking) -> Iterator[Row]:
    """A row for each value that was compared."""
    colour = colours(ranking.ratings)
    for value, rank in ranking.ranks.items():
        if rank is not None:
            rating = ranking.ratings[value]
            yield {
                "group": named(ranking.group), "value": named(value), "colour": colour[value], "rank": rank, "mu": rating.mu,
                "low": rating.low, "high": rating.high, "component": ranking.component[value],
            }  # fmt: skip


def _unit(rankings: Sequence[Ranking]) -> str:
    units = {"posterior": "utility (probit units)", "bradley_terry": "strength (log-odds)", "trueskill": "rating"}
    return units[rankings[0].method.value] if rankings else ""


def _header(groups: Sequence[str]) -> altair.Facet:
    import altair as alt

    return alt.Facet("group:N", title=None, sort=list(groups), header=alt.Header(labelExpr="split(datum.label, ' / ')"))


def _names(field: str, sort: altair.EncodingSortField | list[str]) -> altair.Y:
    import altair as alt

    return alt.Y(f"{field}:N", sort=sort, title=None, axis=alt.Axis(grid=True, labelLimit=1.5 * LABEL))


def _number(field: str) -> altair.Tooltip:
    import altair as alt

    return alt.Tooltip(f"{field}:Q", format=".3~f")
