"""Writing a run file: one writer, commits in groups."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import aiosqlite

from conflictscope.errors import StoreError
from conflictscope.outcome import Group, fold_position
from conflictscope.ports import CallRecord, EpisodeRecord
from conflictscope.scenario import Scenario
from conflictscope.store.migrations import migrate
from conflictscope.values import ValueSet

COMMIT_ROWS = 200
COMMIT_S = 0.05
_KEYS_PER_QUERY = 500


def now() -> str:
    """The time as it is stored: ISO 8601, UTC, milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class RunWriter:
    """The only writer of a run file; both the call journal of the lanes and the sink of the runner.

    Rows are queued and committed in the order in which they came, at most COMMIT_ROWS or COMMIT_S at a time, so that an
    outcome is never committed before the calls and the opening message that it rests on.
    """

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection
        self._queue: asyncio.Queue[CallRecord | EpisodeRecord | tuple[str, str] | None] = asyncio.Queue(
            maxsize=4 * COMMIT_ROWS
        )
        self._groups: dict[Group, int] = {}
        self._openings: dict[str, str] = {}
        self._answered: dict[tuple[str, str], bytes] = {}
        self._next_seq = 1

    @classmethod
    @asynccontextmanager
    async def open(cls, path: Path) -> AsyncIterator[Self]:
        """Open or create the run file at `path` and write to it until the block ends.

        What was queued is committed when the block ends, also where it ends by an exception or a cancellation. Raises
        StoreError where the file cannot be opened, or, from inside the block, where it can no longer be written.
        """
        try:
            async with aiosqlite.connect(path, isolation_level=None) as connection:
                await connection.execute("PRAGMA journal_mode = WAL")
                await connection.execute(
                    "PRAGMA synchronous = NORMAL"
                )  # in WAL mode safe against a kill of the process
                await migrate(connection)
                writer = cls(connection)
                await writer._load()
                async with writer._writing():
                    yield writer
        except sqlite3.Error as error:
            raise StoreError(f"{path}: {error}") from error

    # -- before the run ------------------------------------------------------------------------------------------------

    async def begin(self, meta: Mapping[str, Any], values: ValueSet | Iterable[str]) -> None:
        """Write what a run is made of, once. values: a value set, or names where nothing else is known of them."""
        rows = (
            [(i, v.name, v.definition, v.group) for i, v in enumerate(values.values)]
            if isinstance(values, ValueSet)
            else [(i, name, None, None) for i, name in enumerate(values)]
        )
        await self._connection.execute("BEGIN")
        await self._connection.executemany("INSERT INTO run_values VALUES (?, ?, ?, ?)", rows)
        await self._connection.executemany(
            "INSERT INTO meta VALUES (?, ?)", [(key, json.dumps(value)) for key, value in meta.items()]
        )
        await self._connection.execute("COMMIT")

    async def add_scenarios(self, scenarios: Iterable[Scenario], prompts: Mapping[str, str]) -> None:
        """Write the scenarios and the texts of the prompts; those that are there already stay."""
        await self._connection.execute("BEGIN")
        await self._connection.executemany(
            "INSERT OR IGNORE INTO scenarios VALUES (?, ?, ?, ?)",
            ((s.id, s.value_a, s.value_b, json.dumps(s.to_json())) for s in scenarios),
        )
        await self._connection.executemany("INSERT OR IGNORE INTO prompts VALUES (?, ?)", prompts.items())
        await self._connection.execute("COMMIT")

    async def begin_session(self) -> int:
        """Note that a process works on the run from now on; returns the session's id.

        A session that was killed is closed at its last sign of life.
        """
        await self._connection.execute(
            """UPDATE sessions SET state = 'killed', ended_at = max(
                   started_at, coalesce((SELECT created_at FROM episodes ORDER BY seq DESC LIMIT 1), started_at)
               ) WHERE state IS NULL"""
        )
        cursor = await self._connection.execute("INSERT INTO sessions (started_at) VALUES (?)", (now(),))
        return cursor.lastrowid or 0

    async def end_session(self, session: int, state: str) -> None:
        """Note how and when it ended, after all that is queued."""
        await self._queue.join()
        await self._connection.execute(
            "UPDATE sessions SET ended_at = ?, state = ? WHERE id = ?", (now(), state, session)
        )

    # -- during the run ------------------------------------------------------------------------------------------------

    async def answered(self, scope: str, fingerprint: str) -> bytes | None:
        """The committed reply to this request of an episode that a former process did not finish, if there is one."""
        return self._answered.get((scope, fingerprint))

    async def record(self, call: CallRecord) -> None:
        """Queue a call."""
        await self._queue.put(call)

    async def opening(self, scenario_id: str) -> str | None:
        """The opening message of a scenario, once it was written."""
        return self._openings.get(scenario_id)

    async def record_opening(self, scenario_id: str, text: str) -> None:
        """Queue an opening message."""
        await self._queue.put((scenario_id, text))
        self._openings[scenario_id] = text  # only now: whoever uses it queues its episode behind it

    async def record_episode(self, record: EpisodeRecord) -> None:
        """Queue a finished episode."""
        await self._queue.put(record)

    async def finished(self, keys: Iterable[str]) -> set[str]:
        """Those of `keys` whose episodes are committed."""
        wanted = list(keys)
        found: set[str] = set()
        for start in range(0, len(wanted), _KEYS_PER_QUERY):
            some = wanted[start : start + _KEYS_PER_QUERY]
            marks = ",".join("?" * len(some))
            rows = await self._connection.execute_fetchall(f"SELECT key FROM episodes WHERE key IN ({marks})", some)
            found.update(str(row[0]) for row in rows)
        return found

    # -- inside --------------------------------------------------------------------------------------------------------

    async def _load(self) -> None:
        """What a resumed run needs of the former ones: bounded by the scenarios and by what was in flight."""
        fetch = self._connection.execute_fetchall
        for row in await fetch("SELECT coalesce(max(seq), 0) + 1 FROM episodes"):
            self._next_seq = row[0]
        self._groups = {
            Group(target, mode, steering): number
            for number, target, mode, steering in await fetch("SELECT id, target, mode, steering FROM groups")
        }
        self._openings = {row[0]: row[1] for row in await fetch("SELECT scenario_id, text FROM openings")}
        self._answered = {
            (scope, fingerprint): reply
            for scope, fingerprint, reply in await fetch(
                """SELECT scope, fingerprint, reply FROM calls WHERE reply IS NOT NULL
                   AND NOT EXISTS (SELECT 1 FROM episodes WHERE key = calls.scope)
                   AND scope NOT IN (SELECT 'opening/' || scenario_id FROM openings)"""
            )
        }

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[None]:
        try:
            async with asyncio.TaskGroup() as group:
                task = group.create_task(self._write())
                try:
                    yield
                finally:
                    if not task.done():
                        await self._queue.put(None)
                        await asyncio.wait([task])
        except BaseExceptionGroup as failures:
            raise _first(failures) from None

    async def _write(self) -> None:
        """Commit what is queued, in groups, until None comes."""
        clock = asyncio.get_running_loop().time
        while True:
            first = await self._queue.get()
            if first is None:
                self._queue.task_done()
                return
            group = [first]
            last = False
            deadline = clock() + COMMIT_S
            while len(group) < COMMIT_ROWS and not last:
                try:
                    async with asyncio.timeout_at(deadline):
                        item = await self._queue.get()
                except TimeoutError:
                    break
                if item is None:
                    last = True
                else:
                    group.append(item)
            await self._commit(group)
            for _ in range(len(group) + last):
                self._queue.task_done()
            if last:
                return

    async def _commit(self, group: list[CallRecord | EpisodeRecord | tuple[str, str]]) -> None:
        moment = now()
        calls: list[tuple[Any, ...]] = []
        openings: list[tuple[str, str]] = []
        episodes: list[tuple[Any, ...]] = []
        judgements: list[tuple[Any, ...]] = []
        new_groups: list[Group] = []
        for item in group:
            match item:
                case CallRecord():
                    calls.append(_call_row(item, moment))
                case EpisodeRecord():
                    if item.outcome.group not in self._groups:
                        self._groups[item.outcome.group] = len(self._groups) + 1
                        new_groups.append(item.outcome.group)
                    seq, self._next_seq = self._next_seq, self._next_seq + 1
                    episodes.append(_episode_row(item, seq, self._groups[item.outcome.group], moment))
                    judgements.extend(
                        (seq, number, j.judge, j.shown_first, j.choice.value, j.resolved, j.strength, j.reasoning)
                        for number, j in enumerate(item.judgements)
                    )
                case _:
                    openings.append(item)
        await self._connection.execute("BEGIN IMMEDIATE")
        for statement, rows in (
            (
                "INSERT INTO groups VALUES (?, ?, ?, ?)",
                [(self._groups[g], g.target, g.mode.value, g.steering) for g in new_groups],
            ),
            (f"INSERT INTO calls VALUES (NULL{', ?' * 13})", calls),
            ("INSERT OR REPLACE INTO openings VALUES (?, ?)", openings),
            (f"INSERT INTO episodes VALUES (?{', ?' * 16})", episodes),
            (f"INSERT INTO judgements VALUES (?{', ?' * 7})", judgements),
        ):
            if rows:
                await self._connection.executemany(statement, rows)
        await self._connection.execute("COMMIT")


def _first(failure: BaseException) -> BaseException:
    """The failure inside task groups, which only wrap: whatever came first cancelled the rest."""
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    return failure


def _call_row(call: CallRecord, moment: str) -> tuple[Any, ...]:
    return (
        call.scope,
        call.fingerprint,
        call.role.value,
        call.model,
        call.prompt,
        call.request,
        call.reply,
        call.failure,
        call.input_tokens,
        call.output_tokens,
        call.cost_usd,
        call.latency_s,
        moment,
    )


def _episode_row(record: EpisodeRecord, seq: int, group_id: int, moment: str) -> tuple[Any, ...]:
    outcome = record.outcome
    return (
        seq,
        outcome.key,
        group_id,
        outcome.scenario_id,
        outcome.repeat,
        outcome.value_a,
        outcome.value_b,
        outcome.verdict.value,
        outcome.strength,
        outcome.shown_first,
        outcome.judge,
        record.failure,
        record.seed,
        json.dumps([{"role": message.role.value, "text": message.text} for message in record.transcript]),
        record.duration_s,
        fold_position(outcome.key),
        moment,
    )
