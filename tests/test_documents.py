from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from conflictscope.documents import MOST_ERRORS, Document, Record, dotted, parse, read_document, read_lines, read_text
from conflictscope.errors import InputError


class Window(Record):
    width: int
    colour: str = "white"


class House(Record):
    name: str
    windows: tuple[Window, ...] = ()
    doors: dict[str, Window] = {}


def document(folder: Path, name: str, text: str) -> Document:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return read_document(path)


def complaint(folder: Path, text: str, name: str = "house.toml") -> list[str]:
    """What is wrong with a House, line by line, without the folder."""
    with pytest.raises(InputError) as caught:
        parse(document(folder, name, text), House)
    return str(caught.value).replace(f"{folder}/", "").splitlines()


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("x.toml", "a = 1\nb = = 2\n", "x.toml:2: not valid TOML: Invalid value"),
        ("x.toml", "a = 1\na = 2\n", "x.toml:2: not valid TOML: Cannot overwrite a value"),
        ("x.toml", "a = 1\nb = '''\n", "x.toml:2: not valid TOML"),
        ("x.yaml", "a: 1\nb: [1\nc: 2\n", "x.yaml:3: not valid YAML: did not find expected ',' or ']'"),
        ("x.yml", "a:\n\t- b\n", "x.yml:2: not valid YAML: found character that cannot start any token"),
        ("x.yaml", "a: 1\nb: !!python/name:os.system\n", "x.yaml:2: not valid YAML: could not determine a constructor"),
        ("x.json", '{"a": 1,\n "b": }\n', "x.json:2: not valid JSON: Expecting value"),
    ],
)
def test_a_syntax_error_names_file_and_line(tmp_path: Path, name: str, text: str, told: str) -> None:
    """What the parser could not read is told with the line on which it stands, unsafe YAML tags included."""
    with pytest.raises(InputError) as caught:
        document(tmp_path, name, text)
    assert str(caught.value).startswith(f"{tmp_path}/{told}")


@pytest.mark.parametrize(
    ("name", "text"),
    [("x.yaml", "day: 2001-99-99\n"), ("x.json", "9" * 5000), ("x.json", "[" * 100_000)],
    ids=["no such day", "a number too long", "too deep"],
)
def test_what_a_parser_cannot_take_is_bad_input_too(tmp_path: Path, name: str, text: str) -> None:
    """A parser that gives up with an error of its own is told as bad input that names the file."""
    with pytest.raises(InputError, match=name):
        document(tmp_path, name, text)


def test_a_broken_json_line_names_its_number(tmp_path: Path) -> None:
    """In JSON Lines empty lines count, whole lines before the broken one are read, and the column is told."""
    path = tmp_path / "x.jsonl"
    path.write_text('{"a": 1}\n\n{"b": \n')
    lines = read_lines(path)
    first = next(lines)
    assert isinstance(first, Document)
    assert (first.data, first.line(["a"])) == ({"a": 1}, 1)
    assert str(next(lines)) == f"{path}:3: not valid JSON: Expecting value at column 7"


@pytest.mark.parametrize("text", ["9" * 5000, "[" * 100_000], ids=["a number too long", "too deep"])
def test_a_line_that_a_parser_cannot_take_names_its_number(tmp_path: Path, text: str) -> None:
    """A row of JSON Lines on which the parser gives up is told as bad input, with its line."""
    path = tmp_path / "x.jsonl"
    path.write_text(f"{{}}\n{text}\n")
    _, problem = read_lines(path)
    assert isinstance(problem, InputError)
    assert str(problem).startswith(f"{path}:2: not valid JSON: ")


def test_only_a_newline_ends_a_json_line(tmp_path: Path) -> None:
    """Unicode's own line separators may stand inside a JSON string, as `ensure_ascii=False` writes them."""
    rows = [{"text": "one\u2028two\x85three"}, {"text": "four"}]
    path = tmp_path / "x.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    assert [(line.data, line.first_line) for line in read_lines(path)] == [(rows[0], 1), (rows[1], 2)]


def test_an_unknown_key_suggests_the_near_one(tmp_path: Path) -> None:
    """A misspelt key is told with its line and the key that was probably meant, at any depth."""
    text = 'name = "x"\n[[windows]]\nwidth = 1\n[[windows]]\nwidth = 2\ncolor = "red"\n[doors.front]\nwitdh = 3\nwidth = 3\n'
    assert complaint(tmp_path, text) == [
        "house.toml:6: unknown key 'windows[1].color'; did you mean 'colour'?",
        "house.toml:8: unknown key 'doors.front.witdh'; did you mean 'width'?",
    ]


