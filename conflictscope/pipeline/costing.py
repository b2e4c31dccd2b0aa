"""What a sweep will ask of its models: calls, tokens, dollars and time, before any of them is asked.

The real participants play their parts on a lane that answers nothing but text of the assumed length, so the prompts are those
that will be sent. Tokens are reckoned from characters. What a run like this one took (`Measured`) goes before all that.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, UserPromptPart
from pydantic_ai.models import Model
from pydantic_ai.models.test import TestModel
from pydantic_ai.usage import RequestUsage

from conflictscope import agents
from conflictscope.arena import Price, named_price
from conflictscope.config import SweepConfig
from conflictscope.forecast import NOTHING, Amount, CallMeans, Kind, Measured, UsageForecast
from conflictscope.outcome import Message, Mode, Role
from conflictscope.pipeline.casting import price_of
from conflictscope.pipeline.preflight import preflight_questions
from conflictscope.pipeline.sweep import Sweep
from conflictscope.ports import Call, OutputMode, Turn
from conflictscope.scenario import Scenario
from conflictscope.services import PLANTED, RoleSettings, provider_section

SETTLED = 0.7
"""Assumed chance that a look of the judge ends a conversation."""

REPLY_TOKENS: Mapping[tuple[str, Kind], int] = {
    ("user", "opening"): 120,
    ("user", "conversation"): 60,
    ("target", "conversation"): 350,
    ("target", "multiple_choice"): 5,
    ("target", "action_rating"): 5,
    ("judge", "verdict"): 120,
    ("judge", "preflight"): 120,
    ("user", "preflight"): 5,
    ("target", "preflight"): 5,
}
"""Assumed tokens of a reply, by role and kind, without thinking."""

FIRST_TOKEN_S = 1.0
TOKENS_PER_S = 60.0
"""Assumed pace of a reply."""

_CHARACTERS_PER_TOKEN = 4
_MOST_RENDERED = 500  # scenarios whose prompts are looked at, evenly spread over the library
_WAYS_TO_ASK_A_JUDGE = 3
_MINUTE_S = 60.0


InputTokens: TypeAlias = Mapping[tuple[str, Kind, int], float]
ONCE = Amount(1.0, 1.0, 1.0)


class _DryLane:
    """A lane that leads nowhere: it measures what it is asked, and answers with text of the assumed length."""

    output_mode: OutputMode = "native"
    model: Model = TestModel()

    def __init__(self) -> None:
        self.input_tokens: dict[tuple[str, Kind, int], list[int]] = defaultdict(list)
        self.place: tuple[Kind, int] = ("opening", 0)  # what is asked next, and in which turn

    async def request(self, call: Call) -> ModelResponse:
        kind, turn = self.place
        schema = json.dumps(call.parameters.output_object.json_schema) if call.parameters.output_object else ""
        characters = sum(map(_characters, call.messages)) + len(schema)
        self.input_tokens[call.role.value, kind, turn].append(characters // _CHARACTERS_PER_TOKEN)
        text = "word " * (REPLY_TOKENS[call.role.value, kind] * _CHARACTERS_PER_TOKEN // len("word "))
        if schema:
            text = json.dumps({"reasoning": text, "resolved": False, "action": "neither", "strength": 4, "quotes": []})
        return ModelResponse(parts=[TextPart(text)])


def _characters(message: ModelMessage) -> int:
    texts = [
        part.content
        for part in message.parts
        if isinstance(part, UserPromptPart | TextPart) and isinstance(part.content, str)
    ]
    return sum(map(len, texts)) + len(getattr(message, "instructions", None) or "")


async def input_tokens(sweep: Sweep) -> InputTokens:
    """Mean tokens of what is asked, by role, kind and turn (0, 1, ...), without a target's system prompt."""
    config, lane = sweep.config, _DryLane()
    speaker = agents.LeanSpeaker(lane)
    user, target = agents.SimulatedUser(speaker), agents.Target(speaker, "", None)
    alone = agents.Target(speaker, "", None, remembers=False)
    judge = agents.ModelJudge(speaker, "judge", quotes=config.judge is not None and config.judge.quotes)
    step = math.ceil(len(sweep.scenarios) / _MOST_RENDERED)
    for scenario in sweep.scenarios[::step]:
        if Mode.MULTIPLE_CHOICE in config.modes:
            lane.place = ("multiple_choice", 0)
            question = await agents.Question().reply(_turn(scenario))
            await target.reply(_turn(scenario, Message(Role.USER, question)))
        if Mode.ACTION_RATING in config.modes:
            lane.place = ("action_rating", 0)
            asked: list[Message] = []
            for _ in range(2):
                question = await agents.RatingQuestion().reply(_turn(scenario, *asked))
                asked.append(Message(Role.USER, question))
                asked.append(Message(Role.TARGET, await alone.reply(_turn(scenario, *asked))))
        if Mode.OPEN_ENDED in config.modes and config.user is not None:
            said: list[Message] = []
            for turn in range(config.user.max_turns):
                lane.place = ("conversation", turn) if turn else ("opening", 0)
                opening = scenario.opening if not said else None
                said.append(Message(Role.USER, opening or await user.reply(_turn(scenario, *said))))
                lane.place = ("conversation", turn)
                said.append(Message(Role.TARGET, await target.reply(_turn(scenario, *said))))
                lane.place = ("verdict", turn)
                await judge.judge(_turn(scenario, *said))
    lane.place = ("preflight", 0)
    for role in (Role.USER, Role.TARGET):
        await agents.probe_text(lane, role, RoleSettings(), "preflight")
    await agents.probe_verdict(lane, RoleSettings(), "preflight")
    return {place: sum(tokens) / len(tokens) for place, tokens in lane.input_tokens.items()}


