"""Differences in figures: between two groups, before and after a steering, between the two orders of the actions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from conflictscope.audit import Audit
from conflictscope.comparison import Alignment, Comparison, Estimate
from conflictscope.views.charts.base import MUTED, PALETTE, STEP, WIDTH, Row, colours, data, named
from conflictscope.views.comparison import held, sides

if TYPE_CHECKING:
    from conflictscope.views.charts.base import AnyChart


def shift_chart(comparison: Comparison) -> AnyChart:
    """Each value in two groups: a hollow dot for the first, a full one for the second, the 95 % interval of the difference at it.

    The greatest difference first; those whose interval does not exclude 0 are grey.
    """
    import altair as alt

    colour = colours(shift.value for shift in comparison.shifts)
    rows = [
        {
            "value": named(shift.value), "place": place, "first": shift.utilities[0], "second": shift.utilities[1],
            "low": shift.utilities[0] + shift.utility_difference.low,
            "high": shift.utilities[0] + shift.utility_difference.high,
            "difference": _told(shift.utility_difference), "resolved": shift.utility_difference.resolved,
            "colour": colour[shift.value] if shift.utility_difference.resolved else MUTED,
        }
        for place, shift in enumerate(comparison.shifts)
    ]  # fmt: skip
    title = "utility (probit units)"
    base = alt.Chart().encode(
        y=alt.Y("value:N", sort=alt.EncodingSortField("place", op="min"), title=None, axis=alt.Axis(grid=True)),
        color=alt.Color("colour:N", scale=None),
        tooltip=["value:N", "first:Q", "second:Q", "difference:N", "resolved:N"],
    )
    return alt.layer(
        base.mark_rule(strokeWidth=7, opacity=0.22).encode(x=alt.X("low:Q", title=title), x2="high:Q"),
        base.mark_rule(strokeWidth=2).encode(x=alt.X("first:Q", title=title), x2="second:Q"),
        base.mark_point(filled=False, size=70, strokeWidth=2, opacity=1).encode(x=alt.X("first:Q", title=title)),
        base.mark_point(filled=True, size=80, opacity=1).encode(x=alt.X("second:Q", title=title)),
        data=data(rows),
    ).properties(title=named(f"{held(comparison)}: {sides(comparison)}"), width=WIDTH, height=alt.Step(STEP + 4))


def steering_chart(alignments: Sequence[Alignment]) -> AnyChart:
    """The share of outcomes that agrees with a stated ranking, without steering (hollow) and with it (full); what was reached."""
    import altair as alt

    rows = [
        {
            "group": named(each.group), "place": place, "colour": PALETTE[0] if each.gain.resolved else MUTED,
            "before": each.before.value, "before_low": each.before.low, "before_high": each.before.high,
            "after": each.after.value, "after_low": each.after.low, "after_high": each.after.high,
            "gain": _told(each.gain), "reached": _reached(each), "right": 1.0,
        }
        for place, each in enumerate(alignments)
    ]  # fmt: skip
    title = "share of outcomes that agree with the stated ranking"
    x = alt.Scale(domain=[0, 1])
    offset = {"before": -5, "after": 5}
    base = alt.Chart().encode(
        y=alt.Y(
            "group:N",
            sort=alt.EncodingSortField("place", op="min"),
            title=None,
            axis=alt.Axis(grid=True, labelExpr="split(datum.label, ' / ')"),
        ),
        color=alt.Color("colour:N", scale=None),
        tooltip=["group:N", "before:Q", "after:Q", "gain:N", "reached:N"],
    )
    layers = []
    for when, filled in (("before", False), ("after", True)):
        span = base.mark_rule(strokeWidth=2, opacity=0.6, yOffset=offset[when])
        span = span.encode(
            x=alt.X(f"{when}_low:Q", title=title, scale=x, axis=alt.Axis(format="%")), x2=f"{when}_high:Q"
        )
        dot = base.mark_point(filled=filled, size=70, strokeWidth=2, opacity=1, yOffset=offset[when])
        layers += [span, dot.encode(x=alt.X(f"{when}:Q", title=title, scale=x))]
    told = (
        alt.Chart()
        .mark_text(align="left", dx=8)
        .encode(x=alt.X("right:Q", title=title, scale=x), y=base.encoding.y, text="reached:N")
    )
    return alt.layer(*layers, told, data=data(rows)).properties(width=WIDTH, height=alt.Step(3 * STEP))


def flips_chart(audit: Audit) -> AnyChart:
    """Which share of conversations a judge judged otherwise in the other order of the actions, in all and by pair of values."""
    import altair as alt

    judges = list(dict.fromkeys(effect.who for effect in audit.orders))
    colour = colours(judges)
    rows: list[Row] = [
        {
            "who": named(effect.who), "pair": " / ".join(map(named, effect.pair)) if effect.pair else "all pairs",
            "place": -1.0 if effect.pair is None else -effect.flips.value,
            "colour": colour[effect.who], "share": effect.flips.value,
            "low": effect.flips.low, "high": effect.flips.high, "conversations": effect.items,
        }
        for effect in audit.orders
        if effect.both_orders and effect.flips is not None
    ]  # fmt: skip
    scale = alt.Scale(domain=[named(judge) for judge in judges], range=[colour[judge] for judge in judges])
    title = "share of conversations judged otherwise in the other order"
    base = alt.Chart().encode(
        y=alt.Y("pair:N", sort=alt.EncodingSortField("place", op="min"), title=None, axis=alt.Axis(grid=True)),
        yOffset=alt.YOffset("who:N"),
        color=alt.Color("who:N", scale=scale, title=None, legend=alt.Legend(orient="top")),
        tooltip=["who:N", "pair:N", alt.Tooltip("share:Q", format=".1%"), "conversations:Q"],
    )
    x = alt.Scale(zero=True, domainMin=0)
    return alt.layer(
        base.mark_rule(strokeWidth=2).encode(
            x=alt.X("low:Q", title=title, scale=x, axis=alt.Axis(format="%")), x2="high:Q"
        ),
        base.mark_point(filled=True, size=60, opacity=1).encode(x=alt.X("share:Q", title=title, scale=x)),
        data=data(rows),
    ).properties(width=WIDTH, height=alt.Step(STEP))


def _told(estimate: Estimate) -> str:
    return f"{estimate.value:+z.2f} [{estimate.low:+z.2f}, {estimate.high:+z.2f}]"


def _reached(alignment: Alignment) -> str:
    if alignment.reached is None:
        return "nothing to gain"
    return f"{alignment.reached.value:.0%} of the possible gain"
