"""What the run file tells of the lanes of a run, as a view in another process would read it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from conflictscope import pipeline
from conflictscope.monitor import Monitor
from conflictscope.snapshot import Snapshot

MakeSweep = Callable[..., pipeline.Sweep]


async def test_a_view_sees_the_lanes_while_the_run_goes_on_and_how_they_ended(
    make_sweep: MakeSweep, tmp_path: Path
) -> None:
    """Busy ones while it goes on, with the sweep's limit; at the end all of them, and nothing is in flight."""
    seen: list[Snapshot] = []

    async def viewer(monitor: Monitor) -> None:
        while True:
            seen.append(await monitor.snapshot())
            await asyncio.sleep(0.05)

    sweep = make_sweep("limits.concurrency=9", scenarios=24, median_s=0.2, p95_s=0.5)
    result = await pipeline.run_sweep(sweep, tmp_path, viewer)
    busy = [lane for snapshot in seen for lane in snapshot.progress.lanes if lane.in_flight]
    assert busy
    assert all(lane.in_flight <= lane.limit == lane.most == 9 for lane in busy)
    lanes = result.snapshot.progress.lanes
    assert {"planted:user", "planted:judge"} < {lane.model for lane in lanes}
    assert all((lane.in_flight, lane.waiting, lane.closed) == (0, 0, None) for lane in lanes)
    assert [lane["model"] for lane in result.snapshot.to_json()["lanes"]] == sorted(lane.model for lane in lanes)
