"""What a view shows at one moment: plain data, made from the run file alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from conflictscope.drafts import DraftState
from conflictscope.outcome import Group, Message, Outcome, Verdict
from conflictscope.rating import Ranking


@dataclass(frozen=True, slots=True)
class Usage:
    """What requests took that have ended. Each is committed, failed or abandoned: `calls` is the sum of the three.

    unpriced: committed calls whose cost is not known. at_risk_usd: what calls may have cost whose end was not seen; it counts
    against the limit, at the most that each could have cost.
    """

    calls: int = 0
    failed: int = 0
    abandoned: int = 0
    unpriced: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0
    at_risk_usd: float = 0.0

    def __add__(self, other: Usage) -> Usage:
        return Usage(*(getattr(self, name) + getattr(other, name) for name in _USAGE))

    @property
    def spent_usd(self) -> float:
        """What counts against the limit."""
        return self.cost_usd + self.at_risk_usd

    def to_json(self) -> dict[str, Any]:
        """By name."""
        return {name: getattr(self, name) for name in _USAGE}


_USAGE = tuple(each.name for each in fields(Usage))


@dataclass(frozen=True, slots=True)
class Purpose:
    """What requests were made for. target: None for what all targets share. model: the lane."""

    role: str
    target: str | None
    model: str


@dataclass(frozen=True, slots=True)
class LaneLoad:
    """How a lane stands, of the last process that worked on the run and its workers, all of them together.

    in_flight: requests on their way. limit: as many may be now; lowered where the service turns requests away. most: as many as
    the limit may be. waiting: requests that wait for one to end. retries: requests that were sent again. errors: requests that
    failed, those that were sent again included. closed: why nobody is answered any more.
    """

    model: str
    in_flight: int
    limit: int
    most: int
    waiting: int
    retries: int
    errors: int
    closed: str | None = None

    def __add__(self, other: LaneLoad) -> LaneLoad:
        """The lanes of two processes to one model, together."""
        counts = {name: getattr(self, name) + getattr(other, name) for name in _COUNTS}
        return replace(self, **counts, closed=self.closed or other.closed)

    def to_json(self) -> dict[str, Any]:
        """By name."""
        return asdict(self)


_COUNTS = tuple(each.name for each in fields(LaneLoad) if each.name not in ("model", "closed"))


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is and what it has used.

    planned: episodes in the plan; None for imported outcomes. usage: by what it was for. in_flight, reserved_usd: requests that
    have not ended, and what is set aside for them. limit_usd: of the sweep file. elapsed_s: time spent running, over all resumes.
    rate_per_s: episodes per second lately, where the run goes on, else over the whole run. remaining_s: None where the
    run is done or the rate is not known. failures: episodes by kind of failure. lost_looks: of judges, in episodes
    that came to a verdict without them, by judge and kind of failure. ends_early: whether the run ends before its plan
    where its rankings are settled, so that `remaining_s` and `forecast_usd` are the most that it can take. lanes: by model. read:
    the share of the run that all this rests on, below 1 while a view that will not wait is still reading a long run.
    stored_bytes: what the run file takes on the disk, once nobody works on it.
    """

    run: str
    state: str
    planned: int | None
    verdicts: Mapping[Verdict, int]
    usage: Mapping[Purpose, Usage]
    in_flight: int
    reserved_usd: float
    limit_usd: float | None
    elapsed_s: float
    rate_per_s: float
    failures: Mapping[str, int] = field(default_factory=dict)
    lost_looks: Mapping[tuple[str, str], int] = field(default_factory=dict)
    ends_early: bool = False
    read: float = 1.0
    lanes: Sequence[LaneLoad] = ()
    stored_bytes: int = 0

    @property
    def done(self) -> int:
        """Episodes that have ended, in whatever state."""
        return sum(self.verdicts.values())

    @property
    def failed(self) -> int:
        """Episodes that ended in a failure of ours."""
        return sum(count for verdict, count in self.verdicts.items() if verdict.failed)

    @property
    def total(self) -> Usage:
        """All that was used."""
        return sum(self.usage.values(), Usage())

    @property
    def forecast_usd(self) -> float | None:
        """What the episodes that are left will cost, if they cost what the others did; None where nothing is known of it."""
        if self.planned is None or self.done == 0 or self.state == "converged" or self.read < 1:
            return None
        return self.total.spent_usd / self.done * max(0, self.planned - self.done)

    @property
    def bytes_per_episode(self) -> float | None:
        """What an episode takes on the disk with all its calls, and its share of what all have in common; None without any."""
        return self.stored_bytes / self.done if self.done and self.read == 1 else None

    @property
    def remaining_s(self) -> float | None:
        """Time left at the present rate; None where there is none worth the name."""
        if self.planned is None or self.done >= self.planned or self.rate_per_s <= 0 or self.state == "converged":
            return None
        remaining = (self.planned - self.done) / self.rate_per_s
        return remaining if math.isfinite(remaining) else None

    def to_json(self) -> dict[str, Any]:
        """As `status --json` shows it."""
        return {
            "run": self.run,
            "state": self.state,
            "planned": self.planned,
            "done": self.done,
            "verdicts": {verdict.value: self.verdicts.get(verdict, 0) for verdict in Verdict},
            "failures": dict(self.failures),
            "lost_looks": [
                {"judge": judge, "failure": kind, "looks": count}
                for (judge, kind), count in sorted(self.lost_looks.items())
            ],
            "calls": self.total.calls,
            "failed_calls": self.total.failed,
            "abandoned_calls": self.total.abandoned,
            "calls_in_flight": self.in_flight,
            "input_tokens": self.total.input_tokens,
            "output_tokens": self.total.output_tokens,
            "cost_usd": self.total.cost_usd,
            "at_risk_usd": self.total.at_risk_usd,
            "reserved_usd": self.reserved_usd,
            "limit_usd": self.limit_usd,
            "forecast_usd": self.forecast_usd,
            "unpriced_calls": self.total.unpriced,
            "usage": [
                {"role": purpose.role, "target": purpose.target, "model": purpose.model, **usage.to_json()}
                for purpose, usage in sorted(self.usage.items(), key=lambda item: str(item[0]))
            ],
            "elapsed_s": self.elapsed_s,
            "rate_per_s": self.rate_per_s,
            "remaining_s": self.remaining_s,
            "ends_early": self.ends_early,
            "stored_bytes": self.stored_bytes,
            "bytes_per_episode": self.bytes_per_episode,
            "lanes": [lane.to_json() for lane in self.lanes],
        }


