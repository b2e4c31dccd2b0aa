"""The writer of opening messages: the user's first message of a scenario, with whatever text it is about."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Annotated, Literal, Self, get_args

from pydantic import BeforeValidator, model_validator

from conflictscope.agents.fields import OptionalPage, Paragraph, Reply
from conflictscope.agents.participants import fenced_scenario
from conflictscope.agents.prompts import load_prompt
from conflictscope.agents.speakers import Speaker, Utterance
from conflictscope.outcome import Role, Side
from conflictscope.scenario import Scenario
from conflictscope.seeds import request_seed, uniform

MARK = "[[artifact]]"
"""Where the artifact stands in a message."""

_Kind = Literal["none", "email", "essay", "code", "list", "letter", "table", "other"]


def _known_kind(said: object) -> object:
    """A kind however it is spelled; one that we have no word for is `other`."""
    if not isinstance(said, str) or not said.strip():
        return said
    kind = said.strip().casefold()
    return kind if kind in get_args(_Kind) else "other"


class OpeningReply(Reply):
    """The first message, and the text that the person pastes into it."""

    artifact_kind: Annotated[_Kind, BeforeValidator(_known_kind)]
    artifact: OptionalPage
    message: Paragraph

    @model_validator(mode="after")
    def _artifact_has_its_place(self) -> Self:
        marks = self.message.count(MARK)
        if self.artifact_kind == "none":
            if self.artifact or marks:
                raise ValueError(f"artifact_kind is none, so artifact must be empty and the message without {MARK}")
        elif not self.artifact:
            raise ValueError(f"artifact must hold the whole text of the {self.artifact_kind}, it is empty")
        elif marks != 1 or MARK not in (line.strip() for line in self.message.split("\n")):
            raise ValueError(
                f"message must hold {MARK} exactly once, alone on its own line, where the artifact belongs"
            )
        elif MARK in self.artifact:
            raise ValueError(f"artifact must be the text itself, without {MARK}")
        return self

    @property
    def whole(self) -> str:
        """The message with the artifact in its place."""
        lines = self.message.split("\n")
        return "\n".join(self.artifact if line.strip() == MARK else line for line in lines).strip()


@dataclass(frozen=True, slots=True)
class ModelOpeningWriter:
    """Asks the user model."""

    speaker: Speaker

    async def write(self, scope: str, seed: int, scenario: Scenario, problems: Counter[str]) -> str:
        """The message, with the artifact in its place; the order in which the actions are shown is drawn from the seed."""
        prompt = load_prompt("opening")
        shown_first: Side = "a" if uniform(seed, "opening", "order") < 0.5 else "b"
        message = prompt.message(**fenced_scenario(scenario, shown_first))
        seed = request_seed(seed, Role.USER, "opening")
        utterance = Utterance(scope, None, Role.USER, prompt.version, prompt.instructions(), [message], seed)
        reply = await self.speaker.decide(utterance, OpeningReply, problems=problems)
        return reply.whole
