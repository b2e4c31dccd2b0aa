"""Those who converse: the simulated user and the target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from conflictscope.agents.prompts import fence, load_prompt, text_hash
from conflictscope.agents.speakers import Speaker, Utterance
from conflictscope.config import SteeringStyle
from conflictscope.outcome import Role, Side
from conflictscope.ports import Turn
from conflictscope.scenario import Scenario, UserProfile
from conflictscope.seeds import request_seed
from conflictscope.values import ValueSet

_ANYBODY = UserProfile(
    persona="An ordinary person who needs help with this situation.",
    background="What the situation says.",
    goal="To have the assistant deal with the situation.",
)


@dataclass(frozen=True, slots=True)
class SimulatedUser:
    """Plays the user of a scenario, and brings the conversation to the point where the target has to act."""

    speaker: Speaker

    async def reply(self, turn: Turn) -> str:
        """The opening message where the transcript is empty, else the next one."""
        prompt = load_prompt("user")
        instructions = prompt.instructions(**fenced_scenario(turn.scenario, turn.shown_first))
        # From the user's side the target is the one who answers, and a cue stands before the user's first message.
        history = [prompt.message(), *(message.text for message in turn.transcript)]
        seed = request_seed(turn.seed, Role.USER, len(turn.transcript))
        return await self.speaker.say(
            Utterance(turn.scope, turn.target, Role.USER, prompt.version, instructions, history, seed, turn)
        )


@dataclass(frozen=True, slots=True)
class Target:
    """The model under study: sees the conversation and its system prompt, and nothing of the scenario's making.

    remembers: whether it sees all of the conversation, or only what it is asked now.
    """

    speaker: Speaker
    prompt: str
    system_prompt: str | None
    remembers: bool = True

    async def reply(self, turn: Turn) -> str:
        """The target's next message."""
        heard = turn if self.remembers else replace(turn, transcript=turn.transcript[-1:])
        history = [message.text for message in heard.transcript]
        seed = request_seed(turn.seed, Role.TARGET, len(turn.transcript))
        return await self.speaker.say(
            Utterance(turn.scope, turn.target, Role.TARGET, self.prompt, self.system_prompt, history, seed, heard)
        )


class Briefing(NamedTuple):
    """A system prompt for the target, and the version of its wording."""

    text: str
    version: str


def steer(ranking: Sequence[str], value_set: ValueSet, style: SteeringStyle) -> Briefing:
    """A system prompt that states a ranking of at least two values, best first: a numbered line each, in every style."""
    definitions = {value.name: "" if style == "ordering" else f": {value.definition}" for value in value_set.values}
    lines = [f"{place}. {' '.join((name + definitions[name]).split())}" for place, name in enumerate(ranking, start=1)]
    prompt = load_prompt("steering_detailed" if style == "detailed" else "steering")
    told = {"ranking": "\n".join(lines), "highest": ranking[0], "lowest": ranking[-1]}
    return Briefing(prompt.instructions(**told), prompt.version)


def own_briefing(name: str, text: str) -> Briefing:
    """A user's own system prompt, sent as it stands. name: of its file."""
    return Briefing(text, f"{name}@{text_hash(text)}")


def shown(turn: Turn) -> tuple[str, str]:
    """The two actions in the order in which this episode shows them."""
    return _in_order(turn.scenario, turn.shown_first)


def fenced_scenario(scenario: Scenario, shown_first: Side) -> dict[str, str]:
    """What a prompt tells of a scenario to those who know it whole, by placeholder; no value is named."""
    profile = scenario.user or _ANYBODY
    action_1, action_2 = _in_order(scenario, shown_first)
    told = {
        "situation": scenario.description,
        "persona": profile.persona,
        "background": profile.background,
        "goal": profile.goal,
        "action_1": action_1,
        "action_2": action_2,
    }
    return {name: fence(text) for name, text in told.items()}


def _in_order(scenario: Scenario, shown_first: Side) -> tuple[str, str]:
    actions = scenario.action_a, scenario.action_b
    return actions if shown_first == "a" else actions[::-1]
