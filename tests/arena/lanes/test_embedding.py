from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from math import inf, nan
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_ai.embeddings import EmbeddingModel, EmbeddingResult, EmbeddingSettings
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.usage import RequestUsage

from conflictscope.arena import Budget, FlatPrice, ModelEmbedding, Policy, RateLimit
from conflictscope.arena.lanes import retry as retry_module
from conflictscope.arena.lanes.budget import LOCAL, named_price
from conflictscope.arena.lanes.embedding import _MOST_BYTES, _MOST_TEXTS, batches
from conflictscope.errors import CallFailed, LaneClosed, LimitReached, StoreError
from conflictscope.outcome import Role
from tests.arena.lanes.doubles import ONE_TRY, Rows

PRICE = FlatPrice(1_000.0, 0.0)  # a tenth of a cent for each token that goes in


class Letters(EmbeddingModel):
    """Counts letters. asked: the texts of each request; it raises, or gives in place of vectors, what it is told to, in turn."""

    def __init__(self, *acts: Any, system: str = "test") -> None:
        super().__init__()
        self.acts = list(acts)
        self.asked: list[list[str]] = []
        self._system = system

    @property
    def model_name(self) -> str:
        return "letters"

    @property
    def system(self) -> str:
        return self._system

    async def embed(
        self, inputs: str | Sequence[str], *, input_type: str, settings: EmbeddingSettings | None = None
    ) -> EmbeddingResult:
        texts, _ = self.prepare_embed(inputs, settings)
        self.asked.append(texts)
        vectors = [[1.0, *(float(text.count(letter)) for letter in "abc")] for text in texts]
        act = self.acts.pop(0) if self.acts else None
        if isinstance(act, BaseException):
            raise act
        if isinstance(act, asyncio.Event):
            await act.wait()
        elif act is not None:
            vectors = act
        return EmbeddingResult(
            vectors,
            inputs=texts,
            input_type="document",
            model_name="letters",
            provider_name=self._system,
            usage=RequestUsage(input_tokens=0 if self._system == LOCAL else 10 * len(texts)),
        )


class Cache:
    """Vectors in memory."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], bytes] = {}

    async def vectors(self, model: str, texts: Sequence[str]) -> Mapping[str, bytes]:
        return {text: self.kept[model, text] for text in texts if (model, text) in self.kept}

    async def keep_vectors(self, model: str, vectors: Mapping[str, bytes]) -> None:
        self.kept.update({(model, text): vector for text, vector in vectors.items()})


def embedding(
    model: Letters, journal: Rows | None = None, cache: Cache | None = None, *, policy: Policy = ONE_TRY, **given: Any
) -> ModelEmbedding:
    budget = given.pop("budget", None) or Budget(None)
    return ModelEmbedding(model, journal or Rows(), budget, policy, cache or Cache(), **given)


@pytest.fixture
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry_module, "_pause_s", lambda state: 0.0)


async def test_each_text_has_a_row_of_length_one_and_is_sent_once() -> None:
    """Rows come in the order of the texts, also for texts that come twice."""
    model = Letters()
    rows = await embedding(model).embed(["abba", "", "abba", "cc"])
    assert (rows.shape, rows.dtype) == ((4, 4), np.float32)
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1.0, abs=1e-6)
    assert rows[0] == pytest.approx(np.array([1, 2, 2, 0]) / 3)
    assert (rows[0] == rows[2]).all()
    assert model.asked == [["abba", "", "cc"]]
    assert (await embedding(model).embed([])).shape[0] == 0


async def test_what_was_paid_for_is_never_asked_again() -> None:
    """A later process finds the vectors in the cache, bit for bit, and asks for the others only."""
    cache, first, later = Cache(), Letters(), Letters()
    rows = await embedding(first, cache=cache).embed(["a", "b"])
    again = await embedding(later, cache=cache).embed(["b", "new", "a"])
    assert later.asked == [["new"]]
    assert (again[[2, 0]] == rows).all()


async def test_the_journal_tells_what_a_request_was_for_and_what_it_cost() -> None:
    """One row a request, as the embedder's, with tokens and price; the vectors are counted in it, but stand in the cache."""
    journal, budget = Rows(), Budget(1_000.0)
    await embedding(Letters(), journal, price=PRICE, budget=budget).embed(["one", "two"])
    (row,) = journal.rows
    assert (row.sent.role, row.sent.target, row.sent.model) == (Role.EMBEDDER, None, "test:letters")
    assert b"one" in row.sent.request
    assert b"2 vectors of 4 numbers" in (row.end.reply or b"")
    assert (row.end.state, row.end.input_tokens, row.end.cost_usd) == ("committed", 20, pytest.approx(0.02))
    assert budget.spent_usd == pytest.approx(0.02)
    assert 0.02 < row.sent.reserved_usd <= (len(row.sent.request) + 1_000) / 1_000


