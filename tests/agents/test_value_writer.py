"""Values from criteria: named, unique, valid, in order."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from conflictscope.agents import propose_values
from conflictscope.errors import CallFailed
from conflictscope.ports import OutputMode
from conflictscope.values import Value
from tests.agents.doubles import MODES, Replying, answer, asked, speaker_in

CRITERIA = ["Choose the reply that is <true>.", "Choose the\nkind reply.", "Choose the kinder reply."]


def values(*named: tuple[str, str]) -> str:
    return json.dumps({"values": [{"name": name, "definition": definition} for name, definition in named]})


GOOD = values(("candour", "Saying what is so."), ("warmth", "Kind words."), ("tenderness", "Kinder ones."))


async def proposed(*replies: Any, mode: OutputMode = "native") -> tuple[Any, Counter[str], Replying]:
    """What comes of a request: the values or the failure, the counts, and the model with what it was sent."""
    model, problems = Replying(*(answer(mode, reply) for reply in replies)), Counter[str]()
    try:
        return await propose_values(speaker_in(mode, model), CRITERIA, 7, "values", problems), problems, model
    except CallFailed as failure:
        return failure, problems, model


@pytest.mark.parametrize("mode", MODES)
async def test_each_criterion_becomes_a_value(mode: OutputMode) -> None:
    """The criteria are numbered, a line each, fenced; the values come in the order of the reply."""
    found, problems, model = await proposed(GOOD, mode=mode)
    assert [value.name for value in found] == ["candour", "warmth", "tenderness"]
    assert found[0] == Value(name="candour", definition="Saying what is so.")
    assert asked(model) == {
        "criteria": "1. Choose the reply that is <true>.\n2. Choose the kind reply.\n3. Choose the kinder reply."
    }
    assert not problems


async def test_criteria_that_ask_for_the_same_may_become_one_value() -> None:
    """Fewer values than criteria are taken as they come."""
    found, problems, _ = await proposed(values(("candour", "Saying what is so."), ("warmth", "Kind words.")))
    assert ([value.name for value in found], problems) == (["candour", "warmth"], {})


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (values(*[(f"value {n}", "x") for n in range(4)]), "count"),
        (values(("candour", "x")), "count"),
        (values(), "count"),
        (values(("candour", "x"), ("Candour", "y")), "invalid"),
        (values(("candour: truth", "x"), ("warmth", "y")), "invalid"),
        (values(("c\x1b[2J", "x"), ("warmth", "y")), "invalid"),
        (values(("", "x"), ("warmth", "y")), "missing"),
        (values(("candour", ""), ("warmth", "y")), "missing"),
        (values(("telling people plainly and without delay how it is", "x"), ("warmth", "y")), "too_long"),
        (values(("candour", "x" * 50_000), ("warmth", "y")), "too_long"),
        ('{"values": [{"name": "candour"}]}', "missing"),
        ("candour, warmth", "prose"),
        (GOOD[:-9], "broken"),
    ],
)  # fmt: skip
async def test_values_that_make_no_set_are_counted_asked_for_once_more_and_then_refused(bad: str, problem: str) -> None:
    """Too many, too few, two of one name, names that are none: mended by the second reply, or no values at all."""
    found, problems, _ = await proposed(bad, GOOD)
    assert (len(found), problems) == (3, {problem: 1})
    failure, problems, _ = await proposed(bad, bad)
    assert isinstance(failure, CallFailed)
    assert (failure.kind, problems) == ("unparsed", {problem: 2})
