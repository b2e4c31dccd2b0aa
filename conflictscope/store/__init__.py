"""The run file: one SQLite database per run, and the only place that knows it is one."""

from conflictscope.store.bodies import readable
from conflictscope.store.drafts import LibraryStore
from conflictscope.store.reader import DraftCounts, JudgedGroup, RunReader, Session
from conflictscope.store.verdicts import VerdictStore
from conflictscope.store.writer import RunWriter

__all__ = [
    "DraftCounts",
    "JudgedGroup",
    "LibraryStore",
    "RunReader",
    "RunWriter",
    "Session",
    "VerdictStore",
    "readable",
]
