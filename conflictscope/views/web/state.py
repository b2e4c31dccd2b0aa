"""What the page of a run shows at one moment: once as it is opened, then anew as the run goes on, piece by piece."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np

from conflictscope.board import Board, EpisodeRow, History
from conflictscope.outcome import Group, Verdict
from conflictscope.rating import Ranking
from conflictscope.snapshot import Progress
from conflictscope.views import charts
from conflictscope.views.text import duration, visible

if TYPE_CHECKING:
    from conflictscope.views.charts.base import AnyChart

_MOST_POINTS = 12_000
"""Points in all charts of ratings together: a page draws them every second."""

Cell = str | Mapping[str, str]
"""A text; or `text` with `href`, where it leads."""


@dataclass(frozen=True)
class GroupCard:
    """A group on the page. id: of its pieces."""

    id: str
    group: Group

    @classmethod
    def of(cls, group: Group) -> GroupCard:
        """Of a group: the same id on every page and in every process."""
        return cls(hashlib.sha256(json.dumps(group.to_json()).encode()).hexdigest()[:10], group)

    @property
    def condition(self) -> str:
        """All but the target."""
        return " / ".join(filter(None, (self.group.mode, self.group.steering, self.group.behavior)))


@dataclass(frozen=True)
class Chart:
    """A chart for a page. spec: in Vega-Lite, with its rows."""

    spec: Mapping[str, Any]

    @property
    def rows(self) -> Sequence[Mapping[str, Any]]:
        """What it shows."""
        rows: Sequence[Mapping[str, Any]] = self.spec["data"]["values"]
        return rows

    @cached_property
    def form(self) -> str:
        """What tells it from other charts but for its rows: a page must draw it anew where this is another."""
        return _hash({**self.spec, "data": None})


@dataclass(frozen=True)
class RunState:
    """The pieces of the page, by id. Texts are safe to be shown as text, not as HTML.

    texts: one a place. meters: how much of what. tables: rows of cells. charts: as Vega-Lite.
    """

    name: str
    groups: Sequence[GroupCard]
    running: bool
    texts: Mapping[str, str]
    meters: Mapping[str, tuple[float, float]]
    tables: Mapping[str, Sequence[Sequence[Cell]]]
    charts: Mapping[str, Chart]

    @cached_property
    def pieces(self) -> Mapping[str, Mapping[str, Any]]:
        """What an event carries, by kind and id."""
        return {
            "texts": self.texts,
            "meters": self.meters,
            "tables": self.tables,
            "charts": {name: {"form": chart.form, "rows": chart.rows} for name, chart in self.charts.items()},
        }

    @cached_property
    def layout(self) -> str:
        """What tells pages apart that have other places: of a run whose groups are others than those of a moment ago."""
        return _hash([sorted(own) for own in (self.texts, self.meters, self.tables, self.charts)])

    def news(self, before: RunState | None) -> dict[str, Any]:
        """What is other than before; everything where there is no before."""
        news: dict[str, Any] = {"layout": self.layout, "running": self.running}
        for kind, pieces in self.pieces.items():
            old = before.pieces[kind] if before is not None else {}
            news[kind] = {name: piece for name, piece in pieces.items() if name not in old or old[name] != piece}
        return news


def run_state(board: Board, latest: Sequence[EpisodeRow], path: str) -> RunState:
    """The state of a run. latest: its newest episodes. path: of its page, under which those of the episodes lie."""
    progress = board.snapshot.progress
    cards = [GroupCard.of(ranking.group) for ranking in board.rankings]
    texts = _headline(progress)
    tables: dict[str, Sequence[Sequence[Cell]]] = {
        "states": [[state.value, f"{count:,}"] for state in Verdict if (count := progress.verdicts.get(state, 0))],
        "usage": _usage(progress),
        "latest": [_latest(row, path) for row in latest],
    }
    drawn: dict[str, AnyChart] = {}
    of_groups = {f"{kind}-{card.id}" for kind in ("pairs", "ratings") for card in cards}  # which the page names
    points = max(20, _MOST_POINTS // max(1, sum(len(history.values) for history in board.histories.values())))
    for card, ranking in zip(cards, board.rankings, strict=True):
        settled = board.snapshot.stopped.get(ranking.group)
        stopped = f"; stopped at {settled:,} outcomes" if settled is not None else ""
        texts[f"settled-{card.id}"] = f"{ranking.outcomes:,} rated outcomes; {ranking.convergence.words()}{stopped}"
        tables[f"ranking-{card.id}"] = _ranking_rows(ranking)
        tables[f"notes-{card.id}"] = [[note] for note in ranking.notes()] or [["nothing to note"]]
        drawn[f"pairs-{card.id}"] = charts.pair_matrix(ranking, board.flips.get(ranking.group, {}))
        history = board.histories.get(ranking.group)
        if history is not None and len(history.outcomes):
            drawn[f"ratings-{card.id}"] = charts.convergence_chart(thinned(history, points))
    histories = [history for history in board.histories.values() if len(history.outcomes)]
    if histories:
        drawn["doubt"] = charts.doubt_chart(histories, board.rankings[0].convergence.rule.alpha)
    if board.timeline:
        drawn["throughput"] = charts.throughput_chart(board.timeline)
        drawn["spend"] = charts.spend_chart(board.timeline, progress.limit_usd)
    if board.failures:
        drawn["failures"] = charts.failures_chart(board.failures)
    tables["failures"] = [[kind, f"{count:,}"] for kind, count in sorted(board.failures.items())]
    return RunState(
        visible(progress.run),
        cards,
        progress.state == "running",
        {name: visible(text) for name, text in texts.items()},
        {"progress": (float(progress.done), float(progress.planned or progress.done or 1))}
        | ({"spend": (progress.total.spent_usd, progress.limit_usd)} if progress.limit_usd else {}),
        {name: [[_shown(cell) for cell in row] for row in rows] for name, rows in tables.items()},
        {name: _chart(chart, titled=name not in of_groups) for name, chart in drawn.items()},
    )


def thinned(history: History, most: int) -> History:
    """At most so many points of a history, evenly spread, the newest among them."""
    count = len(history.outcomes)
    if count <= most:
        return history
    kept = np.unique(np.linspace(0, count - 1, most).round().astype(int))
    return replace(
        history,
        outcomes=history.outcomes[kept],
        mu=history.mu[kept],
        low=history.low[kept],
        high=history.high[kept],
        doubt=history.doubt[kept],
    )


def _headline(progress: Progress) -> dict[str, str]:
    total = progress.total
    planned = f" of {progress.planned:,}" if progress.planned is not None else ""
    at_most = "at most " if progress.ends_early else ""
    left = "nothing" if progress.remaining_s is None else at_most + duration(progress.remaining_s)
    if progress.remaining_s is None and progress.state == "running":
        left = "not known yet"
    unpriced = f", and {total.unpriced:,} calls without a price" if total.unpriced else ""
    limit = f" of ${progress.limit_usd:,.2f}" if progress.limit_usd is not None else ""
    forecast = progress.forecast_usd
    return {
        "state": progress.state,
        "reading": f"Reading this long run: {progress.read:.0%} so far." if progress.read < 1 else "",
        "done": f"{progress.done:,}{planned}",
        "failed": f"{progress.failed:,}",
        "left": left,
        "rate": f"{progress.rate_per_s:,.1f}/s",
        "elapsed": duration(progress.elapsed_s),
        "spent": f"${total.spent_usd:,.4f}{limit}{unpriced}",
        "forecast": f"{at_most or 'about '}${forecast:,.4f}" if forecast else "nothing",
        "calls": f"{total.calls:,}",
        "in_flight": f"{progress.in_flight:,}",
        "tokens": f"{total.input_tokens:,} in, {total.output_tokens:,} out",
    }


def _usage(progress: Progress) -> list[list[Cell]]:
    return [
        [
            purpose.role,
            purpose.target or "all",
            purpose.model,
            f"{usage.calls:,}",
            f"{usage.failed:,}",
            f"{usage.input_tokens:,}",
            f"{usage.output_tokens:,}",
            f"${usage.spent_usd:,.4f}",
        ]
        for purpose, usage in sorted(progress.usage.items(), key=lambda item: str(item[0]))
    ]


def _ranking_rows(ranking: Ranking) -> list[list[Cell]]:
    """Rank, value, utility, interval, how surely it stands above the next."""
    ranks, order, rows = ranking.ranks, ranking.order, list[list[Cell]]()
    for place, (value, rating) in enumerate(ranking.ratings.items()):
        above = ranking.above(value, order[place + 1]) if place + 1 < len(order) else None
        rank = ranks[value]
        rows.append(
            [
                "" if rank is None else str(rank),
                value,
                f"{rating.mu:z.2f}",
                f"{rating.low:z.2f} to {rating.high:z.2f}",
                "" if above is None else f"{above:.0%}",
            ]
        )
    return rows


def _latest(row: EpisodeRow, path: str) -> list[Cell]:
    link = {"text": row.scenario_id, "href": f"{path}/episodes/{row.seq}"}
    return [link, found(row), str(row.group), moment(row.created_at)]


def found(row: EpisodeRow) -> str:
    """What became of an episode, in words."""
    match row.verdict:
        case Verdict.A:
            return f"{row.value_a} over {row.value_b}"
        case Verdict.B:
            return f"{row.value_b} over {row.value_a}"
        case Verdict.TIE:
            return f"{row.value_a} and {row.value_b} tie"
    return row.verdict.value.replace("_", " ")


def moment(iso: str | None) -> str:
    """`2026-11-21 18:30:05`, UTC."""
    return (iso or "")[:19].replace("T", " ")


def run_path(name: str) -> str:
    """Where the page of a run is."""
    return f"/runs/{quote(name, safe='')}"


def _chart(chart: AnyChart, *, titled: bool) -> Chart:
    spec = charts.chart_spec(chart)
    return Chart(spec if titled else {key: own for key, own in spec.items() if key != "title"})


def _shown(cell: Cell) -> Cell:
    return visible(cell) if isinstance(cell, str) else {**cell, "text": visible(cell["text"])}


def _hash(data: Any) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]
