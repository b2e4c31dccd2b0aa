"""Conversations from elsewhere, as JSON or JSON Lines: each becomes an episode that a judge can judge."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from conflictscope.documents import Document, Record, parse, read_document, read_lines
from conflictscope.errors import InputError
from conflictscope.outcome import Group, Message, Mode, Outcome, Role, Side, ToolUse, Verdict
from conflictscope.ports import EpisodeRecord
from conflictscope.redaction import redact
from conflictscope.scenario import Origin, Scenario
from conflictscope.seeds import derive, uniform
from conflictscope.values import Name

CONVERSATION_REQUIRED = (
    "target",
    "scenario_id",
    "value_a",
    "value_b",
    "description",
    "action_a",
    "action_b",
    "messages",
)
CONVERSATION_OPTIONAL = ("steering", "repeat")
CONVERSATION_FILES = (".json", ".jsonl", ".jsonl.gz")
_KEYS = CONVERSATION_REQUIRED + CONVERSATION_OPTIONAL
_SPEAKERS = {
    "user": Role.USER,
    "assistant": Role.TARGET,
    "system": Role.SYSTEM,
    "developer": Role.SYSTEM,
    "tool": Role.TOOL,
}


def _sendable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("holds half of a surrogate pair, which is no text") from None
    return text


_Text = Annotated[str, AfterValidator(_sendable)]


class _Sent(BaseModel):
    """A part of a conversation as OpenAI's chat completions have it; texts stay as they are, and what is not read is left."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class _Function(_Sent):
    name: _Text
    arguments: _Text | dict[str, Any]


class _Call(_Sent):
    id: _Text
    function: _Function

    def read(self) -> ToolUse:
        arguments = self.function.arguments
        told = arguments if isinstance(arguments, str) else json.dumps(arguments)
        return ToolUse(self.id, redact(self.function.name), redact(told))


class _Said(_Sent):
    """One message. name, tool_call_id: of a tool's, which tool it was and which call it answers."""

    role: Literal["user", "assistant", "system", "developer", "tool"]
    content: _Text | None = None
    tool_calls: tuple[_Call, ...] | None = None
    name: _Text | None = None
    tool_call_id: _Text | None = None

    @model_validator(mode="after")
    def _something_is_said(self) -> Self:
        if self.content is None and not (self.role == "assistant" and self.tool_calls):
            raise ValueError(f"a message of the {self.role} has no content")
        if self.tool_calls and self.role != "assistant":
            raise ValueError(f"a message of the {self.role} calls tools; only the assistant does")
        return self

    def read(self) -> Message:
        tools = tuple(call.read() for call in self.tool_calls or ())
        if self.role == "tool":
            tools = (ToolUse(self.tool_call_id or "", redact(self.name or "")),)
        return Message(_SPEAKERS[self.role], redact(self.content or ""), tools)


class _Conversation(Record):
    """What stands in a conversation's place beside the scenario. repeat: 0..10**9."""

    target: Name
    steering: Name | None = None
    repeat: Annotated[int, Field(ge=0, le=10**9)] = 1
    messages: Annotated[tuple[_Said, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _the_target_speaks(self) -> Self:
        if not any(message.role == "assistant" for message in self.messages):
            raise ValueError("the assistant says nothing, so there is nothing to judge")
        return self


@dataclass(frozen=True)
class ConversationFile:
    """Recorded conversations, an object each, read the way their owner says.

    columns: our key -> theirs, where they differ. constants: our key -> one text for every conversation. The messages are those
    of OpenAI's chat completions: `role`, `content`, `tool_calls`, and of a tool `name` and `tool_call_id`.
    """

    path: Path
    columns: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in (*self.columns, *self.constants):
            if name not in _KEYS:
                raise InputError(f"no such column of ours: {name!r}; known: {', '.join(_KEYS)}", path=self.path)

    def episodes(self) -> Iterator[tuple[EpisodeRecord, Scenario]]:
        """The conversations in the order of the file, as episodes that nobody has judged. Raises InputError at a bad one."""
        lines: dict[str, int] = {}
        scenarios: dict[str, tuple[Scenario, int]] = {}
        for document, at in self._documents():
            line = document.line(at) or 0
            ours = self._ours(document, at, line)
            told = {name: ours.pop(name) for name in ("target", "steering", "repeat", "messages") if name in ours}
            own_id = ours.pop("scenario_id")
            ours["id"] = str(own_id) if isinstance(own_id, int) else own_id
            ours["origin"] = Origin(kind="import", source=self.path.name)
            scenario = parse(document, Scenario, ours, at)
            first, first_line = scenarios.setdefault(scenario.id, (scenario, line))
            if first != scenario:
                raise InputError(
                    f"scenario_id: {scenario.id!r} is told otherwise on line {first_line}: a scenario has one description, "
                    "two values and two actions",
                    path=self.path,
                    line=line,
                )
            record = _episode(parse(document, _Conversation, told, at), scenario)
            key = record.outcome.key
            if key in lines:
                raise InputError(
                    f"same target, steering, scenario_id and repeat as line {lines[key]}; "
                    "conversations that repeat an episode need a `repeat`",
                    path=self.path,
                    line=line,
                )
            lines[key] = line
            yield record, scenario

    def _documents(self) -> Iterator[tuple[Document, tuple[int, ...]]]:
        """Each conversation: the document in which it stands, and where."""
        if self.path.suffix == ".json":
            document = read_document(self.path)
            if not isinstance(document.data, list):
                raise InputError("expected a list of conversations", path=self.path)
            yield from ((document, (number,)) for number in range(len(document.data)))
            return
        for line in read_lines(self.path):
            if isinstance(line, InputError):
                raise line
            yield line, ()

    def _ours(self, document: Document, at: tuple[int, ...], line: int) -> dict[str, Any]:
        """One conversation under our names, with the constants."""
        theirs = document.data[at[0]] if at else document.data
        if not isinstance(theirs, dict):
            raise InputError(f"expected an object, got {type(theirs).__name__}", path=self.path, line=line)
        found = {name: theirs[self.columns.get(name, name)] for name in _KEYS if self.columns.get(name, name) in theirs}
        found.update(self.constants)
        missing = [name for name in CONVERSATION_REQUIRED if name not in found]
        if missing:
            raise InputError(
                f"needs the key {missing[0]!r}; it has {', '.join(map(str, theirs))}. Name theirs with "
                f"--column {missing[0]}=THEIRS, or one text for all with --constant {missing[0]}=TEXT",
                path=self.path,
                line=line,
            )
        return found


def _episode(told: _Conversation, scenario: Scenario) -> EpisodeRecord:
    group = Group(told.target, Mode.OPEN_ENDED, told.steering)
    outcome = Outcome(group, scenario.id, told.repeat, scenario.value_a, scenario.value_b, Verdict.UNRESOLVED)
    seed = derive("conversation", outcome.key)
    shown_first: Side = "a" if uniform(seed, "shown_first") < 0.5 else "b"
    transcript = tuple(said.read() for said in told.messages)
    return EpisodeRecord(replace(outcome, shown_first=shown_first), seed, transcript, (), None, 0.0)
