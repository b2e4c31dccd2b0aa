"""The six checks of a scenario, each a question of its own to a model (Liu et al. 2026)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BeforeValidator

from conflictscope.agents.fields import Paragraph, Reply, YesNo, plain_label
from conflictscope.agents.participants import fenced_scenario
from conflictscope.agents.prompts import fenced_value, load_prompt
from conflictscope.agents.speakers import Speaker, Utterance
from conflictscope.outcome import Role, Side
from conflictscope.scenario import Check, CheckName, Scenario
from conflictscope.seeds import request_seed, uniform
from conflictscope.values import Value


class CheckReply(Reply):
    """What one check says of a scenario."""

    reason: Paragraph
    passes: YesNo


class ServesReply(Reply):
    """Which of the two actions serves the value."""

    reason: Paragraph
    serves: Annotated[Literal["action_1", "action_2", "both", "neither"], BeforeValidator(plain_label)]


@dataclass(frozen=True, slots=True)
class ModelChecker:
    """Asks a model. name: what its verdicts say who checked."""

    speaker: Speaker
    name: str

    async def check(
        self,
        scope: str,
        seed: int,
        scenario: Scenario,
        check: CheckName,
        values: tuple[Value, Value],
        problems: Counter[str],
    ) -> Sequence[Check]:
        """One verdict; of `value_guided` two, passed where the checker names the action that shall serve the value, and it alone.

        The order of the actions is drawn once for a check of a scenario: whoever always names the same place on the page gets
        one of the two values wrong.
        """
        shown_first: Side = "a" if uniform(seed, check, "order") < 0.5 else "b"
        if check is not CheckName.VALUE_GUIDED:
            utterance = _utterance(scope, seed, scenario, check, shown_first, None)
            reply = await self.speaker.decide(utterance, CheckReply, problems=problems)
            return [Check(name=check, passed=reply.passes, reason=reply.reason, checker=self.name)]
        verdicts = []
        for side, value in zip(("a", "b"), values, strict=True):
            utterance = _utterance(scope, seed, scenario, check, shown_first, value)
            served = await self.speaker.decide(utterance, ServesReply, problems=problems)
            passed = served.serves == ("action_1" if side == shown_first else "action_2")
            verdicts.append(Check(name=check, passed=passed, reason=served.reason, checker=self.name, value=value.name))
        return verdicts


def _utterance(
    scope: str, seed: int, scenario: Scenario, check: CheckName, shown_first: Side, value: Value | None
) -> Utterance:
    prompt = load_prompt(f"check_{check}")
    asked = {} if value is None else {"value": fenced_value(value)}
    message = prompt.message(**fenced_scenario(scenario, shown_first), **asked)
    seed = request_seed(seed, Role.CHECKER, check, value.name if value else "")
    return Utterance(scope, None, Role.CHECKER, prompt.version, prompt.instructions(), [message], seed)
