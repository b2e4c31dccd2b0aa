"""What people look at: made from snapshots and rankings, never from a running part."""

from conflictscope.views.comparison import print_comparisons
from conflictscope.views.planning import print_forecast
from conflictscope.views.terminal import lines, live, print_conversation, print_library, print_rankings, print_status

__all__ = [
    "lines",
    "live",
    "print_comparisons",
    "print_conversation",
    "print_forecast",
    "print_library",
    "print_rankings",
    "print_status",
]
