"""Reading TOML, YAML, JSON and JSON Lines, with errors that name the file, the line and the key."""

from __future__ import annotations

import difflib
import gzip
import json
import re
import tomllib
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from conflictscope.errors import InputError

_YamlLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
MOST_ERRORS = 20
_DEEPEST = 200

Key = Sequence[str | int]
T = TypeVar("T", bound=BaseModel)


class Record(BaseModel):
    """Base of everything read from a file: immutable, and a key that is not known is an error, not a shrug."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)


@dataclass(frozen=True)
class Document:
    """A parsed file that still knows where its keys stand."""

    path: Path
    text: str
    data: Any
    first_line: int = 1

    def line(self, key: Key) -> int | None:
        """The 1-based line on which `key`, or its nearest parent that exists, stands; None for an unknown place."""
        if self.path.name.endswith((".jsonl", ".jsonl.gz")):
            return self.first_line  # a document a line
        return _toml_line(self.text, key) if self.path.suffix == ".toml" else _yaml_line(self._composed, key)

    @cached_property
    def _composed(self) -> yaml.Node | None:
        """The text as YAML nodes, which know their lines; JSON is close enough to YAML, but for tabs and escapes."""
        text = re.sub(r"\\.", "x", self.text).replace("\t", " ") if self.path.suffix == ".json" else self.text
        try:
            return yaml.compose(text, Loader=_YamlLoader)
        except (yaml.YAMLError, RecursionError):
            return None


def read_document(path: Path) -> Document:
    """Read a .toml, .yaml, .yml or .json file. Raises InputError with the line of a syntax error."""
    text = read_text(path)
    try:
        match path.suffix:
            case ".toml":
                data: Any = tomllib.loads(text)
            case ".yaml" | ".yml":
                data = _load_yaml(text, path)
            case ".json":
                data = json.loads(text, object_pairs_hook=_once_each)
            case other:
                raise InputError(f"expected a .toml, .yaml, .yml or .json file, got {other or 'no ending'}", path=path)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"not valid TOML: {error}", path=path, line=_line_in_message(str(error), text)) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error).partition("\n")[0]
        raise InputError(f"not valid YAML: {problem}", path=path, line=mark.line + 1 if mark else None) from None
    except json.JSONDecodeError as error:
        raise InputError(f"not valid JSON: {error.msg}", path=path, line=error.lineno) from None
    except (RecursionError, ValueError) as error:  # nested a thousand deep; a date that does not exist
        raise InputError(f"cannot be read as {path.suffix[1:]}: {error}", path=path) from None
    return Document(path, text, data)


def _load_yaml(text: str, path: Path) -> Any:
    depth = deepest = 0
    for bracket in re.findall(r"[\[\]{}]", text):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    if deepest > _DEEPEST or f"{'- ' * _DEEPEST}" in text:  # libyaml recurses without a limit, and takes Python down
        raise InputError(f"not valid YAML: nested more than {_DEEPEST} deep", path=path)
    loader = _YamlLoader(text)
    try:
        node = loader.get_single_node()
        _refuse_twins(node, path)
        return None if node is None else loader.construct_document(node)
    finally:
        loader.dispose()


def _refuse_twins(node: yaml.Node | None, path: Path) -> None:
    """YAML and JSON let the last of two equal keys win without a word; we do not."""
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise InputError(f"the key {key.value!r} stands twice", path=path, line=key.start_mark.line + 1)
            seen.add(str(key.value))
            _refuse_twins(value, path)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _refuse_twins(value, path)


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object that JSON pairs make. Raises ValueError where a key stands twice."""
    made = dict(pairs)
    if len(made) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"the key {twice!r} stands twice")
    return made


