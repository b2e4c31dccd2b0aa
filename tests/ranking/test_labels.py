from __future__ import annotations

import pytest

from conflictscope.outcome import Group, Mode, Outcome, Verdict
from conflictscope.ranking.agreement import cohen_kappa, krippendorff_alpha
from conflictscope.ranking.labels import label_report

A, B, TIE, OPEN = Verdict.A, Verdict.B, Verdict.TIE, Verdict.UNRESOLVED


def outcome(number: int, verdict: Verdict, pair: tuple[str, str] = ("x", "y"), judge: str = "j") -> Outcome:
    return Outcome(Group("alpha", Mode.OPEN_ENDED), f"s{number}", 1, *pair, verdict, None, "a", judge)


LABELLED = [
    (outcome(1, A), {"kim": A, "lee": A, "majority of people": A}),
    (outcome(2, B), {"kim": A, "lee": A}),
    (outcome(3, B), {"kim": B, "lee": TIE}),
    (outcome(4, A, ("y", "x")), {"kim": A, "lee": A}),
    (outcome(5, OPEN, ("w", "x")), {"lee": OPEN}),
    (outcome(6, A, judge="k"), {"kim": A}),
]


def test_judges_and_people_are_compared_two_by_two() -> None:
    """Each judge with each person on what both have a verdict of, and with the majority, where there is one."""
    report = label_report(LABELLED)
    judges = {(found.first, found.second): (found.same.count, found.same.total) for found in report.judges}
    assert judges[("judge j", "kim")] == (3, 4)
    assert judges[("judge j", "lee")] == (3, 5)
    assert judges[("judge k", "kim")] == (1, 1)
    assert ("judge k", "lee") not in judges
    people = {(found.first, found.second): found for found in report.people}
    kim_lee = people["kim", "lee"]
    assert (kim_lee.same.count, kim_lee.same.total) == (3, 4)
    assert 0 < kim_lee.same.low < 0.75 < kim_lee.same.high < 1
    kappa = cohen_kappa([A, A, B, A], [A, A, TIE, A])
    assert (kim_lee.kappa.value, kim_lee.kappa.low, kim_lee.kappa.items) == (kappa.value, kappa.low, 4)
    assert report.alpha is not None
    assert report.alpha.value == krippendorff_alpha([[A, A, A], [A, A], [B, TIE], [A, A]]).value
    assert report.annotators["lee"] == {"a": 3, "tie": 1, "unresolved": 1}


def test_the_majority_is_not_mixed_up_with_a_person_of_that_name() -> None:
    """Both are there, each with its own episodes."""
    totals = [found.same.total for found in label_report(LABELLED).judges if found.second == "majority of people"]
    assert totals == [1, 4, 1]


def test_pairs_of_values_are_counted_in_one_order() -> None:
    """Whichever way round the scenario has them; an episode without a majority is split, and counts for nothing else."""
    wx, xy = label_report(LABELLED).pairs
    assert (wx.value_a, wx.value_b, wx.people, wx.same, wx.split) == ("w", "x", {"unresolved": 1}, 1, 0)
    assert (xy.value_a, xy.value_b, xy.same, xy.split, xy.decided) == ("x", "y", 3, 1, 4)
    assert xy.people == {"a": 3, "b": 1}
    assert xy.judge == {"a": 2, "b": 2}


def test_one_person_has_nobody_to_agree_with() -> None:
    """Then there is the judge alone, and no majority beside the person."""
    report = label_report([(outcome(1, A), {"kim": A})])
    assert (report.people, report.alpha, report.episodes) == ((), None, 1)
    assert [(found.first, found.second) for found in report.judges] == [("judge j", "kim")]
    assert report.judges[0].kappa.value == pytest.approx(1)
