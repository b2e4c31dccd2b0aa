"""Models for one command that makes no run: what they answer is kept all the same, and not asked for twice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic_ai.embeddings import EmbeddingModel

from conflictscope.arena import Budget
from conflictscope.documents import read_document
from conflictscope.errors import InputError
from conflictscope.generation import Embedding, Hashing
from conflictscope.library import find
from conflictscope.pipeline.casting import Lanes, make_models
from conflictscope.pipeline.models import Models
from conflictscope.planted import Lexicon, parse_world
from conflictscope.redaction import know_secrets
from conflictscope.runfolder import RunFolder
from conflictscope.services import PLANTED, Services
from conflictscope.spec import OFFLINE_EMBEDDING
from conflictscope.store import LibraryStore, RunReader, RunWriter

FOLDER = ".scratch"
"""In the runs folder: the journal and the embeddings of commands that make no run."""


@dataclass(frozen=True, slots=True)
class Scratch:
    """Lanes and a store that are shared by all commands that make no run."""

    make: Models
    lanes: Lanes
    store: LibraryStore

    def embedding(self, name: str) -> Embedding:
        """What this name of a specification means."""
        model: EmbeddingModel = self.make.embedding(name)
        return self.lanes.embedding(name, model, self.store)


@asynccontextmanager
async def scratch(runs_dir: Path, model: str | None = None, world: str | None = None) -> AsyncIterator[Scratch]:
    """The lanes to a model, if one is named, and the store behind them, until the block ends.

    world: where a planted model comes from. Raises InputError.
    """
    know_secrets()
    config = Services()
    if model is not None and model.startswith(PLANTED) and world is None:
        raise InputError(f"--model {model}: a planted model needs --world, e.g. --world demo")
    planted = parse_world(read_document(find("worlds", world, Path.cwd()))) if world is not None else None
    async with Models(config, planted, Lexicon.of(())) as make:
        models = make_models([model] if model is not None else [], make)
        folder = RunFolder(runs_dir / FOLDER)
        folder.create()
        with folder.locked(), folder.logging():
            async with RunWriter.open(folder.database) as writer, RunReader.open(folder.database) as reader:
                if not await reader.meta():
                    await writer.begin({"kind": "scratch", "name": FOLDER}, ())
                session = await writer.begin_session()
                lanes = Lanes(config, writer, Budget(None), models)
                try:
                    yield Scratch(make, lanes, LibraryStore(writer))
                finally:
                    await lanes.close()
                    await writer.end_session(session, "finished")


@asynccontextmanager
async def embedding_by(name: str, runs_dir: Path) -> AsyncIterator[Embedding]:
    """What an embedding's name means; a model's vectors are paid for once. Raises InputError."""
    if name == OFFLINE_EMBEDDING:
        yield Hashing()
        return
    async with scratch(runs_dir) as opened:
        yield opened.embedding(name)
