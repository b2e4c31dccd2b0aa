"""Full-text search in episodes: words that all must occur, in upper or lower case."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from conflictscope.errors import InputError

MOST_WORDS = 50
"""More conditions than that, and SQLite refuses a query."""


class Search:
    """What is looked for. words: in lower case; each must stand in the conversation, the scenario or a judge's reasoning. Raises
    InputError for too many of them.

    SQLite sorts out most episodes by what it can see in the stored JSON (`sql`); what is left is read and decided on here
    (`fits`), for a word may also be part of the JSON itself, and SQLite knows no capital letters but those of ASCII.
    """

    def __init__(self, text: str) -> None:
        self.words = tuple(dict.fromkeys(word.lower() for word in text.split()))
        if len(self.words) > MOST_WORDS:
            raise InputError(f"search: at most {MOST_WORDS} words, got {len(self.words):,}")
        self._scenarios: Sequence[set[str]] = ()

    def look_at(self, scenarios: Mapping[str, str]) -> None:
        """Find the scenarios that each word stands in. scenarios: their JSON by id."""
        texts = {own_id: "\n".join(_strings(json.loads(body))).lower() for own_id, body in scenarios.items()}
        self._scenarios = [{own_id for own_id, text in texts.items() if word in text} for word in self.words]

    def sql(self) -> tuple[str, dict[str, str]]:
        """What an episode `e` must be, at least; and the parameters. `instr` takes words as they are, with %, _ and NUL."""
        conditions, parameters = [], dict[str, str]()
        for place, (word, scenarios) in enumerate(zip(self.words, self._scenarios, strict=True)):
            stored, plain = [], []
            for number, part in enumerate(_parts(word)):
                name = f"w{place}_{number}"
                parameters |= {name: part, f"{name}_json": json.dumps(part)[1:-1]}
                stored.append(f"instr(lower(e.transcript), :{name}_json)")
                plain.append(f"instr(lower(j.reasoning), :{name})")
            if stored:
                parameters[f"s{place}"] = json.dumps(sorted(scenarios))
                conditions.append(
                    f"""({" AND ".join(stored)} OR e.scenario_id IN (SELECT value FROM json_each(:s{place}))
                        OR EXISTS (SELECT 1 FROM judgements j WHERE j.episode_seq = e.seq AND {" AND ".join(plain)}))"""
                )
        return " AND ".join(["1", *conditions]), parameters

    def fits(self, scenario_id: str, transcript: str, reasonings: str) -> bool:
        """Whether all words stand in an episode. transcript: as it is stored. reasonings: a JSON list."""
        said = "\n".join(_strings([_said(json.loads(transcript)), json.loads(reasonings)])).lower()
        return all(
            word in said or scenario_id in scenarios
            for word, scenarios in zip(self.words, self._scenarios, strict=True)
        )


def _said(messages: Sequence[Mapping[str, Any]]) -> list[Any]:
    return [[message["text"], message.get("tools")] for message in messages]


def _strings(document: Any) -> Iterator[str]:
    """All texts of a document, without the names of its entries."""
    if isinstance(document, str):
        yield document
    elif isinstance(document, dict | list):
        for part in document.values() if isinstance(document, dict) else document:
            yield from _strings(part)


def _parts(word: str) -> Iterator[str]:
    """The parts of a word in lower case that SQLite can look for: without letters whose capitals it does not know, and without
    halves of surrogate pairs, which are no UTF-8."""
    # The capital whose lower case is two characters, as SQLite sees it.
    for plain, letters in groupby(
        word.replace("i\u0307", "\u0130"),
        lambda c: c.isascii() or (c.upper() == c.lower() and not "\ud800" <= c < "\ue000"),
    ):
        if plain:
            yield "".join(letters)
