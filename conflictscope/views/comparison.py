"""What sets groups apart, as tables: a summary, each comparison, and what steerings reached."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from conflictscope.comparison import Alignment, By, Comparison, Comparisons, Estimate, ValueShift
from conflictscope.outcome import Group
from conflictscope.views.text import plain

_MOST_IN_FULL = 10
_MOST_PAIRS = 15
_MOST_REFUSED = 3
_BAR_WIDTH = 15
_WIDTH_FOR_BARS = 78
_WIDTH_FOR_UTILITIES = 96


def print_comparisons(console: Console, found: Comparisons) -> None:
    """A summary of all comparisons, those in full that are few, alignments, what could not be compared, judges' errors."""
    in_full = _in_full(found.comparisons)
    if len(found.comparisons) > 1:
        _print_summary(console, found.comparisons)
    for comparison in in_full:
        _print_comparison(console, comparison)
    if len(in_full) < len(found.comparisons):
        which = "The others" if in_full else "Each"
        console.print(plain(f"{which} in full: fewer with --by, or all with --json.\n", "dim"))
    for alignment in found.alignments:
        _print_alignment(console, alignment, pairs=len(found.alignments) <= _MOST_IN_FULL)
    for reason in found.refused[:_MOST_REFUSED]:
        console.print(plain(f"not compared: {reason}", "yellow"))
    if len(found.refused) > _MOST_REFUSED:
        console.print(plain(f"not compared: {len(found.refused) - _MOST_REFUSED:,} more, see --json", "yellow"))
    for told in found.judges:
        console.print(plain(f"judge: {told}", "yellow" if told.startswith("not") else "dim"))
    told = "*: the 95 % interval excludes 0; of 20 figures that are 0, one will get it by chance."
    if found.comparisons:
        told += " Differences are what stands right of the arrow less what stands left, in probit units."
    console.print(plain(told, "dim"))


def _in_full(comparisons: Sequence[Comparison]) -> Sequence[Comparison]:
    """All where they are few, else what a steering or a behaviour does to the plain condition, where that is few."""
    for some in (comparisons, [comparison for comparison in comparisons if _with_plain(comparison)]):
        if len(some) <= _MOST_IN_FULL:
            return some
    return ()


def _with_plain(comparison: Comparison) -> bool:
    by = comparison.by[0]
    return by in (By.STEERING, By.BEHAVIOR) and not (by.of(comparison.first) and by.of(comparison.second))


def _print_summary(console: Console, comparisons: Sequence[Comparison]) -> None:
    """A row each, what is held fixed as a heading; the least alike first."""
    table = _table("", "shared", "tau", "rho", "moved")
    ordered = sorted(comparisons, key=lambda comparison: (comparison.by[0].value, held(comparison)))
    for heading, rows in groupby(ordered, key=held):
        table.add_row(plain(heading, "bold"))
        for row in sorted(rows, key=lambda comparison: comparison.tau.value if comparison.tau else 2.0):
            table.add_row(
                Padding(plain(sides(row)), (0, 0, 0, 2)),
                f"{row.scenarios:,}",
                _figure(row.tau),
                f"{row.rho.value:+z.2f}" if row.rho else "-",
                f"{row.resolved}/{len(row.shifts)}",
            )
    console.print(table)
    told = (
        "shared: scenarios. tau, rho: how alike the rankings are, from -1 to 1. moved: values whose difference of utility is "
        "resolved.\n"
    )
    console.print(plain(told, "dim"))


def _print_comparison(console: Console, comparison: Comparison) -> None:
    first, second = comparison.unshared
    unshared = f" ({first:,} and {second:,} not)" if first or second else ""
    console.print(
        plain(f"{held(comparison)}: {sides(comparison)}", "bold").append_text(
            plain(f"  {comparison.scenarios:,} scenarios shared{unshared}", "dim")
        )
    )
    if comparison.tau is not None:
        console.print(plain(f"  tau {_figure(comparison.tau)}, rho {_figure(comparison.rho)}", "dim"))
    bars, utilities = console.width >= _WIDTH_FOR_BARS, console.width >= _WIDTH_FOR_UTILITIES
    ends = [abs(end) for s in comparison.shifts for end in (s.utility_difference.low, s.utility_difference.high)]
    table = _table("", "rank", "", *(["utility"] if utilities else []), "difference", *([""] if bars else []))
    for shift in comparison.shifts:
        both = [f"{shift.utilities[0]:+z.2f} → {shift.utilities[1]:+z.2f}"] if utilities else []
        bar = [_bar(shift.utility_difference, max(ends))] if bars else []
        table.add_row(
            plain(shift.value),
            f"{shift.ranks[0]:g} → {shift.ranks[1]:g}",
            f"[{_signed(shift.rank_difference.low)}, {_signed(shift.rank_difference.high)}]",
            *both,
            _difference(shift),
            *bar,
        )
    console.print(Padding(table, (0, 0, 0, 2)))
    _print_notes(console, comparison.notes())


