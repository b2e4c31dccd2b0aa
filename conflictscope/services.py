"""What every file that names models has in common: how they are asked, how they are reached, what they may cost."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import Field, field_validator

from conflictscope.documents import Document, Record, dotted, parse
from conflictscope.errors import InputError

# As pydantic-ai has it (a test holds the two together), which takes half a second to import.
ThinkingEffort = Literal["minimal", "low", "medium", "high", "xhigh", "max"]

PLANTED = "planted:"
Positive = Annotated[float, Field(gt=0)]
RunName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)]
T = TypeVar("T", bound=Record)
_LARGEST_SEED = 2**31 - 1  # what every provider that takes a seed accepts


class RoleSettings(Record):
    """What is sent with every request of a role.

    temperature: 0..2; the model's own where it is not given. max_tokens: the longest reply, thinking included; always sent,
    so that every reply has a bound. thinking: off, on, or how much; the model's own habit where it is not given. seed: true
    sends one that is derived from the episode, false sends none, an integer is sent as it is. What a model has no such
    setting for is not sent.
    """

    temperature: Annotated[float, Field(ge=0, le=2, strict=True)] | None = None
    max_tokens: Annotated[int, Field(ge=1, strict=True)] = 8192
    thinking: bool | ThinkingEffort | None = None
    seed: bool | int = True

    @field_validator("thinking", mode="before")
    @classmethod
    def _known_effort(cls, thinking: object) -> object:
        efforts = get_args(ThinkingEffort)
        if thinking is not None and not isinstance(thinking, bool) and thinking not in efforts:
            raise ValueError(f"expected true, false or one of {', '.join(efforts)}, got {thinking!r}")
        return thinking

    @field_validator("seed", mode="before")
    @classmethod
    def _sendable_seed(cls, seed: object) -> object:
        if not isinstance(seed, int) or not 0 <= seed <= _LARGEST_SEED:
            raise ValueError(
                f"expected true (derived from the episode), false (none) or an integer 0..{_LARGEST_SEED}, got {seed!r}"
            )
        return seed


def model_name(model: str) -> str:
    """A model's pydantic-ai name. Raises ValueError where it has no provider."""
    if not all(model.partition(":")):
        raise ValueError(f'a model is named "provider:name", e.g. "openai:gpt-5.1" or "planted:alpha", got {model!r}')
    return model


class Limits(Record):
    """How far a sweep goes, and where it stops.

    concurrency: episodes in flight. cost_usd: never passed, an amount is reserved before each call; time_s: no new work after
    that (both: exit 3, resumable). call_timeout_s: one request. episode_timeout_s: one episode, from its first call on.
    attempts: how often a call is sent at the most; retry_time_s: no further attempt once its attempts and the pauses between
    them took so long (waiting for a slot, the minute or the budget does not count). batch_poll_s: how long after the first
    look at a batch the second one is taken; from there the pauses grow, up to ten minutes. done_share: share of the planned
    episodes with which the sweep may end; what is left is listed. failed_share: share of failed episodes above which `run`
    exits with 1. The time limits of calls and episodes hold for nothing that waits on a batch.
    """

    concurrency: Annotated[int, Field(ge=1, le=100_000)] = 64
    cost_usd: Positive | None = None
    time_s: Positive | None = None
    call_timeout_s: Positive = 120.0
    episode_timeout_s: Positive | None = None
    attempts: Annotated[int, Field(ge=1, le=100)] = 6
    retry_time_s: Annotated[float, Field(ge=0)] = 300.0
    batch_poll_s: Positive = 30.0
    done_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    failed_share: Annotated[float, Field(ge=0, le=1)] = 0.05


class PriceConfig(Record):
    """What a model costs, in dollars per million tokens; for models that `genai-prices` does not know, or knows wrongly."""

    input_usd: Annotated[float, Field(ge=0)]
    output_usd: Annotated[float, Field(ge=0)]


class ProviderConfig(Record):
    """How to reach a provider. base_url: of an OpenAI- or Anthropic-compatible server. Keys come from the environment."""

    requests_per_minute: Annotated[int, Field(ge=1)] | None = None
    tokens_per_minute: Annotated[int, Field(ge=1)] | None = None
    base_url: str | None = None

    @field_validator("base_url")
    @classmethod
    def _no_secret_in_url(cls, url: str | None) -> str | None:
        if url is not None and "@" in url.partition("://")[2].partition("/")[0]:
            raise ValueError(
                "a user or password in the address would be stored with the run: put keys in the environment"
            )
        if url is not None and not {"?", "#"}.isdisjoint(url):
            raise ValueError(
                "an address ends before any '?' or '#': what stands there is sent to no service, and a key there would be "
                "stored with the run: put keys in the environment"
            )
        return url


class Services(Record):
    """What a sweep and the making of a library have in common: how far to go, how to reach models, what they cost."""

    limits: Limits = Limits()
    providers: dict[str, ProviderConfig] = {}
    prices: dict[str, PriceConfig] = {}

    def only_for(self, models: Iterable[str]) -> dict[str, Any]:
        """The same, by key, with the sections that some of the models need."""
        names = set(models)
        sections = {lane_section(name, "") for name in names}
        return {
            "limits": self.limits,
            "providers": {name: section for name, section in self.providers.items() if name in sections},
            "prices": {name: price for name, price in self.prices.items() if name in names},
        }


def provider_section(provider: str) -> str:
    """The name of the sweep file's section for a provider as pydantic-ai names it: protocols of one service share one."""
    for protocol in ("-chat", "-responses"):
        if provider.removesuffix(protocol) in ("openai", "azure", "gateway/openai"):
            return provider.removesuffix(protocol)
    return provider


def lane_section(lane: str, system: str) -> str:
    """The section for a lane. system: the provider of its model as the model itself says, for an agent that brings its own."""
    return provider_section(system if lane.startswith("agent:") else lane.partition(":")[0])


def parse_overridden(document: Document, model: type[T], overrides: Sequence[str] = ()) -> T:
    """A `model` from its document, with `key=value` overrides (`limits.concurrency=8`) applied first. Raises InputError."""
    data = document.data
    if not isinstance(data, dict):
        raise InputError(
            f"expected keys and sections, got {'nothing' if data is None else type(data).__name__}", path=document.path
        )
    for override in overrides:
        data = _apply(data, override)
    try:
        return parse(document, model, data)
    except InputError as error:
        if not overrides:
            raise
        raise InputError(f"{error}\nwith --set {' --set '.join(overrides)}") from None


def _apply(data: dict[str, Any], override: str) -> dict[str, Any]:
    """`data` with one dotted key set; the value is read as TOML, or as a plain string where it is not."""
    dotted_key, equals, text = override.partition("=")
    key = dotted_key.strip()
    if not equals or not key:
        raise InputError(f"--set takes key=value (e.g. limits.concurrency=8), got {override!r}")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    parts = key.split(".")
    out = current = dict(data)
    for depth, part in enumerate(parts[:-1]):
        inner = current.get(part, {})
        if not isinstance(inner, dict):
            raise InputError(f"--set {key}: {dotted(parts[: depth + 1])} is a {type(inner).__name__}, not a section")
        current[part] = dict(inner)
        current = current[part]
    current[parts[-1]] = value
    return out


def builtin_or_path(reference: str, base: Path) -> Path | None:
    """The path that `reference` means, relative to `base`; None where it is a bare name, to be found built in."""
    if "/" in reference or "\\" in reference or Path(reference).suffix:
        return (base / reference).resolve()
    return None
