"""Playing behaviours: their hooks around what a role says or decides, each with a deadline and a bound."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NoReturn, ParamSpec, TypeVar

from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai._run_context import RunContext
from pydantic_ai.capabilities import UseThreadExecutor
from pydantic_ai.messages import ModelResponse
from pydantic_ai.models import Model
from pydantic_ai.toolsets import AbstractToolset, ToolsetTool, WrapperToolset

from conflictscope.agents.behaviors.base import Behavior
from conflictscope.agents.behaviors.loading import LoadedBehavior
from conflictscope.agents.judge import ModelJudge
from conflictscope.agents.participants import SimulatedUser, Target
from conflictscope.agents.speakers import AgentSpeaker, LeanSpeaker, Speaker, Utterance
from conflictscope.errors import CallFailed, ConflictScopeError
from conflictscope.outcome import Message, Role
from conflictscope.ports import Call, Lane, OutputMode, Turn
from conflictscope.redaction import redact
from conflictscope.seeds import derive, request_seed

MOST_CHARACTERS = 100_000
"""The longest text that a behaviour may give."""

_MOST_HUNG = 16

T = TypeVar("T", bound=BaseModel)
P = TypeVar("P", SimulatedUser, Target, ModelJudge)
R = TypeVar("R")
A = ParamSpec("A")


class Part:
    """What the behaviours of one role do in one episode.

    Every method raises CallFailed with the kind `behavior` for a behaviour that fails, and passes on what a lane raises.
    """

    def __init__(self, loaded: Sequence[LoadedBehavior], seed: int, max_turns: int) -> None:
        self._acts = [_Act(each, derive(seed, each.name), max_turns) for each in loaded]
        self._role = loaded[0].type.role
        self._heard: Sequence[Message] = ()

    @property
    def names(self) -> str:
        """Of the behaviours."""
        return " + ".join(act.name for act in self._acts)

    @property
    def brings_an_agent(self) -> bool:
        """Whether an Agent plays the role."""
        return any(act.loaded.brings_an_agent for act in self._acts)

    @property
    def timeout_s(self) -> float:
        """The longest of the deadlines."""
        return max(act.loaded.type.timeout_s for act in self._acts)

    def asks(self, speaker: Speaker) -> None:
        """Whom the behaviours ask beside the conversation."""
        for act in self._acts:
            act.speaker = speaker

    async def prepared(self, utterance: Utterance) -> Utterance:
        """What the role is asked, after all changes; what came in is told first."""
        turn = _turn(utterance)
        await self._hear(turn)
        instructions, prompt, history = utterance.instructions or "", utterance.prompt, list(utterance.history)
        for act in self._acts:
            act.look = utterance.look
            instructions = act.text("instructions", await act.call("instructions", instructions, turn), least=0)
            if utterance.role is Role.JUDGE:
                history[-1] = act.text("page", await act.call("page", history[-1], turn))
            prompt += f"+{act.loaded.version}"
        return replace(utterance, instructions=instructions or None, prompt=prompt, history=history)

    async def outgoing(self, message: str, turn: Turn) -> str:
        """The message that is sent."""
        for act in self._acts:
            message = act.text("outgoing", await act.call("outgoing", message, turn))
        return message

    async def stop(self, turn: Turn) -> bool | None:
        """Whether the conversation ends (True), goes on (False), or neither."""
        await self._hear(turn)
        wishes = set()
        for act in self._acts:
            wish = await act.call("stop", turn)
            if wish is not None and not isinstance(wish, bool):
                act.fail("stop", f"returned {_kind(wish)}; expected True, False or None")
            wishes.add(wish)
        return True if True in wishes else False if False in wishes else None

    async def _hear(self, turn: Turn) -> None:
        """Tell of a message that came in, once."""
        if not turn.transcript or turn.transcript[-1].role is self._role or turn.transcript == self._heard:
            return
        self._heard = turn.transcript
        for act in self._acts:
            nothing = await act.call("incoming", turn.transcript[-1].text, turn)
            if nothing is not None:
                act.fail("incoming", f"returned {_kind(nothing)}; expected None, for it rewrites nothing")

    async def agent_speaker(self, plain: LeanSpeaker | AgentSpeaker, lane: Lane) -> AgentSpeaker:
        """The Agent that plays the role, with all toolsets and capabilities."""
        agent: Agent[Any, Any] | None = plain.agent if isinstance(plain, AgentSpeaker) else None
        toolsets: list[AbstractToolset[Any]] = []
        capabilities: list[Any] = [UseThreadExecutor(_DAEMONS)]
        for act in self._acts:
            own = await act.call("agent")
            if own is not None and not isinstance(own, Agent):
                act.fail("agent", f"returned {_kind(own)}; expected a pydantic_ai.Agent or None")
            agent = own or agent
            toolsets += (_Bounded(toolset, act) for toolset in act.sequence("toolsets", await act.call("toolsets")))
            capabilities += act.sequence("capabilities", await act.call("capabilities"))
        return AgentSpeaker(lane, agent or Agent(), plain.settings, toolsets, capabilities)

    @contextmanager
    def waiting(self, patience: Patience) -> Iterator[None]:
        """While an agent plays, what its tools ask of the model stops its clock."""
        for act in self._acts:
            act.patience = patience
        try:
            yield
        finally:
            for act in self._acts:
                act.patience = None


class BehavingSpeaker:
    """Says and decides what `plain` would, with what the behaviours of a part make of it."""

    def __init__(self, plain: LeanSpeaker | AgentSpeaker, part: Part) -> None:
        self._plain = plain
        self._part = part
        part.asks(plain)
        self._agent: AgentSpeaker | None = None
        self._lane = _PausingLane(plain.lane)

    async def say(self, utterance: Utterance) -> str:
        """A reply in prose."""
        utterance = await self._part.prepared(utterance)
        message = await self._ask(lambda speaker: speaker.say(utterance))
        return await self._part.outgoing(message, _turn(utterance))

    async def decide(
        self,
        utterance: Utterance,
        schema: type[T],
        *,
        vet: Callable[[T], object] | None = None,
        problems: Counter[str] | None = None,
    ) -> T:
        """A reply of the given shape."""
        utterance = await self._part.prepared(utterance)
        reply: T = await self._ask(lambda speaker: speaker.decide(utterance, schema, vet=vet, problems=problems))
        return reply

    async def open(self, opening: str, turn: Turn) -> str:
        """What becomes of the opening message that all groups share."""
        return await self._part.outgoing(opening, turn)

    async def stop(self, turn: Turn) -> bool | None:
        """Whether the conversation ends (True), goes on (False), or neither."""
        return await self._part.stop(turn)

    async def _ask(self, ask: Callable[[Speaker], Any]) -> Any:
        if not self._part.brings_an_agent:
            return await ask(self._plain)
        if self._agent is None:
            self._agent = await self._part.agent_speaker(self._plain, self._lane)
        patience = self._lane.patience = Patience(self._part.timeout_s)
        try:
            async with patience.clock:
                with self._part.waiting(patience):
                    reply = await ask(self._agent)
        except TimeoutError:
            if not patience.clock.expired():
                raise
            told = f"its agent took longer than {self._part.timeout_s:g} s over a step of its own"
            raise CallFailed("behavior", f"{self._part.names}: {told}") from None
        except CallFailed as failure:
            if failure.kind != "agent":
                raise
            raise CallFailed("behavior", f"{self._part.names}: {failure.told}") from failure
        if isinstance(reply, str) and len(reply) > MOST_CHARACTERS:
            raise CallFailed("behavior", f"{self._part.names}: the agent's reply {_too_long(reply)}")
        return reply


def behaving(player: P, part: Part) -> P:
    """A participant or judge with these behaviours."""
    assert isinstance(player.speaker, LeanSpeaker | AgentSpeaker), "behaviours stand around a plain speaker"
    return replace(player, speaker=BehavingSpeaker(player.speaker, part))


def attentive(judge: ModelJudge, loaded: Sequence[LoadedBehavior]) -> ModelJudge:
    """A judge that looks as often, and quotes as much, as its behaviours want."""
    looks = max(judge.repeats, *(each.type.looks for each in loaded))
    return replace(judge, repeats=looks, quotes=judge.quotes or any(each.type.quotes for each in loaded))


class Patience:
    """A deadline for what is done between a model's replies: its clock stands still while one is waited for."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._waits = 0
        self.clock = asyncio.timeout(seconds)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Around the wait for a reply; begins anew after it."""
        self._waits += 1
        with suppress(RuntimeError):  # the time was up, or the work done, when a straggler asked
            self.clock.reschedule(None)
        try:
            yield
        finally:
            self._waits -= 1
            if not self._waits:
                with suppress(RuntimeError):
                    self.clock.reschedule(asyncio.get_running_loop().time() + self._seconds)


class _Act:
    """One behaviour in one episode."""

    def __init__(self, loaded: LoadedBehavior, seed: int, max_turns: int) -> None:
        self.loaded = loaded
        self.name = loaded.name
        self.patience: Patience | None = None
        self._seed = seed
        self._max_turns = max_turns
        self._behavior: Behavior | None = None
        self.look = 1
        self.speaker: Speaker | None = None
        self._asked = 0
        self._passes: ConflictScopeError | None = None  # raised by a lane, not by the behaviour

    async def call(self, hook: str, *arguments: Any) -> Any:
        """What a hook returns; where the behaviour has no such hook, what the base does."""
        if hook not in self.loaded.hooks:
            return getattr(Behavior, hook)(None, *arguments)
        if self._behavior is None:
            made = self.loaded.type
            self._behavior = made() if made.__init__ is object.__init__ else await self._run("__init__", made)
            self._behavior.name, self._behavior.seed, self._behavior.max_turns = self.name, self._seed, self._max_turns
            self._behavior._ask = self._ask
            if "begin" in self.loaded.hooks:
                await self._run("begin", self._behavior.begin)
        self._behavior.look = self.look
        return await self._run(hook, getattr(self._behavior, hook), *arguments)

    def fail(self, hook: str, why: str) -> NoReturn:
        """The episode cannot go on."""
        raise CallFailed("behavior", redact(f"{self.name}.{hook} {why}"))

    def text(self, hook: str, found: Any, *, least: int = 1) -> str:
        """A text that a hook returned."""
        if not isinstance(found, str):
            self.fail(hook, f"returned {_kind(found)}; expected text")
        found = str.__str__(found)  # a subclass of str may hold what no other process can be sent
        if len(found) > MOST_CHARACTERS:
            self.fail(hook, _too_long(found))
        if len(found.strip()) < least:
            self.fail(hook, "returned an empty text")
        try:
            found.encode()
        except UnicodeEncodeError:
            self.fail(hook, "returned text that is not Unicode (half of a surrogate pair)")
        return redact(found)

    def sequence(self, hook: str, found: Any) -> Sequence[Any]:
        """A sequence that a hook returned."""
        if not isinstance(found, Sequence) or isinstance(found, str):
            self.fail(hook, f"returned {_kind(found)}; expected a list")
        return found

    async def _run(self, hook: str, function: Callable[..., Any], *arguments: Any) -> Any:
        limit_s = self.loaded.type.timeout_s
        self.patience = patience = Patience(limit_s)
        plain = not inspect.iscoroutinefunction(function)
        if plain and self.loaded.hung >= _MOST_HUNG:
            self.fail(hook, f"was not called: {self.loaded.hung} calls of this behaviour hang already")
        try:
            async with patience.clock:
                found = await self._in_thread(partial(function, *arguments)) if plain else function(*arguments)
                return await found if inspect.isawaitable(found) else found
        except TimeoutError as error:
            if not patience.clock.expired():
                self.fail(hook, f"raised TimeoutError: {error}")
            self.fail(hook, f"took longer than {limit_s:g} s")
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            self.fail(hook, "raised CancelledError")
        except (Exception, SystemExit) as error:  # it is a user's code, which may raise anything
            if error is self._passes:
                raise
            raise CallFailed(
                "behavior", redact(f"{self.name}.{hook} raised {type(error).__name__}: {error}")
            ) from error
        finally:
            self.patience = None

    async def _in_thread(self, function: Callable[[], R]) -> R:
        future = _DAEMONS.submit(_outcome, function)
        try:
            value, error = await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            if not future.done():
                self.loaded.hung += 1
                future.add_done_callback(self._came_back)
            raise
        if error is not None:
            raise error
        found: R = value
        return found

    def _came_back(self, _: object) -> None:
        self.loaded.hung -= 1

    async def _ask(self, turn: Turn, history: Sequence[str], instructions: str | None) -> str:
        assert self.speaker is not None, "a part has its speaker before it plays"
        self._asked += 1
        role = self.loaded.type.role
        seed = request_seed(turn.seed, role, len(turn.transcript), self.name, self._asked)
        aside = Utterance(
            turn.scope, turn.target, role, self.loaded.version, instructions, [str(text) for text in history], seed
        )
        if len(history) % 2 == 0:
            raise ValueError(
                f"history needs an odd number of texts, the other side's first and last, got {len(history)}"
            )
        patience = self.patience or Patience(self.loaded.type.timeout_s)
        try:
            with patience.paused():
                return await self.speaker.say(aside)
        except CallFailed as failure:
            # Declining to think aloud is not declining to act.
            kind = "behavior" if failure.kind == "refused" else failure.kind
            self._passes = CallFailed(kind, f"{self.name}.ask: {failure.told}")
            raise self._passes from failure
        except ConflictScopeError as error:
            self._passes = error
            raise


class _PausingLane:
    """A lane that stops the clock while its model answers."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self.patience: Patience | None = None

    @property
    def model(self) -> Model:
        return self._lane.model

    @property
    def output_mode(self) -> OutputMode:
        return self._lane.output_mode

    async def request(self, call: Call) -> ModelResponse:
        assert self.patience is not None, "an agent runs against a clock"
        with self.patience.paused():
            return await self._lane.request(call)


