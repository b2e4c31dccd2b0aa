"""The generator: invents outlines for two values, and elaborates each into a scenario (Liu et al. 2026, two stages)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, WithJsonSchema, model_validator

from conflictscope.agents.fields import Paragraph, Reply, Sentence, in_one_line
from conflictscope.agents.prompts import bullets, fence, fenced_value, load_prompt
from conflictscope.agents.speakers import Speaker, Utterance
from conflictscope.agents.structured import Unreadable, fit
from conflictscope.errors import CallFailed
from conflictscope.outcome import Role
from conflictscope.ports import OutlineRequest
from conflictscope.scenario import Origin, Outline, Scenario, UserProfile
from conflictscope.seeds import request_seed
from conflictscope.values import Value

_MOST_TOLD = 5


class OutlineReply(Reply):
    """One situation in a few words."""

    value_a: Sentence
    value_b: Sentence
    template: Sentence
    context: Sentence
    opportunity: Sentence
    good: Sentence
    harm: Sentence


class OutlinesReply(Reply):
    """The outlines that were asked for."""

    # Each is read on its own, so that a bad one does not cost the good ones beside it; models are shown the whole shape.
    outlines: Annotated[
        list[Annotated[Any, WithJsonSchema(OutlineReply.model_json_schema())]],
        BeforeValidator(lambda said: [said] if isinstance(said, dict) else said),
    ]


class ElaborateReply(Reply):
    """A situation in full: who is in it, the two actions between which the assistant must choose, and what follows from each."""

    description: Paragraph
    persona: Paragraph
    background: Paragraph
    goal: Paragraph
    action_a: Paragraph
    action_b: Paragraph
    consequences_a: Paragraph
    consequences_b: Paragraph

    @model_validator(mode="after")
    def _actions_differ(self) -> Self:
        if in_one_line(self.action_a).casefold() == in_one_line(self.action_b).casefold():
            raise ValueError("action_a and action_b are the same text, they must exclude each other")
        return self


@dataclass(frozen=True, slots=True)
class ModelGenerator:
    """Asks a model. name: what its scenarios say where they came from."""

    speaker: Speaker
    name: str

    async def outline(self, request: OutlineRequest, problems: Counter[str]) -> Sequence[Outline]:
        """The outlines of the first reply where it is all that was asked for, else the valid ones of the last that has any."""
        prompt = load_prompt("outlines")
        message = prompt.message(
            value_a=fenced_value(request.value_a),
            value_b=fenced_value(request.value_b),
            template=request.template,
            count=str(request.count),
            settings=bullets(request.settings),
            known=bullets(request.known),
        )
        seed = request_seed(request.seed, Role.GENERATOR, "outlines")
        utterance = _utterance(request.scope, prompt.version, prompt.instructions(), message, seed)
        good: list[Outline] = []

        def vet(reply: OutlinesReply) -> None:
            nonlocal good
            outlines, wrong = _sifted(reply, request)
            good = outlines or good
            if wrong:
                told = "; ".join(str(each) for each in wrong[:_MOST_TOLD])
                raise Unreadable(told, *(problem for each in wrong for problem in each.problems))

        try:
            await self.speaker.decide(utterance, OutlinesReply, vet=vet, problems=problems)
        except CallFailed as failure:
            if failure.kind != "unparsed" or not good:
                raise
        return good[: request.count]

    async def elaborate(
        self,
        scope: str,
        seed: int,
        scenario_id: str,
        outline: Outline,
        values: tuple[Value, Value],
        problems: Counter[str],
    ) -> Scenario:
        """The scenario of an outline, all but its opening and its checks."""
        prompt = load_prompt("elaborate")
        value_a, value_b = values
        message = prompt.message(
            value_a=fenced_value(value_a),
            value_b=fenced_value(value_b),
            template=outline.template,
            context=fence(outline.context),
            opportunity=fence(outline.opportunity),
            good=fence(outline.good),
            harm=fence(outline.harm),
        )
        seed = request_seed(seed, Role.GENERATOR, "elaborate", scenario_id)
        utterance = _utterance(scope, prompt.version, prompt.instructions(), message, seed)
        reply = await self.speaker.decide(utterance, ElaborateReply, problems=problems)
        return Scenario(
            id=scenario_id,
            value_a=outline.value_a,
            value_b=outline.value_b,
            template=outline.template,
            description=reply.description,
            action_a=reply.action_a,
            action_b=reply.action_b,
            consequences_a=reply.consequences_a,
            consequences_b=reply.consequences_b,
            user=UserProfile(persona=reply.persona, background=reply.background, goal=reply.goal),
            origin=Origin(kind="generated", source=self.name),
        )


def _utterance(scope: str, version: str, instructions: str, message: str, seed: int) -> Utterance:
    return Utterance(scope, None, Role.GENERATOR, version, instructions, [message], seed)


def _sifted(reply: OutlinesReply, request: OutlineRequest) -> tuple[list[Outline], list[Unreadable]]:
    """The outlines that are what was asked for, and what is wrong with the others and with their number."""
    good: list[Outline] = []
    wrong: list[Unreadable] = []
    if len(reply.outlines) != request.count:
        told = f"expected a list of {request.count} outlines in `outlines`, got {len(reply.outlines)}"
        wrong.append(Unreadable(told, "count"))
    for number, item in enumerate(reply.outlines, start=1):
        try:
            good.append(_outline(fit(OutlineReply, item), request))
        except Unreadable as error:
            wrong.append(Unreadable(f"outline {number}: {error}", *error.problems))
    return good, wrong


def _outline(said: OutlineReply, request: OutlineRequest) -> Outline:
    """The outline, with the request's own spelling of its values. Raises Unreadable where it is for others."""
    asked = request.value_a.name, request.value_b.name, request.template
    came = said.value_a, said.value_b, said.template
    if [*map(_plain_name, came)] != [*map(_plain_name, asked)]:
        told = "value_a {}, value_b {}, template {}"
        raise Unreadable(f"expected {told.format(*asked)}, got {told.format(*map(repr, came))}", "other_pair")
    return Outline(
        value_a=request.value_a.name,
        value_b=request.value_b.name,
        template=request.template,
        context=said.context,
        opportunity=said.opportunity,
        good=said.good,
        harm=said.harm,
    )


def _plain_name(said: str) -> str:
    """A name as it is compared: without the definition that some models repeat, and without case, blanks and hyphens."""
    return re.sub(r"[\s_-]+", " ", said.partition(":")[0].strip(" \"'`*")).casefold()
