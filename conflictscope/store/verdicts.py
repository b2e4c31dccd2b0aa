"""Verdicts of judges who judged stored conversations anew, beside those that the run itself came to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiosqlite

from conflictscope.outcome import Judgement, Verdict
from conflictscope.store.writer import OF_NO_USE, RunWriter, now

JUDGEABLE = """g.mode = 'open_ended' AND e.transcript != '[]' AND e.verdict NOT IN ('target_failed', 'user_failed')
    AND NOT (e.verdict = 'refused' AND e.transcript ->> '$[#-1].role' = 'user')"""
"""Of an episode `e` in a group `g`: whether its verdict is a judge's to give.

It is not where the target or the user failed, nor where the provider's filter refused the target's reply.
"""


@dataclass(frozen=True, slots=True)
class VerdictStore:
    """A run file as judges use it that judge its conversations anew."""

    writer: RunWriter

    async def begin_session(self, settings: Mapping[str, Any], judges: Sequence[str]) -> int:
        """As RunWriter.begin_session, but what these judges failed to judge is taken out, to be judged again, and no episode."""
        connection = self.writer.connection
        await connection.execute("BEGIN IMMEDIATE")
        for judge in judges:
            await connection.execute(
                f"""UPDATE calls SET fingerprint = '' WHERE state = 'committed' AND scope IN (
                        SELECT 'rejudge/' || v.judge || '/' || e.key FROM verdicts v JOIN episodes e ON e.seq = v.episode_seq
                        WHERE v.judge = ? AND v.verdict = 'judge_failed'
                        AND substr(v.failure, 1, instr(v.failure, ':') - 1) IN {OF_NO_USE})""",
                (judge,),
            )
            await connection.execute(
                """DELETE FROM looks WHERE judge = ? AND episode_seq IN (
                       SELECT episode_seq FROM verdicts v WHERE v.judge = looks.judge AND v.verdict = 'judge_failed')""",
                (judge,),
            )
            await connection.execute("DELETE FROM verdicts WHERE judge = ? AND verdict = 'judge_failed'", (judge,))
        await connection.execute("COMMIT")
        return await self.writer.begin_session(settings, "rejudge")

    def record(
        self,
        judge: str,
        seq: int,
        verdict: Verdict,
        strength: int | None,
        failure: str | None,
        looks: Sequence[Judgement],
    ) -> None:
        """Queue a verdict with the looks that it rests on; committed after all of its calls.

        judge: the name under which its verdicts are kept. seq: of the episode. failure: kind and message of a `judge_failed`.
        """
        rows = [
            (judge, seq, number, look.shown_first, look.choice.value, look.resolved, look.strength, look.reasoning)
            for number, look in enumerate(looks)
        ]
        self.writer.put(f"INSERT INTO looks VALUES ({', '.join('?' * 8)})", rows)
        row = (judge, seq, verdict.value, strength, failure, now())
        self.writer.put(f"INSERT INTO verdicts VALUES ({', '.join('?' * 6)})", [row])


async def see_as(connection: aiosqlite.Connection, judge: str) -> None:
    """Let all queries of a connection see the verdicts and looks of a judge in the place of the run's own.

    Temporary views of the same names stand before the tables. A conversation that this judge did not judge is left out; what is
    no judge's to decide stands as it is.
    """
    named = "'" + judge.replace("'", "''") + "'"
    of_verdict = {
        "verdict": "coalesce(v.verdict, e.verdict)",
        **{column: f"iif(v.judge IS NULL, e.{column}, v.{column})" for column in ("strength", "failure")},
        "judge": "coalesce(v.judge, e.judge)",
    }
    columns = [of_verdict.get(name, f"e.{name}") + f" AS {name}" for name, _ in await _columns(connection, "episodes")]
    await connection.execute(
        f"""CREATE TEMP VIEW episodes AS SELECT {", ".join(columns)} FROM main.episodes e
            JOIN main.groups g ON g.id = e.group_id
            LEFT JOIN main.verdicts v ON v.judge = {named} AND v.episode_seq = e.seq
            WHERE v.judge IS NOT NULL OR NOT ({JUDGEABLE})"""
    )
    kept = {column for column, _ in await _columns(connection, "looks")}
    judgements = await _columns(connection, "judgements")
    looks = [f"{name if name in kept else default or 'NULL'} AS {name}" for name, default in judgements]
    await connection.execute(
        f"""CREATE TEMP VIEW judgements AS SELECT {", ".join(looks)} FROM main.looks WHERE judge = {named}
            UNION ALL SELECT * FROM main.judgements j WHERE NOT EXISTS (
                SELECT 1 FROM main.verdicts v WHERE v.judge = {named} AND v.episode_seq = j.episode_seq)"""
    )


async def _columns(connection: aiosqlite.Connection, table: str) -> list[tuple[str, str | None]]:
    """The columns of a table with their defaults, as they stand in SQL."""
    rows = await connection.execute_fetchall(f"SELECT name, dflt_value FROM pragma_table_info('{table}', 'main')")
    return [(str(name), default) for name, default in rows]
