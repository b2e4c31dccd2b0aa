"""Writing a run file: one writer, commits in groups."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, astuple, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias

import aiosqlite

from conflictscope.annotation import Label
from conflictscope.errors import StoreError
from conflictscope.outcome import Group, Judgement, Mode, Verdict, fold_position
from conflictscope.ports import BatchedCall, CallEnd, CallSent, CallState, EpisodeRecord, OutputMode, SentBatch
from conflictscope.rating import StopRule
from conflictscope.redaction import redact
from conflictscope.scenario import Scenario
from conflictscope.snapshot import LaneLoad
from conflictscope.store.bodies import DICTIONARIES, Bodies
from conflictscope.store.migrations import migrate
from conflictscope.values import ValueSet

COMMIT_ROWS = 200
COMMIT_S = 0.05
_KEYS_PER_QUERY = 500
# Failures by a reply that came: played again, that one is asked for again.
OF_NO_USE = "('truncated', 'empty', 'unparsed', 'unquoted', 'refused', 'api')"
_ROOM = (
    10 * COMMIT_ROWS
)  # rows that may wait for the disk: more than come while it moves the write-ahead log into the file
_CACHE_KIB = (
    65_536  # what a commit changes in the indexes of a long run lies far apart: SQLite's own 2 MB hold little of it
)
_CHECKPOINT_PAGES = 4_000  # 16 MB of the write-ahead log; SQLite's own 4 MB make four times as many waits for the disk
_MOST_LOG_BYTES = 64 * 2**20  # of the write-ahead log, once nobody reads what an export or a report held on to


def now() -> str:
    """The time as it is stored: ISO 8601, UTC, milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class _Sent:
    number: int
    call: CallSent
    at: str
    committed: asyncio.Future[None] | None


@dataclass(frozen=True, slots=True)
class _Ended:
    number: int
    end: CallEnd


@dataclass(frozen=True, slots=True)
class _Opening:
    scenario_id: str
    text: str


@dataclass(frozen=True, slots=True)
class _BatchSent:
    batch: str
    model: str
    handle: bytes
    numbers: Sequence[int]
    committed: asyncio.Future[None]


@dataclass(frozen=True, slots=True)
class _BatchEnded:
    batch: str


@dataclass(frozen=True, slots=True)
class _Settled:
    group: Group
    rated: int
    rule: StopRule


@dataclass(frozen=True, slots=True)
class _Rows:
    statement: str
    rows: Sequence[tuple[Any, ...]]
    committed: asyncio.Future[None] | None


_Item: TypeAlias = _Sent | _Ended | _Opening | _BatchSent | _BatchEnded | _Settled | _Rows | EpisodeRecord


