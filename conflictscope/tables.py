"""Tables from elsewhere: recorded outcomes, gold labels and two-action dilemmas, as CSV or gzipped CSV."""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from conflictscope.documents import explain
from conflictscope.errors import InputError
from conflictscope.outcome import Group, Mode, Outcome, Side, Verdict, fold_position
from conflictscope.scenario import Origin, Scenario
from conflictscope.values import ValueSet

OUTCOME_REQUIRED = ("target", "scenario_id", "value_a", "value_b", "verdict")
OUTCOME_OPTIONAL = ("mode", "steering", "behavior", "strength", "shown_first", "judge", "repeat")
_OUTCOME_COLUMNS = OUTCOME_REQUIRED + OUTCOME_OPTIONAL
GOLD_REQUIRED = ("target", "scenario_id", "verdict")
_MOST_REASONS = 5
_Named = TypeVar("_Named", Mode, Verdict)


def read_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows of a CSV with a header, gzipped or not, with the line on which each ends. Raises InputError."""
    if path.exists() and not path.is_file():
        raise InputError("is not a regular file", path=path)
    try:
        with (
            gzip.open(path, "rt", newline="", encoding="utf-8-sig")
            if path.suffix == ".gz"
            else path.open(newline="", encoding="utf-8-sig") as file
        ):
            reader = csv.DictReader(file, strict=True)
            for row in _parsed(reader, path):
                if None in row or None in row.values():
                    came = sum(value is not None for key, value in row.items() if key is not None)
                    came += len(row.get(None) or ())  # type: ignore[call-overload]
                    width = len(reader.fieldnames or ())
                    raise InputError(f"expected {width} columns, got {came}", path=path, line=reader.line_num)
                yield reader.line_num, row
    except FileNotFoundError:
        raise InputError("no such file", path=path) from None
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 text: {error.reason}", path=path) from None
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"cannot be read: {error}", path=path) from None


def _parsed(reader: csv.DictReader[str], path: Path) -> Iterator[dict[str, str]]:
    """The rows of a reader whose header is sound."""
    read = 0
    try:
        names = reader.fieldnames
        if not names:
            raise InputError("is empty: expected a header line", path=path)
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise InputError(f"two columns have the same name: {', '.join(twice)}", path=path, line=1)
        read = reader.line_num
        for row in reader:
            yield row
            read = reader.line_num
    except csv.Error as error:
        raise InputError(f"not valid CSV: {error}", path=path, line=read + 1) from None


def header(path: Path) -> list[str]:
    """The column names of a CSV."""
    first = next(read_rows(path), None)
    if first is None:
        raise InputError("holds no row", path=path)
    return list(first[1])


@dataclass(frozen=True, slots=True)
class _Row:
    """One line of a table under our column names; what is missing is the empty text."""

    path: Path
    line: int
    cells: Mapping[str, str]

    def fail(self, name: str, expected: str) -> InputError:
        return InputError(f"{name}: expected {expected}, got {self[name]!r}", path=self.path, line=self.line)

    def __getitem__(self, name: str) -> str:
        return self.cells.get(name, "").strip()

    def require(self, names: Sequence[str]) -> None:
        for name in names:
            if not self[name]:
                raise self.fail(name, "a text")
            if not self[name].isprintable():
                raise self.fail(name, "no control characters")

    def named(self, name: str, choices: Iterable[_Named]) -> _Named:
        choices = list(choices)
        for member in choices:
            if member.value == self[name]:
                return member
        raise self.fail(name, f"one of {', '.join(member.value for member in choices)}")

    def number(self, name: str, low: int, high: int) -> int | None:
        text = self[name]
        if not text:
            return None
        if not text.isdecimal() or len(text) > len(str(high)) or not low <= int(text) <= high:
            raise self.fail(name, f"a whole number {low}..{high}")
        return int(text)


@dataclass(frozen=True)
class OutcomeTable:
    """A CSV of recorded outcomes, read the way its owner says.

    columns: our column -> theirs, where they differ. verdicts: their word -> a verdict state, where they differ.
    constants: our column -> one text for every row.
    """

    path: Path
    columns: Mapping[str, str] = field(default_factory=dict)
    verdicts: Mapping[str, Verdict] = field(default_factory=dict)
    constants: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in (*self.columns, *self.constants):
            if name not in _OUTCOME_COLUMNS:
                raise InputError(
                    f"no such column of ours: {name!r}; known: {', '.join(_OUTCOME_COLUMNS)}", path=self.path
                )
        present = header(self.path)
        for ours, theirs in self.columns.items():
            if theirs not in present:
                raise InputError(
                    f"no column {theirs!r} (for {ours}); it has {', '.join(present)}", path=self.path, line=1
                )
        missing = [
            name
            for name in OUTCOME_REQUIRED
            if name not in self.constants and self.columns.get(name, name) not in present
        ]
        if missing:
            raise InputError(
                f"needs the column {missing[0]!r}; it has {', '.join(present)}. Name theirs with "
                f"--column {missing[0]}=THEIRS, or one text for all rows with --constant {missing[0]}=TEXT",
                path=self.path,
                line=1,
            )

    def outcomes(self) -> Iterator[Outcome]:
        """The outcomes in the order of the file. Raises InputError at the first row that is not one."""
        seen: dict[int, int] = {}
        for line, row in read_rows(self.path):
            outcome = self._outcome(row, line)
            position = fold_position(outcome.key)
            if position in seen:
                raise InputError(
                    f"same target, mode, steering, behavior, scenario_id and repeat as line {seen[position]}; "
                    "rows that repeat an episode need a `repeat` column",
                    path=self.path,
                    line=line,
                )
            seen[position] = line
            yield outcome

    def _outcome(self, cells: Mapping[str, str], line: int) -> Outcome:
        ours = {
            name: self.constants.get(name) or cells.get(self.columns.get(name, name), "") for name in _OUTCOME_COLUMNS
        }
        row = _Row(self.path, line, ours)
        row.require(OUTCOME_REQUIRED)
        if row["value_a"] == row["value_b"]:
            raise row.fail("value_b", "another value than value_a")
        shown_first = row["shown_first"]
        if shown_first not in ("", "a", "b"):
            raise row.fail("shown_first", "a or b")
        side: Side | None = None if not shown_first else "a" if shown_first == "a" else "b"
        return Outcome(
            group=Group(
                target=row["target"],
                mode=row.named("mode", Mode) if row["mode"] else Mode.MULTIPLE_CHOICE,
                steering=row["steering"] or None,
                behavior=row["behavior"] or None,
            ),
            scenario_id=row["scenario_id"],
            repeat=1 if (repeat := row.number("repeat", 0, 10**9)) is None else repeat,
            value_a=row["value_a"],
            value_b=row["value_b"],
            verdict=self.verdicts.get(row["verdict"]) or row.named("verdict", Verdict),
            strength=row.number("strength", 1, 7),
            shown_first=side,
            judge=row["judge"] or None,
        )


@dataclass(frozen=True, slots=True)
class GoldLabel:
    """What a target did in an episode, by somebody who knows: `a`, `b` or `tie`.

    mode, steering, behavior, repeat: of the episode, where the table says so; None stands for any. No steering, and no
    behaviour, is the empty text.
    line: of the table.
    """

    line: int
    target: str
    scenario_id: str
    mode: Mode | None
    steering: str | None
    behavior: str | None
    repeat: int | None
    verdict: Verdict

    def fits(self, outcome: Outcome) -> bool:
        """Whether this may be the episode's label."""
        group = outcome.group
        return (
            (self.target, self.scenario_id) == (group.target, outcome.scenario_id)
            and self.mode in (None, group.mode)
            and self.steering in (None, group.steering or "")
            and self.behavior in (None, group.behavior or "")
            and self.repeat in (None, outcome.repeat)
        )


