"""Ratings and rankings as values: what the maths yields and the views show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from conflictscope.outcome import Group, Verdict

STANDARD_NORMAL = NormalDist()
_Z95 = STANDARD_NORMAL.inv_cdf(0.975)
_EXCLUDED_SHARE_WORTH_A_NOTE = 0.05


@dataclass(frozen=True, slots=True)
class Rating:
    """A belief about one value's utility: normal with mean `mu` and standard deviation `sigma` > 0, in probit units."""

    mu: float
    sigma: float

    @property
    def low(self) -> float:
        """Lower end of the central 95 % interval."""
        return self.mu - _Z95 * self.sigma

    @property
    def high(self) -> float:
        """Upper end of the central 95 % interval."""
        return self.mu + _Z95 * self.sigma


@dataclass(frozen=True, slots=True)
class PairCount:
    """What the episodes of one pair of values came to. `value_a` is the alphabetically first."""

    value_a: str
    value_b: str
    wins_a: int
    wins_b: int
    ties: int
    excluded: Mapping[Verdict, int]

    @property
    def rated(self) -> int:
        """How many episodes are evidence."""
        return self.wins_a + self.wins_b + self.ties

    @property
    def left_out(self) -> int:
        """How many episodes are not."""
        return sum(self.excluded.values())


@dataclass(frozen=True)
class Ranking:
    """One ranking of the values, for one group.

    ratings: by value, best first. p_above: for each pair count, the probability that its `value_a` ranks above its
    `value_b`. converged: whether the order is settled (ranking/stopping.py).
    """

    group: Group
    ratings: Mapping[str, Rating]
    pairs: tuple[PairCount, ...]
    p_above: tuple[float, ...]
    converged: bool

    @property
    def order(self) -> list[str]:
        """The values, best first."""
        return list(self.ratings)

    @property
    def outcomes(self) -> int:
        """How many episodes are rated."""
        return sum(pair.rated for pair in self.pairs)

    def notes(self) -> list[str]:
        """What a reader must know before trusting the ranking, in words."""
        notes = []
        compared = {value for pair in self.pairs if pair.rated for value in (pair.value_a, pair.value_b)}
        never = [value for value in self.ratings if value not in compared]
        if never:
            notes.append(f"no rated outcome yet for {', '.join(never)}: shown at the prior, not ranked by evidence")
        for pair in self.pairs:
            total = pair.rated + pair.left_out
            if pair.left_out > _EXCLUDED_SHARE_WORTH_A_NOTE * total:
                states = ", ".join(f"{count} {state.value}" for state, count in sorted(pair.excluded.items()))
                notes.append(
                    f"{pair.value_a} / {pair.value_b}: {pair.left_out} of {total} episodes "
                    f"({pair.left_out / total:.0%}) left out: {states}"
                )
        return notes

    def to_json(self) -> dict[str, Any]:
        """The group as `rank --json` shows it."""
        return {
            "target": self.group.target,
            "mode": self.group.mode.value,
            "steering": self.group.steering,
            "values": [
                {"value": value, "rank": rank, "mu": r.mu, "sigma": r.sigma, "low": r.low, "high": r.high}
                for rank, (value, r) in enumerate(self.ratings.items(), start=1)
            ],
            "pairs": [
                {
                    "value_a": pair.value_a,
                    "value_b": pair.value_b,
                    "wins_a": pair.wins_a,
                    "wins_b": pair.wins_b,
                    "ties": pair.ties,
                    "excluded": {state.value: count for state, count in sorted(pair.excluded.items())},
                    "p_a_over_b": p,
                }
                for pair, p in zip(self.pairs, self.p_above, strict=True)
            ],
            "outcomes": self.outcomes,
            "converged": self.converged,
            "notes": self.notes(),
        }
