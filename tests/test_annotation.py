from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conflictscope.annotation import Answer, Sheet, draw, majority
from conflictscope.outcome import Group, Message, Mode, Outcome, Role, Side, Verdict

VERDICTS = st.sampled_from([Verdict.A, Verdict.B, Verdict.TIE, Verdict.UNRESOLVED])
SAID = (Message(Role.USER, "hello"), Message(Role.TARGET, "half a pair \ud800"))


def outcome(number: int, target: str = "alpha", verdict: Verdict = Verdict.A) -> Outcome:
    return Outcome(Group(target, Mode.OPEN_ENDED), f"s{number}", 1, "x", "y", verdict)


OUTCOMES = st.lists(st.tuples(st.sampled_from(["alpha", "beta"]), VERDICTS), min_size=1, max_size=60).map(
    lambda rows: [outcome(number, *row) for number, row in enumerate(rows)]
)


@given(OUTCOMES, st.integers(1, 60), st.integers(0, 2**63 - 1))
def test_every_stratum_has_its_share_of_a_draw(outcomes: list[Outcome], count: int, seed: int) -> None:
    """To less than one; as many as asked for, none twice; and the same draw from the same seed, in whichever order they come."""
    drawn = draw(outcomes, count, seed)
    assert len(drawn) == len({one.key for one in drawn}) == min(count, len(outcomes))
    assert drawn == draw(outcomes[::-1], count, seed)
    share = len(drawn) / len(outcomes)
    found = Counter((one.group.target, one.verdict) for one in drawn)
    for stratum, size in Counter((one.group.target, one.verdict) for one in outcomes).items():
        assert abs(found[stratum] - share * size) < 1


def test_every_outcome_has_the_same_chance() -> None:
    """Over 2,000 seeds each of ten outcomes is drawn as often as the others, within four standard errors."""
    outcomes = [outcome(number, verdict=Verdict.A if number < 7 else Verdict.B) for number in range(10)]
    times = Counter(one.key for seed in range(2000) for one in draw(outcomes, 3, seed))
    for one in outcomes:
        assert times[one.key] == pytest.approx(600, abs=4 * (2000 * 0.3 * 0.7) ** 0.5)


@pytest.mark.parametrize(
    ("answer", "first", "verdict"),
    [("1", "a", "a"), ("1", "b", "b"), ("2", "a", "b"), ("2", "b", "a"), *((w, "b", w) for w in ("tie", "neither", "refused", "unresolved"))],
)  # fmt: skip
def test_an_answer_is_mapped_back_from_the_page(answer: str, first: Side, verdict: str) -> None:
    """1 is the action shown first; the other answers name no place."""
    assert Answer(answer).placed(first) == verdict


def test_an_item_is_named_after_its_conversation_and_its_sheet() -> None:
    """Another sheet, seed, episode or word: another name; the name leads back to the sheet, and holds none of these words."""
    names = [
        Sheet(0, 1).item_id("k", SAID),
        Sheet(0, 2).item_id("k", SAID),
        Sheet(2**63 - 1, 1).item_id("k", SAID),
        Sheet(0, 1).item_id("l", SAID),
        Sheet(0, 1).item_id("k", SAID[:1]),
    ]
    assert len(set(names)) == len(names)
    assert [Sheet.of(name) for name in names[:3]] == [Sheet(0, 1), Sheet(0, 2), Sheet(2**63 - 1, 1)]
    for other in ("", "i0-1-", names[0][:-1], names[0] + "\n", f"i{'9' * 30}-1-{'0' * 16}", "=i0-1-76bb3e5e26786450"):
        assert Sheet.of(other) is None


def test_the_order_of_the_actions_is_drawn() -> None:
    """Each is first in about half of the items, and two sheets differ in about half."""
    first = [[Sheet(7, number).shown_first(str(key)) for key in range(1000)] for number in (1, 2)]
    assert all(first_ones.count("a") == pytest.approx(500, abs=64) for first_ones in first)
    assert sum(one != other for one, other in zip(*first, strict=True)) == pytest.approx(500, abs=64)


def test_a_majority_is_more_than_half() -> None:
    """One person is one; two who differ are none."""
    a, b, tie = Verdict.A, Verdict.B, Verdict.TIE
    assert [majority(said) for said in ([a], [a, b], [a, b, a], [a, b, tie], [])] == [a, None, a, None, None]
