"""Who plays what: models, a user's own agents, the lanes to them, and the cast of each group."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from pydantic_ai import Agent
from pydantic_ai.embeddings import EmbeddingModel
from pydantic_ai.models import Model
from pydantic_ai.settings import ModelSettings

from conflictscope import agents
from conflictscope.arena import (
    Budget,
    Cast,
    FlatPrice,
    ModelEmbedding,
    ModelLane,
    Policy,
    Price,
    RateLimit,
    known_price,
)
from conflictscope.config import SpeakerConfig, SweepConfig
from conflictscope.errors import InputError
from conflictscope.outcome import Group, Mode, Role
from conflictscope.pipeline.models import Models, turn_retries_off
from conflictscope.pipeline.sweep import Sweep
from conflictscope.ports import Journal, OutputMode, SentBatch, Turn, VectorCache
from conflictscope.services import PriceConfig, Services, lane_section, provider_section
from conflictscope.snapshot import LaneLoad
from conflictscope.store import RunWriter

_RECORD_S = 1.0


class Lanes:
    """One lane to each model, made when it is first asked for; limits of rate are shared by the lanes of a provider.

    rates: those limits, by provider, where somebody else keeps them. share: as in Policy. elsewhere: how the lanes of workers in
    other processes stand, by model.
    """

    def __init__(
        self,
        config: Services,
        journal: Journal,
        budget: Budget,
        models: Mapping[str, Model],
        *,
        rates: Mapping[str, RateLimit] | None = None,
        share: Callable[[], float] = lambda: 1.0,
    ) -> None:
        limits = config.limits
        self._prices = config.prices
        self._policy = Policy(
            limits.call_timeout_s, limits.attempts, limits.retry_time_s, limits.concurrency, limits.batch_poll_s, share
        )
        self._journal = journal
        self._budget = budget
        self._models = models
        self._lanes: dict[str, ModelLane] = {}
        self._embeddings: dict[str, ModelEmbedding] = {}
        self.elsewhere: Callable[[], Mapping[str, LaneLoad]] = dict
        self.rates = rates or {
            name: RateLimit(provider.requests_per_minute, provider.tokens_per_minute)
            for name, provider in config.providers.items()
        }

    def to(self, name: str) -> ModelLane:
        """The lane to a model by its pydantic-ai name."""
        if name not in self._lanes:
            model = self._models[name]
            rate = self.rates.get(lane_section(name, model.system))
            self._lanes[name] = ModelLane(
                model,
                self._journal,
                self._budget,
                self._policy,
                name=name,
                price=price_of(name, self._prices, known_price(model)),
                batch_price=price_of(name, self._prices, known_price(model, batch=True)),
                rates=[rate] if rate else [],
            )
        return self._lanes[name]

    def embedding(self, name: str, model: EmbeddingModel, cache: VectorCache) -> ModelEmbedding:
        """The way to a model of embeddings."""
        if name not in self._embeddings:
            rate = self.rates.get(provider_section(name.partition(":")[0]))
            self._embeddings[name] = ModelEmbedding(
                model,
                self._journal,
                self._budget,
                self._policy,
                cache,
                name=name,
                price=price_of(name, self._prices, known_price(model)),
                rates=[rate] if rate else [],
            )
        return self._embeddings[name]

    def resume(self, batches: Iterable[SentBatch]) -> None:
        """Collect what former processes sent in batches."""
        lanes = {lane.name: lane for lane in self._lanes.values() if lane.model.batch_max_requests is not None}
        for batch in batches:
            if batch.model in lanes:  # else another command's, which collects it when it is resumed
                lanes[batch.model].resume(batch)

    @asynccontextmanager
    async def recorded(self, writer: RunWriter) -> AsyncIterator[None]:
        """Write down how the lanes stand, once a second where that has changed, and when the block ends."""

        async def record() -> None:
            written: list[LaneLoad] = []
            while True:
                if (loads := self.loads()) != written:
                    writer.record_lanes(loads)
                    written = loads
                await asyncio.sleep(_RECORD_S)

        task = asyncio.create_task(record())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])
            writer.record_lanes(self.loads())

    def loads(self) -> list[LaneLoad]:
        """How each lane stands, here and elsewhere; where there are workers, requests go out from them alone."""
        lanes, theirs = [lane.load for lane in self._lanes.values()], self.elsewhere()
        for number, lane in enumerate(lanes):
            if there := theirs.get(lane.model):
                lanes[number] = (replace(lane, limit=0, most=0) if there.most else lane) + there
        return lanes + [way.load for way in self._embeddings.values()]

    async def close(self) -> None:
        """Leave what waits in batches to a later process."""
        await asyncio.gather(*(lane.close() for lane in self._lanes.values()))

    def shut(self, name: str, why: str) -> None:
        """Close a lane, for another process has found that it must be."""
        self.to(name).shut(why)

    def output_modes(self) -> dict[str, OutputMode]:
        """How each model is asked for typed output, as far as a lane to it was asked for."""
        return {name: lane.output_mode for name, lane in self._lanes.items()}

    def closed_by_name(self) -> dict[str, str]:
        """Why each closed lane to a model that speaks is closed."""
        return {name: lane.closed for name, lane in self._lanes.items() if lane.closed is not None}

    def closed(self) -> list[str]:
        """Why each closed lane is closed."""
        lanes = [lane.closed for lane in self._lanes.values()]
        return [why for why in (*lanes, *(way.closed for way in self._embeddings.values())) if why is not None]


def price_of(name: str, prices: Mapping[str, PriceConfig], known: Price | None) -> Price | None:
    """What the sweep file says that a model costs, else what is known of it."""
    given = prices.get(name)
    return FlatPrice(given.input_usd, given.output_usd) if given else known


def load_agents(config: SweepConfig, base: Path) -> dict[str, Agent[Any, Any]]:
    """The user's agents by `module:attribute`. Raises InputError for an import that fails."""
    names = dict.fromkeys(speaker.agent for speaker in config.speakers() if speaker.agent is not None)
    return {name: _load_agent(name, base) for name in names}


