"""Labels by people as tables: how far they and the judge agree, and on which pairs of values."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console, RenderableType
from rich.table import Table

from conflictscope.annotation import LabelReport, RaterAgreement
from conflictscope.views.text import plain


def print_labels(console: Console, report: LabelReport) -> None:
    """Who said what, how far they agree, and the pairs of values one by one."""
    people = _table("", "labels")
    for name, verdicts in report.annotators.items():
        people.add_row(plain(name, "bold"), f"{sum(verdicts.values()):,}", plain(_said(verdicts)))
    console.print(people)
    agreement = _table("\nagreement", "\nthe same", "", "\nkappa", "")
    for raters in (*report.judges, *report.people):
        agreement.add_row(*_row(raters))
    console.print(agreement)
    if report.alpha is not None:
        alpha = report.alpha
        told = f"all people: {alpha.name} {alpha.value:z.2f} [{alpha.low:z.2f}, {alpha.high:z.2f}] of {alpha.items:,} episodes"
        console.print(plain(told))
    pairs = _table("\npair", "\nepisodes", "\nthe same", "\nno majority", "\npeople", "\njudge")
    for pair in report.pairs:
        pairs.add_row(
            plain(f"{pair.value_a} / {pair.value_b}"),
            f"{pair.decided + pair.split:,}",
            f"{pair.same:,}",
            f"{pair.split:,}",
            plain(_said(pair.people)),
            plain(_said(pair.judge)),
        )
    console.print(pairs)
    told = "In brackets: 95 % intervals. Of a pair, a is the first value; what people said is what more than half of them said."
    console.print(plain(told, "dim"))


def _row(raters: RaterAgreement) -> tuple[RenderableType, ...]:
    same, kappa = raters.same, raters.kappa
    return (
        plain(f"{raters.first} and {raters.second}"),
        f"{same.value:.0%}",
        f"[{same.low:.0%}, {same.high:.0%}] of {same.total:,}",
        f"{kappa.value:z.2f}",
        f"[{kappa.low:z.2f}, {kappa.high:z.2f}]",
    )


def _said(verdicts: Mapping[str, int]) -> str:
    return "  ".join(f"{state} {count:,}" for state, count in verdicts.items())


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="dim")
    for number, name in enumerate(columns):
        table.add_column(name, justify="right" if number else "left", overflow="fold")
    return table
