"""Values of a set that may be one and the same, or say too little to be told apart."""

from __future__ import annotations

import math
import re
from itertools import combinations

from conflictscope.criteria import telling_words
from conflictscope.values import ValueSet

# In 16 real sets of values all that reaches it is one sentence written twice (0.87); what is merely related stays below 0.46.
_NEARLY_THE_SAME = 0.6
_FEWEST_WORDS = 2


def overlaps(value_set: ValueSet) -> list[str]:
    """Warnings, in words: definitions of a single word, names that are equal but for case and signs, definitions nearly the same.

    Definitions are compared by the cosine of the words that tell them from the others of the set, for most have one frame ("An
    action serves it when ..."): it is that of the offline embedding, where each word stands once.
    """
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
    texts = [value.definition for value in values]
    # A text without such words, as one in other letters, is compared as it stands.
    words = [set(found or text.split()) for found, text in zip(telling_words(texts), texts, strict=True)]
    likeness = [
        (len(a & b) / math.sqrt(len(a) * len(b)), one, other)
        for (one, a), (other, b) in combinations(zip(values, words, strict=True), 2)
    ]
    warnings += [
        f"{one.name!r} and {other.name!r}: the definitions are nearly the same (cosine {cosine:.2f})"
        for cosine, one, other in sorted(likeness, key=lambda found: -found[0])
        if cosine >= _NEARLY_THE_SAME
    ]
    return warnings


def _bare(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