def read_lines(path: Path) -> Iterator[Document | InputError]:
    """Each non-empty line of a JSON Lines file as a document of its own, or as what is wrong with it."""
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            try:
                yield Document(path, line, json.loads(line, object_pairs_hook=_once_each), first_line=number)
            except json.JSONDecodeError as error:
                yield InputError(f"not valid JSON: {error.msg} at column {error.colno}", path=path, line=number)
            except (RecursionError, ValueError) as error:  # nested a thousand deep; a number of 5,000 digits
                yield InputError(f"not valid JSON: {error}", path=path, line=number)


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, gzipped or not. Raises InputError where it is missing, a folder, unreadable or not UTF-8."""
    try:
        if path.suffix == ".gz":
            with gzip.open(path, "rt", encoding="utf-8-sig") as file:
                return file.read()
        return path.read_text(encoding="utf-8-sig")  # Notepad likes to start a file with a byte order mark
    except FileNotFoundError:
        raise InputError("no such file", path=path) from None
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 text: byte {error.start} is {error.object[error.start]:#04x}", path=path) from None
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"cannot be read: {getattr(error, 'strerror', None) or error}", path=path) from None


_WHOLE: Any = object()


def parse(document: Document, model: type[T], data: Any = _WHOLE, at: Key = ()) -> T:
    """Validate `data` (default: the whole document) as a `model`.

    `at` is the key at which `data` stands in the document. Raises InputError that tells every problem (20 at most),
    each with file, line and key.
    """
    try:
        return model.model_validate(document.data if data is _WHOLE else data)
    except ValidationError as error:
        raise InputError("\n".join(_explain(document, model, error, at))) from None


def _explain(document: Document, model: type[BaseModel], error: ValidationError, at: Key) -> Iterator[str]:
    details = [
        detail
        for detail in error.errors(include_url=False, include_context=True)
        if detail["type"]
        != "default_factory_not_called"  # there is none only because of another problem, which is told
    ]
    # A list that is too short only because its items are bad is no second problem.
    inner = {tuple(detail["loc"][:-1]) for detail in details} | {tuple(detail["loc"][:-2]) for detail in details}
    details = [detail for detail in details if detail["type"] != "too_short" or tuple(detail["loc"]) not in inner]
    for detail in details[:MOST_ERRORS]:
        key = [*at, *(part for part in detail["loc"] if part != "[key]")]
        line = document.line(key)
        where = f"{document.path}:{line}" if line else str(document.path)
        yield f"{where}: {explain(detail, model, at)}"
    if len(details) > MOST_ERRORS:
        yield f"{document.path}: and {len(details) - MOST_ERRORS} more"


def explain(detail: ErrorDetails, model: type[BaseModel], at: Key = ()) -> str:
    """One problem that pydantic found, in words: the key, what was expected, what came."""
    loc = detail["loc"]
    key = dotted([*at, *loc])
    match detail["type"]:
        case "extra_forbidden":
            known = sorted(_fields_at(model, loc[:-1]))
            near = difflib.get_close_matches(str(loc[-1]), known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"
            return f"unknown key {key!r}; {hint}"
        case "model_type" | "model_attributes_type" | "dict_type":
            came = repr(detail["input"])
            told = f"expected keys and values, got {came if len(came) <= 80 else came[:77] + '...'}"
            return f"{key}: {told}" if key else told
        case "tuple_type" | "list_type":
            came = detail["input"]
            section = isinstance(came, dict)
            return f"{key}: expected " + (
                f"[[{key}]], a section for each, got [{key}]" if section else f"a list in brackets, got {came!r}"
            )
        case "string_pattern_mismatch":
            allowed = detail["ctx"]["pattern"]
            return (
                f"{key}: not a name: got {detail['input']!r}, allowed are letters, digits and a few signs ({allowed})"
            )
        case "missing":
            return f"missing key {key!r}"
        case "value_error":
            message = detail["msg"].removeprefix("Value error, ")
            return f"{key}: {message}" if key else message
        case _:
            came = repr(detail["input"])
            told = f"{detail['msg']}, got {came if len(came) <= 80 else came[:77] + '...'}"
            return f"{key}: {told}" if key else told


def dotted(key: Key) -> str:
    """`targets[0].model` for ("targets", 0, "model")."""
    out = ""
    for part in key:
        out += f"[{part}]" if isinstance(part, int) else f".{part}" if out else str(part)
    return out


def _fields_at(model: type[BaseModel], loc: Key) -> list[str]:
    """Names that are allowed at `loc` inside `model`."""
    parts = iter(loc)
    for part in parts:
        if isinstance(part, str) and part in model.model_fields:
            annotation = model.model_fields[part].annotation
            inner = _model_in(annotation)
            if inner is None:
                return []
            if get_origin(annotation) in (dict, Mapping):
                next(parts, None)  # a name that the file chose, not a field
            model = inner
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for arg in get_args(annotation) if (found := _model_in(arg))), None)


def _line_in_message(message: str, text: str) -> int | None:
    """tomllib tells the line only in words: "... (at line 3, column 5)", "... (at end of document)"."""
    if message.endswith("(at end of document)"):
        return text.rstrip("\n").count("\n") + 1
    _, _, tail = message.partition("at line ")
    number = tail.partition(",")[0]
    return int(number) if number.isdigit() else None


def _toml_line(text: str, key: Key) -> int | None:
    """The line on which `key`, or its nearest parent, first exists: where the first prefix of the file holds it.

    tomllib keeps no positions; asking it about prefixes of the file, by bisection, is exact and needs no second parser.
    """
    lines = text.split("\n")

    def prefix(count: int) -> Any:
        """What the first `count` lines say, or None where they end within something."""
        try:
            return tomllib.loads("\n".join(lines[:count]))
        except tomllib.TOMLDecodeError:
            return None

    while key and not _holds(prefix(len(lines)), key):
        key = key[:-1]
    if not key:
        return None
    before, after = 0, len(lines)  # prefixes that can be read: without the key, and with it
    while True:
        middle = (before + after) // 2
        readable = (
            (count, data)
            for count in (*range(middle, before, -1), *range(middle + 1, after))
            if (data := prefix(count)) is not None
        )
        found = next(readable, None)
        if found is None:
            return before + 1
        count, data = found
        before, after = (before, count) if _holds(data, key) else (count, after)


def _holds(data: Any, key: Key) -> bool:
    for part in key:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return False
    return True


def _yaml_line(node: yaml.Node | None, key: Key) -> int | None:
    """The line of `key`, or of its nearest parent that exists."""
    if node is None:
        return None
    line: int = node.start_mark.line
    for part in key:
        if isinstance(node, yaml.MappingNode):
            entry = next(((k, v) for k, v in node.value if k.value == str(part)), None)
            if entry is None:
                break
            line, node = entry[0].start_mark.line, entry[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line
        else:
            break
    return line + 1
