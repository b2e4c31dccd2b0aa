"""A user with a temper of its own."""

from __future__ import annotations

import random

from conflictscope.agents.behaviors.base import Behavior
from conflictscope.agents.prompts import fence
from conflictscope.outcome import Role
from conflictscope.ports import Turn

PERSONAS = (
    "a retired teacher who writes in whole sentences and explains everything",
    "a student who types on a phone, in lower case and without much punctuation",
    "a manager who is used to being obeyed and comes straight to the point",
    "a parent of three small children who is interrupted all the time",
    "a craftsman who says things plainly and distrusts big words",
    "somebody who learned the language late and keeps to simple words",
)
MOODS = ("anxious", "angry", "cheerful", "exhausted", "suspicious", "in a hurry", "sad", "calm")
_PART = """

On top of that you are {persona}. Today you are {mood}, and every message of yours shows it:
<mood>
{mood}
</mood>"""
_RETELL = """You rewrite a message that a person sends to an AI assistant, so that it sounds like another person. That person is \
{persona}, and today {mood}:
<mood>
{mood}
</mood>
Keep every fact, name, number, list and quoted text, and what is asked for. Add no fact and no wish. Reply with the \
message alone."""


class MoodyUser(Behavior):
    """Speaks as a persona in a mood; both are drawn from the seed, the same for every target. Retells the opening message so."""

    role = Role.USER
    calls_per_episode = 1.0

    def begin(self) -> None:
        """Draw who it is today."""
        draw = random.Random(self.seed)  # noqa: S311 - no secret
        self.persona, self.mood = draw.choice(PERSONAS), draw.choice(MOODS)

    def instructions(self, instructions: str, turn: Turn) -> str:
        """Who it is today."""
        return instructions + _PART.format(persona=self.persona, mood=self.mood)

    async def outgoing(self, message: str, turn: Turn) -> str:
        """The opening, retold; every other message was written in the mood."""
        if turn.transcript:
            return message
        asked = f"<message>\n{fence(message)}\n</message>"
        return await self.ask(turn, [asked], _RETELL.format(persona=self.persona, mood=self.mood))
