"""What judges made of stored conversations, in the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rich.console import Console
from rich.table import Table

from conflictscope.outcome import Verdict
from conflictscope.views.terminal import verdict_counts
from conflictscope.views.text import plain


def print_verdicts(console: Console, judges: Iterable[tuple[str, Mapping[Verdict, int], int]]) -> None:
    """A line a judge: its name, how many conversations it judged and how many are left, its verdicts by state."""
    table = Table(box=None, padding=(0, 2), pad_edge=False, header_style="bold")
    table.add_column("judge")
    table.add_column("judged", justify="right", no_wrap=True)
    table.add_column("left", justify="right", no_wrap=True)
    table.add_column("verdicts")
    for judge, verdicts, left in judges:
        table.add_row(plain(judge), f"{sum(verdicts.values()):,}", f"{left:,}", plain(verdict_counts(verdicts)))
    console.print(table)
