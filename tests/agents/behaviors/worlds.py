"""A small planted sweep whose target may ask back first, or decline, as a behaviour needs it."""

from __future__ import annotations

import sqlite3
import tomllib
from pathlib import Path
from typing import Any

import tomli_w

from benchmarks.worlds import write_sweep
from conflictscope import pipeline
from conflictscope.outcome import Group
from conflictscope.store import readable


def sweep_in(folder: Path, *overrides: str, scenarios: int = 4, **target: float) -> pipeline.Sweep:
    """One target; target: its rates in the world."""
    path = write_sweep(folder / "sweep", scenarios=scenarios, targets=1)
    world_path = path.parent / "world.toml"
    world = tomllib.loads(world_path.read_text())
    world["targets"]["alpha"] |= target
    world_path.write_text(tomli_w.dumps(world))
    return pipeline.load_sweep(str(path), overrides)


async def play(sweep: pipeline.Sweep, folder: Path) -> Path:
    """Play it to its end; returns its database."""
    result = await pipeline.run_sweep(sweep, folder / "runs")
    assert result.state == "finished"
    return result.folder.database


def rows(database: Path, query: str) -> list[Any]:
    """What a run file holds; `body` reads requests and replies."""
    connection = readable(sqlite3.connect(database))
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def conversations(database: Path, behavior: str | None) -> list[list[tuple[str, str]]]:
    """Who said what, in each conversation with a behaviour, by scenario."""
    query = """SELECT json_extract(m.value, '$.role'), json_extract(m.value, '$.text'), e.seq FROM episodes e
               JOIN groups g ON g.id = e.group_id, json_each(e.transcript) m WHERE g.behavior IS ? ORDER BY e.scenario_id, m.key"""
    connection = sqlite3.connect(database)
    found: dict[int, list[tuple[str, str]]] = {}
    for role, text, seq in connection.execute(query, (behavior,)):
        found.setdefault(seq, []).append((role, text))
    connection.close()
    return list(found.values())


def groups(sweep: pipeline.Sweep) -> list[Group]:
    """With a behaviour."""
    return [group for group in sweep.groups if group.behavior]
