"""Taking a run out: tidy tables as files, and logs that Inspect opens."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conflictscope.errors import InputError
from conflictscope.frames import frame
from conflictscope.pipeline.runs import check_played, rankings
from conflictscope.rating import Method
from conflictscope.runfolder import RunFolder
from conflictscope.store import RunReader
from conflictscope.tidy import PAIRS, RANKINGS, STORED, Table, pair_rows, ranking_rows
from conflictscope.views.export import TableFormat, table_file

Advance = Callable[[str, int], None]
"""Is told what is being written, and how many rows of it there are by now."""

Rows = Sequence[Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Exported:
    """One file that was written. rows: of the table in it, or samples of the log."""

    path: Path
    rows: int

    def to_json(self) -> dict[str, Any]:
        """By name."""
        return {"file": str(self.path), "rows": self.rows}


async def export_tables(
    folder: RunFolder, output: Path, fmt: TableFormat, advance: Advance = lambda what, rows: None
) -> list[Exported]:
    """Write every tidy table of a run into the folder `output`, a file each, as the run is at one moment.

    Files of the same names are replaced once all are whole. Raises InputError for a run without episodes, and for a folder that
    cannot be written to.
    """
    written = []
    async with RunReader.open(folder.database) as reader:
        check_played(await reader.meta(), folder)
        with in_the_making(output) as making:
            async with reader.at_one_moment():
                for table, stretches in _tables(reader, advance):
                    rows = 0
                    name = f"{table.name}.{fmt}"
                    with table_file(making / name, fmt) as add:
                        add(frame(table, ()))
                        async for stretch in stretches:
                            add(frame(table, stretch))
                            rows += len(stretch)
                            advance(table.name, rows)
                    written.append(Exported(output / name, rows))
    return written


def _tables(reader: RunReader, advance: Advance) -> Iterator[tuple[Table, AsyncIterator[Rows]]]:
    for table in STORED:
        yield table, reader.table(table)
    for table, rows_of in ((RANKINGS, ranking_rows), (PAIRS, pair_rows)):
        yield table, _ranked(reader, advance, rows_of)


async def _ranked(reader: RunReader, advance: Advance, rows_of: Callable[..., Iterator[Any]]) -> AsyncIterator[Rows]:
    for method in Method:
        advance(f"{method} rankings", 0)
        yield list(rows_of(await rankings(reader, method)))


@contextmanager
def in_the_making(output: Path) -> Iterator[Path]:
    """A folder whose files move into `output` when the block ends well; when it does not, nothing of them is left.

    Raises InputError where `output` cannot be made or written to.
    """
    made = [path for path in (output, *output.parents) if not path.exists()]
    try:
        try:
            output.mkdir(parents=True, exist_ok=True)
            making = Path(tempfile.mkdtemp(prefix=".export-", dir=output))
        except OSError as error:
            raise InputError(f"cannot be written to: {error.strerror}; choose another -o", path=output) from None
        try:
            yield making
            for file in making.iterdir():
                file.replace(output / file.name)
        finally:
            shutil.rmtree(making)
    except BaseException:
        with suppress(OSError):  # somebody else has put something there
            for path in made:
                path.rmdir()
        raise
