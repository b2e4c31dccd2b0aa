"""Data frames as files, a stretch at a time: CSV, JSON Lines, Parquet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

import polars as pl

from conflictscope.frames import MOMENT_FORMAT

_PART_BYTES = 64 * 2**20  # of a data frame in memory
# As sheets.neutral: a text that a spreadsheet would take for a formula.
_FORMULA = r"^('*[=+\-@\t\r\n＝＋－＠])"


class TableFormat(StrEnum):
    """Files that hold tables."""

    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"


@contextmanager
def table_file(path: Path, fmt: TableFormat) -> Iterator[Callable[[pl.DataFrame], None]]:
    """A file for the rows of one table: yields what appends some. What comes first may have no rows, but has the columns."""
    with _parquet(path) if fmt is TableFormat.PARQUET else _text(path, fmt) as add:
        yield add


@contextmanager
def _text(path: Path, fmt: TableFormat) -> Iterator[Callable[[pl.DataFrame], None]]:
    with path.open("wb") as file:

        def add(frame: pl.DataFrame) -> None:
            told = frame.with_columns(pl.col(pl.Datetime).dt.to_string(MOMENT_FORMAT))
            if fmt is TableFormat.JSONL:
                told.write_ndjson(file)
                return
            safe = told.with_columns(pl.col(pl.String).str.replace(_FORMULA, "'$1"))
            # Texts stand in quotes, so that an empty one is not a missing one.
            safe.write_csv(file, include_header=file.tell() == 0, quote_style="non_numeric")

        yield add


@contextmanager
def _parquet(path: Path) -> Iterator[Callable[[pl.DataFrame], None]]:
    """Polars writes a file at once, so stretches are files of their own until all are there."""
    parts: list[Path] = []
    frames: list[pl.DataFrame] = []

    def add(frame: pl.DataFrame) -> None:
        frames.append(frame)
        if sum(each.estimated_size() for each in frames) >= _PART_BYTES:
            parts.append(path.with_name(f"{path.name}.{len(parts)}.part"))
            pl.concat(frames).write_parquet(parts[-1])
            frames.clear()

    yield add
    left = pl.concat(frames) if frames else None
    if not parts:
        assert left is not None, "a table has columns"
        left.write_parquet(path)
        return
    pl.concat([*map(pl.scan_parquet, parts), *([left.lazy()] if left is not None else [])]).sink_parquet(path)
    for part in parts:
        part.unlink()