async def test_vectors_are_safe_before_the_journal_says_that_they_were_paid_for() -> None:
    """Where they cannot be kept, the request has no answer, and the error is the store's."""

    class Full(Cache):
        async def keep_vectors(self, model: str, vectors: Mapping[str, bytes]) -> None:
            raise StoreError("the disk is full")

    journal = Rows()
    with pytest.raises(StoreError, match="the disk is full"):
        await embedding(Letters(), journal, Full()).embed(["a"])
    assert journal.states() == ["abandoned"]


@given(st.lists(st.text(max_size=30), max_size=60), st.integers(1, 12), st.integers(1, 80))
def test_requests_hold_every_text_in_order_and_keep_within_what_services_take(
    texts: list[str], most_texts: int, most_bytes: int
) -> None:
    """Neither too many texts nor too many bytes, unless one text is too long by itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("conflictscope.arena.lanes.embedding._MOST_TEXTS", most_texts)
        patch.setattr("conflictscope.arena.lanes.embedding._MOST_BYTES", most_bytes)
        cut = batches(texts)
    assert [text for batch in cut for text in batch] == texts
    for batch in cut:
        assert 1 <= len(batch) <= most_texts
        assert len(batch) == 1 or sum(len(text.encode()) for text in batch) <= most_bytes


async def test_many_texts_go_in_several_requests() -> None:
    """By number, and by size."""
    model = Letters()
    await embedding(model).embed([str(number) for number in range(_MOST_TEXTS + 1)])
    assert [len(texts) for texts in model.asked] == [_MOST_TEXTS, 1]
    long = Letters()
    await embedding(long).embed([letter * (_MOST_BYTES // 2) for letter in "abc"])
    assert [len(texts) for texts in long.asked] == [2, 1]


@pytest.mark.parametrize(
    "vectors",
    [[[1.0]], [[1.0], [2.0], [3.0]], [[1.0], [1.0, 2.0]], [[], []], [[0.0], [1.0]], [[nan], [1.0]], [[inf], [1.0]],
     [1.0, 2.0], [["x"], ["y"]]],
)  # fmt: skip
@pytest.mark.usefixtures("_no_pauses")
async def test_what_is_no_vector_for_each_text_is_asked_for_again_and_never_kept(vectors: Any) -> None:
    """Too few, too many, of several lengths, none, without a direction, no numbers: malformed, and at risk of being billed."""
    model, cache, journal = Letters(vectors), Cache(), Rows()
    road = embedding(model, journal, cache, policy=Policy(attempts=2), price=PRICE)
    assert (await road.embed(["a", "b"])).shape == (2, 4)
    assert journal.states() == ["failed", "committed"]
    assert (journal.rows[0].end.failure or "").startswith("malformed: ")
    assert journal.rows[0].end.at_risk_usd > 0
    with pytest.raises(CallFailed, match="malformed"):
        await embedding(Letters(vectors), cache=Cache()).embed(["a", "b"])


@pytest.mark.usefixtures("_no_pauses")
async def test_failures_are_those_of_a_lane() -> None:
    """Overload is tried again, a bad request is not; a request that fails does not lose what the others brought."""
    model = Letters(ModelHTTPError(429, "letters"), ModelHTTPError(503, "letters"))
    assert (await embedding(model, policy=Policy(attempts=3)).embed(["a"])).shape == (1, 4)
    cache = Cache()
    texts = [str(number) for number in range(2 * _MOST_TEXTS)]
    with pytest.raises(CallFailed, match="http_400"):
        await embedding(Letters(ModelHTTPError(400, "letters")), cache=cache).embed(texts)
    assert len(cache.kept) == _MOST_TEXTS


async def test_an_error_that_stays_closes_the_way() -> None:
    """Five requests in a row with the same error, and no more are sent."""
    model = Letters(*[ModelHTTPError(401, "letters")] * 9)
    road = embedding(model)
    for number in range(4):
        with pytest.raises(CallFailed, match="http_401"):
            await road.embed([str(number)])
    for number in (4, 5):
        with pytest.raises(LaneClosed, match="the same error: http_401"):
            await road.embed([str(number)])
    assert len(model.asked) == 5
    assert road.closed is not None


async def test_no_request_goes_past_the_cost_limit() -> None:
    """What a request may cost is set aside before it; without a price the limit cannot be kept."""
    model = Letters()
    with pytest.raises(LimitReached, match=r"one call to test:letters may cost up to"):
        await embedding(model, price=PRICE, budget=Budget(0.5)).embed(["a"])
    with pytest.raises(LimitReached, match="the price of test:letters is not known"):
        await embedding(model, budget=Budget(0.5)).embed(["a"])
    assert model.asked == []


async def test_limits_of_the_provider_hold() -> None:
    """Requests are counted with those of the lanes that share the limit."""
    rate = RateLimit(requests_per_minute=10)
    await embedding(Letters(), rates=[rate]).embed(["a"])
    assert [admission.tokens for admission in rate._admitted] == [10]


async def test_a_model_in_this_process_is_free_and_asked_once_and_by_itself() -> None:
    """What fails there fails again, and two requests at a time take no less time; no cost limit is in its way."""
    broken = Letters(OSError("no such model"), system=LOCAL)
    with pytest.raises(CallFailed, match="no such model"):
        await embedding(broken, policy=Policy(attempts=5)).embed(["a"])
    assert len(broken.asked) == 1
    held = asyncio.Event()
    slow, journal = Letters(held, system=LOCAL), Rows()
    road = embedding(slow, journal, price=named_price(LOCAL, "letters"), budget=Budget(1e-9))
    asking = asyncio.create_task(road.embed([str(number) for number in range(2 * _MOST_TEXTS)]))
    while not slow.asked:
        await asyncio.sleep(0)
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(slow.asked) == 1
    held.set()
    assert len(await asking) == 2 * _MOST_TEXTS
    assert [row.end.cost_usd for row in journal.rows] == [0.0, 0.0]


async def test_a_model_that_changed_its_width_is_not_compared_with_what_it_said_before() -> None:
    """Vectors of two widths have no cosine."""
    cache = Cache()
    await embedding(Letters(), cache=cache).embed(["a"])
    with pytest.raises(CallFailed, match="test:letters gave vectors of 2 and 4 numbers, now and before"):
        await embedding(Letters([[3.0, 4.0]]), cache=cache).embed(["a", "b"])


async def test_cancellation_goes_on_as_it_came() -> None:
    """Nobody waits any more, and the journal says so."""
    journal, model = Rows(), Letters(asyncio.Event())
    asking = asyncio.create_task(embedding(model, journal).embed(["a"]))
    while not model.asked:
        await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert journal.states() == ["abandoned"]
