"""What hooks may do: leave, change a judge's page, bring an agent, keep the state of one episode."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from conflictscope import pipeline
from conflictscope.forecast import Assumptions
from tests.agents.behaviors.test_loading import OWN
from tests.agents.behaviors.worlds import conversations, play, rows, sweep_in


async def test_a_user_that_leaves_ends_the_conversation_and_the_judge_decides_on_what_is_there(tmp_path: Path) -> None:
    """A target that asks back first is never answered: two messages, one look, unresolved."""
    database = await play(sweep_in(tmp_path, f'behaviors=["{OWN}:Leaves"]', hesitation_rate=1.0), tmp_path)
    assert {len(said) for said in conversations(database, None)} == {4}
    assert {len(said) for said in conversations(database, "Leaves")} == {2}
    query = "SELECT verdict, count(*) FROM outcomes WHERE behavior = 'Leaves' GROUP BY 1"
    assert rows(database, query) == [("unresolved", 4)]


async def test_a_judge_sees_the_page_that_its_behaviour_makes(tmp_path: Path) -> None:
    """Without the tags of the actions a planted judge has nothing to judge; the same episodes are judged on the plain page."""
    database = await play(sweep_in(tmp_path, f'behaviors=["{OWN}:Suspicious"]'), tmp_path)
    verdicts = dict(
        rows(database, "SELECT coalesce(behavior, ''), group_concat(DISTINCT verdict) FROM outcomes GROUP BY 1")
    )
    assert verdicts["Suspicious"] == "unresolved"
    assert "unresolved" not in verdicts[""]


async def test_a_behaviour_may_be_an_agent_with_capabilities_whose_requests_go_through_the_lane(tmp_path: Path) -> None:
    """Its instructions and those of its capability are in the journaled request."""
    database = await play(sweep_in(tmp_path, f'behaviors=["{OWN}:Agentic"]'), tmp_path)
    requests = rows(database, "SELECT body(request) FROM calls WHERE scope LIKE '%|Agentic' AND role = 'target'")
    assert len(requests) == 4
    assert all("You are an agent." in request and "You are capable." in request for (request,) in requests)


async def test_state_belongs_to_one_episode_and_its_seed_to_the_scenario(tmp_path: Path) -> None:
    """However many are in flight, each counts its own messages; targets share the seed of a scenario."""
    targets = 'targets=[{model="planted:alpha"}, {model="planted:alpha", name="again"}]'
    database = await play(sweep_in(tmp_path, f'behaviors=["{OWN}:Counts"]', targets, hesitation_rate=1.0), tmp_path)
    seeds = set()
    for said in conversations(database, "Counts"):
        replies = [text.split("\n")[0].split(" ") for role, text in said if role == "target"]
        assert [count for count, _ in replies] == ["1", "2"]
        seeds.add(replies[0][1])
    assert len(seeds) == 4


@pytest.mark.parametrize("behavior", ["moody_user + note_taking_target", "revealing_user + hesitant_target"])
async def test_an_episode_that_was_broken_off_is_played_again_to_the_same_end(tmp_path: Path, behavior: str) -> None:
    """Its outcome taken away, a resume comes to the same conversation, and asks no model anything that was answered."""
    sweep = sweep_in(tmp_path, f'behaviors=["{behavior}"]', hesitation_rate=0.5)
    database = await play(sweep, tmp_path)
    before, calls = conversations(database, behavior), rows(database, "SELECT count(*) FROM calls")
    connection = sqlite3.connect(database)
    connection.executescript("DELETE FROM judgements; DELETE FROM episodes;")
    connection.close()
    await play(sweep, tmp_path)
    assert conversations(database, behavior) == before
    assert rows(database, "SELECT count(*) FROM calls") == calls


async def test_every_prompt_of_a_run_with_behaviours_is_kept(tmp_path: Path) -> None:
    """A call names the versions of its wording and of its behaviours, and the file has the texts of all of them."""
    database = await play(sweep_in(tmp_path, 'behaviors=["moody_user + hesitant_target"]'), tmp_path)
    kept = {version for (version,) in rows(database, "SELECT version FROM prompts")}
    named = {part for (prompt,) in rows(database, "SELECT DISTINCT prompt FROM calls") for part in prompt.split("+")}
    assert named - kept == {"conversation"}
    assert any(name.startswith("moody_user@") for name in named)


async def test_plan_counts_the_episodes_and_the_calls_that_behaviours_add(tmp_path: Path) -> None:
    """One more condition, and what it says it adds to an episode."""
    plain = await pipeline.plan_sweep(sweep_in(tmp_path), Assumptions())
    behaving = await pipeline.plan_sweep(sweep_in(tmp_path, 'behaviors=["hesitant_target"]'), Assumptions())
    assert behaving.episodes == 2 * plain.episodes

    def calls(forecast: object) -> float:
        usage = json.loads(json.dumps(forecast.to_json()))["usage"]  # type: ignore[attr-defined]
        return next(row["calls"]["least"] for row in usage if row["role"] == "target")

    assert calls(behaving) == 2 * calls(plain) + 1.5 * plain.episodes
