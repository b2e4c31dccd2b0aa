from __future__ import annotations

import json
from pathlib import Path

import pytest
import tomli_w
import yaml

from conflictscope.errors import InputError
from conflictscope.library import builtin_names, data_folder, find, load_library, load_value_set
from conflictscope.values import Value, ValueSet

PLAIN = {"value_a": "x", "value_b": "y", "description": "A case.", "action_a": "Go.", "action_b": "Stay."}
XY = ValueSet(name="xy", values=tuple(Value(name=name, definition="What it says.") for name in ("x", "y")))


def rows(*ids: str, **fields: str) -> list[dict[str, str]]:
    """Scenarios of these ids, alike in all else."""
    return [{"id": id_, **PLAIN, **fields} for id_ in ids]


def write(path: Path, scenarios: list[dict[str, str]]) -> Path:
    """A library in the format that the ending names."""
    text = {
        ".jsonl": lambda: "".join(json.dumps(scenario) + "\n" for scenario in scenarios),
        ".json": lambda: json.dumps({"scenarios": scenarios}, indent=1),
        ".yaml": lambda: yaml.safe_dump({"scenarios": scenarios}, sort_keys=False),
        ".toml": lambda: tomli_w.dumps({"scenarios": [{**s, "description": "A case." + " " * 100} for s in scenarios]}),
    }[path.suffix]()
    path.write_text(text, encoding="utf-8")
    return path


def complaint(path: Path, value_set: ValueSet | None = None) -> list[str]:
    """What is wrong with a library, line by line, without its folder."""
    with pytest.raises(InputError) as caught:
        load_library(path, value_set)
    return str(caught.value).replace(f"{path.parent}/", "").splitlines()


def last_line_with(text: str, path: Path) -> int:
    """The number of the last line that holds a text."""
    return max(number for number, line in enumerate(path.read_text().split("\n"), start=1) if text in line)


@pytest.mark.parametrize("kind", ["values", "libraries", "worlds", "sweeps"])
def test_a_built_in_name_is_found_from_anywhere(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every built-in name means its shipped file, whatever the working directory and the base."""
    monkeypatch.chdir(tmp_path)
    assert builtin_names(kind)
    for name in builtin_names(kind):
        path = find(kind, name, tmp_path)
        assert path.stem == name
        assert path.parent == data_folder() / kind


def test_a_path_is_relative_to_its_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reference with a slash or an ending is a path from the file that names it, not from the working directory."""
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    beside, below = tmp_path / "mine.jsonl", tmp_path / "sub" / "mine"
    beside.touch()
    below.touch()
    assert find("libraries", "mine.jsonl", tmp_path) == beside
    assert find("libraries", "sub/mine", tmp_path) == below
    assert find("libraries", str(beside), tmp_path / "sub") == beside


def test_a_path_that_leads_nowhere_is_told_whole(tmp_path: Path) -> None:
    """A missing file is named with its folder, and a folder is no file."""
    with pytest.raises(InputError, match=rf"^{tmp_path}/mine\.toml: no such file$"):
        find("values", "mine.toml", tmp_path)
    with pytest.raises(InputError, match="is a folder, expected a file"):
        find("values", "./", tmp_path)


@pytest.mark.parametrize(
    ("reference", "hint"),
    [
        ("modelspecs", "did you mean 'modelspec'?"),
        ("zzz", f"built in: {', '.join(builtin_names('values'))}"),
        ("", "built in: "),
        ("*", "built in: "),
        ("h[h]h", "did you mean 'hhh'?"),
    ],
)
def test_an_unknown_name_suggests_a_known_one(reference: str, hint: str, tmp_path: Path) -> None:
    """The near name is suggested, else all are listed; a pattern is no name."""
    with pytest.raises(InputError) as caught:
        find("values", reference, tmp_path)
    assert f"{reference!r} is neither a path nor a built-in name of values; {hint}" in str(caught.value)


@pytest.mark.parametrize("ending", ["toml", "yaml", "json"])
def test_a_value_set_is_read_from_any_format(tmp_path: Path, ending: str) -> None:
    """The three formats mean the same."""
    dump = {"toml": tomli_w.dumps, "yaml": yaml.safe_dump, "json": json.dumps}[ending]
    path = tmp_path / f"xy.{ending}"
    path.write_text(dump(XY.model_dump(exclude_none=True, mode="json")))
    assert load_value_set(path) == XY


@pytest.mark.parametrize("ending", ["jsonl", "json", "yaml", "toml"])
def test_a_library_is_read_from_any_format(tmp_path: Path, ending: str) -> None:
    """The four formats mean the same, in the order of the file."""
    library = load_library(write(tmp_path / f"l.{ending}", rows("s2", "s1", "s3")), XY)
    assert [scenario.id for scenario in library] == ["s2", "s1", "s3"]
    assert all(scenario.action_b == "Stay." for scenario in library)


@pytest.mark.parametrize("ending", ["jsonl", "json", "yaml", "toml"])
def test_a_value_that_is_not_in_the_set_is_told(tmp_path: Path, ending: str) -> None:
    """The line of the side, the unknown value and the known ones are named; without a value set it may stand."""
    path = write(tmp_path / f"l.{ending}", rows("s1") + rows("s2", value_b="zeal"))
    line = last_line_with("zeal", path)
    assert complaint(path, XY) == [f"l.{ending}:{line}: value_b: 'zeal' is not in the value set 'xy' (x, y)"]
    assert len(load_library(path)) == 2


@pytest.mark.parametrize("ending", ["jsonl", "json", "yaml", "toml"])
def test_an_id_that_is_used_twice_is_told(tmp_path: Path, ending: str) -> None:
    """The second use is named with its line, and in JSON Lines the first one with its."""
    path = write(tmp_path / f"l.{ending}", rows("s1", "s2", "s1"))
    first = ", first on line 1" if ending == "jsonl" else ""
    assert complaint(path) == [f"l.{ending}:{last_line_with('s1', path)}: id 's1' is used twice{first}"]


@pytest.mark.parametrize("ending", ["jsonl", "json", "yaml", "toml"])
def test_several_problems_are_told_together(tmp_path: Path, ending: str) -> None:
    """One pass tells what is wrong with every scenario, each at its line."""
    path = write(tmp_path / f"l.{ending}", rows("s1", colour="red") + rows("s2", value_a="zeal") + rows("s 3"))
    places = [f"l.{ending}:{last_line_with(text, path)}" for text in ("red", "zeal", "s 3")]
    problems = [part.partition(": ") for part in complaint(path, XY)]
    assert [place for place, _, _ in problems] == places
    for (_, _, problem), told in zip(problems, ("unknown key", "not in the value set", "got 's 3'"), strict=True):
        assert told in problem


def test_a_broken_line_does_not_hide_the_others(tmp_path: Path) -> None:
    """A line that is no JSON is told with its number, beside what is wrong with the lines before it and after it."""
    path = write(tmp_path / "l.jsonl", rows("s 1", "s2", "s 3"))
    path.write_text(path.read_text().replace('{"id": "s2"', '{"id": '))
    told = complaint(path)
    assert [part.partition(": ")[0] for part in told] == ["l.jsonl:1", "l.jsonl:2", "l.jsonl:3"]
    assert "not valid JSON" in told[1]


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("l.jsonl", "5\n", 1),
        ("l.jsonl", "null\n", 1),
        ("l.yaml", "scenarios:\n- 5\n", 2),
        ("l.yaml", "scenarios:\n-\n", 2),
        ("l.json", "[]\n", 1),
    ],
)
def test_what_is_no_table_is_no_scenario(tmp_path: Path, name: str, text: str, line: int) -> None:
    """A number, nothing at all, or a bare list is told once, at its line, with no word of our own classes."""
    path = tmp_path / name
    path.write_text(text)
    (told,) = complaint(path)
    assert told.startswith(f"{name}:{line}: ")
    assert ": :" not in told
    assert "_LibraryFile" not in told


