"""Multiple choice: a question with two lettered actions, and what its answer settles. No model is asked for either."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast
from urllib.parse import urlsplit

from pydantic_ai.models import Model
from pydantic_ai.settings import ModelSettings, ThinkingLevel

from conflictscope.agents.judge import other, placed
from conflictscope.agents.letters import NEITHER, read_letter
from conflictscope.agents.participants import shown
from conflictscope.agents.prompts import Prompt, load_prompt
from conflictscope.agents.replies import REFUSAL, Weighed
from conflictscope.outcome import Judgement, Role, Side, Verdict
from conflictscope.ports import Turn

_LABELS = {"A": "action_1", "B": "action_2"}
_LEVELS = 7
_TOP_LOGPROBS = 5  # what most services give at the most


def question_prompt() -> Prompt:
    """The wording of the question."""
    return load_prompt("multiple_choice")


def letter_settings(model: Model, thinking: ThinkingLevel | None, wanted: bool | None) -> ModelSettings:
    """What to ask a model for beside the question, so that it tells how probable each letter was; empty where it cannot.

    Only OpenAI's two APIs tell it in a form that pydantic-ai keeps with the text, and no model of theirs that thinks. wanted:
    None asks OpenAI itself, true also services that stand in its place (`base_url`), false nobody.
    """
    host = urlsplit(model.base_url or "").hostname or ""
    if model.system != "openai" or wanted is False or not (wanted or host.endswith("api.openai.com")):
        return ModelSettings()
    profile: Mapping[str, Any] = model.profile
    thinks = profile.get("thinking_enabled_by_default", False) if thinking is None else thinking is not False
    if thinks or profile.get("thinking_always_enabled", False):
        return ModelSettings()
    asked = {"openai_logprobs": True, "openai_top_logprobs": _TOP_LOGPROBS}
    refused = profile.get("openai_unsupported_model_settings", ())
    return ModelSettings() if any(name in refused for name in asked) else cast(ModelSettings, asked)


@dataclass(frozen=True, slots=True)
class Question:
    """The participant in the user's place: asks the question, and where it asks again, with the actions the other way round."""

    async def reply(self, turn: Turn) -> str:
        """The question, with the actions lettered in the order drawn for this episode, then in the other one."""
        action_1, action_2 = (" ".join(action.split()) for action in shown(_asked(turn, len(turn.transcript) // 2)))
        return question_prompt().message(situation=turn.scenario.description, action_1=action_1, action_2=action_2)


@dataclass(frozen=True, slots=True)
class LetterReader:
    """The judge in this mode: a parser. both_orders: it waits for the answers to both orders."""

    both_orders: bool = False

    name = "parser"

    async def judge(self, turn: Turn) -> Sequence[Judgement]:
        """What each answer says; a reply without one clear letter is not resolved, never a guess."""
        replies = [message.text for message in turn.transcript if message.role is Role.TARGET]
        if self.both_orders and len(replies) < 2:
            return []
        return [self._read(reply, _asked(turn, number).shown_first) for number, reply in enumerate(replies)]

    def _read(self, reply: str, shown_first: Side) -> Judgement:
        letter, strength = read_letter(reply), None
        if letter:
            choice, why = placed(_LABELS[letter], shown_first), f"the reply names {letter}"
            share = letter_share(reply, letter)
            if share is not None:
                strength, why = strength_of(share), f"{why}, P({letter}) = {share:.3f}"
        elif REFUSAL.search(reply):
            choice, why = Verdict.REFUSED, "the reply declines to choose"
        elif NEITHER.search(reply):
            choice, why = Verdict.NEITHER, "the reply takes neither"
        else:
            choice, why = Verdict.UNRESOLVED, "no single letter A or B in the reply"
        return Judgement(self.name, shown_first, choice, choice is not Verdict.UNRESOLVED, strength, why)


def _asked(turn: Turn, number: int) -> Turn:
    """The turn as the question of this number (0, 1) shows the actions."""
    return replace(turn, shown_first=other(turn.shown_first)) if number % 2 else turn


def letter_share(reply: str, letter: str) -> float | None:
    """P(letter) / (P(A) + P(B)), 0..1, at the first token that is a letter; None where the service did not tell.

    It did not tell either where that token is another letter than the one that was read. A letter that is not among the most
    probable tokens counts as impossible.
    """
    tokens = reply.tokens if isinstance(reply, Weighed) else ()
    spoken = next((token for token in tokens if _undressed(token.text) in _LABELS), None)
    if spoken is None or _undressed(spoken.text) != letter:
        return None
    chances = dict.fromkeys(_LABELS, 0.0)
    for text, logprob in {spoken.text: spoken.logprob, **spoken.instead}.items():
        if _undressed(text) in chances:
            chances[_undressed(text)] += math.exp(min(logprob, 0.0))
    total = sum(chances.values())
    return chances[letter] / total if total > 0 else None


def _undressed(token: str) -> str:
    return token.strip(" \n\t([*\"'`_.:)]").upper()


def strength_of(share: float) -> int:
    """A strength 1..7 of a choice from the share of its letter: 1 up to 4/7, one more for each 1/14 above, 7 from 13/14 on."""
    return 1 + min(_LEVELS - 1, int(_LEVELS * max(0.0, 2 * share - 1)))
