from __future__ import annotations

from pathlib import Path

import pytest

from conflictscope.criteria import read_criteria, split_criteria
from conflictscope.generation.overlaps import overlaps
from conflictscope.library import builtin_names, find, load_value_set
from conflictscope.values import Value, ValueSet
from tests.shared_data import shared


def warnings(**definitions: str) -> list[str]:
    """What is warned of in a set of these values; `_` in a name stands for a space."""
    values = tuple(Value(name=name, definition=text) for name, text in definitions.items())
    return overlaps(ValueSet(name="s", values=values))


def test_names_that_only_look_different_are_told() -> None:
    """Case, dashes and dots make no second value."""
    told = warnings(**{"Self-care": "Rest well.", "self.care": "Eat well and often.", "other": "Help people."})
    assert told == ["'Self-care' and 'self.care': the names are equal but for case and signs"]


def test_definitions_that_say_the_same_are_told() -> None:
    """The same words in another order, behind the frame that all share."""
    told = warnings(
        a="An action serves it when it spares people pain and injury.",
        b="An action serves it when it spares injury and pain to people.",
        c="An action serves it when it tells what is so.",
        d="An action serves it when it leaves the choice to the user.",
    )
    assert told == ["'a' and 'b': the definitions are nearly the same (cosine 1.00)"]


def test_a_definition_of_one_word_is_told() -> None:
    """No model can tell by it what serves the value."""
    (told,) = warnings(a="Goodness", b="Telling what is so.")
    assert told.startswith("'a': the definition is a single word, 'Goodness'")


def test_definitions_in_other_letters_are_not_taken_for_each_other() -> None:
    """They have no words that we know; they are compared as they stand."""
    assert warnings(a="说 真话", b="不 伤害 任何人") == []


@pytest.mark.parametrize("name", builtin_names("values"))
def test_no_built_in_set_has_overlaps(name: str, tmp_path: Path) -> None:
    """What we ship is told apart."""
    assert overlaps(load_value_set(find("values", name, tmp_path))) == []


def test_the_one_criterion_that_a_real_set_has_twice_is_found() -> None:
    """Of the 741 pairs of a constitution, one is the same sentence in another order."""
    values = split_criteria(read_criteria(shared("constitutions") / "claude.json"))
    (told,) = overlaps(ValueSet(name="claude", values=values))
    assert told.startswith("'helpful-honest-harmless' and 'harmless-helpful-honest': ")
