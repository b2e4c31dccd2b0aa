"""What was published of recorded real data comes out of our own fits, counts and imports (the table of benchmarks/recorded.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from benchmarks import recorded
from benchmarks.rankings.row import Row
from tests.shared_data import shared


@pytest.mark.parametrize(
    ("name", "part", "figures"),
    [
        ("bt_reference", recorded.bt_reference, 3),
        ("dailydilemmas", recorded.dailydilemmas, 3),
        ("llmbar_judges", recorded.llmbar_judges, 9),
        ("pandalm_judges", recorded.pandalm_judges, 5),
        ("litmus_repeats", recorded.litmus_repeats, 4),
        ("football_results", partial(recorded.football_results, bootstraps=2), 6),
    ],
)
def test_each_figure_is_reached(name: str, part: Callable[[Path], Iterator[Row]], figures: int) -> None:
    """All rows of the table are there, and each holds."""
    rows = list(part(shared(name)))
    assert [row for row in rows if not row.holds] == []
    assert len(rows) == figures


def test_orders_are_those_of_the_published_elo_or_said_to_be_unresolved() -> None:
    """LitmusValues, 14 models asked in one way and 15 in another; four of the 29 have too few outcomes, and say so in words."""
    rows = list(recorded.litmus_values(shared("litmus_values")))
    assert [row for row in rows if not row.holds] == []
    assert len(rows) == 14 + 15 + 2 + 17
    refused = [row.reached for row in rows if row.bound == "unresolved"]
    assert len(refused) == 4
    assert all(words.startswith("unresolved: ") for words in refused)


def test_letters_are_read_as_replies_have_them() -> None:
    """LitmusValues, 13,973 replies that the source took for clear: ours is the source's value in 97 % where both name one, and is
    what the reply says in 97 % of those that open with an option; and every other kind of difference is in the table."""
    rows = list(recorded.letters_read(shared("litmus_values")))
    assert [row for row in rows if not row.holds] == []
    assert [row.bound for row in rows[:2]] == [">= 97 %", ">= 97 %"]
    counted = [row for row in rows[4:-1] if row.bound == "-"]
    read = int(rows[2].reached.split(" of ")[1].split()[0].replace(",", ""))
    agreed = float(rows[2].reached.partition("%")[0]) / 100 * read
    assert sum(int(row.reached.replace(",", "")) for row in counted) == pytest.approx(read - agreed, abs=10)
