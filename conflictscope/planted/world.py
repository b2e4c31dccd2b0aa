"""A planted world: models whose value priorities are known by construction, described in a TOML file."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Annotated, Self

from pydantic import Field, model_validator

from conflictscope.documents import Document, Record, parse
from conflictscope.errors import InputError
from conflictscope.outcome import Mode
from conflictscope.rating import STANDARD_NORMAL
from conflictscope.scenario import CheckName
from conflictscope.seeds import normal, uniform
from conflictscope.values import Name, ValueName

Share = Annotated[float, Field(ge=0, le=1)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Utilities = dict[ValueName, Finite]


class PlantedTarget(Record):
    """A target.

    utilities: by value, in probit units: of two actions the one with the greater utility wins with probability
    Phi(difference). shift_*: added in that mode. steerability: 0 ignores a ranking stated in the system prompt, 1 follows
    it. neither_rate, refusal_rate: chance that it takes neither action, or declines to engage. hesitation_rate: chance that
    its first reply in a conversation asks back instead of acting.
    """

    utilities: Annotated[Utilities, Field(min_length=1)]
    shift_open_ended: Utilities = {}
    shift_multiple_choice: Utilities = {}
    shift_action_rating: Utilities = {}
    steerability: Share = 0.0
    neither_rate: Share = 0.0
    refusal_rate: Share = 0.0
    hesitation_rate: Share = 0.0

    @model_validator(mode="after")
    def _whole(self) -> Self:
        for mode in Mode:
            unknown = self.shift(mode).keys() - self.utilities.keys()
            if unknown:
                raise ValueError(f"shift_{mode.value} names {min(unknown)!r}, which has no utility")
        if self.neither_rate + self.refusal_rate > 1:
            raise ValueError(f"neither_rate + refusal_rate must be <= 1, got {self.neither_rate + self.refusal_rate:g}")
        return self

    def shift(self, mode: Mode) -> Utilities:
        """What a mode adds to the utilities."""
        shift: Utilities = getattr(self, f"shift_{mode.value}")
        return shift

    def utilities_in(self, mode: Mode, stated: tuple[str, ...] = ()) -> dict[str, float]:
        """The utilities that act in a mode, under a stated ranking of values (best first).

        A stated ranking pulls towards utilities one unit apart in its order, in proportion to the steerability; values
        that it does not name keep their own.
        """
        shift = self.shift(mode)
        utilities = {value: utility + shift.get(value, 0.0) for value, utility in self.utilities.items()}
        top = (len(stated) - 1) / 2
        for place, value in enumerate(stated):
            if value in utilities:
                utilities[value] += self.steerability * (top - place - utilities[value])
        return utilities

    def truth(self, mode: Mode, stated: tuple[str, ...] = ()) -> list[str]:
        """The values in planted order, best first."""
        utilities = self.utilities_in(mode, stated)
        return sorted(utilities, key=lambda value: (-utilities[value], value))


class PlantedJudge(Record):
    """A judge. error_rate: chance that it names the wrong action. order_bias: extra chance of the one shown first.

    misquote_rate: chance that it quotes what nobody said, where it is asked for quotes.
    """

    error_rate: Share = 0.0
    order_bias: Share = 0.0
    misquote_rate: Share = 0.0


class Latency(Record):
    """Seconds until a reply, log-normal with this median and 95th percentile; both 0: at once."""

    median: Annotated[Finite, Field(ge=0)] = 0.0
    p95: Annotated[Finite, Field(ge=0)] = 0.0

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.p95 < self.median or (self.p95 > 0 and self.median == 0):
            raise ValueError(f"needs p95 >= median > 0, or both 0, got median {self.median:g} and p95 {self.p95:g}")
        return self

    @property
    def mean(self) -> float:
        """The mean, in seconds."""
        return self.median * math.exp(self._sigma**2 / 2)

    def draw(self, *purpose: str | int) -> float:
        """The latency for this purpose."""
        return self.median * math.exp(self._sigma * normal("latency", *purpose)) if self.median else 0.0

    @property
    def _sigma(self) -> float:
        return math.log(self.p95 / self.median) / STANDARD_NORMAL.inv_cdf(0.95) if self.median else 0.0


class Timing(Record):
    """How long planted models take. batch_s: seconds until a batch ends; 0: it has ended when it is next asked about."""

    latency_s: Latency = Latency()
    batch_s: Annotated[Finite, Field(ge=0)] = 0.0


class Rates(Record):
    """Chances of things of which at most one happens at a time."""

    @property
    def rates(self) -> dict[str, float]:
        """The chance of each."""
        return dict(self)

    @model_validator(mode="after")
    def _shares_of_one_whole(self) -> Self:
        total = sum(self.rates.values())
        if total > 1 + 1e-9:  # ten times 0.1 may add up to a little more than 1
            raise ValueError(f"the rates must add up to <= 1, got {total:g}")
        return self

    def draw(self, *purpose: str | int) -> str | None:
        """The one that happens for this purpose, or None."""
        place = uniform("fault", *purpose)
        for kind, rate in self.rates.items():
            place -= rate
            if place < 0:
                return kind
        return None


class Faults(Rates):
    """Chances per request of what services do wrong; they exist over HTTP only, and of one request at most one happens.

    rate_limit: 429. server_error: 500. unauthorized: 401. overloaded: 529 from Anthropic, 503 from OpenAI. malformed: 200
    with a body that is not what was asked for. hang: accepts, never answers. disconnect: closes in the middle of a body.
    retry_after_s: what a 429 that is a fault tells the client to wait, in seconds.
    """

    rate_limit: Share = 0.0
    server_error: Share = 0.0
    unauthorized: Share = 0.0
    overloaded: Share = 0.0
    malformed: Share = 0.0
    hang: Share = 0.0
    disconnect: Share = 0.0
    retry_after_s: Annotated[Finite, Field(ge=0)] = 1.0

    @property
    def rates(self) -> dict[str, float]:
        """The chance of each kind of fault."""
        return {kind: rate for kind, rate in self if kind != "retry_after_s"}


class GeneratorFaults(Rates):
    """Chances per reply of what a generator gets wrong; of one reply at most one happens.

    prose: no object in it. broken: half of one. missing: a field is not there. too_long: a field of 50 KB. count: one outline
    too few or too many. other_pair: an outline for another pair or template. The last two are of replies with outlines.
    """

    prose: Share = 0.0
    broken: Share = 0.0
    count: Share = 0.0
    other_pair: Share = 0.0
    missing: Share = 0.0
    too_long: Share = 0.0


class PlantedGenerator(Record):
    """The generator of scenarios.

    duplicate_rate: chance that an outline tells one of a few situations that its pair of values has in stock, as others do in
    other words. defects: by check, chance that an elaborated scenario deserves to fail it.
    """

    duplicate_rate: Share = 0.0
    defects: dict[CheckName, Share] = {}
    faults: GeneratorFaults = GeneratorFaults()


class PlantedChecker(Record):
    """A checker. error_rate: chance that a verdict is turned round: of each check, value and scenario on its own."""

    error_rate: Share = 0.0


class ServiceLimits(Record):
    """What the service lets in, per model and sliding window of a minute; it exists over HTTP only. None: no limit."""

    requests_per_minute: Annotated[int, Field(ge=1)] | None = None
    tokens_per_minute: Annotated[int, Field(ge=1)] | None = None


ROLES = ("user", "judge", "generator", "checker")


class PlantedWorld(Record):
    """Targets, judges, a generator, checkers, their timing, and how the service that offers them behaves.

    scenario_sd: standard deviation of each scenario's own offset, in probit units. judges: by name, those that there are beside
    `judge`. checkers: by name, those that there are beside `checker`, and what is to be said of that one.
    """

    seed: int = 0
    scenario_sd: Annotated[Finite, Field(ge=0)] = 0.0
    targets: Annotated[Mapping[Name, PlantedTarget], Field(min_length=1)]
    judge: PlantedJudge = PlantedJudge()
    judges: Mapping[Name, PlantedJudge] = {}
    generator: PlantedGenerator = PlantedGenerator()
    checkers: Mapping[Name, PlantedChecker] = {}
    timing: Timing = Timing()
    faults: Faults = Faults()
    limits: ServiceLimits = ServiceLimits()

    @property
    def models(self) -> tuple[str, ...]:
        """The names of all models: targets, roles, further judges and checkers."""
        return (*self.targets, *ROLES, *self.judges, *(name for name in self.checkers if name not in ROLES))

    @property
    def judge_names(self) -> tuple[str, ...]:
        """The names of all models that judge."""
        return ("judge", *self.judges)

    @property
    def checker_names(self) -> tuple[str, ...]:
        """The names of all models that check."""
        return tuple(dict.fromkeys(("checker", *self.checkers)))

    def checker(self, name: str) -> PlantedChecker | None:
        """The checker of this name, or None where it is the name of something else, or of nothing."""
        return self.checkers.get(name, PlantedChecker() if name == "checker" else None)

    def check_in_process(self) -> None:
        """Check that the world asks for nothing that only a service over HTTP can do. Raises InputError."""
        asked = {
            **{f"faults.{kind}": rate for kind, rate in self.faults.rates.items()},
            **{f"limits.{name}": limit for name, limit in self.limits},
        }
        for key, wanted in asked.items():
            if wanted:
                raise InputError(
                    f"the world sets {key}, which exists over HTTP only, and planted models here answer in process: "
                    "leave it out, or see `conflictscope plant serve`"
                )

    def check_target(self, name: str, values: Iterable[str]) -> None:
        """Check that a target is there and has a utility for each of `values`. Raises InputError."""
        target = self.targets.get(name)
        if target is None:
            what = "is a role, not a target" if name in self.models else "is not in the world"
            raise InputError(f"target 'planted:{name}' {what}; its targets are {', '.join(self.targets)}")
        missing = sorted(set(values) - target.utilities.keys())
        if missing:
            raise InputError(
                f"the world's target {name!r} has no utility for the value {missing[0]!r} (it has {', '.join(target.utilities)})"
            )


def parse_world(document: Document) -> PlantedWorld:
    """A world from its document. Raises InputError."""
    world = parse(document, PlantedWorld)
    taken = dict.fromkeys(ROLES, "a role")
    for section, names in (("targets", world.targets), ("judges", world.judges), ("checkers", world.checkers)):
        for name in names:
            if name in taken and (section, name) != ("checkers", "checker"):
                raise InputError(
                    f"{section}.{name}: the name {name!r} belongs to {taken[name]}",
                    path=document.path,
                    line=document.line([section, name]),
                )
            taken[name] = f"a {section.removesuffix('s')}"
    return world
