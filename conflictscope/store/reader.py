"""Reading a run file, also while another process writes it."""

from __future__ import annotations

import json
import os
import sqlite3
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Self

import aiosqlite

from conflictscope.drafts import DraftState
from conflictscope.errors import StoreError
from conflictscope.forecast import CallMeans, Measured
from conflictscope.outcome import (
    Group,
    JudgedEpisode,
    Look,
    Message,
    Outcome,
    PairedLooks,
    Role,
    Side,
    Verdict,
)
from conflictscope.ports import StoredConversation
from conflictscope.rating import StopRule
from conflictscope.scenario import Scenario
from conflictscope.snapshot import Conversation, LaneLoad, Purpose, Usage
from conflictscope.store.browsing import OUTCOME_COLUMNS, Browsing, group_of, messages_of, outcome_of
from conflictscope.store.migrations import MIGRATIONS, applied_migrations, migrate
from conflictscope.store.tidy import stretches
from conflictscope.store.verdicts import JUDGEABLE, see_as
from conflictscope.tidy import Table


@dataclass(frozen=True, slots=True)
class Session:
    """One stretch of work on a run; `state` and `ended_at` are None while it runs, or where it was killed just now."""

    started_at: str
    ended_at: str | None
    state: str | None


@dataclass(frozen=True, slots=True)
class JudgedGroup:
    """What judges made of the episodes of a group in both orders of the two actions.

    judge: as the outcomes name it. voted: whether verdicts rest on the votes of several judges or repeats. looks: by judge, those
    that it has.
    """

    group: Group
    judge: str | None
    voted: bool
    looks: Mapping[str, PairedLooks]


@dataclass(frozen=True, slots=True)
class DraftCounts:
    """Of a library in the making: outlines asked for by pair, drafts by pair and state, problems by kind, drafts that checkers
    failed by check.
    """

    asked: Mapping[tuple[str, str], int]
    states: Mapping[tuple[tuple[str, str], DraftState], int]
    problems: Mapping[str, int]
    rejected: Mapping[str, int]


