from __future__ import annotations

from pathlib import Path

from conflictscope.snapshot import LaneLoad
from conflictscope.store import RunReader, RunWriter

BUSY = LaneLoad("openai:m", 7, 8, 64, 3, 2, 5)
SHUT = LaneLoad("openai:n", 0, 64, 64, 0, 0, 5, "no such key")


async def test_the_last_word_on_each_lane_is_what_is_read(tmp_path: Path) -> None:
    """One row a lane, overwritten: the file does not grow by it."""
    path = tmp_path / "run.db"
    async with RunWriter.open(path) as writer:
        for _ in range(100):
            writer.record_lanes([BUSY])
        writer.record_lanes([SHUT, LaneLoad("openai:m", 0, 8, 64, 0, 2, 5)])
    async with RunReader.open(path) as reader:
        assert await reader.lanes() == [LaneLoad("openai:m", 0, 8, 64, 0, 2, 5), SHUT]


async def test_a_new_stretch_of_work_begins_without_the_lanes_of_the_one_before(tmp_path: Path) -> None:
    """What a former process used is no lane of this one; to judge stored conversations anew leaves the run's as they were."""
    path = tmp_path / "run.db"
    async with RunWriter.open(path) as writer:
        writer.record_lanes([BUSY])
    async with RunWriter.open(path) as writer, RunReader.open(path) as reader:
        await writer.begin_session(work="rejudge")
        assert await reader.lanes() == [BUSY]
        await writer.begin_session()
        assert await reader.lanes() == []
