"""What all charts share: their one data set, colours, themes, and what they are written as.

Altair is slow to import, so it is imported by use.
"""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from conflictscope.errors import InputError
from conflictscope.views.text import plain

if TYPE_CHECKING:
    import altair

    AnyChart: TypeAlias = altair.Chart | altair.LayerChart | altair.FacetChart | altair.VConcatChart

Row = dict[str, Any]
Format = Literal["svg", "png", "pdf", "html"]
FIGURES: tuple[Format, ...] = ("svg", "png", "pdf")
"""What a chart of a report is written as."""

WIDTH = 480
STEP = 20  # pixels a row of names
LABEL = 240  # pixels that a name may take before it is cut
_MOST_NAME = 500  # characters
_PPI = 144
_PLACES = re.compile(r' (?:d|transform)="[^"<>]*"')
_DIGITS = re.compile(r"(\.\d\d)\d+")  # of a pixel: the rest is most of a file
_MARKS = re.compile(r' role="graphics-\w+" aria-roledescription="[\w -]*"')  # of no use to those who hear a page
_OWN_NAMES = re.compile(r'( id="|url\(#)(gradient|clip)_?\d+')  # counted through all charts of a process
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
# For what is laid out here and shown elsewhere: all of one width. The system's own is wider on some machines, and cuts names.
_FILE_FONT = "Arial, 'Liberation Sans', Helvetica, sans-serif"

# Told apart by people who see few colours (after Okabe and Ito 2008), each with a contrast of at least 3 to white and to the dark
# background.
PALETTE = ("#0f7ac0", "#d0600a", "#0c8f68", "#b8558f", "#7a68c8", "#9a7400", "#1489a0", "#cc4b4b", "#6b7f1f", "#8a6a5c")
MUTED = "#85898f"
DIVERGING = ("#e59a52", "#f3f3f3", "#6aa7dc")
"""From 0 over 0.5 to 1; black text is readable on all of it."""


def named(text: object) -> str:
    """A name as it may stand in a chart: a longer one than any reader reads is cut, for Vega measures it again and again."""
    name = plain(str(text)[: _MOST_NAME + 1]).plain
    return name if len(name) <= _MOST_NAME else f"{name[:_MOST_NAME]}…"


def colours(names: Iterable[str]) -> dict[str, str]:
    """A colour for each, the same in every chart that shows the same names; they begin anew after ten."""
    return {name: PALETTE[place % len(PALETTE)] for place, name in enumerate(sorted(set(names)))}


def data(rows: Sequence[Row]) -> dict[str, Any]:
    """The one data set of a chart, under a name by which a live page replaces its rows."""
    return {"name": "rows", "values": list(rows)}


def apart(wanted: Sequence[float], gap: float) -> list[float]:
    """Places at least `gap` apart, in the order of those wanted and near them: labels at the ends of lines."""
    order = sorted(range(len(wanted)), key=lambda k: wanted[k])
    blocks: list[tuple[float, int]] = []  # of labels that touch: the middle, how many
    for k in order:
        middle, size = wanted[k], 1
        while blocks and blocks[-1][0] + gap * (blocks[-1][1] + size) / 2 > middle:
            before, many = blocks.pop()
            middle, size = (before * many + middle * size) / (many + size), many + size
        blocks.append((middle, size))
    places = [middle + gap * (place - (size - 1) / 2) for middle, size in blocks for place in range(size)]
    found = [0.0] * len(wanted)
    for k, place in zip(order, places, strict=True):
        found[k] = place
    return found


# -- as data -----------------------------------------------------------------------------------------------------------


def chart_rows(chart: AnyChart) -> list[Row]:
    """The rows of a chart's data set as JSON has them: no number that is none."""
    held: Mapping[str, Any] = chart.data  # type: ignore[assignment]  # as `data` made it
    return [_finite(row) for row in held["values"]]


def chart_spec(chart: AnyChart) -> dict[str, Any]:
    """A chart as Vega-Lite, with nothing in it that JSON does not have."""
    import altair as alt

    if chart.data is alt.Undefined:  # a chart of several, each with its own rows
        return dict(_finite(chart.to_dict()))
    # Altair would check every row against the schema, which takes seconds where there are many.
    rows, bare = chart_rows(chart), chart.copy(deep=False)
    bare.data = data([])
    spec = {
        key: part for key, part in bare.to_dict(validate=False).items() if key != "config"
    }  # Altair's own; ours is `theme`
    return spec | {"data": data(rows)}


