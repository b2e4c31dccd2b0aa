from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterable
from pathlib import Path

import pytest

from conflictscope.errors import StoreError
from conflictscope.outcome import Group, Judgement, Message, Mode, Outcome, Role, Verdict
from conflictscope.ports import CallRecord, EpisodeRecord
from conflictscope.store import RunReader, RunWriter
from conflictscope.store import writer as writer_module

GROUP = Group("alpha", Mode.OPEN_ENDED, None)


def episode(
    number: int, verdict: Verdict = Verdict.A, group: Group = GROUP, failure: str | None = None
) -> EpisodeRecord:
    outcome = Outcome(group, f"s{number}", 1, "x", "y", verdict, 5, "a", "judge")
    transcript = (Message(Role.USER, "hello"), Message(Role.TARGET, "\x00 <b>hostile\ud7ff ✓"))
    judgement = Judgement("judge", "a", Verdict.A, True, 5, "because")
    return EpisodeRecord(outcome, 2**63 - 1, transcript, (judgement,), failure, 0.5)


def call(scope: str, fingerprint: str, reply: bytes | None = b"{}") -> CallRecord:
    failure = None if reply else "timeout: late"
    return CallRecord(scope, fingerprint, Role.TARGET, "m", "p@1", b"{}", reply, failure, 10, 5, 0.25, 0.1)


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


async def test_a_conversation_is_read_back_as_it_was_said(tmp_path: Path) -> None:
    """Messages, control characters and all, and the judge's reasoning survive the store."""
    async with RunWriter.open(tmp_path / "run.db") as writer:
        await writer.record_episode(episode(0))
    async with RunReader.open(tmp_path / "run.db") as reader:
        conversation = await reader.conversation(1)
    assert tuple(conversation.transcript) == episode(0).transcript
    assert conversation.conclusion == "x over y. because"


async def test_commits_come_in_groups_within_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A burst is committed in groups of at most 200 rows, a lone row without waiting for more than 50 ms of others."""
    groups: list[int] = []
    commit = RunWriter._commit

    async def counting(self: RunWriter, group: list[object]) -> None:
        groups.append(len(group))
        await commit(self, group)  # type: ignore[arg-type]

    monkeypatch.setattr(RunWriter, "_commit", counting)
    assert (writer_module.COMMIT_ROWS, writer_module.COMMIT_S) == (200, 0.05)
    async with RunWriter.open(tmp_path / "run.db") as writer:
        for number in range(1000):
            await writer.record_episode(episode(number))
    assert sum(groups) == 1000
    assert max(groups) == 200
    assert len(groups) < 20
    groups.clear()
    async with RunWriter.open(tmp_path / "run.db") as writer:
        await writer.record_episode(episode(1000))
        async with asyncio.timeout(5):
            while not groups:
                await asyncio.sleep(0.005)
    assert groups == [1]


async def test_calls_and_openings_are_committed_before_the_outcome_that_rests_on_them(tmp_path: Path) -> None:
    """Whatever prefix of the commits survives, an outcome in it has its calls and its opening message in it."""
    path = tmp_path / "run.db"
    async with RunWriter.open(path) as writer:
        for number in range(300):
            await writer.record(call(f"opening/s{number}", "f"))
            await writer.record_opening(f"s{number}", "hi")
            await writer.record(call(episode(number).outcome.key, "f"))
            await writer.record_episode(episode(number))

            with sqlite3.connect(path) as other:
                orphans = other.execute(
                    """SELECT count(*) FROM episodes WHERE key NOT IN (SELECT scope FROM calls)
                       OR scenario_id NOT IN (SELECT scenario_id FROM openings)"""
                ).fetchone()
            other.close()
            assert orphans == (0,)


async def test_a_resumed_run_knows_the_answers_of_unfinished_episodes_only(tmp_path: Path) -> None:
    """Replies of episodes that ended are not loaded; those of episodes that did not are; failed calls are no answers."""
    path = tmp_path / "run.db"
    finished = episode(1).outcome.key
    async with RunWriter.open(path) as writer:
        await writer.record(call(finished, "f1", b"done"))
        await writer.record_episode(episode(1))
        await writer.record(call("unfinished", "f2", b"kept"))
        await writer.record(call("unfinished", "f3", None))
        await writer.record(call("opening/s1", "f4", b"opened"))
        await writer.record_opening("s1", "hi")
    async with RunWriter.open(path) as writer:
        assert await writer.answered("unfinished", "f2") == b"kept"
        assert await writer.answered("unfinished", "f3") is None
        assert await writer.answered(finished, "f1") is None
        assert await writer.answered("opening/s1", "f4") is None
        assert await writer.opening("s1") == "hi"
        assert await writer.finished([finished, "unfinished"]) == {finished}


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
    """Totals after a row count only what is new; failed and unpriced calls are told apart."""
    path = tmp_path / "run.db"
    async with RunWriter.open(path) as writer:
        await writer.record(call("e", "1"))
        await writer.record(call("e", "2", None))
        await writer.record(call("e", "3"))
    async with RunReader.open(path) as reader:
        everything, tail, nothing = [await reader.call_totals(after) for after in (0, 2, 3)]
    assert (everything.calls, everything.failed, everything.input_tokens, everything.cost_usd) == (3, 1, 30, 0.75)
    assert (tail.calls, tail.last_seq) == (1, 3)
    assert (nothing.calls, nothing.last_seq) == (0, 3)


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
        assert killed.ended_at == await reader.last_outcome_at()
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
        "seq target mode steering scenario_id value_a value_b verdict strength shown_first judge created_at"
    )


async def test_migrations_are_named_recorded_and_checked(tmp_path: Path) -> None:
    """A run file says which migrations it has been through; one from a newer version is refused, as is any other file."""
    path = tmp_path / "run.db"
    async with RunWriter.open(path):
        pass
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT name FROM migrations").fetchall() == [("0001_run",)]
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
