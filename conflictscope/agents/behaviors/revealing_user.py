"""A user who tells the story bit by bit."""

from __future__ import annotations

import re

from conflictscope.agents.behaviors.base import Behavior
from conflictscope.agents.prompts import fence
from conflictscope.outcome import Role
from conflictscope.ports import Turn

_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=\S)")
_PART = """

In this conversation you tell what you know bit by bit. What you tell next is added to the end of your message, word for word:
<next>
{next}
</next>
Write one or two sentences that react to the assistant and lead up to it. Tell nothing that was not told yet."""


class RevealingUser(Behavior):
    """Tells the opening message in as many parts as it has turns; the judge looks when all of it is told."""

    role = Role.USER

    def begin(self) -> None:
        """Nothing is kept back yet."""
        self.kept_back: list[str] = []

    def instructions(self, instructions: str, turn: Turn) -> str:
        """What comes next, and how to lead up to it."""
        return instructions + (_PART.format(next=fence(self.kept_back[0])) if self.kept_back else "")

    def outgoing(self, message: str, turn: Turn) -> str:
        """The first part, or what the user says and the next part."""
        if not turn.transcript:
            first, *self.kept_back = parts(message, self.max_turns)
            return first
        return f"{message}\n\n{self.kept_back.pop(0)}" if self.kept_back else message

    def stop(self, turn: Turn) -> bool | None:
        """Not before all is told."""
        return False if self.kept_back else None


def parts(message: str, most: int) -> list[str]:
    """A message in at most so many (>= 1) parts of about equal length: by paragraphs, or where it has one only by sentences."""
    pieces = [piece.strip() for piece in message.split("\n\n") if piece.strip()]
    between = "\n\n"
    if len(pieces) == 1:
        pieces, between = _SENTENCE.split(pieces[0]), " "
    found: list[str] = []
    while pieces:
        share = sum(map(len, pieces)) / (most - len(found))
        taken = [pieces.pop(0)]
        while pieces and (most - len(found) == 1 or sum(map(len, taken)) + len(pieces[0]) / 2 <= share):
            taken.append(pieces.pop(0))
        found.append(between.join(taken))
    return found
