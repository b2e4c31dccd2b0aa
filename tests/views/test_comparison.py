from __future__ import annotations

import io
from dataclasses import replace
from itertools import combinations

import pytest
from rich.console import Console

from conflictscope.comparison import Alignment, Comparison, Comparisons, Estimate, PairAlignment, ValueShift
from conflictscope.outcome import Group, Mode
from conflictscope.views import print_comparisons

HOSTILE = "\x1b[31mred\x1b]0;title\x07 [bold]markup[/bold] \u202eright to left"
CHOICE, OPEN = Group("alpha", Mode.MULTIPLE_CHOICE), Group("alpha", Mode.OPEN_ENDED)


def shown(found: Comparisons, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False, color_system=None)
    print_comparisons(console, found)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def shift(value: str, by: float, low: float, high: float) -> ValueShift:
    return ValueShift(value, 0, (0.0, by), Estimate(by, low, high), (1.0, 2.0), Estimate(1.0, 0.0, 2.0))


def comparison(first: Group = CHOICE, second: Group = OPEN) -> Comparison:
    return Comparison(
        first,
        second,
        (shift("care", 0.8, 0.5, 1.1), shift("thrift", -0.1, -0.3, 0.1)),
        tau=Estimate(0.33, -0.33, 1.0),
        rho=Estimate(0.5, -0.5, 1.0),
        scenarios=120,
        unshared=(3, 0),
        pairs=1,
        values_left_out=(),
    )


def alignment() -> Alignment:
    share, more = Estimate(0.4, 0.3, 0.5), Estimate(0.7, 0.6, 0.8)
    return Alignment(
        Group("alpha", Mode.OPEN_ENDED, "careful"),
        ("care", "thrift"),
        share,
        more,
        gain=Estimate(0.3, 0.2, 0.4),
        reached=Estimate(0.5, 0.4, 0.6),
        pairs=(PairAlignment("care", "thrift", share, more, (20, 21)),),
        scenarios=30,
        values_left_out=(),
    )


def test_resolved_differences_are_marked() -> None:
    """A difference whose interval excludes 0 has a mark, the other none; ranks, tau and what is not shared are shown."""
    text = shown(Comparisons((comparison(),), (), (), ("the judge errs",)))
    care, thrift = (next(line for line in text.splitlines() if value in line) for value in ("care", "thrift"))
    assert "+0.80 [+0.50, +1.10]*" in care
    assert "-0.10 [-0.30, +0.10]*" not in thrift
    assert "1 → 2" in care
    assert "multiple_choice → open_ended" in text
    assert "120 scenarios shared (3 and 0 not)" in text
    assert "tau +0.33 [-0.33, +1.00]" in text
    assert "judge: the judge errs" in text


def test_an_alignment_tells_gain_and_what_there_was_to_gain() -> None:
    """Shares as percentages, the gain in points, the share of the possible gain; or in words that there was none."""
    text = shown(Comparisons((), (alignment(),), ()))
    assert "states care > thrift" in text
    assert "gained +30 points [+20, +40]*, 50% [40%, 60%] of what there was to gain" in text
    assert "care > thrift" in text
    text = shown(Comparisons((), (replace(alignment(), reached=None),), ()))
    assert "nothing to gain" in text


def test_an_alignment_tells_what_became_of_other_values() -> None:
    """Values that the ranking does not name, and those that kept their rank, each with its interval and a mark where it moved."""
    others = (shift("privacy", -0.5, -0.8, -0.2), shift("care", 0.2, -0.1, 0.5))
    text = shown(Comparisons((), (replace(alignment(), others=others),), ()))
    privacy, care = (next(line for line in text.splitlines() if why in line) for why in ("not in", "kept its rank"))
    assert "privacy" in privacy
    assert "-0.50 [-0.80, -0.20]*" in privacy
    assert "care" in care
    assert "+0.20 [-0.10, +0.50]*" not in care


def test_many_comparisons_are_a_row_each() -> None:
    """Above ten comparisons each has one row under what is held fixed, the least alike first, and nothing in full."""
    many = [comparison(CHOICE, Group(f"model{n:02}", Mode.MULTIPLE_CHOICE)) for n in range(105)]
    many[70] = replace(many[70], tau=Estimate(-1.0, -1.0, 0.0))
    lines = shown(Comparisons(tuple(many), (), ())).splitlines()
    rows = [line for line in lines if "→" in line]
    assert len(rows) == 105
    assert "model70" in rows[0]
    assert sum("multiple_choice" in line for line in lines) == 1
    assert not any("care" in line for line in lines)


def test_what_a_behaviour_does_to_the_plain_condition_is_told_in_full_among_many() -> None:
    """Five behaviours make fifteen comparisons: the five with the plain condition are in full, the others a row each."""
    groups = [OPEN, *(replace(OPEN, behavior=f"mine{n}") for n in range(5))]
    text = shown(Comparisons(tuple(comparison(*two) for two in combinations(groups, 2)), (), ()))
    assert [f"plain → mine{n}  120 scenarios shared" in text for n in range(5)] == [True] * 5
    assert text.count("scenarios shared") == 5
    assert "The others in full: fewer with --by, or all with --json." in text


def test_an_alignment_keeps_its_pairs_beside_many_comparisons() -> None:
    """Four steerings in three modes are many comparisons, and each alignment is still told by pair."""
    many = [comparison(CHOICE, Group(f"model{n:02}", Mode.MULTIPLE_CHOICE)) for n in range(30)]
    assert "care > thrift  " in shown(Comparisons(tuple(many), (alignment(),), ())).replace("states care > thrift", "")


@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
def test_it_fits_the_terminal_and_hostile_names_do_nothing(width: int) -> None:
    """Names are printed as text, and no line is longer than the terminal is wide."""
    hostile = Group(HOSTILE * 3, Mode.OPEN_ENDED, HOSTILE)
    odd = replace(
        comparison(replace(hostile, mode=Mode.MULTIPLE_CHOICE), hostile),
        shifts=(shift(HOSTILE, 0.0, 0.0, 0.0),),
        tau=None,
        rho=None,
    )
    text = shown(
        Comparisons(
            (comparison(), odd), (replace(alignment(), ranking=(HOSTILE, "care"), others=odd.shifts),), (HOSTILE,)
        ),
        width,
    )
    assert not {"\x1b", "\x07", "\u202e"} & set(text)
    assert "[bold]" in text
    assert max(map(len, text.splitlines())) <= width
