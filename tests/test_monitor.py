from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conflictscope import pipeline
from conflictscope.board import Board, EpisodeFilter
from conflictscope.errors import StoreError
from conflictscope.monitor import Monitor
from conflictscope.outcome import Group, Judgement, Message, Mode, Outcome, Role, Verdict
from conflictscope.ports import CallEnd, CallSent, CallState, EpisodeRecord
from conflictscope.ranking import GroupFold, GroupHistory
from conflictscope.ranking.history import MOST_POINTS
from conflictscope.runfolder import RunFolder
from conflictscope.store import RunReader, RunWriter
from conflictscope.store.migrations import MIGRATIONS
from conflictscope.timeline import MOST_STRETCHES, Timeline, Work

VALUES = ["x", "y", "z"]
PAIRS = list(itertools.combinations(VALUES, 2))
GROUPS = [
    Group("alpha", Mode.OPEN_ENDED),
    Group("alpha", Mode.OPEN_ENDED, None, "rushed"),
    Group("beta", Mode.MULTIPLE_CHOICE),
]
DRAWN = st.tuples(
    st.integers(0, 2),
    st.integers(0, 2),
    st.booleans(),
    st.sampled_from(list(Verdict)),
    st.sampled_from(["same", "flip", "none"]),
)


def episode(number: int, drawn: tuple[int, int, bool, Verdict, str]) -> EpisodeRecord:
    group, pair, straight, verdict, seen = drawn
    a, b = PAIRS[pair] if straight else PAIRS[pair][::-1]
    choices = {"same": (Verdict.A, Verdict.A), "flip": (Verdict.A, Verdict.B), "none": ()}[seen]
    looks = tuple(
        Judgement("judge", side, choice, True, 4, "because") for side, choice in zip("ab", choices, strict=False)
    )
    outcome = Outcome(GROUPS[group], f"s{number % 7}-{pair}", number, a, b, verdict, None, "a", "judge")
    failure = "timeout: late" if verdict.failed else None
    return EpisodeRecord(
        outcome, number, (Message(Role.USER, "hello"), Message(Role.TARGET, "there")), looks, failure, 0.5
    )


async def play(writer: RunWriter, first: int, some: Sequence[tuple[int, int, bool, Verdict, str]]) -> None:
    for number, drawn in enumerate(some, start=first):
        one = episode(number, drawn)
        target = one.outcome.group.target
        sent = await writer.sent(CallSent(one.outcome.key, "f", Role.TARGET, target, "m", "p@1", b"{}", 0.0))
        end = CallEnd(
            CallState.COMMITTED, reply=b"{}", input_tokens=number, output_tokens=1, cost_usd=0.5, latency_s=2.0
        )
        writer.ended(sent, CallEnd(CallState.FAILED, failure="timeout: late") if one.failure else end)
        await writer.record_episode(one)
    await writer.commit("SELECT 1", [])


def told(board: Board) -> list[object]:
    """All of a board that hangs on the run file alone; what floating-point sums make of it, to eight decimals."""

    def rounded(found: object) -> object:
        if isinstance(found, float):
            return round(found, 8) + 0.0
        if isinstance(found, dict):
            return {key: rounded(value) for key, value in found.items()}
        return [rounded(value) for value in found] if isinstance(found, list | tuple) else found

    histories = [
        (group, one.values, one.outcomes.tolist(), one.mu.tolist(), one.low.tolist(), one.high.tolist())
        for group, one in board.histories.items()
    ]
    progress = board.snapshot.progress
    return [
        [rounded(ranking.to_json()) for ranking in (*board.snapshot.rankings, *board.rankings)],
        rounded(histories),
        board.flips,
        board.timeline,
        board.failures,
        [progress.verdicts, progress.usage, board.snapshot.recent, board.snapshot.conversation],
    ]


