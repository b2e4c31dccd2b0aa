"""Which episode is played next. A choice is made when a worker is free, with what is known then."""

from __future__ import annotations

import asyncio
import statistics
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import Protocol

import numpy as np

from conflictscope.arena.plan import Plan
from conflictscope.outcome import Group, Outcome
from conflictscope.ports import Assignment, Beliefs, Choice, EpisodeSink, EpisodeSpec, Reason
from conflictscope.rating import StopRule
from conflictscope.seeds import derive

_LOOKAHEAD = 500
_POOL_LOOKAHEAD = 50  # there are many pools
_TRIES = 8  # for a disagreement on a pair that has episodes left
_MOST_VALUES = 24

Pair = tuple[str, str]


class Scheduler(Protocol):
    """Hands out the episodes of a plan that are not stored yet, each once."""

    def __len__(self) -> int:
        """Episodes of the whole plan."""
        ...

    async def next(self, closed: Callable[[Group], bool]) -> Assignment | None:
        """The next episode to play; None when there is none, now or ever. closed: groups that cannot be played."""
        ...

    def returned(self, assignment: Assignment, outcome: Outcome | None) -> None:
        """An assignment came to its end. outcome: None where it was left for a resume."""
        ...


class Settling:
    """Which groups take no more episodes, for their ranking is settled.

    beliefs: by group; empty where a sweep plays its whole plan. rule: by which they are settled. stopped: groups that a former
    process found settled by it.
    """

    def __init__(
        self, beliefs: Mapping[Group, Beliefs], rule: StopRule, sink: EpisodeSink, stopped: Collection[Group] = ()
    ) -> None:
        self._beliefs = beliefs
        self._rule = rule
        self._sink = sink
        self.stopped = set(stopped) & beliefs.keys()

    def now(self, group: Group) -> bool:
        """Whether this one is settled. The first time that it is, that is written down."""
        if group not in self._beliefs or group in self.stopped:
            return group in self.stopped
        beliefs = self._beliefs[group]
        if beliefs.settled:
            self.stopped.add(group)
            self._sink.record_settled(group, beliefs.rated, self._rule)
        return group in self.stopped

    @property
    def all(self) -> bool:
        """Whether nothing is left to play for."""
        return bool(self._beliefs) and len(self.stopped) == len(self._beliefs)


class UniformScheduler:
    """The plan in its order: pairs of values take turns, and all groups meet a scenario at about the same time.

    It holds a few hundred episodes at a time, however long the plan. beliefs: of the groups that end when they are settled.
    reason: why this policy is followed.
    """

    def __init__(
        self,
        plan: Plan,
        sink: EpisodeSink,
        settling: Settling,
        beliefs: Mapping[Group, Beliefs],
        reason: Reason = "plan",
    ) -> None:
        self._plan = plan
        self._sink = sink
        self._settling = settling
        self._beliefs = beliefs
        self._choice = Choice("uniform", reason)
        self._specs = iter(plan)
        self._ready: deque[EpisodeSpec] = deque()
        self._exhausted = False
        self._refilling = asyncio.Lock()

    def __len__(self) -> int:
        return len(self._plan)

    async def next(self, closed: Callable[[Group], bool]) -> Assignment | None:
        """The next one in the order of the plan."""
        while not self._settling.all:
            if not self._ready:
                async with self._refilling:
                    if not self._ready and not self._exhausted:
                        await self._refill()
                if self._exhausted and not self._ready:
                    return None
                continue
            spec = self._ready.popleft()
            if not (closed(spec.group) or self._settling.now(spec.group)):
                return Assignment(spec, self._choice)
        return None

    def returned(self, assignment: Assignment, outcome: Outcome | None) -> None:
        """Learn from it, where somebody asks."""
        if outcome is not None and outcome.group in self._beliefs:
            self._beliefs[outcome.group].learn(outcome)

    async def _refill(self) -> None:
        some = list(islice(self._specs, _LOOKAHEAD))
        self._exhausted = len(some) < _LOOKAHEAD
        finished = await self._sink.finished(spec.key for spec in some)
        self._ready.extend(spec for spec in some if spec.key not in finished)


