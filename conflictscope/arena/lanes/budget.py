"""What calls may cost: prices, the hard limit, the reservation before each request."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol

import structlog
from genai_prices import calc_price
from pydantic_ai.embeddings import EmbeddingModel
from pydantic_ai.messages import UserPromptPart
from pydantic_ai.models import Model
from pydantic_ai.usage import RequestUsage

from conflictscope.arena.lanes.steps import Reply, Request, Step
from conflictscope.errors import LimitReached
from conflictscope.ports import Call

_MILLION = 1_000_000
# A token holds at least one byte of the request; beside its own text, a service adds a frame for tools and schemas.
_FRAME_TOKENS = 1_000

log = structlog.get_logger()


class Price(Protocol):
    """What a model's tokens cost."""

    def usd(self, usage: RequestUsage) -> float:
        """The price of a reply."""
        ...

    def at_most_usd(self, input_tokens: int, output_tokens: int) -> float:
        """The highest price of so many tokens."""
        ...


@dataclass(frozen=True, slots=True)
class FlatPrice:
    """A price per million tokens, as a sweep file gives it."""

    input_usd: float
    output_usd: float

    def usd(self, usage: RequestUsage) -> float:
        """The price of a reply."""
        return self.at_most_usd(usage.input_tokens, usage.output_tokens)

    def at_most_usd(self, input_tokens: int, output_tokens: int) -> float:
        """The price of so many tokens."""
        return (input_tokens * self.input_usd + output_tokens * self.output_usd) / _MILLION


class KnownPrice:
    """The price that `genai-prices` has for a model, alone or in a batch, which most services bill at half the price.

    Its full calculation, with tiers and cached tokens, takes longer than all else that a lane does to a call; where neither
    occurs, which is seen once, two multiplications give the same.
    """

    def __init__(self, model_name: str, provider: str, *, batch: bool = False) -> None:
        """Raises LookupError where the model's price is not known."""
        self._model_name = model_name
        self._provider = provider
        self._context = {"processing": "batch"} if batch else None
        few, many = 1_000, _MILLION
        self._input_usd = self._calculate(RequestUsage(input_tokens=many)) / many
        # Where much goes in, what comes out may have another price too.
        both_usd = self._calculate(RequestUsage(input_tokens=many, output_tokens=many)) / many
        self._output_usd = both_usd - self._input_usd
        small_usd = self._calculate(RequestUsage(input_tokens=few, output_tokens=few)) / few
        self._flat = abs(small_usd - self._input_usd - self._output_usd) <= 1e-6 * small_usd

    def usd(self, usage: RequestUsage) -> float:
        """The price of a reply."""
        special = usage.cache_read_tokens or usage.cache_write_tokens or usage.input_audio_tokens
        if special or not self._flat:
            return self._calculate(usage)
        return usage.input_tokens * self._input_usd + usage.output_tokens * self._output_usd

    def at_most_usd(self, input_tokens: int, output_tokens: int) -> float:
        """The price of so many tokens in the highest tier."""
        return input_tokens * self._input_usd + output_tokens * self._output_usd

    def _calculate(self, usage: RequestUsage) -> float:
        price = calc_price(usage, self._model_name, provider_id=self._provider, price_context=self._context)
        return float(price.total_price)


FREE = FlatPrice(0.0, 0.0)
LOCAL = "sentence-transformers"  # pydantic-ai's name for embedding models that are run in this process


def known_price(model: Model | EmbeddingModel, *, batch: bool = False) -> Price | None:
    """The price of a model by `genai-prices`; None where it is not known there. Planted models are free."""
    return named_price(model.system, model.model_name, batch=batch)


def named_price(provider: str, model_name: str, *, batch: bool = False) -> Price | None:
    """The same by names, without a client of the provider."""
    if provider in ("planted", LOCAL):
        return FREE
    try:
        return KnownPrice(model_name, provider, batch=batch)
    except (LookupError, ValueError):
        return None


