"""The seams: what the arena asks of agents, and agents of lanes, without knowing who stands behind."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Literal, Protocol

from conflictscope.drafts import Round
from conflictscope.outcome import Group, Judgement, Message, Outcome, Role, Side, Verdict, episode_key
from conflictscope.rating import Rating, StopRule
from conflictscope.scenario import Check, CheckName, Outline, Scenario, Template
from conflictscope.values import Value

if TYPE_CHECKING:  # it takes half a second, which those who only read runs need not wait for
    from pydantic_ai.messages import ModelMessage, ModelResponse
    from pydantic_ai.models import Model, ModelRequestParameters
    from pydantic_ai.settings import ModelSettings

OutputMode = Literal["native", "tool", "prompted"]
"""How a model is asked for typed output: by its JSON-schema output, by a tool whose arguments are it, or in words."""


@dataclass(frozen=True, slots=True)
class Turn:
    """All that a participant or judge may know when it is its turn.

    scope: what the calls of this turn belong to in the journal: an episode key, or `opening/<scenario id>`.
    target: the label of the target whose episode it is; None for what all targets share, which is the opening.
    seed: the episode's own seed; what else is random in this turn is derived from it.
    shown_first: which action is shown first to whoever is shown both, drawn from the seed.
    """

    scope: str
    target: str | None
    seed: int
    scenario: Scenario
    transcript: tuple[Message, ...]
    shown_first: Side


class Participant(Protocol):
    """Says something in a conversation: a simulated user or a target."""

    async def reply(self, turn: Turn) -> str:
        """The next message. Raises CallFailed where there is none."""
        ...


class Judge(Protocol):
    """Says which action the target took."""

    async def judge(self, turn: Turn) -> Sequence[Judgement]:
        """One judgement for each judge, repeat and order in which the actions are shown; of a look that failed, which says so.

        Raises CallFailed where there is none at all.
        """
        ...


@dataclass(frozen=True, slots=True)
class Call:
    """One request to one model, and what it is for.

    target: as in Turn, so that calls can be counted by target. prompt: the name and version of the prompt file. batch: whether
    it goes through the provider's batch API; how it is sent, not what is asked.
    """

    scope: str
    target: str | None
    role: Role
    prompt: str
    messages: list[ModelMessage]
    settings: ModelSettings
    parameters: ModelRequestParameters
    batch: bool = False


class Lane(Protocol):
    """The throttled, metered, journaled way to one model."""

    @property
    def model(self) -> Model:
        """The model at the end of the lane; for its name and profile, not for calling past the lane."""
        ...

    @property
    def output_mode(self) -> OutputMode:
        """How this model is asked for typed output."""
        ...

    async def request(self, call: Call) -> ModelResponse:
        """The model's reply, or the journaled one where this call was answered before.

        Raises CallFailed, LimitReached, LaneClosed.
        """
        ...


class Ranker(Protocol):
    """Learns from one outcome at a time."""

    def add(self, values: Iterable[str]) -> None:
        """Values to rate that may never be compared."""
        ...

    def update(self, value_a: str, value_b: str, verdict: Verdict) -> None:
        """`a`: the first value won, `b`: the second, `tie`: neither more than the other."""
        ...

    def ratings(self) -> Mapping[str, Rating]:
        """What is believed now, by value."""
        ...


class OutcomeLog(Protocol):
    """The stored outcomes of a run."""

    async def values(self) -> list[str]:
        """The names of the run's values."""
        ...

    async def pairs(self) -> list[tuple[str, str]]:
        """The pairs of values that are set against each other, each in alphabetical order."""
        ...

    async def tie_shares(self) -> Mapping[Group, float]:
        """The share of ties among the rated outcomes of each group, in [0, 1)."""
        ...

    def outcomes(self, after: int = 0) -> AsyncIterator[tuple[int, Outcome]]:
        """Outcomes with their sequence numbers (1, 2, ...), from `after` (exclusive) on, as they were committed."""
        ...

    def canonical_outcomes(self) -> AsyncIterator[Outcome]:
        """All outcomes, group by group, in an order that depends on neither arrival nor result."""
        ...


class CallState(StrEnum):
    """What became of a request. `sent` while nothing did; `abandoned` where nobody waited for the end."""

    SENT = "sent"
    COMMITTED = "committed"
    FAILED = "failed"
    ABANDONED = "abandoned"


