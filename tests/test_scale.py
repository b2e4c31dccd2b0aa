"""What a run of a million episodes needs: nothing is kept of an episode, and no query reads the whole file to tell a part of it."""

from __future__ import annotations

import gc
import re
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest

from conflictscope import pipeline
from conflictscope.arena.lanes.throttle import RateLimit
from conflictscope.board import EpisodeFilter
from conflictscope.monitor import Monitor
from conflictscope.outcome import Group, Judgement, Message, Mode, Outcome, Role, Verdict
from conflictscope.ports import CallEnd, CallSent, CallState, EpisodeRecord
from conflictscope.runfolder import RunFolder
from conflictscope.store import RunReader, RunWriter
from conflictscope.tidy import STORED, Table

GROUPS = (Group("alpha", Mode.OPEN_ENDED), Group("beta", Mode.OPEN_ENDED))
SCENARIOS = 20


def kept() -> int:
    """How many blocks of memory the process holds: a block for each object, and for each string."""
    gc.collect()
    return sys.getallocatedblocks()


def record(number: int, verdict: Verdict = Verdict.A) -> EpisodeRecord:
    """The n-th episode of a run that plays the same scenarios again and again."""
    turn, place = divmod(number, SCENARIOS * len(GROUPS))
    scenario, group = divmod(place, len(GROUPS))
    outcome = Outcome(GROUPS[group], f"s{scenario}", turn + 1, "x", "y", verdict, 5, "a", "judge")
    said = (Message(Role.USER, "hello"), Message(Role.TARGET, "words"))
    failure = "timeout: late" if verdict.failed else None
    return EpisodeRecord(outcome, number, said, (Judgement("judge", "a", Verdict.A, True, 5, "so"),), failure, 0.5)


async def write(writer: RunWriter, numbers: range) -> None:
    for number in numbers:
        one = record(number, Verdict.TARGET_FAILED if number % 50 == 0 else Verdict.A if number % 3 else Verdict.B)
        sent = await writer.sent(CallSent(one.outcome.key, "f", Role.TARGET, "alpha", "m", "p@1", b"{}", 0.0))
        writer.ended(sent, CallEnd(CallState.COMMITTED, reply=b"{}", cost_usd=0.5, latency_s=2.0))
        await writer.record_episode(one)


