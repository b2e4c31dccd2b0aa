from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from math import sqrt
from pathlib import Path
from random import Random
from statistics import NormalDist, fmean, pstdev

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, TextPart, UserPromptPart
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.settings import ModelSettings

from conflictscope.agents.prompts import fence, fenced_transcript, load_prompt
from conflictscope.documents import read_document
from conflictscope.errors import InputError
from conflictscope.library import builtin_names, find
from conflictscope.outcome import Message, Mode, Role
from conflictscope.planted import (
    Lexicon,
    PlantedModel,
    PlantedTarget,
    PlantedWorld,
    language,
    parse_world,
    planted_model,
)
from conflictscope.planted.models import alternating
from conflictscope.planted.world import Faults, Latency

NORMAL = NormalDist()
REQUESTS = 2_000
LEXICON = Lexicon({"Go x.": ("x",), "Stay y.": ("y",)}, {})
RANKED = "\n".join(["Act by this order:", "1. z: zeal.", "2. x: care.", "3. y: thrift."])


def target(**rates: float) -> PlantedTarget:
    return PlantedTarget(utilities={"x": 0.7, "y": 0.0}, **rates)


def model(name: str = "t", planted: PlantedTarget | None = None, **world: object) -> PlantedModel:
    """A model of a world with one target."""
    return planted_model(PlantedWorld.model_validate({"targets": {"t": planted or target()}, **world}), name, LEXICON)


def question(first: str, second: str) -> str:
    return load_prompt("multiple_choice").message(situation="A case.", action_1=first, action_2=second)


def opening(first: str, second: str) -> str:
    return language.write_opening({"situation": "A case.", "goal": "help", "action_1": first, "action_2": second})


async def replies(planted: PlantedModel, *texts: str) -> list[str]:
    """What a model says to one conversation under many seeds."""
    messages: list[ModelMessage] = [
        ModelResponse(parts=[TextPart(text)]) if number % 2 else ModelRequest(parts=[UserPromptPart(text)])
        for number, text in enumerate(texts)
    ]
    responses = [
        await planted.request(messages, ModelSettings(seed=seed), ModelRequestParameters()) for seed in range(REQUESTS)
    ]
    return [response.text or "" for response in responses]


def assert_rate(found: Sequence[bool], chance: float) -> None:
    """The share of what was found agrees with its chance, within 4 standard errors."""
    assert fmean(found) == pytest.approx(chance, abs=4 * sqrt(chance * (1 - chance) / len(found)))


class Chances:
    """A draw in which nothing happens, and which keeps the chance of everything."""

    def __init__(self) -> None:
        self.of: dict[str, float] = {}

    def happens(self, chance: float, what: str) -> bool:
        self.of[what] = chance
        return False


def chance_of_first(planted: PlantedModel, first: str, second: str, instructions: str = "") -> float:
    """The exact chance with which a target takes the action that is shown first."""
    chances = Chances()
    planted.answer(instructions, [question(first, second)], chances)  # type: ignore[arg-type]
    return chances.of["chooses"]


# -- the file ----------------------------------------------------------------------------------------------------------

TARGET = "[targets.alpha]\nutilities = { x = 1.0, y = 0.0 }\n"


