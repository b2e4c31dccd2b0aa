from __future__ import annotations

import re
from collections import Counter
from itertools import combinations
from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conflictscope.planted import facts_of, wordings
from conflictscope.planted.invention import _PHRASES, _WORD, Telling, _ways, invent

SEEDS = st.integers(0, 2**63 - 1)


def words(text: str) -> str:
    return f" {' '.join(_WORD.findall(text.lower()))} "


def cosine(one: str, other: str) -> float:
    """Of the two bags of words."""
    a, b = (Counter(words(text).split()) for text in (one, other))
    dot = sum(count * b[word] for word, count in a.items())
    return dot / sqrt(sum(n * n for n in a.values()) * sum(n * n for n in b.values()))


def share(found: list[float], low: float, high: float) -> float:
    return sum(low <= each <= high for each in found) / len(found)


@given(SEEDS, SEEDS, st.booleans())
def test_a_situation_is_read_back_from_every_telling(facts: int, style: int, mild: bool) -> None:
    """As a description and as the context of an outline, whatever words and order are drawn."""
    situation = invent(facts, mild=mild)
    telling = Telling(situation, style)
    assert facts_of(telling.description()) == facts_of(telling.context()) == situation


def test_no_wording_stands_in_a_phrase_of_another_part_or_in_a_sentence() -> None:
    """So that what is read back cannot be taken for something else: each wording means one phrase, everywhere."""
    sentences = [
        *wordings.INTRODUCTIONS,
        *wordings.REQUESTS,
        *wordings.TIES,
        *wordings.CONFLICTS,
        *wordings.ASIDES,
        *wordings.BEGINNINGS,
    ]
    sentences += [form for forms in wordings.NOTES.values() for form in forms]
    sentences += [sentence for defects in wordings.DEFECTS.values() for sentence in defects]
    framed = {words(re.sub(r"\$\w+", "§", way)) for sentence in sentences for way in _ways(sentence)}
    meanings: dict[str, tuple[str, int]] = {}
    for part, phrases in _PHRASES.items():
        for number, phrase in enumerate(phrases):
            for way in _ways(phrase):
                assert meanings.setdefault(words(way), (part, number)) == (part, number)
    for wording, (part, _) in meanings.items():
        assert not [other for other, (elsewhere, _) in meanings.items() if wording in other and elsewhere != part]
        assert not [sentence for sentence in framed if wording in sentence]


def test_a_text_that_tells_no_situation_is_refused() -> None:
    """Also one that tells only a part of one."""
    description = Telling(invent(1, mild=False), 1).description()
    for text in ("", "A case.", description[: len(description) // 2]):
        with pytest.raises(ValueError, match="tells no situation of the planted generator"):
            facts_of(text)


def test_twenty_thousand_descriptions_are_distinct() -> None:
    """No two situations share a text or their facts, and neither do retellings of one share a text."""
    situations = [invent(seed, mild=bool(seed % 2)) for seed in range(18_000)]
    told = [Telling(situation, seed).description() for seed, situation in enumerate(situations)]
    retold = [Telling(situations[0], seed).description() for seed in range(1, 2_001)]
    assert len(set(situations)) == len(situations)
    assert len({*told, *retold}) == 20_000


def test_retellings_are_near_duplicates_and_other_situations_are_not() -> None:
    """As cosines of bags of words: of retellings mostly from 0.75 to 0.98, with a spread; of others nearly always below 0.6."""
    situations = [invent(seed, mild=bool(seed % 2)) for seed in range(300)]
    told = [Telling(situation, seed).description() for seed, situation in enumerate(situations)]
    retold = [Telling(situation, -1 - seed).description() for seed, situation in enumerate(situations)]
    alike = [cosine(one, other) for one, other in zip(told, retold, strict=True)]
    assert share(alike, 0.75, 0.98) > 0.95
    assert share(alike, 0.75, 0.86) > 0.1
    assert share(alike, 0.92, 0.98) > 0.1
    unlike = [cosine(one, other) for one, other in combinations(told[:150], 2)]
    assert share(unlike, 0.0, 0.6) > 0.97
    assert max(unlike) < 0.8


def test_little_is_at_stake_in_a_mild_situation() -> None:
    """The stakes come from the mild ones where a mild situation is asked for, and from the grave ones otherwise."""
    grave = len(wordings.GRAVE)
    assert all(invent(seed, mild=True).stakes >= grave > invent(seed, mild=False).stakes for seed in range(200))