class RunReader(Browsing):
    """Reads a run file. An OutcomeLog."""

    @classmethod
    @asynccontextmanager
    async def open(cls, path: Path, judge: str | None = None) -> AsyncIterator[Self]:
        """Open the run file at `path` for reading. Raises StoreError where there is none, or it is not one.

        judge: one that judged stored conversations anew: its verdicts stand in the place of the run's own, and the conversations
        that it did not judge are left out.
        """
        if not path.is_file():
            raise StoreError(f"{path}: no such run file")
        wal = path.with_name(f"{path.name}-wal")
        writable = os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
        # Not mode=ro where it can be helped: the last connection to close tidies the write-ahead log away, and a read-only one
        # cannot. Where nobody can write, and there is no such log, the file is all there is.
        mode = "mode=rw" if writable else "mode=ro" if wal.exists() and wal.stat().st_size else "immutable=1"
        try:
            async with aiosqlite.connect(f"{path.absolute().as_uri()}?{mode}", uri=True) as connection:
                if await applied_migrations(connection) < MIGRATIONS.keys():
                    if not writable:
                        raise StoreError(
                            "made by an older version of ConflictScope, and it cannot be brought up to date where it cannot be "
                            "written: copy its folder elsewhere"
                        )
                    async with aiosqlite.connect(path, isolation_level=None) as upgrading:
                        await migrate(upgrading)
                if judge is not None:
                    await see_as(connection, judge)
                await connection.execute("PRAGMA query_only = ON")
                yield cls(connection, judge)
        except StoreError as error:
            raise StoreError(f"{path}: {error}") from None
        except sqlite3.Error as error:
            raise StoreError(f"{path}: {error}") from error

    @asynccontextmanager
    async def at_one_moment(self) -> AsyncIterator[None]:
        """Let all that is read inside see the run as it is when the first of it is read, whatever is written meanwhile."""
        await self._connection.execute("BEGIN")
        try:
            yield
        finally:
            await self._connection.execute("ROLLBACK")

    def table(self, table: Table) -> AsyncGenerator[Sequence[Sequence[Any]]]:
        """The rows of one of tidy.STORED, some thousands at a time."""
        return stretches(self._connection, table)

    async def meta(self) -> dict[str, Any]:
        """What the run was started with: name, kind, planned, identity, versions, ..."""
        return {key: json.loads(value) for key, value in await self._rows("SELECT key, value FROM meta")}

    async def values(self) -> list[str]:
        """The names of the run's values."""
        return [name for (name,) in await self._rows("SELECT name FROM run_values ORDER BY position")]

    async def pairs(self) -> list[tuple[str, str]]:
        """The pairs of values that the run's scenarios set against each other, each in alphabetical order."""
        query = "SELECT DISTINCT min(value_a, value_b), max(value_a, value_b) FROM scenarios"
        return [(a, b) for a, b in await self._rows(query)]

    async def episodes(self) -> int:
        """How many episodes are stored."""
        [(count,)] = await self._rows("SELECT count(*) FROM episodes")
        return int(count)

    async def stored_bytes(self) -> int:
        """What the run file takes on the disk, once the log beside it (`run.db-wal`) is folded into it."""
        [(size,)] = await self._rows("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")
        return int(size)

    async def sessions(self) -> list[Session]:
        """Every stretch of work on the run, oldest first; without those in which its conversations were judged anew."""
        query = "SELECT started_at, ended_at, state FROM sessions WHERE work = 'run' ORDER BY id"
        return [Session(*row) for row in await self._rows(query)]

    async def own_judges(self) -> list[str]:
        """Who judged the run's conversations while it went on."""
        query = """SELECT DISTINCT e.judge FROM main.episodes e JOIN groups g ON g.id = e.group_id
                   WHERE g.mode = 'open_ended' AND e.judge IS NOT NULL ORDER BY 1"""
        return [judge for (judge,) in await self._rows(query)]

    async def verdicts(self) -> dict[str, dict[Verdict, int]]:
        """How often each judge that judged stored conversations came to which verdict."""
        found: dict[str, dict[Verdict, int]] = {}
        for judge, verdict, count in await self._rows("SELECT judge, verdict, count(*) FROM verdicts GROUP BY 1, 2"):
            found.setdefault(judge, {})[Verdict(verdict)] = count
        return found

    async def left_out(self) -> int:
        """How many episodes are left out because the judge whose verdicts are read did not judge them."""
        [(count,)] = await self._rows("SELECT (SELECT count(*) FROM main.episodes) - (SELECT count(*) FROM episodes)")
        return int(count)

    async def judgeable(self) -> list[int]:
        """The sequence numbers of all conversations that a judge can judge, in the order in which they were committed."""
        query = f"""SELECT e.seq FROM main.episodes e JOIN groups g ON g.id = e.group_id
                    WHERE {JUDGEABLE} AND e.scenario_id IN (SELECT id FROM scenarios) ORDER BY e.seq"""
        return [seq for (seq,) in await self._rows(query)]

    async def judged(self, judge: str) -> set[int]:
        """The sequence numbers of the conversations that a judge judged anew."""
        return {seq for (seq,) in await self._rows("SELECT episode_seq FROM verdicts WHERE judge = ?", (judge,))}

    async def stored_conversation(self, seq: int) -> StoredConversation:
        """The conversation of this sequence number."""
        query = """SELECT e.transcript, e.key, g.target, e.scenario_id, e.seed, e.shown_first
                   FROM main.episodes e JOIN groups g ON g.id = e.group_id WHERE e.seq = ?"""
        [(transcript, *columns)] = await self._rows(query, (seq,))
        return StoredConversation(tuple(map(Message.from_json, json.loads(transcript))), *columns)

    async def scenario(self, scenario_id: str) -> Scenario:
        """A scenario of the run by its id."""
        [(body,)] = await self._rows("SELECT body FROM scenarios WHERE id = ?", (scenario_id,))
        return Scenario.model_validate_json(body)

    async def last_sign_at(self) -> str | None:
        """When the newest outcome was committed, or the newest call sent."""
        query = "SELECT created_at FROM {} ORDER BY seq DESC LIMIT 1"
        signs = [at for table in ("episodes", "calls") for (at,) in await self._rows(query.format(table)) if at]
        return max(signs, default=None)

    async def outcomes(self, after: int = 0) -> AsyncIterator[tuple[int, Outcome]]:
        """Outcomes with their sequence numbers, in the order in which they were committed."""
        query = f"SELECT {OUTCOME_COLUMNS} FROM episodes e JOIN groups g ON g.id = e.group_id WHERE e.seq > ? ORDER BY e.seq"
        async with self._connection.execute(query, (after,)) as cursor:
            async for row in cursor:
                yield row[0], outcome_of(row)

    async def canonical_outcomes(self) -> AsyncIterator[Outcome]:
        """All outcomes, group by group, in the order of a hash of their keys: the same in every run that has them."""
        async for row in self._group_by_group(OUTCOME_COLUMNS, "", "e.fold_position, e.key"):
            yield outcome_of(row)

    async def judged_episodes(self) -> AsyncIterator[JudgedEpisode]:
        """All episodes, each with every look of every judge at it, in the order of `canonical_outcomes`."""
        columns = f"{OUTCOME_COLUMNS}, j.judge, j.shown_first, j.choice, j.resolved, j.repeat"
        judged = "LEFT JOIN judgements j ON j.episode_seq = e.seq"
        outcome, looks = None, list[Look]()
        width, seq = OUTCOME_COLUMNS.count(",") + 1, None
        async for row in self._group_by_group(columns, judged, "e.fold_position, e.key, j.number"):
            if row[0] != seq:
                if outcome is not None:
                    yield JudgedEpisode(outcome, tuple(looks))
                seq, outcome, looks = row[0], outcome_of(row[:width]), []
            judge, *look = row[width:]
            if judge is not None:
                looks.append(_look(judge, *look))
        if outcome is not None:
            yield JudgedEpisode(outcome, tuple(looks))

    async def _group_by_group(self, columns: str, joined: str, order: str) -> AsyncIterator[Sequence[Any]]:
        """Rows of episodes `e` in groups `g`; of one group after the other, so that SQLite sorts no more at a time."""
        query = f"""SELECT {columns} FROM groups g CROSS JOIN episodes e ON e.group_id = g.id {joined}
                    WHERE g.id = ? ORDER BY {order}"""
        for number in await self.groups():
            async with self._connection.execute(query, (number,)) as cursor:
                async for row in cursor:
                    yield row

    async def tie_shares(self) -> Mapping[Group, float]:
        """The share of ties among the rated outcomes of each group, below 1 also where all are ties."""
        query = """SELECT g.target, g.mode, g.steering, g.behavior, sum(e.verdict = 'tie') / (count(*) + 1.0) FROM episodes e
                   JOIN groups g ON g.id = e.group_id WHERE e.verdict IN ('a', 'b', 'tie') GROUP BY g.id"""
        return {group_of(names): share for *names, share in await self._rows(query)}

    async def judged_groups(self) -> list[JudgedGroup]:
        """One for each group and judge, from the first look at each episode that named an action in both orders.

        Of each judge of a panel, the first: a later one is there because the first settled nothing, and the last is what agreed.
        Of repeats, the first: two looks at one conversation are not two conversations. Episodes that ended unresolved have a
        part in it, too.
        """
        # A judge is asked in the drawn order first, which is that of the episode. With min(), SQLite takes the other columns from
        # the row that has it.
        query = """SELECT g.target, g.mode, g.steering, g.behavior, e.judge, max(coalesce(voted, 0)), looked,
                   total(choice = other_choice AND choice = 'a'), total(choice = other_choice AND choice = 'b'),
                   total(choice != other_choice AND choice = first), total(choice != other_choice AND choice != first)
                   FROM episodes e JOIN groups g ON g.id = e.group_id LEFT JOIN (
                       SELECT episode_seq AS voted_seq, max(repeat) > 1 OR min(judge) != max(judge) AS voted
                       FROM judgements GROUP BY 1
                   ) ON voted_seq = e.seq LEFT JOIN (
                       SELECT x.episode_seq, x.judge AS looked, min(x.number), x.choice, x.shown_first AS first,
                              y.choice AS other_choice
                       FROM judgements x JOIN episodes o ON o.seq = x.episode_seq
                       JOIN judgements y ON y.episode_seq = x.episode_seq AND y.number = x.number + 1
                       WHERE x.repeat = 1 AND y.repeat = 1 AND x.judge = y.judge
                       AND x.shown_first = o.shown_first AND y.shown_first != o.shown_first AND x.resolved AND y.resolved
                       AND x.choice IN ('a', 'b') AND y.choice IN ('a', 'b') GROUP BY x.episode_seq, x.judge
                   ) ON episode_seq = e.seq GROUP BY g.id, e.judge, looked
                   ORDER BY g.target, g.mode, g.steering, g.behavior, e.judge, looked"""
        judged: dict[tuple[Group, str | None], JudgedGroup] = {}
        for row in await self._rows(query):
            group, (judge, voted, looked, *counts) = group_of(row[:4]), row[4:]
            before = judged.get((group, judge), JudgedGroup(group, judge, False, {}))
            looks = {} if looked is None else {looked: PairedLooks(*map(int, counts))}
            judged[group, judge] = replace(before, voted=before.voted or bool(voted), looks={**before.looks, **looks})
        return list(judged.values())

    async def settled(self, rule: StopRule) -> Mapping[Group, int]:
        """The groups that the sweep stopped playing because their ranking was settled by this rule, and at how many outcomes."""
        query = "SELECT target, mode, steering, behavior, settled FROM groups WHERE settled IS NOT NULL"
        stopped = {}
        for *names, told in await self._rows(query):
            held = json.loads(told)
            rated = held.pop("outcomes")
            if held == asdict(rule):
                stopped[group_of(names)] = rated
        return stopped

    async def conversation(self, seq: int) -> Conversation:
        """What was said in the episode of this sequence number, and what its judge made of it."""
        query = """SELECT g.target, g.mode, g.steering, g.behavior, e.scenario_id, e.transcript, e.verdict, e.value_a, e.value_b,
                   e.failure, (
                       SELECT reasoning FROM (SELECT reasoning, number, choice = e.verdict AS won FROM judgements
                       WHERE episode_seq = e.seq) ORDER BY won DESC, number DESC LIMIT 1)
                   FROM episodes e JOIN groups g ON g.id = e.group_id WHERE e.seq = ?"""
        *names, scenario_id, transcript, verdict, value_a, value_b, failure, reasoning = (
            await self._rows(query, (seq,))
        )[0]
        messages = messages_of(transcript)
        found = {"a": f"{value_a} over {value_b}", "b": f"{value_b} over {value_a}"}.get(verdict, verdict)
        title = f"{group_of(names)}, scenario {scenario_id}"
        return Conversation(title, messages, f"{found}. {reasoning or failure or ''}".strip())

    async def conversations(self) -> AsyncIterator[tuple[Outcome, tuple[Message, ...]]]:
        """Every conversation that came to a verdict, with its outcome, as they were committed.

        Only those whose scenario is stored, and in which the target said something.
        """
        query = f"""SELECT {OUTCOME_COLUMNS}, e.transcript FROM episodes e JOIN groups g ON g.id = e.group_id
                    JOIN scenarios s ON s.id = e.scenario_id
                    WHERE g.mode = 'open_ended' AND e.failure IS NULL ORDER BY e.seq"""
        async with self._connection.execute(query) as cursor:
            async for *row, transcript in cursor:
                messages = messages_of(transcript)
                if any(message.role is Role.TARGET for message in messages):
                    yield outcome_of(row), messages

    async def scenarios(self) -> Mapping[str, Scenario]:
        """The run's scenarios, by id."""
        rows = await self._rows("SELECT id, body FROM scenarios")
        return {own_id: Scenario.model_validate(json.loads(body)) for own_id, body in rows}

    async def labels(self) -> list[tuple[Outcome, Mapping[str, Verdict]]]:
        """The episodes that people labelled, as they were committed, with what they said, by person."""
        query = f"""SELECT {OUTCOME_COLUMNS}, json_group_object(l.annotator, l.verdict) FROM labels l
                    JOIN episodes e ON e.key = l.episode JOIN groups g ON g.id = e.group_id GROUP BY e.seq ORDER BY e.seq"""
        return [
            (outcome_of(row), {name: Verdict(verdict) for name, verdict in json.loads(said).items()})
            for *row, said in await self._rows(query)
        ]

    async def usage(self, after: int = 0) -> tuple[int, dict[Purpose, Usage]]:
        """What calls took that ended after the `after`-th, by what they were for; and how many have ended now."""
        query = """SELECT role, target, model, count(*), sum(state = 'failed'), sum(state = 'abandoned'),
                   sum(state = 'committed' AND cost_usd IS NULL), sum(input_tokens), sum(output_tokens),
                   total(cost_usd), total(reserved_usd), max(ended) FROM calls WHERE ended > ? GROUP BY 1, 2, 3"""
        rows = await self._rows(query, (after,))
        return max((row[-1] for row in rows), default=after), {Purpose(*row[:3]): Usage(*row[3:-1]) for row in rows}

    async def measured(self) -> Measured:
        """What calls took on average, without those of a preflight; and how soon conversations were settled."""
        query = """SELECT role, CASE WHEN scope LIKE 'opening/%' THEN 'opening' WHEN role = 'judge' THEN 'verdict'
                   WHEN prompt LIKE 'multiple_choice%' THEN 'multiple_choice'
                   WHEN prompt LIKE 'action_rating%' THEN 'action_rating' ELSE 'conversation' END, model, count(*),
                   avg(input_tokens), avg(output_tokens), avg(CASE WHEN batch IS NULL THEN latency_s END) FROM calls
                   WHERE state = 'committed' AND scope NOT LIKE 'preflight/%' GROUP BY 1, 2, 3"""
        means = {tuple(row[:3]): CallMeans(*row[3:]) for row in await self._rows(query)}
        query = """SELECT sum(e.verdict != 'unresolved'), sum(json_array_length(e.transcript) / 2) FROM episodes e
                   JOIN groups g ON g.id = e.group_id WHERE g.mode = 'open_ended' AND e.failure IS NULL"""
        [(settled, turns)] = await self._rows(query)
        return Measured(means, settled / turns if turns else None)

    async def in_flight(self) -> tuple[int, float]:
        """How many calls were sent and have not ended, and what is reserved for them in dollars."""
        [(calls, reserved_usd)] = await self._rows(
            "SELECT count(*), total(reserved_usd) FROM calls WHERE state = 'sent'"
        )
        return calls, reserved_usd

    async def in_batches(self) -> int:
        """How many calls wait in batches that are still to be collected."""
        [(calls,)] = await self._rows("SELECT count(*) FROM calls WHERE state = 'sent' AND batch IS NOT NULL")
        return int(calls)

    async def lanes(self) -> list[LaneLoad]:
        """How each lane stands, or stood when the last process that worked on the run wrote it down."""
        query = (
            "SELECT model, in_flight, limit_now, most, waiting, retries, errors, closed FROM lane_loads ORDER BY model"
        )
        return [LaneLoad(*row) for row in await self._rows(query)]

    async def draft_counts(self) -> DraftCounts:
        """What a library in the making is made of so far."""
        asked: Counter[tuple[str, str]] = Counter()
        problems: Counter[str] = Counter()
        for value_a, value_b, lots, found in await self._rows("SELECT value_a, value_b, lots, problems FROM rounds"):
            asked[value_a, value_b] += sum(lot[-1] for lot in json.loads(lots))
            problems.update(json.loads(found or "{}"))
        query = """SELECT r.value_a, r.value_b, d.state, count(*) FROM drafts d JOIN rounds r ON r.key = d.round
                   GROUP BY 1, 2, 3"""
        states = {((a, b), DraftState(state)): count for a, b, state, count in await self._rows(query)}
        # A scenario that fails a check of several checkers, or of both values, fails it once.
        query = """SELECT name, count(*) FROM (SELECT DISTINCT d.rowid, c.value ->> 'name' AS name
                   FROM drafts d, json_each(d.body, '$.checks') c WHERE d.state = 'rejected' AND NOT c.value ->> 'passed')
                   GROUP BY name"""
        return DraftCounts(asked, states, problems, dict(await self._rows(query)))

    async def failures(self) -> Mapping[str, int]:
        """Failed episodes by kind."""
        query = "SELECT failure, count(*) FROM episodes WHERE failure IS NOT NULL GROUP BY failure"
        kinds: dict[str, int] = {}
        for failure, count in await self._rows(query):
            kind = failure.partition(":")[0]
            kinds[kind] = kinds.get(kind, 0) + count
        return kinds

    async def lost_looks(self) -> Mapping[tuple[str, str], int]:
        """Looks that gave no verdict, by judge and kind of failure, in episodes that came to one without them."""
        query = """SELECT j.judge, j.failure FROM judgements j JOIN episodes e ON e.seq = j.episode_seq
                   WHERE j.failure IS NOT NULL AND e.failure IS NULL"""
        return Counter((judge, failure.partition(":")[0]) for judge, failure in await self._rows(query))


@cache  # there are few that differ, and a run has several for each episode
def _look(judge: str, shown_first: Side, choice: str, resolved: int, repeat: int) -> Look:
    return Look(judge, shown_first, Verdict(choice), bool(resolved), repeat)
