"""What people look at: made from snapshots and rankings, never from a running part."""

from conflictscope.views.annotation import print_labels
from conflictscope.views.charts import chart_format, library_chart, save_chart
from conflictscope.views.comparison import print_comparisons
from conflictscope.views.generation import library_lines, live_library, print_library_progress
from conflictscope.views.library import print_import, print_libraries
from conflictscope.views.planning import print_forecast
from conflictscope.views.sheet import sheet_html
from conflictscope.views.terminal import lines, live, print_conversation, print_rankings, print_status

__all__ = [
    "chart_format",
    "library_chart",
    "library_lines",
    "lines",
    "live",
    "live_library",
    "print_comparisons",
    "print_conversation",
    "print_forecast",
    "print_import",
    "print_labels",
    "print_libraries",
    "print_library_progress",
    "print_rankings",
    "print_status",
    "save_chart",
    "sheet_html",
]