@settings(max_examples=15, deadline=None)
@given(st.lists(DRAWN, min_size=1, max_size=60), st.data())
async def test_any_split_of_the_log_gives_the_same_board(
    log: list[tuple[int, int, bool, Verdict, str]], data: st.DataObject
) -> None:
    """A monitor that looked at any moments has the board of one that looks once, at the end."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(log)), max_size=4)))
    with tempfile.TemporaryDirectory() as name:
        folder = RunFolder(Path(name))
        async with RunWriter.open(folder.database) as writer, RunReader.open(folder.database) as reader:
            await writer.begin({"kind": "import", "name": "r"}, VALUES)
            often, once = Monitor(reader, folder), Monitor(reader, folder)
            for begin, end in itertools.pairwise([0, *cuts, len(log)]):
                await play(writer, begin, log[begin:end])
                split = await often.board()
            whole = await once.board()
        assert told(split) == told(whole)
        for group, one in split.histories.items():
            assert np.allclose(one.doubt, whole.histories[group].doubt, atol=1e-6)


LOG = [
    (
        number % 3,
        number % 2 + (number % 5 == 0),
        number % 4 > 0,
        list(Verdict)[number * 7 % 9],
        ["same", "flip", "none"][number % 3],
    )
    for number in range(120)
]


async def stored(folder: RunFolder) -> None:
    async with RunWriter.open(folder.database) as writer:
        await writer.begin({"kind": "import", "name": "r"}, VALUES)
        await play(writer, 0, LOG)


async def test_a_look_that_was_cancelled_counts_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cancelled in the midst of what is new, as a viewer is when a run ends: the next look has what a fresh monitor has."""
    folder = RunFolder(tmp_path)
    async with RunWriter.open(folder.database) as writer, RunReader.open(folder.database) as reader:
        await writer.begin({"kind": "import", "name": "r"}, VALUES)
        beta = [drawn for drawn in LOG if drawn[0] == 2]
        await play(writer, 0, beta[:3])
        monitor = Monitor(reader, folder)
        await monitor.board()
        await play(writer, 3, [*beta[3:8], LOG[0]])  # then the first one of a group that is not known yet
        amid, groups = asyncio.Event(), reader.groups

        async def looked_up() -> dict[int, Group]:
            amid.set()
            await asyncio.Event().wait()
            return await groups()

        with monkeypatch.context() as patched:
            patched.setattr(reader, "groups", looked_up)
            look = asyncio.create_task(monitor.board())
            await amid.wait()
            look.cancel()
            with pytest.raises(asyncio.CancelledError):
                await look
        assert told(await monitor.board()) == told(await Monitor(reader, folder).board())


async def test_status_says_what_a_run_takes_on_the_disk(tmp_path: Path) -> None:
    """The size of its file when nobody works on it, also while most of it stands in the log beside it; and by episode."""
    folder = RunFolder(tmp_path)
    async with RunWriter.open(folder.database) as writer:
        await writer.begin({"kind": "sweep", "name": "r", "planned": 1000}, VALUES)
        empty = (await pipeline.status(folder)).to_json()
        await play(writer, 0, LOG)
        await writer.end_session(0, "finished")
        status = (await pipeline.status(folder)).to_json()
    size = folder.database.stat().st_size
    assert (empty["stored_bytes"] > 0, empty["bytes_per_episode"]) == (True, None)
    assert (status["stored_bytes"], status["bytes_per_episode"]) == (size, size / len(LOG))


async def test_a_board_says_what_rank_and_status_say(tmp_path: Path) -> None:
    """Live rankings, progress and failures are those of `status`; the joint posterior is that of `rank` in all but its checks."""
    folder = RunFolder(tmp_path)
    await stored(folder)
    async with RunReader.open(folder.database) as reader:
        board = await Monitor(reader, folder).board()
        flips = {
            (row.group, judge): looks for row in await reader.judged_groups() for judge, looks in row.looks.items()
        }
        assert board.failures == await reader.failures()
    status, ranked = await pipeline.status(folder), await pipeline.rank(folder, judge_error="none")
    assert [one.to_json() for one in board.snapshot.rankings] == [one.to_json() for one in status.rankings]
    assert board.snapshot.progress.verdicts == status.progress.verdicts
    assert board.snapshot.progress.verdicts[Verdict.A] == sum(verdict is Verdict.A for _, _, _, verdict, _ in LOG)
    assert (
        [one.group for one in board.rankings] == [one.group for one in board.snapshot.rankings] == list(board.histories)
    )
    by_group = {one.group: one for one in ranked}
    for one in board.rankings:
        known = {key: value for key, value in one.to_json().items() if key not in ("checks", "model", "notes")}
        assert known == {key: value for key, value in by_group[one.group].to_json().items() if key in known}
        assert board.histories[one.group].outcomes[-1] == one.outcomes
        assert board.histories[one.group].doubt[-1] == one.convergence.doubt
    for (group, _), looks in flips.items():
        seen = board.flips[group].values()
        assert (sum(one.flipped for one in seen), sum(one.looked for one in seen)) == (
            looks.changed,
            looks.conversations,
        )
    assert sum(one.episodes for one in board.timeline) == sum(one.calls for one in board.timeline) == len(LOG)
    assert {one.latency_s for one in board.timeline if one.calls > one.failed_calls} == {2.0}


