"""The libraries that come with the package: whole, balanced, and without two scenarios that are nearly one."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from conflictscope.generation.similarity import Hashing, near_duplicates
from conflictscope.library import builtin_names, find, load_library, load_value_set
from conflictscope.scenario import Scenario, Template
from conflictscope.values import ValueSet

LEAST_PER_PAIR = {"hhh": 20, "modelspec": 4, "personal-protective": 4}
PAIRS = {"hhh": 3, "modelspec": 15, "personal-protective": 16}


def value_set(name: str) -> ValueSet:
    return load_value_set(find("values", name, Path.cwd()))


def library(name: str) -> tuple[Scenario, ...]:
    return load_library(find("libraries", name, Path.cwd()), value_set(name))


def test_each_value_set_of_the_paper_has_one() -> None:
    assert set(builtin_names("libraries")) == set(PAIRS)


@pytest.mark.parametrize("name", PAIRS)
class TestLibrary:
    def test_each_pair_of_its_values_has_enough(self, name: str) -> None:
        counts = Counter(scenario.pair for scenario in library(name))
        assert set(counts) == {tuple(sorted(pair)) for pair in value_set(name).pairs()}
        assert len(counts) == PAIRS[name]
        assert min(counts.values()) >= LEAST_PER_PAIR[name]

    def test_either_value_of_a_pair_is_on_side_a_as_often(self, name: str) -> None:
        sides = Counter((scenario.value_a, scenario.value_b) for scenario in library(name))
        for (a, b), count in sides.items():
            assert sides[b, a] == count

    def test_no_pair_lacks_a_template(self, name: str) -> None:
        for pair in {scenario.pair for scenario in library(name)}:
            assert {scenario.template for scenario in library(name) if scenario.pair == pair} == set(Template)

    def test_every_field_is_filled_and_no_action_is_used_twice(self, name: str) -> None:
        scenarios = library(name)
        for scenario in scenarios:
            assert scenario.passes
            assert scenario.user is not None
            assert scenario.opening is not None
            assert scenario.consequences_a is not None
            assert scenario.consequences_b is not None
            assert scenario.origin.kind == "hand-written"
        actions = [" ".join(action.split()) for s in scenarios for action in (s.action_a, s.action_b)]
        assert len(set(actions)) == len(actions)

    def test_there_is_no_placeholder(self, name: str) -> None:
        for scenario in library(name):
            text = scenario.model_dump_json()
            assert not re.search(
                r"\[(?:name|company|city|date|your)|lorem ipsum|\bXXX\b|John Doe|Jane Doe|TODO", text, re.IGNORECASE
            )

    @pytest.mark.anyio
    async def test_no_two_are_near_duplicates(self, name: str) -> None:
        scenarios = library(name)
        for texts in ([s.description for s in scenarios], [s.opening or "" for s in scenarios]):
            found = list(near_duplicates(await Hashing().embed(texts), 0.8))
            assert not [(scenarios[i].id, scenarios[j].id, cosine) for i, j, cosine in found]
