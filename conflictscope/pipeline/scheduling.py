"""The scheduler that a sweep asks for, with what is known from former processes."""

from __future__ import annotations

from collections import Counter

from conflictscope.arena import Plan, Scheduler, Settling, ThompsonScheduler, UniformScheduler
from conflictscope.outcome import Group
from conflictscope.pipeline.sweep import Sweep
from conflictscope.ports import EpisodeSink
from conflictscope.ranking import GroupBeliefs
from conflictscope.store import RunReader


async def build_scheduler(sweep: Sweep, plan: Plan, sink: EpisodeSink, reader: RunReader) -> tuple[Scheduler, Settling]:
    """The scheduler, and what it knows of settled rankings. Stored outcomes are learned first, in their order."""
    stop, schedule = sweep.config.stop, sweep.config.schedule
    converging, choosing = stop.when == "converged", schedule.policy == "thompson"
    beliefs: dict[Group, GroupBeliefs] = {}
    served: dict[Group, Counter[tuple[str, str]]] = {}
    if converging or choosing:
        beliefs = {
            group: GroupBeliefs(group, sweep.value_set.names, plan.pairs, stop.rule, plan.seed) for group in plan.groups
        }
        served = {group: Counter() for group in plan.groups}
        async for _, outcome in reader.outcomes():
            if outcome.group in beliefs:
                beliefs[outcome.group].learn(outcome)
                served[outcome.group][outcome.pair] += 1
    stopped = await reader.settled(stop.rule)
    settling = Settling(beliefs if converging else {}, stop.rule, sink, stopped)
    if not choosing:
        return UniformScheduler(plan, sink, settling, beliefs), settling
    scheduler = ThompsonScheduler(
        plan, sink, settling, beliefs, floor=schedule.floor, least_pool=schedule.least_pool, served=served
    )
    return scheduler, settling