@dataclass(frozen=True)
class GoldTable:
    """A CSV of gold labels: target, scenario_id, verdict, and optionally mode, steering, behavior, repeat."""

    path: Path

    def labels(self) -> Iterator[GoldLabel]:
        """The labels in the order of the file. Raises InputError where it is not such a table, at the first bad row."""
        present = header(self.path)
        missing = [name for name in GOLD_REQUIRED if name not in present]
        if missing:
            raise InputError(f"needs the column {missing[0]!r}; it has {', '.join(present)}", path=self.path, line=1)
        for line, cells in read_rows(self.path):
            row = _Row(self.path, line, cells)
            row.require(GOLD_REQUIRED)
            yield GoldLabel(
                line,
                target=row["target"],
                scenario_id=row["scenario_id"],
                mode=row.named("mode", Mode) if row["mode"] else None,
                steering=row["steering"] if "steering" in present else None,
                behavior=row["behavior"] if "behavior" in present else None,
                repeat=row.number("repeat", 0, 10**9),
                verdict=row.named("verdict", (verdict for verdict in Verdict if verdict.rated)),
            )


@dataclass(frozen=True)
class DilemmaColumns:
    """Which column of a dilemma table holds what.

    action_a and action_b, or choices: a column with a JSON list of exactly two actions, each a text or an object with a
    `description` (or `text`, or `label`). Of each side values_a, a column of values, or value_a, one value for every row.
    Raises InputError where an action or a value of a side is told not at all, or twice.
    """

    id: str
    description: str
    action_a: str | None = None
    action_b: str | None = None
    values_a: str | None = None
    values_b: str | None = None
    choices: str | None = None
    value_a: str | None = None
    value_b: str | None = None

    def __post_init__(self) -> None:
        columns = sum(column is not None for column in (self.action_a, self.action_b))
        if columns != (2 if self.choices is None else 0):
            raise InputError(
                "a dilemma has two actions: name their columns with --action-a and --action-b, or one column with a JSON "
                "list of both with --choices"
            )
        for side, column, constant in (("a", self.values_a, self.value_a), ("b", self.values_b, self.value_b)):
            if (column is None) == (constant is None):
                raise InputError(
                    f"each action serves a value: name its column with --values-{side}, or one value for all rows with "
                    f"--value-{side}"
                )

    @property
    def named(self) -> list[str]:
        """The columns that the table must have."""
        columns = (self.id, self.description, self.action_a, self.action_b, self.choices, self.values_a, self.values_b)
        return [column for column in columns if column is not None]


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A row that became no scenario. line: on which it ends."""

    line: int
    reason: str


@dataclass(frozen=True)
class ImportedDilemmas:
    """What became of a dilemma table: scenarios, how many rows they came from, and the rows that became none."""

    scenarios: Sequence[Scenario]
    rows: int
    refused: Sequence[RefusedRow]

    @property
    def left_out(self) -> dict[str, int]:
        """How many rows became no scenario, by reason, the most frequent one first."""
        return dict(Counter(row.reason for row in self.refused).most_common())


class _Misfit(Exception):
    """Why a row is no dilemma."""


def read_dilemmas(
    path: Path,
    columns: DilemmaColumns,
    *,
    separator: str = "|",
    all_pairs: bool = False,
    value_set: ValueSet | None = None,
) -> ImportedDilemmas:
    """Scenarios from a table with two actions a row and, for each action, the values that only it serves.

    A row with exactly one value on each side becomes one scenario. A row with more becomes one scenario for each pair of
    values where `all_pairs` is set (they share `origin.situation`: one situation, not independent), else it is refused. So is a
    row with no value on a side, with one that is not in `value_set`, with another number of actions than two, or with an id that
    an earlier one has; the others are not touched by it. Raises InputError where the file is no such table, or no row fits.
    """
    if not separator:
        raise InputError("--separator: expected at least one character, got ''")
    present = header(path)
    for name in columns.named:
        if name not in present:
            raise InputError(f"no column {name!r}; it has {', '.join(present)}", path=path, line=1)
    scenarios: dict[str, Scenario] = {}
    lines: dict[str, int] = {}
    refused: list[RefusedRow] = []
    rows = 0
    for line, row in read_rows(path):
        try:
            found = list(_scenarios(row, columns, path.name, separator, all_pairs, value_set))
            twice = next((scenario.id for scenario in found if scenario.id in scenarios), None)
            if twice is not None:
                raise _Misfit(f"{columns.id}: {twice!r} is used twice, first on line {lines[twice]}")
        except _Misfit as misfit:
            refused.append(RefusedRow(line, str(misfit)))
            continue
        rows += 1
        scenarios.update((scenario.id, scenario) for scenario in found)
        lines.update((scenario.id, line) for scenario in found)
    imported = ImportedDilemmas(tuple(scenarios.values()), rows, tuple(refused))
    if not scenarios:
        reasons = list(imported.left_out.items())
        told = "; ".join(f"{count:,} rows: {reason}" for reason, count in reasons[:_MOST_REASONS])
        more = f"; and {len(reasons) - _MOST_REASONS:,} more reasons" if len(reasons) > _MOST_REASONS else ""
        raise InputError(f"no row becomes a scenario ({told}{more})", path=path)
    return imported


def _scenarios(
    row: Mapping[str, str],
    columns: DilemmaColumns,
    source: str,
    separator: str,
    all_pairs: bool,
    value_set: ValueSet | None,
) -> Iterator[Scenario]:
    """The scenarios of one row. Raises _Misfit."""
    sides = [
        [constant]
        if constant is not None
        else list(dict.fromkeys(name.strip() for name in row[column or ""].split(separator) if name.strip()))
        for column, constant in ((columns.values_a, columns.value_a), (columns.values_b, columns.value_b))
    ]
    unknown = [name for side in sides for name in side if value_set is not None and name not in value_set.names]
    if value_set is not None and unknown:
        raise _Misfit(f"{unknown[0]!r} is not in the value set {value_set.name!r}")
    action_a, action_b = _actions(row, columns)
    both = set(sides[0]) & set(sides[1])  # served by either action: no conflict
    pairs = [(a, b) for a, b in product(*sides) if not {a, b} & both]
    if not pairs:
        raise _Misfit("no conflicting pair of values")
    if len(pairs) > 1 and not all_pairs:
        raise _Misfit("more than one pair of values")
    row_id = row[columns.id].strip()
    for value_a, value_b in pairs:
        data = {
            "id": row_id if len(pairs) == 1 else f"{row_id}:{value_a}~{value_b}".replace(" ", "%20"),
            "value_a": value_a,
            "value_b": value_b,
            "description": row[columns.description],
            "action_a": action_a,
            "action_b": action_b,
            "origin": Origin(kind="imported", source=source, situation=row_id),
        }
        try:
            yield Scenario.model_validate(data)
        except ValidationError as error:
            raise _Misfit(explain(error.errors()[0], Scenario)) from None


def _actions(row: Mapping[str, str], columns: DilemmaColumns) -> list[str]:
    """The two actions of a row. Raises _Misfit."""
    if columns.choices is None:
        return [row[columns.action_a or ""], row[columns.action_b or ""]]
    try:
        choices = json.loads(row[columns.choices])
    except (ValueError, RecursionError):
        raise _Misfit(f"{columns.choices}: expected a JSON list of two actions, got no valid JSON") from None
    if not isinstance(choices, list):
        raise _Misfit(f"{columns.choices}: expected a JSON list of two actions, got {type(choices).__name__}")
    if len(choices) != 2:
        raise _Misfit(f"{columns.choices}: expected two actions, got {len(choices)}")
    return [_action(choice, columns.choices) for choice in choices]


def _action(choice: Any, column: str) -> str:
    """The text of an action that is a text, or an object that has one."""
    texts = [choice] if not isinstance(choice, dict) else [choice.get(key) for key in ("description", "text", "label")]
    for text in texts:
        if isinstance(text, str) and text.strip():
            return text
    raise _Misfit(f"{column}: expected texts, or objects with a description, text or label")
