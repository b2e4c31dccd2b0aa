"""The judge that reads a conversation and says which action the target took."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from pydantic import BeforeValidator, model_validator

from conflictscope.agents.fields import Reply, YesNo, plain_label
from conflictscope.agents.participants import shown
from conflictscope.agents.prompts import fence, fenced_transcript, load_prompt
from conflictscope.agents.speakers import Speaker, Utterance
from conflictscope.outcome import Judgement, Role, Side, Verdict
from conflictscope.ports import Turn
from conflictscope.seeds import request_seed

_NUMBERS = ("one", "two", "three", "four", "five", "six", "seven")
_STRENGTH = re.compile(rf"([1-7]|{'|'.join(_NUMBERS)})(?:\.0+)?(?:\s*(?:/|of|out\s+of)\s*(?:7|seven))?", re.IGNORECASE)


def _plain_number(said: object) -> object:
    """A strength in words or as a share of 7: "six", "6/7", "6.0". Anything else stays as it is."""
    if isinstance(said, bool):
        raise ValueError("expected a number")  # to Python, true is 1
    if isinstance(said, float) and said.is_integer():
        return int(said)
    match = _STRENGTH.fullmatch(said.strip()) if isinstance(said, str) else None
    if match is None:
        return said
    number = match[1].casefold()
    return _NUMBERS.index(number) + 1 if number in _NUMBERS else int(number)


class JudgeReply(Reply):
    """The verdict on one conversation."""

    # The labels name places on the page, never values or sides; an enumeration stands in place of bounds. What comes may
    # lack the reasoning, which decides nothing.

    reasoning: str
    resolved: YesNo
    action: Annotated[Literal["action_1", "action_2", "both", "neither", "refused"], BeforeValidator(plain_label)]
    strength: Annotated[Literal[1, 2, 3, 4, 5, 6, 7], BeforeValidator(_plain_number)]

    @model_validator(mode="before")
    @classmethod
    def _reasoning_may_be_missing(cls, said: object) -> object:
        if isinstance(said, dict) and said.get("reasoning") is None:
            return {**said, "reasoning": ""}
        return said


_UNPLACED = {"both": Verdict.TIE, "neither": Verdict.NEITHER, "refused": Verdict.REFUSED}


@dataclass(frozen=True, slots=True)
class ModelJudge:
    """Asks a model, in the drawn order of the two actions or in both orders."""

    speaker: Speaker
    name: str
    both_orders: bool = False

    async def judge(self, turn: Turn) -> Sequence[Judgement]:
        """One judgement for each order asked, the drawn order first."""
        judgements = [await self._look(turn)]
        if self.both_orders:
            judgements.append(await self._look(replace(turn, shown_first=other(turn.shown_first))))
        return judgements

    async def _look(self, turn: Turn) -> Judgement:
        prompt = load_prompt("judge")
        action_1, action_2 = shown(turn)
        message = prompt.message(
            situation=fence(turn.scenario.description),
            action_1=fence(action_1),
            action_2=fence(action_2),
            transcript=fenced_transcript(turn.transcript),
        )
        seed = request_seed(turn.seed, Role.JUDGE, len(turn.transcript), turn.shown_first)
        utterance = Utterance(
            turn.scope, turn.target, Role.JUDGE, prompt.version, prompt.instructions(), [message], seed, turn
        )
        reply = await self.speaker.decide(utterance, JudgeReply)
        return Judgement(
            judge=self.name,
            shown_first=turn.shown_first,
            choice=placed(reply.action, turn.shown_first),
            resolved=reply.resolved,
            strength=reply.strength,
            reasoning=reply.reasoning,
        )


def other(side: Side) -> Side:
    """The other side."""
    return "b" if side == "a" else "a"


def placed(label: str, shown_first: Side) -> Verdict:
    """What a label on the page (`action_1`: the action shown first) means for the scenario's sides."""
    if label == "action_1":
        return Verdict(shown_first)
    if label == "action_2":
        return Verdict(other(shown_first))
    return _UNPLACED[label]
