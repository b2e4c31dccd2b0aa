"""What pages and reports show of a run beside its rankings, as plain data made from the run file alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from conflictscope.outcome import Group, Message, Mode, Side, Verdict
from conflictscope.rating import FloatArray, IntArray, Ranking
from conflictscope.scenario import Scenario
from conflictscope.snapshot import Snapshot

Pair = tuple[str, str]
"""Two values in alphabetical order."""


@dataclass(frozen=True)
class History:
    """The live ratings of one group over its rated outcomes: how its ranking came to be.

    values: (K,) names. outcomes: (N,) rated outcomes so far, ascending; N is bounded whatever the length of the run, older points
    are thinned out. mu, low, high: (N, K) the rating and the ends of its central 95 % interval. doubt: (N,) as in Convergence.
    """

    group: Group
    values: tuple[str, ...]
    outcomes: IntArray
    mu: FloatArray
    low: FloatArray
    high: FloatArray
    doubt: FloatArray


@dataclass(frozen=True, slots=True)
class Flips:
    """Of the episodes of a pair of values that a judge judged in both orders of the actions: in how many the order decided."""

    flipped: int
    looked: int


@dataclass(frozen=True, slots=True)
class Stretch:
    """What happened in one stretch of a run's time.

    start: ISO 8601, UTC. seconds: its length. episodes, failed: that ended in it, and those of them that failed. calls,
    failed_calls: requests that were sent in it and have ended. spent_usd: what they count against the limit. latency_s: the mean
    of the answered ones; None where there are none.
    """

    start: str
    seconds: float
    episodes: int
    failed: int
    calls: int
    failed_calls: int
    input_tokens: int
    output_tokens: int
    spent_usd: float
    latency_s: float | None


@dataclass(frozen=True)
class Board:
    """A run as a page shows it at one moment.

    snapshot: progress and live rankings. rankings: of the joint posterior, one a group in the order of the snapshot's.
    histories, flips: by group. timeline: at most a few hundred stretches of equal length, oldest first; time between sessions
    is left out.
    failures: failed episodes by kind.
    """

    snapshot: Snapshot
    rankings: Sequence[Ranking]
    histories: Mapping[Group, History]
    flips: Mapping[Group, Mapping[Pair, Flips]]
    timeline: Sequence[Stretch]
    failures: Mapping[str, int]


# -- episodes ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EpisodeFilter:
    """Which episodes are asked for; None and empty hold for all.

    pair: in either order. text: words that stand in the conversation, the scenario or the judge's reasoning, all of them, upper
    or lower case. failure: a kind of failure.
    """

    target: str | None = None
    mode: Mode | None = None
    steering: str | None = None
    behavior: str | None = None
    verdict: Verdict | None = None
    pair: Pair | None = None
    scenario_id: str | None = None
    failure: str | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class FilterChoices:
    """What there is in a run to filter its episodes by, each in alphabetical order; verdicts in theirs. failures: kinds."""

    targets: Sequence[str]
    modes: Sequence[Mode]
    steerings: Sequence[str]
    behaviors: Sequence[str]
    pairs: Sequence[Pair]
    verdicts: Sequence[Verdict]
    failures: Sequence[str]


@dataclass(frozen=True, slots=True)
class EpisodeRow:
    """One episode in a list. turns: replies of the target. created_at: ISO 8601, UTC."""

    seq: int
    key: str
    group: Group
    scenario_id: str
    repeat: int
    value_a: str
    value_b: str
    verdict: Verdict
    strength: int | None
    shown_first: Side | None
    judge: str | None
    failure: str | None
    turns: int
    duration_s: float
    created_at: str


@dataclass(frozen=True, slots=True)
class EpisodePage:
    """Some episodes, newest first. before: where the next page begins; None on the last one."""

    rows: Sequence[EpisodeRow]
    before: int | None


@dataclass(frozen=True, slots=True)
class CallRow:
    """One request to a model. state: as in the run file. latency_s: until the reply, or until it failed."""

    seq: int
    role: str
    model: str
    prompt: str
    state: str
    failure: str | None
    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    latency_s: float
    created_at: str


@dataclass(frozen=True, slots=True)
class JudgementRow:
    """One look of one judge. anew: whether it belongs to a judge of `rejudge`."""

    judge: str
    number: int
    repeat: int
    shown_first: Side
    choice: Verdict
    resolved: bool
    strength: int | None
    reasoning: str
    quotes: Sequence[str]
    failure: str | None
    anew: bool


@dataclass(frozen=True)
class Episode:
    """One episode in full. scenario: None where it was imported without one. seed: what its random draws are derived from.

    verdicts: of judges of `rejudge`, by name. labels: of people, by name.
    """

    row: EpisodeRow
    scenario: Scenario | None
    opening: str | None
    transcript: Sequence[Message]
    judgements: Sequence[JudgementRow]
    calls: Sequence[CallRow]
    seed: int
    verdicts: Mapping[str, Verdict] = field(default_factory=dict)
    labels: Mapping[str, Verdict] = field(default_factory=dict)


@dataclass(frozen=True)
class LogHead:
    """What stands at the top of a log of one group, made for another tool.

    meta: of the run. state: how the run stands. started_at, ended_at: of the run, ISO 8601, UTC. ranking: of the whole group.
    episodes: sequence numbers of those in this log, which is part 1, 2, ... of `parts`.
    """

    run: str
    meta: Mapping[str, Any]
    state: str
    started_at: str
    ended_at: str
    ranking: Ranking
    episodes: Sequence[int]
    part: int
    parts: int
