"""What tells near-duplicates: offline, or by a model's embeddings through the lanes."""

from __future__ import annotations

from conflictscope.generation import Embedding, Hashing


def likeness() -> Embedding:
    return Hashing()
