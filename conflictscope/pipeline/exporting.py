"""Taking a run out: tidy tables as files, and logs that Inspect opens."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conflictscope.board import LogHead
from conflictscope.errors import InputError
from conflictscope.frames import frame
from conflictscope.monitor import is_running, run_state
from conflictscope.outcome import Group, Mode
from conflictscope.pipeline.runs import check_played, rankings
from conflictscope.rating import Method
from conflictscope.runfolder import RunFolder
from conflictscope.store import RunReader
from conflictscope.tidy import EPISODES, PAIRS, RANKINGS, STORED, Table, pair_rows, ranking_rows
from conflictscope.views.export import TableFormat, table_file

Advance = Callable[[str, int], None]
"""Is told what is being written, and how many rows of it there are by now."""

MOST_SAMPLES = 2_000
"""Samples in one log for Inspect: its package holds all of a log in memory, and the work grows with their square."""

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
                    advance(table.name, rows := 0)
                    name = f"{table.name}.{fmt}"
                    with table_file(making / name, fmt) as add:
                        add(frame(table, ()))
                        async with aclosing(stretches):
                            async for stretch in stretches:
                                add(frame(table, stretch))
                                rows += len(stretch)
                                advance(table.name, rows)
                    written.append(Exported(output / name, rows))
    return written


def _tables(reader: RunReader, advance: Advance) -> Iterator[tuple[Table, AsyncGenerator[Rows]]]:
    for table in STORED:
        yield table, reader.table(table)
    for table, rows_of in ((RANKINGS, ranking_rows), (PAIRS, pair_rows)):
        yield table, _ranked(reader, advance, rows_of)


async def _ranked(reader: RunReader, advance: Advance, rows_of: Callable[..., Iterator[Any]]) -> AsyncGenerator[Rows]:
    for method in Method:
        advance(f"{method} rankings", 0)
        yield list(rows_of(await rankings(reader, method)))


async def export_logs(
    folder: RunFolder, output: Path, advance: Advance = lambda what, rows: None, most: int = MOST_SAMPLES
) -> list[Exported]:
    """Write a log for Inspect of each group of a run, as it is at one moment, into the folder `output`.

    most: samples in a log (>= 1); a group that has more is several logs. Raises InputError as `export_tables` does, and where the
    package is missing.
    """
    try:
        from conflictscope.views.inspect_log import log_name, write_log
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("inspect_ai"):
            raise
        message = "--format inspect needs the package inspect-ai: pip install 'conflictscope[inspect]'"
        raise InputError(message) from None
    written = []
    async with RunReader.open(folder.database) as reader:
        check_played(await reader.meta(), folder)
        with in_the_making(output) as making:
            async with reader.at_one_moment():
                seeds = await _seeds(reader)
                async for head in _heads(reader, folder, seeds, most):
                    episodes = []
                    for seq in head.episodes:
                        episode = await reader.episode(seq)
                        assert episode is not None, "it is there at this moment"
                        episodes.append((episode, seeds[head.ranking.group][seq]))
                        advance(str(head.ranking.group), head.part * most - most + len(episodes))
                    name = log_name(head)
                    await write_log(head, episodes, making / name)
                    written.append(Exported(output / name, len(episodes)))
    return written


async def _seeds(reader: RunReader) -> dict[Group, dict[int, int]]:
    """The seed of every episode by sequence number, in that order, group by group."""
    found: dict[Group, dict[int, int]] = {}
    columns = [EPISODES.names.index(name) for name in ("seq", "seed", "target", "mode", "steering", "behavior")]
    async for stretch in reader.table(EPISODES):
        for row in stretch:
            seq, seed, target, mode, steering, behavior = (row[column] for column in columns)
            found.setdefault(Group(target, Mode(mode), steering, behavior), {})[seq] = seed
    return found


async def _heads(
    reader: RunReader, folder: RunFolder, seeds: Mapping[Group, Mapping[int, int]], most: int
) -> AsyncIterator[LogHead]:
    """What stands at the top of each log."""
    meta, sessions = await reader.meta(), await reader.sessions()
    running = is_running(sessions, folder)
    last = await reader.last_sign_at() or ""
    for ranking in await rankings(reader, Method.POSTERIOR):
        own = list(seeds[ranking.group])
        for start in range(0, len(own), most):
            yield LogHead(
                run=folder.name,
                meta=meta,
                state=run_state(meta.get("kind", "sweep"), sessions, running=running),
                started_at=sessions[0].started_at if sessions else last,
                ended_at=(sessions[-1].ended_at if sessions else None) or last,
                ranking=ranking,
                episodes=own[start : start + most],
                part=start // most + 1,
                parts=-(-len(own) // most),
            )


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
            files = list(making.iterdir())
            for file in files:
                if (output / file.name).is_dir():
                    raise InputError("is a folder, where a file is to be written", path=output / file.name)
            for file in files:
                file.replace(output / file.name)
        finally:
            shutil.rmtree(making)
    except BaseException:
        with suppress(OSError):  # somebody else has put something there
            for path in made:
                path.rmdir()
        raise
