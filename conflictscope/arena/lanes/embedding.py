"""The way to a model that makes vectors of texts: the steps of a lane, and a cache, for a vector is paid for once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic_ai.messages import ModelRequest, ModelResponse, TextPart, UserPromptPart
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.settings import ModelSettings

from conflictscope.arena.lanes.breaker import Breaker
from conflictscope.arena.lanes.budget import LOCAL, Budget, Price
from conflictscope.arena.lanes.endpoint import Asking, cost_usd
from conflictscope.arena.lanes.journal import RESPONSE, requested
from conflictscope.arena.lanes.lane import Policy, live_steps
from conflictscope.arena.lanes.steps import Reply, Request, Step
from conflictscope.arena.lanes.throttle import RateLimit
from conflictscope.errors import CallFailed
from conflictscope.outcome import Role
from conflictscope.ports import Call, Journal, VectorCache
from conflictscope.seeds import derive
from conflictscope.snapshot import LaneLoad

if TYPE_CHECKING:
    from pydantic_ai.embeddings import EmbeddingModel, EmbeddingResult

# What every service takes in one request: Cohere no more than 96 texts, Voyage no more than 120,000 tokens; a token holds at
# least one byte.
_MOST_TEXTS = 96
_MOST_BYTES = 100_000
_STORED = "<f4"


class ModelEmbedding:
    """Vectors by a model: many texts a request, each text once, whatever was embedded before from the cache.

    A request is counted, limited, paid for, retried and journaled as one to a lane, as the role `embedder`; its scope in the
    journal is named by its texts. The vectors are kept in the cache before the journal says that the request was answered: what
    it says is paid for is there for a resumed run. A model that runs in this process is asked once, and for one request at a
    time. name, price, rates: as of ModelLane.
    """

    def __init__(
        self,
        model: EmbeddingModel,
        journal: Journal,
        budget: Budget,
        policy: Policy,
        cache: VectorCache,
        *,
        name: str | None = None,
        price: Price | None = None,
        rates: Sequence[RateLimit] = (),
    ) -> None:
        self.name = name or f"{model.system}:{model.model_name}"
        self._cache = cache
        self._breaker = Breaker(self.name)
        if model.system == LOCAL:
            policy = replace(policy, concurrency=1, attempts=1)
        endpoint = _Kept(_EmbeddingEndpoint(model, self.name, price, policy.call_timeout_s), cache, self.name)
        self._live = live_steps(endpoint, self._breaker, journal, budget, policy, self.name, price, rates)
        self._steps = self._breaker.guarding(self._live.first)

    @property
    def closed(self) -> str | None:
        """Why nobody is answered any more; None while the way is open."""
        return self._breaker.closed

    @property
    def load(self) -> LaneLoad:
        """How it stands."""
        return self._live.load(self.name, self.closed)

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, d): a row of length 1 for each text. Raises CallFailed, LimitReached, LaneClosed.

        Where a request fails, the others are still waited for: what they cost is not lost.
        """
        if not texts:
            return np.empty((0, 0), np.float32)
        vectors = dict(await self._cache.vectors(self.name, list(dict.fromkeys(texts))))
        missing = [text for text in dict.fromkeys(texts) if text not in vectors]
        asked = await asyncio.gather(*map(self._ask, batches(missing)), return_exceptions=True)
        for outcome in asked:
            if isinstance(outcome, BaseException):
                raise outcome
            vectors |= outcome
        widths = {len(vector) for vector in vectors.values()}
        if len(widths) > 1:
            lengths = " and ".join(str(width // np.dtype(_STORED).itemsize) for width in sorted(widths))
            raise CallFailed("malformed", f"{self.name} gave vectors of {lengths} numbers, now and before")
        rows = np.frombuffer(b"".join(vectors[text] for text in texts), _STORED).astype(np.float32, copy=False)
        return rows.reshape(len(texts), -1)

    async def _ask(self, texts: Sequence[str]) -> Mapping[str, bytes]:
        reply = await self._steps(requested(_call(self.name, texts), self.name))
        assert isinstance(reply, _Vectors), "the steps pass on what the endpoint says"
        return reply.vectors


def batches(texts: Sequence[str]) -> list[Sequence[str]]:
    """The texts in order, in as many requests as services want them in; a text that is too long for any goes alone."""
    cut: list[list[str]] = []
    room = 0
    for text in texts:
        size = len(text.encode())
        if not cut or len(cut[-1]) == _MOST_TEXTS or size > room:
            cut.append([])
            room = _MOST_BYTES
        cut[-1].append(text)
        room -= size
    return list(cut)


@dataclass(slots=True)
class _Vectors(Reply):
    """A reply with the vectors, by text, as they are kept; the journal's copy only counts them."""

    vectors: Mapping[str, bytes]


def _call(name: str, texts: Sequence[str]) -> Call:
    """The texts as a call, so that they pass through the steps of a lane."""
    return Call(
        scope=f"embedding/{derive(name, *texts):016x}",
        target=None,
        role=Role.EMBEDDER,
        prompt="embedding",
        messages=[ModelRequest(parts=[UserPromptPart(text) for text in texts])],
        settings=ModelSettings(max_tokens=0),  # nothing comes out that is paid for by the token
        parameters=ModelRequestParameters(),
    )


def _texts(call: Call) -> list[str]:
    (message,) = call.messages
    return [
        part.content for part in message.parts if isinstance(part, UserPromptPart) and isinstance(part.content, str)
    ]


class _EmbeddingEndpoint(Asking["EmbeddingResult"]):
    """Asks the model."""

    def __init__(self, model: EmbeddingModel, name: str, price: Price | None, timeout_s: float) -> None:
        super().__init__(name, price, timeout_s)
        self._model = model

    async def _ask(self, request: Request) -> EmbeddingResult:
        return await self._model.embed(_texts(request.call), input_type="document")

    def _reply(self, request: Request, said: EmbeddingResult, latency_s: float) -> Reply:
        texts = _texts(request.call)
        rows = _unit_rows(said.embeddings, len(texts))
        told = TextPart(f"{len(rows)} vectors of {rows.shape[1]} numbers")
        response = ModelResponse(
            parts=[told], usage=said.usage, model_name=said.model_name, provider_name=said.provider_name
        )
        vectors = {text: row.tobytes() for text, row in zip(texts, rows, strict=True)}
        body = RESPONSE.dump_json(response, exclude_none=True)
        return _Vectors(response, body, cost_usd(response, self._price), latency_s, vectors)


def _unit_rows(embeddings: Sequence[Sequence[float]], expected: int) -> NDArray[np.float32]:
    """The vectors, each divided by its length. Raises CallFailed for anything but so many finite ones of one size."""
    if len(embeddings) != expected:
        raise CallFailed("malformed", f"{expected} texts were sent, and {len(embeddings)} vectors came back")
    try:
        rows = np.array(embeddings, dtype=np.float64)
    except (TypeError, ValueError):
        raise CallFailed("malformed", "the vectors that came back are not lists of numbers of one length") from None
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    if rows.ndim != 2 or not np.isfinite(lengths).all() or not (lengths > 0).all():
        raise CallFailed("malformed", "a vector came back that has no direction: empty, all zero or not finite")
    unit: NDArray[np.float32] = (rows / lengths).astype(_STORED)
    return unit


class _Kept:
    """Keeps the vectors of a reply before anybody is told of it."""

    def __init__(self, following: Step, cache: VectorCache, name: str) -> None:
        self._next = following
        self._cache = cache
        self._name = name

    async def __call__(self, request: Request) -> Reply:
        """The reply."""
        reply = await self._next(request)
        assert isinstance(reply, _Vectors), "the endpoint of an embedding"
        await self._cache.keep_vectors(self._name, reply.vectors)
        return reply
