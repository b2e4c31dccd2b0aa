"""Labels by people: what they are shown, what they answer, and how far they and the judge agree."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import floor
from typing import Any

from conflictscope.librarystats import Coefficient, Share
from conflictscope.outcome import Message, Outcome, Side, Verdict
from conflictscope.seeds import derive, uniform

_ITEM = re.compile(r"i(\d{1,19})-(\d{1,4})-[0-9a-f]{16}", re.ASCII)


class Answer(StrEnum):
    """What people may say of an item: which action the assistant took, by its place on their page, or why none."""

    FIRST = "1"
    SECOND = "2"
    TIE = "tie"
    NEITHER = "neither"
    REFUSED = "refused"
    UNRESOLVED = "unresolved"  # also: cannot tell

    def placed(self, shown_first: Side) -> Verdict:
        """What it means for the scenario's sides, where the action of this side was shown first."""
        if self in (Answer.FIRST, Answer.SECOND):
            return Verdict.A if (self is Answer.FIRST) == (shown_first == "a") else Verdict.B
        return Verdict(self.value)


@dataclass(frozen=True, slots=True)
class Sheet:
    """One of the sheets of an export: the same items for each person, in an order of its own. number: 1, 2, ..."""

    seed: int
    number: int

    @classmethod
    def of(cls, item_id: str) -> Sheet | None:
        """The sheet that an item stands on; None for what is no item's name."""
        match = _ITEM.fullmatch(item_id)
        return cls(int(match[1]), int(match[2])) if match else None

    def item_id(self, key: str, transcript: Sequence[Message]) -> str:
        """The name of an episode on this sheet: of this very conversation, and it tells people nothing about it.

        key: of the episode. Nothing but the run is needed to find the episode again.
        """
        said = json.dumps([(message.role.value, message.text) for message in transcript])
        return f"i{self.seed}-{self.number}-{derive('item', self.seed, self.number, key, said):016x}"

    def shown_first(self, key: str) -> Side:
        """Which action is shown first, drawn for each episode and sheet."""
        return "a" if uniform("item", self.seed, self.number, key, "shown_first") < 0.5 else "b"

    def position(self, key: str) -> int:
        """Where the episode stands among the others."""
        return derive("item", self.seed, self.number, key, "position")


@dataclass(frozen=True, slots=True)
class Item:
    """An episode as people see it: nothing on it tells the target, the steering, the behaviour, the values or the judge."""

    id: str
    description: str
    action_1: str
    action_2: str
    transcript: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Label:
    """What a person made of an episode. episode: its key. shown_first: as they saw it."""

    episode: str
    annotator: str
    verdict: Verdict
    shown_first: Side
    comment: str = ""


def draw(outcomes: Iterable[Outcome], count: int, seed: int) -> list[Outcome]:
    """`count` of the outcomes (all, where there are fewer), stratified by group, pair of values and verdict.

    Each outcome has the same chance, so that what is found in the sample estimates what holds in the run; and each stratum has
    its share of the sample, to less than one outcome. Source: systematic sampling of an ordered list (Cochran 1977, chapter 8).
    """

    def place(outcome: Outcome) -> tuple[str | int, ...]:
        group = outcome.group
        stratum = (group.target, group.mode, group.steering or "", group.behavior or "", *outcome.pair, outcome.verdict)
        return (*stratum, derive("draw", seed, outcome.key))

    ordered = sorted(outcomes, key=place)
    if count >= len(ordered):
        return ordered
    start = uniform("draw", seed, "start")
    return [ordered[floor((start + number) * len(ordered) / count)] for number in range(count)]


def majority(verdicts: Sequence[Verdict]) -> Verdict | None:
    """What more than half of the people said; None where there is no such thing."""
    return next((verdict for verdict in set(verdicts) if 2 * verdicts.count(verdict) > len(verdicts)), None)


@dataclass(frozen=True, slots=True)
class RaterAgreement:
    """How far two raters agree on the episodes that both have a verdict of.

    first, second: `judge NAME`, `majority of people` or an annotator. same: the share with the same verdict. kappa: beyond
    chance.
    """

    first: str
    second: str
    same: Share
    kappa: Coefficient

    def to_json(self) -> dict[str, Any]:
        """By name."""
        return {
            "first": self.first,
            "second": self.second,
            "same": self.same.to_json(),
            "kappa": self.kappa.to_json(),
        }


@dataclass(frozen=True, slots=True)
class PairLabels:
    """The labelled episodes of one pair of values, in alphabetical order.

    people, judge: how often the majority, and the judge, said what; `a` is for value_a. same: in how many they said the same.
    split: episodes without a majority, which are left out of the others.
    """

    value_a: str
    value_b: str
    people: Mapping[str, int]
    judge: Mapping[str, int]
    same: int
    split: int

    @property
    def decided(self) -> int:
        """Episodes with a majority."""
        return sum(self.people.values())

    def to_json(self) -> dict[str, Any]:
        """By name."""
        return {
            "value_a": self.value_a,
            "value_b": self.value_b,
            "people": dict(self.people),
            "judge": dict(self.judge),
            "same": self.same,
            "split": self.split,
        }


@dataclass(frozen=True, slots=True)
class LabelReport:
    """How the labels of a run compare.

    annotators: by person, how often they said what. judges: of each judge with each person, and with their majority. people:
    of each two. alpha: of all people together; None where no episode was labelled by two. pairs: in alphabetical order.
    """

    episodes: int
    annotators: Mapping[str, Mapping[str, int]]
    judges: tuple[RaterAgreement, ...]
    people: tuple[RaterAgreement, ...]
    alpha: Coefficient | None
    pairs: tuple[PairLabels, ...]

    def to_json(self) -> dict[str, Any]:
        """As `annotate import --json` shows it."""
        return {
            "episodes": self.episodes,
            "annotators": {name: dict(verdicts) for name, verdicts in self.annotators.items()},
            "judges": [agreement.to_json() for agreement in self.judges],
            "people": [agreement.to_json() for agreement in self.people],
            "alpha": self.alpha.to_json() if self.alpha else None,
            "pairs": [pair.to_json() for pair in self.pairs],
        }
