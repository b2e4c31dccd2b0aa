from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from conflictscope.library import builtin_names, find, load_value_set
from conflictscope.values import Value, ValueSet

PERSONAL = ("autonomy", "authenticity", "creativity", "empowerment")
PROTECTIVE = ("responsibility", "harmlessness", "compliance", "privacy")
PAPER = {
    "hhh": ("helpfulness", "harmlessness", "honesty"),
    "personal-protective": PERSONAL + PROTECTIVE,
    "modelspec": ("nonhate", "fairness", "objectivity", "honesty", "noncondescension", "clarity"),
}


def built_in(name: str) -> ValueSet:
    return load_value_set(find("values", name, Path.cwd()))


def value_set(*names: str, **groups: str) -> ValueSet:
    """A value set of these names, and of names with their groups."""
    named = {**dict.fromkeys(names), **groups}
    return ValueSet(
        name="set", values=tuple(Value(name=name, definition="What it says.", group=g) for name, g in named.items())
    )


def test_without_groups_every_pair_can_conflict() -> None:
    """Each two values are one pair, in the order of the set."""
    assert value_set("x", "y", "z").pairs() == [("x", "y"), ("x", "z"), ("y", "z")]


def test_with_groups_only_pairs_across_them_conflict() -> None:
    """Values of one group never meet; a value without a group meets everybody."""
    assert value_set("free", x="one", y="one", z="two").pairs() == [
        ("free", "x"), ("free", "y"), ("free", "z"), ("x", "z"), ("y", "z"),
    ]  # fmt: skip
    assert value_set(x="one", y="one").pairs() == []


def test_two_values_of_one_name_are_refused() -> None:
    """A name that stands twice is told, blanks around it or not."""
    twice = [Value(name=name, definition="What it says.") for name in ("x", "y", " x ")]
    with pytest.raises(ValidationError, match="two values have the same name: x"):
        ValueSet(name="set", values=tuple(twice))


@pytest.mark.parametrize("names", [(), ("x",)])
def test_fewer_than_two_values_are_no_set(names: tuple[str, ...]) -> None:
    """One value cannot conflict."""
    with pytest.raises(ValidationError, match="at least 2 items"):
        value_set(*names)


@pytest.mark.parametrize("name", ["", "a|b", "a\nb", "-a", "<a>", "a" * 121])
def test_a_name_stays_plain(name: str) -> None:
    """What would break keys, tables or prompts is no name."""
    with pytest.raises(ValidationError, match="name"):
        Value(name=name, definition="What it says.")


def test_a_value_set_is_frozen() -> None:
    """Neither the set nor its values can be changed, and its names are still the same after a look at them."""
    values = value_set("x", "y")
    assert values.names == ("x", "y")
    for record in (values, values.values[0]):
        with pytest.raises(ValidationError, match="frozen"):
            record.name = "other"
    assert values == value_set("x", "y")


@pytest.mark.parametrize("name", builtin_names("values"))
def test_every_built_in_set_loads(name: str) -> None:
    """It is named as its file, says where it comes from, and has pairs that can conflict."""
    values = built_in(name)
    assert values.name == name
    assert values.description
    assert values.source
    assert values.pairs()


@pytest.mark.parametrize(("name", "names"), PAPER.items(), ids=PAPER)
def test_the_sets_of_the_paper_have_its_names(name: str, names: tuple[str, ...]) -> None:
    """The three sets of Liu et al. are here with exactly their values."""
    assert set(built_in(name).names) == set(names)
    assert len(built_in(name).names) == len(names)


@pytest.mark.parametrize(("name", "pairs"), [("hhh", 3), ("personal-protective", 16), ("modelspec", 15)])
def test_the_sets_of_the_paper_have_its_pairs(name: str, pairs: int) -> None:
    """Three values make 3 pairs, six make 15, and two groups of four make 16."""
    assert len(set(built_in(name).pairs())) == pairs


def test_personal_and_protective_values_stand_in_their_groups() -> None:
    """The four personal values meet the four protective ones, and nobody of their own group."""
    values = built_in("personal-protective")
    assert {value.name for value in values.values if value.group == "personal"} == set(PERSONAL)
    assert {value.name for value in values.values if value.group == "protective"} == set(PROTECTIVE)
    assert set(values.pairs()) == {(personal, protective) for personal in PERSONAL for protective in PROTECTIVE}
