"""Values and value sets: what a scenario sets against each other."""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from itertools import combinations
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from conflictscope.documents import Record

# Names end up in prompts, file names, tables and episode keys, so they stay plain.
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9 _./:@+-]*$", max_length=120)]
# A value's name is also read back from prose ("1. honesty: ..."), so it holds no colon.
ValueName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9 _.+-]*$", max_length=80)]
Prose = Annotated[str, StringConstraints(min_length=1, max_length=20_000)]
Brief = Annotated[str, StringConstraints(min_length=1, max_length=2_000)]


class Value(Record):
    """A named principle."""

    name: ValueName
    definition: Prose
    group: Name | None = None


class ValueSet(Record):
    """A named collection of at least two values, optionally in groups."""

    name: Name
    description: str = ""
    source: str = ""
    values: Annotated[tuple[Value, ...], Field(min_length=2)]

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        twice = [name for name, count in Counter(value.name for value in self.values).items() if count > 1]
        if twice:
            raise ValueError(f"two values have the same name: {', '.join(twice)}")
        return self

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names in the order of the file."""
        return tuple(value.name for value in self.values)

    def pairs(self, *, across_groups: bool = True) -> list[tuple[str, str]]:
        """Unordered pairs that can conflict: all of them; or, across groups, those between groups where the set has groups."""
        return [
            (first.name, second.name)
            for first, second in combinations(self.values, 2)
            if not across_groups or first.group is None or first.group != second.group
        ]