def test_an_unknown_key_like_no_other_lists_the_known_ones(tmp_path: Path) -> None:
    """Where nothing is near, the keys that may stand there are listed."""
    assert complaint(tmp_path, 'name = "x"\nroof = 1\n') == [
        "house.toml:2: unknown key 'roof'; known here: doors, name, windows"
    ]


@pytest.mark.parametrize("name", ["house.toml", "house.yaml", "house.json"])
def test_a_missing_key_and_a_wrong_type_are_told_together(tmp_path: Path, name: str) -> None:
    """Every problem gets its own line: a missing key stands where its table starts, a wrong type at its value."""
    text = {
        "house.toml": '[[windows]]\nwidth = 1\n[[windows]]\ncolour = "red"\n[doors.front]\nwidth = "wide"\n',
        "house.yaml": "windows:\n- width: 1\n- colour: red\ndoors:\n  front:\n    width: wide\n",
        "house.json": '{"windows": [\n{"width": 1},\n{"colour": "red"}],\n"doors": {"front": {\n"width": "wide"}}}\n',
    }[name]
    second_window, width = {"house.toml": (3, 6), "house.yaml": (3, 6), "house.json": (3, 5)}[name]
    told = complaint(tmp_path, text, name)
    assert told[0].endswith(": missing key 'name'")
    assert told[1:] == [
        f"{name}:{second_window}: missing key 'windows[1].width'",
        f"{name}:{width}: doors.front.width: Input should be a valid integer, unable to parse string as an integer, got 'wide'",
    ]


def test_a_long_value_is_cut_in_the_message(tmp_path: Path) -> None:
    """What came is shown, but not pages of it."""
    (told,) = complaint(tmp_path, f'name = "x"\n[[windows]]\nwidth = "{"w" * 5000}"\n')
    assert told.endswith("www...")
    assert len(told) < 250


def test_errors_are_capped(tmp_path: Path) -> None:
    """Of many errors 20 are told, and how many more there are."""
    told = complaint(tmp_path, 'name = "x"\n' + "".join(f"key_{number} = 1\n" for number in range(25)))
    assert len(told) == MOST_ERRORS + 1 == 21
    assert told[-1] == "house.toml: and 5 more"


TOML = '''\
# a comment
title = "x"
story = """
[windows]
title = "no key, but text"
"""
after = 1
"quoted key" = 2
a.b = { c = 3 }
[table]
inner = 4
[[rows]]
id = 5
[[rows]]
id = 6
sizes = [
  7,
]
last = 8
'''
YAML = "title: x\nstory: |\n  title: text\nafter: 1\nrows:\n- id: 5\n- {id: 6,\n   last: 8}\n"
JSON = '{\n\t"title": "x",\n"rows": [\n{"id": 5},\n{"id": 6,\n"last": 8}],\n"web": "https:\\/\\/x.org"}\n'
EMOJI = json.dumps({"title": "\N{GRINNING FACE}", "rows": [{"id": 5}]}, indent=1)


@pytest.mark.parametrize(
    ("name", "text", "key", "line"),
    [
        ("x.toml", TOML, ["title"], 2),
        ("x.toml", TOML, ["story"], 3),
        ("x.toml", TOML, ["after"], 7),
        ("x.toml", TOML, ["quoted key"], 8),
        ("x.toml", TOML, ["a", "b", "c"], 9),
        ("x.toml", TOML, ["table"], 10),
        ("x.toml", TOML, ["table", "inner"], 11),
        ("x.toml", TOML, ["table", "absent"], 10),
        ("x.toml", TOML, ["rows", 0, "id"], 13),
        ("x.toml", TOML, ["rows", 1], 14),
        ("x.toml", TOML, ["rows", 1, "id"], 15),
        ("x.toml", TOML, ["rows", 1, "sizes"], 16),
        ("x.toml", TOML, ["rows", 1, "last"], 19),
        ("x.toml", TOML, ["rows", 2, "id"], 12),
        ("x.toml", 'a = "one\u2028two"\nb = 1\n', ["b"], 2),
        ("x.yaml", YAML, ["story"], 2),
        ("x.yaml", YAML, ["after"], 4),
        ("x.yaml", YAML, ["rows", 0, "id"], 6),
        ("x.yaml", YAML, ["rows", 1], 7),
        ("x.yaml", YAML, ["rows", 1, "last"], 8),
        ("x.json", JSON, ["title"], 2),
        ("x.json", JSON, ["rows", 1], 5),
        ("x.json", JSON, ["rows", 1, "last"], 6),
        ("x.json", JSON, ["rows", 1, "absent"], 5),
        ("x.json", JSON, ["web"], 7),
        ("x.json", EMOJI, ["rows", 0, "id"], 5),
    ],
)
def test_a_key_is_found_on_its_line(tmp_path: Path, name: str, text: str, key: list[str | int], line: int) -> None:
    """A key, or its nearest parent that exists, is found where it stands: in tables, rows and around long strings."""
    assert document(tmp_path, name, text).line(key) == line