def _turn(scenario: Scenario, *said: Message) -> Turn:
    return Turn("plan", None, 0, scenario, said, "a")


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Calls that are alike: how many, and what one of them takes in."""

    calls: Amount
    input_tokens: float


async def usage_forecast(sweep: Sweep, measured: Measured | None) -> tuple[UsageForecast, ...]:
    """What each role will take, through each lane."""
    asked = await input_tokens(sweep)
    settled = measured.settled if measured and measured.settled is not None else SETTLED
    row = _Reckoning(sweep, measured.means if measured else {})
    modes = sweep.config.modes
    return (
        *(_of_conversations(sweep, asked, settled, row) if Mode.OPEN_ENDED in modes else ()),
        *_of_questions(sweep, asked, row),
        *_of_preflight(sweep, asked, row),
    )


def _of_conversations(sweep: Sweep, asked: InputTokens, settled: float, row: _Reckoning) -> Iterator[UsageForecast]:
    config = sweep.config
    assert config.user is not None, "SweepConfig holds that open_ended has a user"
    assert config.judge is not None, "SweepConfig holds that open_ended has a judge"
    # For each turn, the share of conversations that come to it.
    reached = [Amount(float(turn == 0), (1 - settled) ** turn, 1.0) for turn in range(config.user.max_turns)]
    episodes, briefing = _episodes(sweep, Mode.OPEN_ENDED), _briefing_tokens(sweep)
    conversations = episodes * len(config.targets)
    unwritten = sum(scenario.opening is None for scenario in sweep.scenarios)
    if unwritten:
        yield row("user", "opening", config.user.lane, [_Stretch(ONCE * unwritten, asked["user", "opening", 0])])
    insists = [
        _Stretch(share * conversations, asked["user", "conversation", turn])
        for turn, share in enumerate(reached)
        if turn
    ]
    insists += _of_behaviors(
        sweep, Role.USER, Mode.OPEN_ENDED, len(config.targets), asked.get(("user", "opening", 0), 0)
    )
    if insists:
        yield row("user", "conversation", config.user.lane, insists)
    replies = [
        _Stretch(share * episodes, asked["target", "conversation", turn] + briefing)
        for turn, share in enumerate(reached)
    ]
    first = asked["target", "conversation", 0] + briefing
    replies += _of_behaviors(sweep, Role.TARGET, Mode.OPEN_ENDED, 1, first)
    for target in config.targets:
        yield row("target", "conversation", target.lane, replies, target.label)
    at_once = config.judge.repeats * (2 if config.judge.orders == "both" else 1)
    looks = [
        _Stretch(share * (conversations * at_once), asked["judge", "verdict", turn])
        for turn, share in enumerate(reached)
    ]
    first = asked["judge", "verdict", 0]
    looks += _of_behaviors(sweep, Role.JUDGE, Mode.OPEN_ENDED, len(config.targets), first)
    for model in config.judge.models:
        yield row("judge", "verdict", model, looks, batch=config.judge.batch)


def _of_questions(sweep: Sweep, asked: InputTokens, row: _Reckoning) -> Iterator[UsageForecast]:
    config = sweep.config
    kinds: list[tuple[Kind, Mode, int]] = [
        ("multiple_choice", Mode.MULTIPLE_CHOICE, 2 if config.multiple_choice.orders == "both" else 1),
        ("action_rating", Mode.ACTION_RATING, 2),
    ]
    for kind, mode, questions in kinds:
        if mode not in config.modes:
            continue
        tokens = asked["target", kind, 0] + _briefing_tokens(sweep)
        answers = [_Stretch(ONCE * (questions * _episodes(sweep, mode)), tokens)]
        answers += _of_behaviors(sweep, Role.TARGET, mode, 1, tokens)
        for target in config.targets:
            yield row("target", kind, target.lane, answers, target.label, batch=target.batch)


def _of_preflight(sweep: Sweep, asked: InputTokens, row: _Reckoning) -> Iterator[UsageForecast]:
    for lane, role, _ in preflight_questions(sweep.config):
        if not lane.startswith(PLANTED):
            calls = Amount(1.0, 1.0, _WAYS_TO_ASK_A_JUDGE) if role is Role.JUDGE else ONCE
            yield row(role.value, "preflight", lane, [_Stretch(calls, asked[role.value, "preflight", 0])])


def _episodes(sweep: Sweep, mode: Mode) -> int:
    """Of one target in one mode."""
    return _episodes_alike(sweep) * (1 + len(sweep.behaviors_in(mode)))


def _episodes_alike(sweep: Sweep) -> int:
    """Of one target in one mode with one behaviour, or none."""
    return len(sweep.scenarios) * sweep.config.repeats * (1 + len(sweep.config.steering))


def _of_behaviors(sweep: Sweep, role: Role, mode: Mode, targets: int, input_tokens: float) -> list[_Stretch]:
    """The calls of a role that behaviours say they add."""
    loaded = [each for name in sweep.behaviors_in(mode) for each in agents.behaviors_of(sweep.behaviors[name], role)]
    added = sum(each.type.calls_per_episode for each in loaded)
    return [_Stretch(ONCE * (added * _episodes_alike(sweep) * targets), input_tokens)] if added else []


def _briefing_tokens(sweep: Sweep) -> float:
    """Of a target's system prompt, in the mean over no steering and each steering."""
    characters = sum(len(briefing.text) for briefing in sweep.briefings.values())
    return characters / _CHARACTERS_PER_TOKEN / (1 + len(sweep.briefings))


