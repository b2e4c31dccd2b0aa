"""What an audit found, as values: how far judges and repeats can be trusted, and what other scoring would have said."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from conflictscope.outcome import Group, Verdict

FEWEST_FOR_SHARE = 10
"""With fewer items, no share is told."""

FEWEST_FOR_COEFFICIENT = 30
"""With fewer items, no kappa or alpha is told, and no error of a judge: their intervals are those of many items."""

MOST_LEFT_OUT = 0.05
"""A pair of values with a greater share of unrated episodes is named."""

_SURE = 0.95


@dataclass(frozen=True, slots=True)
class Figure:
    """A share or coefficient with the ends of its 95 % interval. items: how many questions or pairs of answers it rests on."""

    value: float
    low: float
    high: float
    items: int

    def to_json(self) -> dict[str, float]:
        """By name."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class OrderEffect:
    """What the order in which the two actions are shown does to whoever names one of them.

    who: the judge, or the target where nobody judges. pair: of values; None for all. both_orders: in how many conversations
    an action was named in each order; else each was seen in one order, which was drawn. flips: share of conversations judged
    otherwise in the other order. first_a, first_b: share that names the action shown first, where that is action a, and where
    it is b. bias: chance of naming the action shown first whatever was done, negative for the one shown second. error: chance
    of naming the wrong action where the order does not decide, a lower bound. None: not known, or of too few.
    """

    who: str
    pair: tuple[str, str] | None
    both_orders: bool
    items: int
    flips: Figure | None = None
    first_a: Figure | None = None
    first_b: Figure | None = None
    bias: Figure | None = None
    error: Figure | None = None

    def to_json(self) -> dict[str, Any]:
        """By name."""
        return asdict(self) | {"pair": list(self.pair) if self.pair else None}


@dataclass(frozen=True, slots=True)
class JudgeAgreement:
    """Several judges of the same episodes, one opinion or verdict each. cohen: by two judges. fleiss: of episodes that all
    judged."""

    judges: tuple[str, ...]
    episodes: int
    cohen: Mapping[tuple[str, str], Figure]
    fleiss: Figure | None
    alpha: Figure | None

    def to_json(self) -> dict[str, Any]:
        """By name."""
        return {
            "judges": list(self.judges),
            "episodes": self.episodes,
            "cohen_kappa": [{"judges": list(two), **figure.to_json()} for two, figure in self.cohen.items()],
            "fleiss_kappa": _json(self.fleiss),
            "krippendorff_alpha": _json(self.alpha),
        }


@dataclass(frozen=True, slots=True)
class JudgeRetest:
    """How alike repeated looks of a judge at one conversation are. conversations: how many it looked at several times. same:
    chance that two looks say the same. alpha: the same beyond chance (Krippendorff)."""

    judge: str
    conversations: int
    same: Figure | None
    alpha: Figure | None

    def to_json(self) -> dict[str, Any]:
        """By name."""
        return {
            "judge": self.judge,
            "conversations": self.conversations,
            "same": _json(self.same),
            "krippendorff_alpha": _json(self.alpha),
        }


@dataclass(frozen=True, slots=True)
class Retest:
    """How alike repeats of a scenario end. scenarios: how many were repeated. same: chance that two repeats have the same
    verdict. alpha: the same beyond chance (Krippendorff)."""

    group: Group
    scenarios: int
    same: Figure | None
    alpha: Figure | None

    def to_json(self) -> dict[str, Any]:
        """By name."""
        return {
            "group": self.group.to_json(),
            "scenarios": self.scenarios,
            "same": _json(self.same),
            "krippendorff_alpha": _json(self.alpha),
        }


@dataclass(frozen=True, slots=True)
class Unrated:
    """Episodes of one pair of values that no ranking learns from. left_out: their share. states: share of each state there is."""

    group: Group
    pair: tuple[str, str]
    left_out: Figure
    states: Mapping[Verdict, Figure]

    @property
    def too_many(self) -> bool:
        """Whether it is more than a ranking should leave out."""
        return self.left_out.value > MOST_LEFT_OUT

    def to_json(self) -> dict[str, Any]:
        """By name."""
        return {
            "group": self.group.to_json(),
            "pair": list(self.pair),
            "left_out": self.left_out.to_json(),
            "too_many": self.too_many,
            "states": {state.value: share.to_json() for state, share in self.states.items()},
        }


