"""An audit, part by part, as tables; and in words what it could not tell, and which conclusions depend on the scoring."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from conflictscope.audit import MOST_LEFT_OUT, Audit, Beside, Components, Figure, OrderEffect, Stability
from conflictscope.views.text import plain

_MOST_ROWS = 15
_Row = TypeVar("_Row")


def print_audit(console: Console, found: Audit) -> None:
    """All parts of which there is something to tell."""
    console.print(
        plain(f"{found.episodes:,} episodes. Brackets are 95 % intervals, n is how many they rest on.\n", "dim")
    )
    _print_orders(console, found.orders)
    for title, agreement in (
        ("agreement between judges", found.agreement),
        ("verdicts, with those of judges who judged anew", found.judged_anew),
    ):
        if agreement is None:
            continue
        table = _table(title, "", "n")
        for (one, other), kappa in agreement.cohen.items():
            _add(table, f"{one} and {other}: Cohen's kappa", _figure(kappa), kappa)
        for name, coefficient in (("Fleiss' kappa", agreement.fleiss), ("Krippendorff's alpha", agreement.alpha)):
            if coefficient is not None:
                _add(table, f"all {len(agreement.judges)}: {name}", _figure(coefficient), coefficient)
        _print(console, table)
    table = _table("repeated looks of a judge", "same verdict", "alpha", "n")
    _add_rows(
        table,
        [retest for retest in found.judge_retests if retest.same],
        lambda r: (r.judge, _share(r.same), _figure(r.alpha), f"{r.conversations:,}"),
    )
    _print(console, table)
    table = _table("repeats of a scenario", "same verdict", "alpha", "n")
    _add_rows(
        table,
        [retest for retest in found.retests if retest.same],
        lambda r: (str(r.group), _share(r.same), _figure(r.alpha), f"{r.scenarios:,}"),
    )
    _print(console, table)
    _print_unrated(console, found)
    _print_components(console, found.components)
    _print_stability(console, found.stability)
    for beside in found.beside:
        _print_beside(console, beside)
    for shift in found.shifts:
        if (said := shift.says()) is not None:
            console.print(plain(said, "bold yellow"))
    changes = found.changes()
    if found.beside:
        told = f"{len(changes)} conclusions would change" if changes else "no conclusion would change"
        console.print(plain(f"Under reference-compatible scoring {told}.\n", "bold"))
    for text in found.not_told:
        console.print(plain(f"not told: {text}", "yellow"))


def _print_orders(console: Console, effects: Sequence[OrderEffect]) -> None:
    both = [effect for effect in effects if effect.both_orders and effect.flips]
    table = _table("judged in both orders", "judged otherwise", "names the first", "errs", "n")
    _add_rows(
        table,
        both,
        lambda e: (_whose(e), _share(e.flips), _bias(e.bias), _share(e.error), f"{e.items:,}"),
        heading=lambda e: e.who,
    )
    _print(
        console,
        table,
        "names the first: chance that it does so whatever was done. errs: where the order does not decide.",
    )
    drawn = [effect for effect in effects if not effect.both_orders and (effect.first_a or effect.first_b)]
    table = _table("seen in one order, drawn", "first, if a", "first, if b", "names the first", "n")
    _add_rows(
        table,
        drawn,
        lambda e: (_whose(e), _share(e.first_a), _share(e.first_b), _bias(e.bias), f"{e.items:,}"),
        heading=lambda e: e.who,
    )
    _print(console, table, "first, if a: share that names the action shown first, where that is action a.")


def _print_unrated(console: Console, found: Audit) -> None:
    table = _table("left out of the ranking", "", "n", "of which")
    many = [row for row in found.unrated if row.too_many]
    _add_rows(
        table,
        many,
        lambda row: (
            " / ".join(row.pair),
            _share(row.left_out),
            f"{row.left_out.items:,}",
            ", ".join(f"{share.value:.0%} {state.value}" for state, share in row.states.items()),
        ),
        heading=lambda row: str(row.group),
    )
    _print(console, table)
    rest = len(found.unrated) - len(many)
    if rest:
        console.print(plain(f"  {rest} pairs leave out at most {MOST_LEFT_OUT:.0%} of their episodes.\n", "dim"))


def _print_components(console: Console, components: Sequence[Components]) -> None:
    by_names: dict[tuple[str, ...], list[Components]] = defaultdict(list)
    for one in components:
        by_names[tuple(one.variance)].append(one)
    for names, rows in by_names.items():
        table = _table("what outcomes vary by", *names, "scenarios", "looks")
        _add_rows(
            table,
            rows,
            lambda row: (
                " / ".join(row.pair),
                *(f"{share:.0%}" for share in row.shares().values()),
                f"{row.scenarios:,}",
                f"{row.looks:,}",
            ),
            heading=lambda row: str(row.group),
        )
        _print(console, table, "shares of the variance; their intervals, and the variances, are in --json.")


def _print_stability(console: Console, rows: Sequence[Stability]) -> None:
    table = _table("the ranking, drawn anew", "tau", "same order", "same top", "n")
    _add_rows(
        table,
        rows,
        lambda row: (
            row.drawn,
            _figure(row.tau),
            f"{row.same_order:.0%}",
            f"{row.same_top:.0%}",
            f"{row.tau.items:,}",
        ),
        heading=lambda row: str(row.group),
    )
    _print(
        console, table, "scenarios, repeats or judges drawn with replacement; tau with the ranking as it is: its mean."
    )


def _print_beside(console: Console, beside: Beside) -> None:
    heading = plain(f"{beside.group}", "bold")
    order = f", {beside.other_order:,} seen in the other order only" if beside.other_order else ""
    console.print(heading.append_text(plain(f"  the paper's scoring of {beside.episodes:,} episodes{order}", "dim")))
    if beside.rescored:
        moved = ", ".join(f"{count:,} {ours} → {theirs}" for (ours, theirs), count in beside.rescored.items())
        console.print(plain(f"  verdicts that it has otherwise: {moved}", "dim"))
    table = _table("chance that the first wins", "ours", "n", "reference", "n", "P above, ours", "reference")
    _add_rows(
        table,
        beside.pairs,
        lambda pair: (
            " / ".join(pair.pair),
            *(text for figure in pair.wins for text in (_share(figure), f"{figure.items:,}")),
            *(f"{p:.2f}" for p in pair.above),
        ),
    )
    console.print(Padding(table, (0, 0, 0, 2)))
    theirs = sorted(beside.ranks, key=lambda value: beside.ranks[value][1])
    console.print(plain(f"  ours: {' > '.join(beside.ranks)}; reference: {' > '.join(theirs)}", "dim"))
    for said in beside.says():
        console.print(plain(f"  {said}", "yellow"))
    console.print()


def _whose(effect: OrderEffect) -> str:
    return " / ".join(effect.pair) if effect.pair else "all pairs"


def _table(*columns: str) -> Table:
    """The first column on the left and folded where it is too long, the others on the right."""
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="dim")
    for number, name in enumerate(columns):
        if number == 0:
            table.add_column(plain(name, "bold"), overflow="fold")
        else:
            table.add_column(plain(name), justify="right", overflow="fold")
    return table


def _add(table: Table, label: str, text: str, figure: Figure) -> None:
    table.add_row(plain(label), text, f"{figure.items:,}")


def _add_rows(
    table: Table,
    rows: Sequence[_Row],
    cells: Callable[[_Row], Iterable[str]],
    heading: Callable[[_Row], str] | None = None,
) -> None:
    """As many as a screen takes, under a heading where it changes."""
    last = None
    for row in rows[:_MOST_ROWS]:
        label, *figures = cells(row)
        if heading is not None and heading(row) != last:
            last = heading(row)
            table.add_row(plain(last, "bold"))
        table.add_row(Padding(plain(label), (0, 0, 0, 2 if heading else 0)), *(plain(figure) for figure in figures))
    if len(rows) > _MOST_ROWS:
        table.add_row(Text(f"... and {len(rows) - _MOST_ROWS:,} more: see --json", style="dim"))


def _print(console: Console, table: Table, told: str = "") -> None:
    """A table that has rows, and what its columns mean."""
    if table.row_count:
        console.print(table)
        console.print(plain(f"  {told}\n" if told else "", "dim"))


def _figure(figure: Figure | None) -> str:
    return "-" if figure is None else f"{figure.value:+z.2f} [{figure.low:+z.2f}, {figure.high:+z.2f}]"


def _share(figure: Figure | None) -> str:
    return "-" if figure is None else f"{figure.value:.0%} [{figure.low:.0%}, {figure.high:.0%}]"


def _bias(figure: Figure | None) -> str:
    return "-" if figure is None else f"{figure.value:+.0%} [{figure.low:+.0%}, {figure.high:+.0%}]"
