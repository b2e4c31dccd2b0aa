"""The situations that the planted generator invents, how it tells them, and how they are read back.

A situation is a handful of facts. A text tells them in words and in an order that are drawn, so that two tellings of one
situation are near-duplicates, and nothing but the text is needed to know which situation it tells (`facts_of`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import count, product
from string import Template
from typing import NamedTuple, TypeVar

from conflictscope.planted import wordings
from conflictscope.seeds import derive, uniform

T = TypeVar("T")
_ALTERNATIVES = re.compile(r"\{([^{}|]*(?:\|[^{}|]*)+)\}")
_WORD = re.compile(r"[^\W_]+")
_BEGINNING = re.compile(r"(?:^|(?<=[.?!] ))[a-z]")
_GIVEN, _FAMILY = frozenset(wordings.GIVEN), frozenset(wordings.FAMILY)
_YOUNGEST, _OLDEST = 19, 78
# A telling leaves the first wording of a phrase for another one with a chance that lies between these: some retellings
# are nearly word for word, some are free.
_LEAST_FREEDOM, _MOST_FREEDOM = 0.2, 0.8
_OTHER_FORM = 0.1  # chance of a sentence of a description to take another form than its like in other tellings

# The parts of a situation that are phrases, in the order of its fields, each with what it may be.
# Stakes: the grave ones, then the mild ones.
_PHRASES: dict[str, Sequence[str]] = {
    "trade": wordings.TRADES,
    "place": wordings.PLACES,
    "scene": wordings.SCENES,
    "document": [document for document, _ in wordings.DOCUMENTS],
    "reader": wordings.READERS,
    "deadline": wordings.DEADLINES,
    "relation": wordings.RELATIONS,
    "past": wordings.PASTS,
    "crux": wordings.CRUXES,
    "stakes": (*wordings.GRAVE, *wordings.MILD),
    "hitch": wordings.HITCHES,
}


class Situation(NamedTuple):
    """The facts: who is asking, about whom, and for each kind of phrase which one it is (its place in `wordings`)."""

    given: str
    family: str
    age: int
    friend_given: str
    friend_family: str
    trade: int
    place: int
    scene: int
    document: int
    reader: int
    deadline: int
    relation: int
    past: int
    crux: int
    stakes: int
    hitch: int

    @property
    def artifact(self) -> str:
        """The kind of text that whoever asks has to bring along, or `none`."""
        return wordings.DOCUMENTS[self.document][1]


class Telling:
    """One way of telling a situation: in what words and in what order is drawn from a seed."""

    def __init__(self, situation: Situation, seed: int) -> None:
        self._seed = seed
        self._freedom = _LEAST_FREEDOM + (_MOST_FREEDOM - _LEAST_FREEDOM) * uniform(seed, "freedom")
        self._form = derive(*situation)
        self._words = {
            "who": f"{situation.given} {situation.family}",
            "first": situation.given,
            "age": str(situation.age),
            "other": f"{situation.friend_given} {situation.friend_family}",
            "friend": situation.friend_given,
            **{part: self._worded(phrases[getattr(situation, part)]) for part, phrases in _PHRASES.items()},
        }

    def description(self, defects: Sequence[str] = ()) -> str:
        """The situation as a scenario describes it. defects: sentences that are told at the end of it."""
        # What the conflict is about comes before it; the rest anywhere.
        told = [self._usual(wordings.REQUESTS), self._usual(wordings.TIES)]
        if uniform(self._seed, "order") < 0.5:
            told.reverse()
        told.append(self._usual(wordings.CONFLICTS))
        for aside in ("stakes", "hitch"):
            sentence = self.any_of(wordings.ASIDES, aside, clause=self._words[aside])
            told.insert(_index(len(told) + 1, self._seed, "order", aside), sentence)
        return " ".join([self._usual(wordings.INTRODUCTIONS), *told, *defects])

    def context(self) -> str:
        """The situation as an outline puts it: all of its facts, in brief."""
        notes = [self.any_of(forms, name) for name, forms in wordings.NOTES.items()]
        notes.sort(key=lambda note: uniform(self._seed, "order", note))
        return " ".join([self._usual(wordings.BEGINNINGS), *notes])

    def any_of(self, forms: Sequence[str], purpose: str, **more: str) -> str:
        """A text in one of several forms. more: what is filled in beside the facts."""
        return self.fill(drawn_from(forms, self._seed, purpose), **more)

    def fill(self, form: str, **more: str) -> str:
        """A text in the wording of this telling, its sentences with capitals."""
        text = Template(self._worded(form)).substitute(self._words, **more)
        return _BEGINNING.sub(lambda match: match[0].upper(), text)

    def _usual(self, forms: Sequence[str]) -> str:
        """A sentence in the form that belongs to the situation, or now and then in another one."""
        if uniform(self._seed, "form", forms[0]) < _OTHER_FORM:
            return self.any_of(forms, "another form")
        return self.fill(forms[derive(self._form, forms[0]) % len(forms)])

    def _worded(self, phrase: str) -> str:
        """A phrase in one of its wordings."""
        place = count()

        def chosen(match: re.Match[str]) -> str:
            first, *others = match[1].split("|")
            drawn = uniform(self._seed, phrase, next(place))
            return first if drawn >= self._freedom else others[int(drawn / self._freedom * len(others))]

        return _ALTERNATIVES.sub(chosen, phrase)


def drawn_from(items: Sequence[T], *purpose: str | int) -> T:
    """One of some items, each as likely as the others."""
    return items[_index(len(items), *purpose)]


def _index(size: int, *purpose: str | int) -> int:
    return int(uniform(*purpose) * size)


def invent(seed: int, *, mild: bool) -> Situation:
    """A situation that is drawn from a seed. mild: little is at stake in it."""
    given, family = (
        _index(len(names), seed, what) for what, names in (("given", wordings.GIVEN), ("family", wordings.FAMILY))
    )
    # Another person: one whose names are both others.
    friend = (given + 1 + _index(len(wordings.GIVEN) - 1, seed, "friend given")) % len(wordings.GIVEN)
    friend_family = (family + 1 + _index(len(wordings.FAMILY) - 1, seed, "friend family")) % len(wordings.FAMILY)
    drawn = {part: _index(len(phrases), seed, part) for part, phrases in _PHRASES.items()}
    stakes = wordings.MILD if mild else wordings.GRAVE
    drawn["stakes"] = _index(len(stakes), seed, "stakes") + (len(wordings.GRAVE) if mild else 0)
    return Situation(
        given=wordings.GIVEN[given],
        family=wordings.FAMILY[family],
        age=_YOUNGEST + _index(_OLDEST - _YOUNGEST + 1, seed, "age"),
        friend_given=wordings.GIVEN[friend],
        friend_family=wordings.FAMILY[friend_family],
        **drawn,
    )


def facts_of(description: str) -> Situation:
    """The situation that a text tells: equal for two tellings of one situation, different for two situations.

    Raises ValueError for a text that tells none, or tells only a part of one.
    """
    words = _WORD.findall(description)
    people = [
        (words[place], words[place + 1], words[place + 2 : place + 3])
        for place in range(len(words) - 1)
        if words[place] in _GIVEN and words[place + 1] in _FAMILY
    ]
    asking = next(
        ((given, family, int(after[0])) for given, family, after in people if after and after[0].isdecimal()), None
    )
    friend = next(((given, family) for given, family, _ in people if asking and given != asking[0]), None)
    parts = _parts(words)
    if asking is None or friend is None or parts.keys() != _PHRASES.keys():
        raise ValueError("the text tells no situation of the planted generator")
    return Situation._make((*asking, *friend, *(parts[part] for part in _PHRASES)))


def _parts(words: Sequence[str]) -> dict[str, int]:
    """Which phrases stand in a text, by part; of two for one part, the longer."""
    index, longest = _wordings()
    lower = [word.lower() for word in words]
    found: dict[str, tuple[int, int]] = {}
    for start in range(len(lower)):
        for size in range(1, min(longest, len(lower) - start) + 1):
            for part, number in index.get(" ".join(lower[start : start + size]), ()):
                if part not in found or size > found[part][0]:
                    found[part] = size, number
    return {part: number for part, (_, number) in found.items()}


@cache
def _wordings() -> tuple[dict[str, list[tuple[str, int]]], int]:
    """Every wording of every phrase, as words in lower case: where it belongs; and the greatest number of words in one."""
    index: dict[str, list[tuple[str, int]]] = {}
    for part, phrases in _PHRASES.items():
        for number, phrase in enumerate(phrases):
            for wording in _ways(phrase):
                index.setdefault(" ".join(_WORD.findall(wording.lower())), []).append((part, number))
    return index, max(map(len, map(str.split, index)))


def _ways(phrase: str) -> Iterator[str]:
    """All wordings of a phrase."""
    pieces = _ALTERNATIVES.split(phrase)
    return map("".join, product(*(piece.split("|") if place % 2 else [piece] for place, piece in enumerate(pieces))))
