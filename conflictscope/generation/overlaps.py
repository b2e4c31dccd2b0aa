"""Values of a set that may be one and the same, or say too little to be told apart."""

from __future__ import annotations

import re
from itertools import combinations

from conflictscope.criteria import telling_words
from conflictscope.generation.similarity import Embedding, near_duplicates
from conflictscope.values import ValueSet

# In 13 real sets of values all that reaches it is one sentence written twice (0.87); what is merely related stays below 0.46.
_NEARLY_THE_SAME = 0.6
_FEWEST_WORDS = 2


async def overlaps(value_set: ValueSet, embedding: Embedding) -> list[str]:
    """Warnings, in words: names that are equal but for case and signs, definitions of a single word, and nearly the same ones.

    Definitions are compared by the words that tell them from the others of the set: most have one frame ("An action serves it
    when ..."). Raises what the embedding raises.
    """
    texts = [value.definition for value in value_set.values]
    # A text without such words, as one in other letters, is compared as it stands.
    vectors = await embedding.embed(
        [" ".join(words) or text for words, text in zip(telling_words(texts), texts, strict=True)]
    )
    values = value_set.values
    warnings = [
        f"{value.name!r}: the definition is a single word, {value.definition!r}: no model can tell by it what serves the value"
        for value in values
        if len(value.definition.split()) < _FEWEST_WORDS
    ]
    warnings += [
        f"{one.name!r} and {other.name!r}: the names are equal but for case and signs"
        for one, other in combinations(values, 2)
        if _bare(one.name) == _bare(other.name)
    ]
    warnings += [
        f"{values[i].name!r} and {values[j].name!r}: the definitions are nearly the same (cosine {cosine:.2f})"
        for i, j, cosine in sorted(near_duplicates(vectors, _NEARLY_THE_SAME), key=lambda found: -found[2])
    ]
    return warnings


def _bare(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