@dataclass(frozen=True, slots=True)
class Conversation:
    """What was said in one episode, and what the judge made of it, in words."""

    title: str
    transcript: Sequence[Message]
    conclusion: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Progress, the ranking of each group, the latest outcomes (newest first), the latest judged conversation.

    stopped: the groups that take no more episodes because their ranking was settled, and at how many outcomes it was. judges: who
    judged stored conversations anew, and how often they came to which verdict.
    """

    progress: Progress
    rankings: Sequence[Ranking]
    recent: Sequence[Outcome]
    conversation: Conversation | None
    stopped: Mapping[Group, int] = field(default_factory=dict)
    judges: Mapping[str, Mapping[Verdict, int]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As `status --json` shows it: progress, and how far each ranking is from being settled."""
        groups = [
            {
                **ranking.group.to_json(),
                "outcomes": ranking.outcomes,
                "converged": ranking.converged,
                "stopped_at": self.stopped.get(ranking.group),
                **ranking.convergence.to_json(),
            }
            for ranking in self.rankings
        ]
        judges = [
            {"judge": judge, "verdicts": {verdict.value: verdicts.get(verdict, 0) for verdict in Verdict}}
            for judge, verdicts in self.judges.items()
        ]
        return {**self.progress.to_json(), "groups": groups, "judges": judges}


@dataclass(frozen=True, slots=True)
class PairProgress:
    """How far a pair of a library in the making is. asked: outlines so far; at_most: as many may be asked for."""

    value_a: str
    value_b: str
    wanted: int
    passed: int
    asked: int
    at_most: int

    @property
    def short(self) -> int:
        """How many scenarios are missing."""
        return max(0, self.wanted - self.passed)

    @property
    def given_up(self) -> bool:
        """Whether it is short and may ask for no more."""
        return self.short > 0 and self.asked >= self.at_most


@dataclass(frozen=True, slots=True)
class LibraryProgress:
    """How far the making of a library is and what it has used.

    pairs: what each shall have and has; scenarios that the library held before count. drafts: outlines by what became of them.
    rejected: by check, how many scenarios failed it. problems: replies that could not be used as they came, by kind. embedding:
    what near-duplicates are found by. usage, in_flight, limit_usd, elapsed_s, lanes: as in Progress.
    """

    run: str
    state: str
    pairs: Sequence[PairProgress]
    drafts: Mapping[DraftState, int]
    rejected: Mapping[str, int]
    problems: Mapping[str, int]
    embedding: str
    threshold: float
    usage: Mapping[Purpose, Usage]
    in_flight: int
    limit_usd: float | None
    elapsed_s: float
    lanes: Sequence[LaneLoad] = ()

    @property
    def total(self) -> Usage:
        """All that was used."""
        return sum(self.usage.values(), Usage())

    @property
    def wanted(self) -> int:
        """Scenarios that the library shall hold."""
        return sum(pair.wanted for pair in self.pairs)

    @property
    def passed(self) -> int:
        """Scenarios that count towards that."""
        return sum(min(pair.passed, pair.wanted) for pair in self.pairs)

    @property
    def short(self) -> int:
        """How many are missing."""
        return self.wanted - self.passed

    def to_json(self) -> dict[str, Any]:
        """By name."""
        return {
            "run": self.run,
            "state": self.state,
            "wanted": self.wanted,
            "passed": self.passed,
            "pairs": [
                {"value_a": p.value_a, "value_b": p.value_b, "wanted": p.wanted, "passed": p.passed, "short": p.short,
                 "asked": p.asked, "given_up": p.given_up}
                for p in self.pairs
            ],
            "drafts": {state.value: self.drafts.get(state, 0) for state in DraftState},
            "rejected": dict(self.rejected),
            "problems": dict(self.problems),
            "duplicates": {"embedding": self.embedding, "threshold": self.threshold},
            "calls": self.total.to_json(),
            "elapsed_s": self.elapsed_s,
            "lanes": [lane.to_json() for lane in self.lanes],
        }  # fmt: skip
