"""Logs that Inspect's own package reads back: nothing of an episode is lost on the way."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from inspect_ai.log import EvalLog, read_eval_log

from conflictscope import pipeline, tidy
from conflictscope.outcome import Group, Judgement, Message, Mode, Outcome, Role, ToolUse, Verdict
from conflictscope.pipeline.exporting import export_logs
from conflictscope.ports import EpisodeRecord
from conflictscope.run import load_run
from conflictscope.runfolder import RunFolder
from conflictscope.store import RunWriter
from tests.commands import COMMAND, environment
from tests.hostile import HOSTILE
from tests.test_exporting import DOCS

MakeSweep = Callable[..., pipeline.Sweep]

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:inspect_ai.*")


async def exported(folder: RunFolder, output: Path, **settings: int) -> list[EvalLog]:
    return [read_eval_log(str(each.path)) for each in await export_logs(folder, output, **settings)]


async def test_logs_hold_what_the_run_holds(
    make_sweep: MakeSweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A log for each target and condition: its samples, messages, verdicts, looks, tokens and ranking are those of the run."""
    sweep = make_sweep('modes=["open_ended", "multiple_choice"]', 'judge.orders="both"', "repeats=2", error_rate=0.3)
    folder = (await pipeline.run_sweep(sweep, tmp_path / "runs")).folder
    await pipeline.rejudge(folder, ["planted:judge"], name="again", orders="both")
    logs = await exported(folder, tmp_path / "logs")
    run = load_run(folder.path)
    rankings = {str(ranking.group): ranking for ranking in run.rank()}
    assert len(logs) == len(rankings) == 6
    episodes = {row["key"]: row for row in run.episodes().to_dicts()}
    said: dict[int, list[tuple[str, str]]] = {}
    for row in run.messages().to_dicts():
        said.setdefault(row["episode_seq"], []).append(
            ({"target": "assistant"}.get(row["role"], row["role"]), row["text"])
        )
    looks = run.judgements().to_dicts()
    seen = set()
    for log in logs:
        assert (log.status, log.eval.packages["conflictscope"]) == (
            "success",
            log.eval.metadata["versions"]["conflictscope"],
        )
        group = Group(log.eval.model, Mode(log.eval.task_args["mode"]))
        ranking = rankings[str(group)]
        utility, verdicts = log.results.scores
        assert {name: metric.value for name, metric in utility.metrics.items()} == {
            value: rating.mu for value, rating in ranking.ratings.items()
        }
        assert sum(metric.value for metric in verdicts.metrics.values()) == len(log.samples) == 24
        for sample in log.samples:
            row = episodes[sample.metadata["key"]]
            seen.add(row["key"])
            assert (sample.id, sample.epoch, sample.target) == (
                row["scenario_id"],
                row["repeat"],
                [row["value_a"], row["value_b"]],
            )
            assert sample.metadata["seed"] == row["seed"]
            assert [(message.role, message.content) for message in sample.messages] == said[row["seq"]]
            assert sample.input == said[row["seq"]][0][1]
            verdict = sample.scores["verdict"]
            assert (verdict.value, verdict.metadata["shown_first"]) == (row["verdict"], row["shown_first"])
            assert verdict.answer == {"a": row["value_a"], "b": row["value_b"]}.get(row["verdict"])
            own = [look for look in looks if look["episode_seq"] == row["seq"]]
            told = [
                (look["number"], look["reasoning"], look["shown_first"], look["anew"])
                for score in sample.scores.values()
                for look in (score.metadata or {}).get("looks", [])
            ]
            assert sorted(told) == sorted(
                (look["number"], look["reasoning"], look["shown_first"], look["anew"]) for look in own
            )
            assert ("rejudge again" in sample.scores) == (group.mode is Mode.OPEN_ENDED)
            rejudged = run.calls().filter(scope=f"rejudge/again/{row['key']}")["output_tokens"].sum()
            assert sum(usage.output_tokens for usage in sample.model_usage.values()) == row["output_tokens"] + rejudged
    assert seen == episodes.keys()
    monkeypatch.chdir(tmp_path / "logs")
    [block] = [
        block for block in re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL) if "inspect_ai" in block
    ]
    exec(block, {})
    assert capsys.readouterr().out.count("planted:alpha {") == 2


