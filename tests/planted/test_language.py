from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic_ai.direct import model_request
from pydantic_ai.messages import ModelResponse

from conflictscope.agents import LeanSpeaker, LetterReader, ModelJudge, Question, SimulatedUser, Target, steer
from conflictscope.config import SteeringStyle
from conflictscope.library import find, load_library, load_value_set
from conflictscope.outcome import Judgement, Message, Mode, Role, Side, Verdict
from conflictscope.planted import Lexicon, PlantedModel, PlantedTarget, PlantedWorld, language, planted_model
from conflictscope.ports import Call, OutputMode, Turn
from conflictscope.scenario import Scenario, UserProfile

HHH = load_library(find("libraries", "hhh", Path.cwd()))


class Lane:
    """Straight to a planted model, without a throttle or a journal."""

    output_mode: OutputMode = "native"

    def __init__(self, model: PlantedModel) -> None:
        self.model = model

    async def request(self, call: Call) -> ModelResponse:
        return await model_request(
            self.model, call.messages, model_settings=call.settings, model_request_parameters=call.parameters
        )


class Cast:
    """The planted roles over some scenarios, and for each value a target that serves it whatever it costs."""

    def __init__(self, *scenarios: Scenario) -> None:
        values = sorted({value for scenario in scenarios for value in scenario.pair})
        zealots = {v: PlantedTarget(utilities=dict.fromkeys(values, -50.0) | {v: 50.0}) for v in values}
        self.lexicon = Lexicon.of(scenarios)
        speakers = {
            name: LeanSpeaker(Lane(planted_model(PlantedWorld(targets=zealots), name, self.lexicon)))
            for name in ("user", "judge", *values)
        }
        self.user = SimulatedUser(speakers["user"])
        self.judge = ModelJudge(speakers["judge"], "judge", both_orders=True)
        self.zealots = {value: Target(speakers[value], "conversation", None) for value in values}

    async def talk(self, scenario: Scenario, serves: str, shown_first: Side) -> list[Judgement]:
        """Both looks of the judge at a conversation in which the target serves a value."""
        opening = await self.user.reply(turn(scenario, shown_first))
        reply = await self.zealots[serves].reply(turn(scenario, shown_first, opening))
        return list(await self.judge.judge(turn(scenario, shown_first, opening, reply)))

    async def choose(self, scenario: Scenario, serves: str, shown_first: Side) -> list[Judgement]:
        """What the parser makes of the letter that the target picks to serve a value."""
        question = await Question().reply(turn(scenario, shown_first))
        letter = await self.zealots[serves].reply(turn(scenario, shown_first, question))
        return list(await LetterReader().judge(turn(scenario, shown_first, question, letter)))


def turn(scenario: Scenario, shown_first: Side, *said: str) -> Turn:
    roles = (Role.USER, Role.TARGET)
    return Turn(
        "k", "alpha", 1, scenario, tuple(Message(roles[n % 2], text) for n, text in enumerate(said)), shown_first
    )


def one_line(text: str) -> str:
    return " ".join(text.split())


async def assert_all_is_read_back(scenario: Scenario, cast: Cast) -> None:
    """In both modes, for both actions in both orders: user to target to judge loses nothing."""
    actions = {"a": one_line(scenario.action_a), "b": one_line(scenario.action_b)}
    for side, first in product(("a", "b"), repeat=2):
        opening = await cast.user.reply(turn(scenario, first))
        order = (actions["a"], actions["b"]) if first == "a" else (actions["b"], actions["a"])
        assert language.read_options([opening], cast.lexicon) == (Mode.OPEN_ENDED, *order)
        serves = scenario.value_a if side == "a" else scenario.value_b
        talked = await cast.talk(scenario, serves, first)
        assert [(look.choice, look.resolved, look.strength) for look in talked] == [(Verdict(side), True, 7)] * 2
        chosen = await cast.choose(scenario, serves, first)
        assert [(look.choice, look.resolved) for look in chosen] == [(Verdict(side), True)]


@pytest.mark.parametrize("scenario", HHH, ids=lambda scenario: scenario.id)
async def test_planted_roles_understand_each_other(scenario: Scenario) -> None:
    """The options that the user lays out, the target takes, and what it takes, the judge names: always the same action."""
    await assert_all_is_read_back(scenario, Cast(*HHH))


# Ends that no prompt holds, so that two actions differ in more than their signs, however hostile the rest is.
HOSTILE = st.lists(
    st.sampled_from(
        [
            "<", ">", "&", "'", '"', "$situation", "$$", "\\", "%s", "{0}", "*", "- ", "A. ", "\nB. ", "\n- ", "1. x: ",
            "</action_1>", "\n</action_2>\n", "</transcript>", '<message from="assistant">', "\n</message>\n", "=====\n",
            "&amp;", "&lt;", "&#10;", "Here is what I do: ", "I'm sorry, but I can't help with this.", "?",
        ]
    )
    | st.text(max_size=5),
    max_size=6,
).map("".join)  # fmt: skip


# The one fixture is the name of the event loop, the same for every example.
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(HOSTILE, HOSTILE, HOSTILE, HOSTILE)
async def test_hostile_text_is_read_back_as_it_was(before: str, between: str, situation: str, goal: str) -> None:
    """Tags, quotes, entities, list signs and stock phrases inside the texts change nothing."""
    hostile = Scenario(
        id="s",
        value_a="x",
        value_b="y",
        description=f"{situation} harbour",
        action_a=f"{before} lantern {between} lantern",
        action_b=f"{between} anchor {before} anchor",
        user=UserProfile(persona=f"{situation} p", background=f"{goal} b", goal=f"{goal} g"),
    )
    await assert_all_is_read_back(hostile, Cast(hostile))


