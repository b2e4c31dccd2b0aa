"""What the tests of roles share: a model that answers by a script, and the lane to it."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from typing import Any

from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.profiles import ModelProfile

from conflictscope.agents import LeanSpeaker
from conflictscope.arena import Budget, ModelLane
from conflictscope.ports import OutputMode
from tests.arena.lanes.doubles import ONE_TRY, Rows


class Replying:
    """A model that answers with the given texts in turn, and keeps what it was sent."""

    def __init__(self, *replies: str | ModelResponse) -> None:
        self.replies = list(replies)
        self.seen: list[list[ModelMessage]] = []
        self.infos: list[AgentInfo] = []

    async def __call__(self, messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        self.seen.append(list(messages))
        self.infos.append(info)
        reply = self.replies.pop(0)
        return reply if isinstance(reply, ModelResponse) else ModelResponse(parts=[TextPart(reply)])

    def texts(self, request: int = 0) -> list[tuple[str, str]]:
        """What one request showed the model: who said what, from its own side."""
        return [
            ("other" if isinstance(message, ModelRequest) else "self", str(part.content))
            for message in self.seen[request]
            for part in message.parts
        ]


MODES: tuple[OutputMode, ...] = ("native", "tool", "prompted")


def lane(model: Callable[..., Any], profile: ModelProfile | None = None, journal: Rows | None = None) -> ModelLane:
    return ModelLane(FunctionModel(model, model_name="m", profile=profile), journal or Rows(), Budget(None), ONE_TRY)


def answer(mode: OutputMode, fields: object) -> ModelResponse:
    """A typed reply as a model gives it in an output mode."""
    text = fields if isinstance(fields, str) else json.dumps(fields)
    part = ToolCallPart("reply", text, "call_1") if mode == "tool" else TextPart(text)
    return ModelResponse(parts=[part])


def speaker_in(mode: OutputMode, model: Replying) -> LeanSpeaker:
    """A speaker whose model is asked for typed output in this mode."""
    road = lane(model)
    road.output_mode = mode
    return LeanSpeaker(road)


def asked(model: Replying, request: int = 0) -> dict[str, str]:
    """What a request told the model, by tag."""
    (_, text), *_ = model.texts(request)
    return {tag: html.unescape(body) for tag, body in re.findall(r"<(\w+)>\n(.*?)\n</\1>", text, re.DOTALL)}