def world_file(folder: Path, text: str) -> PlantedWorld:
    path = folder / "world.toml"
    path.write_text(text)
    return parse_world(read_document(path))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (TARGET + "shift_open_ended = { z = 1.0 }\n", "1: targets.alpha: shift_open_ended names 'z', which has no utility"),
        (TARGET + "neither_rate = 1.5\n", "3: targets.alpha.neither_rate: Input should be less than or equal to 1"),
        (TARGET + "steerability = -0.1\n", "3: targets.alpha.steerability: Input should be greater than or equal to 0"),
        (TARGET + "neither_rate = 0.6\nrefusal_rate = 0.6\n", "1: targets.alpha: neither_rate + refusal_rate must be <= 1"),
        (TARGET + "steerable = 1\n", "3: unknown key 'targets.alpha.steerable'; did you mean 'steerability'?"),
        ("[targets.alpha]\nutilities = {}\n", "2: targets.alpha.utilities: "),
        ("[targets.alpha]\nutilities = { x = nan, y = 0.0 }\n", "2: targets.alpha.utilities.x: "),
        ("[targets.utilities]\nutilitys = {}\n", "2: unknown key 'targets.utilities.utilitys'; did you mean 'utilities'?"),
        (TARGET + "[judge]\nerror_rate = 2\n", "4: judge.error_rate: Input should be less than or equal to 1"),
        (TARGET + "[timing]\nlatency_s = { median = 2.0, p95 = 1.0 }\n", "4: timing.latency_s: needs p95 >= median > 0"),
        (TARGET + "[faults]\nhang = 0.6\nrate_limit = 0.5\n", "3: faults: the rates must add up to <= 1, got 1.1"),
        (TARGET + "[limits]\nrequests_per_minute = 0\n", "4: limits.requests_per_minute: Input should be greater than"),
        (TARGET + "[targets.judge]\nutilities = { x = 1.0 }\n", "3: targets.judge: the name 'judge' belongs to a role"),
        (TARGET + "[judges.judge]\n", "3: judges.judge: the name 'judge' belongs to a role"),
        (TARGET + "[judges.alpha]\n", "3: judges.alpha: the name 'alpha' belongs to a target"),
        (TARGET + "[judges.x]\n[checkers.x]\n", "4: checkers.x: the name 'x' belongs to a judge"),
        (TARGET + "[judges.x]\nerror_rate = 2\n", "4: judges.x.error_rate: Input should be less than or equal to 1"),
        (TARGET + "[targets.user]\nutilities = { x = 1.0 }\n", "3: targets.user: the name 'user' belongs to a role"),
        ("scenario_sd = -1.0\n" + TARGET, "1: scenario_sd: Input should be greater than or equal to 0"),
        ("seed = 1\n", " missing key 'targets'"),
        ("[targets]\n", "1: targets: "),
    ],
)  # fmt: skip
def test_a_world_that_cannot_be_is_told(tmp_path: Path, text: str, told: str) -> None:
    """An unknown value, an impossible rate, latency or limit, or a role's name is told with line and key."""
    with pytest.raises(InputError) as caught:
        world_file(tmp_path, text)
    assert f"world.toml:{told}" in str(caught.value)


@pytest.mark.parametrize("name", builtin_names("worlds"))
def test_every_built_in_world_loads(name: str) -> None:
    """It has targets, and a model for each of them and for each role."""
    world = parse_world(read_document(find("worlds", name, Path.cwd())))
    assert all(planted_model(world, model, LEXICON).model_name == model for model in world.models)


def test_an_unknown_model_is_told_beside_those_there_are() -> None:
    """The message lists the targets and the roles of the world."""
    with pytest.raises(InputError, match="the world has no model 'beta'; it has t, user, judge, generator, checker"):
        model("beta")


# -- utilities ---------------------------------------------------------------------------------------------------------

UTILITIES = st.dictionaries(st.sampled_from("uvwxyz"), st.floats(-5, 5), min_size=2)


@given(UTILITIES, st.randoms(use_true_random=False))
def test_a_target_that_cannot_be_steered_keeps_its_utilities(utilities: dict[str, float], random: Random) -> None:
    """At steerability 0 a stated ranking changes nothing, whatever it ranks."""
    stated = tuple(random.sample(list(utilities), len(utilities)))
    assert PlantedTarget(utilities=utilities).utilities_in(Mode.OPEN_ENDED, stated) == utilities


@given(UTILITIES, st.randoms(use_true_random=False))
def test_a_target_that_is_wholly_steered_follows_exactly(utilities: dict[str, float], random: Random) -> None:
    """At steerability 1 the truth is the stated ranking, one unit apart, whatever the target's own utilities are."""
    stated = tuple(random.sample(list(utilities), len(utilities)))
    steered = PlantedTarget(utilities=utilities, steerability=1.0)
    assert steered.truth(Mode.OPEN_ENDED, stated) == list(stated)
    acting = steered.utilities_in(Mode.OPEN_ENDED, stated)
    assert [acting[a] - acting[b] for a, b in pairwise(stated)] == pytest.approx([1.0] * (len(stated) - 1))


def test_steering_pulls_in_proportion_and_leaves_what_it_does_not_name() -> None:
    """Half way at steerability 0.5; values outside the ranking keep their own utility, unknown names are ignored."""
    half = PlantedTarget(utilities={"x": 3.0, "y": 0.0, "z": 9.0}, steerability=0.5)
    assert half.utilities_in(Mode.OPEN_ENDED, ("y", "x")) == pytest.approx({"x": 1.25, "y": 0.25, "z": 9.0})
    assert half.utilities_in(Mode.OPEN_ENDED, ("y", "other", "x")) == pytest.approx({"x": 1.0, "y": 0.5, "z": 9.0})


