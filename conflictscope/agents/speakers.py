"""How a role speaks: straight through a lane, or through a user's own pydantic-ai Agent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, cast

from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.capabilities import AgentCapability, ReinjectSystemPrompt
from pydantic_ai.exceptions import ContentFilterError, UnexpectedModelBehavior
from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, TextPart, UserPromptPart
from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.models.wrapper import WrapperModel
from pydantic_ai.settings import ModelSettings, merge_model_settings
from pydantic_ai.toolsets import AbstractToolset

from conflictscope.agents.replies import check_finished, text_of
from conflictscope.agents.structured import Unreadable, ask_again, read, typed, verbatim
from conflictscope.errors import CallFailed, ConflictScopeError
from conflictscope.outcome import Role
from conflictscope.ports import Call, Lane, Turn
from conflictscope.redaction import redact
from conflictscope.services import RoleSettings

T = TypeVar("T", bound=BaseModel)
_TEXT = ModelRequestParameters()
_DEFAULTS = RoleSettings()


@dataclass(frozen=True, slots=True)
class Utterance:
    """What is asked of a speaker.

    scope, target: as in Turn. history: texts of the conversation from the speaker's own side, the other's and its own in
    turn; the first and the last are the other's. seed: derived from the episode, for the request. turn: of an episode. look: of a
    judge that looks several times, which of them this is, from 1.
    """

    scope: str
    target: str | None
    role: Role
    prompt: str
    instructions: str | None
    history: Sequence[str]
    seed: int
    turn: Turn | None = None
    look: int = 1

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

    def call(
        self,
        messages: list[ModelMessage],
        settings: ModelSettings,
        parameters: ModelRequestParameters,
        *,
        batch: bool = False,
    ) -> Call:
        """A call that asks for it."""
        return Call(self.scope, self.target, self.role, self.prompt, messages, settings, parameters, batch)


def request_settings(settings: RoleSettings, seed: int) -> ModelSettings:
    """What is sent with a request of a role; `seed` is the one derived for it."""
    sent = ModelSettings(max_tokens=settings.max_tokens)
    if settings.temperature is not None:
        sent["temperature"] = settings.temperature
    if settings.thinking is not None:
        sent["thinking"] = settings.thinking
    if settings.seed is not False:
        sent["seed"] = seed if settings.seed is True else settings.seed
    return sent


class Speaker(Protocol):
    """Says text, or decides something typed."""

    async def say(self, utterance: Utterance) -> str:
        """A reply in prose. Raises CallFailed."""
        ...

    async def decide(
        self,
        utterance: Utterance,
        schema: type[T],
        *,
        vet: Callable[[T], object] | None = None,
        problems: Counter[str] | None = None,
    ) -> T:
        """A reply of the given shape. Raises CallFailed.

        vet: raises Unreadable for a reply that has the shape and is still not what was asked for. problems: counts the replies
        that had no reading, or were not what was asked for, by what was wrong with them.
        """
        ...


def _approved(said: T, vet: Callable[[T], object] | None) -> T:
    if vet is not None:
        vet(said)
    return said


def _count(error: Unreadable, problems: Counter[str] | None) -> None:
    if problems is not None:
        problems.update(error.problems)


@dataclass(frozen=True, slots=True)
class LeanSpeaker:
    """A plain role on `pydantic_ai.direct`: one request a reply, without the machinery of an agent run.

    batch: as in Call. extra: what is sent beside the role's settings.
    """

    lane: Lane
    settings: RoleSettings = _DEFAULTS
    batch: bool = False
    extra: ModelSettings = field(default_factory=ModelSettings)

    async def say(self, utterance: Utterance) -> str:
        """A reply in prose."""
        return text_of(await self._request(utterance, utterance.messages(), _TEXT))

    async def decide(
        self,
        utterance: Utterance,
        schema: type[T],
        *,
        vet: Callable[[T], object] | None = None,
        problems: Counter[str] | None = None,
    ) -> T:
        """A reply of the given shape; one that cannot be read is sent back once with what is wrong with it."""
        mode = self.lane.output_mode
        parameters = typed(schema, mode)
        messages = utterance.messages()
        reply = await self._request(utterance, messages, parameters)
        try:
            return _approved(read(reply, schema), vet)
        except Unreadable as error:
            _count(error, problems)
            messages = [*messages, *ask_again(reply, str(error), mode, utterance.instructions)]
        reply = await self._request(utterance, messages, parameters)
        try:
            return _approved(read(reply, schema), vet)
        except Unreadable as error:
            _count(error, problems)
            told = f"no valid {schema.__name__} in two replies: {error}\nThe second reply:\n{verbatim(reply)}"
            raise CallFailed(error.kind, told) from error

    async def _request(
        self, utterance: Utterance, messages: list[ModelMessage], parameters: ModelRequestParameters
    ) -> ModelResponse:
        settings = merge_model_settings(request_settings(self.settings, utterance.seed), self.extra)
        assert settings is not None
        return await self.lane.request(utterance.call(messages, settings, parameters, batch=self.batch))


@dataclass(frozen=True, slots=True)
class AgentSpeaker:
    """A user's own Agent, with its tools and capabilities; each of its model requests goes through the lane.

    The agent's own settings hold where the sweep file leaves its role's at the defaults. toolsets, capabilities: beside its own.
    """

    lane: Lane
    agent: Agent[Any, Any]
    settings: RoleSettings = _DEFAULTS
    toolsets: Sequence[AbstractToolset[Any]] = ()
    capabilities: Sequence[AgentCapability[Any]] = ()

    async def say(self, utterance: Utterance) -> str:
        """The agent's final output, which must be text."""
        output = await self._run(utterance, None)
        if not isinstance(output, str):
            raise CallFailed("agent", f"expected an agent that answers in text, got a {type(output).__name__}")
        if not output.strip():
            raise CallFailed("empty", "no text in the agent's answer")
        return redact(output.strip())  # it may be a tool's word, which no lane has seen

    async def decide(
        self,
        utterance: Utterance,
        schema: type[T],
        *,
        vet: Callable[[T], object] | None = None,
        problems: Counter[str] | None = None,
    ) -> T:
        """The agent's final output, of the given shape; asking again is the agent's own business, and not counted."""
        output = await self._run(utterance, schema)
        assert isinstance(output, schema)
        try:
            return _approved(output, vet)
        except Unreadable as error:
            _count(error, problems)
            raise CallFailed(error.kind, f"the agent's {schema.__name__} is not what was asked for: {error}") from error

    async def _run(self, utterance: Utterance, schema: type[T] | None) -> Any:
        *history, last = utterance.messages()
        assert isinstance(last, ModelRequest)
        model = _LaneModel(self.lane, self.settings, utterance)
        try:
            result = await self.agent.run(
                utterance.history[-1],
                message_history=history,
                instructions=utterance.instructions,
                output_type=schema,
                model=model,
                toolsets=self.toolsets or None,
                # The history is made of texts, without the agent's own prompt.
                capabilities=[ReinjectSystemPrompt(), *self.capabilities],
                infer_name=False,
            )
        except ConflictScopeError:
            raise
        except ContentFilterError as error:
            raise CallFailed("refused", redact(str(error))) from error
        except Exception as error:  # a user's tool may raise anything; it fails this episode, not the sweep
            if isinstance(error, UnexpectedModelBehavior) and model.last_reply is not None:
                check_finished(model.last_reply)
            raise CallFailed("agent", redact(f"{type(error).__name__}: {error}")) from error
        check_finished(result.response)
        return result.output


