"""Steering from the sweep file to what it reached: styles, a user's own prompt, the paper's protocol."""

from __future__ import annotations

import json
import shlex
import sqlite3
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
import tomli_w

from benchmarks.rankings.steerings import recover
from conflictscope import pipeline
from conflictscope.comparison import By
from conflictscope.config import SteeringStyle
from conflictscope.errors import InputError
from conflictscope.library import find
from conflictscope.outcome import Group, Mode
from conflictscope.store import RunReader
from tests.commands import conflictscope

MakeSweep = Callable[..., pipeline.Sweep]
CHOICE = 'modes=["multiple_choice"]'
OWN = "Put these first, in this order:\n\n1. care\n2. candour: Do not flinch.\n3. courage\n4. thrift\n"
BY_FILE = 'steering=[{name="own", prompt="prompts/own.txt"}]'


@pytest.fixture
def make_own(make_sweep: MakeSweep) -> MakeSweep:
    """A planted sweep of targets that follow what they are told, with a prompt file beside it."""

    def make(*overrides: str, text: str = OWN, scenarios: int = 12) -> pipeline.Sweep:
        folder = make_sweep(scenarios=scenarios).base
        (folder / "prompts").mkdir(exist_ok=True)
        (folder / "prompts" / "own.txt").write_text(text)
        world = tomllib.loads((folder / "world.toml").read_text())
        for target in world["targets"].values():
            target["steerability"] = 1.0
        (folder / "world.toml").write_text(tomli_w.dumps(world))
        return pipeline.load_sweep(str(folder / "sweep.toml"), [CHOICE, *overrides])

    return make


async def test_one_ranking_in_three_styles_steers_alike(make_own: MakeSweep, tmp_path: Path) -> None:
    """Several steerings in one sweep: the planted truth is the stated ranking in every style, and the target comes to it."""
    ranking = ["care", "candour", "courage", "thrift"]
    sections = [
        f'{{name="{style}", style="{style}", ranking={json.dumps(ranking)}}}' for style in get_args(SteeringStyle)
    ]
    sweep = make_own(f"steering=[{', '.join(sections)}]", 'targets=[{model="planted:alpha"}]', scenarios=240)
    result = await pipeline.run_sweep(sweep, tmp_path / "runs")
    found = await pipeline.compare(result.folder, (By.STEERING,))
    assert [alignment.group.steering for alignment in found.alignments] == sorted(get_args(SteeringStyle))
    for alignment in found.alignments:
        assert sweep.truth(alignment.group) == ranking
        assert alignment.gain.low > 0.2
    sides = {(each.first.steering, each.second.steering) for each in found.comparisons}
    assert ("definitions", "detailed") in sides  # one style against another, too


async def test_a_users_own_prompt_is_sent_and_kept(make_own: MakeSweep, tmp_path: Path) -> None:
    """The file's text is the target's system prompt, stands in the run file under its version, and decides the planted truth."""
    sweep = make_own(BY_FILE, scenarios=240)
    group = Group("planted:alpha", Mode.MULTIPLE_CHOICE, "own")
    assert sweep.truth(group) == ["care", "candour", "courage", "thrift"]
    result = await pipeline.run_sweep(sweep, tmp_path / "runs")
    with sqlite3.connect(result.folder.database) as connection:
        [(version,)] = connection.execute("SELECT version FROM prompts WHERE text = ?", [OWN.strip()])
        used = {prompt for (prompt,) in connection.execute("SELECT DISTINCT prompt FROM calls")}
    connection.close()
    assert version.startswith("own.txt@")
    assert any(prompt.endswith(f"+{version}") for prompt in used)
    ranked = {ranking.group: ranking.order for ranking in await pipeline.rank(result.folder)}
    assert ranked[group] == sweep.truth(group)
    found = await pipeline.compare(result.folder, (By.STEERING,))
    assert len(found.comparisons) == 3  # a target each; no ranking is declared, so there is nothing to align with
    assert found.alignments == ()


