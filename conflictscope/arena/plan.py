"""Which episodes a sweep is made of, and in which order: a generator, so a plan of a million costs nothing to hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest

from conflictscope.outcome import Group
from conflictscope.ports import EpisodeSpec
from conflictscope.scenario import Scenario
from conflictscope.seeds import derive


@dataclass(frozen=True)
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

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The pairs of values that the scenarios set against each other, in alphabetical order."""
        return sorted(self._by_pair)

    def pool_size(self, pair: tuple[str, str]) -> int:
        """How many episodes of a pair each group has."""
        return len(self._by_pair[pair]) * self.repeats

    def pool(self, group: Group, pair: tuple[str, str]) -> Iterator[EpisodeSpec]:
        """The episodes of one pair for one group, in the same order for every group."""
        for repeat in range(1, self.repeats + 1):
            for scenario in self._shuffled(pair, repeat):
                yield EpisodeSpec(group, scenario, repeat)

    @cached_property
    def _by_pair(self) -> dict[tuple[str, str], list[Scenario]]:
        by_pair: dict[tuple[str, str], list[Scenario]] = {}
        for scenario in self.scenarios:
            by_pair.setdefault(scenario.pair, []).append(scenario)
        return by_pair

    def _shuffled(self, pair: tuple[str, str], repeat: int) -> list[Scenario]:
        return sorted(self._by_pair[pair], key=lambda scenario: derive(self.seed, "plan", repeat, scenario.id))

    def _balanced(self, repeat: int) -> Iterator[Scenario]:
        for row in zip_longest(*(self._shuffled(pair, repeat) for pair in self.pairs)):
            yield from (scenario for scenario in row if scenario is not None)
