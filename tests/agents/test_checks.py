"""The six checks: what a checker is shown, and what its answer means."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from conflictscope.agents import LeanSpeaker, ModelChecker
from conflictscope.errors import CallFailed
from conflictscope.outcome import Role
from conflictscope.ports import OutputMode
from conflictscope.scenario import Check, CheckName, Scenario, UserProfile
from conflictscope.seeds import uniform
from conflictscope.values import Value
from tests.agents.doubles import MODES, Replying, answer, asked, lane, speaker_in
from tests.arena.lanes.doubles import Rows

HONESTY = Value(name="honesty", definition="Leaving people with a true picture.")
KINDNESS = Value(name="kindness", definition="Sparing people pain.")
VALUES = HONESTY, KINDNESS
SCENARIO = Scenario(
    id="s", value_a="honesty", value_b="kindness", description="Ada asks about <her> essay.",
    action_a="Tell Ada.", action_b="Spare Ada.", user=UserProfile(persona="blunt", background="wrote it", goal="a mark"),
)  # fmt: skip
SIMPLE = [check for check in CheckName if check is not CheckName.VALUE_GUIDED]
YES = {"reason": "it is so", "passes": True}


def seed_that_shows(first: str, check: CheckName) -> int:
    """The first seed that draws this order of the actions."""
    return next(seed for seed in range(100) if (uniform(seed, check, "order") < 0.5) == (first == "a"))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("passes", [True, False])
@pytest.mark.parametrize("check", SIMPLE)
async def test_a_check_is_a_question_of_its_own(check: CheckName, passes: bool, mode: OutputMode) -> None:
    """One prompt file a check; the whole scenario is in tags, fenced, and neither value is named."""
    model = Replying(answer(mode, {"reason": "it is so", "passes": passes}))
    checker = ModelChecker(speaker_in(mode, model), "c")
    seed = seed_that_shows("b", check)
    found = await checker.check("s", seed, SCENARIO, check, VALUES, problems := Counter())
    assert found == [Check(name=check, passed=passes, reason="it is so", checker="c")]
    assert asked(model) == {
        "check": check, "situation": "Ada asks about <her> essay.", "persona": "blunt", "background": "wrote it",
        "goal": "a mark", "action_1": "Spare Ada.", "action_2": "Tell Ada.",
    }  # fmt: skip
    assert not {"honesty", "kindness"} & set((model.infos[0].instructions or "").lower().split())
    assert not problems


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("first", ["a", "b"])
@pytest.mark.parametrize(
    ("serves", "passed"),
    [
        (("a", "b"), (True, True)),
        (("b", "a"), (False, False)),
        (("a", "a"), (True, False)),
        (("both", "b"), (False, True)),
        (("a", "neither"), (True, False)),
    ],
)
async def test_value_guided_is_judged_value_by_value_in_either_order(
    serves: tuple[str, str], passed: tuple[bool, bool], first: str, mode: OutputMode
) -> None:
    """It passes for a value where the checker names the action that shall serve it, wherever that stands on the page."""
    place = {first: "action_1", "ab".replace(first, ""): "action_2"}
    model = Replying(*(answer(mode, {"reason": side, "serves": place.get(side, side)}) for side in serves))
    seed = seed_that_shows(first, CheckName.VALUE_GUIDED)
    found = await ModelChecker(speaker_in(mode, model), "c").check(
        "s", seed, SCENARIO, CheckName.VALUE_GUIDED, VALUES, Counter()
    )
    assert [(check.value, check.passed, check.reason) for check in found] == [
        ("honesty", passed[0], serves[0]),
        ("kindness", passed[1], serves[1]),
    ]
    for number, value in enumerate(VALUES):
        page = asked(model, number)
        assert page["value"] == f"{value.name}: {value.definition}"
        assert page["action_1"] == ("Tell Ada." if first == "a" else "Spare Ada.")


@pytest.mark.parametrize("place", ["action_1", "action_2", "both", "neither"])
async def test_a_checker_that_does_not_read_never_passes_a_scenario_as_value_guided(place: str) -> None:
    """Both values are asked about on the same page, so that one answer cannot be right for both."""
    for seed in range(8):
        model = Replying(*[json.dumps({"reason": "so", "serves": place})] * 2)
        checker = ModelChecker(LeanSpeaker(lane(model)), "c")
        found = await checker.check("s", seed, SCENARIO, CheckName.VALUE_GUIDED, VALUES, Counter())
        assert not all(check.passed for check in found)


async def test_each_order_comes_up_in_about_half_of_the_seeds() -> None:
    """The order of the actions is drawn from the seed and the check, and the same seed draws the same."""
    for check in SIMPLE:
        pages = []
        for seed in (*range(40), *range(40)):
            model = Replying(json.dumps(YES))
            await ModelChecker(LeanSpeaker(lane(model)), "c").check("s", seed, SCENARIO, check, VALUES, Counter())
            pages.append(asked(model)["action_1"])
        assert pages[:40] == pages[40:]
        assert 10 <= pages[:40].count("Tell Ada.") <= 30


@pytest.mark.parametrize(
    ("spelling", "passes"),
    [(True, True), ("true", True), (" Yes ", True), ("YES", True), (False, False), ("no", False), ("False", False)],
)
async def test_a_yes_may_be_spelled_in_many_ways(spelling: object, passes: bool) -> None:
    """What clearly means yes or no is taken."""
    model = Replying(json.dumps(YES | {"passes": spelling}))
    checker = ModelChecker(LeanSpeaker(lane(model)), "c")
    (found,) = await checker.check("s", 7, SCENARIO, CheckName.REALISTIC, VALUES, Counter())
    assert found.passed is passes


@pytest.mark.parametrize(
    ("check", "good", "bad", "problem"),
    [
        (CheckName.REALISTIC, YES, "It seems fine.", "prose"),
        (CheckName.REALISTIC, YES, '{"reason": "so", "pass', "broken"),
        (CheckName.REALISTIC, YES, {"reason": "so"}, "missing"),
        (CheckName.REALISTIC, YES, {"passes": True}, "missing"),
        (CheckName.REALISTIC, YES, YES | {"passes": "mostly"}, "invalid"),
        (CheckName.REALISTIC, YES, YES | {"reason": "x" * 50_000}, "too_long"),
        (CheckName.REALISTIC, YES, YES | {"reason": "\x1b[31mred"}, "invalid"),
        (CheckName.VALUE_GUIDED, {"reason": "so", "serves": "Action 1"}, {"reason": "so", "serves": "action_3"}, "invalid"),
        (CheckName.VALUE_GUIDED, {"reason": "so", "serves": "BOTH"}, {"reason": "so", "serves": "a"}, "invalid"),
    ],
)  # fmt: skip
async def test_an_answer_in_doubt_is_asked_for_once_more_and_is_never_a_verdict(
    check: CheckName, good: dict[str, object], bad: object, problem: str
) -> None:
    """A second that can be read is the verdict, a second that cannot fails the call: no scenario passes or fails by it."""
    road = Replying(answer("native", bad), *[answer("native", good)] * 2)
    problems: Counter[str] = Counter()
    await ModelChecker(LeanSpeaker(lane(road)), "c").check("s", 7, SCENARIO, check, VALUES, problems)
    assert problems == {problem: 1}
    with pytest.raises(CallFailed) as caught:
        road = Replying(answer("native", bad), answer("native", bad))
        await ModelChecker(LeanSpeaker(lane(road)), "c").check("s", 7, SCENARIO, check, VALUES, problems)
    assert caught.value.kind == "unparsed"
    assert problems == {problem: 3}


async def test_a_scenario_without_a_profile_can_be_checked() -> None:
    """Imported dilemmas have none: the checker sees the anybody that the simulated user would play."""
    model = Replying(json.dumps(YES))
    bare = SCENARIO.model_copy(update={"user": None})
    await ModelChecker(LeanSpeaker(lane(model)), "c").check("s", 7, bare, CheckName.GROUNDED, VALUES, Counter())
    assert all(asked(model)[tag] for tag in ("persona", "background", "goal"))


async def test_calls_of_a_checker_are_journaled_as_such() -> None:
    """Scope, role and prompt; each value of value_guided with a seed of its own."""
    journal = Rows()
    model = Replying(*[json.dumps({"reason": "so", "serves": "both"})] * 2)
    checker = ModelChecker(LeanSpeaker(lane(model, journal=journal)), "c")
    await checker.check("round/3", 7, SCENARIO, CheckName.VALUE_GUIDED, VALUES, Counter())
    rows = [row.sent for row in journal.rows]
    assert {(row.scope, row.role, row.prompt.partition("@")[0]) for row in rows} == {
        ("round/3", Role.CHECKER, "check_value_guided")
    }
    assert len({json.loads(row.request)["settings"]["seed"] for row in rows}) == 2
