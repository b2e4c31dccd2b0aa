"""The scheduler that a sweep asks for, with what is known from former processes."""

from __future__ import annotations

from collections import Counter

from conflictscope.arena import Plan, Scheduler, Settling, ThompsonScheduler, UniformScheduler, no_use
from conflictscope.outcome import Group
from conflictscope.pipeline.sweep import Sweep
from conflictscope.ports import EpisodeSink, Reason
from conflictscope.ranking import GroupBeliefs
from conflictscope.store import RunReader


async def build_scheduler(sweep: Sweep, plan: Plan, sink: EpisodeSink, reader: RunReader) -> tuple[Scheduler, Settling]:
    """The scheduler, and what it knows of settled rankings. Stored outcomes are learned first, in their order."""
    stop, schedule = sweep.config.stop, sweep.config.schedule
    converging = stop.when == "converged"
    why_uniform: Reason | None = "plan" if schedule.policy == "uniform" else no_use(plan, schedule.least_pool)
    beliefs: dict[Group, GroupBeliefs] = {}
    served: dict[Group, Counter[tuple[str, str]]] = {}
    if converging or why_uniform is None:
        beliefs = {
            group: GroupBeliefs(group, sweep.value_set.names, plan.pairs, stop.rule, plan.seed) for group in plan.groups
        }
        served = {group: Counter() for group in plan.groups}
        async for _, outcome in reader.outcomes():
            if outcome.group in beliefs:
                beliefs[outcome.group].learn(outcome)
                served[outcome.group][outcome.pair] += 1
    settling = Settling(beliefs if converging else {}, stop.rule, sink, await reader.settled(stop.rule))
    for group in beliefs:
        settling.now(group)  # what is stored may be enough already
    if why_uniform is not None:
        return UniformScheduler(plan, sink, settling, beliefs, why_uniform), settling
    scheduler = ThompsonScheduler(
        plan, sink, settling, beliefs, floor=schedule.floor, least=stop.least_per_pair, served=served
    )
    return scheduler, settling
