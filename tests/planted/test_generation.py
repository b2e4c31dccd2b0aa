from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise, product
from math import sqrt
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from pydantic_ai.direct import model_request
from pydantic_ai.messages import ModelRequest, TextPart, ToolCallPart, UserPromptPart
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.output import OutputObjectDefinition
from pydantic_ai.settings import ModelSettings
from pydantic_ai.tools import ToolDefinition

from conflictscope.agents.prompts import fence
from conflictscope.documents import read_document
from conflictscope.errors import InputError
from conflictscope.library import builtin_names, find, load_value_set
from conflictscope.outcome import Mode
from conflictscope.planted import (
    Lexicon,
    PlantedWorld,
    defects_of,
    facts_of,
    language,
    parse_world,
    planted_model,
    wordings,
)
from conflictscope.planted.drafts import ARTIFACT, _manner
from conflictscope.planted.models import PlantedModel
from conflictscope.planted.world import GeneratorFaults
from conflictscope.scenario import CheckName, Outline, Scenario, Template, UserProfile
from conflictscope.values import ValueSet
from tests.planted.served import CHAT, LEXICON, MESSAGES, models, plant, world

HONESTY, CARE = "honesty: Saying what is so.", "care: Looking after <people> & animals."
NOTHING = Lexicon({}, {})
FIELDS = {"description", "persona", "background", "goal", "action_a", "action_b", "consequences_a", "consequences_b"}
TARGETS = {"targets": {"t": {"utilities": {"honesty": 1.0, "care": 0.0}}}}
TARGET_FILE = "[targets.t]\nutilities = { honesty = 1.0 }\n"


def planted(name: str = "generator", **sections: Any) -> PlantedModel:
    """A model of a small world."""
    return planted_model(PlantedWorld.model_validate({**TARGETS, **sections}), name, NOTHING)


def prompt(**parts: str) -> str:
    """A message as the agents write it: a tag on its own line, what it holds on the next ones."""
    return "\n".join(f"<{tag}>\n{fence(text)}\n</{tag}>" for tag, text in parts.items())


def outlines_prompt(template: str = "coc", count: int = 5, value_a: str = HONESTY, value_b: str = CARE) -> str:
    return prompt(
        value_a=value_a, value_b=value_b, template=template, count=str(count), settings="- a harbour", known=""
    )


def outlines(model: PlantedModel, seed: int = 0, **asked: Any) -> list[Outline]:
    """What a generator invents, valid by the shape of an outline."""
    reply = json.loads(model.reply("", [outlines_prompt(**asked)], seed).text)
    assert reply.keys() == {"outlines"}
    return [Outline.model_validate(each) for each in reply["outlines"]]


def elaborate_prompt(outline: Outline) -> str:
    told = {value.partition(":")[0]: value for value in (HONESTY, CARE)}
    parts = outline.model_dump(mode="json")
    return prompt(**(parts | {side: told.get(parts[side], parts[side]) for side in ("value_a", "value_b")}))


def elaborated(model: PlantedModel, outline: Outline, seed: int = 0) -> Scenario:
    """The scenario that a generator makes of an outline."""
    reply = json.loads(model.reply("", [elaborate_prompt(outline)], seed).text)
    assert reply.keys() == FIELDS
    user = UserProfile(**{field: reply.pop(field) for field in ("persona", "background", "goal")})
    return Scenario(
        id="s", value_a=outline.value_a, value_b=outline.value_b, template=outline.template, user=user, **reply
    )


def scenarios(model: PlantedModel, count: int) -> Iterator[Scenario]:
    """Scenarios of many requests, over all templates and both orders of the values."""
    for seed, (template, flipped) in zip(
        range(count), (pair for _ in range(count) for pair in product(Template, (False, True))), strict=False
    ):
        first, second = (CARE, HONESTY) if flipped else (HONESTY, CARE)
        (outline,) = outlines(model, seed, template=template, count=1, value_a=first, value_b=second)
        yield elaborated(model, outline, seed)


