"""Who plays what: models, a user's own agents, the lanes to them, and the cast of each group."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pydantic_ai import Agent
from pydantic_ai.exceptions import UserError
from pydantic_ai.models import Model, infer_model
from pydantic_ai.providers import Provider, infer_provider, infer_provider_class

from conflictscope import agents
from conflictscope.arena import Budget, Cast, ModelLane, Throttle
from conflictscope.config import PLANTED, SpeakerConfig, SweepConfig, provider_section
from conflictscope.errors import InputError
from conflictscope.outcome import Group, Mode
from conflictscope.pipeline.sweep import Sweep
from conflictscope.planted import Lexicon, planted_model
from conflictscope.ports import Journal, Lane


class Lanes:
    """One lane to each model, made when it is first asked for; one throttle to each provider."""

    def __init__(self, sweep: Sweep, journal: Journal, budget: Budget, models: Mapping[str, Model]) -> None:
        self._sweep = sweep
        self._journal = journal
        self._budget = budget
        self._models = models
        self._lanes: dict[str, Lane] = {}
        self._throttles = {
            name: Throttle(provider.requests_per_minute)
            for name, provider in sweep.config.providers.items()
            if provider.requests_per_minute is not None
        }

    def to(self, name: str) -> Lane:
        """The lane to a model by its pydantic-ai name."""
        if name not in self._lanes:
            self._lanes[name] = ModelLane(
                self._models[name],
                self._journal,
                self._budget,
                timeout_s=self._sweep.config.limits.call_timeout_s,
                throttle=self._throttles.get(provider_section(self._models[name].system)),
            )
        return self._lanes[name]


def build_models(sweep: Sweep) -> tuple[dict[str, Model], dict[str, Agent[Any, Any]]]:
    """The models by the names that lanes are asked for, and the user's agents by `module:attribute`.

    Raises InputError for a model or agent that cannot be made: an unknown name, a missing key, an import that fails.
    """
    config = sweep.config
    lexicon = Lexicon.of(sweep.scenarios)
    models = {name: _build_model(name, sweep, lexicon) for name in config.models()}
    loaded: dict[str, Agent[Any, Any]] = {}
    for speaker in config.speakers():
        if speaker.agent is not None and speaker.agent not in loaded:
            loaded[speaker.agent] = _load_agent(speaker.agent, sweep.base)
        if speaker.agent is not None and speaker.model is None:
            own = agents.agent_model(loaded[speaker.agent])
            if own is None:
                raise InputError(f'the agent {speaker.agent!r} has no model of its own: add `model = "provider:name"`')
            models[_lane_name(speaker)] = own if isinstance(own, Model) else _build_model(own, sweep, lexicon)
    used = {provider_section(model.system) for model in models.values()}
    unused = sorted(config.providers.keys() - used - {name.partition(":")[0] for name in models})
    if unused:
        raise InputError(
            f"providers.{unused[0]}: no model of the sweep is from there (they are from {', '.join(sorted(used))})"
        )
    return models, loaded


def _lane_name(speaker: SpeakerConfig) -> str:
    """The name of the lane that a speaker talks through: its model's, or its agent's where the agent brings the model."""
    return speaker.model or f"agent:{speaker.agent}"


def _build_model(name: str, sweep: Sweep, lexicon: Lexicon) -> Model:
    if name.startswith(PLANTED):
        if sweep.world is None:
            raise InputError(f'{name!r} needs `world = "FILE.toml"` in the sweep file')
        return planted_model(sweep.world, name.removeprefix(PLANTED), lexicon)

    # Imported here, for the two SDKs take a second to import and a planted run needs neither.
    from anthropic import AnthropicError
    from openai import OpenAIError

    def provider(provider_name: str) -> Provider[Any]:
        section = sweep.config.provider(provider_name)
        if section is None or section.base_url is None:
            return infer_provider(provider_name)
        made: Provider[Any] = infer_provider_class(provider_name)(base_url=section.base_url)  # type: ignore[call-arg]
        return made

    try:
        infer_provider_class(name.partition(":")[0])
        return infer_model(name, provider)
    except (UserError, OpenAIError, AnthropicError, ValueError, ImportError, TypeError) as error:
        first_sentence = str(error).partition(". ")[0]
        raise InputError(f"model {name!r} cannot be used: {first_sentence} (planted models need no key)") from None


def _load_agent(reference: str, base: Path) -> Agent[Any, Any]:
    module_name, _, attribute = reference.partition(":")
    if str(base) not in sys.path:
        sys.path.insert(0, str(base))  # an agent may live beside its sweep file
    try:
        agent = getattr(importlib.import_module(module_name), attribute)
    except Exception as error:  # noqa: BLE001 - importing runs a user's code, which may raise anything
        told = str(error) if isinstance(error, ImportError | AttributeError) else f"{type(error).__name__}: {error}"
        raise InputError(f"agent {reference!r} cannot be loaded: {told}") from None
    if not isinstance(agent, Agent):
        raise InputError(f"agent {reference!r} is a {type(agent).__name__}, not a pydantic_ai.Agent")
    return agent


def casts_of(sweep: Sweep, lanes: Lanes, loaded: Mapping[str, Agent[Any, Any]]) -> dict[Group, Cast]:
    """Who plays each group of a sweep."""

    def speaker(who: SpeakerConfig) -> agents.Speaker:
        return agents.speaker(lanes.to(_lane_name(who)), who, loaded[who.agent] if who.agent else None)

    targets = {target.label: speaker(target) for target in sweep.config.targets}
    scenes = {
        mode: _conversation(sweep.config, speaker, lanes) if mode is Mode.OPEN_ENDED else _multiple_choice()
        for mode in sweep.config.modes
    }
    casts = {}
    for group in sweep.groups:
        ranking = sweep.stated_ranking(group)
        system_prompt, steering = agents.steer(ranking, sweep.value_set) if ranking else (None, None)
        question = agents.question_prompt().version if group.mode is Mode.MULTIPLE_CHOICE else "conversation"
        prompt = "+".join(filter(None, (question, steering)))
        casts[group] = scenes[group.mode](target=agents.Target(targets[group.target], prompt, system_prompt))
    return casts


Scene = Callable[..., Cast]  # a cast that lacks its target


def _conversation(config: SweepConfig, speaker: Callable[[SpeakerConfig], agents.Speaker], lanes: Lanes) -> Scene:
    assert config.user is not None, "SweepConfig holds that open_ended has a user"
    assert config.judge is not None, "SweepConfig holds that open_ended has a judge"
    (model,) = config.judge.models
    return partial(
        Cast,
        user=agents.SimulatedUser(speaker(config.user)),
        judge=agents.ModelJudge(
            agents.LeanSpeaker(lanes.to(model), config.judge), model, config.judge.orders == "both"
        ),
        judge_name=model,
        max_turns=config.user.max_turns,
        shared_opening=True,
    )


def _multiple_choice() -> Scene:
    reader = agents.LetterReader()
    return partial(
        Cast, user=agents.Question(), judge=reader, judge_name=reader.name, max_turns=1, shared_opening=False
    )
