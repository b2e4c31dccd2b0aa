"""What the planted generator, checkers and user write about a situation: outlines, scenarios, verdicts, opening messages.

Each is made of the texts of one request, and holds in its own words all that the next one has to know: the context of an
outline its situation, an action the value that it serves (by the manner in which it is to be done), a scenario its defects.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from typing import Any, Literal

from conflictscope.planted import language, wordings
from conflictscope.planted.invention import Situation, Telling, drawn_from, facts_of, invent
from conflictscope.planted.language import Lexicon
from conflictscope.scenario import CheckName, Scenario, Template
from conflictscope.seeds import derive, uniform

Serves = Literal["action_1", "action_2", "both", "neither"]
ARTIFACT = "[[artifact]]"  # on a line of its own, where the text that the user brings along belongs

_TOLD_IN_DESCRIPTION = (CheckName.REALISTIC, CheckName.GROUNDED, CheckName.CONTESTED)
_MARKED_IN_ACTIONS = (CheckName.FEASIBLE, CheckName.CONFLICTING)
_CRITERION = re.compile(r"^\s*\d+[.)] +(\S.*)$", re.MULTILINE)
_SAYING = re.compile(r"\b[a-z]{4,16}\b")
# 50 KB in UTF-8, beyond every bound on characters, and yet within 8,192 planted tokens of four characters.
_TOO_LONG = "é" * 25_000
_LABELS = ("value_a", "value_b", "template", "name")  # a long one of these would be another pair, or another value


# -- the generator -----------------------------------------------------------------------------------------------------


def outline(situation: Situation, value_a: str, value_b: str, template: str, seed: int) -> dict[str, str]:
    """An outline of a situation, its words drawn from the seed. What could be done serves value_a in `coc`, value_b in `cc`."""
    telling = Telling(situation, seed)
    silent = uniform(seed, "silent") < 0.5
    by_the_way = template in (Template.COC, Template.COC_MILD)
    served, harmed = (value_a, value_b) if by_the_way else (value_b, value_a)
    opportunities = wordings.OPPORTUNITIES_SILENT if silent else wordings.OPPORTUNITIES_OPEN
    return {
        "value_a": value_a,
        "value_b": value_b,
        "template": template,
        "context": telling.context(),
        "opportunity": telling.any_of(opportunities, "opportunity"),
        "good": telling.any_of(wordings.GOODS, "good", value=served),
        "harm": telling.any_of(wordings.SIDE_EFFECTS if by_the_way else wordings.MEANS, "harm", value=harmed),
    }


def elaboration(parts: Mapping[str, str], defects: Collection[CheckName], seed: int) -> dict[str, str]:
    """The scenario of an outline. parts: of the prompt. defects: what shall be wrong with it.

    An outline that no planted generator wrote becomes a situation that its context alone decides on.
    """
    value_a, value_b = value_name(parts["value_a"]), value_name(parts["value_b"])
    by_the_way = parts["template"] in (Template.COC, Template.COC_MILD)
    try:
        situation = facts_of(parts["context"])
    except ValueError:
        situation = invent(derive("context", parts["context"]), mild=parts["template"].endswith("_mild"))
    telling = Telling(situation, seed)
    silent_a = (wordings.UNSEEN in parts["opportunity"]) == by_the_way
    action_a = _action(telling, value_a, silent=silent_a)
    action_b = _action(telling, value_b, silent=not silent_a)
    if CheckName.VALUE_GUIDED in defects:
        action_a, action_b = action_b, action_a
    if CheckName.FEASIBLE in defects:
        hands = _defect(CheckName.FEASIBLE, seed)
        if uniform(seed, "hands") < 0.5:
            action_a = f"{hands} {action_a}"
        else:
            action_b = f"{hands} {action_b}"
    if CheckName.CONFLICTING in defects:
        action_b = f"{_defect(CheckName.CONFLICTING, seed)} {action_b}"
    taken = f"{parts['good']} {parts['harm']}"
    kept, lost = (value_b, value_a) if by_the_way else (value_a, value_b)
    left = telling.any_of(wordings.ALTERNATIVES, "left", kept=kept, lost=lost)
    return {
        "description": telling.description([_defect(name, seed) for name in _TOLD_IN_DESCRIPTION if name in defects]),
        "persona": telling.any_of(wordings.PERSONAS, "persona"),
        "background": telling.any_of(wordings.BACKGROUNDS, "background"),
        "goal": telling.any_of(wordings.GOALS, "goal"),
        "action_a": action_a,
        "action_b": action_b,
        "consequences_a": taken if by_the_way else left,
        "consequences_b": left if by_the_way else taken,
    }


def _action(telling: Telling, value: str, *, silent: bool) -> str:
    return f"{telling.any_of(wordings.SILENTLY if silent else wordings.OPENLY, 'action')}, {_manner(value)}."


def _manner(value: str) -> str:
    """In what manner an action that serves a value is to be done: two values share one once in 60,000 pairs."""
    tone, head, end = (
        drawn_from(words, "manner", value, words[0]) for words in (wordings.TONES, wordings.HEADS, wordings.ENDS)
    )
    return f"{tone} in tone, with {head} at the top and {end} at the end"


def _defect(name: CheckName, seed: int) -> str:
    return drawn_from(wordings.DEFECTS[name], seed, "defect", name)


def value_name(text: str) -> str:
    """The name in `name: definition`."""
    return text.partition(":")[0].strip()


def named_values(criteria: str) -> dict[str, Any]:
    """A value for each numbered line of criteria: named by its first two telling words, defined by the line itself."""
    values: dict[str, str] = {}
    for number, criterion in enumerate(_CRITERION.findall(criteria), start=1):
        telling_words = [word for word in _SAYING.findall(criterion.lower()) if word not in wordings.UNTELLING]
        name = " ".join(dict.fromkeys(telling_words[:2])) or "value"
        values[name if name not in values else f"{name} {number}"] = criterion
    return {"values": [{"name": name, "definition": definition} for name, definition in values.items()]}


# -- what can be wrong with a reply --------------------------------------------------------------------------------------


def spoiled(reply: dict[str, Any], kind: str | None, seed: int) -> str:
    """A reply as text, with a fault in it: a kind of `GeneratorFaults`, or None. What a fault cannot be about stays whole."""
    reply = deepcopy(reply)
    items = next((items for items in reply.values() if isinstance(items, list)), [reply])
    outlines = reply.get("outlines", [])
    item = drawn_from(items, seed, "item") if items else {}
    match kind:
        case "prose":
            return "I have thought about this for a while, and there is a lot to be said for each of the two sides."
        case "count" if outlines:
            if uniform(seed, "more") < 0.5:
                outlines.append(outlines[-1])
            else:
                outlines.pop()
        case "other_pair" if outlines:
            if uniform(seed, "template") < 0.5:
                item["template"] = drawn_from(
                    [each.value for each in Template if each != item["template"]], seed, "template"
                )
            else:
                item["value_b"] = f"not {item['value_b']}"
        case "missing" if item:
            del item[drawn_from(list(item), seed, "field")]
        case "too_long" if item:
            item[drawn_from([field for field in item if field not in _LABELS], seed, "field")] = _TOO_LONG
    text = json.dumps(reply, ensure_ascii=False)
    return text[: len(text) // 2] if kind == "broken" else text


# -- the checkers ------------------------------------------------------------------------------------------------------


def objection(check: CheckName, situation: str, actions: Sequence[str]) -> str | None:
    """The sentence because of which a scenario fails a check (not `value_guided`), or None."""
    text = " ".join(" ".join(actions if check in _MARKED_IN_ACTIONS else [situation]).split())
    return next((sentence for sentence in wordings.DEFECTS[check] if sentence in text), None)


def served_by(value: str, actions: Sequence[str], lexicon: Lexicon) -> Serves:
    """Which of two actions serves a value: by its manner, or where neither has one of ours for it, by what is known of it."""
    serving = [_serves(action, value) for action in actions]
    if not any(serving):
        serving = [value in lexicon.actions.get(" ".join(action.split()), ()) for action in actions]
    match serving:
        case [True, True]:
            return "both"
        case [True, False]:
            return "action_1"
        case [False, True]:
            return "action_2"
        case _:
            return "neither"


def _serves(action: str, value: str) -> bool:
    return " ".join(action.split()).endswith(f", {_manner(value)}.")


def defects_of(scenario: Scenario) -> frozenset[CheckName]:
    """What is wrong with a scenario of the planted generator: the checks that it fails, by what can be read in it."""
    actions = (scenario.action_a, scenario.action_b)
    found = {
        name for name in (*_TOLD_IN_DESCRIPTION, *_MARKED_IN_ACTIONS) if objection(name, scenario.description, actions)
    }
    if _serves(scenario.action_a, scenario.value_b) or _serves(scenario.action_b, scenario.value_a):
        found.add(CheckName.VALUE_GUIDED)
    return frozenset(found)


# -- the user ----------------------------------------------------------------------------------------------------------


def opening(parts: Mapping[str, str], seed: int) -> dict[str, str]:
    """The opening message of a scenario, with the text that its situation says the user has at hand."""
    try:
        situation = facts_of(parts["situation"])
    except ValueError:
        kind = "none"
    else:
        kind = situation.artifact
    if kind == "none":
        return {"artifact_kind": kind, "artifact": "", "message": language.write_opening(parts)}
    message = language.write_opening(parts, f"This is the {kind}:\n\n{ARTIFACT}")
    return {
        "artifact_kind": kind,
        "artifact": Telling(situation, seed).fill(wordings.ARTIFACTS[kind]),
        "message": message,
    }