def check_prompt(scenario: Scenario, check: CheckName, value: str = "", *, a_first: bool = True) -> str:
    assert scenario.user is not None
    actions = (scenario.action_a, scenario.action_b)[:: 1 if a_first else -1]
    return prompt(
        check=check.value,
        situation=scenario.description,
        **scenario.user.model_dump(),
        action_1=actions[0],
        action_2=actions[1],
        **({"value": f"{value}: as defined"} if value else {}),
    )


def passes(checker: PlantedModel, scenario: Scenario, check: CheckName, *, a_first: bool = True) -> list[bool]:
    """The verdicts of a checker: one, or of value_guided one for each value."""
    if check is not CheckName.VALUE_GUIDED:
        reply = json.loads(checker.reply("", [check_prompt(scenario, check, a_first=a_first)]).text)
        assert reply.keys() == {"reason", "passes"}
        return [reply["passes"]]
    verdicts = []
    for value, is_a in ((scenario.value_a, True), (scenario.value_b, False)):
        reply = json.loads(checker.reply("", [check_prompt(scenario, check, value, a_first=a_first)]).text)
        assert reply.keys() == {"reason", "serves"}
        verdicts.append(reply["serves"] == ("action_1" if is_a == a_first else "action_2"))
    return verdicts


def assert_rate(happened: int, of: int, chance: float) -> None:
    """The share agrees with the chance, within 4 standard errors."""
    assert happened / of == pytest.approx(chance, abs=4 * sqrt(chance * (1 - chance) / of))


# -- the world file ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[generator]\nduplicate_rate = 2\n", "4: generator.duplicate_rate: Input should be less than or equal to 1"),
        ("[generator]\ndefects = { real = 0.1 }\n", "4: generator.defects.real.[key]: Input should be 'realistic', "),
        ("[generator.faults]\nprose = 0.6\nbroken = 0.6\n", "3: generator.faults: the rates must add up to <= 1, got 1.2"),
        ("[generator.faults]\nprosa = 0.6\n", "4: unknown key 'generator.faults.prosa'; did you mean 'prose'?"),
        ("[checkers.strict]\nerror_rate = -1\n", "4: checkers.strict.error_rate: Input should be greater than or equal to 0"),
        ("[checkers.t]\nerror_rate = 0.1\n", "3: checkers.t: the name 't' belongs to a target"),
        ("[checkers.judge]\nerror_rate = 0.1\n", "3: checkers.judge: the name 'judge' belongs to a role"),
        ("[targets.checker]\nutilities = { honesty = 1.0 }\n", "3: targets.checker: the name 'checker' belongs to a role"),
        ("[targets.generator]\nutilities = { honesty = 1.0 }\n", "3: targets.generator: the name 'generator' belongs to a role"),
    ],
)  # fmt: skip
def test_a_generator_or_checker_that_cannot_be_is_told(tmp_path: Path, text: str, told: str) -> None:
    """An impossible rate, an unknown check or fault, or a name that is taken is told with line and key."""
    (tmp_path / "world.toml").write_text(TARGET_FILE + text)
    with pytest.raises(InputError) as caught:
        parse_world(read_document(tmp_path / "world.toml"))
    assert f"world.toml:{told}" in str(caught.value)


def test_a_world_has_a_generator_a_checker_and_those_that_it_names(tmp_path: Path) -> None:
    """`checker` is there once, whether the file speaks of it or not; a further checker is no target."""
    (tmp_path / "world.toml").write_text(
        TARGET_FILE + "[checkers.checker]\nerror_rate = 1\n[checkers.lax]\nerror_rate = 0.2\n"
    )
    made = parse_world(read_document(tmp_path / "world.toml"))
    assert made.models == ("t", "user", "judge", "generator", "checker", "lax")
    assert all(planted_model(made, name, NOTHING).model_name == name for name in made.models)
    assert planted().reply("", ["Answer with the word ready."]).text
    with pytest.raises(InputError, match="target 'planted:lax' is a role, not a target"):
        made.check_target("lax", ["honesty"])


