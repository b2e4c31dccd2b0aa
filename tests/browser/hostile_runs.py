"""Runs whose every text is hostile, as no sweep would make them: written into the run file past all checks."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from benchmarks.worlds import write_sweep
from tests.commands import conflictscope
from tests.hostile import HOSTILE

LONG = "<i>" + "long " * 210_000  # a line of more than a megabyte
TEXTS = (*HOSTILE, LONG)
NAMES = tuple(dict.fromkeys(text.encode(errors="replace").decode() for text in HOSTILE))  # SQLite holds UTF-8 only
FOLDERS = tuple(name for name in NAMES if "/" not in name and "\0" not in name)
GROUPS, TOLD = "groups", "told"


def write_runs(folder: Path, runs: Path) -> None:
    """Three kinds: `groups`, in which every name is hostile, `told`, in which all that was said is, and one of each hostile name."""
    sweep = write_sweep(folder, scenarios=60, targets=1)
    conflictscope("run", sweep, "--runs-dir", runs, "--name", TOLD, "--no-live", cwd=folder)
    shutil.copytree(runs / TOLD, runs / GROUPS)
    for name in FOLDERS:
        (runs / name).mkdir()
        shutil.copy(runs / TOLD / "run.db", runs / name / "run.db")
    with closing(sqlite3.connect(runs / TOLD / "run.db")) as database, database:
        _tell(database)
    with closing(sqlite3.connect(runs / GROUPS / "run.db")) as database, database:
        _name(database)


def _tell(database: sqlite3.Connection) -> None:
    """The first episode holds the whole corpus in every place; every other one a text of it as its failure."""
    database.execute("DELETE FROM judgements WHERE episode_seq = 1")
    said = [{"role": ("user", "target")[place % 2], "text": text} for place, text in enumerate(TEXTS)]
    database.execute("UPDATE episodes SET transcript = ?, judge = ? WHERE seq = 1", (json.dumps(said), NAMES[0]))
    [key, scenario, scope] = database.execute(
        "SELECT e.key, e.scenario_id, c.scope FROM episodes e JOIN calls c ON c.scope = e.key WHERE e.seq = 1"
    ).fetchone()
    everything = "\n".join(NAMES)
    person = {"persona": everything, "background": everything, "goal": everything}
    body = {"description": everything, "action_a": everything, "action_b": f"not {everything}", "user": person}
    database.execute("UPDATE scenarios SET body = json_patch(body, ?) WHERE id = ?", (json.dumps(body), scenario))
    for place, name in enumerate((*NAMES, LONG)):
        database.execute(
            "INSERT INTO judgements VALUES (1, ?, ?, 'a', 'a', 1, 5, ?, 1, ?, ?)",
            (place + 1, name[:1_000], name, json.dumps([name]), name if place % 2 else None),
        )
        database.execute("INSERT INTO labels VALUES (?, ?, 'a', 'a', ?, '')", (key, name, name))
        database.execute("INSERT INTO verdicts VALUES (?, 1, 'a', 5, ?, '')", (name, name))
        database.execute(
            "UPDATE episodes SET failure = ?, verdict = 'target_failed' WHERE seq = ?", (f"{name}: {name}", place + 2)
        )
    columns = "fingerprint, role, request, input_tokens, output_tokens, latency_s, created_at, state"
    database.executemany(
        f"INSERT INTO calls (scope, model, prompt, failure, {columns}) SELECT ?, ?, ?, ?, {columns} FROM calls WHERE scope = ? LIMIT 1",
        [(scope, name, name, name, scope) for name in NAMES],
    )


def _name(database: sqlite3.Connection) -> None:
    """As an import may be: targets, steerings, behaviours, values, scenarios, judges, models and prompts of hostile names."""
    database.execute("DELETE FROM scenarios")
    database.execute("DELETE FROM judgements WHERE episode_seq > ?", (len(NAMES),))
    database.execute("DELETE FROM episodes WHERE seq > ?", (len(NAMES),))
    groups = len(NAMES) // 3
    for place in range(groups):
        group = (place + 1_000, NAMES[place], NAMES[groups + place], NAMES[2 * groups + place])
        database.execute("INSERT INTO groups VALUES (?, ?, 'open_ended', ?, ?, NULL)", group)
    for seq, name in enumerate(NAMES, start=1):
        group_id = 1_000 + seq % groups
        database.execute(
            "UPDATE episodes SET group_id = ?, judge = ?, scenario_id = ? WHERE seq = ?", (group_id, name, name, seq)
        )
        database.execute("UPDATE judgements SET judge = ? WHERE episode_seq = ?", (name, seq))
        database.execute("UPDATE calls SET target = ?, model = ?, prompt = ? WHERE seq = ?", (name, name, name, seq))
    values = [name for (name,) in database.execute("SELECT name FROM run_values ORDER BY position")]
    for place, value in enumerate(values):
        hostile = value + "".join(NAMES[place :: len(values)])[:200]
        database.execute("UPDATE run_values SET name = ? WHERE name = ?", (hostile, value))
        for side in ("value_a", "value_b"):
            database.execute(f"UPDATE episodes SET {side} = ? WHERE {side} = ?", (hostile, value))