def build_models(config: SweepConfig, make: Models, loaded: Mapping[str, Agent[Any, Any]]) -> dict[str, Model]:
    """The models by the names that lanes are asked for.

    Raises InputError for a model that cannot be made (an unknown name, a missing key), a section for a provider that
    nothing is from, a batch where there is no such API, and a cost limit that could not be kept.
    """
    models = make_models(config.models(), make)
    for speaker in config.speakers():
        if speaker.agent is not None and speaker.model is None:
            own = agents.agent_model(loaded[speaker.agent])
            if own is None:
                raise InputError(f'the agent {speaker.agent!r} has no model of its own: add `model = "provider:name"`')
            models[speaker.lane] = own if isinstance(own, Model) else make.make(own)
            turn_retries_off(getattr(models[speaker.lane], "client", None))
    for name in config.batched():
        if models[name].batch_max_requests is None:
            raise InputError(
                f"batch = true: there is no batch API for {name} (there is one for openai:NAME, anthropic:NAME and google:NAME, "
                "by pydantic-ai)"
            )
    check_services(config, models, config.generate.priced() if config.generate else ())
    return models


def make_models(names: Iterable[str], make: Models) -> dict[str, Model]:
    """The models of these names. Raises InputError that tells of every one that cannot be made."""
    models: dict[str, Model] = {}
    failures: list[str] = []
    for name in names:
        try:
            models[name] = make.make(name)
        except InputError as error:
            failures.append(str(error))
    if failures:
        raise InputError("\n".join(dict.fromkeys(failures)))  # what several have in common is told once
    return models


def check_services(config: Services, models: Mapping[str, Model | EmbeddingModel], others: Iterable[str] = ()) -> None:
    """Raises InputError for a section for a provider that nothing is from, and for a cost limit that could not be kept.

    others: names of models that are asked at another time, or for something else than text.
    """
    used = {lane_section(name, model.system) for name, model in models.items()}
    used |= {lane_section(name, "") for name in others}
    unused = sorted(config.providers.keys() - used)
    if unused:
        raise InputError(
            f"providers.{unused[0]}: no model named here is from there (they are from {', '.join(sorted(used))})"
        )
    if config.limits.cost_usd is not None:
        unpriced = [name for name, model in models.items() if price_of(name, config.prices, known_price(model)) is None]
        if unpriced:
            raise InputError(
                f"limits.cost_usd: the price of {', '.join(unpriced)} is not known, so the limit could not be kept: add\n"
                + "\n".join(
                    f'[prices."{name}"]\ninput_usd = ...   # dollars per million tokens\noutput_usd = ...'
                    for name in unpriced
                )
            )


def _load_agent(reference: str, base: Path) -> Agent[Any, Any]:
    try:
        agent = agents.load_attribute(reference, base)
    except InputError as error:
        raise InputError(f"agent {error}") from None
    if not isinstance(agent, Agent):
        raise InputError(f"agent {reference!r} is a {type(agent).__name__}, not a pydantic_ai.Agent")
    return agent


def casts_of(sweep: Sweep, lanes: Lanes, loaded: Mapping[str, Agent[Any, Any]]) -> dict[Group, Cast]:
    """Who plays each group of a sweep."""

    def speaker(who: SpeakerConfig, *, batch: bool = False, extra: ModelSettings | None = None) -> agents.Speaker:
        agent = loaded[who.agent] if who.agent else None
        return agents.speaker(lanes.to(who.lane), who, agent, batch=batch, extra=extra)

    casts = {}
    for target in sweep.config.targets:
        lane = lanes.to(target.lane)
        for mode in sweep.config.modes:
            batch = target.batch and mode is not Mode.OPEN_ENDED
            extra = None
            match mode:
                case Mode.OPEN_ENDED:
                    scene = _conversation(sweep.config, speaker, lanes)
                case Mode.MULTIPLE_CHOICE:
                    extra = agents.letter_settings(lane.model, target.thinking, sweep.config.multiple_choice.logprobs)
                    scene = _multiple_choice(sweep.config.multiple_choice.orders == "both", batch)
                case Mode.ACTION_RATING:
                    scene = _action_rating(batch)
            speaks = speaker(target, batch=batch, extra=extra)
            for group in sweep.groups:
                if (group.target, group.mode) == (target.label, mode):
                    player = agents.Target(speaks, *_briefing(sweep, group), remembers=mode is Mode.OPEN_ENDED)
                    casts[group] = scene(target=player, lane=lane)
                    if group.behavior is not None:
                        casts[group] = _behaving(casts[group], sweep.behaviors[group.behavior])
    return casts


