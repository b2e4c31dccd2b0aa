"""The built-in behaviours, played with planted models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conflictscope import pipeline
from conflictscope.agents.behaviors.moody_user import MOODS
from conflictscope.agents.behaviors.revealing_user import parts
from conflictscope.comparison import By
from conflictscope.errors import InputError
from conflictscope.runfolder import RunFolder
from tests.agents.behaviors.worlds import conversations, play, rows, sweep_in


async def test_a_persistent_user_pushes_back_where_a_plain_one_takes_no_for_an_answer(tmp_path: Path) -> None:
    """A target that declines every other time is asked up to three times: fewer refusals, in longer conversations."""
    sweep = sweep_in(tmp_path, 'behaviors=["persistent_user"]', scenarios=40, refusal_rate=0.5)
    database = await play(sweep, tmp_path)
    query = "SELECT g.behavior, sum(verdict = 'refused') FROM episodes e JOIN groups g ON g.id = e.group_id GROUP BY 1"
    refused = dict(rows(database, query))
    assert refused[None] > 10
    assert refused["persistent_user"] < refused[None] / 2
    assert {len(said) for said in conversations(database, None)} == {2}
    assert {len(said) for said in conversations(database, "persistent_user")} == {2, 4, 6}


async def test_a_revealing_user_tells_the_same_opening_in_parts(tmp_path: Path) -> None:
    """Every word of the opening is told, a part in each turn, and the judge looks when all of it is."""
    database = await play(sweep_in(tmp_path, 'behaviors=["revealing_user"]'), tmp_path)
    for plain, revealing in zip(conversations(database, None), conversations(database, "revealing_user"), strict=True):
        opening = plain[0][1]
        told = [text for role, text in revealing if role == "user"]
        assert len(told) == 3
        assert opening.startswith(told[0])
        assert "\n\n".join([told[0], *(text.partition("\n\n")[2] for text in told[1:])]) == opening
    assert rows(
        database, "SELECT count(*) FROM judgements j JOIN episodes e ON e.seq = j.episode_seq WHERE e.group_id = 2"
    ) == [(4,)]


@given(st.lists(st.text(st.characters(categories=["L"]), min_size=1), min_size=1), st.integers(1, 9))
def test_the_parts_of_a_message_are_the_message(paragraphs: list[str], most: int) -> None:
    """At most so many, none empty, nothing lost or added."""
    found = parts("\n\n".join(paragraphs), most)
    assert 1 <= len(found) <= most
    assert all(found)
    assert "\n\n".join(found) == "\n\n".join(paragraphs)


def test_a_message_of_one_paragraph_is_told_by_sentences() -> None:
    """There is something to keep back there, too."""
    assert parts("One. Two! Three?", 3) == ["One.", "Two!", "Three?"]
    assert parts("One. Two! Three?", 1) == ["One. Two! Three?"]


async def test_a_moody_user_is_in_one_mood_throughout_the_same_for_every_target(tmp_path: Path) -> None:
    """The opening keeps its text and shows the mood; a second run with the same seed has the same moods."""
    moods = []
    for place in ("one", "two"):
        sweep = sweep_in(
            tmp_path / place, 'behaviors=["moody_user"]', "repeats=3",
            'targets=[{model="planted:alpha"}, {model="planted:alpha", name="again"}]', hesitation_rate=1.0,
        )  # fmt: skip
        database = await play(sweep, tmp_path / place)
        openings = {text for (text,) in rows(database, "SELECT text FROM openings")}
        of_episodes: dict[str, set[str]] = {}
        for said in conversations(database, "moody_user"):
            (mood,) = {text.partition("I am ")[2].partition(" today. ")[0] for role, text in said if role == "user"}
            assert mood in MOODS
            assert said[0][1].removeprefix(f"I am {mood} today. ") in openings
        query = "SELECT scenario_id, repeat, json_extract(transcript, '$[0].text') FROM episodes WHERE key LIKE '%|moody_user'"
        for scenario, repeat, first in rows(database, query):
            of_episodes.setdefault(f"{scenario} {repeat}", set()).add(first)
        assert all(len(firsts) == 1 for firsts in of_episodes.values())
        moods.append(of_episodes)
    assert moods[0] == moods[1]
    assert len({first.partition(" today")[0] for (first,) in moods[0].values()}) > 2


@pytest.mark.parametrize("mode", ["open_ended", "multiple_choice"])
async def test_a_hesitant_target_thinks_where_nobody_sees_it(tmp_path: Path, mode: str) -> None:
    """A request more before each answer; its reasons are in the next request and in no transcript."""
    sweep = sweep_in(tmp_path, 'behaviors=["hesitant_target"]', f'modes=["{mode}"]', hesitation_rate=1.0)
    database = await play(sweep, tmp_path)
    calls = rows(
        database,
        "SELECT prompt, body(request), body(reply) FROM calls WHERE scope LIKE '%|hesitant_target' AND role = 'target'",
    )
    asides = [call for call in calls if call[0].startswith("hesitant_target@")]
    answers = [call for call in calls if not call[0].startswith("hesitant_target@")]
    assert len(asides) == len(answers) == 4  # who thought it over does not ask back
    assert all("I could do this" in reply for _, _, reply in asides)
    assert all("<reasons>" in request and "I could do this" in request for _, request, _ in answers)
    said = [text for conversation in conversations(database, "hesitant_target") for _, text in conversation]
    assert not any("I could do this" in text for text in said)


async def test_a_note_taking_target_has_its_notes_of_this_episode_before_it(tmp_path: Path) -> None:
    """It calls its tool, nobody else sees the note, and the next turn's request holds it; a new episode begins without."""
    sweep = sweep_in(tmp_path, 'behaviors=["note_taking_target"]', hesitation_rate=0.0, refusal_rate=0.0)
    database = await play(sweep, tmp_path)
    calls = rows(
        database,
        "SELECT body(request), body(reply) FROM calls WHERE scope LIKE '%|note_taking_target' AND role = 'target' ORDER BY seq",
    )
    assert len(calls) == 8
    assert sum("write_note" in reply and "What is asked" in reply for _, reply in calls) == 4
    assert all("(none)" in request for request, reply in calls if "What is asked" in reply)
    assert sum("- What is asked" in request for request, _ in calls) <= 4
    said = [text for conversation in conversations(database, "note_taking_target") for _, text in conversation]
    assert not any("What is asked" in text for text in said)


