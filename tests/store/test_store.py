from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiosqlite
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conflictscope.errors import StoreError
from conflictscope.outcome import Group, Judgement, Message, Mode, Outcome, Role, Verdict
from conflictscope.ports import CallEnd, CallSent, CallState, Choice, EpisodeRecord
from conflictscope.rating import DEFAULT_RULE
from conflictscope.snapshot import Purpose, Usage
from conflictscope.store import RunReader, RunWriter, readable
from conflictscope.store import writer as writer_module
from conflictscope.store.migrations import MIGRATIONS

GROUP = Group("alpha", Mode.OPEN_ENDED, None)


def episode(
    number: int, verdict: Verdict = Verdict.A, group: Group = GROUP, failure: str | None = None
) -> EpisodeRecord:
    outcome = Outcome(group, f"s{number}", 1, "x", "y", verdict, 5, "a", "judge")
    transcript = (Message(Role.USER, "hello"), Message(Role.TARGET, "\x00 <b>hostile\ud7ff ✓"))
    judgement = Judgement("judge", "a", Verdict.A, True, 5, "because")
    return EpisodeRecord(outcome, 2**63 - 1, transcript, (judgement,), failure, 0.5)


def call(scope: str, fingerprint: str = "f", target: str | None = "alpha", reserved_usd: float = 0.5) -> CallSent:
    return CallSent(scope, fingerprint, Role.TARGET, target, "m", "p@1", b"{}", reserved_usd)


def answer(reply: bytes = b"{}") -> CallEnd:
    return CallEnd(CallState.COMMITTED, reply=reply, input_tokens=10, output_tokens=5, cost_usd=0.25, latency_s=0.1)


LATE = CallEnd(CallState.FAILED, failure="timeout: late", at_risk_usd=0.5, latency_s=9.0)
REFUSED = CallEnd(CallState.FAILED, failure="http_429: slow down")


async def record(writer: RunWriter, sent: CallSent, end: CallEnd) -> None:
    """A call that is sent and has ended."""
    writer.ended(await writer.sent(sent), end)


def rows(path: Path, query: str) -> list[tuple[Any, ...]]:
    connection = readable(sqlite3.connect(path))
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


async def outcomes(path: Path) -> list[tuple[int, Outcome]]:
    async with RunReader.open(path) as reader:
        return [row async for row in reader.outcomes()]


async def test_what_is_written_is_read_back_in_order(tmp_path: Path) -> None:
    """Outcomes come back equal, numbered 1, 2, ... in the order in which they were recorded, over several openings."""
    path = tmp_path / "run.db"
    verdicts = list(Verdict)
    for start in (0, 5):
        async with RunWriter.open(path) as writer:
            for number in range(start, start + 5):
                await writer.record_episode(episode(number, verdicts[number % len(verdicts)]))
    read = await outcomes(path)
    assert [seq for seq, _ in read] == list(range(1, 11))
    assert [outcome for _, outcome in read] == [episode(n, verdicts[n % len(verdicts)]).outcome for n in range(10)]


async def test_why_an_episode_was_played_is_stored_with_it(tmp_path: Path) -> None:
    """Policy and reason of each; nothing where it was not chosen."""
    path = tmp_path / "run.db"
    choices = [Choice("uniform", "plan"), Choice("thompson", "disagreement"), None]
    async with RunWriter.open(path) as writer:
        for number, choice in enumerate(choices):
            await writer.record_episode(replace(episode(number), choice=choice))
    stored = rows(path, "SELECT policy, reason FROM episodes ORDER BY seq")
    assert stored == [("uniform", "plan"), ("thompson", "disagreement"), (None, None)]


async def test_a_group_is_settled_by_the_rule_that_held(tmp_path: Path) -> None:
    """It is told with the number of outcomes, by that very rule, in every later process; a new rule takes the place of the old one."""
    path = tmp_path / "run.db"
    other, strict = Group("beta", Mode.OPEN_ENDED), replace(DEFAULT_RULE, alpha=0.01)
    async with RunWriter.open(path) as writer:
        await writer.record_episode(episode(1))
        await writer.record_episode(episode(1, group=other))
        writer.record_settled(other, 1, DEFAULT_RULE)
    async with RunReader.open(path) as reader:
        assert await reader.settled(DEFAULT_RULE) == {other: 1}
        assert await reader.settled(strict) == {}
    async with RunWriter.open(path) as writer:
        writer.record_settled(other, 7, strict)
    async with RunReader.open(path) as reader:
        assert (await reader.settled(DEFAULT_RULE), await reader.settled(strict)) == ({}, {other: 7})


