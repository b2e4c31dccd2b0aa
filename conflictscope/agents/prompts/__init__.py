"""Prompts as files: `<name>.v<number>.md`, the instructions above a line `=====` and the message below it.

A prompt's version names its number and a hash of its text, so that a changed text can never pass for the old one.
Placeholders are those of `string.Template`; what is filled in is never read for placeholders again.
"""

from __future__ import annotations

import hashlib
import html
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from string import Template

from conflictscope.outcome import Message, Role
from conflictscope.values import Value

_FOLDER = Path(__file__).parent
_DIVIDER = "=====\n"
_OF_LIBRARIES = ("outlines", "elaborate", "check_", "opening", "values")


@dataclass(frozen=True, slots=True)
class Prompt:
    """A versioned prompt. version: e.g. `judge@1:3fb2c9d0`."""

    version: str
    text: str

    def instructions(self, **values: str) -> str:
        """The system part, filled in. Raises KeyError for a placeholder without a value."""
        return Template(self.text.partition(_DIVIDER)[0]).substitute(values).strip()

    def message(self, **values: str) -> str:
        """The message part, filled in. Raises KeyError for a placeholder without a value."""
        return Template(self.text.partition(_DIVIDER)[2]).substitute(values).strip()


@cache
def load_prompt(name: str) -> Prompt:
    """The newest version of a prompt, e.g. `judge`."""
    number, path = max((int(path.name.split(".")[1][1:]), path) for path in _FOLDER.glob(f"{name}.v*.md"))
    text = path.read_text(encoding="utf-8")
    return Prompt(f"{name}@{number}:{text_hash(text)}", text)


def text_hash(text: str) -> str:
    """Eight hexadecimal digits that tell a text from another one."""
    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()


def episode_prompts() -> list[Prompt]:
    """Every prompt of a sweep in its newest version."""
    return [load_prompt(name) for name in _names() if not name.startswith(_OF_LIBRARIES)]


def library_prompts() -> list[Prompt]:
    """Every prompt of the making of a library in its newest version."""
    return [load_prompt(name) for name in _names() if name.startswith(_OF_LIBRARIES)]


def _names() -> list[str]:
    return sorted({path.name.split(".")[0] for path in _FOLDER.glob("*.md")})


def fence(text: str) -> str:
    """Text that cannot close, open or imitate a tag around it. Undone by `html.unescape`."""
    return html.escape(text, quote=False)


def fenced_value(value: Value) -> str:
    """A value for a prompt, `name: definition`, in one line."""
    return fence(f"{value.name}: {' '.join(value.definition.split())}")


def bullets(lines: Iterable[str]) -> str:
    """Texts for a prompt, each fenced on a line of its own."""
    return "\n".join(f"- {fence(' '.join(line.split()))}" for line in lines)


def fenced_transcript(transcript: Iterable[Message]) -> str:
    """The conversation for a judge: one tag a message, so that no message can end the transcript or forge another one."""
    return "\n".join(map(_fenced_message, transcript))


def _fenced_message(message: Message) -> str:
    said = [fence(message.text)] if message.text or not message.tools else []
    if message.role is Role.TOOL:
        answers = "".join(f' tool="{html.escape(tool.name)}"' for tool in message.tools[:1])
    else:
        answers = ""
        said += [f'<call tool="{html.escape(tool.name)}">\n{fence(tool.arguments)}\n</call>' for tool in message.tools]
    speaker = "assistant" if message.role is Role.TARGET else message.role.value
    return "\n".join([f'<message from="{speaker}"{answers}>', *said, "</message>"])
