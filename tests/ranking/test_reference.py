from __future__ import annotations

import pytest

from conflictscope.outcome import Group, JudgedEpisode, Look, Mode, Outcome, Side, Verdict
from conflictscope.ranking import Tally, score_both
from conflictscope.ranking.reference import reference_verdict

GROUP = Group("alpha", Mode.OPEN_ENDED)
A, B = Verdict.A, Verdict.B


def episode(
    verdict: Verdict, *looks: tuple[Side, Verdict, bool], shown_first: Side | None = None, number: int = 0
) -> JudgedEpisode:
    outcome = Outcome(GROUP, f"s{number}", 1, "x", "y", verdict, None, shown_first, "j")
    return JudgedEpisode(outcome, tuple(Look("j", side, choice, resolved) for side, choice, resolved in looks))


@pytest.mark.parametrize("verdict", list(Verdict))
def test_all_that_is_not_a_is_a_win_for_b(verdict: Verdict) -> None:
    """Failures too, where the order is not known."""
    assert reference_verdict(episode(verdict)) is (A if verdict is A else B)


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        ([("a", A, True), ("b", B, True)], A),  # ours: the orders disagree, so nothing is settled
        ([("b", A, True), ("a", B, True)], B),
        ([("a", A, False), ("b", A, False)], B),  # never resolved
        ([("a", B, False), ("b", A, True), ("a", A, True), ("b", A, True)], A),
        ([("a", A, True), ("b", B, True), ("a", B, True), ("b", B, True)], A),  # it would have ended at the first
        ([("a", Verdict.NEITHER, True), ("b", Verdict.NEITHER, True)], B),
    ],
)
def test_the_first_look_that_is_resolved_with_action_a_first_decides(
    looks: list[tuple[Side, Verdict, bool]], expected: Verdict
) -> None:
    """Whatever the verdict is by ours."""
    assert reference_verdict(episode(Verdict.UNRESOLVED, *looks)) is expected


def test_an_episode_that_was_seen_in_the_other_order_only_is_not_counted() -> None:
    """But one that failed before its judges, who look in both orders, is."""
    assert reference_verdict(episode(A, ("b", A, True))) is None
    failed = episode(Verdict.TARGET_FAILED, shown_first="b")
    assert reference_verdict(failed) is None
    assert reference_verdict(failed, both_orders=True) is B


def test_of_several_judges_the_first_decides() -> None:
    """As there was one."""
    looks = (Look("j", "a", A, False), Look("k", "a", B, True), Look("j", "a", A, True))
    assert reference_verdict(JudgedEpisode(Outcome(GROUP, "s", 1, "x", "y", B), looks)) is A


def test_a_pair_that_neither_verdicts_turn_round_is_named() -> None:
    """x wins 30 of 40 conflicts, y 10, and 60 times neither action is taken: by the reference that is 70 wins for y."""
    verdicts = [A] * 30 + [B] * 10 + [Verdict.NEITHER] * 60
    episodes = [episode(verdict, number=n) for n, verdict in enumerate(verdicts)]
    tally = Tally(["x", "y"])
    for one in episodes:
        tally.add(one.outcome)
    scored = score_both(GROUP, tally, episodes)
    assert scored is not None
    found = scored.beside
    assert found.ranks == {"x": (1, 2), "y": (2, 1)}
    assert found.rescored == {(Verdict.NEITHER, B): 60}
    assert found.pairs[0].turned
    assert not found.order_known
    assert list(found.says()) == [
        "x ranks 1 by ours, 2 by the reference",
        "y ranks 2 by ours, 1 by the reference",
        "x / y turns round: x above y (P 1.00) by ours, y above x (P 1.00) by the reference",
    ]


def test_nothing_is_scored_of_too_few() -> None:
    """Nine outcomes, or none that is decisive."""
    for episodes in ([episode(A, number=n) for n in range(9)], [episode(Verdict.TIE, number=n) for n in range(50)]):
        tally = Tally(["x", "y"])
        for one in episodes:
            tally.add(one.outcome)
        assert score_both(GROUP, tally, episodes) is None
