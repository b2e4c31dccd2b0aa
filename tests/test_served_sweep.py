"""A sweep of models that are reached over HTTP, by the command in another process: the planted world, served."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from conflictscope import pipeline
from conflictscope.outcome import Verdict
from conflictscope.planted import Lexicon
from conflictscope.planted.server import serving
from conflictscope.runfolder import RunFolder
from conflictscope.store import RunReader
from tests.commands import COMMAND, environment

KEYS = {"OPENAI_API_KEY": "sk-CANARY", "ANTHROPIC_API_KEY": "sk-CANARY"}


async def verdicts(folder: RunFolder) -> dict[tuple[str, ...], Verdict]:
    """The verdict of each episode."""
    async with RunReader.open(folder.database) as reader:
        outcomes = [outcome async for _, outcome in reader.outcomes()]
    return {(o.group.target, o.group.mode, o.scenario_id): o.verdict for o in outcomes}


def targets(provider: str) -> str:
    """Two targets under the same names, however they are reached: what is drawn for an episode depends on the name."""
    return f'targets=[{{model="{provider}:alpha", name="alpha"}}, {{model="{provider}:beta", name="beta"}}]'


async def run(sweep: Path, *settings: str) -> RunFolder:
    """`conflictscope run` with these settings, to its end."""
    options = [option for setting in settings for option in ("--set", setting)]
    process = await asyncio.create_subprocess_exec(
        *COMMAND, "run", sweep.name, "--name", "http", "--no-live", *options, cwd=sweep.parent, env=environment() | KEYS,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    told, _ = await process.communicate()
    assert process.returncode == 0, told.decode()
    return RunFolder.find("http", sweep.parent / "runs")


@pytest.mark.parametrize("models", ["openai-chat", "openai-responses", "anthropic"])
async def test_a_sweep_over_http_plays_every_episode(
    make_sweep: Callable[..., pipeline.Sweep], tmp_path: Path, models: str
) -> None:
    """Each ends in a verdict over each protocol, and where the protocol carries the seed, in that of the same sweep in process."""
    modes = 'modes=["open_ended", "multiple_choice", "action_rating"]'
    planted = make_sweep(modes, targets("planted"), scenarios=12)
    assert planted.world is not None
    async with serving(planted.world, Lexicon.of(planted.scenarios)) as server:
        base_url = server.url if models == "anthropic" else f"{server.url}/v1"
        folder = await run(
            planted.base / "sweep.toml",
            modes,
            targets(models),
            f'user.model="{models}:user"',
            f'judge.models=["{models}:judge"]',
            f'providers.{models.partition("-")[0]}.base_url="{base_url}"',
        )
        told = server.metrics.to_json()
    found = await verdicts(folder)
    assert len(found) == 2 * 3 * 12
    assert set(found.values()) <= {Verdict.A, Verdict.B, Verdict.TIE}
    assert told["answered"] == told["requests"] == told["by_status"]["200"]
    if models == "openai-chat":
        assert told["repeated"] == 0  # elsewhere requests without a seed may well be the same
        expected = await verdicts((await pipeline.run_sweep(planted, tmp_path / "runs")).folder)
        assert found == expected
