"""Playing episodes in this process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from conflictscope.arena.episode import Broke, Episode, Event, Judged, Said, Unjudged
from conflictscope.arena.lanes import ModelLane
from conflictscope.errors import CallFailed
from conflictscope.outcome import Group, Outcome, Role, Side
from conflictscope.ports import Assignment, EpisodeRecord, Judge, Participant, Turn
from conflictscope.scenario import Scenario
from conflictscope.seeds import derive, uniform


@dataclass(frozen=True, slots=True)
class Cast:
    """Who plays the episodes of a group.

    shared_opening: whether the user's first message is written once per scenario and reused for every episode.
    judge_name: what the outcomes say who judged. lanes: what all of them speak through. batched: whether somebody's calls wait
    for batches, which take their time; no deadline holds for such episodes. weights: of the votes of judges, as in `settle`.

    fresh: makes the cast of one episode out of a seed, where behaviours keep a state that no other episode may see; the seed
    is the same for all groups. What follows is that cast's. opener: who writes the shared opening, where that is not `user`.
    opens: what becomes of the shared opening. stops: asked before each look of the judge, by role: True, the conversation ends
    with this look; False, it goes on without one, if a turn is left; None, as the judge says.
    """

    user: Participant
    target: Participant
    judge: Judge
    judge_name: str
    max_turns: int
    shared_opening: bool
    lanes: tuple[ModelLane, ...] = ()
    batched: bool = False
    weights: Mapping[str, float] = field(default_factory=dict)
    fresh: Callable[[int], Cast] | None = None
    opener: Participant | None = None
    opens: Callable[[str, Turn], Awaitable[str]] | None = None
    stops: Mapping[Role, Callable[[Turn], Awaitable[bool | None]]] = field(default_factory=dict)

    @property
    def closed(self) -> bool:
        """Whether an episode could not be brought to its end, for somebody's lane is closed."""
        return any(lane.closed for lane in self.lanes)


class Openings(Protocol):
    """The part of an EpisodeSink that episodes need while they are played."""

    async def opening(self, scenario_id: str) -> str | None:
        """As an EpisodeSink has it."""
        ...

    async def record_opening(self, scenario_id: str, text: str) -> None:
        """As an EpisodeSink has it."""
        ...


class LocalExecutor:
    """Plays episodes in this process, as many at a time as are asked for.

    episode_timeout_s: an episode that takes longer fails.
    """

    def __init__(
        self,
        casts: Mapping[Group, Cast],
        openings: Openings,
        *,
        seed: int,
        episode_timeout_s: float | None = None,
    ) -> None:
        self._casts = casts
        self._kept = openings
        self._seed = seed
        self._episode_timeout_s = episode_timeout_s
        self._openings: dict[str, asyncio.Task[str]] = {}

    async def play(self, assignment: Assignment) -> EpisodeRecord:
        """Play one episode to its end."""
        spec = assignment.spec
        cast = self._casts[spec.group]
        if cast.fresh is not None:
            cast = cast.fresh(derive(self._seed, "behavior", spec.scenario.id, spec.repeat))
        seed = derive(self._seed, spec.key)
        shown_first: Side = "a" if uniform(seed, "shown_first") < 0.5 else "b"
        started = time.perf_counter()
        episode = Episode(cast.max_turns, weights=cast.weights)
        deadline = None
        if self._episode_timeout_s is not None and not cast.batched:
            deadline = asyncio.get_running_loop().time() + self._episode_timeout_s
        try:
            async with asyncio.timeout_at(deadline) as clock:
                while episode.next is not None:
                    turn = Turn(spec.key, spec.group.target, seed, spec.scenario, episode.transcript, shown_first)
                    try:
                        event = await self._take(episode, turn, cast)
                    except CallFailed as failure:
                        event = Broke(failure.kind, failure.told)
                    episode = episode.advance(event)
        except TimeoutError:
            if not clock.expired():
                raise
            late = f"not resolved within {self._episode_timeout_s:g} s"
            episode = episode.advance(Broke("episode_timeout", late))  # by whoever's turn it was
        assert episode.verdict is not None
        outcome = Outcome(
            group=spec.group,
            scenario_id=spec.scenario.id,
            repeat=spec.repeat,
            value_a=spec.scenario.value_a,
            value_b=spec.scenario.value_b,
            verdict=episode.verdict,
            strength=episode.strength,
            shown_first=shown_first,
            judge=cast.judge_name,
        )
        return EpisodeRecord(
            outcome,
            seed,
            episode.transcript,
            episode.judgements,
            episode.failure,
            time.perf_counter() - started,
            assignment.choice,
        )

    def closed(self, group: Group) -> bool:
        """Whether somebody's lane is closed."""
        return self._casts[group].closed

    async def close(self) -> None:
        """Drop opening messages that nobody waits for any more."""
        unfinished = list(self._openings.values())
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)

    async def _take(self, episode: Episode, turn: Turn, cast: Cast) -> Event:
        match episode.next:
            case Role.USER if cast.shared_opening and not turn.transcript:
                opening = await self._opening(turn.scenario, cast.opener or cast.user)
                return Said(opening if cast.opens is None else await cast.opens(opening, turn))
            case Role.USER:
                return Said(await cast.user.reply(turn))
            case Role.TARGET:
                return Said(await cast.target.reply(turn))
            case Role.JUDGE:
                return await self._look(episode, turn, cast)
            case nobody:
                raise ValueError(f"{nobody} takes no part in an episode")

    async def _look(self, episode: Episode, turn: Turn, cast: Cast) -> Event:
        wishes = set()
        for role, stop in cast.stops.items():
            try:
                wishes.add(await stop(turn))
            except CallFailed as failure:
                return Broke(failure.kind, failure.told, role)
        if True not in wishes and False in wishes and episode.turns_left:
            return Unjudged()
        return Judged(await cast.judge.judge(turn), last=True in wishes)

    async def _opening(self, scenario: Scenario, user: Participant) -> str:
        """The scenario's opening message: from the library, else written once in a run, by whoever needs it first."""
        if scenario.opening is not None:
            return scenario.opening
        known = await self._kept.opening(scenario.id)
        if known is not None:
            return known
        writing = self._openings.get(scenario.id)
        if writing is None:
            writing = self._openings[scenario.id] = asyncio.create_task(self._write_opening(scenario, user))
            writing.add_done_callback(lambda done: self._opening_done(scenario.id, done))
        # Shielded: one episode that is cancelled must not take the message away from the others that wait for it.
        return await asyncio.shield(writing)

    async def _write_opening(self, scenario: Scenario, user: Participant) -> str:
        seed = derive(self._seed, "opening", scenario.id)
        shown_first: Side = "a" if uniform(seed, "shown_first") < 0.5 else "b"
        text = await user.reply(Turn(f"opening/{scenario.id}", None, seed, scenario, (), shown_first))
        await self._kept.record_opening(scenario.id, text)
        return text

    def _opening_done(self, scenario_id: str, done: asyncio.Task[str]) -> None:
        del self._openings[scenario_id]
        if not done.cancelled():
            done.exception()  # whoever waits gets it; where nobody does any more, it is no news
