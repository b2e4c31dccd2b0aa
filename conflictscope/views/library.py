"""Libraries as tables: what each is made of, and several side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain

from rich.console import Console
from rich.table import Table
from rich.text import Text

from conflictscope.librarystats import Coefficient, LibraryStats, Share
from conflictscope.tables import ImportedDilemmas
from conflictscope.views.text import plain

_MOST_PAIRS = 20
_MOST_REFUSED = 5
_LABEL_WIDTH, _SPANNED_WIDTH = 32, 18


def print_libraries(console: Console, libraries: Sequence[LibraryStats]) -> None:
    """One library in full, or several side by side."""
    if len(libraries) == 1:
        _print_one(console, libraries[0])
    else:
        _print_side_by_side(console, libraries)
    embeddings = " and ".join(dict.fromkeys(stats.likeness.embedding for stats in libraries))
    threshold = libraries[0].likeness.threshold
    told = f"Likeness by {embeddings}; near-duplicates from a cosine of {threshold:g} on. In brackets: 95 % intervals."
    console.print()
    console.print(plain(told, "dim"))


def _print_one(console: Console, stats: LibraryStats) -> None:
    table = _table("", "", "")
    for label, count in (
        ("scenarios", stats.scenarios),
        ("situations", stats.situations),
        ("passing", stats.passing),
    ):
        table.add_row(plain(label, "bold"), f"{count:,}")
    for template, count in stats.templates.items():
        table.add_row(plain(f"  template {template}"), f"{count:,}")
    table.add_row(plain("diversity within pairs", "bold"), _figure(stats.likeness.within_pairs))
    table.add_row(plain("diversity overall", "bold"), _figure(stats.likeness.overall))
    table.add_row(plain("near-duplicates", "bold"), *_share(stats.likeness.near_duplicates))
    for rate in stats.rates:
        label = f"  by {rate.checker}" if rate.checker else f"passes: {rate.check}"
        table.add_row(plain(label, "" if rate.checker else "bold"), *_share(rate.passed))
    for checkers in stats.checkers:
        coefficient = f"checkers agree: {checkers.check} ({checkers.agreement.name})"
        table.add_row(plain(coefficient, "bold"), *_coefficient(checkers.agreement))
    for condition in stats.conditions:
        table.add_row(plain(f"targets agree: {condition}", "bold"), *_share(condition.agree))
        if condition.alpha is not None:
            table.add_row(plain("  beyond chance (krippendorff_alpha)"), *_coefficient(condition.alpha))
        for target in condition.targets:
            table.add_row(plain(f"  clear for {target.target}"), *_share(target.clear))
    console.print(table)
    pairs = _table("\npair", "\nscenarios", "\ndiversity", "near-\nduplicates")
    for pair in stats.pairs[:_MOST_PAIRS]:
        pairs.add_row(
            plain(f"{pair.value_a} / {pair.value_b}"),
            f"{pair.scenarios:,}",
            _figure(pair.diversity),
            f"{pair.near_duplicates:,}",
        )
    console.print()
    console.print(pairs)
    if len(stats.pairs) > _MOST_PAIRS:
        console.print(plain(f"... and {len(stats.pairs) - _MOST_PAIRS:,} more pairs: see --json", "dim"))


def _print_side_by_side(console: Console, libraries: Sequence[LibraryStats]) -> None:
    """A column a library, a row a measure; without intervals where they would not fit."""
    table = _table("", *(plain(stats.name) for stats in libraries))
    wide = console.width >= _LABEL_WIDTH + len(libraries) * _SPANNED_WIDTH

    def span(share: Share | None) -> str:
        return "-" if share is None else " ".join(_share(share)[: 2 if wide else 1]).partition(" of ")[0]

    def row(label: str, cells: Iterable[str]) -> None:
        table.add_row(plain(label), *map(plain, cells))

    row("scenarios", (f"{stats.scenarios:,}" for stats in libraries))
    row("situations", (f"{stats.situations:,}" for stats in libraries))
    row("pairs of values", (f"{len(stats.pairs):,}" for stats in libraries))
    row("passing", (f"{stats.passing:,}" for stats in libraries))
    for template in dict.fromkeys(template for stats in libraries for template in stats.templates):
        row(f"  template {template}", (f"{stats.templates.get(template, 0):,}" for stats in libraries))
    row("diversity within pairs", (_figure(stats.likeness.within_pairs) for stats in libraries))
    row("diversity overall", (_figure(stats.likeness.overall) for stats in libraries))
    row("near-duplicates", (span(stats.likeness.near_duplicates) for stats in libraries))
    rates = [{rate.check: rate.passed for rate in stats.rates if rate.checker is None} for stats in libraries]
    for check in dict.fromkeys(chain.from_iterable(rates)):
        row(f"passes: {check}", (span(passed.get(check)) for passed in rates))
    conditions = [{str(condition): condition for condition in stats.conditions} for stats in libraries]
    for name in dict.fromkeys(chain.from_iterable(conditions)):
        there = [played.get(name) for played in conditions]
        row(f"targets agree: {name}", (span(one.agree if one else None) for one in there))
        alphas = (_coefficient(one.alpha)[: 2 if wide else 1] if one and one.alpha else "-" for one in there)
        row("  beyond chance (alpha)", map(" ".join, alphas))
        clear = [{target.target: target.clear for target in one.targets} if one else {} for one in there]
        for target in dict.fromkeys(chain.from_iterable(clear)):
            row(f"  clear for {target}", (span(shares.get(target)) for shares in clear))
    console.print(table)


def print_import(console: Console, imported: ImportedDilemmas) -> None:
    """Why rows became no scenario, the most frequent reasons first."""
    first: dict[str, int] = {}
    for row in imported.refused:
        first.setdefault(row.reason, row.line)
    reasons = list(imported.left_out.items())
    for reason, count in reasons[:_MOST_REFUSED]:
        rows = "1 row" if count == 1 else f"{count:,} rows"
        where = f"line {first[reason]}" if count == 1 else f"first on line {first[reason]}"
        console.print(plain(f"left out: {rows}, {where}: {reason}"), soft_wrap=True)
    if len(reasons) > _MOST_REFUSED:
        console.print(plain(f"left out for {len(reasons) - _MOST_REFUSED:,} more reasons: see --json", "dim"))


def _table(*columns: str | Text) -> Table:
    """The first column on the left and whole, the others on the right."""
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="dim", show_header=any(columns))
    for number, name in enumerate(columns):
        table.add_column(name, justify="right" if number else "left", overflow="fold", no_wrap=not number)
    return table


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _share(share: Share | None) -> tuple[str, str]:
    return (
        ("-", "")
        if share is None
        else (f"{share.value:.0%}", f"[{share.low:.0%}, {share.high:.0%}] of {share.total:,}")
    )


def _coefficient(found: Coefficient) -> tuple[str, str]:
    return f"{found.value:z.2f}", f"[{found.low:z.2f}, {found.high:z.2f}]"
