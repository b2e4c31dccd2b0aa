"""The rows of a run file as tidy tables, a stretch at a time."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from typing import Any

import aiosqlite

from conflictscope.scenario import Scenario
from conflictscope.tidy import (
    CALLS,
    EPISODES,
    JUDGEMENTS,
    LABELS,
    MESSAGES,
    OUTCOMES,
    SCENARIOS,
    VALUES,
    VERDICTS,
    Table,
)

_STRETCH = 2_000  # rows held at once
_EPISODES = "episodes e JOIN groups g ON g.id = e.group_id"

_OF_EPISODE = {
    **{name: f"g.{name}" for name in ("target", "mode", "steering", "behavior")},
    "turns": "(SELECT count(*) FROM json_each(e.transcript) WHERE value ->> '$.role' = 'target')",
    "calls": "nullif(count(c.seq), 0)",
    "input_tokens": "sum(c.input_tokens)",
    "output_tokens": "sum(c.output_tokens)",
    "cost_usd": """CASE WHEN count(c.seq) AND NOT max(c.state = 'committed' AND c.cost_usd IS NULL)
                   THEN total(c.cost_usd) END""",
}

# By table: what its columns are taken from, under their names.
_QUERIES = {
    # With a row's calls found by their index, and rows in the order of the table as they come, so that none waits for the others.
    EPISODES: f"""
        SELECT {", ".join(_OF_EPISODE.get(name, f"e.{name}") for name in EPISODES.names)}
        FROM episodes e CROSS JOIN groups g ON g.id = e.group_id LEFT JOIN calls c ON c.scope = e.key
        GROUP BY e.seq ORDER BY e.seq""",
    OUTCOMES: f"""
        SELECT e.*, g.target, g.mode, g.steering, g.behavior,
            CASE verdict WHEN 'a' THEN value_a WHEN 'b' THEN value_b END AS winner,
            CASE verdict WHEN 'a' THEN value_b WHEN 'b' THEN value_a END AS loser
        FROM {_EPISODES} WHERE verdict IN ('a', 'b', 'tie')""",
    JUDGEMENTS: """
        SELECT *, 0 AS anew FROM judgements UNION ALL
        SELECT episode_seq, number, judge, shown_first, choice, resolved, strength, reasoning, 1, '[]', NULL, 1 FROM looks""",
    CALLS: """
        SELECT c.*, c.reserved_usd AS at_risk_usd, e.seq AS episode_seq
        FROM calls c LEFT JOIN episodes e ON e.key = c.scope""",
    VERDICTS: "SELECT * FROM verdicts",
    LABELS: "SELECT l.*, e.seq AS episode_seq FROM labels l JOIN episodes e ON e.key = l.episode",
    MESSAGES: "SELECT seq, transcript FROM episodes ORDER BY seq",
    SCENARIOS: """
        SELECT s.body, o.text FROM scenarios s LEFT JOIN openings o ON o.scenario_id = s.id ORDER BY s.id""",
    VALUES: "SELECT name AS value, definition, grp AS value_group FROM run_values ORDER BY position",
}


def _messages(seq: int, transcript: str) -> Iterator[tuple[Any, ...]]:
    for place, message in enumerate(json.loads(transcript), start=1):
        tools = json.dumps(message["tools"]) if "tools" in message else None
        yield seq, place, message["role"], message["text"], tools


def _scenario(body: str, opening: str | None) -> Iterator[tuple[Any, ...]]:
    scenario = Scenario.model_validate(json.loads(body))
    user, origin = scenario.user, scenario.origin
    yield (
        scenario.id,
        scenario.value_a,
        scenario.value_b,
        scenario.template,
        scenario.description,
        scenario.action_a,
        scenario.action_b,
        scenario.consequences_a,
        scenario.consequences_b,
        *((user.persona, user.background, user.goal) if user else (None, None, None)),
        opening or scenario.opening,
        origin.kind,
        origin.source or None,
        origin.situation or None,
    )


# Where the columns stand in JSON that SQLite cannot be trusted with: it ends a text at a null byte.
_TAKEN_APART: dict[Table, Callable[..., Iterator[tuple[Any, ...]]]] = {MESSAGES: _messages, SCENARIOS: _scenario}


async def stretches(connection: aiosqlite.Connection, table: Table) -> AsyncGenerator[Sequence[Sequence[Any]]]:
    """The rows of a table, some thousands at a time, in the order of its columns."""
    take_apart = _TAKEN_APART.get(table)
    query = _QUERIES[table]
    if take_apart is None and table is not EPISODES:
        query = f"SELECT {', '.join(table.names)} FROM ({query})"
        if table.order:
            query += f" ORDER BY {', '.join(table.order)}"
    async with connection.execute(query) as cursor:
        while rows := list(await cursor.fetchmany(_STRETCH)):
            yield rows if take_apart is None else [row for packed in rows for row in take_apart(*packed)]