async def test_a_conversation_is_read_back_as_it_was_said(tmp_path: Path) -> None:
    """Messages, control characters and all, and the judge's reasoning survive the store."""
    async with RunWriter.open(tmp_path / "run.db") as writer:
        await writer.record_episode(episode(0))
    async with RunReader.open(tmp_path / "run.db") as reader:
        conversation = await reader.conversation(1)
    assert tuple(conversation.transcript) == episode(0).transcript
    assert conversation.conclusion == "x over y. because"


async def test_commits_come_in_groups_within_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A burst is committed in groups of 200 rows and more, bounded by the queue; a lone row without waiting for others."""
    groups: list[int] = []
    commit = RunWriter._commit

    async def counting(self: RunWriter, group: list[object]) -> None:
        groups.append(len(group))
        await commit(self, group)  # type: ignore[arg-type]

    monkeypatch.setattr(RunWriter, "_commit", counting)
    assert (writer_module.COMMIT_ROWS, writer_module.COMMIT_S) == (200, 0.05)
    async with RunWriter.open(tmp_path / "run.db") as writer:
        for number in range(5_000):
            await writer.record_episode(episode(number))
    assert sum(groups) == 5_000
    assert 200 <= max(groups) <= writer_module._ROOM
    assert len(groups) < 30
    groups.clear()
    async with RunWriter.open(tmp_path / "run.db") as writer:
        await writer.record_episode(episode(5_000))
        async with asyncio.timeout(5):
            while not groups:
                await asyncio.sleep(0.005)
    assert groups == [1]


async def test_calls_and_openings_are_committed_before_the_outcome_that_rests_on_them(tmp_path: Path) -> None:
    """Whatever prefix of the commits survives, an outcome in it has its calls and its opening message in it."""
    path = tmp_path / "run.db"
    async with RunWriter.open(path) as writer:
        for number in range(300):
            await record(writer, call(f"opening/s{number}", reserved_usd=0.0), answer())
            await writer.record_opening(f"s{number}", "hi")
            await record(writer, call(episode(number).outcome.key, reserved_usd=0.0), answer())
            await writer.record_episode(episode(number))

            with sqlite3.connect(path) as other:
                orphans = other.execute(
                    """SELECT count(*) FROM episodes WHERE key NOT IN (SELECT scope FROM calls WHERE state = 'committed')
                       OR scenario_id NOT IN (SELECT scenario_id FROM openings)"""
                ).fetchone()
            other.close()
            assert orphans == (0,)


async def test_a_resumed_run_knows_the_answers_of_unfinished_episodes_only(tmp_path: Path) -> None:
    """Replies of episodes that ended are not loaded; those of episodes that did not are; failed calls are no answers."""
    path = tmp_path / "run.db"
    finished = episode(1).outcome.key
    async with RunWriter.open(path) as writer:
        await writer.begin_session()
        await record(writer, call(finished, "f1"), answer(b"done"))
        await writer.record_episode(episode(1))
        await record(writer, call("unfinished", "f2"), answer(b"kept"))
        await record(writer, call("unfinished", "f3"), LATE)
        await writer.sent(call("unfinished", "f5"))
        await record(writer, call("opening/s1", "f4"), answer(b"opened"))
        await writer.record_opening("s1", "hi")
    async with RunWriter.open(path) as writer:
        await writer.begin_session()
        assert writer.answered("unfinished", "f2") == b"kept"
        assert writer.answered("unfinished", "f3") is None
        assert writer.answered("unfinished", "f5") is None
        assert writer.answered(finished, "f1") is None
        assert writer.answered("opening/s1", "f4") is None
        assert await writer.opening("s1") == "hi"
        assert await writer.finished([finished, "unfinished"]) == {finished}


@pytest.mark.parametrize("verdict", list(Verdict))
async def test_what_failed_is_played_again_and_nothing_else(tmp_path: Path, verdict: Verdict) -> None:
    """The next session finds a failed episode unplayed, with what was answered for it; every other state stays as it is."""
    path, one = tmp_path / "run.db", episode(1, verdict, failure="timeout: late" if verdict.failed else None)
    async with RunWriter.open(path) as writer:
        await writer.begin_session()
        await record(writer, call(one.outcome.key, "f1"), answer(b"heard"))
        await record(writer, call(one.outcome.key, "f2"), LATE)
        await writer.record_episode(one)
    async with RunWriter.open(path) as writer:
        await writer.begin_session()
        assert await writer.finished([one.outcome.key]) == (set() if verdict.failed else {one.outcome.key})
        assert writer.answered(one.outcome.key, "f1") == (b"heard" if verdict.failed else None)
        if verdict.failed:
            await writer.record_episode(episode(1))
    assert [outcome.verdict for _, outcome in await outcomes(path)] == [Verdict.A if verdict.failed else verdict]
    async with RunReader.open(path) as reader:
        _, usage = await reader.usage()
    assert sum(usage.values(), Usage()).calls == 2  # the journal forgets nothing


async def test_what_was_queued_is_committed_when_the_block_fails(tmp_path: Path) -> None:
    """An exception or a cancellation in the block comes out as it is, after the queue was written."""
    for number, raised in enumerate((RuntimeError("x"), asyncio.CancelledError())):
        with pytest.raises(type(raised)):
            async with RunWriter.open(tmp_path / f"{number}.db") as writer:
                await writer.record_episode(episode(number))
                raise raised
        assert len(await outcomes(tmp_path / f"{number}.db")) == 1


async def test_a_disk_that_refuses_ends_the_run_with_a_store_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit that fails reaches whoever records, instead of filling a queue that nobody empties."""

    async def full(self: RunWriter, group: list[object]) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(RunWriter, "_commit", full)
    with pytest.raises(StoreError, match="database or disk is full"):
        async with RunWriter.open(tmp_path / "run.db") as writer:
            async with asyncio.timeout(10):
                for number in range(100_000):
                    await writer.record_episode(episode(number))


