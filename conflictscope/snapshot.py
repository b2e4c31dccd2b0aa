"""What a view shows at one moment: plain data, made from the run file alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from conflictscope.outcome import Message, Outcome, Verdict
from conflictscope.rating import Ranking


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is and what it has used.

    planned: episodes in the plan; None for imported outcomes. elapsed_s: time spent running, over all resumes.
    rate_per_s: episodes per second lately, where the run goes on, else over the whole run. remaining_s: None where the
    run is done or the rate is not known. unpriced_calls: answered calls whose cost is not known. failures: episodes by
    kind of failure.
    """

    run: str
    state: str
    planned: int | None
    verdicts: Mapping[Verdict, int]
    calls: int
    failed_calls: int
    input_tokens: int
    output_tokens: int
    cost_usd: float
    unpriced_calls: int
    elapsed_s: float
    rate_per_s: float
    failures: Mapping[str, int] = field(default_factory=dict)

    @property
    def done(self) -> int:
        """Episodes that have ended, in whatever state."""
        return sum(self.verdicts.values())

    @property
    def failed(self) -> int:
        """Episodes that ended in a failure of ours."""
        return sum(count for verdict, count in self.verdicts.items() if verdict.failed)

    @property
    def remaining_s(self) -> float | None:
        """Time left at the present rate."""
        if self.planned is None or self.done >= self.planned or self.rate_per_s <= 0:
            return None
        return (self.planned - self.done) / self.rate_per_s

    def to_json(self) -> dict[str, Any]:
        """As `status --json` shows it."""
        return {
            "run": self.run,
            "state": self.state,
            "planned": self.planned,
            "done": self.done,
            "verdicts": {verdict.value: self.verdicts.get(verdict, 0) for verdict in Verdict},
            "calls": self.calls,
            "failed_calls": self.failed_calls,
            "failures": dict(self.failures),
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cost_usd": self.cost_usd,
            "unpriced_calls": self.unpriced_calls,
            "elapsed_s": self.elapsed_s,
            "rate_per_s": self.rate_per_s,
            "remaining_s": self.remaining_s,
        }


@dataclass(frozen=True, slots=True)
class Conversation:
    """What was said in one episode, and what the judge made of it, in words."""

    title: str
    transcript: Sequence[Message]
    conclusion: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Progress, the ranking of each group, the latest outcomes (newest first), the latest judged conversation."""

    progress: Progress
    rankings: Sequence[Ranking]
    recent: Sequence[Outcome]
    conversation: Conversation | None
