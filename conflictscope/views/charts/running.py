"""A run in figures: what it did over time, what it spent, what failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

from conflictscope.board import Stretch
from conflictscope.snapshot import Purpose, Usage
from conflictscope.views.charts.base import MUTED, PALETTE, STEP, WIDTH, data, named

if TYPE_CHECKING:
    import altair

    from conflictscope.views.charts.base import AnyChart

_HEIGHT = 160
_MOST_KINDS = 15


def throughput_chart(timeline: Sequence[Stretch]) -> AnyChart:
    """Episodes per second over time, with a verdict and failed ones."""
    import altair as alt

    kinds = {"with a verdict": PALETTE[0], "failed": PALETTE[1]}
    timeline = _whole(timeline)
    moments = [(stretch.start, stretch) for stretch in timeline]
    moments += [(_end(timeline[-1]), timeline[-1])] if timeline else []
    rows = [
        {"at": at, "what": what, "per_s": count / stretch.seconds}
        for at, stretch in moments
        for what, count in zip(kinds, (stretch.episodes - stretch.failed, stretch.failed), strict=True)
    ]
    scale = alt.Scale(domain=list(kinds), range=list(kinds.values()))
    chart: AnyChart = (
        alt.Chart(data(rows))
        .mark_area(interpolate="step-after")
        .encode(
            x=_time("at"),
            y=alt.Y("per_s:Q", title="episodes per second", stack="zero"),
            color=alt.Color("what:N", scale=scale, title=None, legend=alt.Legend(orient="top")),
            tooltip=[alt.Tooltip("at:T", format="%H:%M:%S"), "what:N", alt.Tooltip("per_s:Q", format=".3~f")],
        )
        .properties(width=WIDTH, height=_HEIGHT)
    )
    return chart


def spend_chart(timeline: Sequence[Stretch], limit_usd: float | None) -> AnyChart:
    """What was spent so far over time, in dollars, and the limit where there is one."""
    import altair as alt

    timeline = _whole(timeline)
    spent = accumulate(stretch.spent_usd for stretch in timeline)
    rows = [{"end": _end(stretch), "spent_usd": total} for stretch, total in zip(timeline, spent, strict=True)]
    x, y = _time("end"), alt.Y("spent_usd:Q", title="spent, in dollars", scale=alt.Scale(zero=True))
    tooltip = [alt.Tooltip("end:T", format="%H:%M:%S"), alt.Tooltip("spent_usd:Q", format="$.4~f")]
    layers: list[altair.Chart] = [
        alt.Chart().mark_area(color=PALETTE[0], opacity=0.18).encode(x=x, y=y),
        alt.Chart().mark_line(color=PALETTE[0], strokeWidth=2).encode(x=x, y=y, tooltip=tooltip),
    ]
    if limit_usd is not None:
        limit = alt.Chart().transform_aggregate(rows="count()")
        y_limit = alt.datum(limit_usd, type="quantitative")
        layers.append(limit.mark_rule(strokeDash=[4, 4], strokeWidth=1.5, color=PALETTE[1]).encode(y=y_limit))
    title = "" if limit_usd is None else f"limit ${limit_usd:,.2f} (dashed)"
    return alt.layer(*layers, data=data(rows)).properties(title=title, width=WIDTH, height=_HEIGHT)


def failures_chart(failures: Mapping[str, int]) -> AnyChart:
    """Failed episodes by kind, the most frequent first."""
    return _bars(failures, "episodes", "failed episodes", PALETTE[1], "d")


def cost_chart(usage: Mapping[Purpose, Usage]) -> AnyChart:
    """What each role and model cost, in dollars, all targets together; the calls where nothing is known to have cost."""
    priced = any(used.spent_usd for used in usage.values())
    counts: Counter[str] = Counter()
    for purpose, used in usage.items():
        counts[f"{purpose.role}: {purpose.model}"] += used.spent_usd if priced else used.calls  # type: ignore[assignment]
    if priced:
        return _bars(counts, "spent_usd", "dollars", PALETTE[0], "$,.4~f")
    return _bars(counts, "calls", "requests (no price is known)", PALETTE[0], "d")


def _bars(counts: Mapping[str, float], field: str, title: str, colour: str, written: str) -> AnyChart:
    import altair as alt

    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    rows = [{"what": named(what), field: count, "colour": colour} for what, count in ordered[:_MOST_KINDS]]
    if len(ordered) > _MOST_KINDS:
        rest = sum(count for _, count in ordered[_MOST_KINDS:])
        rows.append({"what": f"{len(ordered) - _MOST_KINDS} others", field: rest, "colour": MUTED})
    base = alt.Chart().encode(
        x=alt.X(
            f"{field}:Q",
            title=title,
            axis=alt.Axis(format=written, tickMinStep=1 if written == "d" else 0, tickCount=5),
        ),
        y=alt.Y("what:N", sort=None, title=None),
        tooltip=["what:N", f"{field}:Q"],
    )
    return alt.layer(
        base.mark_bar().encode(color=alt.Color("colour:N", scale=None)),
        base.mark_text(align="left", dx=4).encode(
            text=alt.Text(f"{field}:Q", format="," if written == "d" else written)
        ),
        data=data(rows),
    ).properties(width=WIDTH, height=alt.Step(STEP))


def _time(field: str) -> altair.X:
    """Time in UTC, whoever looks from wherever."""
    import altair as alt

    return alt.X(f"{field}:T", title="time (UTC)", axis=alt.Axis(grid=False), scale=alt.Scale(type="utc", nice=False))


def _whole(timeline: Sequence[Stretch]) -> Sequence[Stretch]:
    """With a stretch in which nothing was done between two that do not touch: nobody worked on the run then."""
    whole = list(timeline[:1])
    for before, stretch in pairwise(timeline):
        missing = datetime.fromisoformat(stretch.start) - datetime.fromisoformat(_end(before))
        if missing > timedelta(0):
            whole.append(Stretch(_end(before), missing.total_seconds(), 0, 0, 0, 0, 0, 0, 0.0, None))
        whole.append(stretch)
    return whole


def _end(stretch: Stretch) -> str:
    return (datetime.fromisoformat(stretch.start) + timedelta(seconds=stretch.seconds)).isoformat()
