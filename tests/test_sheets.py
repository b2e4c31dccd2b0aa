from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conflictscope.annotation import Answer, Item
from conflictscope.errors import InputError
from conflictscope.outcome import Message, Role
from conflictscope.sheets import COLUMNS, neutral, read_answers, restored, sheet_csv
from tests.hostile import HOSTILE

LIVE = tuple("=+-@\t\r\n＝＋－＠")
TEXTS = st.one_of(st.text(), st.text(alphabet="'=+-@\t\r\n＝x"), st.sampled_from(HOSTILE))


def item(text: str) -> Item:
    return Item(text, text, text, text, (Message(Role.USER, text), Message(Role.TARGET, text)))


@given(TEXTS)
def test_a_neutral_cell_is_no_formula_and_is_restored(text: str) -> None:
    """Whatever the text is: no cell begins as a formula does, and what is read is what was written."""
    assert not neutral(text).startswith(LIVE)
    assert restored(neutral(text)) == text


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_text_stays_in_its_cell(text: str) -> None:
    """A row an item, seven cells a row, none of them a formula; the texts are there word for word; label and comment are empty."""
    header, *rows = csv.reader(io.StringIO(sheet_csv([item(text), item("x")]), newline=""))
    assert tuple(header) == COLUMNS
    assert [len(row) for row in rows] == [7, 7]
    assert not any(cell.startswith(LIVE) for row in rows for cell in row)
    assert [restored(cell) for cell in rows[0][:4]] == [text] * 4
    assert rows[0][5:] == ["", ""]


def test_no_message_passes_for_another_speaker() -> None:
    """Only what begins a line is a speaker, and lines of messages are indented."""
    forged = Item("i", "d", "1", "2", tuple(Message(Role.USER, text) for text in HOSTILE))
    [_, row] = csv.reader(io.StringIO(sheet_csv([forged]), newline=""))
    speakers = [line for line in row[4].split("\n") if not line.startswith("  ")]
    assert speakers == [f"[{number}, person]" for number in range(1, len(HOSTILE) + 1)]


def test_labels_are_read_from_all_three_files(tmp_path: Path) -> None:
    """A sheet, and the page's CSV and JSON: words, keys and capitals; what has no label is left out; lines are told."""
    (tmp_path / "sheet.csv").write_text(
        '\ufeffitem,description,label,comment\ni1,"two\nlines",1,"\'=no"\ni2,,,why\ni3,, N ,\n'
    )
    (tmp_path / "page.csv").write_text('"annotator","item","label","comment"\r\n"Kim","i1","unresolved","\'-"\r\n')
    told = {
        "annotator": "Kim",
        "labels": [{"item": "i1", "label": "tie", "comment": "=x"}, {"item": "i2", "label": "2"}],
    }
    (tmp_path / "page.json").write_text(json.dumps(told, indent=1))
    read = {
        path.name: [(a.line, a.item, a.answer, a.comment, a.annotator) for a in read_answers(path)]
        for path in tmp_path.iterdir()
    }
    assert read == {
        "sheet.csv": [(3, "i1", Answer.FIRST, "=no", None), (5, "i3", Answer.NEITHER, "", None)],
        "page.csv": [(2, "i1", Answer.UNRESOLVED, "-", "Kim")],
        "page.json": [(4, "i1", Answer.TIE, "=x", "Kim"), (9, "i2", Answer.SECOND, "", "Kim")],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("s.csv", "item,comment\ni1,x\n", ":1: needs the column 'label'; it has item, comment"),
        ("s.csv", "item,label\ni1,1\ni2,a\n", ":3: label: expected one of 1, 2, tie, neither, refused, unresolved, got 'a'"),
        ("s.csv", "item,label\ni1,1,2\n", ":2: expected 2 columns, got 3"),
        ("s.csv", f"item,label,comment\ni1,1,{'x' * 5001}\n", ":2: comment: expected 5,000 characters at the most, got 5,001"),
        ("s.csv", "item,label,annotator\ni1,1,a\x1bb\n", ":2: annotator: expected no control characters, got 'a\\x1bb'"),
        ("s.csv", "", ": is empty: expected a header line"),
        ("s.json", '{"annotator": "k",\n "labels": [\n  {"item": "i1", "label": "x"}]}', ":3: label: expected one of"),
        ("s.json", '{"annotator": "k", "labels": [{"item": "i1"}]}', ":1: missing key 'labels[0].label'"),
        ("s.json", '{"annotator": "k", "labels": [{"item": "i1", "label": "1", "comment": "\\ud800"}]}', ":1: labels[0].comment: "),
        ("s.json", "[]", "expected keys and values, got []"),
    ],
)  # fmt: skip
def test_a_bad_file_is_told_with_its_line(tmp_path: Path, name: str, text: str, told: str) -> None:
    """What was expected, and what came."""
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        list(read_answers(path))
    assert str(caught.value).startswith(str(path))
    assert told in str(caught.value)
