"""Following a run through its file: what is new since the last look, folded into what was known."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from conflictscope.outcome import Group, Mode, Outcome, Verdict
from conflictscope.ranking import GroupFold
from conflictscope.rating import DEFAULT_RULE, StopRule
from conflictscope.runfolder import RunFolder
from conflictscope.snapshot import LaneLoad, Progress, Purpose, Snapshot, Usage
from conflictscope.store import RunReader, Session

_RECENT = 8
_RATE_WINDOW_S = 20.0


class Monitor:
    """Makes snapshots of a run, live or finished, in any process; each costs what is new since the one before."""

    def __init__(self, reader: RunReader, folder: RunFolder) -> None:
        self._reader = reader
        self._folder = folder
        self._folds: dict[Group, GroupFold] = {}
        self._verdicts: Counter[Verdict] = Counter()
        self._usage: dict[Purpose, Usage] = {}
        self._last_end = 0
        self._recent: deque[Outcome] = deque(maxlen=_RECENT)
        self._last_seq = 0
        self._told_seq = 0
        self._seen: deque[tuple[float, int]] = deque()

    async def snapshot(self, *, failures: bool = False) -> Snapshot:
        """The run as of now. failures: also count the kinds of failure, which reads every failed episode."""
        meta = await self._reader.meta()
        values, pairs = await self._reader.values(), await self._reader.pairs()
        async for seq, outcome in self._reader.outcomes(self._last_seq):
            self._last_seq = seq
            self._verdicts[outcome.verdict] += 1
            self._recent.appendleft(outcome)
            if outcome.group.mode is Mode.OPEN_ENDED and outcome.verdict.rated and outcome.judge is not None:
                self._told_seq = seq
            fold = self._folds.get(outcome.group)
            if fold is None:
                fold = self._folds[outcome.group] = GroupFold(outcome.group, values, pairs, stop_rule(meta))
            fold.add(outcome)
        self._last_end, new = await self._reader.usage(self._last_end)
        for purpose, usage in new.items():
            self._usage[purpose] = self._usage.get(purpose, Usage()) + usage
        in_flight, reserved_usd = await self._reader.in_flight()
        sessions = await self._reader.sessions()
        running = bool(sessions) and sessions[-1].state is None and self._folder.in_work
        running_s = await elapsed_s(self._reader, running=running)
        progress = Progress(
            run=self._folder.name,
            state=run_state(meta.get("kind", "sweep"), sessions, running=running),
            planned=meta.get("planned"),
            verdicts=dict(self._verdicts),
            usage=dict(self._usage),
            in_flight=in_flight if running else 0,
            reserved_usd=reserved_usd if running else 0.0,
            limit_usd=meta.get("limits", {}).get("cost_usd"),
            elapsed_s=running_s,
            rate_per_s=self._rate_per_s(running_s),
            failures=await self._reader.failures() if failures else {},
            lost_looks=await self._reader.lost_looks() if failures else {},
            ends_early=ends_early(meta),
            lanes=await lanes(self._reader, running=running),
        )
        rankings = [self._folds[group].ranking() for group in sorted(self._folds, key=str)]
        conversation = await self._reader.conversation(self._told_seq) if self._told_seq else None
        stopped = await self._reader.settled(stop_rule(meta)) if ends_early(meta) else {}
        judges = await self._reader.verdicts()
        return Snapshot(progress, rankings, list(self._recent), conversation, stopped, judges)

    def _rate_per_s(self, elapsed_s: float) -> float:
        """Episodes per second over the last stretch that this monitor saw, else over all of the run."""
        now, done = time.monotonic(), sum(self._verdicts.values())
        self._seen.append((now, done))
        while now - self._seen[0][0] > _RATE_WINDOW_S:
            self._seen.popleft()
        then, done_then = self._seen[0]
        if now - then > 1:
            return (done - done_then) / (now - then)
        return done / elapsed_s if elapsed_s > 0 else 0.0


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
