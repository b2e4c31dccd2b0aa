"""Following a run through its file: what is new since the last look, folded into what was known."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from conflictscope.board import Board, Flips, Pair
from conflictscope.outcome import Group, Mode, Verdict
from conflictscope.ranking import GroupFold, GroupHistory, live_posterior
from conflictscope.rating import DEFAULT_RULE, Ranking, StopRule
from conflictscope.runfolder import RunFolder
from conflictscope.snapshot import LaneLoad, Progress, Purpose, Snapshot, Usage
from conflictscope.store import RunReader, Session
from conflictscope.timeline import Timeline, Work

_RECENT = 8
_RATE_WINDOW_S = 20.0

PATIENCE_S = 0.7
"""How long somebody who opens a long run waits before a view shows what is read of it."""


class _Known:
    """What a monitor has read so far."""

    def __init__(self) -> None:
        self.folds: dict[int, tuple[GroupFold, GroupHistory]] = {}  # by the number of the group
        self.rankings: dict[
            Group, tuple[int, Ranking]
        ] = {}  # of the joint posterior, and the number of episodes it is of
        self.verdicts: Counter[Verdict] = Counter()
        self.failures: Counter[str] = Counter()
        self.usage: dict[Purpose, Usage] = {}
        self.flips: dict[Group, dict[Pair, Flips]] = {}
        self.timeline = Timeline()
        self.last_seq = self.last_looks = self.last_end = self.told_seq = 0
        self.read = 1.0

    def begin(self, number: int, fold: GroupFold) -> tuple[GroupFold, GroupHistory]:
        """One more group."""
        self.folds[number] = fold, GroupHistory(fold)
        return self.folds[number]

    @property
    def groups(self) -> list[tuple[GroupFold, GroupHistory]]:
        """All of them, in alphabetical order."""
        return sorted(self.folds.values(), key=lambda found: str(found[0].group))


class Monitor:
    """Makes snapshots and boards of a run, live or finished, in any process; each costs what is new since the one before.

    Nothing is kept of an episode but what it adds to the sums. Where a run is resumed, its failed episodes are played again: then
    all is read anew.

    patience_s: how long a look at a long run reads before it tells what it knows so far (`Progress.read`), and leaves the rest to
    the next look; None reads all.
    """

    def __init__(self, reader: RunReader, folder: RunFolder, patience_s: float | None = None) -> None:
        self._reader = reader
        self._folder = folder
        self._patience_s = math.inf if patience_s is None else patience_s
        self._known = _Known()
        self._edition: object = None
        self._seen: deque[tuple[float, int]] = deque()

    async def snapshot(self, *, failures: bool = False) -> Snapshot:
        """The run as of now. failures: also count the lost looks, which reads every judgement."""
        meta = await self._reader.meta()
        known = await self._read(meta)
        in_flight, reserved_usd = await self._reader.in_flight()
        sessions = await self._reader.sessions()
        running = is_running(sessions, self._folder)
        running_s = await elapsed_s(self._reader, running=running)
        progress = Progress(
            run=self._folder.name,
            state=run_state(meta.get("kind", "sweep"), sessions, running=running),
            planned=meta.get("planned"),
            verdicts=dict(known.verdicts),
            usage=dict(known.usage),
            in_flight=in_flight if running else 0,
            reserved_usd=reserved_usd if running else 0.0,
            limit_usd=meta.get("limits", {}).get("cost_usd"),
            elapsed_s=running_s,
            rate_per_s=self._rate_per_s(known.verdicts.total(), running_s, running=running) if known.read == 1 else 0.0,
            failures=dict(known.failures),
            lost_looks=await self._reader.lost_looks() if failures else {},
            ends_early=ends_early(meta),
            read=known.read,
            lanes=await lanes(self._reader, running=running),
            stored_bytes=await self._reader.stored_bytes(),
        )
        rankings = [fold.ranking() for fold, _ in known.groups]
        conversation = await self._reader.conversation(known.told_seq) if known.told_seq else None
        stopped = await self._reader.settled(stop_rule(meta)) if ends_early(meta) else {}
        judges = await self._reader.verdicts()
        return Snapshot(progress, rankings, await self._reader.recent(_RECENT), conversation, stopped, judges)

    async def board(self) -> Board:
        """The run as of now, as pages show it. Its snapshot counts no lost looks."""
        snapshot = await self.snapshot()
        known = self._known
        return Board(
            snapshot=snapshot,
            rankings=[self._joint(fold) for fold, _ in known.groups],
            histories={fold.group: history.history() for fold, history in known.groups},
            flips={group: dict(pairs) for group, pairs in known.flips.items()},
            timeline=known.timeline.stretches(),
            failures=dict(known.failures),
        )

    def _joint(self, fold: GroupFold) -> Ranking:
        """Made anew where the group has new episodes."""
        known = self._known.rankings.get(fold.group)
        episodes = fold.tally.episodes
        if known is None or known[0] != episodes:
            known = self._known.rankings[fold.group] = (episodes, live_posterior(fold))
        return known[1]

    async def _read(self, meta: Mapping[str, Any]) -> _Known:
        """Take in what is new: while some is counted here, the next is looked up there."""
        edition = await self._reader.edition()
        if edition != self._edition:
            self._known, self._edition = _Known(), edition
            self._seen.clear()
        known = self._known
        sessions = [
            (_parse(one.started_at), _parse(one.ended_at or one.started_at)) for one in await self._reader.sessions()
        ]
        known.timeline.fit(sessions)
        until = time.monotonic() + self._patience_s
        try:
            async with asyncio.TaskGroup() as group:
                reading = [
                    group.create_task(self._read_episodes(known, meta, until)),
                    group.create_task(self._read_calls(known, until)),
                    group.create_task(self._read_flips(known, until)),
                ]
        except BaseException as failure:  # noqa: BLE001 - raised again
            self._edition = None  # some of it was taken in, and some not; cancelled, too
            raise failure.exceptions[0] if isinstance(failure, BaseExceptionGroup) else failure from None
        known.timeline.fit(sessions)
        known.read = 1.0
        if not all(task.result() for task in reading):
            episodes, calls = await self._reader.newest()
            # Never 1 before the end, however little is left.
            shares = (known.last_seq, episodes), (known.last_looks, episodes), (known.last_end, calls)
            known.read = min(0.99, *(done / of for done, of in shares if of))
        return known

    async def _read_episodes(self, known: _Known, meta: Mapping[str, Any], until: float) -> bool:
        """Returns whether all were read by then."""
        values, pairs, groups = await self._reader.values(), await self._reader.pairs(), dict[int, Group]()
        async for episodes in self._reader.ended(known.last_seq):
            done: Counter[tuple[str, str]] = Counter()
            for (
                seq,
                number,
                scenario_id,
                value_a,
                value_b,
                verdict,
                strength,
                shown_first,
                judge,
                failure,
                second,
            ) in episodes:
                found = known.folds.get(number)
                if found is None:
                    if number not in groups:  # it began since
                        groups = await self._reader.groups()
                    found = known.begin(number, GroupFold(groups[number], values, pairs, stop_rule(meta)))
                fold, history = found
                if fold.count(scenario_id, value_a, value_b, verdict, strength, shown_first):
                    history.note()
                    if judge is not None and fold.group.mode is Mode.OPEN_ENDED:
                        known.told_seq = seq
                if failure is not None:
                    known.failures[failure] += 1
                done[second, verdict] += 1
            known.last_seq = episodes[-1].seq
            for (second, came_to), count in done.items():
                verdict = Verdict(came_to)
                known.verdicts[verdict] += count
                known.timeline.add(second, Work(episodes=count, failed=count * verdict.failed))
            if time.monotonic() > until:
                return False
        return True

    async def _read_calls(self, known: _Known, until: float) -> bool:
        async for last, calls in self._reader.calls_ended(known.last_end):
            known.last_end = last
            for purpose, second, usage, answered, latency_s in calls:
                known.usage[purpose] = known.usage.get(purpose, Usage()) + usage
                known.timeline.add(second, _work_of(usage, answered, latency_s))
            if time.monotonic() > until:
                return False
        return True

    async def _read_flips(self, known: _Known, until: float) -> bool:
        async for last, flips in self._reader.flips(known.last_looks):
            known.last_looks = last
            for (group, pair), new in flips.items():
                of_group = known.flips.setdefault(group, {})
                before = of_group.get(pair, Flips(0, 0))
                of_group[pair] = Flips(before.flipped + new.flipped, before.looked + new.looked)
            if time.monotonic() > until:
                return False
        return True

    def _rate_per_s(self, done: int, elapsed_s: float, *, running: bool) -> float:
        """Episodes per second over the last stretch that this monitor saw of a run that goes on, else over all of the run."""
        now = time.monotonic()
        self._seen.append((now, done))
        while now - self._seen[0][0] > _RATE_WINDOW_S:
            self._seen.popleft()
        then, done_then = self._seen[0]
        if running and now - then > 1:
            return (done - done_then) / (now - then)
        return done / elapsed_s if elapsed_s > 0 else 0.0


def _work_of(usage: Usage, answered: int, latency_s: float) -> Work:
    return Work(
        calls=usage.calls,
        failed_calls=usage.failed,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        spent_usd=usage.spent_usd,
        answered=answered,
        latency_s=latency_s,
    )


async def elapsed_s(reader: RunReader, *, running: bool) -> float:
    """Seconds spent running, over all sessions."""
    total = 0.0
    for session in await reader.sessions():
        end = session.ended_at
        if end is None:  # the last one: it runs, or was killed, and then what came last is its last sign of life
            end = _iso_now() if running else await reader.last_sign_at()
        if end is not None:
            total += max(0.0, (_parse(end) - _parse(session.started_at)).total_seconds())
    return total


async def lanes(reader: RunReader, *, running: bool) -> list[LaneLoad]:
    """How the lanes of a run stand; where it does not run, nothing is on its way, whatever was written down last."""
    found = await reader.lanes()
    return found if running else [replace(lane, in_flight=0, waiting=0) for lane in found]


def stop_rule(meta: Mapping[str, Any]) -> StopRule:
    """When the rankings of a run are settled, by what its sweep file said last."""
    stop = meta.get("stop")
    return StopRule(stop["delta"], stop["alpha"], stop["least_per_pair"]) if stop else DEFAULT_RULE


def ends_early(meta: Mapping[str, Any]) -> bool:
    """Whether a run ends before its plan where its rankings are settled, by what its sweep file said last."""
    return "stop" in meta and meta["stop"]["when"] == "converged"


def is_running(sessions: list[Session], folder: RunFolder) -> bool:
    """Whether some process works on a run."""
    return bool(sessions) and sessions[-1].state is None and folder.in_work


def run_state(kind: str, sessions: list[Session], *, running: bool) -> str:
    """How a run stands: `running`, `imported`, or how its last session ended."""
    if kind == "import":
        return "imported"
    if running:
        return "running"
    return (sessions[-1].state if sessions else None) or "killed"


def _parse(moment: str) -> datetime:
    return datetime.fromisoformat(moment)


def _iso_now() -> str:
    return datetime.now(UTC).isoformat()
