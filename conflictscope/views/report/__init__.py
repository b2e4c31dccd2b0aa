"""A run as one page that holds all that it needs: in words first, then in figures and tables, then how it was made.

There is no script in it and nothing is loaded: charts are SVG. What the run says is hostile text, escaped by Jinja2, with control
characters made visible.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from conflictscope.audit import Figure
from conflictscope.comparison import Estimate
from conflictscope.librarystats import Share
from conflictscope.outcome import Verdict
from conflictscope.rating import SURE, Method
from conflictscope.views.charts import inline_svg
from conflictscope.views.comparison import held, sides
from conflictscope.views.report.contents import Report
from conflictscope.views.report.figures import Drawn, report_figures
from conflictscope.views.report.words import found, sure, unsaid
from conflictscope.views.text import duration, plain

__all__ = ["Report", "report_figures", "report_html"]

_FOLDER = Path(__file__).parent


def report_html(report: Report, figures: Mapping[str, Drawn], command: str) -> str:
    """The page. figures: of `report_figures`. command: what made it, to type again."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "lines": lambda text: Markup("\n").join(map(_shown, text.splitlines())),
        "span": _span,
        "signed": partial(_span, form="+z.2f"),
        "percent": partial(_span, form=".0%"),
        "duration": duration,
    }
    style = (_FOLDER / "page.css").read_text(encoding="utf-8")
    return environment.get_template("page.html").render(
        report=report,
        style=style,
        figures=figures,
        svg={name: inline_svg(each.chart, name, each.says) for name, each in figures.items()},
        found=found(report),
        sure=sure(report),
        unsaid=unsaid(report),
        command=command,
        held=held,
        sides=sides,
        Method=Method,
        Verdict=Verdict,
        SURE=SURE,
    )


def _shown(value: Any) -> Any:
    """Text with its control and direction-changing characters made visible; markup of ours as it is."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return plain(value).plain
    return value


def _span(figure: Figure | Estimate | Share | None, form: str = "z.2f") -> str:
    """A figure and its 95 % interval."""
    if figure is None:
        return "–"
    return f"{figure.value:{form}} [{figure.low:{form}}, {figure.high:{form}}]"