@pytest.mark.parametrize(
    ("action_a", "action_b"),
    [
        ("Tell them.", "Do not tell them."),
        ("Amputate the leg.", "Never amputate the leg."),
        ("Сказать правду.", "Промолчать."),
        ("告诉他们真相。", "保持沉默。"),
        ("Yes.", "No."),
    ],
)
async def test_short_and_foreign_actions_are_told_apart(action_a: str, action_b: str) -> None:
    """An action that holds the other one, one of another script, and one of a single word are read as well."""
    scenario = Scenario(id="s", value_a="x", value_b="y", description="A case.", action_a=action_a, action_b=action_b)
    await assert_all_is_read_back(scenario, Cast(scenario))


def test_a_written_opening_that_lays_out_no_list_is_known() -> None:
    """Where a library brings its own opening, the target knows which actions it is about, blanks aside."""
    scenario = Scenario(
        id="s",
        value_a="x",
        value_b="y",
        description="d",
        action_a="Go\nnow.",
        action_b="Stay.",
        opening="Well?\nShall I?",
    )
    found = language.read_options(["Well? Shall  I?"], Lexicon.of([scenario]))
    assert found == (Mode.OPEN_ENDED, "Go now.", "Stay.")


@pytest.mark.parametrize("text", ["Hello.", "- only one", "1. x\n2. y", "-no blank\n-no blank"])
def test_what_lists_no_two_options_is_no_question(text: str) -> None:
    """Without two options there is nothing to choose from."""
    assert language.read_options([text], Lexicon({}, {})) is None


def test_an_action_is_worth_what_its_values_are() -> None:
    """Known actions by their values (the mean of several), unknown ones by the names in their text, others not at all."""
    stays = [
        Scenario(id="s", value_a="x", value_b=value, description="d", action_a=f"Go {value}.", action_b="Stay.")
        for value in ("y", "z", "z")
    ]
    lexicon, utilities = Lexicon.of(stays), {"x": 3.0, "y": 1.0, "z": 2.0}
    assert lexicon.utility("Go y.", utilities) == 3.0
    assert lexicon.utility("Stay.", utilities) == 1.5
    assert lexicon.utility("Show some X, please.", utilities) == 3.0
    assert lexicon.utility("Xylophones!", utilities) is None


@pytest.mark.parametrize("style", get_args(SteeringStyle))
@pytest.mark.parametrize("value_set", ["hhh", "modelspec", "personal-protective", "common-morality"])
@given(data=st.data())
def test_a_stated_ranking_is_read_back(value_set: str, style: SteeringStyle, data: st.DataObject) -> None:
    """What a steering states in any style, of any built-in values in any order, the planted target reads, best first."""
    values = load_value_set(find("values", value_set, Path.cwd()))
    ranking = data.draw(st.permutations(values.names))[: data.draw(st.integers(2, len(values.names)))]
    assert language.read_stated_ranking(steer(ranking, values, style).text) == tuple(ranking)


@pytest.mark.parametrize(
    ("prompt", "ranking"),
    [
        ("You are a careful assistant. Be brief: one line.", ()),
        ("My order:\n1. care\n2. thrift:  Spend little.\n3. plain speech \n", ("care", "thrift", "plain speech")),
        ("1. care\n2. thrift\nOnce more:\n1. care", ("care", "thrift")),
        ("It is 1. care, then 2. thrift", ()),
    ],
)
def test_the_numbered_lines_of_a_prompt_are_its_ranking(prompt: str, ranking: tuple[str, ...]) -> None:
    """A user's own prompt ranks what stands in numbered lines, each once; any other prompt ranks nothing."""
    assert language.read_stated_ranking(prompt) == ranking


def page(*said: str) -> str:
    """A transcript of the target's replies, as a judge sees it."""
    return "\n".join(
        f'<message from="user">\nGo on.\n</message>\n<message from="assistant">\n{s}\n</message>' for s in said
    )


def test_a_firmer_tone_is_heard_as_more_strength() -> None:
    """From a coin toss to certainty the strength rises from 1 to 7, step by step."""
    heard = [
        language.read_conduct(
            page(language.write_choice(Mode.OPEN_ENDED, "Go now.", "A", tenth / 10)), "Go now.", "Stay."
        )
        for tenth in range(11)
    ]
    assert {finding for finding, _ in heard} == {"first"}
    strengths = [strength for _, strength in heard]
    assert strengths == sorted(strengths)
    assert set(strengths) == set(range(1, 8))


@pytest.mark.parametrize(
    ("said", "finding"),
    [
        (language.write_neither(), "neither"),
        (language.write_refusal(), "refused"),
        (language.write_question(), "undecided"),
        ("Here you are: post the longer notice. I will also write the short memorandum.", "both"),
        ("As you wish, a longer notice has now been posted; post it at once.", "first"),
        ("The weather is fine.", "neither"),
    ],
)
def test_what_takes_no_one_action_is_read_as_that(said: str, finding: str) -> None:
    """Both, neither, a refusal, a question and a paraphrase are told apart."""
    assert language.read_conduct(page(said), "Post the longer notice.", "Write the short memorandum.")[0] == finding


def test_the_last_reply_counts() -> None:
    """A target that asks back first, and one that changes its mind, are read by their last word."""
    stays = language.write_choice(Mode.OPEN_ENDED, "Stay here.", "B", 1.0)
    goes = language.write_choice(Mode.OPEN_ENDED, "Go now.", "A", 1.0)
    for earlier in (language.write_question(), stays):
        assert language.read_conduct(page(earlier, goes), "Stay here.", "Go now.") == ("second", 7)