def scalars(data: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Every string of nested tables and lists of tables, with its key."""
    for part, inner in data.items() if isinstance(data, dict) else enumerate(data):
        if isinstance(inner, str):
            yield (*at, part), inner
        else:
            yield from scalars(inner, (*at, part))


# A value that occurs once, so that its line is known, and is too long for the table around it to be put on one line.
VALUES = st.uuids().map(lambda unique: f"{unique}{'.' * 100}")
TABLES = st.recursive(
    st.dictionaries(st.text(max_size=5), VALUES, max_size=3),
    lambda inner: st.dictionaries(st.text(max_size=5), VALUES | inner | st.lists(inner, max_size=3), max_size=3),
    max_leaves=6,
)


@given(TABLES)
def test_every_key_of_a_toml_file_is_found_on_its_line(data: dict[str, Any]) -> None:
    """Whatever the keys, the nesting and the order: a key stands on the line that holds its value."""
    text = tomli_w.dumps(data)
    found = Document(Path("x.toml"), text, tomllib.loads(text))
    lines = text.split("\n")
    for key, value in scalars(data):
        line = found.line(key)
        assert line is not None, key
        assert value in lines[line - 1]


def test_a_line_knows_its_place_in_the_file(tmp_path: Path) -> None:
    """Keys of a JSON Lines row stand on that row's line, whatever the row holds."""
    path = tmp_path / "x.jsonl"
    path.write_text(f"{{}}\n{json.dumps({'face': chr(0x1F600), 'id': 1})}\n")
    assert [row.line(["id"]) for row in read_lines(path)] == [1, 2]


def test_text_that_is_not_utf_8_is_told_with_its_byte(tmp_path: Path) -> None:
    """The first byte that is no UTF-8 is named by place and value."""
    path = tmp_path / "x.toml"
    path.write_bytes(b'a = "\xe9"\n')
    with pytest.raises(InputError, match=r"x\.toml: not UTF-8 text: byte 5 is 0xe9"):
        read_document(path)


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path: Path) -> None:
    """No file, and no file but a folder, each say so and name the path."""
    with pytest.raises(InputError, match=r"absent\.toml: no such file"):
        read_text(tmp_path / "absent.toml")
    with pytest.raises(InputError, match=r"cannot be read: Is a directory"):
        read_text(tmp_path)


@pytest.mark.parametrize(("name", "told"), [("x.txt", ".txt"), ("x", "no ending")])
def test_another_ending_is_refused(tmp_path: Path, name: str, told: str) -> None:
    """The four endings that can be read are listed, beside the one that came."""
    with pytest.raises(InputError, match=rf"expected a \.toml, \.yaml, \.yml or \.json file, got {told}"):
        document(tmp_path, name, "a = 1\n")


def test_a_key_is_dotted_as_people_write_it() -> None:
    """Names are joined by dots and numbers stand in brackets."""
    assert dotted(("targets", 0, "model")) == "targets[0].model"
    assert dotted(()) == ""


def test_a_record_is_frozen_and_trimmed(tmp_path: Path) -> None:
    """What was read cannot be changed, and blanks around its texts are gone."""
    house = parse(document(tmp_path, "house.toml", 'name = "  x "\n'), House)
    assert house.name == "x"
    with pytest.raises(ValueError, match="frozen"):
        house.name = "y"  # type: ignore[misc]


@pytest.mark.parametrize("text", ["[" * 100_000, "- " * 100_000, "{a: " * 5_000])
def test_yaml_nested_without_end_is_told(tmp_path: Path, text: str) -> None:
    """What would take the C parser down, and Python with it, is refused before it gets there."""
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match="nested more than 200 deep"):
        read_document(path)


@pytest.mark.parametrize(
    ("name", "text"),
    [("x.yaml", "a: 1\nb: {c: 1, c: 2}\n"), ("x.json", '{"a": {"c": 1, "c": 2}}'), ("x.toml", "c = 1\nc = 2\n")],
)
def test_a_key_that_stands_twice_is_told(tmp_path: Path, name: str, text: str) -> None:
    """Neither of two values for one key wins in silence."""
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(InputError, match=r"the key 'c' stands twice|[Cc]annot overwrite"):
        read_document(path)


@pytest.mark.parametrize(("name", "text"), [("x.toml", "a = 1"), ("x.json", '{"a": 1}'), ("x.yaml", "a: 1")])
def test_a_byte_order_mark_does_not_matter(tmp_path: Path, name: str, text: str) -> None:
    """Files that Notepad saved can be read."""
    path = tmp_path / name
    path.write_text(text, encoding="utf-8-sig")
    assert read_document(path).data == {"a": 1}
