"""All that a run has written down, for tests of what must not be in it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from conflictscope.store import readable


def written(folder: Path) -> dict[str, bytes]:
    """The content of all files under a folder, by name; behind it in `run.db`, requests and replies as they were sent."""
    files = {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for path in folder.rglob("run.db"):
        with closing(readable(sqlite3.connect(path))) as connection:
            told = connection.execute("SELECT body(request), coalesce(body(reply), '') FROM calls").fetchall()
        files["run.db"] += "\n".join(text for row in told for text in row).encode()
    return files