# -- what the generator invents ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("template", Template)
@pytest.mark.parametrize("count", [1, 5, 20])
def test_outlines_are_as_asked(template: Template, count: int) -> None:
    """As many as asked, of the pair in its order and of the template, each of another situation."""
    made = outlines(planted(), template=template, count=count)
    assert [(each.value_a, each.value_b, each.template) for each in made] == [("honesty", "care", template)] * count
    assert len({facts_of(each.context) for each in made}) == count
    served, harmed = ("honesty", "care") if template.value.startswith("coc") else ("care", "honesty")
    assert all(served in each.good.lower() and harmed in each.harm.lower() for each in made)
    mild = template.value.endswith("_mild")
    assert all((facts_of(each.context).stakes >= len(wordings.GRAVE)) == mild for each in made)


def test_an_elaboration_tells_the_situation_of_its_outline() -> None:
    """The outline's text is all that it rests on: same facts, whoever elaborates it, with two different actions."""
    model, other = planted(), planted(seed=8)
    for outline in outlines(model, count=40):
        scenario, again = elaborated(model, outline), elaborated(other, outline)
        assert facts_of(outline.context) == facts_of(scenario.description) == facts_of(again.description)
        assert scenario.description != again.description
        assert defects_of(scenario) == frozenset()


def test_an_outline_by_others_is_elaborated_too() -> None:
    """Its context decides on a situation, so that two others give two."""
    foreign = [
        Outline(
            value_a="honesty",
            value_b="care",
            template=Template.CC,
            context=context,
            opportunity="o",
            good="g",
            harm="h",
        )
        for context in ("A ship is late.", "A ship is early.")
    ]
    first, second, again = (facts_of(elaborated(planted(), outline).description) for outline in (*foreign, foreign[0]))
    assert first == again != second


def test_the_actions_of_a_scenario_are_told_apart_by_their_words() -> None:
    """What a planted target takes a planted judge names, whether it quotes the action or uses words that only it has."""
    for scenario in scenarios(planted(), 100):
        for finding, action in (("first", scenario.action_a), ("second", scenario.action_b)):
            for said in (language.write_choice(Mode.OPEN_ENDED, action, "", 1.0), " ".join(reversed(action.split()))):
                transcript = f'<message from="assistant">\n{fence(said)}\n</message>'
                assert language.read_conduct(transcript, scenario.action_a, scenario.action_b)[0] == finding


def test_duplicates_appear_at_their_rate() -> None:
    """So many outlines tell one of a few situations of the pair, whatever the order of its values; the others none twice."""
    model = planted(generator={"duplicate_rate": 0.2})
    told = Counter(
        facts_of(each.context)
        for seed in range(100)
        for first, second in pairwise((HONESTY, CARE, HONESTY))
        for each in outlines(model, seed, count=10, value_a=first, value_b=second)
    )
    repeated = [count for count in told.values() if count > 1]
    assert len(repeated) == 2
    assert_rate(sum(repeated), 2_000, 0.2)
    elsewhere = {
        facts_of(each.context) for seed in range(20) for each in outlines(model, seed, value_b="thrift: Sparing.")
    }
    assert not elsewhere & told.keys()


def test_defects_are_what_was_planted_at_their_rates() -> None:
    """Each check has its own rate, independent of the others, and what can be read is what was drawn."""
    rates = {name: 0.05 * number for number, name in enumerate(CheckName, start=1)}
    found = [defects_of(scenario) for scenario in scenarios(planted(generator={"defects": rates}), 800)]
    for name, rate in rates.items():
        assert_rate(sum(name in defects for defects in found), len(found), rate)
    both = CheckName.VALUE_GUIDED, CheckName.CONTESTED
    assert_rate(sum(set(both) <= defects for defects in found), len(found), rates[both[0]] * rates[both[1]])


