"""A library in the making, in the terminal: while it goes on, and how it ended."""

from __future__ import annotations

import time

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from conflictscope.drafts import DraftState
from conflictscope.snapshot import LaneLoad, LibraryProgress, PairProgress
from conflictscope.views.terminal import lane_state
from conflictscope.views.text import brief, duration, plain

_BAR = 20


def library_line(progress: LibraryProgress) -> Text:
    """A library in the making in one line."""
    return plain(f"{time.strftime('%H:%M:%S')} {_headline(progress)} | {_drafts(progress)}")


def library_screen(progress: LibraryProgress, height: int, notice: str = "") -> RenderableType:
    """A library in the making on one screen: what is there, what became of the drafts, the lanes, the pairs that are behind.

    notice: a line at the top.
    """
    lanes = progress.lanes[: max(0, height - 10)]
    room = max(3, height - 6 - len(lanes) - bool(notice))
    behind = sorted(progress.pairs, key=lambda pair: -pair.short)
    return Group(
        *([_one_line(brief(notice, 200, "bold yellow"))] if notice else []),
        _one_line(plain(_headline(progress), "bold")),
        Padding(ProgressBar(total=max(1, progress.wanted), completed=progress.passed), 0),
        _one_line(plain(_drafts(progress))),
        *(_one_line(_lane(lane)) for lane in lanes),
        _pair_table(behind[:room]),
        *([plain(f"... and {len(behind) - room} more pairs", "dim")] if len(behind) > room else []),
    )


def _lane(lane: LaneLoad) -> Text:
    told = f"{lane.in_flight:,} of {lane.limit:,} in flight  {lane.retries:,} retries  {lane.errors:,} errors  "
    state, style = lane_state(lane)
    return brief(lane.model, 40, "bold").append(f"  {told}", "not bold").append_text(brief(state, 200, style))


def _one_line(text: Text) -> Text:
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


def print_library_progress(console: Console, progress: LibraryProgress) -> None:
    """Where a library in the making stands, or how it ended."""
    table = Table(box=None, show_header=False, padding=(0, 2), pad_edge=False)
    total = progress.total
    rejected = sorted(progress.rejected.items(), key=lambda item: -item[1])
    rows = [
        ("library", progress.run),
        ("state", progress.state),
        ("scenarios", f"{progress.passed:,} of {progress.wanted:,}"),
        *(
            (f"  {state.value}", f"{count:,} drafts{_told(state, progress)}")
            for state, count in progress.drafts.items()
            if count
        ),
        *((f"  failed {check}", f"{count:,}") for check, count in rejected),
        *((f"  reply {kind}", f"{count:,}") for kind, count in sorted(progress.problems.items())),
        ("calls", f"{total.calls:,}, {total.failed + total.abandoned:,} of them lost"),
        ("tokens", f"{total.input_tokens:,} in, {total.output_tokens:,} out"),
        ("spent", f"${total.spent_usd:,.4f}" + (f" of ${progress.limit_usd:,.2f}" if progress.limit_usd else "")),
        ("time", duration(progress.elapsed_s)),
    ]
    for key, value in rows:
        table.add_row(plain(key, "bold"), plain(value))
    console.print(table)
    short = [pair for pair in progress.pairs if pair.short]
    if short:
        console.print()
        console.print(
            plain(f"{len(short)} of {len(progress.pairs)} pairs are short, by {progress.short:,} scenarios in all:")
        )
        console.print(_pair_table(short))


def _told(state: DraftState, progress: LibraryProgress) -> str:
    if state is DraftState.DUPLICATE:
        return f" (by {progress.embedding}, cosine from {progress.threshold:g} on)"
    return " (in the library with their reasons, never run)" if state is DraftState.REJECTED else ""


def _headline(progress: LibraryProgress) -> str:
    total = progress.total
    limit = f" of ${progress.limit_usd:,.2f}" if progress.limit_usd is not None else ""
    return (
        f"{progress.run}  {progress.passed:,}/{progress.wanted:,} scenarios  {duration(progress.elapsed_s)}  "
        f"{total.calls:,} calls  ${total.spent_usd:,.4f}{limit}"
    )


def _drafts(progress: LibraryProgress) -> str:
    counted = [f"{state.value} {count:,}" for state, count in progress.drafts.items() if count]
    counted += [f"replies {kind} {count:,}" for kind, count in sorted(progress.problems.items())]
    return "  ".join(counted)


def _pair_table(pairs: list[PairProgress]) -> Table:
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="bold")
    table.add_column("pair", overflow="ellipsis", no_wrap=True)
    for name in ("scenarios", "outlines"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for pair in pairs:
        table.add_row(
            plain(f"{pair.value_a} / {pair.value_b}"),
            f"{pair.passed:,}/{pair.wanted:,}",
            f"{pair.asked:,}",
            _bar(pair) if not pair.given_up else plain("given up (tries)", "yellow"),
        )
    return table


def _bar(pair: PairProgress) -> Text:
    full = round(_BAR * min(1.0, pair.passed / max(1, pair.wanted)))
    return Text("━" * full, style="green").append("━" * (_BAR - full), style="dim")
