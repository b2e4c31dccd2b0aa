"""`plan`: a sweep before it is paid for. Nothing is written, no model is asked, and no key is needed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from conflictscope.arena import Plan, no_use
from conflictscope.errors import InputError
from conflictscope.forecast import (
    Amount,
    Assumptions,
    Measured,
    RankingForecast,
    SweepForecast,
    UsageForecast,
    total_cost,
)
from conflictscope.outcome import Group
from conflictscope.pipeline.costing import FIRST_TOKEN_S, REPLY_TOKENS, SETTLED, TOKENS_PER_S, duration, usage_forecast
from conflictscope.pipeline.sweep import Sweep
from conflictscope.ranking import Tally
from conflictscope.ranking.clustering import effective_cells
from conflictscope.ranking.planning import Design, Tell, Worlds, forecast
from conflictscope.ranking.posterior import fit_cells
from conflictscope.runfolder import RunFolder
from conflictscope.seeds import derive
from conflictscope.store import RunReader

# Worlds are as many as can be fitted in a few seconds; fewer than that say too little.
_MOST_WORLDS, _LEAST_WORLDS = 1_000, 50
_WORK = 500_000
_MOST_WORLDS_IN_ALL = 4_000


class _Like(NamedTuple):
    """A run to learn from. tallies: of the groups that have rated outcomes."""

    name: str
    tallies: Mapping[Group, Tally]
    measured: Measured


async def plan_sweep(
    sweep: Sweep, assumptions: Assumptions, like: RunFolder | None = None, tell: Tell = lambda share: None
) -> SweepForecast:
    """What a sweep will tell, and what it will take.

    like: a run whose utilities, tokens and times are taken over where it has the sweep's groups, models and roles. tell: is told
    how far the work is, 0..1. Raises InputError.
    """
    config = sweep.config
    plan = Plan(sweep.scenarios, sweep.groups, config.repeats, config.seed)
    known = await _read(like) if like else None
    usage = await usage_forecast(sweep, known.measured if known else None)
    affordable = _affordable(total_cost(usage), config.limits.cost_usd, len(plan))
    why_uniform = no_use(plan, config.schedule.least_pool) if config.schedule.policy == "thompson" else None
    policy = "uniform" if why_uniform else config.schedule.policy
    scenarios = Counter(scenario.pair for scenario in sweep.scenarios)
    design = Design.of(scenarios, config.repeats, policy, config.schedule.floor)
    parts = _parts(sweep, design, known)
    size, pairs = len(design.values), len(design.i)
    worlds = min(_MOST_WORLDS, _MOST_WORLDS_IN_ALL // len(parts), _WORK // (size * pairs))
    rankings: list[RankingForecast] = []
    for number, (groups, tally) in enumerate(parts):
        rng = np.random.default_rng(derive(config.seed, "forecast", *map(str, groups)))

        def part_tell(share: float, number: int = number) -> None:
            tell((number + min(share, 1.0)) / len(parts))

        rankings.append(
            forecast(
                design,
                _worlds(design, assumptions, tally, known, max(_LEAST_WORLDS, worlds), rng),
                groups,
                affordable=affordable // len(plan.groups) if affordable else None,
                rule=config.stop.rule,
                rng=rng,
                tell=part_tell,
            )
        )
    duration_s, bound = duration(config, usage, len(plan))
    notes = [
        *_notes_on_rankings(sweep, design, parts, known, why_uniform),
        *_notes_on_usage(sweep, usage, affordable, len(plan), duration_s),
    ]
    return SweepForecast(
        sweep=config.name,
        assumptions=assumptions,
        like=known.name if known else None,
        policy=policy,
        episodes=len(plan),
        rankings=tuple(rankings),
        usage=usage,
        duration_s=duration_s,
        bound=bound,
        limit_usd=config.limits.cost_usd,
        affordable=affordable,
        stops_early=config.stop.when == "converged",
        notes=tuple(notes),
    )


async def _read(folder: RunFolder) -> _Like:
    """What a run measured. Raises InputError where it measured nothing."""
    tallies: dict[Group, Tally] = {}
    async with RunReader.open(folder.database) as reader:
        values, pairs = await reader.values(), await reader.pairs()
        async for _, outcome in reader.outcomes():
            tallies.setdefault(outcome.group, Tally(values, pairs)).add(outcome)
        measured = await reader.measured()
    rated = {group: tally for group, tally in tallies.items() if tally.rated}
    if not rated:
        raise InputError("--like: the run has no rated outcome to learn from", path=folder.path)
    return _Like(folder.name, rated, measured)


def _parts(sweep: Sweep, design: Design, known: _Like | None) -> list[tuple[list[Group], Tally | None]]:
    """The groups that share a forecast: each that the run has by itself, the others together."""
    tallies = known.tallies if known else {}
    alone = {
        group: tallies[group]
        for group in sweep.groups
        if group in tallies and {*design.values} <= {*tallies[group].values}
    }
    others = [group for group in sweep.groups if group not in alone]
    parts: list[tuple[list[Group], Tally | None]] = [([group], tally) for group, tally in alone.items()]
    return [*parts, (others, None)] if others else parts


def _worlds(
    design: Design,
    assumptions: Assumptions,
    tally: Tally | None,
    known: _Like | None,
    count: int,
    rng: np.random.Generator,
) -> Worlds:
    if tally is None or known is None:
        return Worlds.assumed(assumptions, len(design.values), count, rng)
    posterior = fit_cells(effective_cells(tally), len(tally.values))
    pairs = tally.pairs()
    left_out = sum(pair.left_out for pair in pairs)
    share = left_out / (left_out + tally.rated)
    places = [tally.values.index(value) for value in design.values]
    return Worlds.believed(posterior, places, share, f"utilities as {known.name} measured them", count, rng)


def _affordable(cost: Amount | None, limit_usd: float | None, episodes: int) -> int | None:
    """How many episodes the money pays for; None where it pays for all, or nobody knows."""
    if cost is None or limit_usd is None or cost.expected <= limit_usd:
        return None
    return math.floor(episodes * limit_usd / cost.expected)


def _notes_on_rankings(
    sweep: Sweep,
    design: Design,
    parts: Sequence[tuple[list[Group], Tally | None]],
    known: _Like | None,
    why_uniform: str | None,
) -> list[str]:
    notes = []
    missing = [name for name in sweep.value_set.names if name not in design.values]
    if missing:
        notes.append(f"no scenario is about {', '.join(missing)}: not ranked")
    sets = len({*design.component})
    if sets > 1:
        notes.append(f"{sets} sets of values are never compared with each other: each has ranks of its own")
    if why_uniform:
        reason = {"values": "there are 25 values or more", "pool": "a pair has too few episodes (schedule.least_pool)"}
        notes.append(f"schedule.policy = thompson falls back to uniform: {reason[why_uniform]}")
    if sweep.config.repeats > 1:
        notes.append("repeats count as if they were independent; where scenarios of a pair differ, they are worth less")
    unknown = [group for groups, tally in parts if tally is None for group in groups]
    if known and unknown:
        notes.append(f"{known.name} has no such ranking, so its utilities are assumed: {', '.join(map(str, unknown))}")
    return notes


def _notes_on_usage(
    sweep: Sweep, usage: Sequence[UsageForecast], affordable: int | None, episodes: int, duration_s: Amount
) -> list[str]:
    config = sweep.config
    limits = config.limits
    notes = []
    unpriced = dict.fromkeys(each.model for each in usage if each.cost_usd is None)
    if unpriced:
        refused = "; with limits.cost_usd the sweep would not start" if limits.cost_usd is not None else ""
        notes.append(f'the price of {", ".join(unpriced)} is not known: add [prices."NAME"]{refused}')
    if affordable is not None:
        notes.append(
            f"the sweep costs more than limits.cost_usd = {limits.cost_usd:g}, which pays for about {affordable:,} of "
            f"{episodes:,} episodes ({affordable / episodes:.0%})"
        )
    if limits.time_s is not None and duration_s.expected > limits.time_s:
        notes.append(f"it takes longer than limits.time_s = {limits.time_s:g}")
    agents = dict.fromkeys(each.agent for each in config.speakers() if each.agent is not None)
    if agents:
        notes.append(
            f"the own prompts and the tools of {', '.join(agents)} are not known: calls and tokens are those of a plain model"
        )
    if sweep.behaviors:
        notes.append(
            f"what {', '.join(sweep.behaviors)} may change is not known: conversations are those without a behaviour, and the "
            "calls that it says it adds"
        )
    assumed = dict.fromkeys((each.role, each.kind) for each in usage if not each.measured and each.kind != "preflight")
    if assumed:
        replies = ", ".join(f"{role} {REPLY_TOKENS[role, kind]} ({kind})" for role, kind in assumed)
        notes.append(
            f"assumed, tokens of a reply without thinking: {replies}; {FIRST_TOKEN_S:g} s and then {TOKENS_PER_S:g} tokens a "
            "second, but for planted models; a token is 4 characters. --like RUN takes them from a run"
        )
    if any(each.kind == "conversation" and not each.calls.exact for each in usage) and not any(
        each.measured for each in usage
    ):
        notes.append(f"assumed: a look of the judge ends a conversation with a chance of {SETTLED:.0%}")
    if any(each.batch for each in usage):
        notes.append("batches take minutes to a day, which is not in the time")
    return notes
