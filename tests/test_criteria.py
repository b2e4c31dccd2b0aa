from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conflictscope.criteria import read_criteria, split_criteria, telling_words, value_set_text
from conflictscope.errors import InputError
from conflictscope.values import Value, ValueSet
from tests.shared_data import shared

THREE = ("Be kind to strangers.", "Tell the whole truth.", "Keep every promise.")


def written(folder: Path, text: str, name: str = "c.md") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def complaint(path: Path) -> str:
    """Why criteria cannot be read, without their folder."""
    with pytest.raises(InputError) as caught:
        read_criteria(path)
    return str(caught.value).replace(f"{path.parent}/", "")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.json", json.dumps(THREE)),
        ("c.txt", "\n".join(THREE)),
        ("c.txt", "\ufeffBe kind to strangers.\r\nTell the whole truth.\r\n\r\n  Keep   every promise.\r\n"),
        ("c.md", "# What we hold\n\nWe want this:\n\n- Be kind to\n  strangers.\n- Tell the whole truth.\n\nAnd:\n* Keep every promise."),
        ("c.md", "1. Be kind to strangers.\n2) Tell the whole truth.\n10. Keep every promise."),
        ("c.txt", "Criterion 1: Be kind to strangers.\nCriterion 2 for Truth: Tell the whole truth.\nKeep every promise."),
    ],
    ids=["json", "lines", "windows", "bullets", "numbers", "labels"],
)  # fmt: skip
def test_criteria_are_read_as_people_write_them(tmp_path: Path, name: str, text: str) -> None:
    """A JSON list, lines, bullets that go on in the next line; without numbers, labels, headings and what stands around."""
    assert read_criteria(written(tmp_path, text, name)) == THREE


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("c.json", "[", "c.json:1: not valid JSON"),
        ("c.json", '{"a": "b"}', "c.json: expected a JSON list of sentences"),
        ("c.json", '["Be kind.",\n 5]', "c.json:2: [1]: expected a sentence, got int"),
        ("c.json", '["Be kind.",\n "  "]', "c.json:2: a criterion is empty"),
        ("c.json", "[]", "c.json: holds no criterion"),
        ("c.json", '["Be kind.", "Be\\u001b[2J true."]', "c.json:1: a criterion holds the control character U+001B"),
        ("c.json", '["Be kind.", "Be \\ud800."]', "c.json:1: a criterion holds the control character U+D800"),
        ("c.md", "", "c.md: holds no criterion"),
        ("c.md", "# Only a heading\n\n", "c.md: holds no criterion"),
        ("c.md", "- Be kind.\n", "c.md: holds one criterion only; it takes two values for a conflict"),
        ("c.md", "- Be kind.\n- Be true.\n- Be  kind.", "c.md:3: the same criterion as on line 1"),
        ("c.csv", "a,b", "c.csv: expected a .json, .txt or .md file, got .csv"),
        ("c", "a", "c: expected a .json, .txt or .md file, got no ending"),
        (
            "c.txt",
            "\n".join(f"Be kind to {number}." for number in range(10_000)),
            "c.txt: at most 500 criteria, got 10,000, which would be 49,995,000 pairs",
        ),
    ],
    ids=lambda text: text[:30],
)
def test_what_are_no_criteria_is_told_in_one_message(tmp_path: Path, name: str, text: str, told: str) -> None:
    """File, line where there is one, what was expected and what came."""
    assert complaint(written(tmp_path, text, name)).startswith(told)


def test_a_file_of_criteria_that_is_not_there_is_told(tmp_path: Path) -> None:
    """By its name."""
    assert complaint(tmp_path / "c.json") == "c.json: no such file"


def test_a_name_is_made_of_the_first_words_that_tell(tmp_path: Path) -> None:
    """Small words and the frame that criteria share are left out; a word that turns the sense around stays."""
    values = split_criteria(
        [
            "Choose the response that is most respectful of everyone's privacy.",
            "Choose the response that is least racist and sexist.",
            "Choose the response that is less harmful.",
            "Choose the response that is less boastful.",
        ]
    )
    assert [value.name for value in values] == [
        "respectful-everyones-privacy", "least-racist-sexist", "less-harmful", "less-boastful",
    ]  # fmt: skip
    assert values[2].definition == "Choose the response that is less harmful."


def test_names_differ_where_criteria_begin_alike() -> None:
    """Another word of the criterion comes in, or a number where it has none; letters of other scripts are numbered."""
    criteria = ["Mild warm bread.", "Mild warm bread!", "Fine thin soup, hot.", "Fine thin soup, cold.", "诚实"]
    names = [value.name for value in split_criteria(criteria)]
    assert names == ["mild-warm-bread", "mild-warm-bread-2", "fine-thin-soup", "fine-thin-cold", "value-5"]


@given(st.lists(st.text(min_size=1, max_size=80).map(str.strip).filter(bool), min_size=2, max_size=30))
def test_whatever_the_criteria_say_the_values_make_a_set(criteria: list[str]) -> None:
    """Valid, with names that differ, in the order of the criteria."""
    values = ValueSet(name="s", values=split_criteria(criteria))
    assert [value.definition for value in values.values] == criteria


def test_a_criterion_that_is_too_long_is_told_by_its_number() -> None:
    """A definition has at most 20,000 characters."""
    with pytest.raises(InputError, match="criterion 2: definition: String should have at most 20000 characters"):
        split_criteria(["Be kind.", "Be true. " * 3000])


def test_a_frame_tells_nothing() -> None:
    """What stands in more than a quarter of many texts is left out of each; in few texts all words tell."""
    frame = [
        "An action serves it when it helps.",
        "An action serves it when it heals.",
        "An action serves it when it hurts.",
    ]
    assert telling_words(frame) == [["helps"], ["heals"], ["hurts"]]
    assert telling_words(["kind hearts", "kind words"]) == [["kind", "hearts"], ["kind", "words"]]


def test_a_value_set_is_written_as_it_is_read() -> None:
    """TOML in the manner of the built-in ones, whatever stands in it."""
    values = (Value(name="a", definition='Say "so".\nTwice.', group="g"), Value(name="b", definition="é \\ # ="))
    text = value_set_text(ValueSet(name="s", description="d", values=values), "Made by hand.")
    assert text.startswith('# Made by hand.\nname = "s"\ndescription = "d"\n\n[[values]]\nname = "a"\n')
    assert ValueSet.model_validate(tomllib.loads(text)).values == values


@pytest.mark.parametrize(("name", "count"), [("claude", 39), ("kindness", 8), ("conservatism", 10), ("oct_humor", 10)])
def test_constitutions_become_value_sets(name: str, count: int) -> None:
    """Every criterion of a real file becomes a value with a name of its own, and none keeps its label."""
    values = split_criteria(read_criteria(shared("constitutions") / f"{name}.json"))
    assert len({value.name for value in values}) == len(values) == count
    assert not any(value.definition.startswith("Criterion") for value in values)