class RunWriter:
    """The only writer of a run file; both the call journal of the lanes and the sink of the runner.

    Rows are queued and committed in the order in which they came, as soon as there are COMMIT_ROWS or COMMIT_S has passed, so
    that an outcome is never committed before the calls and the opening message that it rests on.

    connection: for reading by others in this package.
    """

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self.connection = connection
        self._queue: list[_Item] = []
        self._awaited = self._closing = False
        self._some, self._full, self._room, self._idle = (asyncio.Event() for _ in range(4))
        self._room.set()
        self._idle.set()
        self._groups: dict[Group, int] = {}
        self._openings: dict[str, str] = {}
        self._answered: dict[tuple[str, str], bytes] = {}
        self._bodies = Bodies()
        self._writer: asyncio.Task[None] | None = None
        self._next_seq = 1
        self._next_call = 1
        self._next_end = 1

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
                await connection.execute(f"PRAGMA journal_size_limit = {_MOST_LOG_BYTES}")
                await connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
                await connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
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
        await self.connection.execute("BEGIN")
        await self.connection.executemany("INSERT INTO run_values VALUES (?, ?, ?, ?)", rows)
        await self.connection.executemany(
            "INSERT INTO meta VALUES (?, ?)", [(key, redact(json.dumps(value))) for key, value in meta.items()]
        )
        await self.connection.execute("COMMIT")

    async def add_scenarios(self, scenarios: Iterable[Scenario], prompts: Mapping[str, str]) -> None:
        """Write the scenarios and the texts of the prompts; those that are there already stay."""
        await self.connection.execute("BEGIN")
        await self.connection.executemany(
            "INSERT OR IGNORE INTO scenarios VALUES (?, ?, ?, ?)",
            ((s.id, s.value_a, s.value_b, json.dumps(s.to_json())) for s in scenarios),
        )
        await self.connection.executemany("INSERT OR IGNORE INTO prompts VALUES (?, ?)", prompts.items())
        await self.connection.execute("COMMIT")

    async def begin_session(
        self, settings: Mapping[str, Any] | None = None, work: Literal["run", "rejudge"] = "run"
    ) -> int:
        """Note that a process works on the run from now on; returns the session's id.

        settings: entries of `meta` that a resume may change, by key.

        A session that was killed is closed at its last sign of life, and what it had in flight is abandoned, but for calls in
        batches that are still to be collected. Where episodes are to be played (`run`), those that failed are taken out, to be
        played again: their calls stay in the journal, and what was answered is not asked again, but for the replies that they
        failed by.
        """
        await self.connection.execute("BEGIN IMMEDIATE")
        await self.connection.execute(
            """UPDATE sessions SET state = 'killed', ended_at = max(
                   started_at, coalesce((SELECT created_at FROM episodes ORDER BY seq DESC LIMIT 1), started_at),
                   coalesce((SELECT created_at FROM calls ORDER BY seq DESC LIMIT 1), started_at)
               ) WHERE state IS NULL"""
        )
        lost = await self._fetch(
            """SELECT seq FROM calls WHERE state = 'sent'
               AND (batch IS NULL OR EXISTS (SELECT 1 FROM episodes WHERE key = calls.scope)) ORDER BY seq"""
        )
        await self.connection.executemany(
            "UPDATE calls SET state = 'abandoned', ended = ? WHERE seq = ?",
            [(self._next_end + place, seq) for place, (seq,) in enumerate(lost)],
        )
        self._next_end += len(lost)
        if work == "run":
            await self.connection.execute("DELETE FROM lane_loads")
            await self._take_out_failed()
        await self.connection.executemany(
            "INSERT OR REPLACE INTO meta VALUES (?, ?)",
            [(key, json.dumps(value)) for key, value in (settings or {}).items()],
        )
        cursor = await self.connection.execute("INSERT INTO sessions (started_at, work) VALUES (?, ?)", (now(), work))
        await self.connection.execute("COMMIT")
        await self._load_answered()
        return cursor.lastrowid or 0

    async def _take_out_failed(self) -> None:
        failed = f"verdict IN ({', '.join(repr(verdict.value) for verdict in Verdict if verdict.failed)})"
        for scope in ("e.key", "'opening/' || e.scenario_id"):
            await self.connection.execute(
                f"""UPDATE calls SET fingerprint = '' WHERE seq IN (
                        SELECT c.seq FROM episodes e CROSS JOIN calls c ON c.scope = {scope}
                        WHERE e.{failed} AND c.state = 'committed' AND e.verdict = c.role || '_failed'
                        AND ({_of_no_use("e.failure")} OR EXISTS (
                            SELECT 1 FROM judgements j WHERE j.episode_seq = e.seq AND {_of_no_use("j.failure")})))"""
            )
        for table in ("judgements", "verdicts", "looks"):
            await self.connection.execute(
                f"DELETE FROM {table} WHERE episode_seq IN (SELECT seq FROM episodes WHERE {failed})"
            )
        await self.connection.execute(f"DELETE FROM episodes WHERE {failed}")

    async def sent_batches(self) -> list[SentBatch]:
        """What former processes submitted and did not collect, the oldest first."""
        calls: dict[str, list[BatchedCall]] = {}
        unpack = self._bodies.unpack
        for batch, number, scope, fingerprint, request, reserved_usd in await self._fetch(
            """SELECT batch, seq, scope, fingerprint, request, reserved_usd FROM calls
               WHERE state = 'sent' AND batch IS NOT NULL ORDER BY seq"""
        ):
            calls.setdefault(batch, []).append(BatchedCall(number, scope, fingerprint, unpack(request), reserved_usd))
        return [
            SentBatch(batch, model, handle, calls[batch])
            for batch, model, handle in await self._fetch("SELECT id, model, handle FROM batches ORDER BY rowid")
            if batch in calls
        ]

    async def output_modes(self) -> dict[str, OutputMode]:
        """How each model that was checked before is asked for typed output."""
        return dict(await self._fetch("SELECT model, output_mode FROM lanes"))

    async def record_output_mode(self, model: str, mode: OutputMode) -> None:
        """Keep what the preflight found out."""
        await self.connection.execute("INSERT OR REPLACE INTO lanes VALUES (?, ?, ?)", (model, mode, now()))

    async def end_session(self, session: int, state: str) -> None:
        """Note how and when it ended, after all that is queued."""
        await self._idle.wait()
        await self.connection.execute(
            "UPDATE sessions SET ended_at = ?, state = ? WHERE id = ?", (now(), state, session)
        )

    async def replace_labels(self, labels: Iterable[Label]) -> None:
        """Keep what people said, in place of all that the same people said before."""
        rows = [
            (label.episode, label.annotator, label.verdict.value, label.shown_first, label.comment, now())
            for label in labels
        ]
        await self.connection.execute("BEGIN IMMEDIATE")
        await self.connection.executemany(
            "DELETE FROM labels WHERE annotator = ?", [(name,) for name in {annotator for _, annotator, *_ in rows}]
        )
        await self.connection.executemany(f"INSERT INTO labels VALUES (?{', ?' * 5})", rows)
        await self.connection.execute("COMMIT")

    # -- during the run ------------------------------------------------------------------------------------------------

    def answered(self, scope: str, fingerprint: str) -> bytes | None:
        """The committed reply to this request of an episode that a former process did not finish, if there is one."""
        return self._answered.get((scope, fingerprint))

    def answers(self) -> Mapping[tuple[str, str], bytes]:
        """All that `answered` knows, by scope and fingerprint."""
        return self._answered

    async def sent(self, call: CallSent) -> int:
        """Queue a call that is about to be sent. One that costs money is committed when this returns."""
        await self._room.wait()
        number, self._next_call = self._next_call, self._next_call + 1
        committed = asyncio.get_running_loop().create_future() if call.reserved_usd > 0 else None
        self._put(_Sent(number, call, now(), committed))
        if committed is not None:
            self._awaited = True
            self._full.set()  # somebody waits: at once, with all that has come until then
            try:
                await committed
            except asyncio.CancelledError:
                self.ended(number, CallEnd(CallState.ABANDONED))  # it was not sent after all
                raise
        return number

    def ended(self, number: int, end: CallEnd) -> None:
        """Queue how a call ended."""
        self._put(_Ended(number, end))

    async def batch_sent(self, batch: str, model: str, handle: bytes, numbers: Sequence[int]) -> None:
        """Keep a batch and which calls are in it; returns when it is committed. Raises StoreError where it cannot be."""
        committed = asyncio.get_running_loop().create_future()
        self._put(_BatchSent(batch, model, handle, numbers, committed))
        await self._until(committed, f"the batch {batch}")

    def batch_ended(self, batch: str) -> None:
        """Queue that a batch was collected."""
        self._put(_BatchEnded(batch))

    async def opening(self, scenario_id: str) -> str | None:
        """The opening message of a scenario, once it was written."""
        return self._openings.get(scenario_id)

    async def record_opening(self, scenario_id: str, text: str) -> None:
        """Queue an opening message."""
        self._put(_Opening(scenario_id, text))
        self._openings[scenario_id] = text  # only now: whoever uses it queues its episode behind it

    async def record_episode(self, record: EpisodeRecord) -> None:
        """Queue a finished episode. Waits where the disk is behind."""
        await self._room.wait()
        self._put(record)

    def record_settled(self, group: Group, rated: int, rule: StopRule) -> None:
        """Queue that a group is settled; its outcomes were queued before."""
        self._put(_Settled(group, rated, rule))

    def record_lanes(self, lanes: Sequence[LaneLoad]) -> None:
        """Queue how lanes stand."""
        moment = now()
        self.put(
            f"INSERT OR REPLACE INTO lane_loads VALUES (?{', ?' * 8})", [(*astuple(lane), moment) for lane in lanes]
        )

    async def finished(self, keys: Iterable[str]) -> set[str]:
        """Those of `keys` whose episodes are committed."""
        wanted = list(keys)
        found: set[str] = set()
        for start in range(0, len(wanted), _KEYS_PER_QUERY):
            some = wanted[start : start + _KEYS_PER_QUERY]
            marks = ",".join("?" * len(some))
            rows = await self.connection.execute_fetchall(f"SELECT key FROM episodes WHERE key IN ({marks})", some)
            found.update(str(row[0]) for row in rows)
        return found

    def put(self, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Queue rows of a table that only `store.drafts` knows, behind all that is queued."""
        self._put(_Rows(statement, rows, None))

    async def commit(self, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """The same; returns when they are committed. Raises StoreError where they cannot be."""
        committed = asyncio.get_running_loop().create_future()
        self._put(_Rows(statement, rows, committed))
        await self._until(committed, "what was to be kept")

    def forget(self, scope: str) -> None:
        """Queue that what was answered in this scope is of no use: asked once more, it is sent once more."""
        self.put("UPDATE calls SET fingerprint = '' WHERE scope = ?", [(scope,)])

    async def _until(self, committed: asyncio.Future[None], what: str) -> None:
        assert self._writer is not None, "only asked while writing"
        await asyncio.wait((committed, self._writer), return_when=asyncio.FIRST_COMPLETED)
        if not committed.done():
            raise StoreError(f"{what} could not be written down")

    # -- inside --------------------------------------------------------------------------------------------------------

    def _put(self, item: _Item) -> None:
        self._queue.append(item)
        waiting = len(self._queue)
        if waiting == 1:
            self._idle.clear()
            self._some.set()
        elif waiting == COMMIT_ROWS:
            self._full.set()
        if waiting >= _ROOM:
            self._room.clear()

    async def _fetch(self, query: str) -> list[Any]:
        return list(await self.connection.execute_fetchall(query))

    async def _load(self) -> None:
        """What a resumed run needs of the former ones."""
        fetch = self._fetch
        [(self._next_seq,)] = await fetch("SELECT coalesce(max(seq), 0) + 1 FROM episodes")
        [(self._next_call, self._next_end)] = await fetch(
            """SELECT coalesce((SELECT max(seq) FROM calls), 0) + 1,
               coalesce((SELECT max(ended) FROM calls WHERE ended IS NOT NULL), 0) + 1"""  # two, so that each uses an index
        )
        self._groups = {
            Group(target, Mode(mode), steering, behavior): number
            for number, target, mode, steering, behavior in await fetch(
                "SELECT id, target, mode, steering, behavior FROM groups"
            )
        }
        self._openings = {row[0]: row[1] for row in await fetch("SELECT scenario_id, text FROM openings")}
        self._bodies = Bodies(body for (body,) in await fetch(DICTIONARIES))
        # In SQL, so that the thread of the connection packs, and the event loop does not wait for it.
        await self.connection.create_function("packed", 1, self._bodies.pack)

    async def _load_answered(self) -> None:
        """What was answered for episodes, rounds and verdicts that are still to be ended: bounded by what was in flight."""
        self._answered = {
            (scope, fingerprint): self._bodies.unpack(reply)
            for scope, fingerprint, reply in await self._fetch(
                # Of most calls only the scope is read, from its index.
                """SELECT scope, fingerprint, reply FROM calls WHERE reply IS NOT NULL AND fingerprint != '' AND scope IN (
                       SELECT DISTINCT scope FROM calls WHERE NOT EXISTS (SELECT 1 FROM episodes WHERE key = calls.scope)
                       AND scope NOT IN (SELECT 'opening/' || scenario_id FROM openings)
                       AND scope NOT IN (SELECT key FROM rounds WHERE ended_at IS NOT NULL)
                       AND scope NOT IN (SELECT 'rejudge/' || v.judge || '/' || e.key
                                         FROM verdicts v JOIN episodes e ON e.seq = v.episode_seq))"""
            )
        }

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[None]:
        try:
            async with asyncio.TaskGroup() as group:
                task = self._writer = group.create_task(self._write())
                try:
                    yield
                finally:
                    if not task.done():
                        self._closing = True
                        self._some.set()
                        self._full.set()
                        await asyncio.wait([task])
        except BaseExceptionGroup as failures:
            raise _first(failures) from None

    async def _write(self) -> None:
        """Commit what is queued, in groups, until the file is closed."""
        while True:
            await self._some.wait()
            try:
                async with asyncio.timeout(COMMIT_S):
                    await self._full.wait()
            except TimeoutError:
                pass  # nobody needs to fill a group
            group, self._queue, self._awaited = self._queue, [], False
            self._room.set()
            if group:
                await self._commit(group)
            if len(self._queue) < COMMIT_ROWS and not self._awaited and not self._closing:
                self._full.clear()
            if not self._queue:
                self._idle.set()
                if self._closing:
                    return
                self._some.clear()

    async def _commit(self, group: list[_Item]) -> None:
        moment = now()
        calls: dict[int, tuple[Any, ...]] = {}
        ends: list[tuple[Any, ...]] = []
        openings: list[tuple[str, str]] = []
        episodes: list[tuple[Any, ...]] = []
        judgements: list[tuple[Any, ...]] = []
        new_groups: list[Group] = []
        batches: list[_BatchSent] = []
        batch_ends: list[tuple[str, str]] = []
        settled: list[tuple[str, int]] = []
        others: list[tuple[str, Sequence[tuple[Any, ...]]]] = []
        awaited: list[asyncio.Future[None]] = []
        dictionaries: list[tuple[bytes]] = []
        for item in group:
            match item:
                case _Sent(number, call, at, committed):
                    self._bodies.look_at(call.request)
                    if committed is not None:
                        awaited.append(committed)
                    unended = CallEnd(CallState.SENT, at_risk_usd=call.reserved_usd)
                    calls[number] = (*_sent_row(number, call, at), *_end_row(unended, None))
                case _Ended(number, end):
                    if end.reply is not None:
                        self._bodies.look_at(end.reply)
                    ended, self._next_end = self._next_end, self._next_end + 1
                    row = _end_row(end, ended)
                    if number in calls:
                        calls[number] = (*calls[number][: len(_SENT_COLUMNS)], *row)
                    else:
                        ends.append((*row, number))
                case EpisodeRecord():
                    if item.outcome.group not in self._groups:
                        self._groups[item.outcome.group] = len(self._groups) + 1
                        new_groups.append(item.outcome.group)
                    seq, self._next_seq = self._next_seq, self._next_seq + 1
                    episodes.append(_episode_row(item, seq, self._groups[item.outcome.group], moment))
                    judgements.extend(
                        (seq, number, *_judgement_row(judgement)) for number, judgement in enumerate(item.judgements)
                    )
                case _Opening(scenario_id, text):
                    openings.append((scenario_id, text))
                case _BatchSent():
                    batches.append(item)
                case _BatchEnded(batch):
                    batch_ends.append((moment, batch))
                case _Rows(statement, some, committed):
                    others.append((statement, some))
                    if committed is not None:
                        awaited.append(committed)
                case _Settled(whose, rated, rule):
                    settled.append((json.dumps({"outcomes": rated, **asdict(rule)}), self._groups[whose]))
        if self._bodies.full and (dictionary := await asyncio.to_thread(self._bodies.train)):
            dictionaries.append((dictionary,))
        await self.connection.execute("BEGIN IMMEDIATE")
        statements = (
            ("INSERT INTO dictionaries (body) VALUES (?)", dictionaries),  # in the commit with the first that need it
            (
                "INSERT INTO groups (id, target, mode, steering, behavior) VALUES (?, ?, ?, ?, ?)",
                [(self._groups[g], *g.to_json().values()) for g in new_groups],
            ),
            (
                "INSERT INTO batches (id, model, handle, sent_at) VALUES (?, ?, ?, ?)",
                [(b.batch, b.model, b.handle, moment) for b in batches],
            ),
            (_INSERT_CALL, list(calls.values())),
            ("UPDATE calls SET batch = ? WHERE seq = ?", [(b.batch, number) for b in batches for number in b.numbers]),
            (_END_CALL, ends),
            ("UPDATE batches SET ended_at = ? WHERE id = ?", batch_ends),
            ("INSERT OR REPLACE INTO openings VALUES (?, ?)", openings),
            (f"INSERT INTO episodes VALUES (?{', ?' * 18})", episodes),
            (f"INSERT INTO judgements VALUES (?{', ?' * 10})", judgements),
            ("UPDATE groups SET settled = ? WHERE id = ?", settled),
            *others,
        )
        # All at once: they are carried out one after another, but nobody waits for the event loop between them. On a busy one
        # that is the difference between a tenth of a second and half of one until a reply is safe.
        await asyncio.gather(*(self.connection.executemany(statement, rows) for statement, rows in statements if rows))
        await self.connection.execute("COMMIT")
        for committed in (*awaited, *(batch.committed for batch in batches)):
            if not committed.done():  # nobody may wait any more
                committed.set_result(None)


def _first(failure: BaseException) -> BaseException:
    """The failure inside task groups, which only wrap: whatever came first cancelled the rest."""
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    return failure


_SENT_COLUMNS = ("seq", "scope", "fingerprint", "role", "target", "model", "prompt", "request", "created_at")
_END_COLUMNS = (
    "state",
    "ended",
    "reply",
    "failure",
    "input_tokens",
    "output_tokens",
    "cost_usd",
    "reserved_usd",
    "latency_s",
)
_BODIES = ("request", "reply")
_VALUES = {column: "packed(?)" if column in _BODIES else "?" for column in _SENT_COLUMNS + _END_COLUMNS}
_INSERT_CALL = f"INSERT INTO calls ({', '.join(_VALUES)}) VALUES ({', '.join(_VALUES.values())})"
_END_CALL = f"UPDATE calls SET {', '.join(f'{column} = {_VALUES[column]}' for column in _END_COLUMNS)} WHERE seq = ?"


def _sent_row(number: int, call: CallSent, at: str) -> tuple[Any, ...]:
    """The values of _SENT_COLUMNS."""
    role, model = call.role.value, call.model
    return number, call.scope, call.fingerprint, role, call.target, model, call.prompt, call.request, at


def _end_row(end: CallEnd, ended: int | None) -> tuple[Any, ...]:
    """The values of _END_COLUMNS."""
    tokens = end.input_tokens, end.output_tokens
    return end.state.value, ended, end.reply, end.failure, *tokens, end.cost_usd, end.at_risk_usd, end.latency_s


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
        json.dumps([message.to_json() for message in record.transcript]),
        record.duration_s,
        fold_position(outcome.key),
        moment,
        record.choice.policy if record.choice else None,
        record.choice.reason if record.choice else None,
    )


def _of_no_use(failure: str) -> str:
    return f"substr({failure}, 1, instr({failure}, ':') - 1) IN {OF_NO_USE}"


def _judgement_row(j: Judgement) -> tuple[Any, ...]:
    said = j.judge, j.shown_first, j.choice.value, j.resolved, j.strength, j.reasoning
    return *said, j.repeat, json.dumps(j.quotes, ensure_ascii=False), j.failure
