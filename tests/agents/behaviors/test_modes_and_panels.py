"""Behaviours where several judges look, and where each question is asked as if it were the only one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conflictscope import pipeline
from conflictscope.forecast import Assumptions
from tests.agents.behaviors.test_loading import OWN
from tests.agents.behaviors.worlds import play, rows, sweep_in

PANEL = 'judge.models=["planted:judge", "planted:second", "planted:third"]'
JUDGES = "[judges.second]\n[judges.third]\n"


def with_judges(folder: Path, *overrides: str, judges: str = JUDGES, **target: float) -> pipeline.Sweep:
    """A sweep whose world has further judges."""
    sweep_in(folder, **target)
    world = folder / "sweep" / "world.toml"
    world.write_text(world.read_text() + judges)
    return pipeline.load_sweep(str(folder / "sweep" / "sweep.toml"), overrides)


async def test_each_judge_of_a_panel_has_the_behaviour(tmp_path: Path) -> None:
    """None of three can read the page that it makes, and all can read the plain one."""
    database = await play(with_judges(tmp_path, PANEL, f'behaviors=["{OWN}:Suspicious"]'), tmp_path)
    verdicts = dict(
        rows(database, "SELECT coalesce(behavior, ''), group_concat(DISTINCT verdict) FROM outcomes GROUP BY 1")
    )
    assert verdicts["Suspicious"] == "unresolved"
    assert "unresolved" not in verdicts[""]
    changed = "SELECT count(DISTINCT j.judge), min(resolved), max(resolved) FROM judgements j JOIN episodes e"
    assert rows(database, f"{changed} ON e.seq = j.episode_seq WHERE e.key LIKE '%|Suspicious'") == [(3, 0, 0)]


async def test_one_judge_of_three_whose_behaviour_fails_does_not_fail_the_episode(tmp_path: Path) -> None:
    """The two others are a majority; its look is stored as failed, with the behaviour's kind."""
    own = tmp_path / "own.py"
    own.write_text(
        "from conflictscope import Behavior, Role\n\n\nclass Picky(Behavior):\n    role = Role.JUDGE\n    made = 0\n\n"
        "    def begin(self):\n        Picky.made += 1\n        self.number = Picky.made\n\n"
        "    def page(self, page, turn):\n        if self.number == 2:\n            raise ValueError('no')\n        return page\n"
    )
    sweep = with_judges(tmp_path, PANEL, f'behaviors=["{own}:Picky"]', "limits.concurrency=1", 'judge.orders="random"')
    database = await play(sweep, tmp_path)
    lost = rows(database, "SELECT judge, failure FROM judgements WHERE failure IS NOT NULL")
    assert lost == [("planted:second", "behavior: Picky.page raised ValueError: no")]
    assert rows(database, "SELECT count(*) FROM episodes WHERE failure IS NOT NULL OR verdict NOT IN ('a', 'b')") == [
        (0,)
    ]


@pytest.mark.parametrize("behavior", ["hesitant_target", "note_taking_target"])
@pytest.mark.parametrize("mode", ["action_rating", "multiple_choice"])
async def test_a_behaviour_of_the_target_is_played_in_every_mode(tmp_path: Path, behavior: str, mode: str) -> None:
    """Every episode comes to a rated verdict, also where there are two questions, and each has the calls that it adds."""
    both = 'multiple_choice={orders="both"}'
    sweep = sweep_in(tmp_path, f'modes=["{mode}"]', both, f'behaviors=["{behavior}"]')
    database = await play(sweep, tmp_path)
    assert rows(
        database, "SELECT count(*) FROM outcomes WHERE behavior IS NOT NULL AND verdict NOT LIKE '%failed'"
    ) == [(4,)]
    calls = "SELECT count(*) FROM calls WHERE role = 'target' AND scope LIKE"
    assert rows(database, f"{calls} '%|{behavior}'") == [(16,)]
    assert rows(database, f"{calls} '%|{mode}|%'") == [(24,)]


@pytest.mark.parametrize("behavior", ["hesitant_target", "note_taking_target"])
async def test_a_target_that_thinks_over_one_action_does_not_see_the_other(tmp_path: Path, behavior: str) -> None:
    """Its requests, those beside the conversation too, hold the question asked now, and no note on the other one."""
    sweep = sweep_in(tmp_path, 'modes=["action_rating"]', f'behaviors=["{behavior}"]')
    database = await play(sweep, tmp_path)
    actions = {scenario.id: (scenario.action_a, scenario.action_b) for scenario in sweep.scenarios}
    query = f"""SELECT e.scenario_id, body(c.request) FROM calls c JOIN episodes e ON e.key = c.scope
                WHERE c.role = 'target' AND c.scope LIKE '%|{behavior}'"""
    found = rows(database, query)
    assert len(found) == 16
    for scenario_id, request in found:
        assert sum(json.dumps(action)[1:-1] in request for action in actions[scenario_id]) == 1


async def test_a_plan_counts_all_of_it(tmp_path: Path) -> None:
    """Three modes with a behaviour of the target, a panel with repeats: the calls of the questions are those that are made."""
    overrides = (
        PANEL, "judge.repeats=2", 'judge.orders="both"', 'modes=["open_ended", "multiple_choice", "action_rating"]',
        'multiple_choice={orders="both"}', f'behaviors=["hesitant_target", "{OWN}:Suspicious"]',
    )  # fmt: skip
    sweep = with_judges(tmp_path, *overrides)
    made = await pipeline.plan_sweep(sweep, Assumptions())
    calls = {(each.role, each.kind, each.model): each.calls for each in made.usage}
    episodes = 4
    extra = 1.5 * episodes
    for kind in ("multiple_choice", "action_rating"):
        assert calls["target", kind, "planted:alpha"].expected == 2 * 2 * episodes + extra
    for judge in ("judge", "second", "third"):
        assert calls["judge", "verdict", f"planted:{judge}"].least == 3 * episodes * 4
