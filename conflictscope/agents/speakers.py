"""How a role speaks: straight through a lane, or through a user's own pydantic-ai Agent."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_ai import Agent
from pydantic_ai.capabilities import ReinjectSystemPrompt
from pydantic_ai.exceptions import ContentFilterError
from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, TextPart, UserPromptPart
from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.models.wrapper import WrapperModel
from pydantic_ai.output import OutputObjectDefinition
from pydantic_ai.settings import ModelSettings

from conflictscope.errors import CallFailed, ConflictScopeError
from conflictscope.outcome import Role
from conflictscope.ports import Call, Lane

T = TypeVar("T", bound=BaseModel)
_TEXT = ModelRequestParameters()
_CODE_FENCE = re.compile(r"\A\s*```[a-z]*\n(.*?)\n?```\s*\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Utterance:
    """What is asked of a speaker.

    history: texts of the conversation from the speaker's own side, the other's and its own in turn; the first and the
    last are the other's. seed: sent to models that take one.
    """

    scope: str
    role: Role
    prompt: str
    instructions: str | None
    history: Sequence[str]
    seed: int

    def messages(self) -> list[ModelMessage]:
        """The history as pydantic-ai has it; the instructions ride on the last request."""
        messages: list[ModelMessage] = [
            ModelResponse(parts=[TextPart(text)]) if number % 2 else ModelRequest(parts=[UserPromptPart(text)])
            for number, text in enumerate(self.history)
        ]
        last = messages[-1]
        assert isinstance(last, ModelRequest), "the last text of a history is the other side's"
        last.instructions = self.instructions
        return messages

    def call(self, messages: list[ModelMessage], parameters: ModelRequestParameters) -> Call:
        """The call that asks for it."""
        return Call(self.scope, self.role, self.prompt, messages, ModelSettings(seed=self.seed), parameters)


class Speaker(Protocol):
    """Says text, or decides something typed."""

    async def say(self, utterance: Utterance) -> str:
        """A reply in prose. Raises CallFailed."""
        ...

    async def decide(self, utterance: Utterance, schema: type[T]) -> T:
        """A reply of the given shape. Raises CallFailed."""
        ...


@dataclass(frozen=True, slots=True)
class LeanSpeaker:
    """A plain role on `pydantic_ai.direct`: one request a reply, without the machinery of an agent run."""

    lane: Lane

    async def say(self, utterance: Utterance) -> str:
        """A reply in prose."""
        return text_of(await self.lane.request(utterance.call(utterance.messages(), _TEXT)))

    async def decide(self, utterance: Utterance, schema: type[T]) -> T:
        """A reply of the given shape; one that does not fit is sent back once with what is wrong with it."""
        parameters = _typed(schema, native=bool(self.lane.model.profile.get("supports_json_schema_output")))
        messages = utterance.messages()
        reply = await self.lane.request(utterance.call(messages, parameters))
        try:
            return _parse(text_of(reply), schema)
        except ValidationError as error:
            complaint = (
                f"That reply does not fit the required shape:\n{error}\nReply again, with the JSON object alone."
            )
        again = ModelRequest(parts=[UserPromptPart(complaint)], instructions=utterance.instructions)
        reply = await self.lane.request(utterance.call([*messages, reply, again], parameters))
        try:
            return _parse(text_of(reply), schema)
        except ValidationError as error:
            raise CallFailed("unparsed", f"no valid {schema.__name__} in two replies: {error}") from error


@dataclass(frozen=True, slots=True)
class AgentSpeaker:
    """A user's own Agent, with its tools and capabilities; each of its model requests goes through the lane."""

    lane: Lane
    agent: Agent[Any, Any]

    async def say(self, utterance: Utterance) -> str:
        """The agent's final output, which must be text."""
        output = await self._run(utterance, None)
        if not isinstance(output, str):
            raise CallFailed("agent", f"expected an agent that answers in text, got a {type(output).__name__}")
        if not output.strip():
            raise CallFailed("empty", "no text in the agent's answer")
        return output.strip()

    async def decide(self, utterance: Utterance, schema: type[T]) -> T:
        """The agent's final output, of the given shape."""
        output = await self._run(utterance, schema)
        assert isinstance(output, schema)
        return output

    async def _run(self, utterance: Utterance, schema: type[T] | None) -> Any:
        *history, last = utterance.messages()
        assert isinstance(last, ModelRequest)
        try:
            result = await self.agent.run(
                utterance.history[-1],
                message_history=history,
                instructions=utterance.instructions,
                output_type=schema,
                model=_LaneModel(self.lane, utterance),
                model_settings=ModelSettings(seed=utterance.seed),
                capabilities=[ReinjectSystemPrompt()],  # the history is made of texts, without the agent's own prompt
                infer_name=False,
            )
        except ConflictScopeError:
            raise
        except ContentFilterError as error:
            raise CallFailed("refused", str(error)) from error
        except Exception as error:  # a user's tool may raise anything; it fails this episode, not the sweep
            raise CallFailed("agent", f"{type(error).__name__}: {error}") from error
        _check_finished(result.response)
        return result.output


class _LaneModel(WrapperModel):
    """The model that an Agent sees: every request becomes a call on the lane, under the utterance that caused it."""

    def __init__(self, lane: Lane, utterance: Utterance) -> None:
        super().__init__(lane.model)
        self._lane = lane
        self._utterance = utterance

    async def request(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> ModelResponse:
        u = self._utterance
        call = Call(u.scope, u.role, u.prompt, messages, model_settings or ModelSettings(), model_request_parameters)
        return await self._lane.request(call)

    def request_stream(self, *_: Any, **__: Any) -> Any:
        """Refused: a stream would go past the journal."""
        raise CallFailed("agent", "an agent that streams its requests (an event stream handler) cannot be journaled")


def speaker(lane: Lane, agent: Agent[Any, Any] | None) -> Speaker:
    """The speaker for a role: the user's agent where there is one, else the lean one."""
    return LeanSpeaker(lane) if agent is None else AgentSpeaker(lane, agent)


def agent_model(agent: Agent[Any, Any]) -> Model | str | None:
    """The model that an agent was made with."""
    model = agent.model
    return model if isinstance(model, Model | str) or model is None else str(model)


def text_of(response: ModelResponse) -> str:
    """The text of a reply. Raises CallFailed for a reply that was filtered, cut by the token limit, or empty."""
    _check_finished(response)
    text = "".join(part.content for part in response.parts if isinstance(part, TextPart)).strip()
    if not text:
        raise CallFailed("empty", "no text in the reply")
    return text


def _check_finished(response: ModelResponse) -> None:
    if response.finish_reason == "content_filter":
        raise CallFailed("refused", "stopped by the provider's content filter")
    if response.finish_reason == "length":
        raise CallFailed("truncated", "cut by the token limit")


@cache
def _typed(schema: type[BaseModel], *, native: bool) -> ModelRequestParameters:
    """Ask for JSON of a shape: natively where the model can, else by words that pydantic-ai adds to the instructions."""
    output = OutputObjectDefinition(json_schema=schema.model_json_schema(), name=schema.__name__, strict=True)
    return ModelRequestParameters(output_mode="native" if native else "prompted", output_object=output)


def _parse(text: str, schema: type[T]) -> T:
    fenced = _CODE_FENCE.match(text)
    return schema.model_validate_json(fenced[1] if fenced else text)
