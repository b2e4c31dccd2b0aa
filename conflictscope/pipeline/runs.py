"""What is done with runs that exist, and runs made of recorded outcomes."""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conflictscope.conversations import ConversationFile
from conflictscope.errors import InputError
from conflictscope.monitor import PATIENCE_S, Monitor, stop_rule
from conflictscope.pipeline.judging import Gold, gold_of_people, gold_of_table, judge_errors, seen_by
from conflictscope.pipeline.signals import left_by_signals
from conflictscope.pipeline.versions import versions
from conflictscope.ports import EpisodeRecord
from conflictscope.ranking import rank_log
from conflictscope.rating import Method, Ranking
from conflictscope.runfolder import RunFolder
from conflictscope.snapshot import LibraryProgress, Snapshot
from conflictscope.store import RunReader, RunWriter
from conflictscope.tables import GoldTable, OutcomeTable

Take = Callable[[], Awaitable[Snapshot | LibraryProgress]]

if TYPE_CHECKING:
    from conflictscope.pipeline.sweep import Sweep

_ERROR_SOURCES = ("estimate", "labels", "none")


async def status(folder: RunFolder, judge: str | None = None) -> Snapshot | LibraryProgress:
    """Where a run stands, or a library in the making. judge: as in `rank`."""
    async with seen_by(folder, judge) as reader:
        if (await reader.meta()).get("kind") == "library":
            from conflictscope.pipeline.generating import library_progress  # models come with it

            return await library_progress(reader, folder)
        return await Monitor(reader, folder).snapshot(failures=True)


async def watch(folder: RunFolder, viewer: Callable[[Take], Awaitable[None]]) -> Snapshot | LibraryProgress:
    """Show a run, or a library in the making, from its file while another process works on it; returns how it stands then.

    viewer: is given what takes a look. Raises InputError for a folder that holds neither, or is removed meanwhile. Ctrl-C and
    SIGTERM cancel the viewer, and raise KeyboardInterrupt.
    """
    try:
        with left_by_signals():
            async with RunReader.open(folder.database) as reader:
                meta = await reader.meta()
                if meta.get("kind") == "library":
                    from conflictscope.pipeline.generating import library_progress

                    await viewer(partial(library_progress, reader, folder))
                else:
                    check_played(meta, folder)
                    await viewer(Monitor(reader, folder, PATIENCE_S).snapshot)
            return await status(folder)
    except FileNotFoundError:
        raise InputError("the run was removed", path=folder.path) from None


async def spent_usd(folder: RunFolder) -> float:
    """What the calls of a folder cost, those of unknown end included; 0 where there is none."""
    if not folder.exists:
        return 0.0
    async with RunReader.open(folder.database) as reader:
        _, spent = await reader.spent_usd()
    return spent


async def rank(
    folder: RunFolder,
    method: Method = Method.POSTERIOR,
    judge_error: str = "estimate",
    judge: str | None = None,
) -> list[Ranking]:
    """The ranking of each group. judge: whose verdicts it is made from; the run's own unless given.

    judge_error: `estimate` it from what judges saw in both orders, `none`, `labels` (what people said), or the path of a table
    of gold labels; only the posterior is corrected with it. Raises InputError.
    """
    if judge_error not in ("estimate", "none") and method is not Method.POSTERIOR:
        raise InputError(f"--judge-error {judge_error}: only the posterior is corrected, not {method.value}")
    if judge_error not in _ERROR_SOURCES and not Path(judge_error).is_file():
        raise InputError(
            f"--judge-error: expected {', '.join(_ERROR_SOURCES)} or a CSV of gold labels, got {judge_error!r}: no such file"
        )
    async with seen_by(folder, judge) as reader:
        check_played(await reader.meta(), folder)
        return await rankings(reader, method, judge_error)


async def rankings(reader: RunReader, method: Method, judge_error: str = "estimate") -> list[Ranking]:
    """As `rank`, of a run that is open."""
    errors = None
    if judge_error != "none" and method is Method.POSTERIOR:
        errors = await judge_errors(reader, await _gold(reader, judge_error))
    return await rank_log(reader, method, stop_rule(await reader.meta()), errors)


def check_played(meta: Mapping[str, Any], folder: RunFolder) -> None:
    """Raises InputError for a folder that holds no episodes: a library in the making, or checks of one."""
    kind = meta.get("kind", "sweep")
    if kind not in ("sweep", "import"):
        what = {"library": "a library in the making", "checks": "checks of a library"}.get(kind, kind)
        raise InputError(f"holds {what}, no episodes: name the run of a sweep", path=folder.path)


async def _gold(reader: RunReader, judge_error: str) -> Gold | None:
    match judge_error:
        case "estimate":
            return None
        case "labels":
            return await gold_of_people(reader)
        case path:
            return await gold_of_table(reader, GoldTable(Path(path)))


async def left_out(folder: RunFolder, judge: str) -> int:
    """How many episodes are left out of the rankings of a judge because it did not judge them."""
    async with seen_by(folder, judge) as reader:
        return await reader.left_out()


async def import_conversations(file: ConversationFile, folder: RunFolder) -> tuple[int, int]:
    """Make a run of recorded conversations, to be judged; returns how many, and of how many messages. Raises InputError as
    `import_outcomes` does.
    """
    if folder.path.exists():
        raise InputError("exists: choose another --name", path=folder.path)
    episodes = list(file.episodes())
    if not episodes:
        raise InputError("holds no conversation", path=file.path)
    scenarios = {scenario.id: scenario for _, scenario in episodes}
    values = {value for scenario in scenarios.values() for value in scenario.pair}
    meta = {"kind": "import", "name": folder.name, "source": str(file.path.absolute()), "versions": versions()}
    with folder.in_the_making() as making:
        async with RunWriter.open(making.database) as writer:
            await writer.begin(meta, sorted(values))
            await writer.add_scenarios(scenarios.values(), {})
            for episode, _ in episodes:
                await writer.record_episode(episode)
    return len(episodes), sum(len(episode.transcript) for episode, _ in episodes)


async def import_outcomes(table: OutcomeTable, folder: RunFolder) -> int:
    """Make a run of recorded outcomes; returns how many. Raises InputError, and then there is no such run.

    It is made in a folder beside, and moved into place when it is whole.
    """
    if folder.path.exists():
        raise InputError("exists: choose another --name", path=folder.path)
    values: set[str] = set()
    count = 0
    for outcome in table.outcomes():  # all of it is read and checked before anything is written
        values.update((outcome.value_a, outcome.value_b))
        count += 1
    with folder.in_the_making() as making:
        async with RunWriter.open(making.database) as writer:
            await writer.begin(
                {"kind": "import", "name": folder.name, "source": str(table.path.absolute()), "versions": versions()},
                sorted(values),
            )
            for outcome in table.outcomes():
                await writer.record_episode(EpisodeRecord(outcome, 0, (), (), None, 0.0))
    return count


async def remove_demo(folder: RunFolder, demo: Sweep) -> None:
    """Delete the run that a former demo left, so that a demo starts afresh. Raises InputError for any other run."""
    if not folder.exists:
        return
    async with RunReader.open(folder.database) as reader:
        meta = await reader.meta()
    if meta and meta.get("source") != demo.source:
        raise InputError("holds a run that is not the demo's: choose another --runs-dir", path=folder.path)
    with folder.locked():
        shutil.rmtree(folder.path)
