"""What typed replies are made of: lenient about how a thing is said, strict about what would be stored."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict
from pydantic_core import PydanticCustomError

_ACTION = re.compile(r"action[\s_-]*([12])", re.IGNORECASE)


class Reply(BaseModel):
    """Base of every typed reply.

    Its schema is one that every service's strict mode takes: all fields required, no other keys, no bounds. What comes may
    still have more keys, and is held to bounds by validators that the schema does not show.
    """

    model_config = ConfigDict(json_schema_extra={"additionalProperties": False})


def plain_label(said: object) -> object:
    """A label however it is spelled: "ACTION 1" is `action_1`. What names no one label stays as it is."""
    if not isinstance(said, str):
        return said
    action = _ACTION.fullmatch(said.strip())
    return f"action_{action[1]}" if action else said.strip().casefold()


def in_one_line(text: str) -> str:
    """A text with its blanks and line breaks as single blanks."""
    return " ".join(text.split())


def _clean(said: str) -> str:
    """Text without line ends of other systems. Raises ValueError for what no reader should meet: NUL, escape sequences."""
    text = said.replace("\r\n", "\n").replace("\r", "\n")
    for ch in text:
        if ch not in "\n\t" and unicodedata.category(ch) in ("Cc", "Cs"):  # controls, and halves of a character
            raise ValueError(f"holds the control character U+{ord(ch):04X}")
    return text


def _text(longest: int, *, fewest: int = 1) -> Callable[[str], str]:
    """A validator: clean text of `fewest`..`longest` characters, without blanks around it. What is longer is refused, not cut."""

    def checked(said: str) -> str:
        text = said.rstrip().lstrip("\r\n")  # the first line may be indented, as code is
        if len(text) < fewest:
            raise PydanticCustomError("missing", "must not be empty")
        if len(text) > longest:
            context = {"length": len(text), "longest": longest}
            raise PydanticCustomError("string_too_long", "{length} characters, at most {longest} are allowed", context)
        return _clean(text)

    return checked


YesNo = Annotated[bool, BeforeValidator(lambda said: said.strip() if isinstance(said, str) else said)]
Title = Annotated[str, AfterValidator(_text(40)), AfterValidator(in_one_line)]
"""A few words, in one line."""
Sentence = Annotated[str, AfterValidator(_text(1_000)), AfterValidator(in_one_line)]
"""A few sentences at the most, in one line."""
Paragraph = Annotated[str, AfterValidator(_text(4_000))]
"""A few paragraphs at the most."""
OptionalPage = Annotated[
    str, AfterValidator(_text(12_000, fewest=0)), BeforeValidator(lambda said: "" if said is None else said)
]
"""Some pages at the most, or nothing."""