async def test_a_resumed_run_is_read_anew(tmp_path: Path) -> None:
    """A monitor that saw failed episodes follows when a resume takes them out and plays them again, under the same numbers."""
    folder = RunFolder(tmp_path)
    async with RunWriter.open(folder.database) as writer, RunReader.open(folder.database) as reader:
        await writer.begin({"kind": "sweep", "name": "r"}, VALUES)
        await writer.begin_session()
        await play(writer, 0, [(0, 0, True, Verdict.A, "none"), (0, 0, True, Verdict.TARGET_FAILED, "none")])
        monitor = Monitor(reader, folder)
        assert (await monitor.board()).failures == {"timeout": 1}
    async with RunWriter.open(folder.database) as writer, RunReader.open(folder.database) as reader:
        monitor = Monitor(reader, folder)
        await monitor.board()
        await writer.begin_session()
        await play(writer, 1, [(0, 0, True, Verdict.B, "none")])
        board = await monitor.board()
    assert board.failures == {}
    assert board.snapshot.progress.verdicts == {Verdict.A: 1, Verdict.B: 1}
    assert board.rankings[0].outcomes == 2


@pytest.mark.parametrize("outcomes", [1, MOST_POINTS - 1, MOST_POINTS, 3 * MOST_POINTS, 1_000])
def test_a_history_is_thinned_and_ends_with_the_present(outcomes: int) -> None:
    """At most MOST_POINTS points, evenly spaced; all of them where there is room; the last one is the present state."""
    fold = GroupFold(GROUPS[0], VALUES)
    history = GroupHistory(fold)
    for number in range(outcomes):
        drawn = (0, number % 3, True, Verdict.A if number % 3 else Verdict.TIE, "none")
        if fold.add(episode(number, drawn).outcome):
            history.note()
    found = history.history()
    steps = set(np.diff(found.outcomes[:-1]).tolist())
    assert len(steps) <= 1
    assert (
        MOST_POINTS / 2 - 1 <= len(found.outcomes) <= MOST_POINTS
        if outcomes >= MOST_POINTS
        else len(found.outcomes) == outcomes
    )
    assert found.outcomes[-1] == outcomes
    assert found.mu[-1].tolist() == [rating.mu for rating in fold.ratings()]
    assert np.all((found.low <= found.mu) & (found.mu <= found.high))
    assert np.all((found.doubt >= 0) & (found.doubt <= 2))


