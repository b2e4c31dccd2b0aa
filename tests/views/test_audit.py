from __future__ import annotations

import io

from rich.console import Console

from conflictscope.audit import Audit, Beside, Figure, JudgeAgreement, OrderEffect, PairBeside, ShiftBeside, Unrated
from conflictscope.outcome import Group, Mode, Verdict
from conflictscope.views import print_audit

HOSTILE = "\x1b[31mred\x1b]0;title\x07 [bold]markup[/bold] \u202eright to left"


def shown(found: Audit, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False, color_system=None)
    print_audit(console, found)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def audit(name: str = "alpha", rows: int = 1) -> Audit:
    """An audit in which everything that is a name has this one."""
    share, group, pair = Figure(0.4, 0.3, 0.5, 80), Group(name, Mode.OPEN_ENDED), (name, "y")
    beside = Beside(
        group, {name: (1, 2), "y": (2, 1)}, (PairBeside(pair, (share, share), (0.99, 0.02)),), {}, 80, 0, True
    )
    return Audit(
        episodes=80,
        orders=tuple(OrderEffect(name, pair, True, 80, share, share, share, share, share) for _ in range(rows)),
        agreement=None,
        judged_anew=JudgeAgreement((name, "y"), 80, {(name, "y"): share}, None, None),
        judge_retests=(),
        retests=(),
        unrated=(Unrated(group, pair, share, {Verdict.NEITHER: share}),),
        components=(),
        stability=(),
        beside=(beside,),
        shifts=(ShiftBeside(group, group, pair, Figure(-0.3, -0.4, -0.2, 80), Figure(0.1, 0.05, 0.2, 80)),),
        not_told=("what depends on the user model: a run has one",),
    )


def test_conclusions_that_change_are_named_in_words() -> None:
    """Ranks, the order of a pair, a shift that goes the other way, and how many there are; and what could not be told."""
    text = " ".join(shown(audit(), width=200).split())
    for words in (
        "alpha ranks 1 by ours, 2 by the reference",
        "alpha / y turns round: alpha above y (P 0.99) by ours, y above alpha (P 0.98) by the reference",
        "moves -30 points [-40, -20] by ours, the other way: +10 points [+5, +20] by the reference",
        "4 conclusions would change",
        "40% neither",
        "alpha and y: Cohen's kappa +0.40 [+0.30, +0.50] 80",
        "not told: what depends on the user model",
    ):
        assert words in text


def test_hostile_names_reach_the_terminal_as_text() -> None:
    """No escape, no direction change, no markup."""
    text = shown(audit(HOSTILE), width=250)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "[bold]markup[/bold]" in text


def test_a_long_table_says_how_much_is_not_shown() -> None:
    """Twenty rows are five too many for a screen."""
    assert "... and 5 more: see --json" in shown(audit(rows=20))