def no_use(plan: Plan, least_pool: int) -> Reason | None:
    """Why it is not worth while to choose pairs in a whole plan; None where it is."""
    if len({value for pair in plan.pairs for value in pair}) > _MOST_VALUES:
        return "values"
    if statistics.median(plan.pool_size(pair) for pair in plan.pairs) < least_pool:
        return "pool"
    return None


class ThompsonScheduler:
    """The pairs of values whose order is in doubt; each group is led by its own outcomes.

    A pair that had fewer than `least` episodes comes first. From there on a share `floor` goes to all pairs in turn. Where the
    outcomes of a group do not fit one ranking, choosing is not safe, and it falls back to the pair that had fewest episodes.
    Within a pair all groups meet the scenarios in one order, so that they can be compared. served: how many episodes of each pair
    each group had before, in former processes.
    """

    def __init__(
        self,
        plan: Plan,
        sink: EpisodeSink,
        settling: Settling,
        beliefs: Mapping[Group, Beliefs],
        *,
        floor: float,
        least: int,
        served: Mapping[Group, Counter[Pair]],
    ) -> None:
        self._plan = plan
        self._sink = sink
        self._settling = settling
        self._beliefs = beliefs
        self._floor = floor
        self._least = least
        self._groups = list(plan.groups)
        self._turn = 0
        self._pairs = plan.pairs
        self._pools = {
            (group, pair): _Pool(plan.pool(group, pair), sink) for group in plan.groups for pair in self._pairs
        }
        self._served = {group: Counter(served.get(group, {})) for group in plan.groups}
        self._floor_turn: Counter[Group] = Counter()
        self._rng = {group: np.random.default_rng(derive(plan.seed, "schedule", str(group))) for group in plan.groups}
        self._choosing = asyncio.Lock()

    def __len__(self) -> int:
        return len(self._plan)

    async def next(self, closed: Callable[[Group], bool]) -> Assignment | None:
        """Groups take turns; the group whose turn it is chooses a pair."""
        async with self._choosing:  # a choice that waits for the store must not be overtaken by one that knows less
            for _ in range(len(self._groups)):
                group = self._groups[self._turn % len(self._groups)]
                self._turn += 1
                if closed(group) or self._settling.now(group):
                    continue
                left = [pair for pair in self._pairs if await self._pools[group, pair].some_left()]
                if left:
                    choice, pair = self._choose(group, left)
                    self._served[group][pair] += 1
                    self._beliefs[group].sent(pair)
                    return Assignment(self._pools[group, pair].take(), choice)
        return None

    def returned(self, assignment: Assignment, outcome: Outcome | None) -> None:
        """Learn from it."""
        group, pair = assignment.spec.group, assignment.spec.scenario.pair
        self._beliefs[group].returned(pair)
        if outcome is None:
            self._served[group][pair] -= 1
        else:
            self._beliefs[group].learn(outcome)

    def _choose(self, group: Group, left: Sequence[Pair]) -> tuple[Choice, Pair]:
        beliefs, rng = self._beliefs[group], self._rng[group]
        fewest = min(left, key=lambda pair: self._served[group][pair])
        if self._served[group][fewest] < self._least:
            return Choice("uniform", "start"), fewest
        if beliefs.misfit:
            return Choice("uniform", "misfit"), fewest
        if rng.random() < self._floor:
            self._floor_turn[group] += 1
            return Choice("uniform", "floor"), left[self._floor_turn[group] % len(left)]
        for _ in range(_TRIES):
            disagreed = beliefs.disagreed()
            if not disagreed:
                break
            doubtful = [pair for pair in disagreed if pair in left]
            if doubtful:
                return Choice("thompson", "disagreement"), doubtful[int(rng.integers(len(doubtful)))]
        return Choice("uniform", "agreement"), fewest


class _Pool:
    """The episodes of one pair for one group that are not stored, in the order of the plan."""

    def __init__(self, specs: Iterator[EpisodeSpec], sink: EpisodeSink) -> None:
        self._specs = specs
        self._sink = sink
        self._ready: deque[EpisodeSpec] = deque()

    async def some_left(self) -> bool:
        while not self._ready and (some := list(islice(self._specs, _POOL_LOOKAHEAD))):
            finished = await self._sink.finished(spec.key for spec in some)
            self._ready.extend(spec for spec in some if spec.key not in finished)
        return bool(self._ready)

    def take(self) -> EpisodeSpec:
        return self._ready.popleft()