def test_the_doubt_of_former_points_is_nearly_that_of_the_fit() -> None:
    """Within 0.02 of what the joint posterior said at the time after 25 outcomes; where scenarios are repeated, 0.05 after 100."""
    rng = np.random.default_rng(0)
    for repeats, first, most in ((1, 25, 0.02), (5, 100, 0.05)):
        fold = GroupFold(GROUPS[0], VALUES)
        history, exact = GroupHistory(fold), []
        for number in range(150):
            a, b = PAIRS[number // repeats % 3]
            won = Verdict.A if rng.normal(0.3) > 0 else Verdict.TIE if number % 11 == 0 else Verdict.B
            fold.add(Outcome(GROUPS[0], f"s{number // repeats}", number, a, b, won))
            history.note()
            exact.append(fold.convergence.doubt)
        assert history.history().doubt[first:] == pytest.approx(np.array(exact[first:]), abs=most)


def test_a_timeline_has_a_bounded_number_of_stretches_and_no_pauses() -> None:
    """However long the run: sums stay, a standstill within a session shows, the time between two sessions does not."""
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    sessions = [(begin, begin + timedelta(hours=1)), (begin + timedelta(days=30), begin + timedelta(days=30, hours=1))]
    timeline = Timeline()
    for day in (0, 30):
        for second in (*range(0, 600, 7), 3_600):
            moment = begin + timedelta(days=day, seconds=second)
            timeline.add(moment.replace(tzinfo=None).isoformat(), Work(episodes=1))
    timeline.fit(sessions)
    stretches = timeline.stretches()
    assert MOST_STRETCHES / 2 <= len(stretches) <= MOST_STRETCHES
    assert sum(one.episodes for one in stretches) == 2 * 87
    assert any(one.episodes == 0 for one in stretches)
    starts = [datetime.fromisoformat(one.start) for one in stretches]
    assert sum(later - earlier > timedelta(days=1) for earlier, later in itertools.pairwise(starts)) == 1


async def test_a_copy_of_a_run_gives_the_same_board(tmp_path: Path) -> None:
    """The run file alone is enough, wherever it lies."""
    one, other = RunFolder(tmp_path / "one"), RunFolder(tmp_path / "other")
    one.create()
    await stored(one)
    other.create()
    shutil.copy(one.database, other.database)
    boards = []
    for folder in (one, other):
        async with RunReader.open(folder.database) as reader:
            boards.append(told(await Monitor(reader, folder).board()))
    assert boards[0] == boards[1]


async def test_a_finished_run_opens_where_nothing_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a read-only disk the file is read as it is, and nothing is put beside it; one of an older version is refused in words."""
    folder = RunFolder(tmp_path)
    await stored(folder)
    before = sorted(tmp_path.iterdir())
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
    async with RunReader.open(folder.database) as reader:
        assert sum((await Monitor(reader, folder).board()).snapshot.progress.verdicts.values()) == len(LOG)
        assert sorted(tmp_path.iterdir()) == before
    monkeypatch.setitem(MIGRATIONS, "9999_later", "")
    with pytest.raises(StoreError, match="copy its folder elsewhere"):
        async with RunReader.open(folder.database):
            pass


@settings(max_examples=8, deadline=None)
@given(st.lists(DRAWN, min_size=5, max_size=60), st.integers(1, 11))
async def test_a_look_without_patience_tells_what_is_read_so_far_and_ends_where_a_whole_one_does(
    log: list[tuple[int, int, bool, Verdict, str]], at_once: int
) -> None:
    """Each look says how much is read; no rate, forecast or time left is made of the reading; the last board is the whole one's."""
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr("conflictscope.store.browsing._ROWS_AT_ONCE", at_once)
        patch.setattr("conflictscope.store.browsing._CALLS_AT_ONCE", at_once)
        folder = RunFolder(Path(name))
        async with RunWriter.open(folder.database) as writer, RunReader.open(folder.database) as reader:
            await writer.begin({"kind": "sweep", "name": "r", "planned": 1000}, VALUES)
            await writer.begin_session({})
            await play(writer, 0, log)
            hasty, shares = Monitor(reader, folder, patience_s=0.0), list[float]()
            while (board := await hasty.board()).snapshot.progress.read < 1:
                progress = board.snapshot.progress
                assert (progress.rate_per_s, progress.forecast_usd, progress.remaining_s) == (0.0, None, None)
                assert progress.done <= len(log)
                shares.append(progress.read)
                assert len(shares) <= len(log) + 1
            assert shares == sorted(shares)
            assert len(log) <= at_once or shares
            assert told(board) == told(await Monitor(reader, folder).board())


async def test_a_page_from_far_beyond_the_end_is_the_first_page(tmp_path: Path) -> None:
    """However large the number in an address, nobody looks for episodes that there never were."""
    folder = RunFolder(tmp_path)
    await stored(folder)
    async with RunReader.open(folder.database) as reader:
        assert await reader.episode_page(EpisodeFilter(), before=10**18) == await reader.episode_page(EpisodeFilter())


async def test_several_who_open_a_run_of_before_at_once_bring_it_up_to_date_once(tmp_path: Path) -> None:
    """Two pages of a browser come at the same moment."""
    folder = RunFolder(tmp_path)
    await stored(folder)
    with contextlib.closing(sqlite3.connect(folder.database)) as former:
        former.executescript(
            "DROP INDEX scenarios_by_pair; DROP INDEX verdicts_by_kind; DELETE FROM migrations WHERE name = '0009_views'"
        )

    async def look() -> int:
        async with RunReader.open(folder.database) as reader:
            return (await Monitor(reader, folder).board()).snapshot.progress.done

    assert await asyncio.gather(*(look() for _ in range(6))) == [len(LOG)] * 6
