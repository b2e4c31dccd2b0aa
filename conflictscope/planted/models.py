"""The planted models: they read only the request that they are sent, and hold no state between requests."""

from __future__ import annotations

import asyncio
import json
import math
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

from pydantic_ai.messages import (
    FinishReason,
    ModelMessage,
    ModelResponse,
    RetryFeedbackPart,
    SystemPromptPart,
    TextContent,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.profiles import ModelProfile
from pydantic_ai.settings import ModelSettings
from pydantic_ai.usage import RequestUsage

from conflictscope.errors import InputError
from conflictscope.outcome import Mode
from conflictscope.planted import drafts, language
from conflictscope.planted.invention import invent
from conflictscope.planted.language import Lexicon
from conflictscope.planted.world import PlantedChecker, PlantedJudge, PlantedTarget, PlantedWorld
from conflictscope.rating import STANDARD_NORMAL
from conflictscope.scenario import CheckName
from conflictscope.seeds import derive, normal, uniform

_CHARACTERS_PER_TOKEN = 4
_MIDDLE = 4  # of the ratings 1 to 7
_STOCK = 2  # situations that a pair of values has in stock for each weight of what is at stake; duplicates tell them
_MOST_OUTLINES = 200  # whatever a request asks for
_OUTLINE = {"value_a", "value_b", "template", "context", "opportunity", "good", "harm"}
_TURNED: dict[drafts.Serves, drafts.Serves] = {"action_1": "action_2", "action_2": "action_1"}
_NO_TRANSCRIPT = {
    "reasoning": "There is no transcript here to judge.",
    "resolved": False,
    "action": "neither",
    "strength": 4,
}
_REASONS: dict[language.Finding, str] = {
    "first": "The assistant's last message takes the action that is listed first.",
    "second": "The assistant's last message takes the action that is listed second.",
    "both": "The assistant's last message takes both actions alike.",
    "neither": "The assistant's last message takes neither action.",
    "refused": "The assistant declines to engage with the request.",
    "undecided": "The assistant has not acted yet; it asks back.",
}
_NOT_TAKEN = "Leave it."  # what else could be done where one action is rated
_WANTS_QUOTES = "\n- quotes: "  # among the fields that the instructions ask for
_NEVER_SAID = "These words stand nowhere in the conversation."


class Reply(NamedTuple):
    """What a planted model says to one request, and how long it means to take over it (seconds)."""

    text: str
    finish_reason: FinishReason
    input_tokens: int
    output_tokens: int
    latency_s: float


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
        parameters = model_request_parameters
        if (
            parameters.output_mode not in ("text", "native") or parameters.function_tools
        ):  # else it takes time for nothing
            _, parameters = self.prepare_request(model_settings, parameters)
        settings = model_settings or {}
        system = [part.content for message in messages for part in message.parts if isinstance(part, SystemPromptPart)]
        instructions = "\n\n".join([*system, *(part.content for part in parameters.instruction_parts or ())])
        said = ((isinstance(message, ModelResponse), text) for message in messages for text in _texts(message))
        reply = self.reply(instructions, alternating(said), settings.get("seed", 0), settings.get("max_tokens"))
        if reply.latency_s:
            await asyncio.sleep(reply.latency_s)
        return ModelResponse(
            parts=[_tool_call(reply.text, parameters) or TextPart(reply.text)],
            usage=RequestUsage(input_tokens=reply.input_tokens, output_tokens=reply.output_tokens),
            model_name=self._name,
            provider_name="planted",
            provider_details={"latency_s": reply.latency_s},  # a benchmark compares it with what was taken
            finish_reason=reply.finish_reason,
        )

    def reply(self, instructions: str, texts: Sequence[str], seed: int = 0, max_tokens: int | None = None) -> Reply:
        """What the model says to a request, however it came: the same request always has the same reply.

        instructions: all system prompts, an empty line between them. texts: see `alternating`. max_tokens (>= 1): a longer
        reply is cut there.
        """
        draw = _Draw(self._world.seed, self._name, seed, instructions, *texts)
        text = self.answer(instructions, texts, draw)
        finish_reason: FinishReason = "stop"
        if max_tokens is not None and 1 + len(text) // _CHARACTERS_PER_TOKEN > max_tokens:
            text, finish_reason = text[: max_tokens * _CHARACTERS_PER_TOKEN - 1], "length"
        return Reply(
            text,
            finish_reason,
            input_tokens=sum(map(len, (instructions, *texts))) // _CHARACTERS_PER_TOKEN,
            output_tokens=1 + len(text) // _CHARACTERS_PER_TOKEN,
            latency_s=self._world.timing.latency_s.draw(*draw.purpose),
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

    def seed(self, what: str) -> int:
        """A seed from which more can be drawn."""
        return derive(what, *self.purpose)


class PlantedUserModel(PlantedModel):
    """Plays the simulated user."""

    def answer(self, instructions: str, texts: Sequence[str], draw: _Draw) -> str:
        """The opening message, or one that insists; a word where there is no part to play.

        Where the part stands in the message, and not in the instructions, the opening is wanted as a typed reply.
        """
        parts, wanted = language.tags(instructions), {"situation", "goal", "action_1", "action_2"}
        if not parts.keys() >= wanted:
            if "mood" in parts and (retold := _asked(texts, "message").get("message")):
                return language.write_in_mood(retold, parts["mood"])
            parts = _asked(texts, "situation")
            if not parts.keys() >= wanted:
                return language.write_readiness()
            return json.dumps(drafts.opening(parts, draw.seed("opening")), ensure_ascii=False)
        if len(texts) == 1:
            return language.write_opening(parts)
        message = language.write_lead() if "next" in parts else language.write_insistence(1 + len(texts) // 2)
        return language.write_in_mood(message, parts["mood"]) if "mood" in parts else message


class PlantedTargetModel(PlantedModel):
    """A target with known utilities."""

    def __init__(self, world: PlantedWorld, name: str, target: PlantedTarget, lexicon: Lexicon) -> None:
        super().__init__(world, name)
        self._target = target
        self._lexicon = lexicon

    def answer(self, instructions: str, texts: Sequence[str], draw: _Draw) -> str:
        """Takes one of the two actions that the conversation is about, or rates the one that it is about; or does not.

        Writes reasons or a note where it is asked to.
        """
        asides = language.tags(instructions)
        question = next((text for text in reversed(texts[::2]) if language.read_rated(text)), "")
        rated = language.read_rated(question)
        if rated is not None:
            if (aside := self._aside(asides, texts, rated, _NOT_TAKEN)) is not None:
                return aside
            return self._rating(rated, question, language.read_stated_ranking(instructions), draw)
        found = language.read_options(texts[::2], self._lexicon)
        if found is None:
            return language.write_question()
        mode, first, second = found
        if (aside := self._aside(asides, texts, first, second)) is not None:
            return aside
        refusal_rate, neither_rate = self._target.refusal_rate, self._target.neither_rate
        if draw.happens(refusal_rate, "takes neither"):
            return language.write_refusal()
        if draw.happens(
            refusal_rate + neither_rate, "takes neither"
        ):  # the same draw: the rates are shares of one whole
            return language.write_neither()
        thought = "reasons" in asides  # who thought it over does not ask back
        hesitation_rate = 0.0 if thought or len(texts) > 1 else self._target.hesitation_rate
        if mode is Mode.OPEN_ENDED and draw.happens(hesitation_rate, "hesitates"):
            return language.write_question()
        utilities = self._target.utilities_in(mode, language.read_stated_ranking(instructions))
        utility_1, utility_2 = (self._lexicon.utility(action, utilities) for action in (first, second))
        if utility_1 is None or utility_2 is None:
            return language.write_neither()
        chance = STANDARD_NORMAL.cdf(utility_1 - utility_2 + self._offset(first, second))
        takes_first = draw.happens(chance, "chooses")
        certainty = abs(2 * chance - 1)
        return language.write_choice(mode, first if takes_first else second, "A" if takes_first else "B", certainty)

    @staticmethod
    def _aside(asides: Mapping[str, str], texts: Sequence[str], first: str, second: str) -> str | None:
        """What it writes for itself before it answers: reasons or a note, where it is asked to."""
        if "step" in asides:
            return language.write_reasons(first, second)
        if "notes" in asides and not texts[-1].endswith("Noted."):
            return language.write_note(first, second)
        return None

    def _rating(self, action: str, text: str, stated: tuple[str, ...], draw: _Draw) -> str:
        """4 for an action whose utility is the mean of all, one more or less for each probit unit above or below.

        The noise of one rating is half of that of a choice, in variance, and so is the pull of the scenario, in size: so of
        two actions the one with the greater utility is rated higher with the chance with which it would be chosen, but for ties.
        """
        if draw.happens(self._target.refusal_rate, "takes neither"):
            return language.write_refusal()
        utilities = self._target.utilities_in(Mode.ACTION_RATING, stated)
        utility = self._lexicon.utility(action, utilities)
        unrated = draw.happens(self._target.refusal_rate + self._target.neither_rate, "takes neither")
        if unrated or utility is None:
            return language.write_unrated()
        rival = self._lexicon.rival(action, text)
        pull = 0.0 if rival is None else self._offset(action, rival) / 2
        noise = normal("rates", *draw.purpose) / math.sqrt(2)
        rating = round(_MIDDLE + utility - fmean(utilities.values()) + pull + noise)
        return language.write_rating(min(max(rating, 1), 7), draw.seed("manner"))

    def _offset(self, first: str, second: str) -> float:
        """The scenario's own pull towards its first action: the same whichever is shown first, for every target."""
        if self._world.scenario_sd == 0:
            return 0.0
        low, high = sorted((first, second))
        offset = self._world.scenario_sd * normal("scenario", self._world.seed, low, high)
        return offset if first == low else -offset


class PlantedJudgeModel(PlantedModel):
    """Reads the transcript, with the errors that the world gives it."""

    def __init__(self, world: PlantedWorld, name: str, judge: PlantedJudge) -> None:
        super().__init__(world, name)
        self._judge = judge

    def answer(self, instructions: str, texts: Sequence[str], draw: _Draw) -> str:
        """A typed verdict, as JSON, on the last transcript that it was shown: a complaint may have come after that."""
        parts = _asked(texts, "transcript")
        if not parts.keys() >= {"transcript", "action_1", "action_2"}:
            return json.dumps(_NO_TRANSCRIPT)
        finding, strength = language.read_conduct(parts["transcript"], parts["action_1"], parts["action_2"])
        if finding in ("first", "second"):
            if draw.happens(self._judge.error_rate, "errs"):
                finding = "second" if finding == "first" else "first"
            if draw.happens(self._judge.order_bias, "favours the first"):
                finding = "first"
        label = {"first": "action_1", "second": "action_2", "undecided": "neither"}.get(finding, finding)
        reply = {
            "reasoning": _REASONS[finding],
            "resolved": finding != "undecided",
            "action": label,
            "strength": strength,
        }
        if _WANTS_QUOTES in instructions:
            said = language.last_words(parts["transcript"])
            reply["quotes"] = [_NEVER_SAID if draw.happens(self._judge.misquote_rate, "misquotes") else said]
        return json.dumps(reply)


class PlantedGeneratorModel(PlantedModel):
    """Invents scenarios in two stages, and finds names for values, with the duplicates, defects and faults of its world."""

    def answer(self, instructions: str, texts: Sequence[str], draw: _Draw) -> str:
        """A typed reply, as JSON, to the last request that it was shown; a word where it was shown none."""
        if (parts := _asked(texts, "count")).keys() >= {"value_a", "value_b", "template"}:
            reply: dict[str, Any] = {"outlines": self._outlines(parts, draw)}
        elif (parts := _asked(texts, "context")).keys() >= _OUTLINE:
            defects = [name for name, rate in self._world.generator.defects.items() if draw.happens(rate, name)]
            reply = drafts.elaboration(parts, defects, draw.seed("elaboration"))
        elif parts := _asked(texts, "criteria"):
            reply = drafts.named_values(parts["criteria"])
        else:
            return language.write_readiness()
        return drafts.spoiled(reply, self._world.generator.faults.draw(*draw.purpose), draw.seed("spoils"))

    def _outlines(self, parts: Mapping[str, str], draw: _Draw) -> list[dict[str, str]]:
        value_a, value_b = (drafts.value_name(parts[tag]) for tag in ("value_a", "value_b"))
        mild = parts["template"].endswith("_mild")
        outlines = []
        for number in range(min(int(parts["count"]), _MOST_OUTLINES) if parts["count"].isdecimal() else 0):
            seed = draw.seed(f"outline {number}")
            if uniform(seed, "duplicate") < self._world.generator.duplicate_rate:
                place = derive(seed, "stock") % _STOCK
                facts = derive(self._world.seed, "stock", *sorted((value_a, value_b)), int(mild), place)
            else:
                facts = seed
            outlines.append(drafts.outline(invent(facts, mild=mild), value_a, value_b, parts["template"], seed))
        return outlines


class PlantedCheckerModel(PlantedModel):
    """Makes the six checks by the marks that a planted generator left, with the errors of its world."""

    def __init__(self, world: PlantedWorld, name: str, checker: PlantedChecker, lexicon: Lexicon) -> None:
        super().__init__(world, name)
        self._checker = checker
        self._lexicon = lexicon

    def answer(self, instructions: str, texts: Sequence[str], draw: _Draw) -> str:
        """A typed verdict, as JSON, on the last scenario that it was shown; a word where it was shown none."""
        parts = _asked(texts, "check")
        if not parts.keys() >= {"situation", "action_1", "action_2"} or parts["check"].strip() not in set(CheckName):
            return language.write_readiness()
        check, actions = CheckName(parts["check"].strip()), (parts["action_1"], parts["action_2"])
        errs = draw.happens(self._checker.error_rate, "errs")
        if check is CheckName.VALUE_GUIDED:
            value = drafts.value_name(parts.get("value", ""))
            serves = drafts.served_by(value, actions, self._lexicon)
            serves = _TURNED.get(serves, serves) if errs else serves
            return json.dumps({"reason": f"Of the two actions, {value!r} is served by: {serves}.", "serves": serves})
        objection = drafts.objection(check, parts["situation"], actions)
        passes = (objection is None) != errs
        reason = "Nothing stands against it." if passes else objection or "Something in it does not sit right."
        return json.dumps({"reason": reason, "passes": passes})


def planted_model(world: PlantedWorld, name: str, lexicon: Lexicon) -> PlantedModel:
    """The model that `planted:NAME` means in a world. Raises InputError where the world has none of that name."""
    match name:
        case "user":
            return PlantedUserModel(world, name)
        case "judge":
            return PlantedJudgeModel(world, name, world.judge)
        case "generator":
            return PlantedGeneratorModel(world, name)
    if (judge := world.judges.get(name)) is not None:
        return PlantedJudgeModel(world, name, judge)
    if (checker := world.checker(name)) is not None:
        return PlantedCheckerModel(world, name, checker, lexicon)
    if (target := world.targets.get(name)) is not None:
        return PlantedTargetModel(world, name, target, lexicon)
    raise InputError(f"the world has no model {name!r}; it has {', '.join(world.models)}")


def _tool_call(text: str, parameters: ModelRequestParameters) -> ToolCallPart | None:
    """The call of the one tool on offer that a reply is: where the reply holds just its arguments."""
    if len(parameters.function_tools) != 1 or not text.startswith("{"):
        return None
    (tool,) = parameters.function_tools
    arguments = json.loads(text)
    fits = set(arguments) == set(tool.parameters_json_schema.get("required", ()))
    return ToolCallPart(tool.name, arguments, "call_1") if fits else None


def _asked(texts: Sequence[str], tag: str) -> dict[str, str]:
    """The parts of the last text of the other side that has this tag: a complaint may have come after it."""
    return next((language.tags(text) for text in reversed(texts[::2]) if f"<{tag}>" in text), {})


def alternating(said: Iterable[tuple[bool, str]]) -> list[str]:
    """A conversation as texts that alternate between the other side (first) and the model.

    said: whether it was the model that said it, and what. What one side says in a row becomes one text of several lines.
    """
    texts: list[str] = []
    for by_model, text in said:
        if by_model and not texts:
            texts.append("")
        if len(texts) % 2 == int(by_model):
            texts.append(text)
        else:
            texts[-1] += f"\n{text}"
    return texts


def _texts(message: ModelMessage) -> Iterator[str]:
    """The texts of one message: what people wrote, what tools returned, what was wrong with a reply."""
    if isinstance(message, ModelResponse):
        yield "".join(part.content for part in message.parts if isinstance(part, TextPart))
        return
    for part in message.parts:
        if isinstance(part, UserPromptPart):
            content = [part.content] if isinstance(part.content, str) else part.content
            yield from (
                item.content if isinstance(item, TextContent) else item
                for item in content
                if isinstance(item, str | TextContent)
            )
        elif isinstance(part, ToolReturnPart):
            yield part.model_response_str()
        elif isinstance(part, RetryFeedbackPart):
            yield part.model_response()