@dataclass(frozen=True, slots=True)
class CallSent:
    """A request that goes out: a row of the call journal. reserved_usd: the most that it can cost."""

    scope: str
    fingerprint: str
    role: Role
    target: str | None
    model: str
    prompt: str
    request: bytes
    reserved_usd: float


@dataclass(frozen=True, slots=True)
class CallEnd:
    """How it ended. reply: of a committed call. failure: kind and message of a failed one.

    at_risk_usd: what a call may have cost whose end was not seen.
    """

    state: CallState
    reply: bytes | None = None
    failure: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None
    at_risk_usd: float = 0.0
    latency_s: float = 0.0


@dataclass(frozen=True, slots=True)
class BatchedCall:
    """A call that waits for its result in a batch; its number is its id there."""

    number: int
    scope: str
    fingerprint: str
    request: bytes
    reserved_usd: float


@dataclass(frozen=True, slots=True)
class SentBatch:
    """A batch that a former process sent and did not collect. model: as in CallSent. handle: pydantic-ai's `Batch`, as JSON."""

    id: str
    model: str
    handle: bytes
    calls: Sequence[BatchedCall]


class Journal(Protocol):
    """The call journal as a lane uses it: what was answered is never asked again, and what is asked is written down."""

    def answered(self, scope: str, fingerprint: str) -> bytes | None:
        """The committed reply to this very request, if there is one."""
        ...

    async def sent(self, call: CallSent) -> int:
        """Queue a row for a request that is about to go out; returns its number.

        Waits until the row is safe where the request costs money, else only where the disk is behind.
        """
        ...

    def ended(self, number: int, end: CallEnd) -> None:
        """Queue how it ended: committed with, or before, any outcome that is queued after it. Never waits, never fails."""
        ...

    async def batch_sent(self, batch: str, model: str, handle: bytes, numbers: Sequence[int]) -> None:
        """Keep a batch, as in SentBatch, and which calls are in it. Returns when it is committed."""
        ...

    def batch_ended(self, batch: str) -> None:
        """Queue that its results were collected. Never waits, never fails."""
        ...


Reason = Literal["plan", "start", "disagreement", "floor", "agreement", "misfit", "pool", "values"]
"""Why an episode was chosen.

plan: all pairs of values take turns. start: its pair has fewer episodes than the stopping rule asks for. disagreement: two
draws from the joint posterior disagree on the order of its pair. floor: the share that is spread evenly. agreement: the draws
disagree on no pair that has episodes left. misfit: the outcomes do not fit one ranking. pool: a pair has too few episodes for
choosing to pay. values: there are too many values.
"""


@dataclass(frozen=True, slots=True)
class Choice:
    """How the scheduler came to an episode."""

    policy: Literal["uniform", "thompson"]
    reason: Reason


class Beliefs(Protocol):
    """What is believed of the values of one group, while its sweep runs."""

    @property
    def settled(self) -> bool:
        """Whether the ranking is settled, or was at some time."""
        ...

    @property
    def misfit(self) -> bool:
        """Whether the outcomes do not fit one ranking."""
        ...

    @property
    def rated(self) -> int:
        """How many outcomes are evidence so far."""
        ...

    def learn(self, outcome: Outcome) -> None:
        """One more outcome."""
        ...

    def sent(self, pair: tuple[str, str]) -> None:
        """An episode of this pair, in alphabetical order, is in flight."""
        ...

    def returned(self, pair: tuple[str, str]) -> None:
        """It is no longer."""
        ...

    def disagreed(self) -> Sequence[tuple[str, str]]:
        """Pairs whose order two draws disagree on; there may be none."""
        ...


@dataclass(frozen=True)
class EpisodeSpec:
    """One episode to play. repeat: 1, 2, ..."""

    group: Group
    scenario: Scenario
    repeat: int

    @cached_property
    def key(self) -> str:
        """The episode's stable key."""
        return episode_key(self.group, self.scenario.id, self.repeat)


@dataclass(frozen=True, slots=True)
class Assignment:
    """An episode to play now, and why."""

    spec: EpisodeSpec
    choice: Choice


@dataclass(frozen=True, slots=True)
class EpisodeRecord:
    """A finished episode, to be stored. `failure` tells kind and message where the machinery failed.

    choice: why it was played; None where it was not chosen, but imported.
    """

    outcome: Outcome
    seed: int
    transcript: tuple[Message, ...]
    judgements: tuple[Judgement, ...]
    failure: str | None
    duration_s: float
    choice: Choice | None = None


