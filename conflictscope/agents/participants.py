"""Those who converse: the simulated user and the target."""

from __future__ import annotations

from dataclasses import dataclass

from conflictscope.agents.prompts import fence, load_prompt
from conflictscope.agents.speakers import Speaker, Utterance
from conflictscope.outcome import Role
from conflictscope.ports import Turn
from conflictscope.scenario import UserProfile
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
        profile = turn.scenario.user or _ANYBODY
        action_1, action_2 = shown(turn)
        instructions = prompt.instructions(
            situation=fence(turn.scenario.description),
            persona=fence(profile.persona),
            background=fence(profile.background),
            goal=fence(profile.goal),
            action_1=fence(action_1),
            action_2=fence(action_2),
        )
        # From the user's side the target is the one who answers, and a cue stands before the user's first message.
        history = [prompt.message(), *(message.text for message in turn.transcript)]
        seed = request_seed(turn.seed, Role.USER, len(turn.transcript))
        return await self.speaker.say(
            Utterance(turn.scope, turn.target, Role.USER, prompt.version, instructions, history, seed)
        )


@dataclass(frozen=True, slots=True)
class Target:
    """The model under study: sees the conversation and its system prompt, and nothing of the scenario's making."""

    speaker: Speaker
    prompt: str
    system_prompt: str | None

    async def reply(self, turn: Turn) -> str:
        """The target's next message."""
        history = [message.text for message in turn.transcript]
        seed = request_seed(turn.seed, Role.TARGET, len(turn.transcript))
        return await self.speaker.say(
            Utterance(turn.scope, turn.target, Role.TARGET, self.prompt, self.system_prompt, history, seed)
        )


def steer(ranking: tuple[str, ...], value_set: ValueSet) -> tuple[str, str]:
    """A system prompt that states a ranking of values with their definitions, and the version of its wording."""
    definitions = {value.name: value.definition for value in value_set.values}
    lines = [f"{place}. {name}: {' '.join(definitions[name].split())}" for place, name in enumerate(ranking, start=1)]
    prompt = load_prompt("steering")
    return prompt.instructions(ranking="\n".join(lines)), prompt.version


def shown(turn: Turn) -> tuple[str, str]:
    """The two actions in the order in which this episode shows them."""
    actions = turn.scenario.action_a, turn.scenario.action_b
    return actions if turn.shown_first == "a" else actions[::-1]
