"""What the tests of lanes share: a journal in memory, calls, models that do as they are told."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, TextPart, UserPromptPart
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.settings import ModelSettings
from pydantic_ai.usage import RequestUsage

from conflictscope.arena import Budget, ModelLane, Policy, Price, RateLimit
from conflictscope.arena.lanes.steps import Reply, Request
from conflictscope.outcome import Role
from conflictscope.ports import Call, CallEnd, CallSent, CallState
from tests.virtual_time import settle

ONE_TRY = Policy(call_timeout_s=30, attempts=1)


@dataclass
class Row:
    """A call as it was sent, and how it ended so far."""

    sent: CallSent
    end: CallEnd = field(default_factory=lambda: CallEnd(CallState.SENT))


class Rows:
    """A journal in memory."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def answered(self, scope: str, fingerprint: str) -> bytes | None:
        for row in self.rows:
            if (row.sent.scope, row.sent.fingerprint) == (scope, fingerprint) and row.end.reply is not None:
                return row.end.reply
        return None

    async def sent(self, call: CallSent) -> int:
        self.rows.append(Row(call))
        return len(self.rows) - 1

    def ended(self, number: int, end: CallEnd) -> None:
        assert self.rows[number].end.state is CallState.SENT, "a call ends once"
        self.rows[number].end = end

    def states(self) -> list[str]:
        return [row.end.state.value for row in self.rows]


def call(text: str = "hello", scope: str = "episode", seed: int = 1, max_tokens: int = 100) -> Call:
    messages: list[ModelMessage] = [ModelRequest(parts=[UserPromptPart(text)], instructions="be brief")]
    settings = ModelSettings(seed=seed, max_tokens=max_tokens)
    return Call(scope, "alpha", Role.TARGET, "conversation", messages, settings, ModelRequestParameters())


class Counted:
    """A model that counts its requests and answers, or raises what it is told to."""

    def __init__(self, act: BaseException | None = None) -> None:
        self.requests = 0
        self.act = act

    async def __call__(self, messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        self.requests += 1
        if self.act is not None:
            raise self.act
        return ModelResponse(
            parts=[TextPart(f"reply {self.requests}")], usage=RequestUsage(input_tokens=3, output_tokens=2)
        )


def lane(
    model: Counted,
    journal: Rows,
    budget: Budget | None = None,
    policy: Policy = ONE_TRY,
    *,
    price: Price | None = None,
    rates: Sequence[RateLimit] = (),
) -> ModelLane:
    function = FunctionModel(model, model_name="m")
    return ModelLane(function, journal, budget or Budget(None), policy, price=price, rates=rates)


def request(scope: str = "episode", size: int = 100, max_tokens: int = 100) -> Request:
    """A call on its way, for steps that are tried alone. size: of its body in bytes."""
    return Request(call(scope=scope, max_tokens=max_tokens), b"x" * size, scope)


def reply(cost_usd: float | None = None, latency_s: float = 1.0, tokens: tuple[int, int] = (3, 2)) -> Reply:
    """A reply on its way back."""
    usage = RequestUsage(input_tokens=tokens[0], output_tokens=tokens[1])
    return Reply(ModelResponse(parts=[TextPart("fine")], usage=usage), b"{}", cost_usd, latency_s)


class Doing:
    """A step that does what it is told, call by call, then `otherwise`; an exception is raised. seen: what came."""

    def __init__(self, *outcomes: Reply | BaseException, otherwise: Reply | BaseException | None = None) -> None:
        self.outcomes = deque(outcomes)
        self.otherwise = otherwise or reply()
        self.seen: list[Request] = []

    async def __call__(self, request: Request) -> Reply:
        self.seen.append(request)
        outcome = self.outcomes.popleft() if self.outcomes else self.otherwise
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


class Held:
    """A step that holds each request until it is told what comes of it. seen, held: in the order in which they came."""

    def __init__(self) -> None:
        self.seen: list[Request] = []
        self.held: dict[int, asyncio.Future[Reply]] = {}
        self.most = 0

    async def __call__(self, request: Request) -> Reply:
        number = len(self.seen)
        self.seen.append(request)
        self.held[number] = asyncio.get_running_loop().create_future()
        self.most = max(self.most, len(self.held))
        try:
            return await self.held[number]
        finally:
            del self.held[number]

    async def end(self, number: int, outcome: Reply | BaseException | None = None) -> None:
        """Let a request end, and everybody take notice."""
        outcome = outcome or reply()
        if isinstance(outcome, BaseException):
            self.held[number].set_exception(outcome)
        else:
            self.held[number].set_result(outcome)
        await settle()