@pytest.mark.parametrize("name", CheckName)
def test_a_defect_touches_its_own_check_only_and_not_the_facts(name: CheckName) -> None:
    """It can be read, alone, and the situation still is the one of the outline."""
    model = planted(generator={"defects": {name: 1.0}})
    for outline in outlines(model, count=20):
        scenario = elaborated(model, outline)
        assert defects_of(scenario) == {name}
        assert facts_of(scenario.description) == facts_of(outline.context)


def test_a_scenario_by_people_has_no_planted_defect() -> None:
    """There is nothing to read in it."""
    plain = Scenario(id="s", value_a="x", value_b="y", description="A case.", action_a="Go.", action_b="Stay.")
    assert defects_of(plain) == frozenset()


# -- what the generator gets wrong -------------------------------------------------------------------------------------


def problem(text: str) -> str | None:
    """The fault that a reply with three outlines shows."""
    try:
        reply = json.loads(text)
    except ValueError:
        return "broken" if text.startswith("{") else "prose"
    made = reply["outlines"]
    fields = Outline.model_fields.keys()
    if any(each.keys() != fields for each in made):
        return "missing"
    if any(len(text.encode()) == 50_000 for each in made for text in each.values()):
        return "too_long"
    if any((each["value_a"], each["value_b"], each["template"]) != ("honesty", "care", "coc") for each in made):
        return "other_pair"
    return None if len(made) == 3 else "count"


@pytest.mark.parametrize("kind", GeneratorFaults.model_fields)
def test_a_fault_comes_as_asked(kind: str) -> None:
    """A reply that has it with certainty shows it, and nothing else."""
    model = planted(generator={"faults": {kind: 1.0}})
    replies = [model.reply("", [outlines_prompt(count=3)], seed, max_tokens=8192) for seed in range(30)]
    assert {problem(reply.text) for reply in replies} == {kind}
    assert {reply.finish_reason for reply in replies} == {"stop"}
    if kind == "count":
        assert {len(json.loads(reply.text)["outlines"]) for reply in replies} == {2, 4}


def test_faults_appear_at_their_rates() -> None:
    """Each as often as the world says, at most one in a reply, and drawn anew where the same is asked again."""
    rates = {kind: 0.02 * number for number, kind in enumerate(GeneratorFaults.model_fields, start=1)}
    model = planted(generator={"faults": rates})
    found = Counter(problem(model.reply("", [outlines_prompt(count=3)], seed).text) for seed in range(1_500))
    for kind, rate in rates.items():
        assert_rate(found[kind], 1_500, rate)
    asked = outlines_prompt(count=3)
    again = {problem(model.reply("", [asked, "x", f"Wrong {n}."]).text) for n in range(200)}
    assert again == {None, *rates}


@pytest.mark.parametrize("kind", GeneratorFaults.model_fields)
def test_a_fault_of_outlines_leaves_an_elaboration_whole(kind: str) -> None:
    """The others spoil it: no object, half of one, a field less, or one of 50 KB."""
    (outline,) = outlines(planted(), count=1)
    text = planted(generator={"faults": {kind: 1.0}}).reply("", [elaborate_prompt(outline)]).text
    if kind in ("prose", "broken"):
        with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
            json.loads(text)
        return
    reply = json.loads(text)
    assert len(reply) == (7 if kind == "missing" else 8)
    assert (max(len(each.encode()) for each in reply.values()) == 50_000) == (kind == "too_long")


# -- the checkers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("a_first", [True, False])
def test_a_checker_without_errors_finds_every_defect_and_no_other(a_first: bool) -> None:
    """In both orders of the actions, and of value_guided for both values."""
    model = planted(generator={"defects": dict.fromkeys(CheckName, 0.3)})
    for scenario in scenarios(model, 60):
        defects = defects_of(scenario)
        for check in CheckName:
            assert set(passes(planted("checker"), scenario, check, a_first=a_first)) == {check not in defects}


