"""Tidy tables as polars data frames."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import polars as pl

from conflictscope.tidy import Kind, Table, whole

_TYPES: dict[Kind, Any] = {
    Kind.TEXT: pl.String,
    Kind.INTEGER: pl.Int64,
    Kind.NUMBER: pl.Float64,
    Kind.FLAG: pl.Boolean,
    Kind.MOMENT: pl.Datetime("ms", "UTC"),
}
MOMENT_FORMAT = "%Y-%m-%dT%H:%M:%S%.3fZ"


def schema(table: Table) -> pl.Schema:
    """The columns of a table with their types."""
    return pl.Schema({column.name: _TYPES[column.kind] for column in table.columns})


def frame(table: Table, rows: Iterable[Sequence[Any]]) -> pl.DataFrame:
    """Rows of a table, in the order of its columns; texts as `tidy.whole` makes them."""
    columns = list(zip(*rows, strict=True)) or [()] * len(table.columns)
    return pl.DataFrame(
        [_series(column.name, column.kind, cells) for column, cells in zip(table.columns, columns, strict=True)]
    )


def _series(name: str, kind: Kind, cells: Sequence[Any]) -> pl.Series:
    match kind:
        case Kind.TEXT:
            return pl.Series(name, [None if cell is None else whole(cell) for cell in cells], pl.String)
        case Kind.FLAG:
            return pl.Series(name, [None if cell is None else bool(cell) for cell in cells], pl.Boolean)
        case Kind.MOMENT:
            text = pl.Series(name, cells, pl.String)
            return text.str.to_datetime(MOMENT_FORMAT, time_unit="ms", time_zone="UTC")
        case _:
            return pl.Series(name, cells, _TYPES[kind])