def _print_alignment(console: Console, alignment: Alignment, *, pairs: bool) -> None:
    console.print(
        plain(f"{alignment.group}", "bold").append_text(plain(f"  {alignment.scenarios:,} scenarios shared", "dim"))
    )
    console.print(plain(f"  states {' > '.join(alignment.ranking)}", "dim"))
    table = _table("outcomes that agree", "without", "", "with", "")
    rows = [("mean of all pairs", alignment.before, alignment.after)]
    if pairs:
        rows += [
            (f"{pair.preferred} > {pair.other}", pair.before, pair.after) for pair in alignment.pairs[:_MOST_PAIRS]
        ]
    for label, before, after in rows:
        table.add_row(plain(label), *(text for share in (before, after) for text in (_share(share), _span(share))))
    console.print(Padding(table, (0, 0, 0, 2)))
    if pairs and len(alignment.pairs) > _MOST_PAIRS:
        console.print(plain(f"  ... and {len(alignment.pairs) - _MOST_PAIRS:,} more pairs: see --json", "dim"))
    gain, reached = alignment.gain, alignment.reached
    told = f"  gained {100 * gain.value:+.0f} points [{100 * gain.low:+.0f}, {100 * gain.high:+.0f}]{_mark(gain)}"
    if reached is not None:
        told += f", {_share(reached)} {_span(reached)} of what there was to gain"
    console.print(plain(told))
    _print_others(console, alignment, every=pairs)
    _print_notes(console, alignment.notes())


def _print_others(console: Console, alignment: Alignment, *, every: bool) -> None:
    """The values beside the ranking; only those that moved, unless `every`."""
    others = [shift for shift in alignment.others if every or shift.utility_difference.resolved]
    if not others:
        return
    table = _table("other values", "", "rank", "difference")
    for shift in others[:_MOST_PAIRS]:
        why = "kept its rank" if shift.value in alignment.ranking else "not in the ranking"
        ranks = f"{shift.ranks[0]:g} → {shift.ranks[1]:g}"
        table.add_row(plain(shift.value), plain(why, "dim"), ranks, _difference(shift))
    console.print(Padding(table, (0, 0, 0, 2)))
    if len(others) > _MOST_PAIRS:
        console.print(plain(f"  ... and {len(others) - _MOST_PAIRS:,} more values: see --json", "dim"))


def _print_notes(console: Console, notes: Sequence[str]) -> None:
    for note in notes:
        console.print(plain(f"  note: {note}", "yellow"))
    console.print()


def _table(*columns: str) -> Table:
    """The first column on the left and folded where it is too long, the others on the right."""
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="dim")
    for number, name in enumerate(columns):
        if number == 0:
            table.add_column(name, overflow="fold")
        else:
            table.add_column(name, justify="right", no_wrap=True)
    return table


def held(comparison: Comparison) -> str:
    """What both groups have in common."""
    first = comparison.first
    return " / ".join(filter(None, (by.of(first) for by in By if by is not comparison.by[0])))


def sides(comparison: Comparison) -> str:
    return f"{_side(comparison.by[0], comparison.first)} → {_side(comparison.by[0], comparison.second)}"


def _side(by: By, group: Group) -> str:
    return by.of(group) or ("plain" if by is By.BEHAVIOR else "no steering")


def _figure(estimate: Estimate | None) -> str:
    return "-" if estimate is None else f"{estimate.value:+z.2f} [{estimate.low:+z.2f}, {estimate.high:+z.2f}]"


def _signed(steps: float) -> str:
    return f"{steps:+g}" if steps else "0"


def _difference(shift: ValueShift) -> Text:
    difference = shift.utility_difference
    return plain(f"{_figure(difference)}{_mark(difference) or ' '}", "bold" if difference.resolved else "")


def _mark(estimate: Estimate) -> str:
    return "*" if estimate.resolved else ""


def _share(estimate: Estimate) -> str:
    return f"{estimate.value:.0%}"


def _span(estimate: Estimate) -> str:
    return f"[{estimate.low:.0%}, {estimate.high:.0%}]"


def _bar(estimate: Estimate, span: float) -> Text:
    """An interval and its middle on a line from -span to span, whose 0 is marked."""

    def place(at: float) -> int:
        return round((at / span + 1) / 2 * (_BAR_WIDTH - 1)) if span else (_BAR_WIDTH - 1) // 2

    cells = ["─" if place(estimate.low) <= at <= place(estimate.high) else " " for at in range(_BAR_WIDTH)]
    cells[place(0.0)] = "┼" if cells[place(0.0)] == "─" else "│"
    cells[place(estimate.value)] = "●"
    return Text("".join(cells), style="cyan")