@pytest.mark.parametrize("shifted", Mode)
def test_a_shift_acts_in_its_mode_only(shifted: Mode) -> None:
    """What a mode adds is added there, and nowhere else; the truth of that mode follows."""
    planted = PlantedTarget.model_validate({"utilities": {"x": 1.0, "y": 0.0}, f"shift_{shifted.value}": {"y": 2.0}})
    for mode in Mode:
        assert planted.utilities_in(mode) == {"x": 1.0, "y": 2.0 if mode is shifted else 0.0}
        assert planted.truth(mode) == (["y", "x"] if mode is shifted else ["x", "y"])


def test_the_truth_is_best_first_and_ties_go_by_name() -> None:
    """Greater utility first; of equal ones the order is the alphabet's, so that it is the same everywhere."""
    assert PlantedTarget(utilities={"z": 1.0, "y": 0.0, "x": 0.0, "w": 2.0}).truth(Mode.OPEN_ENDED) == [
        "w",
        "z",
        "x",
        "y",
    ]


# -- what the target does ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [True, False], ids=["shown first", "shown second"])
async def test_a_target_wins_as_often_as_its_utilities_say(first: bool) -> None:
    """Over many seeds the better action wins with probability Phi(u_a - u_b), wherever it is shown."""
    letters = await replies(model(), question(*(("Go x.", "Stay y.") if first else ("Stay y.", "Go x."))))
    assert set(letters) == {"A", "B"}
    assert_rate([letter == ("A" if first else "B") for letter in letters], NORMAL.cdf(0.7))


async def test_the_same_request_has_the_same_reply() -> None:
    """Nothing is drawn but from the world's seed, the request and its seed."""
    asked = question("Go x.", "Stay y.")
    assert await replies(model(), asked) == await replies(model(), asked) != await replies(model(seed=1), asked)


@pytest.mark.parametrize(("steerability", "difference"), [(0.0, 0.7), (0.5, 0.85), (1.0, 1.0)])
def test_a_stated_ranking_moves_the_chance(steerability: float, difference: float) -> None:
    """The target reads the ranking in its instructions and follows it as far as it can be steered."""
    assert chance_of_first(model(), "Go x.", "Stay y.") == pytest.approx(NORMAL.cdf(0.7))
    steered = model(planted=target(steerability=steerability))
    assert chance_of_first(steered, "Go x.", "Stay y.", RANKED) == pytest.approx(NORMAL.cdf(difference))


@pytest.mark.parametrize("mode", [Mode.OPEN_ENDED, Mode.MULTIPLE_CHOICE])
def test_a_target_knows_in_which_mode_it_is_asked(mode: Mode) -> None:
    """A list in a conversation is open-ended, a lettered list is multiple choice: each has its shift."""
    planted = PlantedTarget.model_validate({"utilities": {"x": 0.0, "y": 0.0}, f"shift_{mode.value}": {"x": 1.0}})
    for asked, put in ((Mode.OPEN_ENDED, opening), (Mode.MULTIPLE_CHOICE, question)):
        chances = Chances()
        model(planted=planted).answer("", [put("Go x.", "Stay y.")], chances)  # type: ignore[arg-type]
        assert chances.of["chooses"] == pytest.approx(NORMAL.cdf(1.0 if asked is mode else 0.0))


@pytest.mark.parametrize(
    ("rates", "reply", "chance"),
    [
        ({"neither_rate": 0.2}, language.write_neither(), 0.2),
        ({"refusal_rate": 0.2}, language.write_refusal(), 0.2),
        ({"hesitation_rate": 0.2}, language.write_question(), 0.2),
        ({"neither_rate": 0.5, "refusal_rate": 0.5}, language.write_neither(), 0.5),
        ({"neither_rate": 0.5, "refusal_rate": 0.5}, language.write_refusal(), 0.5),
    ],
)
async def test_what_is_no_choice_appears_at_its_rate(rates: dict[str, float], reply: str, chance: float) -> None:
    """Neither, a refusal and a question back each appear as often as the world says, beside each other too."""
    said = await replies(model(planted=target(**rates)), opening("Go x.", "Stay y."))
    assert_rate([text == reply for text in said], chance)


async def test_a_target_hesitates_once_only() -> None:
    """Asked again, a target that asked back acts."""
    hesitant = model(planted=target(hesitation_rate=1.0))
    asked = opening("Go x.", "Stay y.")
    assert set(await replies(hesitant, asked)) == {language.write_question()}
    again = await replies(hesitant, asked, language.write_question(), language.write_insistence(2))
    assert all("Here is what I do" in text for text in again)


