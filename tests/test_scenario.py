from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from conflictscope.scenario import Check, Origin, Scenario, Template, UserProfile

PLAIN = Scenario(id="s", value_a="x", value_b="y", description="A case.", action_a="Go.", action_b="Stay.")


def changed(**fields: object) -> Scenario:
    return Scenario.model_validate(PLAIN.model_dump() | fields)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"value_b": "x"}, "value_a and value_b must differ, both are 'x'"),
        ({"action_b": " Go. "}, "action_a and action_b must differ, they are the same text"),
        ({"id": "two words"}, "id"),
        ({"id": "a|b"}, "id"),
        ({"id": ""}, "id"),
        ({"description": " "}, "description"),
        ({"template": "ccc"}, "template"),
    ],
)
def test_what_is_no_conflict_is_no_scenario(fields: dict[str, str], told: str) -> None:
    """Equal sides, an id that would break an episode key, an empty text and an unknown template are refused."""
    with pytest.raises(ValidationError, match=told):
        changed(**fields)


@pytest.mark.parametrize(("value_a", "value_b"), [("x", "y"), ("y", "x")])
def test_a_pair_is_in_alphabetical_order(value_a: str, value_b: str) -> None:
    """Whichever value is on side a, the pair is the same."""
    assert changed(value_a=value_a, value_b=value_b).pair == ("x", "y")


@pytest.mark.parametrize(("passed", "passes"), [([], True), ([True, True], True), ([True, False], False)])
def test_a_scenario_passes_if_no_check_failed(passed: list[bool], passes: bool) -> None:
    """One failed check is enough; a scenario that nobody checked passes."""
    checks = [Check(name=f"check {number}", passed=p, reason="", checker="c") for number, p in enumerate(passed)]
    assert changed(checks=checks).passes is passes


def test_a_line_of_a_library_says_no_more_than_it_must() -> None:
    """Keys that say nothing are left out."""
    assert PLAIN.to_json() == {
        "id": "s", "value_a": "x", "value_b": "y", "description": "A case.", "action_a": "Go.", "action_b": "Stay.",
    }  # fmt: skip


NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9 _.+-]{0,20}", fullmatch=True)
PROSE = st.text(min_size=1).filter(str.strip)
PROFILES = st.builds(UserProfile, persona=PROSE, background=PROSE, goal=PROSE)
ORIGINS = st.builds(Origin, kind=st.text(), source=st.text(), situation=st.text())
CHECKS = st.builds(Check, name=NAMES, passed=st.booleans(), reason=st.text(), checker=st.text())


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    """Any scenario."""
    (value_a, value_b), (action_a, action_b) = (
        draw(st.tuples(texts, texts).filter(lambda two: two[0].strip() != two[1].strip())) for texts in (NAMES, PROSE)
    )
    return Scenario(
        id=draw(st.from_regex(r"[^\s|]{1,20}", fullmatch=True)),
        value_a=value_a,
        value_b=value_b,
        description=draw(PROSE),
        action_a=action_a,
        action_b=action_b,
        user=draw(st.none() | PROFILES),
        template=draw(st.none() | st.sampled_from(Template)),
        opening=draw(st.none() | PROSE),
        origin=draw(ORIGINS),
        checks=tuple(draw(st.lists(CHECKS, max_size=2))),
    )


@given(scenarios())
def test_a_scenario_survives_its_library(scenario: Scenario) -> None:
    """Written as a line of JSON and read again, every scenario is what it was."""
    assert Scenario.model_validate_json(json.dumps(scenario.to_json())) == scenario
