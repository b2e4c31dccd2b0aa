"""What the journal knows of batches, in the process that sent them and in a later one."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from conflictscope.errors import StoreError
from conflictscope.outcome import Group, Mode, Outcome, Role, Verdict
from conflictscope.ports import BatchedCall, CallEnd, CallSent, CallState, EpisodeRecord, SentBatch
from conflictscope.store import RunReader, RunWriter

MULTIPLE_CHOICE = Group("alpha", Mode.MULTIPLE_CHOICE, None)


def sent(scope: str) -> CallSent:
    return CallSent(scope, f"print of {scope}", Role.TARGET, "alpha", "openai:alpha", "p@1", b"{}", 0.5)


def states(path: Path) -> list[tuple[int, str, str | None]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute("SELECT seq, state, batch FROM calls ORDER BY seq").fetchall()
    finally:
        connection.close()


async def test_a_batch_is_in_the_file_when_its_sender_goes_on(tmp_path: Path) -> None:
    """Whoever waits for `batch_sent` may be killed right after: another process finds the batch and its calls."""
    path = tmp_path / "run.db"
    async with RunWriter.open(path) as writer:
        numbers = [await writer.sent(sent(scope)) for scope in ("e1", "e2")]
        await writer.batch_sent("b1", "openai:alpha", b'{"id":"b1"}', numbers)
        assert states(path) == [(1, "sent", "b1"), (2, "sent", "b1")]


async def test_a_later_process_is_given_what_was_not_collected(tmp_path: Path) -> None:
    """Calls in batches stay as they are, with what is reserved for them; what was on its way otherwise is abandoned."""
    path = tmp_path / "run.db"
    async with RunWriter.open(path) as writer:
        numbers = [await writer.sent(sent(scope)) for scope in ("e1", "e2", "e3")]
        await writer.batch_sent("b1", "openai:alpha", b"{}", numbers[:2])
        writer.ended(numbers[0], CallEnd(CallState.COMMITTED, reply=b"{}"))
    async with RunWriter.open(path) as writer, RunReader.open(path) as reader:
        await writer.begin_session()
        (batch,) = await writer.sent_batches()
        assert batch == SentBatch("b1", "openai:alpha", b"{}", [BatchedCall(2, "e2", "print of e2", b"{}", 0.5)])
        assert await reader.in_flight() == (1, 0.5)
        assert await reader.in_batches() == 1
    assert states(path) == [(1, "committed", "b1"), (2, "sent", "b1"), (3, "abandoned", None)]


async def test_a_batch_that_was_collected_is_not_given_again(tmp_path: Path) -> None:
    """Its calls have ended, and the time is kept."""
    path = tmp_path / "run.db"
    async with RunWriter.open(path) as writer:
        number = await writer.sent(sent("e1"))
        await writer.batch_sent("b1", "openai:alpha", b"{}", [number])
        writer.ended(number, CallEnd(CallState.FAILED, failure="expired: late"))
        writer.batch_ended("b1")
    async with RunWriter.open(path) as writer:
        await writer.begin_session()
        assert await writer.sent_batches() == []
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT count(*) FROM batches WHERE ended_at >= sent_at").fetchall() == [(1,)]
    connection.close()


async def test_a_call_whose_episode_ended_without_it_is_abandoned(tmp_path: Path) -> None:
    """Nobody will ask for it again, and what is reserved for it must not be held for ever."""
    path = tmp_path / "run.db"
    outcome = Outcome(MULTIPLE_CHOICE, "s1", 1, "x", "y", Verdict.A, None, "a", "parser")
    async with RunWriter.open(path) as writer:
        number = await writer.sent(sent(outcome.key))
        await writer.batch_sent("b1", "openai:alpha", b"{}", [number])
        await writer.record_episode(EpisodeRecord(outcome, 1, (), (), None, 0.1))
    async with RunWriter.open(path) as writer:
        await writer.begin_session()
        assert await writer.sent_batches() == []
    assert states(path) == [(1, "abandoned", "b1")]


async def test_a_batch_that_cannot_be_written_down_keeps_nobody_waiting(tmp_path: Path) -> None:
    """A file that can no longer be written ends the run with StoreError."""
    with pytest.raises(StoreError):
        async with RunWriter.open(tmp_path / "run.db") as writer:
            await writer.batch_sent("b1", "m", b"{}", [])
            await writer.batch_sent("b1", "m", b"{}", [])  # an id is there once