async def test_a_target_takes_no_side_in_what_it_does_not_know() -> None:
    """Where an action serves no value that it knows it takes neither, and where there are no actions it asks."""
    assert set(await replies(model(), question("Go x.", "Sing."))) == {language.write_neither()}
    assert set(await replies(model(), "Hello.")) == {language.write_question()}


def test_scenarios_differ_by_the_stated_spread() -> None:
    """Over many scenarios the offsets have mean 0 and standard deviation scenario_sd, within 4 standard errors."""
    sd = 0.5
    even = model(planted=PlantedTarget(utilities={"x": 0.0, "y": 0.0}), scenario_sd=sd)
    chances = [chance_of_first(even, f"Go x {number}.", f"Stay y {number}.") for number in range(REQUESTS)]
    offsets = [NORMAL.inv_cdf(chance) for chance in chances]
    assert fmean(offsets) == pytest.approx(0, abs=4 * sd / sqrt(REQUESTS))
    assert pstdev(offsets) == pytest.approx(sd, abs=4 * sd / sqrt(2 * REQUESTS))


def test_a_scenarios_offset_belongs_to_its_actions() -> None:
    """It pulls to the same action whichever is listed first, and is the same for every target."""
    even = PlantedTarget(utilities={"x": 0.0, "y": 0.0})
    world = PlantedWorld(targets={"even": even, "apart": target()}, scenario_sd=0.5)
    even_model, apart_model = (planted_model(world, name, LEXICON) for name in world.targets)
    for go, stay in ((f"Go x {number}.", f"Stay y {number}.") for number in range(50)):
        chance = chance_of_first(even_model, go, stay)
        assert chance != 0.5
        assert chance_of_first(even_model, stay, go) == pytest.approx(1 - chance)
        assert chance_of_first(apart_model, go, stay) == pytest.approx(NORMAL.cdf(0.7 + NORMAL.inv_cdf(chance)))


# -- what the judge says -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("took_first", [True, False], ids=["took the first", "took the second"])
@pytest.mark.parametrize(("error_rate", "order_bias"), [(0.0, 0.0), (0.1, 0.0), (0.0, 0.2), (0.1, 0.2)])
async def test_a_judge_errs_and_leans_at_its_rates(error_rate: float, order_bias: float, took_first: bool) -> None:
    """It names the wrong action at its error rate, and what was shown first more often by its order bias."""
    reply = language.write_choice(Mode.OPEN_ENDED, "Go x." if took_first else "Stay y.", "", 1.0)
    page = load_prompt("judge").message(
        situation="A case.",
        action_1=fence("Go x."),
        action_2=fence("Stay y."),
        transcript=fenced_transcript([Message(Role.USER, "Well?"), Message(Role.TARGET, reply)]),
    )
    judge = model("judge", judge={"error_rate": error_rate, "order_bias": order_bias})
    labels = [json.loads(verdict)["action"] for verdict in await replies(judge, page)]
    assert set(labels) <= {"action_1", "action_2"}
    names_first = 1 - error_rate if took_first else error_rate
    assert_rate([label == "action_1" for label in labels], names_first + (1 - names_first) * order_bias)


async def test_judges_beside_the_judge_err_by_their_own_rates_and_on_their_own() -> None:
    """Two judges of one rate: each errs at it, and both at once as often as two that know nothing of each other."""
    page = load_prompt("judge").message(
        situation="A case.",
        action_1=fence("Go x."),
        action_2=fence("Stay y."),
        transcript=fenced_transcript(
            [
                Message(Role.USER, "Well?"),
                Message(Role.TARGET, language.write_choice(Mode.OPEN_ENDED, "Go x.", "", 1.0)),
            ]
        ),
    )
    judges = {"first": {"error_rate": 0.3}, "second": {"error_rate": 0.3}, "exact": {}}
    wrong = {
        name: [
            json.loads(verdict)["action"] == "action_2" for verdict in await replies(model(name, judges=judges), page)
        ]
        for name in judges
    }
    assert not any(wrong["exact"])
    assert_rate(wrong["first"], 0.3)
    assert_rate(wrong["second"], 0.3)
    assert_rate([one and two for one, two in zip(wrong["first"], wrong["second"], strict=True)], 0.09)


# -- how long it takes -------------------------------------------------------------------------------------------------


