"""The planted models: they read only the request that they are sent, and hold no state between requests."""

from __future__ import annotations

import asyncio
import json
from abc import abstractmethod
from collections.abc import Sequence

from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, TextPart, UserPromptPart
from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.profiles import ModelProfile
from pydantic_ai.settings import ModelSettings
from pydantic_ai.usage import RequestUsage

from conflictscope.errors import InputError
from conflictscope.outcome import Mode
from conflictscope.planted import language
from conflictscope.planted.language import Lexicon
from conflictscope.planted.world import ROLES, PlantedTarget, PlantedWorld
from conflictscope.rating import STANDARD_NORMAL
from conflictscope.seeds import normal, uniform

_CHARACTERS_PER_TOKEN = 4
_REASONS: dict[language.Finding, str] = {
    "first": "The assistant's last message takes the action that is listed first.",
    "second": "The assistant's last message takes the action that is listed second.",
    "both": "The assistant's last message takes both actions alike.",
    "neither": "The assistant's last message takes neither action.",
    "refused": "The assistant declines to engage with the request.",
    "undecided": "The assistant has not acted yet; it asks back.",
}


class PlantedModel(Model):
    """A model of a planted world. What is drawn depends on the world's seed, the name, the request and its seed only."""

    def __init__(self, world: PlantedWorld, name: str) -> None:
        super().__init__(profile=ModelProfile(supports_json_schema_output=True, supports_json_object_output=True))
        self._world = world
        self._name = name

    @property
    def model_name(self) -> str:
        """The name without the `planted:` prefix."""
        return self._name

    @property
    def system(self) -> str:
        """The provider part of the name."""
        return "planted"

    @property
    def base_url(self) -> None:
        """There is none."""
        return

    @property
    def provider(self) -> None:
        """There is none."""
        return

    async def request(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> ModelResponse:
        """Wait as long as the world says, then answer."""
        _, parameters = self.prepare_request(model_settings, model_request_parameters)
        instructions = "\n\n".join(part.content for part in parameters.instruction_parts or ())
        texts = [_text(message) for message in messages]
        seed = (model_settings or {}).get("seed", 0)
        draw = _Draw(self._world.seed, self._name, seed, instructions, *texts)
        latency = self._world.timing.latency_s.draw(*draw.purpose)
        if latency:
            await asyncio.sleep(latency)
        reply = self.answer(instructions, texts, draw)
        return ModelResponse(
            parts=[TextPart(reply)],
            usage=RequestUsage(
                input_tokens=sum(map(len, (instructions, *texts))) // _CHARACTERS_PER_TOKEN,
                output_tokens=1 + len(reply) // _CHARACTERS_PER_TOKEN,
            ),
            model_name=self._name,
            provider_name="planted",
            provider_details={"latency_s": latency},  # what it meant to take; a benchmark compares what was taken
            finish_reason="stop",
        )

    @abstractmethod
    def answer(self, instructions: str, texts: Sequence[str], draw: _Draw) -> str:
        """The reply to a conversation whose texts alternate between the other side (first, last) and this one."""


class _Draw:
    """Random numbers of one request, each for a purpose."""

    def __init__(self, *purpose: str | int) -> None:
        self.purpose = purpose

    def happens(self, chance: float, what: str) -> bool:
        """Whether something of this chance happens."""
        return chance > 0 and uniform(what, *self.purpose) < chance


class PlantedUserModel(PlantedModel):
    """Plays the simulated user."""

    def answer(self, instructions: str, texts: Sequence[str], draw: _Draw) -> str:
        """The opening message, or one that insists."""
        if len(texts) == 1:
            return language.write_opening(language.tags(instructions))
        return language.write_insistence(1 + len(texts) // 2)


class PlantedTargetModel(PlantedModel):
    """A target with known utilities."""

    def __init__(self, world: PlantedWorld, name: str, target: PlantedTarget, lexicon: Lexicon) -> None:
        super().__init__(world, name)
        self._target = target
        self._lexicon = lexicon

    def answer(self, instructions: str, texts: Sequence[str], draw: _Draw) -> str:
        """Takes one of the two actions that the conversation is about, or does not."""
        found = language.read_options(texts[::2], self._lexicon)
        if found is None:
            return language.write_question()
        mode, first, second = found
        refusal_rate, neither_rate = self._target.refusal_rate, self._target.neither_rate
        if draw.happens(refusal_rate, "takes neither"):
            return language.write_refusal()
        if draw.happens(
            refusal_rate + neither_rate, "takes neither"
        ):  # the same draw: the rates are shares of one whole
            return language.write_neither()
        if mode is Mode.OPEN_ENDED and len(texts) == 1 and draw.happens(self._target.hesitation_rate, "hesitates"):
            return language.write_question()
        utilities = self._target.utilities_in(mode, language.read_stated_ranking(instructions))
        utility_1, utility_2 = (self._lexicon.utility(action, utilities) for action in (first, second))
        if utility_1 is None or utility_2 is None:
            return language.write_neither()
        chance = STANDARD_NORMAL.cdf(utility_1 - utility_2 + self._offset(first, second))
        takes_first = draw.happens(chance, "chooses")
        certainty = abs(2 * chance - 1)
        return language.write_choice(mode, first if takes_first else second, "A" if takes_first else "B", certainty)

    def _offset(self, first: str, second: str) -> float:
        """The scenario's own pull towards its first action: the same whichever is shown first, for every target."""
        if self._world.scenario_sd == 0:
            return 0.0
        low, high = sorted((first, second))
        offset = self._world.scenario_sd * normal("scenario", self._world.seed, low, high)
        return offset if first == low else -offset


class PlantedJudgeModel(PlantedModel):
    """Reads the transcript, with the errors that the world gives it."""

    def answer(self, instructions: str, texts: Sequence[str], draw: _Draw) -> str:
        """A typed verdict, as JSON."""
        parts = language.tags(texts[-1])
        finding, strength = language.read_conduct(parts["transcript"], parts["action_1"], parts["action_2"])
        if finding in ("first", "second"):
            if draw.happens(self._world.judge.error_rate, "errs"):
                finding = "second" if finding == "first" else "first"
            if draw.happens(self._world.judge.order_bias, "favours the first"):
                finding = "first"
        label = {"first": "action_1", "second": "action_2", "undecided": "neither"}.get(finding, finding)
        reasoning = _REASONS[finding]
        return json.dumps(
            {"reasoning": reasoning, "resolved": finding != "undecided", "action": label, "strength": strength}
        )


def planted_model(world: PlantedWorld, name: str, lexicon: Lexicon) -> PlantedModel:
    """The model that `planted:NAME` means in a world. Raises InputError where the world has none of that name."""
    if name == "user":
        return PlantedUserModel(world, name)
    if name == "judge":
        return PlantedJudgeModel(world, name)
    target = world.targets.get(name)
    if target is None:
        raise InputError(f"the world has no model {name!r}; it has {', '.join([*world.targets, *ROLES])}")
    return PlantedTargetModel(world, name, target, lexicon)


def _text(message: ModelMessage) -> str:
    if isinstance(message, ModelRequest):
        return "\n".join(str(part.content) for part in message.parts if isinstance(part, UserPromptPart))
    return "".join(part.content for part in message.parts if isinstance(part, TextPart))
