from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conflictscope.audit import Figure
from conflictscope.outcome import Group, JudgedEpisode, Look, Mode, Outcome, Side, Verdict
from conflictscope.ranking import judge_agreement, judge_retests, order_effects, retests

GROUP = Group("alpha", Mode.OPEN_ENDED)
A, B = Verdict.A, Verdict.B


def episode(
    number: int,
    *looks: Look,
    verdict: Verdict = A,
    shown_first: Side | None = None,
    judge: str | None = "j",
    repeat: int = 1,
    group: Group = GROUP,
) -> JudgedEpisode:
    return JudgedEpisode(Outcome(group, f"s{number}", repeat, "x", "y", verdict, None, shown_first, judge), looks)


def both(a_first: Verdict, b_first: Verdict, judge: str = "j", resolved: bool = True) -> tuple[Look, Look]:
    return Look(judge, "a", a_first, resolved), Look(judge, "b", b_first, resolved)


def holds(figure: Figure | None, truth: float) -> bool:
    return figure is not None and figure.low <= truth <= figure.high


@given(st.lists(st.tuples(st.sampled_from([A, B]), st.sampled_from([A, B])), min_size=10, max_size=60))
def test_in_both_orders_a_flip_is_a_changed_mind_and_the_bias_that_of_the_first(
    said: list[tuple[Verdict, Verdict]],
) -> None:
    """For all pairs of values and for the only one alike; the interval of the bias is within [-1, 1] and holds it."""
    whole, of_pair = order_effects([episode(n, *both(*looks)) for n, looks in enumerate(said)])
    assert (whole.pair, of_pair.pair, whole.items) == (None, ("x", "y"), len(said))
    assert whole.flips is not None
    assert whole.bias is not None
    assert whole.flips.value == pytest.approx(sum(one is not other for one, other in said) / len(said))
    named_first = said.count((A, B)) - said.count((B, A))
    assert whole.bias.value == pytest.approx(named_first / len(said))
    assert -1 <= whole.bias.low <= whole.bias.high <= 1
    assert whole.flips == of_pair.flips


def test_only_the_first_turn_that_names_an_action_in_both_orders_counts() -> None:
    """A later one is there because the orders disagreed: with it every judge would seem to agree with itself."""
    first, agreed = both(A, B), both(A, A)
    unresolved = both(A, A, resolved=False)
    [effect, _] = order_effects([episode(n, *unresolved, *first, *agreed) for n in range(20)])
    assert effect.flips is not None
    assert effect.flips.value == 1


def test_a_drawn_order_tells_the_bias_of_a_judge() -> None:
    """One that names the first in 30 % whatever was done, found again with an interval of less than .1 on each side."""
    rng = random.Random(3)
    episodes = []
    for number in range(3_000):
        side: Side = "a" if rng.random() < 0.5 else "b"
        named = A if rng.random() < 0.7 else B
        named = Verdict(side) if rng.random() < 0.3 else named
        episodes.append(episode(number, verdict=named, shown_first=side))
    effect = order_effects(episodes)[0]
    assert not effect.both_orders
    assert holds(effect.bias, 0.3)
    assert effect.bias is not None
    assert effect.bias.high - effect.bias.low < 0.1
    assert effect.flips is None
    assert effect.error is None


def test_without_a_judge_the_order_works_on_the_target() -> None:
    """Also where a parser looks: it reads off what the target itself named."""
    group = Group("beta", Mode.MULTIPLE_CHOICE)
    parsed = [episode(n, Look("parser", "a", A, True), group=group, judge="parser", shown_first="a") for n in range(5)]
    imported = [episode(n, shown_first="b", judge=None) for n in range(5)]
    assert {effect.who for effect in order_effects(parsed + imported)} == {"alpha", "beta"}


def test_nothing_is_told_of_too_few() -> None:
    """Nine conversations give no share, nine repeats no agreement; without an order there is not even a row."""
    [effect, _] = order_effects([episode(n, *both(A, B)) for n in range(9)])
    assert (effect.items, effect.flips, effect.bias, effect.error) == (9, None, None, None)
    assert order_effects([episode(1)]) == ()
    [retest] = retests([episode(n, repeat=repeat) for n in range(9) for repeat in (1, 2)])
    assert (retest.scenarios, retest.same, retest.alpha) == (9, None, None)
    agreement = judge_agreement([episode(n, *both(A, A), *both(A, A, judge="k")) for n in range(29)])
    assert agreement is not None
    assert (agreement.episodes, dict(agreement.cohen), agreement.fleiss, agreement.alpha) == (29, {}, None, None)


def test_several_judges_of_one_episode_are_set_side_by_side() -> None:
    """Two that agree always, and one that says otherwise in every third episode; a judge that the order turns says unresolved."""
    episodes = [
        episode(n, *both(said, said, "j"), *both(said, said, "k"), *both(A, A if n % 3 else B, "l"))
        for n, said in enumerate([A, B] * 30)
    ]
    found = judge_agreement(episodes)
    assert found is not None
    assert found.judges == ("j", "k", "l")
    assert found.cohen["j", "k"].value == 1
    assert found.cohen["j", "l"].value < 0.5
    assert found.fleiss is not None
    assert found.alpha is not None
    assert found.fleiss.items == found.alpha.items == 60
    assert found.fleiss.value == pytest.approx(found.alpha.value, abs=0.01)  # but for the correction of a small sample
    assert judge_agreement([episode(1, *both(A, A))]) is None


def test_repeats_that_failed_are_no_answers() -> None:
    """Thirty scenarios whose other repeat agrees, and a third one that our machinery lost."""
    verdicts = (A, A, Verdict.JUDGE_FAILED)
    found = retests([episode(n, verdict=v, repeat=r) for n in range(30) for r, v in enumerate(verdicts)])
    assert found[0].same is not None
    assert found[0].same.value == 1


def again(judge: str, *said: Verdict) -> tuple[Look, ...]:
    """One look a repeat, in one order."""
    return tuple(Look(judge, "a", choice, True, repeat) for repeat, choice in enumerate(said, start=1))


def test_repeated_looks_of_a_judge_are_held_against_each_other() -> None:
    """Of three looks one differs in every second conversation: two looks say the same in (1 + 1/3) / 2; a failed look is none."""
    steady, wavering = again("j", A, A, A), again("j", A, B, A)
    episodes = [episode(n, *(steady if n % 2 else wavering)) for n in range(40)]
    [found] = judge_retests(episodes)
    assert (found.judge, found.conversations) == ("j", 40)
    assert found.same is not None
    assert found.same.value == pytest.approx(2 / 3)
    assert judge_retests([episode(n, *again("j", A, Verdict.JUDGE_FAILED)) for n in range(40)]) == ()
    assert judge_retests([episode(n, *both(A, A)) for n in range(40)]) == ()  # two orders are one opinion


def test_repeats_are_one_turn_and_one_opinion() -> None:
    """The majority of a judge's repeats is what agreement is reckoned from, and the order effect from the first repeat alone."""
    [own] = episode(0, *again("j", B, A, A)).turns
    assert len(own["j"]) == 3
    found = judge_agreement([episode(n, *again("j", B, A, A), *again("k", A)) for n in range(30)])
    assert found is not None
    assert found.alpha is not None
    assert found.alpha.value == 1
    looks = [Look("j", side, (side == "a" and A) or B, True, 1) for side in ("a", "b")]
    looks += [Look("j", side, A, True, 2) for side in ("a", "b")]
    [effect, _] = order_effects([episode(n, *looks) for n in range(20)])
    assert effect.flips is not None
    assert effect.items == 20
    assert effect.flips.value == 1
