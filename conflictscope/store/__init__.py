"""The run file: one SQLite database per run, and the only place that knows it is one."""

from conflictscope.store.reader import JudgedGroup, RunReader, Session
from conflictscope.store.writer import RunWriter

__all__ = ["JudgedGroup", "RunReader", "RunWriter", "Session"]
