from __future__ import annotations

import io

from rich.console import Console

from conflictscope.annotation import LabelReport, PairLabels, RaterAgreement
from conflictscope.librarystats import Coefficient, Share
from conflictscope.views import print_labels
from tests.hostile import HOSTILE

HALF = Share(5, 10, 0.24, 0.76)
KAPPA = Coefficient("cohen_kappa", 0.4, 0.1, 0.7, 10)
ALPHA = Coefficient("krippendorff_alpha", 0.31, 0.05, 0.62, 10)


def shown(annotator: str, value: str = "care") -> str:
    report = LabelReport(
        11,
        {annotator: {"a": 9, "tie": 2}},
        judges=(RaterAgreement("judge j", annotator, HALF, KAPPA),),
        people=(RaterAgreement(annotator, "lee", HALF, KAPPA),),
        alpha=ALPHA,
        pairs=(PairLabels(value, "thrift", {"a": 9}, {"a": 8, "b": 1}, 8, 2),),
    )
    console = Console(file=io.StringIO(), width=140)
    print_labels(console, report)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_agreement_is_shown_with_its_intervals() -> None:
    """Who said what, each two raters, all people, and the pairs of values."""
    told = " ".join(shown("kim").split())
    for part in (
        "kim 11 a 9 tie 2",
        "judge j and kim 50% [24%, 76%] of 10 0.40 [0.10, 0.70]",
        "kim and lee 50%",
        "all people: krippendorff_alpha 0.31 [0.05, 0.62] of 10 episodes",
        "care / thrift 11 8 2 a 9 a 8 b 1",
    ):
        assert part in told


def test_names_are_shown_as_text() -> None:
    """No markup, no control character of a name reaches the terminal."""
    for text in (*HOSTILE, "[red]x[/red]"):
        told = shown(text, text)
        assert all(ch.isprintable() or ch == "\n" for ch in told)
    assert "[red]x[/red]" in told
