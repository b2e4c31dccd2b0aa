"""A forecast of a sweep, for the terminal."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from conflictscope.forecast import NOTHING, Amount, Moment, RankingForecast, SweepForecast, UsageForecast
from conflictscope.views.text import duration, plain

_MOST_IN_FULL = 2
_BAR_WIDTH = 24
_SMALL_BARS = 12
_NUMBERS_BESIDE_NAME = 46
_NUMBERS_BESIDE_USAGE = 36
_NARROWEST_NAME = 8
_MOST_MOMENTS = 12
_MOST_PAIRS = 12
_MOST_GROUPS = 4
_WORTH_A_LINE = 0.05


def print_forecast(console: Console, forecast: SweepForecast) -> None:
    """What the rankings will tell, then what the sweep will take, then what to know about both."""
    console.print(plain(f"{forecast.sweep}: {forecast.episodes:,} episodes", "bold"))
    if len(forecast.rankings) <= _MOST_IN_FULL:
        for ranking in forecast.rankings:
            _print_ranking(console, ranking, forecast)
    else:
        _print_summary(console, forecast)
    _print_differences(console, forecast.rankings)
    _print_usage(console, forecast)
    for note in forecast.notes:
        console.print(plain(f"note: {note}", "yellow"))


def _indented(console: Console, what: RenderableType) -> None:
    console.print(Padding(what, (0, 0, 0, 2), expand=False))


# -- what the rankings will tell ---------------------------------------------------------------------------------------


def _print_ranking(console: Console, ranking: RankingForecast, forecast: SweepForecast) -> None:
    console.print()
    console.print(plain(_named(ranking), "bold"))
    _indented(console, plain(f"{_size(ranking, forecast)}: {_basis(ranking, forecast)}", "dim"))
    _indented(console, _curve(ranking))
    _indented(console, plain(_resolved_words(ranking)))
    if forecast.stops_early:
        _indented(console, plain(f"It stops once it is resolved: about {ranking.played:.0%} of the plan is played."))
    for line in _tied_lines(ranking):
        _indented(console, plain(line))


def _print_summary(console: Console, forecast: SweepForecast) -> None:
    """A line a ranking, with the chance of being resolved against episodes as a row of small bars."""
    table = Table(box=None, padding=(0, 1), collapse_padding=True, pad_edge=False, header_style="dim")
    widest = max(_NARROWEST_NAME, console.width - _NUMBERS_BESIDE_NAME)
    table.add_column("ranking", no_wrap=True, overflow="ellipsis", max_width=widest)
    table.add_column("resolved by", no_wrap=True, min_width=_SMALL_BARS)
    for name, width in (("plan", 4), ("top", 4), ("half by", 7), ("90 % by", 7), ("tied", 4)):
        table.add_column(name, justify="right", no_wrap=True, min_width=width)
    for ranking in forecast.rankings:
        plan = ranking.at_plan
        table.add_row(
            plain(_named(ranking)),
            Text(_small_bars(ranking), style="green"),
            f"{plan.resolved:.0%}",
            f"{plan.right_top:.0%}",
            *(_reached(at, ranking.searched).removeprefix("about ") for at in (ranking.median, ranking.ninety)),
            f"{sum(pair.tied for pair in ranking.pairs):.1f}",
        )
    first = forecast.rankings[0]
    console.print()
    _indented(console, plain(f"{_size(first, forecast)} each: {_basis(first, forecast)}", "dim"))
    _indented(console, table)
    _indented(
        console, plain("plan, top: resolved, and right at the top, at its end. tied: pairs by then. See --json.", "dim")
    )


def _small_bars(ranking: RankingForecast) -> str:
    """The chance of being resolved, from few episodes to the end of the plan."""
    shares = [moment.resolved for moment in ranking.curve if moment.episodes <= ranking.planned]
    places = [round(n * (len(shares) - 1) / (_SMALL_BARS - 1)) for n in range(_SMALL_BARS)]
    return "".join(" ▁▂▃▄▅▆▇█"[round(8 * shares[place])] for place in places)


def _named(ranking: RankingForecast) -> str:
    named = ", ".join(map(str, ranking.groups[:_MOST_GROUPS]))
    more = f" and {len(ranking.groups) - _MOST_GROUPS} more" if len(ranking.groups) > _MOST_GROUPS else ""
    return named + more


def _size(ranking: RankingForecast, forecast: SweepForecast) -> str:
    how = {"uniform": "pairs in turn", "thompson": "pairs in doubt first"}[forecast.policy]
    return f"{ranking.planned:,} episodes a ranking, {how}; {ranking.worlds:,} worlds"


def _basis(ranking: RankingForecast, forecast: SweepForecast) -> str:
    assumed = forecast.assumptions
    errors = f", judge error {assumed.judge_error:.0%}, ties {assumed.ties:.0%}"
    return ranking.basis + (errors if ranking.exchangeable else "")


def _curve(ranking: RankingForecast) -> Table:
    """The chances against episodes, a line a moment, the chance of being resolved also as a bar."""
    table = Table(box=None, padding=(0, 1), collapse_padding=True, pad_edge=False, header_style="dim")
    table.add_column("episodes", justify="right", no_wrap=True)
    table.add_column("resolved", no_wrap=True, min_width=_BAR_WIDTH)
    for name in ("", "top", "order", "tau"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", style="dim", no_wrap=True)
    marks = {ranking.planned: "the plan"}
    if ranking.at_budget is not None:
        marks[ranking.at_budget.episodes] = "the money"
    for moment in _some(ranking.curve, marks.keys()):
        filled = round(moment.resolved * _BAR_WIDTH)
        bar = Text("█" * filled, style="green").append("░" * (_BAR_WIDTH - filled), style="dim")
        shares = (f"{share:.0%}" for share in (moment.resolved, moment.right_top, moment.right_order))
        mark = marks.get(moment.episodes)
        table.add_row(
            f"{moment.episodes:,}",
            bar,
            *shares,
            f"{moment.tau:.2f}",
            f"<- {mark}" if mark else "",
            style="bold" if mark else "",
        )
    return table


def _some(curve: Sequence[Moment], always: Collection[int]) -> list[Moment]:
    """A dozen moments, evenly spread, and those that matter."""
    step = max(1, len(curve) // _MOST_MOMENTS)
    last = len(curve) - 1
    return [moment for number, moment in enumerate(curve) if (last - number) % step == 0 or moment.episodes in always]


def _resolved_words(ranking: RankingForecast) -> str:
    plan = ranking.at_plan
    told = f"Within the plan {plan.resolved:.0%} are resolved, and {plan.right_top:.0%} have the right top value."
    if ranking.at_budget is not None:
        money = ranking.at_budget
        told += f" The money pays for {money.episodes:,} of them: {money.resolved:.0%} and {money.right_top:.0%}."
    half, ninety = (_reached(at, ranking.searched) for at in (ranking.median, ranking.ninety))
    return f"{told} Half are resolved by {half} episodes, nine in ten by {ninety}."


def _reached(episodes: int | None, searched: int) -> str:
    return f"more than {searched:,}" if episodes is None else f"about {float(f'{episodes:.2g}'):,.0f}"


def _tied_lines(ranking: RankingForecast) -> list[str]:
    """Which pairs will stay tied: by name where values are known, else by their number of episodes."""
    expected = sum(pair.tied for pair in ranking.pairs)
    total = f"At the end of the plan {expected:.1f} of {len(ranking.pairs):,} pairs are still tied (their order is not 95 % sure)"
    if ranking.exchangeable:
        pools = sorted({(pair.pool, pair.tied) for pair in ranking.pairs})
        if len(pools) > 1:
            shown = ", ".join(f"{tied:.0%} of those with {pool:,} episodes" for pool, tied in pools[:_MOST_PAIRS])
            return [f"{total}: {shown}."]
        return [f"{total}: which ones, nobody knows beforehand."]
    likely = sorted((pair for pair in ranking.pairs if pair.tied >= _WORTH_A_LINE), key=lambda pair: -pair.tied)
    lines = [f"  {pair.tied:4.0%}  {pair.value_a} / {pair.value_b}" for pair in likely[:_MOST_PAIRS]]
    if len(likely) > _MOST_PAIRS:
        lines.append(f"  ... and {len(likely) - _MOST_PAIRS:,} more: see --json")
    return [f"{total}, by chance:" if likely else f"{total}.", *lines]


def _print_differences(console: Console, rankings: Sequence[RankingForecast]) -> None:
    """By size of a difference; what the groups have in common is shown once, by the first of them."""
    table = Table(box=None, padding=(0, 1), collapse_padding=True, pad_edge=False, header_style="dim")
    for name in ("difference", "wins", "outcomes, if of this pair alone", "sure at the end of the plan"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rankings[0].differences:
        outcomes = "> 1 billion" if row.outcomes is None else f"{row.outcomes:,}"
        sure = "" if row.separated is None else f"{row.separated:.0%}"
        table.add_row(f"{row.difference:g}", f"{row.win_share:.0%}", outcomes, sure)
    console.print()
    console.print(plain("What it takes to tell two values apart", "bold"))
    _indented(console, table)


# -- what the sweep will take ------------------------------------------------------------------------------------------


def _print_usage(console: Console, forecast: SweepForecast) -> None:
    table = Table(box=None, padding=(0, 1), collapse_padding=True, pad_edge=False, header_style="dim")
    widest = max(_NARROWEST_NAME, (console.width - _NUMBERS_BESIDE_USAGE) // 2)
    for name in ("calls of", "through"):
        table.add_column(name, no_wrap=True, overflow="ellipsis", max_width=widest)
    for name, width in (("calls", 6), ("tokens in", 9), ("out", 6), ("cost", 7)):
        table.add_column(name, justify="right", no_wrap=True, min_width=width)
    for usage in forecast.usage:
        if usage.kind != "preflight":
            costs = "?" if usage.cost_usd is None else _dollars(usage.cost_usd.expected)
            counts = (usage.calls, usage.input_tokens, usage.output_tokens)
            table.add_row(plain(_what(usage)), plain(usage.model), *(_short(each.expected) for each in counts), costs)
    console.print()
    taken = (
        "What the whole plan would take, if no ranking were resolved before"
        if forecast.stops_early
        else "What the sweep will take"
    )
    console.print(plain(taken, "bold"))
    _indented(console, table)
    before = sum((usage.calls for usage in forecast.usage if usage.kind == "preflight"), NOTHING)
    questions = f"; {_span(before, '{:,.0f}'.format)} of them before it, to see whether the models can be used"
    calls = _span(forecast.calls, "{:,.0f}".format) + (questions if before.expected else "")
    cost = forecast.cost_usd
    costs = "not known" if cost is None else _span(cost, _dollars)
    limit = "" if forecast.limit_usd is None else f"; limits.cost_usd is {_dollars(forecast.limit_usd)}"
    _indented(console, plain(f"calls  {calls}"))
    _indented(console, plain(f"cost   {costs}{limit}"))
    _indented(console, plain(f"time   {_span(forecast.duration_s, duration)}, held up by {forecast.bound}"))


def _what(usage: UsageForecast) -> str:
    kind = {"multiple_choice": "choice", "action_rating": "rating", "conversation": "talk"}.get(usage.kind, usage.kind)
    return f"{usage.role}, {kind}" + (f", {usage.target}" if usage.target not in (None, usage.model) else "")


def _dollars(usd: float) -> str:
    return f"${usd:,.2f}"


def _short(count: float) -> str:
    """`1,234`, `123 k`, `12.3 M`."""
    if count < 99_999.5:
        return f"{count:,.0f}"
    return f"{count / 1e3:,.0f} k" if count < 9_999_500 else f"{count / 1e6:,.1f} M"


def _span(amount: Amount, shown: Callable[[float], str]) -> str:
    """`about 120 (80 to 200)`; the number alone where it is exact."""
    if amount.exact:
        return shown(amount.expected)
    return f"about {shown(amount.expected)} ({shown(amount.least)} to {shown(amount.most)})"
