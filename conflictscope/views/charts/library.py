"""Libraries in figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from conflictscope.librarystats import LibraryStats, Share
from conflictscope.views.charts.base import named

if TYPE_CHECKING:
    from conflictscope.views.charts.base import AnyChart

_WIDTH = 420
_ROW = 18  # pixels a library


def library_chart(libraries: Sequence[LibraryStats]) -> AnyChart:
    """Libraries side by side: every measure that is a share, with its 95 % interval where it has one; scenarios by template."""
    import altair as alt

    names = [named(stats.name) for stats in libraries]
    colour = alt.Color("library:N", sort=names, title=None, legend=alt.Legend(orient="top", labelLimit=0))
    across = alt.YOffset("library:N", sort=names)
    shares = _shares(libraries)
    measures = list(dict.fromkeys(row["measure"] for row in shares))
    rows = alt.Chart({"values": shares}).encode(
        y=alt.Y("measure:N", sort=measures, title=None, axis=alt.Axis(labelLimit=0, grid=True)),
        yOffset=across,
        color=colour,
    )
    scale = alt.Scale(domain=[0, 1])
    intervals = rows.mark_rule(strokeWidth=2, opacity=0.6).encode(
        x=alt.X(
            "low:Q", scale=scale, axis=alt.Axis(format="%"), title="share of scenarios; diversity: 1 - mean cosine"
        ),
        x2="high:Q",
    )
    points = rows.mark_point(filled=True, size=50, opacity=1).encode(
        x=alt.X("value:Q", scale=scale), tooltip=["library:N", "measure:N", "value:Q", "low:Q", "high:Q", "of:Q"]
    )
    templates = [
        {
            "library": named(stats.name),
            "template": template,
            "scenarios": count,
            "share": count / stats.scenarios,
        }
        for stats in libraries
        for template, count in stats.templates.items()
    ]
    bars = (
        alt.Chart({"values": templates})
        .mark_bar()
        .encode(
            x=alt.X("share:Q", axis=alt.Axis(format="%"), title="share of scenarios, by template"),
            y=alt.Y("template:N", title=None, axis=alt.Axis(labelLimit=0)),
            yOffset=across,
            color=colour,
            tooltip=["library:N", "template:N", "scenarios:Q", "share:Q"],
        )
    )
    step = alt.Step(max(_ROW, _ROW * len(libraries) // 2), **{"for": "position"})
    return alt.vconcat(
        alt.layer(intervals, points).properties(width=_WIDTH, height=step), bars.properties(width=_WIDTH, height=step)
    )


def _shares(libraries: Sequence[LibraryStats]) -> list[dict[str, Any]]:
    """A row for each library and measure, measures in the order of the first library that has them."""
    rows: list[dict[str, Any]] = []
    for stats in libraries:
        name = named(stats.name)

        def row(measure: str, value: float, share: Share | None = None, name: str = name) -> None:
            interval = {} if share is None else {"low": share.low, "high": share.high, "of": share.total}
            rows.append({"library": name, "measure": named(measure), "value": value, **interval})

        for rate in stats.rates:
            if rate.checker is None:
                row(f"passes: {rate.check}", rate.passed.value, rate.passed)
        if stats.likeness.within_pairs is not None:
            row("diversity within pairs", stats.likeness.within_pairs)
        row("near-duplicates", stats.likeness.near_duplicates.value, stats.likeness.near_duplicates)
        for condition in stats.conditions:
            if condition.agree is not None:
                row(f"targets agree: {condition}", condition.agree.value, condition.agree)
            for target in condition.targets:
                row(f"clear for {target.target}: {condition}", target.clear.value, target.clear)
    return rows