class _LaneModel(WrapperModel):
    """The model that an Agent sees: every request becomes a call on the lane, under the utterance that caused it."""

    def __init__(self, lane: Lane, settings: RoleSettings, utterance: Utterance) -> None:
        super().__init__(lane.model)
        self._lane = lane
        self._role = settings
        self._utterance = utterance
        self.last_reply: ModelResponse | None = None

    async def request(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> ModelResponse:
        settings = self._with_ours(merge_model_settings(self.wrapped.settings, model_settings) or {})
        call = self._utterance.call(messages, settings, model_request_parameters)
        self.last_reply = await self._lane.request(call)
        return self.last_reply

    def _with_ours(self, own: ModelSettings) -> ModelSettings:
        """The agent's own settings over our defaults, and what the sweep file sets over the agent's own."""
        ours = request_settings(self._role, self._utterance.seed)
        explicit = {name: value for name, value in ours.items() if name in self._role.model_fields_set}
        merged = {**ours, **own, **explicit}
        if self._role.seed is False:
            merged.pop("seed", None)
        return cast(ModelSettings, merged)

    def request_stream(self, *_: Any, **__: Any) -> Any:
        """Refused: a stream would go past the journal."""
        raise CallFailed("agent", "an agent that streams its requests (an event stream handler) cannot be journaled")


def speaker(
    lane: Lane,
    settings: RoleSettings,
    agent: Agent[Any, Any] | None,
    *,
    batch: bool = False,
    extra: ModelSettings | None = None,
) -> LeanSpeaker | AgentSpeaker:
    """The speaker for a role: the user's agent where there is one, else the lean one, which may speak in batches."""
    if agent is not None:
        return AgentSpeaker(lane, agent, settings)
    return LeanSpeaker(lane, settings, batch, extra or ModelSettings())


def agent_model(agent: Agent[Any, Any]) -> Model | str | None:
    """The model that an agent was made with."""
    model = agent.model
    return model if isinstance(model, Model | str) or model is None else str(model)
