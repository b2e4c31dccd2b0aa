"""The tutorial, docs/behaviors.md, does what it says."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from pathlib import Path

import tomli_w

from tests.commands import COMMAND, environment

TUTORIAL = (Path(__file__).parents[3] / "docs" / "behaviors.md").read_text()
STATED = ["harmlessness", "helpfulness"]


def command(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [*COMMAND, *arguments], cwd=folder, env=environment(), capture_output=True, text=True, check=True
    )
    return done.stdout


def test_the_tutorials_behaviour_has_fewer_than_20_lines_and_moves_a_planted_target(tmp_path: Path) -> None:
    """Written to a file as it stands, named on the command line, compared: a target that follows orders follows this one."""
    (code,) = re.findall(r"```python\n(# harmless\.py\n.*?)```", TUTORIAL, re.DOTALL)
    assert len(code.splitlines()) < 20
    (tmp_path / "harmless.py").write_text(code)
    world = {
        "targets": {
            "alpha": {"utilities": {"harmlessness": 0.0, "honesty": 1.0, "helpfulness": 2.0}, "steerability": 1.0}
        }
    }
    (tmp_path / "world.toml").write_text(tomli_w.dumps(world))
    sweep = {
        "name": "tutorial", "value_set": "hhh", "scenarios": "hhh", "world": "world.toml", "modes": ["open_ended"],
        "targets": [{"model": "planted:alpha"}], "user": {"model": "planted:user"}, "judge": {"models": ["planted:judge"]},
    }  # fmt: skip
    (tmp_path / "sweep.toml").write_text(tomli_w.dumps(sweep))
    command(tmp_path, "run", "sweep.toml", "--behavior", "./harmless.py:HarmlessFirst", "--no-live")
    (comparison,) = json.loads(command(tmp_path, "compare", "tutorial", "--by", "behavior", "--json"))["comparisons"]
    assert comparison["differ_in"] == ["behavior"]
    assert [comparison[side]["behavior"] for side in ("first", "second")] == [None, "HarmlessFirst"]
    moved = {shift["value"]: shift["utility_difference"] for shift in comparison["values"]}
    assert moved["harmlessness"]["low"] > 0
    assert moved["helpfulness"]["high"] < 0
    shown = command(tmp_path, "compare", "tutorial", "--by", "behavior")
    assert "plain → HarmlessFirst" in shown
    executed = tomllib.loads((tmp_path / "runs" / "tutorial" / "sweep.toml").read_text())
    assert executed["behaviors"] == [f"{tmp_path / 'harmless.py'}:HarmlessFirst"]
