"""The sweep file: what is run, against whom, and within which limits."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from conflictscope.documents import Document, Record
from conflictscope.outcome import Mode
from conflictscope.rating import DEFAULT_RULE, StopRule
from conflictscope.services import PLANTED, RoleSettings, RunName, Services, model_name, parse_overridden
from conflictscope.spec import LibraryPlan
from conflictscope.values import Name

Orders = Literal["random", "both"]
"""In which order a judge is shown the two actions: one that is drawn, or one after the other both."""


class SpeakerConfig(RoleSettings):
    """Who speaks: a model by its pydantic-ai name, or a user's own `pydantic_ai.Agent` as `module:attribute`.

    With both, the agent runs on the model named here instead of its own. An agent's own settings hold where the file says
    nothing; what it says holds over them.
    """

    model: str | None = None
    agent: str | None = None

    @model_serializer(mode="wrap")
    def _unsaid_stays_unsaid(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """For an agent, a default that is spelled out is not the same as one that is left out."""
        dumped: dict[str, Any] = dump(self)
        unsaid = RoleSettings.model_fields.keys() - self.model_fields_set if self.agent is not None else set()
        return {key: value for key, value in dumped.items() if key not in unsaid}

    @model_validator(mode="after")
    def _somebody_speaks(self) -> Self:
        if self.model is None and self.agent is None:
            raise ValueError('needs `model = "provider:name"` (e.g. "openai:gpt-5.1") or `agent = "module:attribute"`')
        return self

    @field_validator("model")
    @classmethod
    def _model_has_provider(cls, model: str | None) -> str | None:
        return model if model is None else model_name(model)

    @field_validator("agent")
    @classmethod
    def _agent_has_module(cls, agent: str | None) -> str | None:
        if agent is not None and not all(agent.partition(":")):
            raise ValueError(f'an agent is named "module:attribute", e.g. "my_package.agents:cautious", got {agent!r}')
        return agent

    @property
    def lane(self) -> str:
        """What the lane that it speaks through is called: its model, or the agent where that brings a model of its own."""
        return self.model or f"agent:{self.agent}"


class TargetConfig(SpeakerConfig):
    """A model or agent under study.

    name: what tables call it; by default the model's or agent's own. batch: its `multiple_choice` and `action_rating` episodes
    go through the batch API of its provider.
    """

    name: Name | None = None
    batch: bool = False

    @model_validator(mode="after")
    def _only_models_are_batched(self) -> Self:
        if self.batch and self.agent is not None:
            raise ValueError(
                "batch = true needs a `model` alone: an agent sends its requests itself, one after the other"
            )
        return self

    @property
    def label(self) -> str:
        """The name in tables and keys."""
        return self.name or self.model or str(self.agent)


class UserConfig(SpeakerConfig):
    """The simulated user. max_turns: how often the user speaks at the most, 1..50."""

    max_turns: Annotated[int, Field(ge=1, le=50)] = 3


class JudgeConfig(RoleSettings):
    """The judge, or a panel of judges that vote.

    orders: `random` shows the two actions in an order drawn from the seed; `both` asks in both orders, and a judge that
    changes its mind with the order has no verdict. repeats: how often each judge is asked so, 1..99; its repeats vote.
    vote: of the panel, `majority`, or `weighted` by how often each judge's verdicts name the wrong action: `errors`, by model, in
    (0, 0.5), or `errors_from`, the folder of a run in which they judged in both orders. quotes: each verdict must quote the words
    that decide it. batch: they are asked through the batch APIs of their providers.
    """

    models: Annotated[tuple[str, ...], Field(min_length=1)]
    orders: Orders = "random"
    repeats: Annotated[int, Field(ge=1, le=99)] = 1
    vote: Literal["majority", "weighted"] = "majority"
    errors: Mapping[str, Annotated[float, Field(gt=0, lt=0.5)]] = {}
    errors_from: str | None = None
    quotes: bool = False
    batch: bool = False

    @field_validator("models")
    @classmethod
    def _each_model_once(cls, models: tuple[str, ...]) -> tuple[str, ...]:
        twice = [name for name, count in Counter(models).items() if count > 1]
        if twice:
            raise ValueError(f"names a judge twice: {', '.join(twice)}; to ask one several times, set repeats")
        return tuple(model_name(model) for model in models)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.repeats > 1 and self.seed is not True:
            raise ValueError(
                f"repeats > 1 needs seed = true, so that each look is a request of its own, got {self.seed!r}"
            )
        weighted, told = self.vote == "weighted", bool(self.errors) + (self.errors_from is not None)
        if told != weighted:
            raise ValueError(
                'vote = "weighted" needs `errors` or `errors_from`, one of them, and no other vote takes any'
            )
        if self.errors and self.errors.keys() != set(self.models):
            odd = sorted(self.errors.keys() ^ set(self.models))[0]
            raise ValueError(f"errors needs a figure for each of the models and for nothing else: see {odd!r}")
        return self

    @property
    def name(self) -> str:
        """What outcomes say who judged: the model, or `panel:a+b+c`."""
        return self.models[0] if len(self.models) == 1 else f"panel:{'+'.join(self.models)}"

    @property
    def weights(self) -> dict[str, float]:
        """Of the votes, by model: the log-odds of being right, which is the best vote of judges that err independently.

        Source: Nitzan and Paroush 1982. Empty where all votes count alike.
        """
        return {model: math.log((1 - error) / error) for model, error in self.errors.items()}


class MultipleChoiceConfig(Record):
    """The mode `multiple_choice`.

    orders: `random` letters the two actions in an order drawn from the seed; `both` asks once in each order, and a target that
    changes its mind with the order leaves the episode unresolved. logprobs: whether targets are asked how probable each letter
    was: None, those at OpenAI itself; true, also those at services in its place (`base_url`); false, none.
    """

    orders: Literal["random", "both"] = "random"
    logprobs: bool | None = None


SteeringStyle = Literal["ordering", "definitions", "detailed"]


def _style_of_ours(data: Mapping[str, Any]) -> SteeringStyle | None:
    return "definitions" if data.get("prompt") is None else None


class RejudgeConfig(Services):
    """How stored conversations are judged anew: the settings of a judge, limits and services, as a sweep file has them."""

    judge: JudgeConfig


class SteeringConfig(Record):
    """A system prompt for the target.

    ranking: what it asks for, the most important value first; outcomes are measured against it. style: how our own wordings put
    it: the `ordering` alone, with the `definitions` of its values, or `detailed`, with guidance for acting where two of them
    collide too. prompt: a file of the user's own, relative to the sweep file, that is sent as it stands in place of those.
    """

    name: Name
    ranking: Annotated[tuple[str, ...], Field(min_length=2)] | None = None
    prompt: Annotated[str, Field(min_length=1)] | None = None
    style: SteeringStyle | None = Field(default_factory=_style_of_ours)

    @field_validator("ranking")
    @classmethod
    def _each_value_once(cls, ranking: tuple[str, ...] | None) -> tuple[str, ...] | None:
        twice = [name for name, count in Counter(ranking or ()).items() if count > 1]
        if twice:
            raise ValueError(f"names a value twice: {', '.join(twice)}")
        return ranking

    @model_validator(mode="after")
    def _one_wording(self) -> Self:
        if self.prompt is None and (self.ranking is None or self.style is None):
            raise ValueError('needs `ranking = ["...", "..."]`, or `prompt = "FILE"`, or both')
        if self.prompt is not None and self.style is not None:
            raise ValueError(f"style = {self.style!r} is a wording of ours, and `prompt` brings its own: leave one out")
        return self


class StopConfig(Record):
    """When a sweep ends.

    when: `plan`, when all of it is played; `converged`, each ranking as soon as it is settled, and the sweep with the last of
    them. A ranking is settled when its neighbours are in the right order or within `delta` (probit units, practically equal)
    with a chance of error of at most `alpha` in sum, and each pair of values has `least_per_pair` outcomes.
    """

    when: Literal["plan", "converged"] = "plan"
    delta: Annotated[float, Field(gt=0, le=10)] = DEFAULT_RULE.delta
    alpha: Annotated[float, Field(gt=0, lt=1)] = DEFAULT_RULE.alpha
    least_per_pair: Annotated[int, Field(ge=1, le=1_000_000)] = DEFAULT_RULE.least_per_pair

    @property
    def rule(self) -> StopRule:
        """When a ranking is settled."""
        return StopRule(self.delta, self.alpha, self.least_per_pair)


class ScheduleConfig(Record):
    """Which episode is played next.

    policy: `uniform`, all pairs of values in turn; `thompson`, pairs whose order is in doubt, by draws from the joint posterior.
    floor: share of episodes that `thompson` still spreads evenly over the pairs. least_pool: it is not worth while, and uniform
    is played, where a pair has fewer episodes than that (scenarios x repeats, in the median over pairs).
    """

    policy: Literal["uniform", "thompson"] = "uniform"
    floor: Annotated[float, Field(ge=0, le=1)] = 0.25
    least_pool: Annotated[int, Field(ge=1)] = 200


class ExecutorConfig(Record):
    """Where episodes are played.

    kind: `local`, in this process; `ray`, in workers on Ray, each with an event loop and a core of its own. What follows is of
    `ray` alone. workers: at the most; by default one a core. episodes_per_worker: in flight in each; by default what its share of
    limits.concurrency is, which holds for all of them together. address: host:port of a Ray to connect to, or `auto` for the one
    that runs on this machine; by default one is started here, for this run alone.
    """

    kind: Literal["local", "ray"] = "local"
    workers: Annotated[int, Field(ge=1, le=10_000)] | None = None
    episodes_per_worker: Annotated[int, Field(ge=1, le=100_000)] | None = None
    address: Annotated[str, Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _the_rest_is_of_a_kind(self) -> Self:
        if "kind" not in self.model_fields_set and (named := sorted(self.model_fields_set)):
            raise ValueError(
                f'{", ".join(named)}: of workers on Ray; say kind = "ray", or "local" to play without them'
            )
        return self


def behavior_name(entry: str) -> str:
    """What an entry of `behaviors` is called: `a + b`, each without the module or file that it is from."""
    return " + ".join(part.strip().rpartition(":")[2] for part in entry.split("+"))


class SweepConfig(Services):
    """A sweep: modes x targets x (no steering + each steering) x (plain + each behaviour) x scenarios x repeats.

    scenarios: a library; or generate: the plan of one, which is made first, in the run's folder. behaviors: each a name, a
    `module:Class` or a `./file.py:Class`, or several of these with `+` between them, which play together.
    """

    name: RunName
    value_set: str
    scenarios: str | None = None
    generate: LibraryPlan | None = None
    world: str | None = None
    seed: int = 0
    repeats: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    modes: Annotated[tuple[Mode, ...], Field(min_length=1)] = (Mode.OPEN_ENDED,)
    targets: Annotated[tuple[TargetConfig, ...], Field(min_length=1)]
    user: UserConfig | None = None
    judge: JudgeConfig | None = None
    multiple_choice: MultipleChoiceConfig = MultipleChoiceConfig()
    steering: tuple[SteeringConfig, ...] = ()
    behaviors: tuple[str, ...] = ()
    stop: StopConfig = StopConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    executor: ExecutorConfig = ExecutorConfig()

    @field_validator("behaviors")
    @classmethod
    def _behaviors_have_names(cls, behaviors: tuple[str, ...]) -> tuple[str, ...]:
        for entry in behaviors:
            for part in entry.split("+"):
                place, colon, name = part.strip().rpartition(":")
                if not name or (colon and not place) or (not colon and ("/" in name or name.endswith(".py"))):
                    raise ValueError(
                        'a behaviour is a name, "module:Class" or "./file.py:Class", several with "+" between them; '
                        f"got {entry!r}"
                    )
        return behaviors

    @field_validator("modes")
    @classmethod
    def _each_mode_once(cls, modes: tuple[Mode, ...]) -> tuple[Mode, ...]:
        if len(set(modes)) < len(modes):
            raise ValueError("a mode is named twice")
        return modes

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.scenarios is None) == (self.generate is None):
            raise ValueError("needs `scenarios`, a library, or [generate], the plan of one; not both")
        for kind, names in (
            ("targets", [target.label for target in self.targets]),
            ("steerings", [steering.name for steering in self.steering]),
            ("behaviors", [behavior_name(entry) for entry in self.behaviors]),
        ):
            twice = [name for name, count in Counter(names).items() if count > 1]
            if twice:
                raise ValueError(f"two {kind} have the same name: {', '.join(twice)}")
        if Mode.OPEN_ENDED in self.modes and (self.user is None or self.judge is None):
            missing = "user" if self.user is None else "judge"
            raise ValueError(f"mode open_ended needs a [{missing}] section")
        if set(self.modes) == {Mode.OPEN_ENDED} and any(target.batch for target in self.targets):
            raise ValueError(
                "batch = true on a target is for its multiple_choice and action_rating episodes, and modes has neither"
            )
        if self.executor.kind == "ray" and self.batched():
            raise ValueError('batch = true: batches go out from one process, so executor.kind must be "local"')
        made_by = self.generate.models() if self.generate else []
        known = [*self.lanes(), *(self.generate.priced() if self.generate else [])]
        unknown = sorted(self.prices.keys() - set(known))
        if unknown:
            raise ValueError(f"prices: {unknown[0]!r} is no model of the sweep ({', '.join(known)})")
        if self.world is None and any(model.startswith(PLANTED) for model in [*self.models(), *made_by]):
            raise ValueError('planted models need `world = "FILE.toml"`, or the built-in `world = "demo"`')
        return self

    def speakers(self) -> list[SpeakerConfig]:
        """Those who take part in conversations: the targets, and the user where the modes need one."""
        return [*self.targets, *([self.user] if self.user and Mode.OPEN_ENDED in self.modes else [])]

    def judges(self) -> tuple[str, ...]:
        """The models that judge, where the modes need one."""
        return self.judge.models if self.judge and Mode.OPEN_ENDED in self.modes else ()

    def lanes(self) -> list[str]:
        """The names of the lanes that the sweep needs, each once: models, and agents that bring a model of their own."""
        return list(dict.fromkeys([*(speaker.lane for speaker in self.speakers()), *self.judges()]))

    def models(self) -> list[str]:
        """Every model that the sweep will call by name, each once."""
        return list(dict.fromkeys([*(s.model for s in self.speakers() if s.model), *self.judges()]))

    def batched(self) -> list[str]:
        """Every model that is asked through the batch API of its provider, each once."""
        targets = [target.lane for target in self.targets if target.batch]
        return list(dict.fromkeys([*targets, *(self.judges() if self.judge and self.judge.batch else ())]))

    def identity(self) -> dict[str, Any]:
        """What must be the same for a run to be resumed: all but the name, how far it goes, how fast, and in which order."""
        identity = self.model_dump(
            mode="json",
            exclude={
                "generate": True,  # what came of it is what counts
                "limits": True,
                "stop": True,
                "schedule": True,
                "executor": True,
                "providers": True,
                "prices": True,
                "name": True,
                "behaviors": True,  # their sources count, not where they are from
                "targets": {"__all__": {"batch"}},
                "judge": {"batch"},
                "steering": {"__all__": {"prompt"}},  # what the file says is what counts
            },
        )
        roles: list[RoleSettings | None] = [*self.targets, self.user, self.judge]
        return {
            **identity,
            "seeds": [str(role.seed) for role in roles if role],  # true and 1 are equal to Python, and not to us
            "base_url": {
                name: section.base_url for name, section in self.providers.items() if section.base_url is not None
            },
        }


def parse_sweep(document: Document, overrides: Sequence[str] = ()) -> SweepConfig:
    """A sweep from its document, with `key=value` overrides (`limits.concurrency=8`) applied first. Raises InputError."""
    return parse_overridden(document, SweepConfig, overrides)