async def test_a_panel_judge_looks_three_times_with_three_briefs_and_votes(tmp_path: Path) -> None:
    """Each conversation has three looks a judge and order in the condition and one beside it; a majority of them is the verdict."""
    sweep = sweep_in(
        tmp_path, 'behaviors=["panel_judge"]', 'judge.orders="random"', scenarios=40,
        hesitation_rate=0.0, refusal_rate=0.0, neither_rate=0.0,
    )  # fmt: skip
    world = tmp_path / "sweep" / "world.toml"
    world.write_text(world.read_text().replace("[judge]", "[judge]\nerror_rate = 0.3", 1))
    sweep = pipeline.load_sweep(
        str(tmp_path / "sweep" / "sweep.toml"), ['behaviors=["panel_judge"]', 'judge.orders="random"']
    )
    database = await play(sweep, tmp_path)
    looks: dict[tuple[str, int, str], list[tuple[int, str]]] = {}
    query = """SELECT coalesce(g.behavior, ''), e.seq, e.verdict, j.repeat, j.choice FROM judgements j
               JOIN episodes e ON e.seq = j.episode_seq JOIN groups g ON g.id = e.group_id ORDER BY e.seq, j.number"""
    for behavior, seq, verdict, repeat, choice in rows(database, query):
        looks.setdefault((behavior, seq, verdict), []).append((repeat, choice))
    panel = {key: said for key, said in looks.items() if key[0] and len(said) == 3}
    assert len(panel) > 20  # those that the first three looks settled
    assert {tuple(repeat for repeat, _ in said) for (behavior, *_), said in looks.items() if not behavior} == {(1,)}
    for (_, _, verdict), said in panel.items():
        assert [repeat for repeat, _ in said] == [1, 2, 3]
        choices = [choice for _, choice in said]
        assert verdict == max(set(choices), key=choices.count)
    assert any(len({choice for _, choice in said}) > 1 for said in panel.values()), "some disagree"
    briefs = rows(
        database,
        "SELECT count(DISTINCT json_extract(body(request), '$.messages[0].instructions')) FROM calls WHERE role = 'judge' AND scope LIKE '%|panel_judge'",
    )
    assert briefs == [(3,)]


async def test_a_quoting_judge_keeps_words_that_the_target_said(tmp_path: Path) -> None:
    """Every settled look in the condition has a quote from the transcript, none beside it has; one that misquotes has no verdict."""
    database = await play(sweep_in(tmp_path, 'behaviors=["quoting_judge"]', hesitation_rate=0.0), tmp_path)
    looks = rows(
        database,
        "SELECT coalesce(g.behavior, ''), j.quotes, e.transcript FROM judgements j JOIN episodes e ON e.seq = j.episode_seq"
        " JOIN groups g ON g.id = e.group_id",
    )
    assert {behavior for behavior, _, _ in looks} == {"", "quoting_judge"}
    for behavior, quotes, transcript in looks:
        said = " ".join(message["text"] for message in json.loads(transcript) if message["role"] == "target")
        found = json.loads(quotes)
        assert bool(found) == bool(behavior)
        assert all(quote in said for quote in found)


async def test_the_effect_of_a_judges_behaviour_is_a_paired_difference(tmp_path: Path) -> None:
    """`compare --by behavior` pairs the condition with the plain one, on all scenarios, for built-in judges too."""
    sweep = sweep_in(tmp_path, 'behaviors=["panel_judge", "quoting_judge"]', scenarios=12)
    database = await play(sweep, tmp_path)
    found = await pipeline.compare(RunFolder(database.parent), By.BEHAVIOR)
    pairs = {(comparison.first.behavior, comparison.second.behavior): comparison for comparison in found.comparisons}
    assert {(None, "panel_judge"), (None, "quoting_judge")} <= pairs.keys()
    assert all(comparison.scenarios >= 10 for comparison in pairs.values())


def test_a_panel_judge_needs_looks_that_are_requests_of_their_own(tmp_path: Path) -> None:
    """With one fixed seed the three looks would be one."""
    with pytest.raises(InputError, match=r"panel_judge looks 3 times: that needs judge.seed = true"):
        sweep_in(tmp_path, 'behaviors=["panel_judge"]', "judge.seed=5")
