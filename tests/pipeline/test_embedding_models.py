"""Embedding models by their names: over a real socket with the clients of a sweep, and in this process."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from benchmarks.worlds import write_sweep
from conflictscope import pipeline
from conflictscope.arena import LOCAL, Budget, FlatPrice, ModelEmbedding, Policy
from conflictscope.arena.lanes import retry as retry_module
from conflictscope.errors import CallFailed, InputError
from conflictscope.pipeline.models import Models
from conflictscope.planted import Lexicon
from tests.arena.lanes.doubles import Rows
from tests.arena.lanes.test_embedding import Cache
from tests.scripted import Answer, Asked, Service, serving

_SENTENCE_TRANSFORMERS = "pydantic_ai.embeddings.sentence_transformers"
OPENAI = "openai:text-embedding-3-small"


@pytest.fixture
def service() -> Iterator[Service]:
    with serving() as fresh:
        fresh.otherwise = vectors
        yield fresh


@pytest.fixture
async def make(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Models]:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-some-key")
    monkeypatch.setattr(retry_module, "_pause_s", lambda state: 0.0)
    config = pipeline.load_sweep(
        str(write_sweep(tmp_path, scenarios=1)), [f'providers={{openai={{base_url="{service.url}/v1"}}}}']
    ).config
    async with Models(config, None, Lexicon.of([])) as models:
        yield models


def vectors(asked: Asked) -> Answer:
    """As OpenAI and those who are compatible answer: in base64 where that was asked for. The length of each text, and a 3."""
    rows = [np.array([len(text), 3], "<f4") for text in asked.body["input"]]
    packed = asked.body.get("encoding_format") == "base64"
    data = [
        {"object": "embedding", "index": index, "embedding": base64.b64encode(row).decode() if packed else row.tolist()}
        for index, row in enumerate(rows)
    ]
    usage = {"prompt_tokens": 7, "total_tokens": 7}
    reply = {"object": "list", "data": data, "model": asked.body["model"], "usage": usage}
    return Answer(body=json.dumps(reply).encode())


def road(make: Models, journal: Rows, attempts: int = 1) -> ModelEmbedding:
    price = FlatPrice(1_000.0, 0.0)
    return ModelEmbedding(
        make.embedding(OPENAI), journal, Budget(None), Policy(attempts=attempts), Cache(), price=price
    )


async def test_a_compatible_service_is_reached_by_its_address(service: Service, make: Models) -> None:
    """One request to the path of embeddings with the texts and the model's name; usage and price come through."""
    journal = Rows()
    rows = await road(make, journal).embed(["four", "no"])
    assert rows == pytest.approx(np.array([[4 / 5, 3 / 5], np.array([2, 3]) / 13**0.5]))
    (asked,) = service.asked
    assert (asked.path, asked.body["input"], asked.body["model"]) == ("/v1/embeddings", ["four", "no"], OPENAI[7:])
    assert journal.rows[0].sent.model == OPENAI
    assert (journal.rows[0].end.input_tokens, journal.rows[0].end.cost_usd) == (7, pytest.approx(0.007))


async def test_faults_of_the_wire_pass_or_are_typed(service: Service, make: Models) -> None:
    """A rejection, a lost connection, garbled bodies, vectors missing: each is one more request of ours, none of the SDK's."""
    journal = Rows()
    empty = json.dumps({"object": "list", "data": [], "model": "m", "usage": {"prompt_tokens": 1, "total_tokens": 1}})
    faults = [Answer(429), Answer(wire="reset"), Answer(wire="cut"), Answer(body=b"<html>"), Answer(body=b"{}"),
              Answer(body=empty.encode())]  # fmt: skip
    service.answers.extend(faults)
    assert (await road(make, journal, attempts=7).embed(["a"])).shape == (1, 2)
    assert journal.states() == ["failed"] * len(faults) + ["committed"]
    kinds = [(row.end.failure or "").partition(":")[0] for row in journal.rows]
    assert kinds == ["http_429", "connection", "connection", "malformed", "malformed", "malformed", ""]
    service.otherwise = lambda asked: Answer(401, text="no such key")
    with pytest.raises(CallFailed, match=r"http_401: .*no such key"):
        await road(make, journal).embed(["a"])


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("nobody:m", "'nobody:m' cannot be used: Unknown provider: nobody"),
        ("anthropic:m", "'anthropic:m' cannot be used: "),
        ("planted:alpha", "'planted:alpha' cannot be used: a planted world has no embedding model"),
        (f"{LOCAL}:/no/such/folder", "there is no such folder"),
        (f"{LOCAL}:~/no-such-folder", "there is no such folder"),
    ],
)
async def test_a_name_that_means_no_embedding_model_is_bad_input(
    make: Models, monkeypatch: pytest.MonkeyPatch, name: str, told: str
) -> None:
    """The message has the name, and what is wrong."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-some-key")
    with pytest.raises(InputError, match=told):
        make.embedding(name)


async def test_a_folder_is_a_model_of_this_process(
    make: Models, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is loaded from there when it is first asked, and its vectors come as those of any other."""
    loaded = []

    class SentenceTransformer:
        def __init__(self, folder: str) -> None:
            loaded.append(folder)

        def encode_document(self, texts: list[str], **_: object) -> np.ndarray:
            return np.array([[len(text), 3.0] for text in texts])

    package = ModuleType("sentence_transformers")
    package.SentenceTransformer = SentenceTransformer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sentence_transformers", package)
    monkeypatch.setitem(sys.modules, "torch", ModuleType("torch"))
    monkeypatch.setitem(sys.modules, _SENTENCE_TRANSFORMERS, None)
    del sys.modules[_SENTENCE_TRANSFORMERS]  # imported anew here, and put back by the fixture
    model = make.embedding(f"{LOCAL}:{tmp_path}")
    assert loaded == []
    embedding = ModelEmbedding(model, Rows(), Budget(None), Policy(), Cache())
    assert embedding.name == f"{LOCAL}:{tmp_path}"
    assert await embedding.embed(["four"]) == pytest.approx(np.array([[4 / 5, 3 / 5]]))
    assert loaded == [str(tmp_path)]


async def test_a_missing_package_is_bad_input_that_says_what_to_install(
    make: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is asked, with the command."""
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    monkeypatch.delitem(sys.modules, _SENTENCE_TRANSFORMERS, raising=False)
    with pytest.raises(InputError, match=r'pip install "conflictscope\[sentence-transformers\]"'):
        make.embedding(f"{LOCAL}:all-MiniLM-L6-v2")