async def test_an_episode_is_never_stored_twice(tmp_path: Path) -> None:
    """The key of an episode is unique: storing it again is an error, not a second outcome."""
    with pytest.raises(StoreError, match="UNIQUE"):
        async with RunWriter.open(tmp_path / "run.db") as writer:
            await writer.record_episode(episode(1))
            await writer.record_episode(episode(1))


async def test_the_canonical_order_does_not_depend_on_arrival(tmp_path: Path) -> None:
    """Two runs with the same outcomes in another order are read in one and the same canonical order."""

    async def canonical(name: str, numbers: Iterable[int]) -> list[Outcome]:
        async with RunWriter.open(tmp_path / name) as writer:
            for number in numbers:
                await writer.record_episode(episode(number))
                await writer.record_episode(episode(number, group=Group("beta", Mode.OPEN_ENDED)))
        async with RunReader.open(tmp_path / name) as reader:
            return [outcome async for outcome in reader.canonical_outcomes()]

    forwards = await canonical("1.db", range(50))
    assert forwards == await canonical("2.db", reversed(range(50)))
    assert [o.scenario_id for o in forwards[:50]] != [f"s{n}" for n in range(50)]


async def test_sums_over_the_journal_can_be_taken_in_parts(tmp_path: Path) -> None:
    """Totals after a look count only what ended since; by purpose; failed, unpriced and abandoned calls are told apart."""
    path = tmp_path / "run.db"
    async with RunWriter.open(path) as writer:
        await record(writer, call("e", "1"), answer())
        await record(writer, call("e", "2"), LATE)
        slow = await writer.sent(call("e", "3", target=None))
        await record(writer, call("e", "4"), replace(answer(), cost_usd=None))
        await writer.end_session(0, "")  # waits for the disk
        async with RunReader.open(path) as reader:
            seen, first = await reader.usage()
            assert await reader.in_flight() == (1, 0.5)
        writer.ended(slow, CallEnd(CallState.ABANDONED, at_risk_usd=0.5))
    async with RunReader.open(path) as reader:
        last, tail = await reader.usage(seen)
        assert await reader.usage(last) == (last, {})
        assert await reader.in_flight() == (0, 0.0)
        _, everything = await reader.usage()
    alpha, shared = Purpose("target", "alpha", "m"), Purpose("target", None, "m")
    assert first == {
        alpha: Usage(calls=3, failed=1, unpriced=1, input_tokens=20, output_tokens=10, cost_usd=0.25, at_risk_usd=0.5)
    }
    assert tail == {shared: Usage(calls=1, abandoned=1, at_risk_usd=0.5)}
    assert everything == {**first, **tail}