def test_checkers_err_at_their_rates_and_independently() -> None:
    """Verdicts on good and on defective scenarios are turned round as often as the world says, by each checker on its own."""
    sections = {"checkers": {"checker": {"error_rate": 0.1}, "lax": {"error_rate": 0.3}}}
    checkers = [planted(name, **sections) for name in ("checker", "lax")]
    erred: list[tuple[bool, bool]] = []
    for scenario in scenarios(planted(generator={"defects": dict.fromkeys(CheckName, 0.5)}), 300):
        defects = defects_of(scenario)
        for check in CheckName:
            one, other = (passes(checker, scenario, check) for checker in checkers)
            erred += [
                (a != (check not in defects), b != (check not in defects)) for a, b in zip(one, other, strict=True)
            ]
    assert len(erred) == 300 * 7
    assert_rate(sum(a for a, _ in erred), len(erred), 0.1)
    assert_rate(sum(b for _, b in erred), len(erred), 0.3)
    assert_rate(sum(a and b for a, b in erred), len(erred), 0.03)


def test_value_guided_is_known_of_scenarios_by_people() -> None:
    """A checker knows what the actions of its libraries mean; of an action that it knows nothing of it says so."""
    people = Scenario(
        id="s",
        value_a="x",
        value_b="y",
        description="A case.",
        action_a="Go.",
        action_b="Stay.",
        user=UserProfile(persona="p", background="b", goal="g"),
    )
    knowing = planted_model(PlantedWorld.model_validate(TARGETS), "checker", Lexicon.of([people]))
    assert all(
        passes(knowing, people, check) == [True] * (1 + (check is CheckName.VALUE_GUIDED)) for check in CheckName
    )
    asked = check_prompt(people, CheckName.VALUE_GUIDED, "x")
    assert json.loads(planted("checker").reply("", [asked]).text)["serves"] == "neither"


@pytest.mark.parametrize("name", builtin_names("values"))
def test_no_two_values_of_a_set_have_actions_alike(name: str) -> None:
    """In the sets that are built in the manner of an action is that of one value only."""
    names = load_value_set(find("values", name, Path.cwd())).names
    assert len({_manner(each) for each in names}) == len(names)


# -- values and openings -----------------------------------------------------------------------------------------------


@given(st.lists(st.text(min_size=1), min_size=2, max_size=8))
def test_values_from_criteria_make_a_value_set(criteria: list[str]) -> None:
    """One for each numbered line that says something, with names that are valid and differ."""
    lines = [line for each in criteria if (line := " ".join(each.split()))]
    asked = prompt(criteria="\n".join(f"{number}. {line}" for number, line in enumerate(lines, start=1)))
    values = json.loads(planted().reply("", [asked]).text)["values"]
    assert [value["definition"] for value in values] == lines
    if len(values) >= 2:
        assert len(ValueSet.model_validate({"name": "new", "values": values}).values) == len(values)


def test_an_opening_brings_what_its_scenario_needs() -> None:
    """With a text to work on, the mark stands once, on a line of its own, and the text is about the facts; else neither."""
    kinds = Counter()
    for scenario in scenarios(planted(), 150):
        assert scenario.user is not None
        parts = {
            "situation": scenario.description,
            **scenario.user.model_dump(),
            "action_1": scenario.action_a,
            "action_2": scenario.action_b,
        }
        reply = json.loads(planted("user").reply("", [prompt(**parts)]).text)
        assert reply.keys() == {"artifact_kind", "artifact", "message"}
        facts = facts_of(scenario.description)
        kinds[reply["artifact_kind"]] += 1
        assert reply["artifact_kind"] == facts.artifact
        needed = facts.artifact != "none"
        assert reply["message"].splitlines().count(ARTIFACT) == reply["message"].count(ARTIFACT) == needed
        assert (facts.given in reply["artifact"]) == needed
        placed = reply["message"].replace(ARTIFACT, reply["artifact"])
        found = language.read_options([placed], NOTHING)
        assert found == (Mode.OPEN_ENDED, scenario.action_a, scenario.action_b)
    assert kinds.keys() == {"none", *wordings.ARTIFACTS}
    conversation = planted("user").reply(prompt(**parts), ["The chat window is open."])
    assert conversation.text.startswith("I need your help")