@pytest.mark.parametrize(
    ("name", "text"),
    [("l.jsonl", ""), ("l.jsonl", "\n\n"), ("l.yaml", "scenarios: []\n"), ("l.toml", "scenarios = []\n")],
)
def test_an_empty_library_is_told(tmp_path: Path, name: str, text: str) -> None:
    """A library without a scenario is an error, not an empty sweep."""
    path = tmp_path / name
    path.write_text(text)
    (told,) = complaint(path)
    assert told.startswith(name)


def test_many_problems_are_capped(tmp_path: Path) -> None:
    """The reading stops after 20 broken scenarios, and says that there may be more."""
    told = complaint(write(tmp_path / "l.jsonl", rows(*(f"s {number}" for number in range(25)))))
    assert len(told) == 21
    assert told[-1] == "l.jsonl: stopped after 20 scenarios with problems; there may be more"


@pytest.mark.timeout(10)
@pytest.mark.parametrize("ending", ["toml", "yaml"])
def test_what_is_wrong_at_the_end_is_told_without_a_wait(tmp_path: Path, ending: str) -> None:
    """Finding the lines of 20 problems behind 100 good scenarios takes seconds at most."""
    right, wrong = ([f"{side}{number}" for number in range(count)] for side, count in (("r", 100), ("w", 20)))
    path = write(tmp_path / f"l.{ending}", rows(*right) + rows(*wrong, value_b="zeal"))
    told = complaint(path, XY)
    assert told[19].startswith(f"l.{ending}:{last_line_with('zeal', path)}: ")


def test_a_library_for_another_value_set_is_refused(tmp_path: Path) -> None:
    """A library that says which value set it is for is not taken for another one's."""
    path = tmp_path / "l.yaml"
    path.write_text(
        (data_folder() / "libraries" / "hhh.yaml").read_text().replace("value_set: hhh", "value_set: modelspec")
    )
    with pytest.raises(InputError, match="the library is for 'modelspec', not for 'hhh'"):
        load_library(path, load_value_set(find("values", "hhh", tmp_path)))
