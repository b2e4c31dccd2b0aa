"""Multiple choice: a question with two lettered actions, and the reading of the answer. No model is asked for either."""

from __future__ import annotations

import re
from collections.abc import Sequence

from conflictscope.agents.judge import placed
from conflictscope.agents.participants import shown
from conflictscope.agents.prompts import Prompt, load_prompt
from conflictscope.outcome import Judgement, Verdict
from conflictscope.ports import Turn

_LETTER = re.compile(r"(?<![A-Za-z'’])[\[(*\"`]*([ABab])[\])*\"`.:,]*(?![A-Za-z'’])")
_LABELS = {"A": "action_1", "B": "action_2"}
_NEITHER = re.compile(r"\bneither\b", re.IGNORECASE)
_REFUSAL = re.compile(r"\bI(?:'m| am) (?:sorry|unable|not able)\b|\bI (?:can't|cannot|won't|will not)\b", re.IGNORECASE)


def question_prompt() -> Prompt:
    """The wording of the question."""
    return load_prompt("multiple_choice")


class Question:
    """The participant in the user's place: asks the one question."""

    async def reply(self, turn: Turn) -> str:
        """The question, with the actions lettered in the order drawn for this episode."""
        action_1, action_2 = (" ".join(action.split()) for action in shown(turn))
        return question_prompt().message(situation=turn.scenario.description, action_1=action_1, action_2=action_2)


class LetterReader:
    """The judge in this mode: a parser."""

    name = "parser"

    async def judge(self, turn: Turn) -> Sequence[Judgement]:
        """What the target's answer says; a reply without one clear letter is not resolved, never a guess."""
        reply = turn.transcript[-1].text
        letter = read_letter(reply)
        if letter:
            choice, why = placed(_LABELS[letter], turn.shown_first), f"the reply names {letter}"
        elif _NEITHER.search(reply):
            choice, why = Verdict.NEITHER, "the reply takes neither"
        elif _REFUSAL.search(reply):
            choice, why = Verdict.REFUSED, "the reply declines to choose"
        else:
            choice, why = Verdict.UNRESOLVED, "no single letter A or B in the reply"
        resolved = choice is not Verdict.UNRESOLVED
        return [Judgement(self.name, turn.shown_first, choice, resolved, None, why)]


def read_letter(reply: str) -> str | None:
    """`A` or `B`, where the reply names exactly one of them.

    Capital letters decide. A reply that is nothing but a small letter counts too; elsewhere a small `a` is an article.
    A capital `A` that starts a sentence of prose ("A good answer ...") is an article as well.
    """
    text = reply.strip()
    whole = _LETTER.fullmatch(text)
    if whole:
        return whole[1].upper()
    found = {
        match[1] for match in _LETTER.finditer(text) if match[1].isupper() and not _is_article(text, match.start(1))
    }
    return found.pop() if len(found) == 1 else None


def _is_article(text: str, at: int) -> bool:
    """Whether the `A` at this place is followed by a space and a small letter: "A good", not "A." or "A is"."""
    following = text[at + 1 : at + 14]
    return (
        text[at] == "A"
        and re.match(r" (?!is\b|because\b|since\b|as\b|would\b|for\b|and\b|or\b)[a-z]", following) is not None
    )