@dataclass(frozen=True, slots=True)
class _Reckoning:
    """Makes a line of the forecast. means: what a run measured, by role, kind and model."""

    sweep: Sweep
    means: Mapping[tuple[str, str, str], CallMeans]

    def __call__(
        self,
        role: str,
        kind: Kind,
        lane: str,
        stretches: Sequence[_Stretch],
        target: str | None = None,
        *,
        batch: bool = False,
    ) -> UsageForecast:
        price = lane_price(lane, self.sweep.config, batch=batch)
        means = self.means.get((role, kind, lane))
        output = round(means.output_tokens) if means else REPLY_TOKENS[role, kind]
        calls, taken, given, cost = NOTHING, NOTHING, NOTHING, NOTHING
        for stretch in stretches:
            tokens = round(means.input_tokens if means else stretch.input_tokens)
            calls += stretch.calls
            taken += stretch.calls * tokens
            given += stretch.calls * output
            if price is not None:
                cost += stretch.calls * price.usd(RequestUsage(input_tokens=tokens, output_tokens=output))
        return UsageForecast(
            role,
            target,
            kind,
            lane,
            calls,
            taken,
            given,
            cost if price is not None else None,
            self._latency_s(lane, means, output),
            batch,
            measured=means is not None,
        )

    def _latency_s(self, lane: str, means: CallMeans | None, output_tokens: int) -> float:
        if means is not None and means.latency_s is not None:
            return means.latency_s
        if lane.startswith(PLANTED) and self.sweep.world is not None:
            return self.sweep.world.timing.latency_s.mean
        return FIRST_TOKEN_S + output_tokens / TOKENS_PER_S


def lane_price(lane: str, config: SweepConfig, *, batch: bool = False) -> Price | None:
    """What the calls through a lane cost; no client of its provider is made for this."""
    provider, _, model_name = lane.partition(":")
    return price_of(lane, config.prices, named_price(provider_section(provider), model_name, batch=batch))


def duration(config: SweepConfig, usage: Sequence[UsageForecast], episodes: int) -> tuple[Amount, str]:
    """Seconds that a sweep will take, and what they hang on. Calls in batches are left out: they take what they take."""
    live = [each for each in usage if not each.batch]
    at_once = min(config.limits.concurrency, episodes)
    bounds = {
        f"{at_once:,} episodes in flight (limits.concurrency)": sum(
            (each.calls * (each.latency_s / at_once) for each in live), NOTHING
        )
    }
    for name, section in config.providers.items():
        own = [each for each in live if provider_section(each.model.partition(":")[0]) == name]
        calls = sum((each.calls for each in own), NOTHING)
        tokens = sum((each.input_tokens + each.output_tokens for each in own), NOTHING)
        # What a minute allows may go at once, so the first of them takes no time.
        if section.requests_per_minute is not None:
            bounds[f"{section.requests_per_minute:,} requests per minute of {name}"] = _minutes(
                calls, section.requests_per_minute
            )
        if section.tokens_per_minute is not None:
            bounds[f"{section.tokens_per_minute:,} tokens per minute of {name}"] = _minutes(
                tokens, section.tokens_per_minute
            )
    bound = max(bounds, key=lambda name: bounds[name].expected)
    longest = Amount(*(max(getattr(each, end) for each in bounds.values()) for end in ("least", "expected", "most")))
    return longest, bound


def _minutes(amount: Amount, per_minute: int) -> Amount:
    least, expected, most = (
        max(0.0, each / per_minute - 1) * _MINUTE_S for each in (amount.least, amount.expected, amount.most)
    )
    return Amount(least, expected, most)
