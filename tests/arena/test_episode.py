from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conflictscope.arena import Broke, Episode, Judged, Said
from conflictscope.config import JudgeConfig
from conflictscope.outcome import Judgement, Role, Verdict, settle


def look(choice: Verdict = Verdict.A, *, resolved: bool = True, strength: int | None = 5) -> Judged:
    return Judged([Judgement("j", "a", choice, resolved, strength, "because")])


def test_a_conversation_alternates_until_the_judge_has_settled_it() -> None:
    """User, target and judge take turns; an unsettled look gives the user another turn; a settled one ends it."""
    episode = Episode(max_turns=3)
    order = []
    for event in (Said("u1"), Said("t1"), look(resolved=False), Said("u2"), Said("t2"), look(Verdict.B, strength=6)):
        order.append(episode.next)
        episode = episode.advance(event)
    assert order == [Role.USER, Role.TARGET, Role.JUDGE] * 2
    assert (episode.next, episode.verdict, episode.strength) == (None, Verdict.B, 6)
    assert [message.text for message in episode.transcript] == ["u1", "t1", "u2", "t2"]
    assert len(episode.judgements) == 2


def test_no_turn_left_means_unresolved() -> None:
    """A conversation that nobody settles within max_turns ends as unresolved, never as a win, a loss or a tie."""
    episode = Episode(max_turns=2)
    for event in (Said("u"), Said("t"), look(resolved=False)) * 2:
        episode = episode.advance(event)
    assert (episode.next, episode.verdict, episode.strength) == (None, Verdict.UNRESOLVED, None)


def test_a_judge_that_changes_its_mind_with_the_order_settles_nothing() -> None:
    """Two orders with two answers leave the episode unresolved."""
    episode = Episode(max_turns=1).advance(Said("u")).advance(Said("t"))
    flipped = [Judgement("j", "a", Verdict.A, True, 5, ""), Judgement("j", "b", Verdict.B, True, 5, "")]
    assert episode.advance(Judged(flipped)).verdict is Verdict.UNRESOLVED


@pytest.mark.parametrize(
    ("events", "verdict"),
    [
        ([], Verdict.USER_FAILED),
        ([Said("u")], Verdict.TARGET_FAILED),
        ([Said("u"), Said("t")], Verdict.JUDGE_FAILED),
    ],
)
def test_a_failure_ends_the_episode_in_the_state_of_whoever_failed(events: list[Said], verdict: Verdict) -> None:
    """A failure is a typed state with its cause, and what was said before it is kept."""
    episode = Episode(max_turns=3)
    for event in events:
        episode = episode.advance(event)
    episode = episode.advance(Broke("timeout", "no reply within 5 s"))
    assert (episode.next, episode.verdict, episode.failure) == (None, verdict, "timeout: no reply within 5 s")
    assert len(episode.transcript) == len(events)


def test_a_filter_on_the_target_is_a_refusal_but_on_the_judge_a_failure() -> None:
    """A provider's filter on the target's reply is the target's conduct; on the judge's it is a judge without verdict."""
    at_target = Episode(max_turns=1).advance(Said("u"))
    assert at_target.advance(Broke("refused", "filter")).verdict is Verdict.REFUSED
    assert at_target.advance(Said("t")).advance(Broke("refused", "filter")).verdict is Verdict.JUDGE_FAILED


def test_an_event_out_of_turn_is_an_error() -> None:
    """The machine refuses what cannot happen, also after its end."""
    with pytest.raises(ValueError, match="Judged cannot happen when it is user's turn"):
        Episode(max_turns=1).advance(look())
    done = Episode(max_turns=1).advance(Broke("timeout", ""))
    with pytest.raises(ValueError, match="Said cannot happen when it is nobody's turn"):
        done.advance(Said("more"))


def looks(*said: tuple[str, str], repeat: int = 1) -> list[Judgement]:
    """Looks of judges by name; `-`: not resolved, `!`: failed. Each is of an order of its own."""
    found = {"-": (Verdict.NEITHER, False), "!": (Verdict.JUDGE_FAILED, False)}
    made = []
    for judge, word in said:
        for place, letter in enumerate(word):
            choice, resolved = found.get(letter) or (Verdict(letter), True)
            failure = "timeout: late" if letter == "!" else None
            made.append(Judgement(judge, "ab"[place], choice, resolved, None, "", repeat, failure=failure))  # type: ignore[arg-type]
    return made


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        ("aa a- aa", Verdict.A),  # two of three
        ("aa bb -a", None),
        ("aa ab ab", None),  # judges whose orders differ have no verdict, and count in the whole
        ("aa aa !", Verdict.A),  # a majority stands without the one that failed
        ("aa -- !", Verdict.JUDGE_FAILED),  # the one that failed could have made it
        ("aa bb !", Verdict.JUDGE_FAILED),
        ("-- ab !", None),  # whatever it had said, nothing is settled
        ("aa b!", Verdict.JUDGE_FAILED),
        ("aa bb", None),
        ("!", Verdict.JUDGE_FAILED),
        ("a!", Verdict.JUDGE_FAILED),
        ("ab", None),
    ],
)
def test_a_panel_votes_after_each_judge_has_settled_its_own_looks(said: str, verdict: Verdict | None) -> None:
    """More than half of all judges; who has settled nothing counts in the whole, and a failure only where it could decide."""
    settled = settle(looks(*((str(number), word) for number, word in enumerate(said.split()))))
    assert (settled and settled[0]) == verdict


