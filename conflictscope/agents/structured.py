"""Typed output: how it is asked for, how it is found in what real models send, and how they are asked once more.

Real models think aloud, explain themselves, put fences around JSON, call a tool where none was asked for and answer in
prose where one was. All of that is looked through. What is not looked through is doubt: a reply whose JSON objects
disagree, or one of whose objects is broken or does not fit, has no reading, whatever else stands in it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any, ClassVar, Literal, TypeVar, assert_never

from pydantic import BaseModel, ValidationError
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelRequestPart,
    ModelResponse,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.output import OutputObjectDefinition
from pydantic_ai.tools import ToolDefinition
from pydantic_core import ErrorDetails

from conflictscope.agents.replies import check_finished, text_in
from conflictscope.documents import explain
from conflictscope.errors import CallFailed
from conflictscope.ports import OutputMode

T = TypeVar("T", bound=BaseModel)

# A thinking block, the end of one whose beginning the model's chat template swallowed, or what can only be an object.
_MARK = re.compile(
    r"""(?P<thinking><think(?:ing)?>) | (?P<thought></think(?:ing)?>) | (?P<object>\{(?=\s*(?:["']|\w+\s*:)))""",
    re.IGNORECASE | re.VERBOSE,
)
_THOUGHT = re.compile("</think(?:ing)?>", re.IGNORECASE)


Problem = Literal["prose", "broken", "missing", "too_long", "count", "other_pair", "invalid"]
"""What is wrong with a reply.

prose: no JSON object in it. broken: half of one, or one that is no JSON. missing: a field is not there. too_long: a field is
over its bound. count: not as many as were asked for. other_pair: of other values, or another template. invalid: anything else.
"""


class Unreadable(ValueError):
    """A reply that has no reading of the asked shape; the message says why, in words that its author can act on.

    problems: each kind once. kind: of the CallFailed that it becomes where the model was asked again in vain.
    """

    kind: ClassVar[str] = "unparsed"

    def __init__(self, message: str, *problems: Problem) -> None:
        super().__init__(message)
        self.problems = tuple(dict.fromkeys(problems))


@cache
def typed(schema: type[BaseModel], mode: OutputMode) -> ModelRequestParameters:
    """How to ask for an object of a shape: natively, by a tool that must be called, or by words in the instructions."""
    shape = schema.model_json_schema()
    match mode:
        case "native" | "prompted":
            output = OutputObjectDefinition(json_schema=shape, name=schema.__name__, strict=True)
            return ModelRequestParameters(output_mode=mode, output_object=output)
        case "tool":
            tool = ToolDefinition(
                name=schema.__name__, parameters_json_schema=shape, description=schema.__doc__, kind="output"
            )
            return ModelRequestParameters(output_mode=mode, output_tools=[tool], allow_text_output=False)
        case _:
            assert_never(mode)


def read(response: ModelResponse, schema: type[T]) -> T:
    """The one object of a shape that a reply holds, in its text or in the arguments of a tool call.

    schema: its fields have lower-case names. Raises Unreadable where there is none, or are several that differ, or one
    that has fields of the shape and does not fit it; CallFailed for a reply that was cut, filtered or is empty.
    """
    check_finished(response)
    texts = [*filter(None, [text_in(response)]), *(_arguments(call) for call in _calls(response))]
    if not texts:
        raise CallFailed("empty", "neither text nor a tool call in the reply")
    try:
        objects = [item for text in texts for item in _objects(text)]
        found = [fit(schema, item) for item in _looking_like(schema, objects)]
        differ = any(other != found[0] for other in found)
    except RecursionError:
        raise _too_deep() from None
    if not found:
        told = f"there is no JSON object with {', '.join(schema.model_fields)} in it"
        raise Unreadable(told, "missing" if objects else "prose")
    if differ:
        raise Unreadable("it holds JSON objects that say different things; send one", "invalid")
    return found[0]


def fit(schema: type[T], item: object) -> T:
    """An item of a reply in the given shape. Raises Unreadable that names each field that does not fit."""
    try:
        try:
            return schema.model_validate(item)
        except ValidationError as error:
            details = error.errors(include_url=False)
            told = "; ".join(explain(detail, schema) for detail in details)
    except RecursionError:
        raise _too_deep() from None
    raise Unreadable(told, *map(_problem, details))


def _too_deep() -> Unreadable:
    return Unreadable("its JSON is nested too deeply", "broken")


def _problem(detail: ErrorDetails) -> Problem:
    if detail["type"] == "string_too_long":
        return "too_long"
    return "missing" if detail["type"] == "missing" or detail["input"] is None else "invalid"


def ask_again(reply: ModelResponse, problem: str, mode: OutputMode, instructions: str | None) -> list[ModelMessage]:
    """What a conversation goes on with after a reply that has no reading: that reply, and what is wrong with it."""
    told = f"That reply does not have the required shape: {problem}\n"
    calls = _calls(reply)
    if mode != "tool":
        # A call in the history needs its tool in the request, and there is none: replayed as text it needs nothing.
        said = ModelResponse(parts=[TextPart(verbatim(reply))]) if calls else reply
        complaint = UserPromptPart(f"{told}Reply again, with the JSON object alone.")
        return [said, ModelRequest(parts=[complaint], instructions=instructions)]
    told += "Call the tool again, with all of its arguments."
    parts: list[ModelRequestPart] = [
        ToolReturnPart(call.tool_name, told, call.tool_call_id, outcome="retried") for call in calls
    ]
    return [reply, ModelRequest(parts=parts or [UserPromptPart(told)], instructions=instructions)]


def verbatim(response: ModelResponse) -> str:
    """All that a reply says, as it came: its text, then the arguments of its tool calls."""
    texts = [part.content for part in response.parts if isinstance(part, TextPart)]
    return "\n".join([*texts, *(_arguments(call) for call in _calls(response))])


def _calls(response: ModelResponse) -> list[ToolCallPart]:
    return [part for part in response.parts if isinstance(part, ToolCallPart)]


def _arguments(call: ToolCallPart) -> str:
    arguments = call.args or {}
    return arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)


def _folded(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object that JSON pairs make, keys in lower case. Raises ValueError where a key stands twice: no last one wins."""
    made = {key.strip().casefold(): value for key, value in pairs}
    if len(made) < len(pairs):
        raise ValueError("a key stands twice in it")
    return made


_DECODER = json.JSONDecoder(object_pairs_hook=_folded)


def _objects(text: str) -> list[dict[str, Any]]:
    """The outermost JSON objects in a text, outside of thinking. Raises Unreadable where one is broken."""
    found: list[dict[str, Any]] = []
    broken: str | None = None
    position = 0
    while mark := _MARK.search(text, position):
        position = mark.end()
        if mark["object"]:
            try:
                decoded, position = _DECODER.raw_decode(text, mark.start())
                found.append(decoded)
            except ValueError as error:
                broken = broken or str(error)  # what follows may only be the inside of the first
        elif mark["thinking"]:
            end = _THOUGHT.search(text, position)
            position = end.end() if end else len(text)
        else:
            found, broken = [], None
    if broken:  # what is inside of it, or beside it, may be anything: an example, a draft, the opposite
        raise Unreadable(f"it holds a JSON object that cannot be read: {broken}", "broken")
    return found


def _looking_like(schema: type[BaseModel], found: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Objects that have a field of the shape, and those inside of wrappers that have none."""
    rest: list[Any] = list(found)
    while rest:
        item = rest.pop()
        if isinstance(item, dict):
            if item.keys() & schema.model_fields.keys():
                yield item
            else:
                rest.extend(item.values())
        elif isinstance(item, list):
            rest.extend(item)
