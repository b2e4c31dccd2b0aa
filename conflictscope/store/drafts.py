"""The rounds, drafts and embeddings of a library in the making."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiosqlite

from conflictscope.drafts import Cell, Draft, DraftState, Lot, Round
from conflictscope.scenario import Outline, Scenario, Template
from conflictscope.store.writer import RunWriter, now

_KEYS_PER_QUERY = 500


@dataclass(frozen=True, slots=True)
class LibraryStore:
    """A run file as a library in the making uses it: where its rounds are kept, and the embeddings that were paid for."""

    writer: RunWriter

    async def rounds(self) -> list[Round]:
        """All rounds that were begun, with what came of them."""
        return await read_rounds(self.writer.connection)

    def begin_round(self, begun: Round) -> None:
        """Queue a round that is about to begin."""
        lots = [[lot.cell.value_a, lot.cell.value_b, lot.cell.template.value, lot.count] for lot in begun.lots]
        row = (begun.key, *begun.pair, begun.number, json.dumps(lots), now())
        self.writer.put(
            "INSERT INTO rounds (key, value_a, value_b, number, lots, begun_at) VALUES (?, ?, ?, ?, ?, ?)", [row]
        )

    def end_round(self, ended: Round) -> None:
        """Queue what came of it: its drafts and its end in one commit."""
        rows = [_draft_row(ended.key, place, draft) for place, draft in enumerate(ended.drafts)]
        self.writer.put(f"INSERT INTO drafts VALUES ({', '.join('?' * 9)})", rows)
        self.writer.put(
            "UPDATE rounds SET problems = ?, ended_at = ? WHERE key = ?",
            [(json.dumps(ended.problems), now(), ended.key)],
        )

    async def vectors(self, model: str, texts: Sequence[str]) -> dict[str, bytes]:
        """The embeddings that are there, by text."""
        found: dict[str, bytes] = {}
        by_digest = {_digest(text): text for text in texts}
        digests = list(by_digest)
        for start in range(0, len(digests), _KEYS_PER_QUERY):
            some = digests[start : start + _KEYS_PER_QUERY]
            marks = ",".join("?" * len(some))
            query = f"SELECT digest, vector FROM embeddings WHERE model = ? AND digest IN ({marks})"
            rows = await self.writer.connection.execute_fetchall(query, (model, *some))
            found.update((by_digest[row[0]], row[1]) for row in rows)
        return found

    async def keep_vectors(self, model: str, vectors: Mapping[str, bytes]) -> None:
        """Keep embeddings; committed when this returns."""
        rows = [(model, _digest(text), vector) for text, vector in vectors.items()]
        await self.writer.commit("INSERT OR REPLACE INTO embeddings VALUES (?, ?, ?)", rows)


async def read_rounds(connection: aiosqlite.Connection) -> list[Round]:
    """The rounds of a run file, by pair and number, with their drafts."""
    drafts: dict[str, list[Draft]] = defaultdict(list)
    query = "SELECT round, id, state, reason, same_as, cosine, outline, body FROM drafts ORDER BY round, place"
    async with connection.execute(query) as rows:
        async for key, own_id, state, reason, like, cosine, outline, body in rows:
            scenario = None if body is None else Scenario.model_validate_json(body)
            drafts[key].append(
                Draft(own_id, Outline.model_validate_json(outline), DraftState(state), scenario, reason, like, cosine)
            )
    found = await connection.execute_fetchall(
        "SELECT key, value_a, value_b, number, lots, problems, ended_at FROM rounds ORDER BY value_a, value_b, number"
    )
    return [
        Round(
            pair=(value_a, value_b),
            number=number,
            lots=[Lot(Cell(a, b, Template(template)), count) for a, b, template, count in json.loads(lots)],
            drafts=drafts.get(key, []),
            problems=json.loads(problems) if problems else {},
            ended=ended_at is not None,
        )
        for key, value_a, value_b, number, lots, problems, ended_at in found
    ]


def _draft_row(key: str, place: int, draft: Draft) -> tuple[Any, ...]:
    body = None if draft.scenario is None else json.dumps(draft.scenario.to_json(), ensure_ascii=False)
    outline = draft.outline.model_dump_json()
    return key, place, draft.id, draft.state.value, draft.reason, draft.like, draft.cosine, outline, body


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
