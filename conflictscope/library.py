"""Finding and loading value sets, scenario libraries, worlds and sweeps, built in or by path."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from conflictscope.documents import MOST_ERRORS, Document, Key, Record, parse, read_document, read_lines
from conflictscope.errors import InputError
from conflictscope.redaction import redact
from conflictscope.scenario import Scenario
from conflictscope.services import builtin_or_path
from conflictscope.values import ValueSet

Kind = Literal["values", "libraries", "worlds", "sweeps", "specs"]
_PACKAGE = Path(__file__).parent


def data_folder() -> Path:
    """The shipped data: inside the package where it was installed from a wheel, else beside it in the checkout."""
    packaged = _PACKAGE / "scenarios"
    return packaged if packaged.is_dir() else _PACKAGE.parent / "scenarios"


def builtin_names(kind: Kind) -> list[str]:
    """Names that can be used instead of a path."""
    return sorted(path.stem for path in (data_folder() / kind).iterdir() if path.is_file())


def find(kind: Kind, reference: str, base: Path) -> Path:
    """The file that `reference` means: a path (relative to `base`) or a built-in name. Raises InputError."""
    path = builtin_or_path(reference, base)
    if path is not None:
        if not path.is_file():
            raise InputError("is a folder, expected a file" if path.is_dir() else "no such file", path=path)
        return path
    for built_in in (data_folder() / kind).iterdir():
        if built_in.stem == reference:
            return built_in
    if reference and (base / reference).is_dir():
        raise InputError("is a folder, expected a file", path=base / reference)
    names = builtin_names(kind)
    near = difflib.get_close_matches(reference, names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"built in: {', '.join(names)}"
    raise InputError(f"{reference!r} is neither a path nor a built-in name of {kind}; {hint}")


def load_value_set(path: Path) -> ValueSet:
    """A value set from .toml, .yaml or .json. Raises InputError."""
    return parse(read_document(path), ValueSet)


class _LibraryFile(Record):
    """The envelope of a library that is one document; a .jsonl library has a scenario a line and none of this."""

    value_set: str | None = None
    scenarios: list[Any] = Field(min_length=1)


def load_library(path: Path, value_set: ValueSet | None = None) -> tuple[Scenario, ...]:
    """The scenarios of a library (.jsonl, .yaml, .toml, .json), in the order of the file.

    Raises InputError, with line and key, where a scenario is not valid, has an id that another one has, or names a value
    that is not in `value_set`.
    """
    scenarios: dict[str, Scenario] = {}
    lines: dict[str, int] = {}
    problems: list[str] = []
    for entry in _entries(path, value_set):
        try:
            if isinstance(entry, InputError):
                raise entry
            document, data, at = entry
            scenario = parse(document, Scenario, data, at)
            _check_values(scenario, value_set, document, at)
            if scenario.id in scenarios:
                first = f", first on line {lines[scenario.id]}" if scenario.id in lines else ""
                raise InputError(f"id {scenario.id!r} is used twice{first}", path=path, line=document.line([*at, "id"]))
        except InputError as error:
            problems.append(str(error))
            if len(problems) == MOST_ERRORS:
                problems.append(f"{path}: stopped after {MOST_ERRORS} scenarios with problems; there may be more")
                break
            continue
        scenarios[scenario.id] = scenario
        if not at:
            lines[scenario.id] = document.first_line
    if problems:
        raise InputError("\n".join(problems))
    if not scenarios:
        raise InputError("holds no scenario", path=path)
    return tuple(scenarios.values())


def check_output(path: Path) -> None:
    """Raises InputError where a library could not be written there, before anything is paid for."""
    if path.suffix != ".jsonl":
        raise InputError(f"-o: expected a .jsonl file, got {str(path)!r}")
    if not path.parent.is_dir():
        raise InputError(f"-o: there is no folder {str(path.parent)!r}")
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise InputError("-o: cannot be written", path=path)


def write_library(path: Path, scenarios: Iterable[Scenario]) -> None:
    """Write a .jsonl library, whole or not at all. Raises InputError where it cannot be written."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("w", encoding="utf-8") as file:
            for scenario in scenarios:
                file.write(redact(json.dumps(scenario.to_json(), ensure_ascii=False)) + "\n")
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise InputError(f"cannot be written: {error.strerror}", path=path) from None


def _check_values(scenario: Scenario, value_set: ValueSet | None, document: Document, at: Key) -> None:
    for side in ("value_a", "value_b"):
        name = getattr(scenario, side)
        if value_set is not None and name not in value_set.names:
            raise InputError(
                f"{side}: {name!r} is not in the value set {value_set.name!r} ({', '.join(value_set.names)})",
                path=document.path,
                line=document.line([*at, side]),
            )


def _entries(path: Path, value_set: ValueSet | None) -> Iterator[tuple[Document, Any, Key] | InputError]:
    """Each scenario of a library: the document it stands in, its data, and its key there; or why it cannot be read."""
    if path.suffix == ".jsonl":
        for document in read_lines(path):
            yield document if isinstance(document, InputError) else (document, document.data, ())
    else:
        document = read_document(path)
        library = parse(document, _LibraryFile)
        if value_set is not None and library.value_set not in (None, value_set.name):
            raise InputError(
                f"value_set: the library is for {library.value_set!r}, not for {value_set.name!r}",
                path=path,
                line=document.line(["value_set"]),
            )
        for index, data in enumerate(library.scenarios):
            yield document, data, ("scenarios", index)