async def test_a_call_that_ends_in_the_commit_in_which_it_was_sent_is_one_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sent and ended together a call is one insert; ended later it is an insert and an update of the same row."""
    statements: list[str] = []
    many = aiosqlite.Connection.executemany

    async def counting(self: aiosqlite.Connection, sql: str, rows: list[object]) -> object:
        statements.extend(f"{sql.split()[0]} {sql.split()[1]} {sql.split()[2]}" for _ in rows)
        return await many(self, sql, rows)  # type: ignore[arg-type]

    path = tmp_path / "run.db"
    async with RunWriter.open(path) as writer:
        monkeypatch.setattr(aiosqlite.Connection, "executemany", counting)
        await record(writer, call("e", "1", reserved_usd=0.0), answer(b"at once"))
        later = await writer.sent(call("e", "2", reserved_usd=0.0))
        await writer.end_session(0, "")
        assert statements == ["INSERT INTO calls"] * 2
        assert rows(path, "SELECT seq, state, ended, reserved_usd FROM calls") == [
            (1, "committed", 1, 0.0),
            (2, "sent", None, 0.0),
        ]
        writer.ended(later, answer(b"later"))
        await writer.end_session(0, "")
        assert statements[2:] == ["UPDATE calls SET"]
    assert rows(path, "SELECT seq, scope, fingerprint, role, target, model, prompt, body(request), state, ended, body(reply), "
                "input_tokens, output_tokens, cost_usd, reserved_usd FROM calls") == [
        (1, "e", "1", "target", "alpha", "m", "p@1", "{}", "committed", 1, "at once", 10, 5, 0.25, 0.0),
        (2, "e", "2", "target", "alpha", "m", "p@1", "{}", "committed", 2, "later", 10, 5, 0.25, 0.0),
    ]  # fmt: skip


async def test_what_a_killed_session_had_in_flight_is_abandoned_and_still_counts(tmp_path: Path) -> None:
    """The next session finds such calls abandoned, with what was reserved for them at risk, and numbers go on behind them."""
    path = tmp_path / "run.db"
    async with RunWriter.open(path) as writer:
        await writer.begin_session()
        await record(writer, call("e", "1"), answer())
        await writer.sent(call("e", "2"))
        await record(writer, call("e", "3"), REFUSED)
        await writer.sent(call("e", "4", reserved_usd=0.125))
    for _ in range(2):  # once and for all
        async with RunWriter.open(path) as writer:
            await writer.begin_session()
        async with RunReader.open(path) as reader:
            assert await reader.in_flight() == (0, 0.0)
            last, usage = await reader.usage()
        total = sum(usage.values(), Usage())
        assert (total.calls, total.failed, total.abandoned) == (4, 1, 2)
        assert (total.cost_usd, total.at_risk_usd, total.spent_usd) == (0.25, 0.625, 0.875)
        assert last == 4
    async with RunWriter.open(path) as writer:
        await record(writer, call("e", "2"), answer())
    assert rows(path, "SELECT seq, state, ended FROM calls ORDER BY seq") == [
        (1, "committed", 1), (2, "abandoned", 3), (3, "failed", 2), (4, "abandoned", 4), (5, "committed", 5),
    ]  # fmt: skip


@given(
    st.lists(
        st.tuples(st.sampled_from(["send", "answer", "fail", "abandon", "look", "kill"]), st.integers(0, 9)),
        max_size=40,
    )
)
@settings(max_examples=40)
def test_the_journal_always_balances(steps: list[tuple[str, int]]) -> None:
    """Whatever is sent, ends or is killed: every call is committed, failed, abandoned or in flight, and parts add up."""

    async def play(path: Path) -> None:
        expected = Counter[str]()
        seen, parts = 0, Usage()
        todo = list(steps)
        while todo:
            async with RunWriter.open(path) as writer:
                await writer.begin_session()
                expected["abandon"] += expected.pop("flying", 0)
                flying: list[int] = []
                while todo:
                    kind, place = todo.pop(0)
                    if kind == "kill":
                        break
                    if kind == "send":
                        flying.append(await writer.sent(call("e", str(len(todo)))))
                    elif kind == "look":
                        await writer.end_session(0, "")
                        async with RunReader.open(path) as reader:
                            seen, new = await reader.usage(seen)
                        parts += sum(new.values(), Usage())
                    elif flying:
                        end = {
                            "answer": answer(),
                            "fail": LATE,
                            "abandon": CallEnd(CallState.ABANDONED, at_risk_usd=0.5),
                        }[kind]
                        writer.ended(flying.pop(place % len(flying)), end)
                        expected[kind] += 1
                expected["flying"] += len(flying)
        async with RunReader.open(path) as reader:
            _, usage = await reader.usage()
            _, new = await reader.usage(seen)
            in_flight, reserved_usd = await reader.in_flight()
        total = sum(usage.values(), Usage())
        assert parts + sum(new.values(), Usage()) == total
        assert (total.failed, total.abandoned) == (expected["fail"], expected["abandon"])
        assert total.calls == expected["answer"] + expected["fail"] + expected["abandon"]
        assert (in_flight, reserved_usd) == (expected["flying"], 0.5 * expected["flying"])
        assert total.spent_usd == 0.25 * expected["answer"] + 0.5 * (expected["fail"] + expected["abandon"])

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.db"
        sqlite3.connect(path).close()
        asyncio.run(play(path))


async def test_a_killed_session_is_closed_at_its_last_sign_of_life(tmp_path: Path) -> None:
    """When the next process begins, a session that nobody ended is told as killed, as long as its newest outcome."""
    path = tmp_path / "run.db"
    async with RunWriter.open(path) as writer:
        await writer.begin_session()
        await writer.record_episode(episode(1))
    async with RunWriter.open(path) as writer:
        await writer.end_session(await writer.begin_session(), "finished")
    async with RunReader.open(path) as reader:
        killed, finished = await reader.sessions()
        assert killed.ended_at == await reader.last_sign_at()
    assert (killed.state, finished.state) == ("killed", "finished")


async def test_the_outcomes_view_has_the_documented_columns(tmp_path: Path) -> None:
    """People read a view with the columns of the contract."""
    path = tmp_path / "run.db"
    async with RunWriter.open(path) as writer:
        await writer.record_episode(episode(1))
    with sqlite3.connect(path) as connection:
        cursor = connection.execute("SELECT * FROM outcomes")
        names = [column[0] for column in cursor.description]
    connection.close()
    assert " ".join(names) == (
        "seq target mode steering behavior scenario_id value_a value_b verdict strength shown_first judge created_at"
    )


async def test_replies_that_any_judge_could_not_use_are_asked_for_again(tmp_path: Path) -> None:
    """A panel of which one timed out first and another could not be read: a resume plays neither of their replies again."""
    path = tmp_path / "run.db"
    for kind, known in (("unquoted", None), ("timeout", b"{}")):
        path.unlink(missing_ok=True)
        failed = tuple(
            Judgement(judge, "a", Verdict.JUDGE_FAILED, False, None, "", failure=f"{told}: why")
            for judge, told in (("j", "timeout"), ("k", kind))
        )
        broken = replace(episode(1, Verdict.JUDGE_FAILED, failure="timeout: why"), judgements=failed)
        async with RunWriter.open(path) as writer:
            await record(writer, replace(call(broken.outcome.key), role=Role.JUDGE), answer())
            await writer.record_episode(broken)
        async with RunWriter.open(path) as writer:
            await writer.begin_session()
            assert writer.answered(broken.outcome.key, "f") == known


async def test_judgements_keep_repeat_quotes_and_failure(tmp_path: Path) -> None:
    """As columns of their own: quotes as a JSON list, a failure beside `judge_failed`."""
    looks = (
        Judgement("j", "a", Verdict.A, True, 5, "so", 2, ("“Yes”, it is ✓",)),
        Judgement("k", "b", Verdict.JUDGE_FAILED, False, None, "", failure="unquoted: why"),
    )
    async with RunWriter.open(tmp_path / "run.db") as writer:
        await writer.record_episode(replace(episode(1), judgements=looks))
    assert rows(
        tmp_path / "run.db", "SELECT judge, choice, repeat, quotes, failure FROM judgements ORDER BY number"
    ) == [
        ("j", "a", 2, '["“Yes”, it is ✓"]', None),
        ("k", "judge_failed", 1, "[]", "unquoted: why"),
    ]


@pytest.mark.parametrize("opened_by", ["reader", "writer"])
async def test_a_file_of_the_first_version_keeps_its_calls(tmp_path: Path, opened_by: str) -> None:
    """Calls that were journaled before there were states are committed or failed, in their order, with what they cost."""
    path = tmp_path / "run.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE migrations (name TEXT PRIMARY KEY, applied_at TEXT NOT NULL DEFAULT '')")
        connection.executescript(MIGRATIONS["0001_run"])
        connection.execute("INSERT INTO migrations (name) VALUES ('0001_run')")
        connection.executemany(
            "INSERT INTO calls VALUES (?, 'e', ?, 'judge', 'm', 'p@1', '{}', ?, ?, 10, 5, ?, 0.1, '2026-01-01T00:00:00.000Z')",
            [(1, "f1", b"one", None, 0.25), (2, "f2", None, "timeout: late", None), (3, "f3", b"three", None, None)],
        )
    connection.close()
    if opened_by == "writer":
        async with RunWriter.open(path) as writer:
            await writer.begin_session()
            assert [writer.answered("e", f) for f in ("f1", "f2", "f3")] == [b"one", None, b"three"]
            await record(writer, call("e", "f4"), REFUSED)
    async with RunReader.open(path) as reader:
        last, usage = await reader.usage()
        assert await reader.in_flight() == (0, 0.0)
    assert usage.pop(Purpose("judge", None, "m")) == Usage(
        calls=3, failed=1, unpriced=1, input_tokens=30, output_tokens=15, cost_usd=0.25
    )
    assert (last, len(usage)) == ((4, 1) if opened_by == "writer" else (3, 0))


async def test_migrations_are_named_recorded_and_checked(tmp_path: Path) -> None:
    """A run file says which migrations it has been through; one from a newer version is refused, as is any other file."""
    path = tmp_path / "run.db"
    async with RunWriter.open(path):
        pass
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT name FROM migrations").fetchall() == [(name,) for name in MIGRATIONS]
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        connection.execute("INSERT INTO migrations (name) VALUES ('9999_future')")
    connection.close()
    with pytest.raises(StoreError, match=r"made by a newer version .*9999_future"):
        await outcomes(path)
    (tmp_path / "killed.db").touch()
    assert await outcomes(tmp_path / "killed.db") == []
    (tmp_path / "no.db").write_text("this is not a database, and long enough to be taken for one " * 20)
    with pytest.raises(StoreError, match="not a run file"):
        await outcomes(tmp_path / "no.db")
    with pytest.raises(StoreError, match="no such run file"):
        await outcomes(tmp_path / "missing.db")


async def test_a_call_that_costs_money_is_in_the_file_before_it_is_sent(tmp_path: Path) -> None:
    """When the lane may go on, another process already sees the row; a call that is cancelled meanwhile is abandoned at no risk."""
    path = tmp_path / "run.db"
    async with RunWriter.open(path) as writer:
        await writer.sent(call("e", "1", reserved_usd=0.5))
        assert rows(path, "SELECT state, reserved_usd FROM calls") == [("sent", 0.5)]
        waiting = asyncio.create_task(writer.sent(call("e", "2", reserved_usd=0.5)))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert rows(path, "SELECT seq, state, reserved_usd FROM calls") == [(1, "sent", 0.5), (2, "abandoned", 0.0)]


@pytest.mark.parametrize("later", [(), ("0006_panels",), ("0006_panels", "0008_labels"), ("0008_labels",)])
async def test_a_file_of_before_behaviours_keeps_its_groups_and_takes_new_ones(
    tmp_path: Path, later: tuple[str, ...]
) -> None:
    """Groups keep their numbers and what settled them; a group with a behaviour stands beside the plain one."""
    path = tmp_path / "run.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE migrations (name TEXT PRIMARY KEY, applied_at TEXT DEFAULT CURRENT_TIMESTAMP)")
        for name, script in MIGRATIONS.items():
            if name < "0006" or name in later:
                connection.executescript(script)
                connection.execute("INSERT INTO migrations (name) VALUES (?)", (name,))
        connection.execute("INSERT INTO groups VALUES (1, 'alpha', 'open_ended', NULL, 'told')")
    connection.close()
    behaving = replace(GROUP, behavior="persistent_user")
    async with RunWriter.open(path) as writer:
        await writer.record_episode(episode(1))
        await writer.record_episode(episode(2, group=behaving))
    assert [outcome.group for _, outcome in await outcomes(path)] == [GROUP, behaving]
    with sqlite3.connect(path) as connection:
        rows = connection.execute("SELECT id, behavior, settled FROM groups").fetchall()
    connection.close()
    assert rows == [(1, None, "told"), (2, "persistent_user", None)]
