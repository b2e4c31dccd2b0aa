from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conflictscope.arena import Broke, Episode, Judged, Said
from conflictscope.outcome import Judgement, Role, Verdict


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
