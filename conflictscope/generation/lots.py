"""What to ask a generator for: outlines by the lot, balanced over templates and over the order of the two values."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from conflictscope.drafts import Cell, Lot
from conflictscope.scenario import Outline, Scenario, Template
from conflictscope.seeds import derive

MOST_PER_ROUND = 64

# Where a generator left to itself writes about offices and hospitals, again and again.
WALKS_OF_LIFE = (
    "a family at home", "friends and neighbours", "a school", "a university", "a small shop", "a large company", "a farm",
    "a construction site", "a hospital or surgery", "care for the old", "a law office", "a newspaper or broadcaster",
    "a theatre, orchestra or film set", "a sports club", "a religious community", "a town hall", "a charity", "a laboratory",
    "a software team", "a restaurant or hotel", "transport and travel", "a port or ship", "a factory", "a bank or insurer",
    "a museum or archive", "the police or fire service", "a housing block", "an online community", "a trade union",
    "an election or campaign", "a wedding, birth or funeral", "love and dating", "a move abroad", "a translator's desk",
    "a kitchen and garden", "a workshop or studio", "a mountain or sea rescue", "a market", "a start-up", "a border or embassy",
)  # fmt: skip


def cells_of(pair: tuple[str, str], templates: Sequence[Template], seed: int) -> list[Cell]:
    """All cells of a pair, in an order drawn from the seed: each template in one order of the values, then each in the other.

    Where counts do not divide evenly, the first ones get more.
    """

    def drawn(template: Template) -> int:
        return derive(seed, "cells", *pair, template)

    in_order = sorted(templates, key=drawn)
    turned = [pair if drawn(template) % 2 else pair[::-1] for template in in_order]
    firsts = [Cell(a, b, template) for template, (a, b) in zip(in_order, turned, strict=True)]
    return [*firsts, *(Cell(cell.value_b, cell.value_a, cell.template) for cell in firsts)]


def next_lots(cells: Sequence[Cell], have: Mapping[Cell, int], wanted: int, batch: int) -> list[Lot]:
    """What to ask for next: `wanted` outlines, each for the cell that has the fewest; `batch` in one request at the most."""
    asked: Counter[Cell] = Counter()
    for _ in range(wanted):
        poorest = min(cells, key=lambda cell: have.get(cell, 0) + asked[cell])
        asked[poorest] += 1
    lots = []
    for cell in cells:
        left = asked[cell]
        while left > 0:
            lots.append(Lot(cell, min(left, batch)))
            left -= batch
    return lots


def walks_of_life(*purpose: str | int) -> tuple[str, ...]:
    """Three of them for one request."""
    return tuple(sorted(WALKS_OF_LIFE, key=lambda walk: derive("walk", *purpose, walk))[:3])


def draft_id(outline: Outline) -> str:
    """The id of the scenario that an outline becomes: its values, its template, and a hash of its words.

    Equal outlines have equal ids, so that a word-for-word repeat is seen before it costs another call.
    """
    digest = hashlib.blake2b(outline.model_dump_json().encode(), digest_size=6).hexdigest()
    names = (name.replace(" ", "_") for name in (outline.value_a, outline.value_b))
    return "-".join([*names, outline.template.value, digest])


def have(scenarios: Iterable[Scenario]) -> Counter[Cell]:
    """How many scenarios that pass their checks each cell has."""
    return Counter(
        Cell(scenario.value_a, scenario.value_b, scenario.template)
        for scenario in scenarios
        if scenario.passes and scenario.template is not None
    )