@dataclass(frozen=True, slots=True)
class Components:
    """What the outcomes of one pair of values vary by: 1 where the first value won, 0 where the second did, 0.5 for a tie.

    variance: by source, unbiased, so that it may be below 0; a name with `+` is of sources that the run cannot tell apart.
    looks, episodes, scenarios: how many it rests on.
    """

    group: Group
    pair: tuple[str, str]
    variance: Mapping[str, Figure]
    looks: int
    episodes: int
    scenarios: int

    def shares(self) -> dict[str, float]:
        """By source, its share of the whole, those below 0 taken for 0."""
        positive = {name: max(0.0, figure.value) for name, figure in self.variance.items()}
        total = sum(positive.values())
        return {name: value / total if total else 0.0 for name, value in positive.items()}

    def to_json(self) -> dict[str, Any]:
        """By name."""
        shares = self.shares()
        return {
            "group": self.group.to_json(),
            "pair": list(self.pair),
            "looks": self.looks,
            "episodes": self.episodes,
            "scenarios": self.scenarios,
            "components": {name: {**figure.to_json(), "share": shares[name]} for name, figure in self.variance.items()},
        }


@dataclass(frozen=True, slots=True)
class Stability:
    """How far a ranking moves when what it rests on is drawn anew, with replacement.

    drawn: scenarios, repeats or judges. tau: Kendall's tau-b with the ranking as it is, the mean and the central 95 % of the
    rounds; its items are how many there were to draw from. same_order, same_top: share of rounds.
    """

    group: Group
    drawn: str
    tau: Figure
    same_order: float
    same_top: float

    def to_json(self) -> dict[str, Any]:
        """By name."""
        return {
            "group": self.group.to_json(),
            "drawn": self.drawn,
            "kendall_tau": self.tau.to_json(),
            "same_order": self.same_order,
            "same_top": self.same_top,
        }


@dataclass(frozen=True, slots=True)
class PairBeside:
    """One pair of values by our scoring and by the reference's, each as (ours, reference).

    wins: chance that the first value wins a conflict, by the fit. above: probability that its utility is the greater one.
    """

    pair: tuple[str, str]
    wins: tuple[Figure, Figure]
    above: tuple[float, float]

    @property
    def turned(self) -> bool:
        """Whether the two scorings put it in opposite orders."""
        return (self.above[0] - 0.5) * (self.above[1] - 0.5) < 0

    def says(self) -> str | None:
        """What changes, in words; None where nothing does."""
        ours, reference = (_order(self.pair, p) for p in self.above)
        sure = [max(p, 1 - p) >= _SURE for p in self.above]
        if self.turned and any(sure):
            return f"turns round: {ours} by ours, {reference} by the reference"
        if sure == [True, False]:
            return f"only ours is sure of it: {ours}; reference: {reference}"
        if sure == [False, True]:
            return f"only the reference is sure of it: {reference}; ours: {ours}"
        return None

    def to_json(self) -> dict[str, Any]:
        """By name."""
        return {
            "value_a": self.pair[0],
            "value_b": self.pair[1],
            "ours": {"p_a_over_b": self.above[0], "a_wins": self.wins[0].to_json()},
            "reference": {"p_a_over_b": self.above[1], "a_wins": self.wins[1].to_json()},
            "p_a_over_b_difference": self.above[1] - self.above[0],
            "turned": self.turned,
            "says": self.says(),
        }


@dataclass(frozen=True)
class Beside:
    """One group by our scoring, and by the reference's from the same episodes.

    ranks: by value, best first by ours: (ours, reference). rescored: how many episodes have which verdict by ours and which
    by the reference, those that differ. episodes: counted by the reference. other_order: left out, for they were seen with
    action b first only. order_known: whether the order is; else all were counted as they are.
    """

    group: Group
    ranks: Mapping[str, tuple[int, int]]
    pairs: tuple[PairBeside, ...]
    rescored: Mapping[tuple[Verdict, Verdict], int]
    episodes: int
    other_order: int
    order_known: bool

    def says(self) -> Iterator[str]:
        """The conclusions that change, in words; a rank only with the order of a pair that one of both scorings is sure of."""
        said = {pair.pair: text for pair in self.pairs if (text := pair.says()) is not None}
        values = {value for pair in said for value in pair}
        for value, (ours, reference) in self.ranks.items():
            if ours != reference and value in values:
                yield f"{value} ranks {ours} by ours, {reference} by the reference"
        for pair, text in said.items():
            yield f"{' / '.join(pair)} {text}"

    def to_json(self) -> dict[str, Any]:
        """By name."""
        return {
            "group": self.group.to_json(),
            "episodes": self.episodes,
            "other_order": self.other_order,
            "order_known": self.order_known,
            "values": [{"value": v, "ours": ranks[0], "reference": ranks[1]} for v, ranks in self.ranks.items()],
            "pairs": [pair.to_json() for pair in self.pairs],
            "rescored": [
                {"ours": ours.value, "reference": reference.value, "episodes": count}
                for (ours, reference), count in self.rescored.items()
            ],
            "changes": list(self.says()),
        }