async def strange_run(path: Path) -> RunFolder:
    folder = RunFolder(path)
    folder.create()
    group = Group("my agent/v2_x", Mode.OPEN_ENDED, "harmless-first")
    async with RunWriter.open(folder.database) as writer:
        await writer.begin({"kind": "import", "name": "strange"}, ["x", "y"])
        for number, text in enumerate(HOSTILE):
            said = (
                Message(Role.SYSTEM, "be kind"),
                Message(Role.USER, "go"),
                Message(Role.TARGET, text, (ToolUse("1", "look", '{"at": 1}'), ToolUse("2", "look", text))),
                Message(Role.TOOL, text, (ToolUse("1", "look"),)),
            )
            failed = number % 2 == 1
            outcome = Outcome(
                group, "s", number, "x", "y", Verdict.JUDGE_FAILED if failed else Verdict.A, None, "a", "j"
            )
            look = Judgement("j", "a", Verdict.A, True, 3, tidy.whole(text))
            await writer.record_episode(
                EpisodeRecord(outcome, 0, said, (look,), "timeout: late" if failed else None, 0.0)
            )
        unsaid = Outcome(group, "s", 999, "x", "y", Verdict.TARGET_FAILED)
        await writer.record_episode(EpisodeRecord(unsaid, 0, (), (), "connection: gone", 0.0))
    return folder


async def test_hostile_texts_tools_and_failures_come_through(tmp_path: Path) -> None:
    """What a model wrote comes back letter by letter; arguments that are no JSON object say so; what failed has an error."""
    [log] = await exported(await strange_run(tmp_path / "strange"), tmp_path / "logs")
    assert re.fullmatch(
        r"[\dT+-]+_conflictscope-open-ended-harmless-first_my-agent-v2-x_\w+\.eval", Path(log.location).name
    )
    assert [sample.error and sample.error.message for sample in log.samples][-2:] == [None, "connection: gone"]
    assert (log.results.total_samples, log.results.completed_samples) == (len(HOSTILE) + 1, -(-len(HOSTILE) // 2))
    for text, sample in zip(HOSTILE, log.samples, strict=False):
        system, user, target, tool = sample.messages
        whole = tidy.whole(text)
        assert (system.role, user.text, target.text, tool.text) == ("system", "go", whole, whole)
        good, bad = target.tool_calls
        assert (good.arguments, good.parse_error) == ({"at": 1}, None)
        assert (bad.parse_error is None) == (text == '{"__proto__": {"label": "1"}}')
        assert (tool.tool_call_id, tool.function) == ("1", "look")
        assert sample.scores["j, a first"].explanation == whole


async def test_a_large_group_is_several_logs(tmp_path: Path) -> None:
    """None has more samples than asked for, and each says which part it is."""
    logs = await exported(await strange_run(tmp_path / "strange"), tmp_path / "logs", most=10)
    assert [len(log.samples) for log in logs] == [10, 10, 10, 6]
    assert [(log.eval.task_args["part"], log.eval.task_args["parts"]) for log in logs] == [(n, 4) for n in (1, 2, 3, 4)]
    assert len({log.eval.task_id for log in logs}) == 4
    assert len({log.eval.run_id for log in logs}) == 1
    again = await exported(RunFolder(tmp_path / "strange"), tmp_path / "logs", most=10)
    assert [log.location for log in again] == [log.location for log in logs]
    assert len(list((tmp_path / "logs").iterdir())) == 4


async def test_inspects_own_commands_open_them(tmp_path: Path) -> None:
    """`inspect log list` finds the log, `inspect log dump` shows it; offline."""
    [written] = await export_logs(await strange_run(tmp_path / "strange"), tmp_path / "logs")

    def inspect(*arguments: str) -> str:
        command = [str(Path(sys.executable).with_name("inspect")), "log", *arguments]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=100, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    [found] = json.loads(inspect("list", "--log-dir", "logs", "--json"))
    assert (Path(found["name"]).name, found["task"]) == (written.path.name, "conflictscope-open-ended-harmless-first")
    dumped = json.loads(inspect("dump", str(written.path)))
    assert len(dumped["samples"]) == len(HOSTILE) + 1


def test_without_the_package_one_message_says_what_to_install(tmp_path: Path) -> None:
    """And exit code 2; other formats need no such package."""
    folder = asyncio.run(strange_run(tmp_path / "strange"))
    program = "import sys; sys.modules['inspect_ai'] = None; sys.argv[1:1] = ['export']; from conflictscope.cli import main; main()"
    for fmt, code in (("inspect", 2), ("csv", 0)):
        command = [COMMAND[0], "-c", program, str(folder.path), "--format", fmt]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=100, check=False
        )
        assert done.returncode == code, done.stderr
        if code:
            wanted = "error: --format inspect needs the package inspect-ai: pip install 'conflictscope[inspect]'\n"
            assert done.stderr == wanted
