"""Sheets of labels as CSV, safe to open in a spreadsheet, and what people bring back: those, or what the page saved."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import StringConstraints

from conflictscope.annotation import Answer, Item
from conflictscope.documents import Record, parse, read_document
from conflictscope.errors import InputError
from conflictscope.outcome import Message, Role
from conflictscope.tables import header, read_rows

COLUMNS = ("item", "description", "action 1", "action 2", "transcript", "label", "comment")
SPEAKERS = {Role.USER: "person", Role.TARGET: "assistant", Role.TOOL: "tool"}
"""Who is heard in a sheet. Not the system prompt: it tells the steering, which nobody who labels may know."""

_REQUIRED = ("item", "label")
_MOST = {"item": 100, "annotator": 100, "comment": 5_000}  # characters
# A cell that begins so is a formula to a spreadsheet, also behind the quotes that we put before it. Source: OWASP, CSV injection.
_FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")
_KEYS = {"t": Answer.TIE, "n": Answer.NEITHER, "r": Answer.REFUSED, "u": Answer.UNRESOLVED}


def neutral(text: str) -> str:
    """A text that no spreadsheet takes for a formula. Undone by `restored`."""
    return f"'{text}" if _FORMULA.match(text) else text


def restored(cell: str) -> str:
    """The text of a cell that `neutral` made."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def sheet_csv(items: Sequence[Item]) -> str:
    """The sheet as CSV, an item a row, `label` and `comment` empty; every cell in quotes."""
    file = io.StringIO()
    writer = csv.writer(file, quoting=csv.QUOTE_ALL)
    writer.writerow(COLUMNS)
    for item in items:
        cells = (item.id, item.description, item.action_1, item.action_2, _told(item.transcript), "", "")
        writer.writerow(map(neutral, cells))
    return file.getvalue()


def _told(transcript: Sequence[Message]) -> str:
    """The conversation in one cell. Lines of messages are indented, so that none can pass for the next speaker."""
    lines: list[str] = []
    for number, (speaker, words) in enumerate(heard(transcript), start=1):
        lines.append(f"[{number}, {speaker}]")
        lines.extend(f"  {line}" for line in words.splitlines())
    return "\n".join(lines)


def heard(transcript: Sequence[Message]) -> list[tuple[str, str]]:
    """Who says what, in a sheet; with the tools that are called."""
    return [(SPEAKERS[message.role], message.words) for message in transcript if message.role in SPEAKERS]


@dataclass(frozen=True, slots=True)
class Answered:
    """A label as it came back. annotator: as the file names them, None where it does not. line: of the file."""

    path: Path
    line: int | None
    item: str
    answer: Answer
    comment: str
    annotator: str | None

    def fail(self, message: str) -> InputError:
        """What is wrong with it."""
        return InputError(message, path=self.path, line=self.line)


def read_answers(path: Path) -> Iterator[Answered]:
    """The labels of a sheet that was filled in (.csv), or of what the page saved (.csv, .json); items without one are left out.

    Raises InputError for a file that is not one, at the first bad row.
    """
    if path.suffix == ".json":
        yield from _from_page(path)
        return
    present = header(path)
    missing = [name for name in _REQUIRED if name not in present]
    if missing:
        raise InputError(f"needs the column {missing[0]!r}; it has {', '.join(present)}", path=path, line=1)
    for line, row in read_rows(path):
        cells = {name: restored(row.get(name, "")).strip() for name in ("item", "label", "comment", "annotator")}
        if cells["label"]:
            yield _answered(path, line, **cells)


_Text = Annotated[str, StringConstraints(max_length=100_000)]


class _PageLabel(Record):
    item: _Text
    label: _Text
    comment: _Text = ""


class _Page(Record):
    """What the page saves as JSON."""

    annotator: _Text
    labels: tuple[_PageLabel, ...]


def _from_page(path: Path) -> Iterator[Answered]:
    document = read_document(path)
    page = parse(document, _Page)
    for number, label in enumerate(page.labels):
        line = document.line(["labels", number])
        yield _answered(path, line, label.item, label.label, label.comment, page.annotator)


def _answered(path: Path, line: int | None, item: str, label: str, comment: str, annotator: str) -> Answered:
    for name, text in (("item", item), ("annotator", annotator), ("comment", comment)):
        if len(text) > _MOST[name]:
            raise InputError(
                f"{name}: expected {_MOST[name]:,} characters at the most, got {len(text):,}", path=path, line=line
            )
    if not annotator.isprintable():
        raise InputError(f"annotator: expected no control characters, got {annotator!r}", path=path, line=line)
    word = label.casefold()
    answer = _KEYS.get(word) or next((answer for answer in Answer if answer.value == word), None)
    if answer is None:
        raise InputError(
            f"label: expected one of {', '.join(answer.value for answer in Answer)}, got {label[:80]!r}",
            path=path,
            line=line,
        )
    return Answered(path, line, item, answer, comment, annotator or None)