@pytest.mark.parametrize("name", ["generator", "checker", "user"])
@pytest.mark.parametrize(
    "texts", [["Answer with the word ready."], ["<count>"], ["<check>\nx\n</check>"], ["", "", ""], []]
)
def test_a_request_that_holds_no_task_is_answered(name: str, texts: list[str]) -> None:
    """Some text comes to any prompt."""
    assert planted(name).reply("", texts).text


# -- the same, wherever ------------------------------------------------------------------------------------------------


def test_the_same_request_has_the_same_reply_and_another_seed_another() -> None:
    """Of outlines and elaborations alike: the world's seed, the request and its seed decide, and nothing else."""
    asked = outlines_prompt()
    (first, *_) = outlines(planted())
    for text in (asked, elaborate_prompt(first)):
        replies = [planted().reply("", [text], 1), planted().reply("", [text], 1)]
        assert replies[0] == replies[1]
        assert (
            len({replies[0].text, planted().reply("", [text], 2).text, planted(seed=5).reply("", [text], 1).text}) == 3
        )


class Reply(BaseModel):
    """What a generator is asked for in stage one."""

    outlines: list[Outline]


SHAPE = Reply.model_json_schema()
MODES = {
    "native": ModelRequestParameters(
        output_mode="native", output_object=OutputObjectDefinition(json_schema=SHAPE, name="Reply")
    ),
    "tool": ModelRequestParameters(
        output_mode="tool",
        output_tools=[ToolDefinition(name="Reply", parameters_json_schema=SHAPE, kind="output")],
        allow_text_output=False,
    ),
    "text": ModelRequestParameters(),
}


@pytest.mark.parametrize("mode", MODES)
async def test_replies_over_http_are_those_in_process(mode: str) -> None:
    """In all three protocols, as text, as JSON by a schema, and as the arguments of a tool."""
    asked = outlines_prompt(count=3)
    expected = json.loads(planted_model(world(), "generator", LEXICON).reply("", [asked]).text)
    async with plant() as (server, _), models(server, "generator") as by_path:
        for path, model in by_path.items():
            if (path, mode) == (MESSAGES, "native"):
                continue  # pydantic-ai has it for models of Anthropic's own names only
            settings = ModelSettings(max_tokens=4000)
            response = await model_request(
                model,
                [ModelRequest(parts=[UserPromptPart(asked)])],
                model_settings=settings,
                model_request_parameters=MODES[mode],
            )
            (part,) = [part for part in response.parts if isinstance(part, TextPart | ToolCallPart)]
            assert isinstance(part, ToolCallPart) == (mode == "tool"), path
            found = part.args_as_dict() if isinstance(part, ToolCallPart) else json.loads(part.content)
            assert found == expected


async def test_a_seed_goes_over_http_too() -> None:
    """With chat completions, which carry one, the reply is that of the seed in process."""
    asked = outlines_prompt(count=2)
    messages = [ModelRequest(parts=[UserPromptPart(asked)])]
    async with plant() as (server, _), models(server, "generator") as by_path:
        for seed in (3, 4):
            response = await model_request(by_path[CHAT], messages, model_settings=ModelSettings(seed=seed))
            local = await model_request(
                planted_model(world(), "generator", LEXICON), messages, model_settings=ModelSettings(seed=seed)
            )
            assert response.text == local.text


def test_every_kind_of_artifact_is_one_that_an_opening_may_have() -> None:
    """The documents of the stock name no kind without a text."""
    assert {kind for _, kind in wordings.DOCUMENTS} == {"none", *wordings.ARTIFACTS}
