"""Charts, each defined once: for pages, for the report and for figure files.

Each has one data set, `rows`, so that a live page can replace it; only libraries are two charts in one.
"""

from conflictscope.views.charts.base import (
    FIGURES,
    chart_format,
    chart_rows,
    chart_spec,
    colours,
    inline_svg,
    page,
    save_chart,
    theme,
)
from conflictscope.views.charts.comparing import flips_chart, shift_chart, steering_chart
from conflictscope.views.charts.library import library_chart
from conflictscope.views.charts.rankings import (
    convergence_chart,
    doubt_chart,
    methods_chart,
    pair_matrix,
    ranking_chart,
    states_chart,
)
from conflictscope.views.charts.running import cost_chart, failures_chart, spend_chart, throughput_chart

__all__ = [
    "FIGURES",
    "chart_format",
    "chart_rows",
    "chart_spec",
    "colours",
    "convergence_chart",
    "cost_chart",
    "doubt_chart",
    "failures_chart",
    "flips_chart",
    "inline_svg",
    "library_chart",
    "methods_chart",
    "page",
    "pair_matrix",
    "ranking_chart",
    "save_chart",
    "shift_chart",
    "spend_chart",
    "states_chart",
    "steering_chart",
    "theme",
    "throughput_chart",
]