def test_latencies_have_the_stated_median_and_tail() -> None:
    """Half of the draws lie under the median and 95 % under the 95th percentile, within 4 standard errors."""
    latency = Latency(median=0.8, p95=3.0)
    drawn = [latency.draw(number) for number in range(REQUESTS)]
    assert_rate([seconds < 0.8 for seconds in drawn], 0.5)
    assert_rate([seconds < 3.0 for seconds in drawn], 0.95)
    assert {Latency().draw(number) for number in range(10)} == {0.0}
    assert [Latency(median=1.0, p95=1.0).draw(number) for number in range(10)] == pytest.approx([1.0] * 10)


# -- what exists over HTTP only ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "key"),
    [*((f"[faults]\n{kind} = 0.1\n", f"faults.{kind}") for kind in Faults().rates),
     ("[limits]\nrequests_per_minute = 1\n", "limits.requests_per_minute"),
     ("[limits]\ntokens_per_minute = 1\n", "limits.tokens_per_minute")],
)  # fmt: skip
def test_faults_and_limits_need_a_server(tmp_path: Path, section: str, key: str) -> None:
    """A world that sets one loads, and refuses to answer in process with the key that is in the way."""
    world = world_file(tmp_path, TARGET + section)
    with pytest.raises(InputError, match=f"the world sets {key}, which exists over HTTP only"):
        world.check_in_process()


def test_a_world_without_faults_and_limits_answers_in_process(tmp_path: Path) -> None:
    """Zeros, and what only says how a fault would look, are no faults."""
    world_file(tmp_path, TARGET + "[faults]\nhang = 0.0\nretry_after_s = 7\n").check_in_process()


def test_faults_appear_at_their_rates() -> None:
    """Each kind is drawn as often as the world says, within 4 standard errors, and at most one at a time."""
    faults = Faults(rate_limit=0.1, server_error=0.05, malformed=0.02, disconnect=0.01)
    drawn = [faults.draw(1, number) for number in range(REQUESTS)]
    for kind, rate in faults.rates.items():
        assert_rate([found == kind for found in drawn], rate)
    assert {Faults().draw(1, number) for number in range(100)} == {None}
    certain = Faults(hang=0.25, malformed=0.75)
    assert {certain.draw(1, number) for number in range(100)} == {"hang", "malformed"}


# -- what every model does ---------------------------------------------------------------------------------------------


def test_a_judge_asked_again_judges_the_transcript_it_was_shown() -> None:
    """A complaint about its reply holds no transcript: the verdict is on the last one before it."""
    page = load_prompt("judge").message(
        situation="A case.",
        action_1=fence("Go x."),
        action_2=fence("Stay y."),
        transcript=fenced_transcript(
            [Message(Role.TARGET, language.write_choice(Mode.OPEN_ENDED, "Stay y.", "", 1.0))]
        ),
    )
    reply = model("judge").reply("", [page, "Action 2.", "That reply does not fit the required shape."])
    assert json.loads(reply.text)["action"] == "action_2"


@pytest.mark.parametrize("name", ["t", "user", "judge"])
@pytest.mark.parametrize("texts", [["Answer with the word ready."], ["<transcript>"], ["", "", ""], []])
def test_a_model_answers_what_it_does_not_know(name: str, texts: list[str]) -> None:
    """Some text comes to any prompt, and a judge's is of the shape of a verdict that sees nothing."""
    text = model(name).reply("", texts).text
    assert text
    if name == "judge":
        assert json.loads(text) | {"resolved": False, "action": "neither"} == json.loads(text)


def test_a_reply_is_cut_at_the_token_limit() -> None:
    """It says so, and its usage fits; a reply that is short enough is left alone."""
    asked = [opening("Go x.", "Stay y.")]
    whole = model().reply("", asked)
    cut = model().reply("", asked, max_tokens=5)
    assert (whole.finish_reason, cut.finish_reason) == ("stop", "length")
    assert whole.text.startswith(cut.text)
    assert (cut.output_tokens, len(cut.text)) == (5, 19)
    assert model().reply("", asked, max_tokens=whole.output_tokens) == whole


def test_texts_alternate_whatever_is_said_in_a_row() -> None:
    """What one side says in a row is one text, and the other side always begins."""
    assert alternating([(False, "a"), (False, "b"), (True, "c"), (True, "d"), (False, "e")]) == ["a\nb", "c\nd", "e"]
    assert alternating([(True, "c"), (False, "e")]) == ["", "c", "e"]
    assert alternating([]) == []
