"""The terminal: rankings and status as tables, and a run in one line."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from rich.console import Console, Group, RenderableType
from rich.filesize import decimal
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from conflictscope.outcome import Verdict
from conflictscope.rating import PairCount, Ranking
from conflictscope.snapshot import Conversation, LaneLoad, Progress, Snapshot
from conflictscope.views.text import duration, plain

_BAR_WIDTH = 25
_LONGEST = 100  # characters of a name in a line
_WIDTH_FOR_BARS = 62
_WIDTH_OF_INTERVALS = 18
_STYLES = {True: "green", False: "yellow"}

# -- in one line ------------------------------------------------------------------------------------------------------


def line(snapshot: Snapshot) -> Text:
    """A run in one line."""
    progress = snapshot.progress
    leaders = "; ".join(
        f"{str(ranking.group)[:_LONGEST]}: {' > '.join(value[:_LONGEST] for value in ranking.order[:4])}"
        for ranking in snapshot.rankings[:3]
    )
    if len(snapshot.rankings) > 3:
        leaders += f"; and {len(snapshot.rankings) - 3} more"
    return plain(f"{time.strftime('%H:%M:%S')} {_headline(progress)} | {verdict_counts(progress.verdicts)} | {leaders}")


def _headline(progress: Progress) -> str:
    planned = f"/{progress.planned:,} ({progress.done / max(1, progress.planned):.0%})" if progress.planned else ""
    rest = f", {words} left" if (words := left(progress)) else ""
    total = progress.total
    unpriced = f" + {total.unpriced:,} unpriced calls" if total.unpriced else ""
    limit = f" of ${progress.limit_usd:,.2f}" if progress.limit_usd is not None else ""
    return (
        f"{progress.done:,}{planned} episodes  {progress.rate_per_s:,.1f}/s  {duration(progress.elapsed_s)}{rest}  "
        f"{total.calls:,} calls  ${total.spent_usd:,.4f}{limit}{unpriced}"
    )


def left(progress: Progress) -> str | None:
    """The time that the run has left, in words."""
    if progress.remaining_s is None:
        return None
    return ("at most " if progress.ends_early else "") + duration(progress.remaining_s)


def verdict_counts(verdicts: Mapping[Verdict, int]) -> str:
    """How often there was which verdict, in one line."""
    return "  ".join(f"{verdict.value} {count:,}" for verdict in Verdict if (count := verdicts.get(verdict, 0)))


# -- a conversation ----------------------------------------------------------------------------------------------------


def print_conversation(console: Console, conversation: Conversation) -> None:
    """One conversation in full, with what the judge made of it."""
    console.print(plain(f"One of the conversations ({conversation.title}):", "bold"))
    for message in conversation.transcript:
        console.print(plain(f"{message.role.value}:", "bold"))
        for text in message.words.split("\n"):
            console.print(Padding(plain(text), (0, 0, 0, 2)))
    console.print(plain("judge:", "bold"))
    console.print(Padding(plain(conversation.conclusion), (0, 0, 0, 2)))
    console.print()


# -- rankings ----------------------------------------------------------------------------------------------------------


def print_rankings(
    console: Console, rankings: Sequence[Ranking], truths: Mapping[str, Sequence[str]] | None = None
) -> None:
    """Every ranking with its intervals, pairs and notes; beside the planted truth where there is one.

    truths: by `str(ranking.group)`, the values in planted order.
    """
    if not rankings:
        console.print("No outcome yet, so nothing to rank.")
    for ranking in rankings:
        console.print(_ranking_table(ranking, console.width, ascii_only=console.options.ascii_only))
        if truths is not None and (truth := truths.get(str(ranking.group))) is not None:
            same = list(truth) == ranking.order
            mark = "equals the ranking" if same else "DIFFERS from the ranking"
            console.print(plain(f"  planted truth: {' > '.join(truth)}  ({mark})", _STYLES[same]))
        if ranking.uncorrected is not None:
            console.print(_indented(f"uncorrected: {_in_one_line(ranking.uncorrected)}", "dim"))
        for text in _about(ranking):
            console.print(_indented(text, "dim"))
        for pair in ranking.pairs[:_MOST_PAIRS]:
            console.print(plain(_pair_line(pair), "dim"))
        if len(ranking.pairs) > _MOST_PAIRS:
            console.print(plain(f"  ... and {len(ranking.pairs) - _MOST_PAIRS:,} more pairs: see --json", "dim"))
        for note in ranking.notes():
            console.print(_indented(f"note: {note}", "yellow"))
        console.print()


_MOST_PAIRS = 12
_PASSED = {True: "passed", False: "FAILED", None: "not made"}


def _about(ranking: Ranking) -> list[str]:
    """What was fitted, and how well it fits."""
    lines = [f"practically equal: {' = '.join(group)}" for group in ranking.tie_groups]
    lines += [f"model: {ranking.model}"] if ranking.model else []
    lines += [f"judge: {ranking.judge_error.says}"] if ranking.judge_error else []
    if ranking.checks:
        lines.append(f"checks: {', '.join(f'{check.name} {_PASSED[check.passed]}' for check in ranking.checks)}")
    return lines


def _indented(text: str, style: str) -> Padding:
    return Padding(plain(text, style), (0, 0, 0, 2))


def _in_one_line(ranking: Ranking) -> str:
    return " > ".join(f"{value} {rating.mu:+z.2f}" for value, rating in ranking.ratings.items())


def _one_line(text: Text) -> Text:
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


def _ranking_table(ranking: Ranking, width: int, *, intervals: bool = True, ascii_only: bool = False) -> RenderableType:
    """One ranking: a line for its group, a line a value. intervals: also as numbers, not only as bars.

    Where the terminal is narrow, the bars go first, then the intervals; rank, value and utility stay.
    """
    bars = width >= _WIDTH_FOR_BARS + (_WIDTH_OF_INTERVALS if intervals else 0)
    intervals = intervals and width >= _WIDTH_OF_INTERVALS + 34
    state = ranking.convergence.words()
    title = plain(f"{ranking.group}", "bold").append_text(plain(f"  {ranking.outcomes:,} outcomes, {state}", "dim"))
    table = Table(box=None, show_header=False, padding=(0, 1), pad_edge=False)
    table.add_column(justify="right")
    table.add_column(no_wrap=True, overflow="ellipsis", max_width=24)
    table.add_column(justify="right")
    if intervals:
        table.add_column(style="dim", no_wrap=True)
    if bars:
        table.add_column(no_wrap=True)
    ranks = ranking.ranks
    ranked = [rating for value, rating in ranking.ratings.items() if ranks[value] is not None]
    low = min((rating.low for rating in ranked), default=0.0)
    high = max((rating.high for rating in ranked), default=1.0)
    span = max(high - low, 1e-9)
    for value, rating in ranking.ratings.items():
        if ranks[value] is None:
            table.add_row("-", plain(value), "", *["never compared"] * intervals)
            continue
        rank = f"{ranks[value]}."
        interval = [Text(f"[{rating.low:+z.2f}, {rating.high:+z.2f}]")] if intervals else []
        shares = [(at - low) / span for at in (rating.low, rating.mu, rating.high)]
        bar = [_bar(*shares, ascii_only=ascii_only)] if bars else []
        table.add_row(rank, plain(value), f"{rating.mu:+z.2f}", *interval, *bar)
    return Group(_one_line(title), Padding(table, (0, 0, 0, 2)))


def _bar(low: float, middle: float, high: float, *, ascii_only: bool) -> Text:
    """An interval and its middle, each a share of the width."""
    rest, mark = ("-", "o") if ascii_only else ("─", "●")
    first, dot, last = (round(share * (_BAR_WIDTH - 1)) for share in (low, middle, high))
    cells = [rest if first <= at <= last else " " for at in range(_BAR_WIDTH)]
    cells[dot] = mark
    return Text("".join(cells), style="cyan")


def _pair_line(pair: PairCount) -> str:
    excluded = "".join(f", {count} {state.value}" for state, count in sorted(pair.excluded.items()))
    ties = f", {pair.ties} ties" if pair.ties else ""
    return f"  {pair.value_a} {pair.wins_a} : {pair.wins_b} {pair.value_b}{ties}{excluded}"


# -- status ------------------------------------------------------------------------------------------------------------


def print_status(console: Console, snapshot: Snapshot) -> None:
    """Where a run stands, and its rankings."""
    progress = snapshot.progress
    total = progress.total
    table = Table(box=None, show_header=False, padding=(0, 2), pad_edge=False)
    rows = [
        ("run", progress.run),
        ("state", progress.state),
        ("episodes", f"{progress.done:,}" + (f" of {progress.planned:,}" if progress.planned is not None else "")),
        *(
            (f"  {verdict.value}", f"{progress.verdicts[verdict]:,}")
            for verdict in Verdict
            if progress.verdicts.get(verdict)
        ),
        *((f"  failed by {kind}", f"{count:,}") for kind, count in sorted(progress.failures.items())),
        *(
            (f"  {kind} look", f"{count:,} by {judge}, voted down without it")
            for (judge, kind), count in sorted(progress.lost_looks.items())
        ),
        ("calls", calls(progress)),
        ("tokens", f"{total.input_tokens:,} in, {total.output_tokens:,} out"),
        ("spent", spent(progress)),
        ("time", duration(progress.elapsed_s)),
        ("rate", f"{progress.rate_per_s:,.1f} episodes per second"),
        ("stored", stored(progress)),
    ]
    if words := left(progress):
        rows.append(("left", words))
    rows += [(f"judged anew by {judge}", verdict_counts(verdicts)) for judge, verdicts in snapshot.judges.items()]
    for key, value in rows:
        table.add_row(plain(key, "bold"), plain(value))
    console.print(table)
    if len(progress.usage) > 1:
        console.print()
        console.print(_usage_table(progress, console.width))
    if progress.lanes:
        console.print()
        console.print(_lane_table(progress.lanes))
    if snapshot.rankings:
        console.print()
        console.print(_convergence_table(snapshot, console.width))


def _convergence_table(snapshot: Snapshot, width: int) -> Table:
    """How far each ranking is from being settled; long names go on in a second line."""
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="bold")
    table.add_column("ranking of", overflow="fold", max_width=max(12, (width - 10) // 2))
    table.add_column("outcomes", justify="right", no_wrap=True, min_width=8)
    table.add_column("state")
    for ranking in snapshot.rankings:
        stopped = snapshot.stopped.get(ranking.group)
        state = ranking.convergence.words() if stopped is None else f"settled at {stopped:,} outcomes, takes no more"
        table.add_row(plain(str(ranking.group)), f"{ranking.outcomes:,}", plain(state, _STYLES[ranking.converged]))
    return table


def _lane_table(lanes: Sequence[LaneLoad]) -> Table:
    """How each lane stands, or stood at the end."""
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="bold")
    table.add_column("lane", no_wrap=True, overflow="ellipsis")
    for name in ("in flight", "limit", "waiting", "retries", "errors"):
        table.add_column(name, justify="right", no_wrap=True, min_width=len(name))
    table.add_column("state")
    for lane in lanes:
        counts = lane.in_flight, lane.limit, lane.waiting, lane.retries, lane.errors
        state, style = lane_state(lane)
        table.add_row(plain(lane.model), *(f"{count:,}" for count in counts), plain(state, style))
    return table


def lane_state(lane: LaneLoad) -> tuple[str, str]:
    """What is to be said of a lane, and the style in which; nothing where all is well."""
    if lane.closed is not None:
        return f"closed: {lane.closed}", "red"
    return (f"slowed, from {lane.most:,}", "yellow") if lane.limit < lane.most else ("", "")


def stored(progress: Progress) -> str:
    """What the run takes on the disk, in words."""
    each = progress.bytes_per_episode
    return decimal(progress.stored_bytes) + ("" if each is None else f", {decimal(round(each))} per episode")


def calls(progress: Progress) -> str:
    """What became of the calls, in words."""
    total = progress.total
    parts = [f"{total.calls - total.failed - total.abandoned:,} answered"]
    parts += [f"{total.failed:,} failed"] * bool(total.failed) + [f"{total.abandoned:,} abandoned"] * bool(
        total.abandoned
    )
    parts += [f"{progress.in_flight:,} in flight"] * bool(progress.in_flight)
    return ", ".join(parts)


def spent(progress: Progress) -> str:
    """What was spent, what is set aside, and what the rest will take."""
    total = progress.total
    text = f"${total.spent_usd:,.4f}"
    if progress.limit_usd is not None:
        text += f" of ${progress.limit_usd:,.2f}"
    if total.at_risk_usd:
        text += f" (${total.at_risk_usd:,.4f} of it set aside for calls whose end was not seen)"
    if total.unpriced:
        text += f" + {total.unpriced:,} calls of unknown price"
    if progress.reserved_usd:
        text += f", ${progress.reserved_usd:,.4f} reserved"
    if progress.forecast_usd:
        text += f", {'at most' if progress.ends_early else 'about'} ${progress.forecast_usd:,.4f} for the rest"
    return text


def _usage_table(progress: Progress, width: int) -> Table:
    """Calls, tokens and dollars by role, target and lane; long names go on in a second line."""
    longest = max(8, (width - 48) // 2)
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="bold")
    table.add_column("calls of", overflow="fold", max_width=longest)
    table.add_column("through", overflow="fold", max_width=longest)
    for name, width in (("calls", 6), ("lost", 4), ("tokens in", 9), ("out", 7), ("spent", 8)):
        table.add_column(name, justify="right", no_wrap=True, min_width=width)
    for purpose, usage in sorted(progress.usage.items(), key=lambda item: str(item[0])):
        table.add_row(
            plain(f"{purpose.role} for {purpose.target or 'all'}"),
            plain(purpose.model),
            f"{usage.calls:,}",
            f"{usage.failed + usage.abandoned:,}",
            f"{usage.input_tokens:,}",
            f"{usage.output_tokens:,}",
            f"${usage.spent_usd:,.4f}",
        )
    return table
