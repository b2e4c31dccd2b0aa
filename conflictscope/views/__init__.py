"""What people look at: made from snapshots and rankings, never from a running part."""

from conflictscope.views.annotation import print_labels
from conflictscope.views.audit import print_audit
from conflictscope.views.charts import chart_format, library_chart, save_chart
from conflictscope.views.comparison import print_comparisons
from conflictscope.views.generation import print_library_progress
from conflictscope.views.library import print_import, print_libraries
from conflictscope.views.live import Live, Take, can_show, documents, lines
from conflictscope.views.planning import print_forecast
from conflictscope.views.rejudging import print_verdicts
from conflictscope.views.sheet import sheet_html
from conflictscope.views.terminal import print_conversation, print_rankings, print_status

__all__ = [
    "Live",
    "Take",
    "can_show",
    "chart_format",
    "documents",
    "library_chart",
    "lines",
    "print_audit",
    "print_comparisons",
    "print_conversation",
    "print_forecast",
    "print_import",
    "print_labels",
    "print_libraries",
    "print_library_progress",
    "print_rankings",
    "print_status",
    "print_verdicts",
    "save_chart",
    "sheet_html",
]