async def test_a_run_keeps_nothing_of_an_episode(
    make_sweep: Callable[..., pipeline.Sweep], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After 1,200 episodes the process holds what it held after 700, with the same scenarios."""
    looks: list[int] = []
    store, stored = RunWriter.record_episode, count(1)

    async def recorded(writer: RunWriter, one: EpisodeRecord) -> None:
        await store(writer, one)
        if next(stored) in (700, 1_200):  # the scheduler looks 500 ahead: it holds as many at both
            await writer._idle.wait()
            looks.append(kept())

    monkeypatch.setattr(RunWriter, "record_episode", recorded)
    assert RateLimit.__init__.__kwdefaults__ is not None
    monkeypatch.setitem(RateLimit.__init__.__kwdefaults__, "window_s", 0.0)  # else it keeps what it let in for a minute
    sweep = make_sweep("limits.done_share=0.76", scenarios=10, targets=2, repeats=80, concurrency=1)
    result = await pipeline.run_sweep(sweep, tmp_path / "runs")
    assert result.state == "enough"
    assert looks[1] - looks[0] < 250  # half a block an episode


async def test_who_looks_on_keeps_a_byte_of_an_episode_at_most(tmp_path: Path) -> None:
    """A board after 4,000 episodes of the same scenarios is made from what one after 1,000 is made from."""
    folder = RunFolder(tmp_path / "r")
    folder.create()
    looks = []
    async with RunWriter.open(folder.database) as writer, RunReader.open(folder.database) as reader:
        await writer.begin({"kind": "sweep", "name": "r"}, ["x", "y"])
        session = await writer.begin_session()
        monitor = Monitor(reader, folder)
        for numbers in (range(1_000), range(1_000, 4_000)):
            await write(writer, numbers)
            await writer._idle.wait()
            await monitor.board()
            looks.append(kept())
        await writer.end_session(session, "finished")
    assert looks[1] - looks[0] < 3_000


SCAN = re.compile(r"SCAN (?!.*COVERING INDEX)(e|c|j|x|o|episodes|calls|judgements)\b")
SORTED = re.compile(r"TEMP B-TREE FOR (RIGHT PART OF |LAST TERM OF )?ORDER BY")


def plans(path: Path, statements: list[str]) -> dict[str, list[str]]:
    """How SQLite goes about each statement that reads or changes what is there."""
    with closing(sqlite3.connect(path)) as database:
        return {
            one: [step for *_, step in database.execute(f"EXPLAIN QUERY PLAN {one}")]
            for one in statements
            if one.lstrip().startswith(("SELECT", "UPDATE", "DELETE"))
        }


@pytest.fixture
async def stored(tmp_path: Path) -> Path:
    path = tmp_path / "run.db"
    async with RunWriter.open(path) as writer:
        await writer.begin({"kind": "sweep", "name": "r"}, ["x", "y"])
        await write(writer, range(200))
    return path


async def test_a_resume_reads_no_conversation_and_no_request_of_what_is_done(stored: Path) -> None:
    """What a session begins with is found by indexes, however long the run."""
    statements: list[str] = []
    async with RunWriter.open(stored) as writer:
        await writer.connection.set_trace_callback(statements.append)
        await writer._load()
        await writer.begin_session()
        await writer.sent_batches()
        await writer.finished([record(7).outcome.key])
    async with RunReader.open(stored) as reader:
        await reader._connection.set_trace_callback(statements.append)
        assert await reader.spent_usd() == (200, 100.0)
        assert await reader.episodes() == 196
        await reader.lost_looks()
        await reader.failures()
        await reader.episode_page(EpisodeFilter())
        await reader.filter_choices()
    found = plans(stored, statements)
    assert len(found) > 20
    scans = {one: steps for one, steps in found.items() if any(map(SCAN.search, steps)) and "LIMIT 1" not in one}
    assert not scans


async def test_rankings_and_audits_read_no_conversation(stored: Path) -> None:
    """All that outcomes are folded from lies in an index; that is read as it lies there, and then sorted."""
    statements: list[str] = []
    async with RunReader.open(stored) as reader:
        await reader._connection.set_trace_callback(statements.append)
        outcomes = [outcome async for outcome in reader.canonical_outcomes()]
        judged = [episode.outcome async for episode in reader.judged_episodes()]
    assert len(outcomes) == 200
    assert judged == outcomes
    steps = {step for one, steps in plans(stored, statements).items() if "fold_position" in one for step in steps}
    assert "SEARCH e USING COVERING INDEX episodes_by_group (group_id=?)" in steps
    assert not any(map(SCAN.search, steps))


@pytest.mark.parametrize("table", STORED, ids=lambda table: table.name)
async def test_tables_are_exported_as_they_are_read(stored: Path, table: Table) -> None:
    """No table is sorted before its first rows come."""
    statements: list[str] = []
    async with RunReader.open(stored) as reader:
        await reader._connection.set_trace_callback(statements.append)
        async for _ in reader.table(table):
            pass
    [(one, steps)] = plans(stored, statements).items()
    assert not [step for step in steps if SORTED.search(step)], one


async def test_a_resume_with_nothing_left_does_not_look_through_the_plan(
    make_sweep: Callable[..., pipeline.Sweep], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All is there by its number: the store is not asked for one key."""
    sweep = make_sweep(scenarios=4, targets=1)
    await pipeline.run_sweep(sweep, tmp_path / "runs")

    async def finished(*_: object) -> set[str]:
        raise AssertionError("asked for keys")

    monkeypatch.setattr(RunWriter, "finished", finished)
    told: list[str] = []
    result = await pipeline.run_sweep(sweep, tmp_path / "runs", tell=told.append)
    assert (result.state, result.exit_code, result.snapshot.progress.done) == ("finished", 0, 4)
    assert told == ["Resuming bench: 4 of 4 episodes are there, nothing is left to ask."]
