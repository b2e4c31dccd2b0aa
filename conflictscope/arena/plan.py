"""Which episodes a sweep is made of, and in which order: a generator, so a plan of a million costs nothing to hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, zip_longest

from conflictscope.outcome import Group, episode_key
from conflictscope.scenario import Scenario
from conflictscope.seeds import derive


@dataclass(frozen=True, slots=True)
class EpisodeSpec:
    """One episode to play. repeat: 1, 2, ..."""

    group: Group
    scenario: Scenario
    repeat: int

    @property
    def key(self) -> str:
        """The episode's stable key."""
        return episode_key(self.group, self.scenario.id, self.repeat)


@dataclass(frozen=True, slots=True)
class Plan:
    """scenarios x groups x repeats.

    The order is uniform over the pairs of values: pairs take turns, the scenarios of a pair come in an order shuffled by
    the seed, and all groups meet a scenario at about the same time, so that every ranking moves from the start.
    """

    scenarios: Sequence[Scenario]
    groups: Sequence[Group]
    repeats: int
    seed: int

    def __len__(self) -> int:
        return len(self.scenarios) * len(self.groups) * self.repeats

    def __iter__(self) -> Iterator[EpisodeSpec]:
        for repeat in range(1, self.repeats + 1):
            for scenario in self._balanced(repeat):
                for group in self.groups:
                    yield EpisodeSpec(group, scenario, repeat)

    def _balanced(self, repeat: int) -> Iterator[Scenario]:
        shuffled = sorted(self.scenarios, key=lambda s: (s.pair, derive(self.seed, "plan", repeat, s.id)))
        by_pair = [list(group) for _, group in groupby(shuffled, key=lambda s: s.pair)]
        for row in zip_longest(*by_pair):
            yield from (scenario for scenario in row if scenario is not None)