class Budget:
    """What the run has spent and set aside, and how much it may. Spent and reserved together never pass the limit.

    limit_usd: None for no limit. spent_usd: what former processes spent, calls of unknown end included with what was
    reserved for them.
    """

    def __init__(self, limit_usd: float | None, spent_usd: float = 0.0) -> None:
        self.limit_usd = limit_usd
        self.spent_usd = spent_usd
        self.reserved_usd = 0.0
        self._outstanding = 0  # counted, for sums of dollars leave a rest when all is given back
        self._gate = asyncio.Lock()
        self._settled = asyncio.Event()

    async def reserve(self, usd: float, what: str) -> None:
        """Set an amount aside, first come first served.

        Where too little is left, wait for what others have set aside and may not need. Raises LimitReached where nobody has
        anything left to give back.
        """
        if self.limit_usd is not None:
            async with self._gate:
                while self.spent_usd + self.reserved_usd + usd > self.limit_usd:
                    if not self._outstanding:
                        raise LimitReached(
                            f"${self.spent_usd:.4f} of ${self.limit_usd:.4f} is spent (limits.cost_usd), and {what} may cost "
                            f"up to ${usd:.4f}: raise the limit, or lower max_tokens"
                        )
                    log.info("budget.waits", reserved_usd=self.reserved_usd, wanted_usd=usd)
                    self._settled.clear()
                    await self._settled.wait()
                self.carry(usd)
        else:
            self.carry(usd)

    def carry(self, usd: float) -> None:
        """Set an amount aside whatever is left: for a call that a former process made, and that is still on its way."""
        self._outstanding += usd > 0
        self.reserved_usd += usd

    def settle(self, reserved_usd: float, spent_usd: float) -> None:
        """Put a reservation in for what was really spent."""
        self._outstanding -= reserved_usd > 0
        self.reserved_usd = max(0.0, self.reserved_usd - reserved_usd) if self._outstanding else 0.0
        self.spent_usd += spent_usd
        self._settled.set()


class Meter:
    """Reserves the most that a request can cost, and settles it with what it did cost."""

    def __init__(self, following: Step, budget: Budget, price: Price | None, name: str) -> None:
        self._next = following
        self._budget = budget
        self._price = price
        self._name = name

    async def __call__(self, request: Request) -> Reply:
        """The reply. Raises LimitReached."""
        reserved_usd = self._at_most_usd(request)
        await self._budget.reserve(reserved_usd, f"one call to {self._name}")
        request.reserved_usd = reserved_usd
        try:
            return await self._next(request)
        finally:
            self._budget.settle(reserved_usd, request.spent_usd)
            request.reserved_usd = request.spent_usd = 0.0  # a further attempt begins anew

    def _at_most_usd(self, request: Request) -> float:
        if self._price is None:
            if self._budget.limit_usd is not None:
                raise LimitReached(f"the price of {self._name} is not known, so limits.cost_usd cannot be kept")
            return 0.0
        if self._budget.limit_usd is not None and _unbounded(request.call):
            raise LimitReached(
                f"what a call to {self._name} takes has no bound, for it has attachments or tools of the provider's own, so "
                "limits.cost_usd cannot be kept"
            )
        output_tokens = request.call.settings.get("max_tokens")
        if output_tokens is None:
            if self._budget.limit_usd is not None:
                raise LimitReached(f"a call to {self._name} has no max_tokens, so limits.cost_usd cannot be kept")
            return 0.0
        return self._price.at_most_usd(len(request.body) + _FRAME_TOKENS, output_tokens)


def _unbounded(call: Call) -> bool:
    """Whether a request may take more input tokens than it has bytes: by files that it names, or by the provider's own tools."""
    parts = (part for message in call.messages for part in message.parts if isinstance(part, UserPromptPart))
    files = any(
        not isinstance(part.content, str) and not all(isinstance(c, str) for c in part.content) for part in parts
    )
    return files or bool(call.parameters.native_tools)
