"""What is asked for: balanced, bounded, and the same in every process."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from conflictscope.drafts import Cell
from conflictscope.generation.lots import WALKS_OF_LIFE, cells_of, draft_id, next_lots, walks_of_life
from conflictscope.scenario import Outline, Template

PAIR = ("honesty", "kindness")
CELLS = cells_of(PAIR, tuple(Template), 1)


def outline(**changes: str) -> Outline:
    return Outline(
        **{"value_a": "honesty", "value_b": "kindness", "template": Template.COC, "context": "a kitchen",
           "opportunity": "taste", "good": "true", "harm": "hurt", **changes}  # type: ignore[arg-type]
    )  # fmt: skip


def test_a_pair_has_a_cell_for_each_template_in_each_order() -> None:
    assert Counter(CELLS) == Counter(Cell(a, b, template) for template in Template for a, b in (PAIR, PAIR[::-1]))


def test_no_template_gets_the_remainder_in_every_pair() -> None:
    """Where counts do not divide evenly, which cells get more is drawn from the seed and the pair."""
    firsts = {cells_of(PAIR, tuple(Template), seed)[0].template for seed in range(40)}
    assert firsts == set(Template)


@given(have=st.lists(st.integers(0, 9), min_size=8, max_size=8), wanted=st.integers(0, 64), batch=st.integers(1, 7))
def test_lots_ask_for_what_is_wanted_and_even_out_what_is_there(have: list[int], wanted: int, batch: int) -> None:
    """All lots together ask for `wanted`, none for more than `batch`, and no cell gets more while another has two fewer."""
    there = dict(zip(CELLS, have, strict=True))
    lots = next_lots(CELLS, there, wanted, batch)
    asked: Counter[Cell] = Counter()
    for lot in lots:
        assert 1 <= lot.count <= batch
        asked[lot.cell] += lot.count
    assert asked.total() == wanted
    after = {cell: there[cell] + asked[cell] for cell in CELLS}
    for cell in CELLS:
        if asked[cell]:
            assert after[cell] <= min(after.values()) + 1


def test_equal_outlines_have_equal_ids_and_others_have_others() -> None:
    assert draft_id(outline()) == draft_id(outline())
    assert len({draft_id(outline(context=f"kitchen {number}")) for number in range(1000)}) == 1000
    assert draft_id(outline(value_a="plain speech")).startswith("plain_speech-kindness-coc-")


def test_requests_are_sent_to_different_walks_of_life() -> None:
    drawn = {walk for seed in range(100) for walk in walks_of_life(seed)}
    assert drawn == set(WALKS_OF_LIFE)
    assert walks_of_life(3) == walks_of_life(3)
    assert len(set(walks_of_life(3))) == 3
