"""Charts, each defined once: for files, and for pages and reports later. Altair is slow to import, so it is imported by use."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from conflictscope.errors import InputError
from conflictscope.librarystats import LibraryStats, Share
from conflictscope.views.text import plain

if TYPE_CHECKING:
    import altair

Format = Literal["svg", "png", "pdf", "html"]
_WIDTH = 420
_ROW = 18  # pixels a library
_PPI = 144


def chart_format(path: Path) -> Format:
    """The format that a file's ending names. Raises InputError for one that no chart can be written as."""
    for kind in get_args(Format):
        if path.suffix == f".{kind}":
            return kind  # type: ignore[no-any-return]
    endings = ", ".join(f".{kind}" for kind in get_args(Format))
    raise InputError(f"--chart: expected a file that ends in {endings}, got {str(path)!r}")


def library_chart(libraries: Sequence[LibraryStats]) -> altair.VConcatChart:
    """Libraries side by side: every measure that is a share, with its 95 % interval where it has one; scenarios by template."""
    import altair as alt

    names = [plain(stats.name).plain for stats in libraries]
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
            "library": plain(stats.name).plain,
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
        name = plain(stats.name).plain

        def row(measure: str, value: float, share: Share | None = None, name: str = name) -> None:
            interval = {} if share is None else {"low": share.low, "high": share.high, "of": share.total}
            rows.append({"library": name, "measure": plain(measure).plain, "value": value, **interval})

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


def save_chart(chart: altair.VConcatChart, path: Path) -> None:
    """Write a chart in the format that the file's ending names. Raises InputError."""
    kind = chart_format(path)
    try:
        if kind == "html":
            path.write_text(page(chart), encoding="utf-8")
        else:
            chart.save(str(path), format=kind, ppi=_PPI)
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", path=path) from None


def page(chart: altair.VConcatChart) -> str:
    """A chart as a page that holds all that it needs. Altair's own would let a name in the data end the script."""
    import vl_convert

    bundle = vl_convert.javascript_bundle()  # type: ignore[call-arg]  # its stub asks for a default
    spec = json.dumps(chart.to_dict()).replace("<", "\\u003c")
    return (
        '<!DOCTYPE html>\n<html>\n<head><meta charset="utf-8"><title>ConflictScope</title>\n'
        f"<script>{bundle}</script></head>\n"
        f'<body><div id="chart"></div><script>vegaEmbed("#chart", {spec});</script></body>\n</html>\n'
    )
