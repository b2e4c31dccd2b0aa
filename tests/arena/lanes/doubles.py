"""What the tests of lanes share: a journal in memory, calls, models that do as they are told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, TextPart, UserPromptPart
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.settings import ModelSettings
from pydantic_ai.usage import RequestUsage

from conflictscope.arena import Budget, ModelLane, Policy, Price, RateLimit
from conflictscope.outcome import Role
from conflictscope.ports import Call, CallEnd, CallSent, CallState

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
