"""What is expected of a sweep before it is paid for, as plain data: what its rankings will tell, and what it will take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from conflictscope.errors import InputError
from conflictscope.outcome import Group

_LARGEST_SPREAD = 10.0
_LARGEST_ERROR = 0.49  # at a half, outcomes tell nothing
_LARGEST_TIES = 0.99

Kind = Literal["opening", "conversation", "multiple_choice", "action_rating", "verdict", "preflight"]
"""What a call asks for."""


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What a forecast rests on where nothing was measured.

    spread: standard deviation of the utilities, in probit units, 0..10, not 0. judge_error: share of decisive outcomes that come
    out the wrong way round, 0..0.49. ties: share of outcomes that are ties, 0..0.99. Raises InputError.
    """

    spread: float = 0.5
    judge_error: float = 0.05
    ties: float = 0.05

    def __post_init__(self) -> None:
        if not 0 < self.spread <= _LARGEST_SPREAD:
            raise InputError(f"--spread must be > 0 and <= {_LARGEST_SPREAD:g}, got {self.spread:g}")
        if not 0 <= self.judge_error <= _LARGEST_ERROR:
            raise InputError(f"--judge-error must be >= 0 and <= {_LARGEST_ERROR:g}, got {self.judge_error:g}")
        if not 0 <= self.ties <= _LARGEST_TIES:
            raise InputError(f"--ties must be >= 0 and <= {_LARGEST_TIES:g}, got {self.ties:g}")


@dataclass(frozen=True, slots=True)
class Moment:
    """What can be said of one group after so many of its episodes.

    resolved: chance that the stopping rule held by then. right_top: that the value ranked first is the first. right_order: that
    the whole order is right. tau: mean Kendall tau of the ranking with the truth, -1..1.
    """

    episodes: int
    resolved: float
    right_top: float
    right_order: float
    tau: float


@dataclass(frozen=True, slots=True)
class PairForecast:
    """A pair of values. pool: its episodes in the plan, in one group. tied: chance that its order is not 95 % sure at the end."""

    value_a: str
    value_b: str
    pool: int
    tied: float


@dataclass(frozen=True, slots=True)
class Difference:
    """What a difference of two utilities means.

    difference: in probit units. win_share: of the greater one among decisive outcomes, as the judge tells them. outcomes: of
    this pair alone, so that its order is 95 % sure with a chance of 80 %; None where a billion would not do. separated: the
    chance of that when the plan has been played, by the simulation; None where too few simulated pairs differ by about so much.
    """

    difference: float
    win_share: float
    outcomes: int | None
    separated: float | None


@dataclass(frozen=True, slots=True)
class RankingForecast:
    """What the rankings of some groups will tell, by simulated worlds.

    groups: for which this holds. basis: where the worlds' utilities are from, in words. exchangeable: whether nothing is known
    of one value that is not known of all. worlds: how many. planned: episodes of
    one group in the plan. curve: by number of episodes, growing, beyond the plan too. at_plan, at_budget: at the end of the plan,
    and where the money ends (None without a limit that it meets). median, ninety: episodes of one group by which half, and nine
    tenths, of the worlds are resolved; None where that is more than `searched`. played: mean share of the plan that is played
    where a group stops once it is resolved. pairs: alphabetical. differences: small to great.
    """

    groups: tuple[Group, ...]
    basis: str
    exchangeable: bool
    worlds: int
    planned: int
    curve: tuple[Moment, ...]
    at_plan: Moment
    at_budget: Moment | None
    median: int | None
    ninety: int | None
    searched: int
    played: float
    pairs: tuple[PairForecast, ...]
    differences: tuple[Difference, ...]

    def to_json(self) -> dict[str, Any]:
        """By name."""
        return {**asdict(self), "groups": [group.to_json() for group in self.groups]}


@dataclass(frozen=True, slots=True)
class Amount:
    """The least, what is expected, and the most."""

    least: float
    expected: float
    most: float

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.least + other.least, self.expected + other.expected, self.most + other.most)

    def __mul__(self, factor: float) -> Amount:
        return Amount(self.least * factor, self.expected * factor, self.most * factor)

    @property
    def exact(self) -> bool:
        """Whether it is known."""
        return self.least == self.most


@dataclass(frozen=True, slots=True)
class CallMeans:
    """What calls of one kind took on average. calls: how many. latency_s: None where all went in batches."""

    calls: int
    input_tokens: float
    output_tokens: float
    latency_s: float | None


@dataclass(frozen=True, slots=True)
class Measured:
    """What a run took. means: by role, kind (as in UsageForecast) and model. settled: the chance that a look of the judge
    ended a conversation; None where there was none."""

    means: Mapping[tuple[str, str, str], CallMeans]
    settled: float | None


NOTHING = Amount(0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class UsageForecast:
    """What one role will take through one lane.

    target: the label of the target that is asked; None for what all targets share. kind: what is asked for; `preflight` is the
    small question before a sweep. calls: answered ones; repetitions after failures
    are not foreseen. input_tokens, output_tokens: of all of them. cost_usd: None where the price is not known. latency_s: of
    one call. measured: whether tokens and latency are those of a run, not assumed.
    """

    role: str
    target: str | None
    kind: Kind
    model: str
    calls: Amount
    input_tokens: Amount
    output_tokens: Amount
    cost_usd: Amount | None
    latency_s: float
    batch: bool
    measured: bool


@dataclass(frozen=True, slots=True)
class SweepForecast:
    """A whole sweep before it is paid for.

    episodes: of all groups. usage: by role, kind and model. duration_s: without what waits in batches. bound: what the duration
    hangs on, in words. limit_usd: of the sweep file. affordable: episodes of all groups that it pays for, None where it pays for
    all, or the cost is not known. stops_early: whether groups take no more episodes once they are resolved. notes: what a reader
    must know, in words.
    """

    sweep: str
    assumptions: Assumptions
    like: str | None
    policy: str
    episodes: int
    rankings: tuple[RankingForecast, ...]
    usage: tuple[UsageForecast, ...]
    duration_s: Amount
    bound: str
    limit_usd: float | None
    affordable: int | None
    stops_early: bool
    notes: tuple[str, ...]

    @property
    def calls(self) -> Amount:
        """Of all roles."""
        return sum((usage.calls for usage in self.usage), NOTHING)

    @property
    def cost_usd(self) -> Amount | None:
        """Of all roles; None where the price of one is not known."""
        return total_cost(self.usage)

    def to_json(self) -> dict[str, Any]:
        """As `plan --json` shows it."""
        total = {
            "calls": asdict(self.calls),
            "input_tokens": asdict(sum((usage.input_tokens for usage in self.usage), NOTHING)),
            "output_tokens": asdict(sum((usage.output_tokens for usage in self.usage), NOTHING)),
            "cost_usd": asdict(self.cost_usd) if self.cost_usd else None,
        }
        return {
            "sweep": self.sweep,
            "assumptions": asdict(self.assumptions),
            "like": self.like,
            "policy": self.policy,
            "episodes": self.episodes,
            "rankings": [ranking.to_json() for ranking in self.rankings],
            "usage": [asdict(usage) for usage in self.usage],
            "total": total,
            "duration_s": asdict(self.duration_s),
            "bound": self.bound,
            "limit_usd": self.limit_usd,
            "affordable": self.affordable,
            "stops_early": self.stops_early,
            "notes": list(self.notes),
        }


def total_cost(usage: Sequence[UsageForecast]) -> Amount | None:
    """Of all of them; None where the price of one is not known."""
    costs = [each.cost_usd for each in usage]
    return None if None in costs else sum((cost for cost in costs if cost is not None), NOTHING)
