"""The figures of a report, by the names that they have as files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conflictscope.outcome import Group
from conflictscope.rating import Ranking
from conflictscope.redaction import redact
from conflictscope.views import charts
from conflictscope.views.comparison import held, sides
from conflictscope.views.report.contents import Report

if TYPE_CHECKING:
    from conflictscope.views.charts.base import AnyChart

_MOST_SHIFTS = 24
_LONGEST = 60


@dataclass(frozen=True)
class Drawn:
    """A chart. section: of the report that shows it. says: what it shows, for those who do not see it, and its caption."""

    section: str
    chart: AnyChart
    says: str


def report_figures(report: Report) -> dict[str, Drawn]:
    """By name. Sections: `rankings`, a group, `A to B` of two groups, `steering`, `scenarios`, `judging`, `episodes`, `cost`."""
    figures: dict[str, Drawn] = {}
    for name, drawn in _figures(report):
        short = re.sub(r"[^a-z0-9]+", "-", redact(name).lower()).strip("-")[:_LONGEST].rstrip("-")
        figures[short if short not in figures else f"{short}-{len(figures)}"] = drawn
    return figures


def _figures(report: Report) -> Iterator[tuple[str, Drawn]]:
    board = report.board
    rated = [ranking for ranking in report.main if ranking.outcomes]
    if len(rated) > 1:
        says = "Utilities of the values with their 95 % intervals, by the joint posterior, for each group."
        yield "rankings", Drawn("rankings", charts.ranking_chart(rated), says)
    for group, methods in report.by_group():
        rankings = list(methods.values())
        if rankings[0].outcomes:
            yield from _of_group(report, group, rankings)
    histories = [board.histories[ranking.group] for ranking in rated if ranking.group in board.histories]
    if histories:
        rule = rated[0].convergence.rule
        says = (
            "Doubt: the chance that neighbours stand in the wrong order and are not practically equal; a line a group."
        )
        yield "convergence", Drawn("rankings", charts.doubt_chart(histories, rule.alpha), says)
    shown = [each for comparisons in report.compared_by().values() for each in comparisons][:_MOST_SHIFTS]
    for comparison in shown:
        told = f"{held(comparison)}: {sides(comparison)}"
        says = f"{told}: utility in the first (hollow) and the second (full), with the 95 % interval of the difference."
        yield f"shift {told}", Drawn(f"{comparison.first} to {comparison.second}", charts.shift_chart(comparison), says)
    if report.comparisons.alignments:
        says = "Share of outcomes that agree with the stated ranking, without steering (hollow) and with it (full)."
        yield "steering", Drawn("steering", charts.steering_chart(report.comparisons.alignments), says)
    if report.library is not None:
        says = "Shares of scenarios with 95 % intervals: checks, near-duplicates, agreement and clear preferences of targets."
        yield "scenarios", Drawn("scenarios", charts.library_chart([report.library]), says)
    if report.audit is not None and any(effect.both_orders and effect.flips for effect in report.audit.orders):
        says = "Share of conversations judged otherwise in the other order of the actions, with 95 % intervals."
        yield "order-flips", Drawn("judging", charts.flips_chart(report.audit), says)
    if report.main:
        says = (
            "What the episodes came to, by group."
            if len(report.main) > 1
            else "What the episodes came to, by pair of values."
        )
        yield "states", Drawn("episodes", charts.states_chart(report.main), says)
    if board.failures:
        yield "failures", Drawn("episodes", charts.failures_chart(board.failures), "Failed episodes by kind.")
    if board.snapshot.progress.usage:
        yield "cost", Drawn("cost", charts.cost_chart(board.snapshot.progress.usage), "What each role and model took.")
        if board.timeline:
            says = "Episodes that ended per second, over the run."
            yield "throughput", Drawn("cost", charts.throughput_chart(board.timeline), says)
    if board.timeline and any(stretch.spent_usd for stretch in board.timeline):
        limit = board.snapshot.progress.limit_usd
        yield "spend", Drawn("cost", charts.spend_chart(board.timeline, limit), "Dollars spent so far, over the run.")


def _of_group(report: Report, group: Group, rankings: list[Ranking]) -> Iterator[tuple[str, Drawn]]:
    main = rankings[0]
    section = str(group)
    says = f"{group}: utilities by the joint posterior, Bradley-Terry and TrueSkill, each standardised, with 95 % intervals."
    yield f"methods {group}", Drawn(section, charts.methods_chart(rankings), says)
    flips = report.board.flips.get(group, {})
    says = f"{group}: share of rated episodes that the value of the row won against that of the column; below it wins and losses."
    yield f"pairs {group}", Drawn(section, charts.pair_matrix(main, flips), says)
    if group in report.board.histories:
        says = f"{group}: live TrueSkill ratings over the rated outcomes, with 95 % intervals."
        yield f"history {group}", Drawn(section, charts.convergence_chart(report.board.histories[group]), says)