def _behaving(plain: Cast, behaviors: Sequence[agents.LoadedBehavior]) -> Cast:
    """A cast with behaviours, each of which begins anew with each episode."""

    def fresh(seed: int) -> Cast:
        cast = replace(plain, opener=plain.user)
        stops: dict[Role, Callable[[Turn], Awaitable[bool | None]]] = {}
        for role in (Role.USER, Role.TARGET, Role.JUDGE):
            loaded = agents.behaviors_of(behaviors, role)
            if not loaded:
                continue
            if role is Role.JUDGE:
                assert isinstance(plain.judge, agents.Panel), "behaviours of the judge play where models judge"
                # Each judge of a panel has them for itself, from the same seed: none knows what another keeps in mind.
                parts = [agents.Part(loaded, seed, plain.max_turns) for _ in plain.judge.judges]
                judges = [
                    agents.behaving(agents.attentive(judge, loaded), part)
                    for judge, part in zip(plain.judge.judges, parts, strict=True)
                ]
                cast = replace(cast, judge=agents.Panel(judges))
                stops[role] = partial(_stop, parts)
                continue
            part = agents.Part(loaded, seed, plain.max_turns)
            player = agents.behaving(getattr(plain, role.value), part)
            cast = replace(cast, **{role.value: player})
            stops[role] = part.stop
            if role is Role.USER and plain.shared_opening:
                cast = replace(cast, opens=player.speaker.open)
        return replace(cast, stops=stops)

    return replace(plain, fresh=fresh)


async def _stop(parts: Sequence[agents.Part], turn: Turn) -> bool | None:
    """What the judges of a panel wish: to end the conversation goes before to go on."""
    wishes = {await part.stop(turn) for part in parts}
    return True if True in wishes else False if False in wishes else None


def _briefing(sweep: Sweep, group: Group) -> tuple[str, str | None]:
    """Which prompts a target's calls rest on, by version, and its system prompt."""
    system_prompt, steering = sweep.briefing(group) or (None, None)
    question = {
        Mode.OPEN_ENDED: "conversation",
        Mode.MULTIPLE_CHOICE: agents.question_prompt().version,
        Mode.ACTION_RATING: agents.rating_prompt().version,
    }[group.mode]
    return "+".join(filter(None, (question, steering))), system_prompt


class Scene(Protocol):
    """A cast that lacks its target."""

    def __call__(self, target: agents.Target, lane: ModelLane) -> Cast: ...


def _conversation(config: SweepConfig, speaker: Callable[[SpeakerConfig], agents.Speaker], lanes: Lanes) -> Scene:
    assert config.user is not None, "SweepConfig holds that open_ended has a user"
    assert config.judge is not None, "SweepConfig holds that open_ended has a judge"
    user, judging = agents.SimulatedUser(speaker(config.user)), config.judge
    judge = agents.Panel(
        [
            agents.ModelJudge(
                agents.LeanSpeaker(lanes.to(model), judging, judging.batch),
                model,
                judging.orders == "both",
                judging.repeats,
                judging.quotes,
            )
            for model in judging.models
        ]
    )
    max_turns = config.user.max_turns
    others = [lanes.to(name) for name in (config.user.lane, *judging.models)]

    def scene(target: agents.Target, lane: ModelLane) -> Cast:
        return Cast(
            user,
            target,
            judge,
            judging.name,
            max_turns,
            shared_opening=True,
            lanes=(lane, *others),
            batched=judging.batch,
            weights=judging.weights,
        )

    return scene


def _multiple_choice(both_orders: bool, batch: bool) -> Scene:
    return _questions(agents.Question(), agents.LetterReader(both_orders), 2 if both_orders else 1, batch)


def _action_rating(batch: bool) -> Scene:
    return _questions(agents.RatingQuestion(), agents.RatingReader(), 2, batch)


def _questions(
    asks: agents.Question | agents.RatingQuestion,
    reads: agents.LetterReader | agents.RatingReader,
    number: int,
    batch: bool,
) -> Scene:
    """So many questions, each asked as if it were the only one, and a parser that reads the answers."""

    def scene(target: agents.Target, lane: ModelLane) -> Cast:
        return Cast(asks, target, reads, reads.name, number, shared_opening=False, lanes=(lane,), batched=batch)

    return scene
