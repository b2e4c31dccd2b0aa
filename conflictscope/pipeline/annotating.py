"""Labels by people: sheets out of a run, labels back into it, and how they compare with the judge's verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from conflictscope.annotation import Item, Label, LabelReport, Sheet, draw
from conflictscope.errors import InputError
from conflictscope.outcome import Message, Outcome, Side
from conflictscope.ranking.labels import label_report
from conflictscope.runfolder import RunFolder
from conflictscope.scenario import Scenario
from conflictscope.sheets import Answered, read_answers, sheet_csv
from conflictscope.store import RunReader, RunWriter
from conflictscope.views import sheet_html


@dataclass(frozen=True, slots=True)
class ExportedSheets:
    """files: a CSV and a page for each person. items: on each sheet. conversations: that they were drawn from."""

    files: tuple[Path, ...]
    items: int
    conversations: int


async def export_sheets(
    folder: RunFolder, output: Path, *, items: int = 100, seed: int = 0, annotators: int = 1
) -> ExportedSheets:
    """Write sheets of `items` conversations of a run into the folder `output`, the same ones for each person.

    The order of the items and of their two actions is drawn for each sheet. Nothing is written over. Raises InputError.
    """
    async with RunReader.open(folder.database) as reader:
        outcomes = [outcome async for outcome, _ in reader.conversations()]
        if not outcomes:
            raise InputError(
                "the run holds no conversation with a verdict: there is nothing to label", path=folder.path
            )
        drawn = {outcome.key for outcome in draw(outcomes, items, seed)}
        conversations = [(outcome, said) async for outcome, said in reader.conversations() if outcome.key in drawn]
        scenarios = await reader.scenarios()
    files: dict[Path, str] = {}
    for number in range(1, annotators + 1):
        name = "sheet" if annotators == 1 else f"sheet-{number}"
        shown = _shown(Sheet(seed, number), conversations, scenarios)
        files[output / f"{name}.csv"] = "\ufeff" + sheet_csv(shown)  # by its byte order mark a spreadsheet knows UTF-8
        files[output / f"{name}.html"] = sheet_html(shown)
    _write_new(files)
    return ExportedSheets(tuple(files), len(conversations), len(outcomes))


def _shown(
    sheet: Sheet, conversations: Sequence[tuple[Outcome, tuple[Message, ...]]], scenarios: Mapping[str, Scenario]
) -> list[Item]:
    """The items of one sheet, in its own order."""

    def item(outcome: Outcome, transcript: tuple[Message, ...]) -> Item:
        scenario = scenarios[outcome.scenario_id]
        first, second = scenario.action_a, scenario.action_b
        if sheet.shown_first(outcome.key) == "b":
            first, second = second, first
        return Item(sheet.item_id(outcome.key, transcript), scenario.description, first, second, transcript)

    return [item(*conversation) for conversation in sorted(conversations, key=lambda c: sheet.position(c[0].key))]


def _write_new(files: dict[Path, str]) -> None:
    """Write files, none of which may exist: a sheet may be half filled in. Raises InputError."""
    for path in files:
        if path.exists():
            raise InputError("exists: choose another -o", path=path)
    for path, text in files.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Half a surrogate pair, which a model may write, has no place in UTF-8.
            path.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")
        except OSError as error:
            raise InputError(f"cannot be written: {error.strerror}", path=path) from None


async def import_labels(folder: RunFolder, files: Sequence[Path], annotator: str | None = None) -> int:
    """Keep what people said of a run, in place of what the same people said before; returns how many labels.

    annotator: who filled in the files; else each file's `annotator` column or key says so, or its name. All is read and checked
    before any is kept. Raises InputError with file and line.
    """
    if annotator is not None and not _is_name(annotator):
        raise InputError(
            f"--annotator: expected 1 to 100 characters, none of them a control character, got {annotator!r}"
        )
    answers = [answer for path in files for answer in _answers(path)]
    shown = await _episodes(folder, {sheet for answer in answers if (sheet := Sheet.of(answer.item))})
    labels: dict[tuple[str, str], Label] = {}
    first: dict[tuple[str, str], Answered] = {}
    for answer in answers:
        if answer.item not in shown:
            raise answer.fail(f"item: no conversation of the run {folder.name!r} was shown as {answer.item!r}")
        key, shown_first = shown[answer.item]
        name = (annotator or answer.annotator or answer.path.stem).strip()
        if not _is_name(name):
            raise answer.fail(f"the file's name is no name of a person ({name!r}): give one with --annotator")
        if (key, name) in first:
            there = first[key, name]
            raise answer.fail(f"labels the same conversation as {there.path}:{there.line}, by {name!r}")
        first[key, name] = answer
        labels[key, name] = Label(key, name, answer.answer.placed(shown_first), shown_first, answer.comment)
    with folder.locked():
        async with RunWriter.open(folder.database) as writer:
            await writer.replace_labels(labels.values())
    return len(labels)


def _is_name(text: str) -> bool:
    return text.isprintable() and 1 <= len(text.strip()) <= 100


def _answers(path: Path) -> list[Answered]:
    answers = list(read_answers(path))
    if not answers:
        raise InputError("holds no label: every cell of the column `label` is empty", path=path)
    return answers


async def _episodes(folder: RunFolder, sheets: set[Sheet]) -> dict[str, tuple[str, Side]]:
    """By item: the key of the episode that it was on one of the sheets, and which action was shown first."""
    async with RunReader.open(folder.database) as reader:
        return {
            sheet.item_id(outcome.key, transcript): (outcome.key, sheet.shown_first(outcome.key))
            async for outcome, transcript in reader.conversations()
            for sheet in sheets
        }


async def labels_of(folder: RunFolder) -> LabelReport:
    """How the labels that a run holds compare. Raises InputError where it holds none."""
    async with RunReader.open(folder.database) as reader:
        labelled = await reader.labels()
    if not labelled:
        raise InputError(
            "holds no labels yet: `annotate export` writes a sheet, `annotate import` reads it back", path=folder.path
        )
    return label_report(labelled)
