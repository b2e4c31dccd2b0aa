"""The specification of a library: which values, how many scenarios a pair, who invents, checks and writes them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from conflictscope.documents import Document, Record
from conflictscope.scenario import CheckName, Template
from conflictscope.services import PLANTED, RoleSettings, RunName, Services, model_name, parse_overridden
from conflictscope.values import ValueSet

OFFLINE_EMBEDDING = "hashing"


class WriterConfig(RoleSettings):
    """A role that one model plays."""

    model: str

    _named = field_validator("model")(model_name)


class CheckersConfig(RoleSettings):
    """Who checks. models: each makes every check; a check is passed when more than half of them pass it. names: which checks."""

    models: Annotated[tuple[str, ...], Field(min_length=1)]
    names: Annotated[tuple[CheckName, ...], Field(min_length=1)] = tuple(CheckName)

    @field_validator("models")
    @classmethod
    def _each_once(cls, models: tuple[str, ...]) -> tuple[str, ...]:
        twice = [name for name, count in Counter(models).items() if count > 1]
        if twice:
            raise ValueError(f"names a model twice: {', '.join(twice)}")
        return tuple(model_name(model) for model in models)


class SimilarityConfig(Record):
    """When two scenarios are one: from a cosine of `threshold` on.

    embedding: `hashing` (words, offline) or a model of pydantic-ai's embedder.
    """

    embedding: str = OFFLINE_EMBEDDING
    threshold: Annotated[float, Field(gt=0, le=1)] = 0.8

    @field_validator("embedding")
    @classmethod
    def _known(cls, embedding: str) -> str:
        if embedding != OFFLINE_EMBEDDING and not all(embedding.partition(":")):
            raise ValueError(
                f'expected "{OFFLINE_EMBEDDING}" (offline) or a model, e.g. "openai:text-embedding-3-small", got {embedding!r}'
            )
        return embedding


class LibraryPlan(Record):
    """What a library shall hold, and who makes it.

    count: scenarios for each pair of values that pass all checks. tries: a pair is given up, and its shortfall told, after
    `tries` x `count` outlines. batch: outlines asked for in one request. against: libraries that no scenario may repeat, by path
    or built-in name. user: writes the opening messages; without it they are left to the simulated user of each run.
    """

    count: Annotated[int, Field(ge=1, le=100_000)] = 20
    tries: Annotated[int, Field(ge=1, le=1_000)] = 5
    batch: Annotated[int, Field(ge=1, le=50)] = 5
    templates: Annotated[tuple[Template, ...], Field(min_length=1)] = tuple(Template)
    pairs: Literal["between_groups", "all"] = "between_groups"
    against: tuple[str, ...] = ()
    generator: WriterConfig
    checks: CheckersConfig
    user: WriterConfig | None = None
    similarity: SimilarityConfig = SimilarityConfig()

    def pairs_of(self, values: ValueSet) -> list[tuple[str, str]]:
        """The pairs of values that scenarios are made for; `between_groups` are all pairs where the set has no groups."""
        return values.pairs(across_groups=self.pairs == "between_groups")

    def models(self) -> list[str]:
        """Every model that is asked for text, each once."""
        writers = [self.generator, *([self.user] if self.user else [])]
        return list(dict.fromkeys([*(writer.model for writer in writers), *self.checks.models]))

    def priced(self) -> list[str]:
        """Every model that may cost something, the one of the embeddings included."""
        return [*self.models(), *([] if self.offline else [self.similarity.embedding])]

    @property
    def offline(self) -> bool:
        """Whether likeness is told without a model."""
        return self.similarity.embedding == OFFLINE_EMBEDDING


class ChecksSpec(Services):
    """A file that says how the scenarios of a library are checked, and by whom; the part of a specification that that needs."""

    name: RunName
    value_set: str
    world: str | None = None
    seed: int = 0
    checks: CheckersConfig

    def models(self) -> list[str]:
        """Every model that is asked for text, each once."""
        return list(self.checks.models)

    def priced(self) -> list[str]:
        """Every model that may cost something."""
        return self.models()

    def identity(self) -> dict[str, Any]:
        """What must be the same for a run to be resumed: all but its name, how many scenarios it makes, and how fast."""
        left_out = {"name", "count", "tries", "limits", "providers", "prices"}
        return self.model_dump(mode="json", exclude=left_out, exclude_none=True)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.world is None and any(model.startswith(PLANTED) for model in self.models()):
            raise ValueError('planted models need `world = "FILE.toml"`, or the built-in `world = "demo"`')
        unknown = sorted(self.prices.keys() - set(self.priced()))
        if unknown:
            raise ValueError(f"prices: {unknown[0]!r} is no model of the specification ({', '.join(self.priced())})")
        return self


class GenerationSpec(LibraryPlan, ChecksSpec):
    """A specification file: a library plan with the value set, and where its models are reached."""


def parse_spec(document: Document, overrides: Sequence[str] = ()) -> GenerationSpec:
    """A specification from its document, with overrides as `run --set` takes them. Raises InputError."""
    return parse_overridden(document, GenerationSpec, overrides)


def parse_checks(document: Document, overrides: Sequence[str] = ()) -> ChecksSpec:
    """How a library is to be checked, from a specification or from a file with that part alone. Raises InputError."""
    if not isinstance(document.data, dict) or "generator" not in document.data:
        return parse_overridden(document, ChecksSpec, overrides)
    spec = parse_overridden(document, GenerationSpec, overrides)
    return ChecksSpec(
        name=spec.name,
        value_set=spec.value_set,
        world=spec.world,
        seed=spec.seed,
        checks=spec.checks,
        **spec.only_for(spec.checks.models),
    )