@pytest.mark.parametrize(
    ("repeats", "verdict"),
    [
        ("aa aa bb", Verdict.A),
        ("aa ab bb", None),
        ("aa aa !", Verdict.A),
        ("aa ! bb", Verdict.JUDGE_FAILED),
        ("ab ab aa", None),
    ],
)
def test_a_judges_repeats_vote(repeats: str, verdict: Verdict | None) -> None:
    """In each repeat the orders must agree; of the repeats, more than half."""
    made = [look for number, word in enumerate(repeats.split(), 1) for look in looks(("j", word), repeat=number)]
    settled = settle(made)
    assert (settled and settled[0]) == verdict


def test_weights_let_the_better_judge_outvote_two() -> None:
    """A judge that errs in 1 % outweighs two that err in 30 %; three alike are a majority vote, and equal halves none."""
    panel = JudgeConfig(models=("p:x", "p:y", "p:z"), vote="weighted", errors={"p:x": 0.01, "p:y": 0.3, "p:z": 0.3})
    said = looks(("p:x", "a"), ("p:y", "b"), ("p:z", "b"))
    assert settle(said, panel.weights) == (Verdict.A, None)
    assert settle(said) == (Verdict.B, None)
    halves = looks(("w", "a"), ("x", "a"), ("y", "b"), ("z", "b"))
    assert settle(halves, dict.fromkeys("wxyz", 0.1 + 0.2)) is None


def test_a_failed_judge_leaves_its_reason() -> None:
    """Where it decided, the episode tells it; where a majority stood, the look is kept and the episode has not failed."""
    for said, failure in (("aa aa !", None), ("aa bb !", "timeout: late")):
        panel = looks(*((str(number), word) for number, word in enumerate(said.split())))
        episode = Episode(max_turns=1).advance(Said("u")).advance(Said("t")).advance(Judged(panel))
        assert (episode.failure, episode.judgements[-1].failure) == (failure, "timeout: late")
        assert episode.verdict is (Verdict.JUDGE_FAILED if failure else Verdict.A)


def test_a_strength_is_the_mean_of_the_looks_that_won() -> None:
    """Those who named something else, or nothing, have no part in it."""
    made = [
        Judgement(judge, "a", choice, resolved, strength, "")
        for judge, choice, resolved, strength in (
            ("j", Verdict.A, True, 7),
            ("k", Verdict.A, True, 4),
            ("l", Verdict.B, True, 1),
        )
    ]
    assert settle(made) == (Verdict.A, 6)


@given(
    st.lists(st.lists(st.sampled_from(["aa", "bb", "ab", "--", "!"]), min_size=1, max_size=3), min_size=1, max_size=4),
    st.randoms(use_true_random=False),
)
def test_a_vote_hangs_neither_on_the_order_of_judges_nor_on_which_side_is_which(
    said: list[list[str]], random: Random
) -> None:
    """Shuffled judges come to the same; with a and b exchanged, to the other side; and a rated verdict has more than half."""
    made = [looks((str(judge), word), repeat=n) for judge, words in enumerate(said) for n, word in enumerate(words, 1)]
    settled = settle([look for repeat in made for look in repeat])
    random.shuffle(made)
    assert settle([look for repeat in made for look in repeat]) == settled
    swapped = {Verdict.A: Verdict.B, Verdict.B: Verdict.A}
    turned = settle([replace(look, choice=swapped.get(look.choice, look.choice)) for repeat in made for look in repeat])
    assert (turned and turned[0]) == (settled and swapped.get(settled[0], settled[0]))
    if settled and settled[0].rated:
        word = settled[0].value * 2
        assert sum(words.count(word) * 2 > len(words) for words in said) * 2 > len(said)


judgements = st.builds(
    Judgement,
    judge=st.just("j"),
    shown_first=st.sampled_from(["a", "b"]),
    choice=st.sampled_from([Verdict.A, Verdict.B, Verdict.TIE, Verdict.NEITHER, Verdict.REFUSED]),
    resolved=st.booleans(),
    strength=st.none() | st.integers(1, 7),
    reasoning=st.text(max_size=5),
)


@given(st.data(), st.integers(1, 4))
def test_whatever_happens_an_episode_ends_in_exactly_one_state(data: st.DataObject, max_turns: int) -> None:
    """For any sequence of events that can happen: it ends within 3 events a turn, with one verdict, and rated only if settled."""
    episode = Episode(max_turns)
    broke, last = False, []
    for _ in range(3 * max_turns):
        if episode.next is None:
            break
        assert episode.verdict is None
        broke = data.draw(st.integers(0, 9)) == 0
        if broke:
            episode = episode.advance(Broke("http_500", "server"))
        elif episode.next is Role.JUDGE:
            last = data.draw(st.lists(judgements, min_size=1, max_size=2))
            episode = episode.advance(Judged(last))
        else:
            episode = episode.advance(Said("text"))
    assert episode.next is None
    assert episode.verdict is not None
    if episode.verdict.rated:
        assert not broke
        assert {j.choice for j in last} == {episode.verdict}
        assert all(j.resolved for j in last)
    assert episode.verdict.failed == broke