@dataclass
class _Bounded(WrapperToolset[Any]):
    """A behaviour's toolset; what its tools return is bounded, for the model is paid for reading it."""

    act: _Act

    async def call_tool(
        self, name: str, tool_args: dict[str, Any], ctx: RunContext[Any], tool: ToolsetTool[Any]
    ) -> Any:
        found = await super().call_tool(name, tool_args, ctx, tool)
        if len(str(found)) > MOST_CHARACTERS:
            self.act.fail(name, _too_long(str(found)))
        return found


class _Daemons(Executor):
    """A thread for each call, which keeps nobody waiting: neither an episode that has given it up, nor the end of the process."""

    def submit(self, fn: Callable[A, R], /, *args: A.args, **kwargs: A.kwargs) -> Future[R]:
        future: Future[R] = Future()
        context = contextvars.copy_context()

        def work() -> None:
            try:
                future.set_result(context.run(fn, *args, **kwargs))
            except BaseException as error:  # noqa: BLE001 - it is whoever waits for the result who gets it
                future.set_exception(error)

        threading.Thread(target=work, daemon=True, name="behavior").start()
        return future


_DAEMONS = _Daemons()


def _outcome(function: Callable[[], R]) -> tuple[Any, BaseException | None]:
    """What a function returned or raised; a future of asyncio refuses to carry some exceptions."""
    try:
        return function(), None
    except BaseException as error:  # noqa: BLE001 - it is raised again where it is waited for
        return None, error


def _turn(utterance: Utterance) -> Turn:
    assert utterance.turn is not None, "behaviours play in episodes"
    return utterance.turn


def _kind(found: Any) -> str:
    return "nothing (None)" if found is None else f"a {type(found).__name__}"


def _too_long(text: str) -> str:
    return f"returned {len(text):,} characters; at most {MOST_CHARACTERS:,} are allowed"
