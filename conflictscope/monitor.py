"""Following a run through its file: what is new since the last look, folded into what was known."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from conflictscope.board import Board, Flips, Pair
from conflictscope.outcome import Group, Mode, Outcome, Verdict
from conflictscope.ranking import GroupFold, GroupHistory, live_posterior
from conflictscope.rating import DEFAULT_RULE, Ranking, StopRule
from conflictscope.runfolder import RunFolder
from conflictscope.snapshot import Progress, Purpose, Snapshot, Usage
from conflictscope.store import RunReader, Session
from conflictscope.timeline import Timeline, Work

_RECENT = 8
_RATE_WINDOW_S = 20.0


class _Known:
    """What a monitor has read so far."""

    def __init__(self) -> None:
        self.folds: dict[Group, GroupFold] = {}
        self.histories: dict[Group, GroupHistory] = {}
        self.rankings: dict[
            Group, tuple[int, Ranking]
        ] = {}  # of the joint posterior, and the number of episodes it is of
        self.verdicts: Counter[Verdict] = Counter()
        self.failures: Counter[str] = Counter()
        self.usage: dict[Purpose, Usage] = {}
        self.flips: dict[Group, dict[Pair, Flips]] = {}
        self.timeline = Timeline()
        self.recent: deque[Outcome] = deque(maxlen=_RECENT)
        self.last_seq = 0
        self.last_looks = 0
        self.last_end = 0
        self.told_seq = 0


class Monitor:
    """Makes snapshots and boards of a run, live or finished, in any process; each costs what is new since the one before.

    Nothing is kept of an episode but what it adds to the sums. Where a run is resumed, its failed episodes are played again: then
    all is read anew.
    """

    def __init__(self, reader: RunReader, folder: RunFolder) -> None:
        self._reader = reader
        self._folder = folder
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
            rate_per_s=self._rate_per_s(running_s, running=running),
            failures=dict(known.failures),
            lost_looks=await self._reader.lost_looks() if failures else {},
            ends_early=ends_early(meta),
        )
        rankings = [known.folds[group].ranking() for group in sorted(known.folds, key=str)]
        conversation = await self._reader.conversation(known.told_seq) if known.told_seq else None
        stopped = await self._reader.settled(stop_rule(meta)) if ends_early(meta) else {}
        judges = await self._reader.verdicts()
        return Snapshot(progress, rankings, list(known.recent), conversation, stopped, judges)

    async def board(self) -> Board:
        """The run as of now, as pages show it. Its snapshot counts no lost looks."""
        snapshot = await self.snapshot()
        known = self._known
        return Board(
            snapshot=snapshot,
            rankings=[self._joint(ranking.group) for ranking in snapshot.rankings],
            histories={ranking.group: known.histories[ranking.group].history() for ranking in snapshot.rankings},
            flips={group: dict(pairs) for group, pairs in known.flips.items()},
            timeline=known.timeline.stretches(),
            failures=dict(known.failures),
        )

    def _joint(self, group: Group) -> Ranking:
        """Made anew where the group has new episodes."""
        fold, known = self._known.folds[group], self._known.rankings.get(group)
        episodes = sum(pair.rated + pair.left_out for pair in fold.tally.pairs())
        if known is None or known[0] != episodes:
            known = self._known.rankings[group] = (episodes, live_posterior(fold))
        return known[1]

    async def _read(self, meta: Mapping[str, Any]) -> _Known:
        """Take in what is new."""
        edition = await self._reader.edition()
        if edition != self._edition:
            self._known, self._edition = _Known(), edition
        known, timeline = self._known, self._known.timeline
        sessions = await self._reader.sessions()
        spans = [(_parse(one.started_at), _parse(one.ended_at or one.started_at)) for one in sessions]
        timeline.fit(spans)
        values, pairs = await self._reader.values(), await self._reader.pairs()
        async for episodes in self._reader.ended(known.last_seq):
            for seq, outcome, failure, at in episodes:
                known.last_seq = seq
                known.verdicts[outcome.verdict] += 1
                known.recent.appendleft(outcome)
                fold = known.folds.get(outcome.group)
                if fold is None:
                    fold = known.folds[outcome.group] = GroupFold(outcome.group, values, pairs, stop_rule(meta))
                    known.histories[outcome.group] = GroupHistory(fold)
                fold.add(outcome)
                if outcome.verdict.rated:
                    known.histories[outcome.group].note()
                    if outcome.judge is not None and outcome.group.mode is Mode.OPEN_ENDED:
                        known.told_seq = seq
                if failure is not None:
                    known.failures[failure] += 1
                timeline.add(at // timeline.stretch_s, Work(episodes=1, failed=outcome.verdict.failed))
            timeline.fit(spans)
        known.last_end, calls = await self._reader.calls_ended(known.last_end, timeline.stretch_s)
        for purpose, stretch, usage, answered, latency_s in calls:
            known.usage[purpose] = known.usage.get(purpose, Usage()) + usage
            timeline.add(
                stretch,
                Work(
                    calls=usage.calls,
                    failed_calls=usage.failed,
                    input_tokens=usage.input_tokens,
                    output_tokens=usage.output_tokens,
                    spent_usd=usage.spent_usd,
                    answered=answered,
                    latency_s=latency_s,
                ),
            )
        timeline.fit(spans)
        known.last_looks, flips = await self._reader.flips(known.last_looks)
        for (group, pair), new in flips.items():
            of_group = known.flips.setdefault(group, {})
            before = of_group.get(pair, Flips(0, 0))
            of_group[pair] = Flips(before.flipped + new.flipped, before.looked + new.looked)
        return known

    def _rate_per_s(self, elapsed_s: float, *, running: bool) -> float:
        """Episodes per second over the last stretch that this monitor saw of a run that goes on, else over all of the run."""
        now, done = time.monotonic(), sum(self._known.verdicts.values())
        self._seen.append((now, done))
        while now - self._seen[0][0] > _RATE_WINDOW_S:
            self._seen.popleft()
        then, done_then = self._seen[0]
        if running and now - then > 1:
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
