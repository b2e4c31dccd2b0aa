"""Value sets from prose: the criteria of a file, values by plain splitting, and a value set as a file for people."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import tomli_w
from pydantic import ValidationError

from conflictscope.documents import explain, read_document, read_text
from conflictscope.errors import InputError
from conflictscope.values import Value, ValueSet

_MOST = 500  # criteria: 124,750 pairs of values
_TEXT = (".txt", ".md", ".markdown")
_BULLET = re.compile(r"(?:[-*+•]|\d+[.)])\s+(?=\S)")
_LABEL = re.compile(r"^criterion\s+\d+[^:]{0,60}:\s*", re.IGNORECASE)
_NAME_WORDS = 3
_LONGEST_WORD = 24
# Words that say nothing of which value it is; words that stand in many criteria of a file are left out besides.
_SAYS_NOTHING = frozenset(
    re.findall(
        r"\w+",
        """
        a am an and any are as at be because been being but by can could do does for from has have how i if in into is
        it its me my of on or other others our own should so such than that the their them these they this those to
        toward towards us was we were what when where which while who whom will with would you your action ai always
        answer answers assistant best better choose clear clearly criteria criterion following good ideally implies
        indicates like likely model more most option please prefer preferred rather really response responses seem seems
        select something strive strives thats very way ways
        """,
    )
)
# They turn what follows around, so they stay however many criteria have them.
_TURNS = frozenset(("avoid", "avoids", "least", "less", "never", "no", "not", "without"))


def read_criteria(path: Path) -> tuple[str, ...]:
    """The criteria of a JSON list of sentences, or of a text (.txt, .md): its bullets where it has any, else its lines.

    Headings of a text are left out, as is what numbers a criterion ("3.", "Criterion 3 for Kindness:"). At least 2 and at most
    500, each another one; white space is made one space. Raises InputError.
    """
    found: list[str] = []
    lines: dict[str, int] = {}
    for line, text in _sentences(path):
        criterion = _LABEL.sub("", " ".join(text.split()))
        odd = next((ch for ch in criterion if unicodedata.category(ch) in ("Cc", "Cs")), None)
        if odd is not None:
            raise InputError(f"a criterion holds the control character U+{ord(odd):04X}", path=path, line=line)
        if not criterion:
            raise InputError("a criterion is empty", path=path, line=line)
        if criterion in lines:
            raise InputError(f"the same criterion as on line {lines[criterion]}", path=path, line=line)
        lines[criterion] = line
        found.append(criterion)
    if not found:
        raise InputError("holds no criterion", path=path)
    if len(found) == 1:
        raise InputError("holds one criterion only; it takes two values for a conflict", path=path)
    if len(found) > _MOST:
        pairs = len(found) * (len(found) - 1) // 2
        raise InputError(f"at most {_MOST} criteria, got {len(found):,}, which would be {pairs:,} pairs", path=path)
    return tuple(found)


def _sentences(path: Path) -> Iterator[tuple[int, str]]:
    """What stands in the file, with the line on which each begins. Raises InputError."""
    if path.suffix == ".json":
        document = read_document(path)
        if not isinstance(document.data, list):
            raise InputError("expected a JSON list of sentences", path=path)
        for index, item in enumerate(document.data):
            line = document.line([index]) or 1
            if not isinstance(item, str):
                raise InputError(f"[{index}]: expected a sentence, got {type(item).__name__}", path=path, line=line)
            yield line, item
    elif path.suffix in _TEXT:
        yield from _paragraphs(read_text(path))
    else:
        raise InputError(f"expected a .json, .txt or .md file, got {path.suffix or 'no ending'}", path=path)


def _paragraphs(text: str) -> list[tuple[int, str]]:
    """The bullets of a text with the indented lines that go on with them; its lines where it has no bullets."""
    bullets: list[tuple[int, str]] = []
    plain: list[tuple[int, str]] = []
    goes_on = False
    for number, line in enumerate(text.split("\n"), start=1):
        bare = line.strip()
        bullet = _BULLET.match(bare)
        if bullet:
            bullets.append((number, bare[bullet.end() :]))
        elif goes_on and bare and line[0].isspace():
            first, so_far = bullets[-1]
            bullets[-1] = (first, f"{so_far} {bare}")
        elif bare and not bare.startswith("#"):
            plain.append((number, bare))
        goes_on = bool(bullet) or (goes_on and bool(bare) and line[0].isspace())
    return bullets or plain


def split_criteria(criteria: Sequence[str]) -> tuple[Value, ...]:
    """A value for each criterion, in their order: the criterion is its definition, its name is made of the first words that tell.

    Names are lower case, joined by dashes, and differ. Raises InputError for a criterion that can be no definition.
    """
    values: dict[str, Value] = {}
    for number, (criterion, words) in enumerate(zip(criteria, telling_words(criteria), strict=True), start=1):
        name = next(name for name in _names(words or [f"value-{number}"]) if name not in values)
        try:
            values[name] = Value(name=name, definition=criterion)
        except ValidationError as error:
            raise InputError(f"criterion {number}: {explain(error.errors()[0], Value)}") from None
    return tuple(values.values())


def telling_words(texts: Sequence[str]) -> list[list[str]]:
    """Of each text, in its order and each once, the words that tell it from the others: no small words, none of a frame.

    A frame is what stands in more than a quarter of the texts, and in more than two of them. Lower case, without accents.
    """
    words = [list(dict.fromkeys(_words(text))) for text in texts]
    spread = Counter(chain.from_iterable(words))
    frame = {word for word, count in spread.items() if count > max(2, len(texts) / 4)} - _TURNS
    return [[word for word in found if word not in frame] for found in words]


def _words(criterion: str) -> list[str]:
    """The words of a criterion in plain lower-case letters, without those that say nothing."""
    ascii_text = unicodedata.normalize("NFKD", criterion).encode("ascii", "ignore").decode().lower()
    words = (word[:_LONGEST_WORD] for word in re.findall(r"[a-z0-9]+", ascii_text.replace("'", "")))
    return [word for word in words if word not in _SAYS_NOTHING]


def _names(telling: Sequence[str]) -> Iterator[str]:
    """Names to try: of three words at first; with another in the place of the last; with a number."""
    stem = "-".join(telling[:_NAME_WORDS])
    yield stem
    for word in telling[_NAME_WORDS:]:
        yield "-".join([*telling[: _NAME_WORDS - 1], word])
    for number in range(2, _MOST + 2):
        yield f"{stem}-{number}"


def value_set_text(value_set: ValueSet, comment: str) -> str:
    """A value set as TOML in the manner of the built-in ones: a comment, then a table for each value."""
    head = value_set.model_dump(exclude={"values"}, exclude_defaults=True)
    tables = [tomli_w.dumps(value.model_dump(exclude_none=True)) for value in value_set.values]
    return f"# {comment}\n{tomli_w.dumps(head)}" + "".join(f"\n[[values]]\n{table}" for table in tables)