async def test_a_prompt_with_a_ranking_is_measured_against_it(make_own: MakeSweep, tmp_path: Path) -> None:
    """What the sweep file declares is the target ranking, whatever the words of the prompt."""
    declared = 'steering=[{name="own", prompt="prompts/own.txt", ranking=["thrift", "care"]}]'
    result = await pipeline.run_sweep(make_own(declared, "repeats=5"), tmp_path / "runs")
    found = (await pipeline.compare(result.folder, (By.STEERING,))).alignments
    assert [alignment.ranking for alignment in found] == [("thrift", "care")] * 3
    assert all({"candour", "courage"} <= {shift.value for shift in alignment.others} for alignment in found)


async def test_the_text_of_a_prompt_file_is_part_of_what_a_run_is(make_own: MakeSweep, tmp_path: Path) -> None:
    """The same text under another path resumes a run, another text does not; the file as executed runs the same sweep."""
    sweep = make_own(BY_FILE)
    result = await pipeline.run_sweep(sweep, tmp_path / "runs")
    again = pipeline.load_sweep(str(result.folder.sweep))
    assert again.identity() == sweep.identity()
    assert again.briefings == sweep.briefings
    other = make_own(BY_FILE, text=OWN.replace("flinch", "hide"))
    with pytest.raises(InputError, match=r"exists with other settings \(briefings\)"):
        await pipeline.run_sweep(other, tmp_path / "runs")
    async with RunReader.open(result.folder.database) as reader:
        assert (await reader.meta())["sweep"]["steering"] == [{"name": "own", "prompt": "prompts/own.txt"}]


@pytest.mark.parametrize(("text", "message"), [("  \n", "got an empty file"), (None, "no such file")])
def test_a_prompt_file_that_says_nothing_is_refused(make_own: MakeSweep, text: str | None, message: str) -> None:
    """An empty or missing file is an InputError with its path."""
    base = make_own().base
    if text is None:
        (base / "prompts" / "own.txt").unlink()
    else:
        (base / "prompts" / "own.txt").write_text(text)
    with pytest.raises(InputError, match=message) as raised:
        pipeline.load_sweep(str(base / "sweep.toml"), [BY_FILE])
    assert str(raised.value).startswith(str(base / "prompts" / "own.txt"))


@pytest.mark.parametrize("steerability", [0.0, 0.5, 1.0])
async def test_what_a_steering_reached_is_recovered(steerability: float, tmp_path: Path) -> None:
    """Gain, share of the possible gain and the values beside the ranking lie in their intervals; at 0 nothing was gained."""
    world = await recover(steerability, 1, tmp_path)
    assert world.holds(world.found.gain, world.gain)
    assert world.holds(world.found.reached, world.reached)
    for shift in world.found.others:
        assert world.holds(shift.utility_difference, world.others[shift.value])
    assert world.found.gain.resolved == (steerability > 0)


@pytest.mark.parametrize("name", ["hhh", "modelspec", "personal-protective"])
def test_the_papers_protocol_runs_in_its_planted_world(name: str, tmp_path: Path) -> None:
    """The command in the head of each sweep file runs it offline: both modes, steered and not, and who can be steered gains more."""
    sweep = pipeline.load_sweep(f"paper-{name}")
    assert (set(sweep.config.modes), len(sweep.config.steering)) == ({Mode.OPEN_ENDED, Mode.MULTIPLE_CHOICE}, 1)
    assert set(sweep.config.steering[0].ranking or ()) == set(sweep.value_set.names)
    head = (
        find("sweeps", f"paper-{name}", Path.cwd()).read_text().partition("offline and free:")[2].partition("\n\n")[0]
    )
    command = shlex.split(head.replace("\n#", "\n").replace("\\\n", " "))
    assert command[:4] == ["conflictscope", "run", f"paper-{name}", "--name"]
    ended = json.loads(conflictscope(*command[1:], "--json", cwd=tmp_path).stdout)
    assert all(set(group["truth"]) == set(sweep.value_set.names) for group in ended["groups"])  # its world knows more
    compared = json.loads(conflictscope("compare", command[4], "--by", "steering", "--json", cwd=tmp_path).stdout)
    after = {(a["group"]["target"], a["group"]["mode"]): a["after"]["value"] for a in compared["alignments"]}
    for mode in Mode.OPEN_ENDED, Mode.MULTIPLE_CHOICE:
        assert after["planted:pliant", mode] > after["planted:stubborn", mode]
    for other in (other for alignment in compared["alignments"] for other in alignment["others"]):
        assert other.keys() >= {"value", "named", "resolved", "utility_difference", "rank"}