@dataclass(frozen=True, slots=True)
class ShiftBeside:
    """How far a mode or a steering moves the chance that the first value of a pair wins: second group less first, in [-1, 1]."""

    first: Group
    second: Group
    pair: tuple[str, str]
    ours: Figure
    reference: Figure

    @property
    def differs(self) -> bool:
        """Whether the two scorings contradict each other: no shift is in both intervals."""
        return self.ours.low > self.reference.high or self.reference.low > self.ours.high

    def says(self) -> str | None:
        """What changes, in words; None where the two agree within their intervals."""
        if not self.differs:
            return None
        one_up_one_down = self.ours.low > 0 > self.reference.high or self.reference.low > 0 > self.ours.high
        turned = " the other way:" if one_up_one_down else ""
        moved = f"{_points(self.ours)} by ours,{turned} {_points(self.reference)} by the reference"
        return f"{self.first} → {self.second}: the chance that {self.pair[0]} wins against {self.pair[1]} moves {moved}"

    def to_json(self) -> dict[str, Any]:
        """By name."""
        return {
            "first": self.first.to_json(),
            "second": self.second.to_json(),
            "value_a": self.pair[0],
            "value_b": self.pair[1],
            "ours": self.ours.to_json(),
            "reference": self.reference.to_json(),
            "differs": self.differs,
            "says": self.says(),
        }


@dataclass(frozen=True)
class Audit:
    """All of it. agreement: of the judges while the run was played. judged_anew: of their verdicts with those of judges who
    judged the stored conversations. not_told: what this run cannot say, and why, in words."""

    episodes: int
    orders: tuple[OrderEffect, ...]
    agreement: JudgeAgreement | None
    judged_anew: JudgeAgreement | None
    judge_retests: tuple[JudgeRetest, ...]
    retests: tuple[Retest, ...]
    unrated: tuple[Unrated, ...]
    components: tuple[Components, ...]
    stability: tuple[Stability, ...]
    beside: tuple[Beside, ...]
    shifts: tuple[ShiftBeside, ...]
    not_told: tuple[str, ...]

    def changes(self) -> list[str]:
        """The conclusions that reference-compatible scoring would have changed, in words."""
        of_groups = [f"{beside.group}: {said}" for beside in self.beside for said in beside.says()]
        return of_groups + [said for shift in self.shifts if (said := shift.says()) is not None]

    def to_json(self) -> dict[str, Any]:
        """The document of `audit --json`, less the run."""
        return {
            "episodes": self.episodes,
            "order": [effect.to_json() for effect in self.orders],
            "judges": self.agreement.to_json() if self.agreement else None,
            "judged_anew": self.judged_anew.to_json() if self.judged_anew else None,
            "judge_retest": [retest.to_json() for retest in self.judge_retests],
            "retest": [retest.to_json() for retest in self.retests],
            "unrated": [unrated.to_json() for unrated in self.unrated],
            "variance": [components.to_json() for components in self.components],
            "stability": [stability.to_json() for stability in self.stability],
            "reference": {
                "groups": [beside.to_json() for beside in self.beside],
                "shifts": [shift.to_json() for shift in self.shifts],
                "changes": self.changes(),
            },
            "not_told": list(self.not_told),
        }


def _order(pair: tuple[str, str], above: float) -> str:
    first, second = pair if above >= 0.5 else pair[::-1]
    return f"{first} above {second} (P {max(above, 1 - above):.2f})"


def _points(figure: Figure) -> str:
    return f"{100 * figure.value:+.0f} points [{100 * figure.low:+.0f}, {100 * figure.high:+.0f}]"


def _json(figure: Figure | None) -> dict[str, float] | None:
    return figure.to_json() if figure else None