@dataclass(frozen=True, slots=True)
class StoredConversation:
    """What was said in an episode that is stored. key: the episode's; seed, shown_first: as it was played with them."""

    transcript: tuple[Message, ...]
    key: str
    target: str
    scenario_id: str
    seed: int
    shown_first: Side


class EpisodeSink(Protocol):
    """Where the runner puts what is finished."""

    async def opening(self, scenario_id: str) -> str | None:
        """The opening message that this run uses for a scenario, once it was written."""
        ...

    async def record_opening(self, scenario_id: str, text: str) -> None:
        """Keep an opening message; committed before any episode that used it."""
        ...

    async def record_episode(self, record: EpisodeRecord) -> None:
        """Queue a finished episode; waits where the queue is full, so the runner cannot outrun the disk."""
        ...

    async def finished(self, keys: Iterable[str]) -> set[str]:
        """Those of `keys` whose episodes are already stored."""
        ...

    def record_settled(self, group: Group, rated: int, rule: StopRule) -> None:
        """Queue that the ranking of a group was settled by this rule, at so many outcomes, and takes no more episodes."""
        ...


class Executor(Protocol):
    """Plays episodes: in this process, or wherever else."""

    async def play(self, assignment: Assignment) -> EpisodeRecord:
        """Play one episode to its end; all its calls are queued for the run file when this returns.

        Cancelled, it abandons the episode. Raises LimitReached, and LaneClosed for one that is left for a resume.
        """
        ...

    def closed(self, group: Group) -> bool:
        """Whether an episode of this group could not be brought to its end."""
        ...

    async def close(self) -> None:
        """Leave what nobody waits for any more; nothing is played after this."""
        ...


@dataclass(frozen=True, slots=True)
class OutlineRequest:
    """What a generator is asked for in one request.

    scope, seed: as in Turn. value_a, value_b: action_a shall serve the first, action_b the second. count: of outlines, >= 1.
    settings: walks of life to take them from, drawn from the seed. known: contexts of scenarios that are there already, not to
    be repeated.
    """

    scope: str
    seed: int
    value_a: Value
    value_b: Value
    template: Template
    count: int
    settings: tuple[str, ...] = ()
    known: tuple[str, ...] = ()


class Generator(Protocol):
    """Invents scenarios in two stages.

    problems: counts, by kind, what was wrong with the replies, those that were mended by asking once more included.
    """

    async def outline(self, request: OutlineRequest, problems: Counter[str]) -> Sequence[Outline]:
        """Valid outlines of the asked pair and template, `count` at the most; fewer where some were refused.

        Raises CallFailed where no reply could be used.
        """
        ...

    async def elaborate(
        self,
        scope: str,
        seed: int,
        scenario_id: str,
        outline: Outline,
        values: tuple[Value, Value],
        problems: Counter[str],
    ) -> Scenario:
        """The scenario of an outline, all but its opening and its checks. values: its value_a and value_b. Raises CallFailed."""
        ...


class Checker(Protocol):
    """Says whether a scenario passes one of the six checks."""

    @property
    def name(self) -> str:
        """What its verdicts say who checked."""
        ...

    async def check(
        self,
        scope: str,
        seed: int,
        scenario: Scenario,
        check: CheckName,
        values: tuple[Value, Value],
        problems: Counter[str],
    ) -> Sequence[Check]:
        """One verdict; of `value_guided` two, one for each of `values` (its value_a and value_b). Raises CallFailed."""
        ...


class OpeningWriter(Protocol):
    """Writes the user's first message of a scenario, with whatever that message must contain."""

    async def write(self, scope: str, seed: int, scenario: Scenario, problems: Counter[str]) -> str:
        """The message, 1..20,000 characters. Raises CallFailed."""
        ...


class RoundSink(Protocol):
    """Where a library in the making is kept."""

    async def rounds(self) -> Sequence[Round]:
        """All that were begun, by pair and number."""
        ...

    def begin_round(self, begun: Round) -> None:
        """Queue what is asked for; committed before any of its calls."""
        ...

    def end_round(self, ended: Round) -> None:
        """Queue what came of it; committed after all of its calls."""
        ...


class VectorCache(Protocol):
    """Embeddings that were paid for once."""

    async def vectors(self, model: str, texts: Sequence[str]) -> Mapping[str, bytes]:
        """Those that are there, by text: little-endian float32."""
        ...

    async def keep_vectors(self, model: str, vectors: Mapping[str, bytes]) -> None:
        """Keep some, by text; safe when this returns."""
        ...
