"""What pages ask of a run file: lists of episodes, one episode in full, and what is new since the last look."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import cache
from sys import intern
from typing import Any, NamedTuple

import aiosqlite

from conflictscope.board import (
    CallRow,
    Episode,
    EpisodeFilter,
    EpisodePage,
    EpisodeRow,
    FilterChoices,
    Flips,
    JudgementRow,
    Pair,
)
from conflictscope.outcome import Group, Message, Mode, Outcome, Role, Verdict
from conflictscope.scenario import Scenario
from conflictscope.snapshot import Purpose, Usage
from conflictscope.store.search import Search

OUTCOME_COLUMNS = """e.seq, g.target, g.mode, g.steering, g.behavior, e.scenario_id, e.repeat, e.value_a, e.value_b, e.verdict,
    e.strength, e.shown_first, e.judge"""
_KIND = "substr({0}, 1, instr({0} || ':', ':') - 1)"
_NEWEST_CALL = "SELECT max(ended) FROM calls WHERE ended IS NOT NULL"  # the condition lets it use the index
_ROWS_AT_ONCE = 5_000
_CALLS_AT_ONCE = 20_000
_WINDOW = 4_096  # episodes that one query looks through: it takes some ten milliseconds, so that nobody waits long for its end


class Ended(NamedTuple):
    """An episode that has ended, in the words of the run file.

    group: its number, as in `groups`. failure: its kind. second: when it was committed, in UTC, as ISO 8601 without a zone.
    """

    seq: int
    group: int
    scenario_id: str
    value_a: str
    value_b: str
    verdict: str
    strength: int | None
    shown_first: str | None
    judge: str | None
    failure: str | None
    second: str


class CallGroup(NamedTuple):
    """Calls of one purpose that were sent in one second and have ended.

    second: as in Ended. answered: how many have a reply that did not come in a batch; latency_s: in sum.
    """

    purpose: Purpose
    second: str
    usage: Usage
    answered: int
    latency_s: float


class Browsing:
    """Queries of pages. Each takes bounded time, and none rereads what a page already knows."""

    def __init__(self, connection: aiosqlite.Connection, judge: str | None = None) -> None:
        self._connection = connection
        self._judge = judge

    # -- what is new -----------------------------------------------------------------------------------------------------

    async def edition(self) -> object:
        """Something that changes where what was read before may no longer hold: with a new session, which takes failed episodes
        out, to be played again; and, where the verdicts of a judge are seen who judges anew, with every one of them.
        """
        query = """SELECT (SELECT max(id) FROM sessions WHERE work = 'run'),
                   (SELECT count(*) FROM verdicts WHERE judge = :judge)"""
        [found] = await self._rows(query, {"judge": self._judge})
        return tuple(found)

    async def groups(self) -> dict[int, Group]:
        """What each group's number stands for, in the order in which rankings are shown."""
        rows = await self._rows("SELECT id, target, mode, steering, behavior FROM groups ORDER BY 2, 3, 4, 5")
        return {number: group_of(names) for number, *names in rows}

    async def spent_usd(self, after: int = 0) -> tuple[int, float]:
        """What calls that ended after the `after`-th count against the limit, in dollars; and how many have ended now."""
        query = """SELECT coalesce(max(ended), :after), total(cost_usd) + total(reserved_usd)
                   FROM calls INDEXED BY calls_by_end WHERE ended > :after"""
        [(last, usd)] = await self._rows(query, {"after": after})
        return last, usd

    async def newest(self) -> tuple[int, int]:
        """Up to where there are episodes, and calls that have ended."""
        query = f"SELECT (SELECT coalesce(max(seq), 0) FROM episodes), coalesce(({_NEWEST_CALL}), 0)"
        [(episodes, calls)] = await self._rows(query)
        return episodes, calls

    async def recent(self, number: int) -> list[Outcome]:
        """The latest outcomes, newest first."""
        query = f"""SELECT {OUTCOME_COLUMNS} FROM episodes e CROSS JOIN groups g ON g.id = e.group_id
                    ORDER BY e.seq DESC LIMIT ?"""
        return [outcome_of(row) for row in await self._rows(query, (number,))]

    async def ended(self, after: int = 0) -> AsyncIterator[list[Ended]]:
        """Episodes after the `after`-th, in the order in which they were committed, some thousand at once."""
        query = f"""SELECT seq, group_id, scenario_id, value_a, value_b, verdict, strength, shown_first, judge,
                    iif(failure IS NULL, NULL, {_KIND.format("failure")}), substr(created_at, 1, 19)
                    FROM episodes WHERE seq > ? ORDER BY seq LIMIT {_ROWS_AT_ONCE}"""
        while rows := await self._rows(query, (after,)):
            yield [Ended._make(row) for row in rows]
            after = rows[-1][0]

    async def calls_ended(self, after: int = 0) -> AsyncIterator[tuple[int, list[CallGroup]]]:
        """What calls took that ended after the `after`-th, by purpose and second, many calls at once; and up to which."""
        query = """SELECT role, target, model, substr(created_at, 1, 19), count(*), sum(state = 'failed'),
                   sum(state = 'abandoned'), sum(state = 'committed' AND cost_usd IS NULL), sum(input_tokens),
                   sum(output_tokens), total(cost_usd), total(reserved_usd), sum(state = 'committed' AND batch IS NULL),
                   total(iif(state = 'committed' AND batch IS NULL, latency_s, 0))
                   FROM calls INDEXED BY calls_by_end WHERE ended > :after AND ended <= :last GROUP BY 1, 2, 3, 4"""
        [(newest,)] = await self._rows(_NEWEST_CALL)
        while after < (newest or 0):
            last = min(newest, after + _CALLS_AT_ONCE)
            rows = await self._rows(query, {"after": after, "last": last})
            yield last, [CallGroup(Purpose(*row[:3]), row[3], Usage(*row[4:12]), *row[12:]) for row in rows]
            after = last

    async def flips(self, after: int = 0) -> AsyncIterator[tuple[int, dict[tuple[Group, Pair], Flips]]]:
        """In how many of the episodes after the `after`-th the order decided in which a judge saw the actions, some thousand at
        once; and up to which episode.

        Of each judge the first two looks count that saw both orders, found the conversation settled and named an action, as in
        `judged_groups`; the order decided where it did for some judge.
        """
        query = """SELECT g.target, g.mode, g.steering, g.behavior, min(e.value_a, e.value_b), max(e.value_a, e.value_b),
                   sum(flipped), count(*) FROM (
                       SELECT seq, group_id, value_a, value_b, max(flipped) AS flipped FROM (
                           SELECT o.seq, o.group_id, o.value_a, o.value_b, min(x.number), x.choice != y.choice AS flipped
                           FROM episodes o CROSS JOIN judgements x ON x.episode_seq = o.seq
                           CROSS JOIN judgements y ON y.episode_seq = x.episode_seq AND y.number = x.number + 1
                           WHERE o.seq > :after AND o.seq <= :last AND x.repeat = 1 AND y.repeat = 1 AND x.judge = y.judge
                           AND x.shown_first = o.shown_first AND y.shown_first != o.shown_first AND x.resolved AND y.resolved
                           AND x.choice IN ('a', 'b') AND y.choice IN ('a', 'b') GROUP BY o.seq, x.judge
                       ) GROUP BY seq
                   ) e JOIN groups g ON g.id = e.group_id GROUP BY 1, 2, 3, 4, 5, 6"""
        [(newest,)] = await self._rows("SELECT coalesce(max(seq), 0) FROM episodes")
        while after < newest:
            last = min(newest, after + _ROWS_AT_ONCE)
            rows = await self._rows(query, {"after": after, "last": last})
            yield last, {(group_of(row[:4]), (row[4], row[5])): Flips(*row[6:]) for row in rows}
            after = last

    # -- episodes --------------------------------------------------------------------------------------------------------

    async def filter_choices(self) -> FilterChoices:
        """What there is to filter by."""
        groups = [group_of(names) for names in await self._rows("SELECT target, mode, steering, behavior FROM groups")]
        query = f"""SELECT DISTINCT min(value_a, value_b), max(value_a, value_b), verdict, {_KIND.format("failure")}
                    FROM episodes"""
        kinds = await self._rows(query)
        return FilterChoices(
            targets=_sorted(group.target for group in groups),
            modes=_sorted(group.mode for group in groups),
            steerings=_sorted(group.steering for group in groups),
            behaviors=_sorted(group.behavior for group in groups),
            verdicts=[verdict for verdict in Verdict if any(verdict == found for _, _, found, _ in kinds)],
            pairs=_sorted((a, b) for a, b, _, _ in kinds),
            failures=_sorted(failure for *_, failure in kinds),
        )

    async def episode_page(self, wanted: EpisodeFilter, before: int | None = None, limit: int = 50) -> EpisodePage:
        """At most `limit` (>= 1) episodes that pass a filter, the newest first, of those before the `before`-th.

        It goes through the run from its end in many short queries, until the page is full: a search in a long run keeps nobody
        waiting who asks for something else meanwhile.
        """
        [(end,)] = await self._rows("SELECT coalesce(max(seq), 0) + 1 FROM episodes")
        before = end if before is None else min(before, end)
        conditions, parameters = _conditions(wanted)
        search = Search(wanted.text)
        said = "NULL, NULL"
        if search.words:
            scenarios = await self._rows("SELECT id, body FROM scenarios")
            search.look_at(dict(scenarios))
            sought, sought_parameters = search.sql()
            conditions, parameters = f"{conditions} AND {sought}", parameters | sought_parameters
            said = "e.transcript, (SELECT json_group_array(reasoning) FROM judgements WHERE episode_seq = e.seq)"
        query = f"""SELECT {OUTCOME_COLUMNS}, e.key, e.failure, e.duration_s, e.created_at,
                    (SELECT count(*) FROM json_each(e.transcript) WHERE value ->> 'role' = 'target'), {said}
                    FROM episodes e CROSS JOIN groups g ON g.id = e.group_id
                    WHERE e.seq >= :low AND e.seq < :high AND {conditions} ORDER BY e.seq DESC"""
        if not search.words:
            query, parameters = f"{query} LIMIT :limit", {**parameters, "limit": limit + 1}
        found: list[EpisodeRow] = []
        high = before
        while high > 1 and len(found) <= limit:
            low = max(1, high - _WINDOW)
            rows = await self._rows(query, {**parameters, "low": low, "high": high})
            for *columns, transcript, reasonings in rows:
                row = _episode_row(columns)
                if not search.words or search.fits(row.scenario_id, transcript, reasonings):
                    found.append(row)
            high = low
        return EpisodePage(found[:limit], found[limit - 1].seq if len(found) > limit else None)

    async def episode(self, seq: int) -> Episode | None:
        """The episode of this sequence number in full; None where there is none."""
        query = f"""SELECT {OUTCOME_COLUMNS}, e.key, e.failure, e.duration_s, e.created_at, e.transcript, s.body, o.text, e.seed
                    FROM episodes e CROSS JOIN groups g ON g.id = e.group_id LEFT JOIN scenarios s ON s.id = e.scenario_id
                    LEFT JOIN openings o ON o.scenario_id = e.scenario_id WHERE e.seq = ?"""
        found = await self._rows(query, (seq,))
        if not found:
            return None
        [(*columns, stored, body, opening, seed)] = found
        transcript = messages_of(stored)
        row = _episode_row((*columns, sum(message.role is Role.TARGET for message in transcript)))
        # Names of judges one by one, for there are few of them and many verdicts.
        judges = await self._rows(
            """WITH RECURSIVE judges (name) AS (SELECT min(judge) FROM verdicts
               UNION ALL SELECT (SELECT min(judge) FROM verdicts WHERE judge > name) FROM judges WHERE name IS NOT NULL)
               SELECT name, verdict FROM judges LEFT JOIN verdicts ON judge = name AND episode_seq = ?
               WHERE name IS NOT NULL""",
            (seq,),
        )
        own = await self._rows(
            """SELECT judge, number, repeat, shown_first, choice, resolved, strength, reasoning, quotes, failure, 0
               FROM main.judgements WHERE episode_seq = ? ORDER BY number""",
            (seq,),
        )
        for judge, _ in judges:
            own += await self._rows(
                """SELECT judge, number, 1, shown_first, choice, resolved, strength, reasoning, '[]', NULL, 1
                   FROM looks WHERE judge = ? AND episode_seq = ? ORDER BY number""",
                (judge, seq),
            )
        scopes = [row.key, *(f"rejudge/{judge}/{row.key}" for judge, _ in judges)]
        calls = await self._rows(
            f"""SELECT seq, role, model, prompt, state, failure, input_tokens, output_tokens, cost_usd, latency_s, created_at
                FROM calls WHERE scope IN ({", ".join("?" * len(scopes))}) ORDER BY seq""",
            scopes,
        )
        labels = await self._rows("SELECT annotator, verdict FROM labels WHERE episode = ? ORDER BY 1", (row.key,))
        return Episode(
            row=row,
            scenario=Scenario.model_validate_json(body) if body is not None else None,
            opening=opening,
            transcript=transcript,
            judgements=[_judgement_row(look) for look in own],
            calls=[CallRow(*call) for call in calls],
            seed=seed,
            verdicts={judge: Verdict(verdict) for judge, verdict in judges if verdict is not None},
            labels={annotator: Verdict(verdict) for annotator, verdict in labels},
        )

    async def _rows(self, query: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[Any]:
        return list(await self._connection.execute_fetchall(query, parameters))


@cache  # a run has few
def _group(target: str, mode: str, steering: str | None, behavior: str | None) -> Group:
    return Group(target, Mode(mode), steering, behavior)


def group_of(names: Sequence[Any]) -> Group:
    """From target, mode, steering and behaviour."""
    return _group(*names)


def messages_of(transcript: str) -> tuple[Message, ...]:
    """From JSON."""
    return tuple(Message.from_json(item) for item in json.loads(transcript))


_VERDICTS = {verdict.value: verdict for verdict in Verdict}


def outcome_of(row: Sequence[Any]) -> Outcome:
    """From OUTCOME_COLUMNS. Names are shared by all outcomes that have them, for an audit holds every outcome of a run."""
    (
        _,
        target,
        mode,
        steering,
        behavior,
        scenario_id,
        repeat,
        value_a,
        value_b,
        verdict,
        strength,
        shown_first,
        judge,
    ) = row
    group = _group(target, mode, steering, behavior)
    scenario_id, value_a, value_b = intern(scenario_id), intern(value_a), intern(value_b)
    judge = None if judge is None else intern(judge)
    return Outcome(group, scenario_id, repeat, value_a, value_b, _VERDICTS[verdict], strength, shown_first, judge)


def _episode_row(row: Sequence[Any]) -> EpisodeRow:
    outcome = outcome_of(row[:-5])
    key, failure, duration_s, created_at, turns = row[-5:]
    return EpisodeRow(
        seq=row[0],
        key=key,
        group=outcome.group,
        scenario_id=outcome.scenario_id,
        repeat=outcome.repeat,
        value_a=outcome.value_a,
        value_b=outcome.value_b,
        verdict=outcome.verdict,
        strength=outcome.strength,
        shown_first=outcome.shown_first,
        judge=outcome.judge,
        failure=failure,
        turns=turns,
        duration_s=duration_s,
        created_at=created_at,
    )


def _judgement_row(row: Sequence[Any]) -> JudgementRow:
    judge, number, repeat, shown_first, choice, resolved, strength, reasoning, quotes, failure, anew = row
    told = tuple(json.loads(quotes))
    return JudgementRow(
        judge,
        number,
        repeat,
        shown_first,
        Verdict(choice),
        bool(resolved),
        strength,
        reasoning,
        told,
        failure,
        bool(anew),
    )


def _conditions(wanted: EpisodeFilter) -> tuple[str, dict[str, Any]]:
    """What an episode `e` in a group `g` must be, but for the text; and the parameters."""
    equal = {
        "g.target": wanted.target,
        "g.mode": wanted.mode,
        "g.steering": wanted.steering,
        "g.behavior": wanted.behavior,
        "e.verdict": wanted.verdict,
        "e.scenario_id": wanted.scenario_id,
        _KIND.format("e.failure"): wanted.failure,
        "min(e.value_a, e.value_b)": min(wanted.pair) if wanted.pair else None,
        "max(e.value_a, e.value_b)": max(wanted.pair) if wanted.pair else None,
    }
    given = [(column, value) for column, value in equal.items() if value is not None]
    conditions = [f"{column} = :p{place}" for place, (column, _) in enumerate(given)]
    return " AND ".join(["1", *conditions]), {f"p{place}": value for place, (_, value) in enumerate(given)}


def _sorted(found: Any) -> list[Any]:
    return sorted({one for one in found if one is not None})