def _finite(part: Any) -> Any:
    """The same with None for what is no finite number."""
    if isinstance(part, float):
        return part if math.isfinite(part) else None
    if isinstance(part, Mapping):
        return {key: _finite(own) for key, own in part.items()}
    return [_finite(own) for own in part] if isinstance(part, list | tuple) else part


def theme(dark: bool) -> dict[str, Any]:
    """A Vega-Lite config for a light or a dark page: its own background, the system's font."""
    return _theme("#e4e6ea" if dark else "#23262b", "#a9adb5" if dark else "#5a5f68")


def _theme(ink: str, quiet: str, font: str = _FONT) -> dict[str, Any]:
    return {
        "background": None,
        "padding": {"left": 16, "right": 24, "top": 5, "bottom": 5},  # a page's own font may be wider than what is measured with
        "font": font,
        "aria": False,  # a chart has a text beside it; a mark for each dot would only be noise
        "view": {"stroke": None},
        "axis": {
            "labelColor": ink, "titleColor": quiet, "titleFontWeight": "normal", "gridColor": quiet, "gridOpacity": 0.22,
            "domainColor": quiet, "domainOpacity": 0.5, "tickColor": quiet, "tickOpacity": 0.5, "labelFontSize": 12,
            "titleFontSize": 12, "labelLimit": LABEL, "labelSeparation": 8,
        },
        "legend": {"labelColor": ink, "titleColor": quiet, "titleFontWeight": "normal", "labelFontSize": 12, "labelLimit": LABEL},
        "header": {"labelColor": ink, "titleColor": quiet, "labelFontSize": 12, "labelFontWeight": 600},
        "title": {"color": ink, "fontSize": 13, "fontWeight": 600, "anchor": "start", "limit": 3 * LABEL},
        "text": {"color": ink, "fontSize": 12, "limit": LABEL},
        "rule": {"color": quiet},
    }  # fmt: skip


# -- as files ----------------------------------------------------------------------------------------------------------


def inline_svg(chart: AnyChart, name: str, says: str) -> str:
    """A chart as SVG to stand in a page, in the colour of the text around it, be it light or dark.

    name: of its own in the page. says: what the chart shows, for those who do not see it.
    """
    import vl_convert

    svg = vl_convert.vegalite_to_svg(chart_spec(chart), config=_theme("currentColor", "currentColor", _FILE_FONT))
    svg = _PLACES.sub(lambda places: _DIGITS.sub(r"\1", places[0]), svg)
    svg = _MARKS.sub("", svg)
    svg = _OWN_NAMES.sub(rf"\g<1>{name}-\g<2>", svg)
    title = f'<title id="{name}-title">{html.escape(named(says))}</title>'
    opened = f'<svg role="img" aria-labelledby="{name}-title"' + svg.removeprefix("<svg")
    return opened.replace(">", f">{title}", 1)


def chart_format(path: Path) -> Format:
    """The format that a file's ending names. Raises InputError for one that no chart can be written as."""
    for kind in get_args(Format):
        if path.suffix == f".{kind}":
            return kind  # type: ignore[no-any-return]
    endings = ", ".join(f".{kind}" for kind in get_args(Format))
    raise InputError(f"--chart: expected a file that ends in {endings}, got {str(path)!r}")


def save_chart(chart: AnyChart, path: Path) -> None:
    """Write a chart, on white, in the format that the file's ending names. Raises InputError."""
    import vl_convert

    kind = chart_format(path)
    try:
        if kind == "html":
            path.write_text(page(chart), encoding="utf-8")
            return
        spec, config = chart_spec(chart), theme(dark=False) | {"background": "white", "font": _FILE_FONT}
        if kind == "svg":
            path.write_text(vl_convert.vegalite_to_svg(spec, config=config), encoding="utf-8")
        elif kind == "png":
            path.write_bytes(vl_convert.vegalite_to_png(spec, config=config, ppi=_PPI))
        else:
            path.write_bytes(vl_convert.vegalite_to_pdf(spec, config=config))
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", path=path) from None


def page(chart: AnyChart) -> str:
    """A chart as a page that holds all that it needs. Altair's own would let a name in the data end the script."""
    import vl_convert

    bundle = vl_convert.javascript_bundle()  # type: ignore[call-arg]  # its stub asks for a default
    spec = json.dumps(chart_spec(chart) | {"config": theme(dark=False)}).replace("<", "\\u003c")
    return (
        '<!DOCTYPE html>\n<html>\n<head><meta charset="utf-8"><title>ConflictScope</title>\n'
        f"<script>{bundle}</script></head>\n"
        f'<body><div id="chart"></div><script>vegaEmbed("#chart", {spec});</script></body>\n</html>\n'
    )
