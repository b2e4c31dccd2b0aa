"""The command line: parse, call the pipeline, show, exit code."""

from __future__ import annotations

import asyncio
import errno
import io
import json
import os
import shlex
import shutil
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.progress import Progress

from conflictscope import __version__, pipeline, views
from conflictscope.comparison import By
from conflictscope.config import Orders
from conflictscope.conversations import CONVERSATION_FILES, ConversationFile
from conflictscope.errors import ConflictScopeError, InputError
from conflictscope.forecast import Assumptions
from conflictscope.generation.overlaps import overlaps
from conflictscope.library import find, load_library, load_value_set, write_library
from conflictscope.monitor import Monitor
from conflictscope.outcome import Verdict
from conflictscope.pipeline import GenerationResult, LibraryViewer, RunResult, Sweep, Viewer
from conflictscope.rating import Method, Ranking
from conflictscope.redaction import know_secrets, redact
from conflictscope.runfolder import RunFolder
from conflictscope.snapshot import LibraryProgress
from conflictscope.spec import OFFLINE_EMBEDDING
from conflictscope.tables import DilemmaColumns, OutcomeTable, read_dilemmas
from conflictscope.views.text import plain

if TYPE_CHECKING:
    from conflictscope.planted.server import PlantedServer

app = typer.Typer(
    name="conflictscope",
    help="Which value does a model serve when two of them collide?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
values_app = typer.Typer(help="Value sets.", no_args_is_help=True)
scenarios_app = typer.Typer(help="Scenario libraries.", no_args_is_help=True)
annotate_app = typer.Typer(help="Labels by people.", no_args_is_help=True)
plant_app = typer.Typer(help="Planted worlds.", no_args_is_help=True)
app.add_typer(values_app, name="values")
app.add_typer(scenarios_app, name="scenarios")
app.add_typer(annotate_app, name="annotate")
app.add_typer(plant_app, name="plant")


class _Console(Console):
    """A console that leaves a closed pipe to `main`, where rich would end the process in the middle of a run."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        raise BrokenPipeError


_out = _Console(highlight=False)
_err = _Console(stderr=True, highlight=False)


RunsDir = Annotated[Path, typer.Option("--runs-dir", help="Folder that holds the runs.", metavar="DIR")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else.")]
NoLive = Annotated[bool, typer.Option("--no-live", help="No live view: a line every few seconds instead.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override a key of the sweep file; repeatable.", metavar="KEY=VALUE"),
]
RunName = Annotated[
    str, typer.Argument(help="A run's name under the runs folder, or a path to its folder.", metavar="RUN")
]
JudgeName = Annotated[
    str | None,
    typer.Option(
        "--judge", help="Whose verdicts: a judge of `rejudge`, by name. Default: the run's own.", metavar="NAME"
    ),
]
_RUNS = Path("runs")
_ASSUMED = Assumptions()
_MOST_LEFT = 10  # episodes that are listed in the terminal


def main() -> NoReturn:
    """Entry point: every error of ours is one message and exit code 2, never a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without our signs shows "?" instead of failing
    know_secrets()
    try:
        app()
    except ConflictScopeError as error:
        for number, text in enumerate(redact(str(error)).split("\n")):
            _err.print(plain("" if number else "error: ", "bold red").append_text(plain(text)), soft_wrap=True)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            _crash()
        _err.print(plain(f"error: the output cannot be written: {error.strerror}"))
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(2)
    except Exception:  # noqa: BLE001 - whatever it is, it ends here
        _crash()
    sys.exit(0)


def _crash() -> NoReturn:
    """End as Python does on a bug, with a traceback to send to whoever mends it, but for the keys in it."""
    sys.stderr.write(redact(traceback.format_exc()))
    sys.exit(1)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"conflictscope {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None: ...


# -- runs --------------------------------------------------------------------------------------------------------------


@app.command()
def demo(
    runs_dir: RunsDir = _RUNS,
    seed: Annotated[int, typer.Option(help="Seed of the sweep; the same seed gives the same outcomes.")] = 7,
    no_live: NoLive = False,
    as_json: Json = False,
) -> None:
    """A sweep of planted models on the built-in hhh library: no key, no network, about twenty seconds.

    Ends with the ranking of each target beside the order that was planted in it. Starts afresh each time.

    Example: [bold]conflictscope demo --seed 3[/bold]
    """
    sweep = pipeline.load_sweep("demo", [f"seed={seed}"])

    async def work() -> RunResult:
        await pipeline.remove_demo(RunFolder.named(sweep.config.name, runs_dir), sweep)
        return await pipeline.run_sweep(sweep, runs_dir, _viewer(no_live, as_json))

    if not as_json:
        _out.print(
            f"{len(sweep.scenarios)} scenarios, {len(sweep.config.targets)} planted targets, {len(sweep.groups)} rankings. "
            "All models are offline stand-ins whose priorities are known.\n"
        )
    result = asyncio.run(work())
    rankings = asyncio.run(pipeline.rank(result.folder))
    resume = _command(f"run demo --set seed={seed}")
    _finish(result, rankings, resume, runs_dir, as_json, _truths(sweep, rankings), repeatable=True)


@app.command()
def run(
    sweep: Annotated[str, typer.Argument(help="A sweep file, or the name of a built-in sweep.", metavar="SWEEP.toml")],
    name: Annotated[str | None, typer.Option(help="The run's name; default: the name in the sweep file.")] = None,
    runs_dir: RunsDir = _RUNS,
    settings: Settings = None,
    behavior: Annotated[
        list[str] | None,
        typer.Option(
            help="One more condition: a behaviour by its name, module:Class or ./file.py:Class; `a + b` plays both. Repeatable.",
            metavar="BEHAVIOR",
        ),
    ] = None,
    no_live: NoLive = False,
    as_json: Json = False,
) -> None:
    """Execute a sweep. The same name again resumes it; no answered call is made twice.

    A sweep with a [generate] section first makes its library, in the run's folder.

    Ctrl-C stops it cleanly: what is in flight has 5 seconds to finish, all else is left for the resume.

    Example: [bold]conflictscope run sweep.toml --set limits.concurrency=8[/bold]
    """
    library, spent_usd, spent_s = _stage(sweep, settings or [], behavior or [], name, runs_dir, no_live, as_json)
    loaded = pipeline.load_sweep(sweep, settings or [], name=name, library=library, behaviors=behavior or [])
    if loaded.left_out:
        _err.print(f"{loaded.left_out:,} scenarios of the library did not pass their checks and are left out.")
    result = asyncio.run(
        pipeline.run_sweep(loaded, runs_dir, _viewer(no_live, as_json), _tell, spent_usd=spent_usd, spent_s=spent_s)
    )
    rankings = asyncio.run(pipeline.rank(result.folder))
    resume = _command(" ".join(["run", _quoted(sweep), *_kept(settings or [], result.state, behavior or [])]))
    resume += f" --name {name}" if name else ""
    _finish(result, rankings, resume, runs_dir, as_json, _truths(loaded, rankings))


@app.command()
def status(run_name: RunName, judge: JudgeName = None, runs_dir: RunsDir = _RUNS, as_json: Json = False) -> None:
    """Counts by state, calls, tokens, cost, rate, errors, time left; and how far each ranking is from being settled.

    Example: [bold]conflictscope status demo[/bold]
    """
    snapshot = asyncio.run(pipeline.status(RunFolder.find(run_name, runs_dir), judge))
    if as_json:
        _print_json(snapshot.to_json())
    elif isinstance(snapshot, LibraryProgress):
        views.print_library_progress(_out, snapshot)
    else:
        views.print_status(_out, snapshot)


@app.command()
def rank(
    run_name: RunName,
    method: Annotated[Method, typer.Option(help="How the ranking is made.")] = Method.POSTERIOR,
    judge_error: Annotated[
        str,
        typer.Option(
            help="Correct for the judge's error: `estimate` it from what was judged in both orders, `none`, `labels` (what "
            "people said, see `annotate`), or a CSV of gold labels (target, scenario_id, verdict; optionally mode, steering, "
            "behavior, repeat).",
            metavar="estimate|labels|none|FILE",
        ),
    ] = "estimate",
    judge: JudgeName = None,
    runs_dir: RunsDir = _RUNS,
    as_json: Json = False,
) -> None:
    """Rank the values for each target and condition, with uncertainty.

    posterior: a joint Gaussian posterior over all values, probit link, full covariance. bradley_terry: the paper's fit, in
    log-odds, with a bootstrap by scenario. trueskill: the live rating, folded in an order that does not depend on what came
    first. Equal outcomes give equal rankings by all three, and each is shown with checks of its fit.

    Example: [bold]conflictscope rank demo --method bradley_terry --json[/bold]
    """
    folder = RunFolder.find(run_name, runs_dir)
    rankings = asyncio.run(pipeline.rank(folder, method, judge_error, judge))
    if as_json:
        _print_json({**_ranking_json(folder, method, rankings), **_seen_by(folder, judge)})
    else:
        views.print_rankings(_out, rankings)
        _tell_left_out(folder, judge)


@app.command()
def compare(
    run_name: RunName,
    by: Annotated[By | None, typer.Option(help="What the groups differ in; default: each of the four.")] = None,
    judge: JudgeName = None,
    runs_dir: RunsDir = _RUNS,
    as_json: Json = False,
) -> None:
    """Compare targets, modes, steerings and behaviours on the scenarios that they share, with intervals clustered by scenario.

    For each two groups that differ in one thing only: how utilities and ranks differ, and how alike the rankings are. For each
    steering that states a ranking: the share of outcomes that agree with it, without and with the steering.

    Example: [bold]conflictscope compare demo --by mode[/bold]
    """
    folder = RunFolder.find(run_name, runs_dir)
    found = asyncio.run(pipeline.compare(folder, tuple(By) if by is None else (by,), _tell, judge))
    if as_json:
        _print_json({"run": folder.name, **found.to_json(), **_seen_by(folder, judge)})
    else:
        views.print_comparisons(_out, found)
        _tell_left_out(folder, judge)


@app.command()
def audit(run_name: RunName, runs_dir: RunsDir = _RUNS, as_json: Json = False) -> None:
    """What a run's judges, repeats and scenarios are worth: read it before you trust a ranking.

    What the order of the two actions does, how far judges and repeats agree, what is left out, what outcomes vary by, how far
    rankings move; and what the paper's scoring would have concluded from the same episodes, beside ours.

    Example: [bold]conflictscope audit demo[/bold]
    """
    folder = RunFolder.find(run_name, runs_dir)
    found = asyncio.run(pipeline.audit(folder, _tell))
    if as_json:
        _print_json({"run": folder.name, **found.to_json()})
    else:
        views.print_audit(_out, found)


@app.command()
def plan(
    sweep: Annotated[str, typer.Argument(help="A sweep file, or the name of a built-in sweep.", metavar="SWEEP.toml")],
    settings: Settings = None,
    spread: Annotated[
        float, typer.Option(help="Standard deviation of the utilities, in probit units.")
    ] = _ASSUMED.spread,
    judge_error: Annotated[
        float, typer.Option(help="Share of decisive outcomes that are the wrong way round.")
    ] = _ASSUMED.judge_error,
    ties: Annotated[float, typer.Option(help="Share of outcomes that are ties.")] = _ASSUMED.ties,
    like: Annotated[
        str | None,
        typer.Option(help="A run whose utilities, tokens and times are taken for those of this sweep.", metavar="RUN"),
    ] = None,
    runs_dir: RunsDir = _RUNS,
    as_json: Json = False,
) -> None:
    """What a sweep will tell and what it will take, before it is paid for: no key, no network, nothing is written.

    How many episodes it takes until a ranking is resolved, with which chance the top value is the right one at the end of the
    plan and of the budget, how many pairs stay tied; calls, tokens, cost and time by role.

    Example: [bold]conflictscope plan sweep.toml --spread 0.4 --set repeats=5[/bold]
    """
    library = pipeline.library_of(pipeline.read_sweep(sweep, settings or []), runs_dir)
    loaded = pipeline.load_sweep(sweep, settings or [], library=library)
    folder = RunFolder.find(like, runs_dir) if like is not None else None
    assumptions = Assumptions(spread, judge_error, ties)
    with Progress(console=_err, transient=True, disable=as_json or not _err.is_terminal) as progress:
        bar = progress.add_task("Simulating", total=1.0)
        forecast = asyncio.run(
            pipeline.plan_sweep(loaded, assumptions, folder, lambda share: progress.update(bar, completed=share))
        )
    if as_json:
        _print_json(forecast.to_json())
    else:
        views.print_forecast(_out, forecast)


@app.command()
def rejudge(
    run_name: RunName,
    judge: Annotated[
        list[str], typer.Option(help="A model that judges; repeatable, each judges by itself.", metavar="MODEL")
    ],
    orders: Annotated[
        Orders | None,
        typer.Option(help="Which action is shown first. Default: as in the run's sweep file, else random."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="What the judge is called; default: its model.", metavar="LABEL")
    ] = None,
    world: Annotated[
        str | None,
        typer.Option(help="A world file, or the name of a built-in world, for a planted judge.", metavar="W.toml"),
    ] = None,
    runs_dir: RunsDir = _RUNS,
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """New verdicts on the stored conversations of a run: judges are asked, no target and no user.

    Limits, providers, prices and the judge's settings are those of the run's sweep file unless --set says otherwise. The same
    command again resumes it; no answered call is made twice. Verdicts of different judges are kept side by side, for
    `rank`, `compare` and `status` with --judge.

    Example: [bold]conflictscope rejudge demo --judge openai:gpt-5.1 --orders both --set limits.cost_usd=5[/bold]
    """
    folder = RunFolder.find(run_name, runs_dir)
    with Progress(console=_err, transient=True, disable=as_json or not _err.is_terminal) as progress:
        bar = progress.add_task("Judging", total=None)
        result = asyncio.run(
            pipeline.rejudge(
                folder,
                judge,
                settings or [],
                orders=orders,
                name=name,
                world=world,
                tell=_tell,
                advance=lambda done, planned: progress.update(bar, completed=done, total=planned),
            )
        )
    if as_json:
        _print_json(result.to_json())
    else:
        views.print_verdicts(_out, [(each.judge, each.verdicts, each.left) for each in result.judges])
    told = f"{result.usage.calls:,} calls, ${result.usage.spent_usd:,.4f}."
    if result.state == "finished":
        first = result.judges[0].judge
        told += f" Next: {_command(f'rank {_quoted(run_name)} --judge {_quoted(first)}')}{_runs_option(runs_dir)}"
    _err.print(plain(told), soft_wrap=True)
    options = [
        *(f"--judge {_quoted(model)}" for model in judge),
        *([f"--orders {orders}"] if orders else []),
        *([f"--name {_quoted(name)}"] if name else []),
        *([f"--world {_quoted(world)}"] if world else []),
        *_kept(settings or [], result.state),
    ]
    again = _command(" ".join(["rejudge", _quoted(run_name), *options])) + _runs_option(runs_dir)
    if result.state != "finished":
        for text in (_ended_early(result.state, result.message), f"  {again}"):
            _err.print(plain(text), soft_wrap=True)
    elif result.too_many_failed:
        _err.print(plain("Too many conversations could not be judged; to try them again:"), soft_wrap=True)
        _err.print(plain(f"  {again}"), soft_wrap=True)
    raise typer.Exit(result.exit_code)


@app.command("import")
def import_(
    table: Annotated[
        Path,
        typer.Argument(
            help="A CSV of recorded outcomes, gzipped or not; or conversations as .json, .jsonl or .jsonl.gz.",
            metavar="FILE",
        ),
    ],
    name: Annotated[str, typer.Option(help="The name of the run that it becomes.")],
    column: Annotated[
        list[str] | None,
        typer.Option(help="Where our column is called otherwise there; repeatable.", metavar="OURS=THEIRS"),
    ] = None,
    verdict: Annotated[
        list[str] | None, typer.Option(help="What their word for a verdict means; repeatable.", metavar="THEIRS=STATE")
    ] = None,
    constant: Annotated[
        list[str] | None,
        typer.Option(help="One text for a column of ours in every row; repeatable.", metavar="OURS=TEXT"),
    ] = None,
    runs_dir: RunsDir = _RUNS,
    as_json: Json = False,
) -> None:
    """Recorded outcomes from elsewhere become a run that can be ranked and reported; conversations one that can be judged.

    Columns of outcomes: target, scenario_id, value_a, value_b, verdict; optionally mode (multiple_choice unless given),
    steering, behavior, strength, shown_first, judge, repeat. A verdict is a, b, tie, neither, unresolved, refused,
    target_failed, judge_failed or user_failed. A bad row stops the import, and then nothing is imported.

    Keys of a conversation: target, scenario_id, value_a, value_b, description, action_a, action_b and messages (role, content,
    tool_calls); optionally steering, repeat. `rejudge` judges them.

    Example: [bold]conflictscope import choices.csv.gz --name choices --column target=model --verdict value_1=a[/bold]
    """
    words = {
        theirs: _verdict(state, f"--verdict {theirs}={state}") for theirs, state in _pairs(verdict, "--verdict").items()
    }
    folder = RunFolder.named(name, runs_dir)
    if table.name.endswith(CONVERSATION_FILES):
        if words:
            raise InputError("--verdict: conversations have none yet; `rejudge` judges them", path=table)
        file = ConversationFile(table, _pairs(column, "--column"), _pairs(constant, "--constant"))
        conversations, messages = asyncio.run(pipeline.import_conversations(file, folder))
        if as_json:
            _print_json({"run": folder.name, "conversations": conversations, "messages": messages})
        else:
            told = f"{conversations:,} conversations of {messages:,} messages imported. Next: "
            told += _command(f"rejudge {name} --judge MODEL{_runs_option(runs_dir)}")
            _out.print(plain(told), soft_wrap=True)
        return
    outcomes = OutcomeTable(table, _pairs(column, "--column"), words, _pairs(constant, "--constant"))
    count = asyncio.run(pipeline.import_outcomes(outcomes, folder))
    if as_json:
        _print_json({"run": folder.name, "outcomes": count})
    else:
        _out.print(
            plain(f"{count:,} outcomes imported. Next: {_command(f'rank {name}{_runs_option(runs_dir)}')}"),
            soft_wrap=True,
        )


@app.command()
def generate(
    spec: Annotated[
        str, typer.Argument(help="A specification file, or the name of a built-in one (demo).", metavar="SPEC.toml")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="The library to write (.jsonl); one that exists is added to. Default: library.jsonl in the run folder.",
            metavar="LIBRARY",
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="The name of its run folder; default: the name in the file.")] = None,
    runs_dir: RunsDir = _RUNS,
    settings: Settings = None,
    no_live: NoLive = False,
    as_json: Json = False,
) -> None:
    """Make a library of scenarios for a value set: outlines, elaboration, no near-duplicates, six checks, opening messages.

    The same name again resumes it, no answered call is made twice; with a greater count it goes on. Ctrl-C stops it cleanly.

    Example: [bold]conflictscope generate spec.toml -o kindness.jsonl --set count=10[/bold]
    """
    loaded = pipeline.load_spec(spec, settings or [], name=name)
    folder = RunFolder.named(loaded.config.name, runs_dir)
    result = asyncio.run(pipeline.generate(loaded, folder, output, _library_viewer(no_live, as_json), _tell))
    options = [*_kept(settings or [], result.state), *([f"-o {_quoted(str(output))}"] if output else [])]
    resume = _command(" ".join(["generate", _quoted(spec), *([f"--name {name}"] if name else []), *options]))
    _finish_library(result, resume + _runs_option(runs_dir), as_json, "tries")
    raise typer.Exit(result.exit_code)


# -- values and scenarios ----------------------------------------------------------------------------------------------


@values_app.command("check")
def values_check(
    file: Annotated[str, typer.Argument(help="A value set (.toml, .yaml, .json), or a built-in name.")],
    as_json: Json = False,
) -> None:
    """Validate a value set, and warn of values that may be one and the same.

    Example: [bold]conflictscope values check my-values.toml[/bold]
    """
    value_set = load_value_set(find("values", file, Path.cwd()))
    warnings = overlaps(value_set)
    for warning in warnings:
        _warn(warning)
    if as_json:
        names, pairs = list(value_set.names), len(value_set.pairs())
        _print_json({"name": value_set.name, "values": names, "pairs": pairs, "warnings": warnings})
    else:
        _out.print(plain(f"ok: {value_set.name}: {len(value_set.names)} values, {len(value_set.pairs())} pairs"))


@values_app.command("new")
def values_new(
    criteria: Annotated[
        Path,
        typer.Argument(help="A JSON list of sentences, or a text: a criterion a line or bullet.", metavar="CRITERIA"),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The value set to write (.toml).", metavar="FILE")],
    model: Annotated[
        str | None, typer.Option(help="Names and words the values; without one the criteria stand as they are.")
    ] = None,
    world: Annotated[
        str | None,
        typer.Option(help="A world file, or the name of a built-in world, for a planted model.", metavar="W.toml"),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that exists.")] = False,
    runs_dir: RunsDir = _RUNS,
    as_json: Json = False,
) -> None:
    """A value set from prose: each criterion becomes a value.

    Example: [bold]conflictscope values new constitution.md -o my-values.toml[/bold]
    """
    value_set = asyncio.run(
        pipeline.new_value_set(criteria, output, model=model, world=world, force=force, runs_dir=runs_dir)
    )
    if as_json:
        _print_json({"file": str(output), "name": value_set.name, "values": list(value_set.names)})
    else:
        told = f"{output}: {len(value_set.names)} values, {len(value_set.pairs()):,} pairs. Read the names, edit them, then:"
        _out.print(plain(told), soft_wrap=True)
        _out.print(plain(f"  {_command(f'values check {_quoted(str(output))}')}"), soft_wrap=True)


@scenarios_app.command("check")
def scenarios_check(
    file: Annotated[str, typer.Argument(help="A library (.jsonl, .yaml, .toml, .json), or a built-in name.")],
    value_set: Annotated[
        str | None, typer.Option(help="A value set, by path or built-in name, that must hold every value named.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Validate a library; every problem is told with its line.

    Example: [bold]conflictscope scenarios check library.jsonl --value-set hhh[/bold]
    """
    values = load_value_set(find("values", value_set, Path.cwd())) if value_set else None
    scenarios = load_library(find("libraries", file, Path.cwd()), values)
    pairs = {scenario.pair for scenario in scenarios}
    if as_json:
        passing = sum(scenario.passes for scenario in scenarios)
        _print_json({"scenarios": len(scenarios), "pairs": len(pairs), "passing": passing})
    else:
        _out.print(f"ok: {len(scenarios):,} scenarios, {len(pairs):,} pairs of values")


@scenarios_app.command("stats")
def scenarios_stats(
    files: Annotated[
        list[str],
        typer.Argument(help="Libraries (.jsonl, .yaml, .toml, .json), or built-in names.", metavar="LIBRARY..."),
    ],
    run: Annotated[
        list[str] | None,
        typer.Option(help="A run of one of the libraries: what its targets made of it; repeatable.", metavar="RUN"),
    ] = None,
    embedding: Annotated[
        str, typer.Option(help="What likeness is measured by: `hashing` (words, offline), or an embedding model.")
    ] = OFFLINE_EMBEDDING,
    chart: Annotated[
        Path | None, typer.Option(help="Also draw it: a file that ends in .svg, .png, .pdf or .html.", metavar="FILE")
    ] = None,
    runs_dir: RunsDir = _RUNS,
    as_json: Json = False,
) -> None:
    """What a library is made of, how alike its scenarios are, which checks they pass; several libraries side by side.

    After a run also what its targets made of it: how far they agree, and in which share of scenarios each prefers one action
    clearly, so that libraries can be compared on how hard they are.

    Example: [bold]conflictscope scenarios stats hhh --run demo --chart hhh.svg[/bold]
    """
    if chart is not None:
        views.chart_format(chart)
    paths = [find("libraries", file, Path.cwd()) for file in files]
    folders = [RunFolder.find(name, runs_dir) for name in run or []]
    libraries = asyncio.run(pipeline.library_stats(paths, folders, embedding, runs_dir))
    if chart is not None:
        views.save_chart(views.library_chart(libraries), chart)
    if as_json:
        documents = [stats.to_json() for stats in libraries]
        _print_json(documents[0] if len(documents) == 1 else {"libraries": documents})
    else:
        views.print_libraries(_out, libraries)


@scenarios_app.command("import")
def scenarios_import(
    table: Annotated[Path, typer.Argument(help="A CSV, gzipped or not, with two actions a row.", metavar="TABLE")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The library to write (.jsonl).", metavar="LIBRARY")],
    id_column: Annotated[str, typer.Option("--id", help="Column of the row's id.")],
    description: Annotated[str, typer.Option(help="Column of the situation.")],
    action_a: Annotated[str | None, typer.Option(help="Column of the first action.")] = None,
    action_b: Annotated[str | None, typer.Option(help="Column of the second action.")] = None,
    choices: Annotated[
        str | None, typer.Option(help="Instead of two columns: one with a JSON list of the two actions.")
    ] = None,
    values_a: Annotated[
        str | None, typer.Option(help="Column of the values that only the first action serves.")
    ] = None,
    values_b: Annotated[
        str | None, typer.Option(help="Column of the values that only the second action serves.")
    ] = None,
    value_a: Annotated[
        str | None, typer.Option(help="Instead of a column: the first action's value in every row.", metavar="TEXT")
    ] = None,
    value_b: Annotated[
        str | None, typer.Option(help="Instead of a column: the second action's value in every row.", metavar="TEXT")
    ] = None,
    separator: Annotated[str, typer.Option(help="What stands between values in one cell.")] = "|",
    all_pairs: Annotated[
        bool, typer.Option("--all-pairs", help="Also rows with several pairs: one scenario for each pair of values.")
    ] = False,
    value_set: Annotated[
        str | None, typer.Option(help="A value set, by path or built-in name, that must hold every value named.")
    ] = None,
    as_json: Json = False,
) -> None:
    """A table of two-action dilemmas from elsewhere becomes a library; rows that do not fit are told with their lines.

    Example: [bold]conflictscope scenarios import dilemmas.csv -o dilemmas.jsonl --id scenario_id --description context
    --action-a action1 --action-b action2 --values-a only_by_1 --values-b only_by_2[/bold]
    """
    if output.suffix != ".jsonl":
        raise InputError(f"-o: expected a .jsonl file, got {str(output)!r}")
    values = load_value_set(find("values", value_set, Path.cwd())) if value_set else None
    columns = DilemmaColumns(
        id_column,
        description,
        action_a,
        action_b,
        values_a,
        values_b,
        choices=choices,
        value_a=value_a,
        value_b=value_b,
    )
    imported = read_dilemmas(table, columns, separator=separator, all_pairs=all_pairs, value_set=values)
    write_library(output, imported.scenarios)
    pairs = len({scenario.pair for scenario in imported.scenarios})
    if as_json:
        _print_json(
            {
                "scenarios": len(imported.scenarios),
                "situations": imported.rows,
                "pairs": pairs,
                "left_out": imported.left_out,
                "refused": [{"line": row.line, "reason": row.reason} for row in imported.refused],
            }
        )
        return
    _out.print(
        plain(
            f"{output}: {len(imported.scenarios):,} scenarios from {imported.rows:,} situations, {pairs} pairs of values"
        ),
        soft_wrap=True,
    )
    views.print_import(_out, imported)


@scenarios_app.command("recheck")
def scenarios_recheck(
    library: Annotated[str, typer.Argument(help="A library (.jsonl, .yaml, .toml, .json), or a built-in name.")],
    spec: Annotated[
        str,
        typer.Argument(
            help="A specification, or a file with its name, value_set and \\[checks] alone.", metavar="SPEC.toml"
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="The library to write (.jsonl). Default: a file in the run folder.",
            metavar="LIBRARY",
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="The name of its run folder; default: NAME-checks.")] = None,
    runs_dir: RunsDir = _RUNS,
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """Make the checks of a library once more, with other models, with several, or only some of them.

    What other checkers said stays beside; what the same one said of the same check is replaced. Resumable like `generate`.

    Example: [bold]conflictscope scenarios recheck hhh spec.toml --set 'checks.models=["openai:gpt-5.1"]' -o checked.jsonl[/bold]
    """
    with Progress(console=_err, transient=True, disable=as_json or not _err.is_terminal) as progress:
        bar = progress.add_task("Checking", total=None)
        result = asyncio.run(
            pipeline.recheck(
                find("libraries", library, Path.cwd()),
                spec,
                settings or [],
                runs_dir,
                name=name,
                output=output,
                tell=_tell,
                advance=lambda done, planned: progress.update(bar, completed=done, total=planned),
            )
        )
    if as_json:
        _print_json(result.to_json())
    else:
        stats = asyncio.run(pipeline.library_stats([result.library])) if result.library is not None else []
        if stats:
            views.print_libraries(_out, stats)
    for own_id, reason in list(result.unchecked.items())[:_MOST_LEFT]:
        _err.print(plain(f"unchecked: {own_id}: {reason}"), soft_wrap=True)
    if result.library is not None:
        passing = sum(scenario.passes for scenario in result.scenarios)
        _err.print(
            plain(f"{result.library}: {len(result.scenarios):,} scenarios, {passing:,} pass their checks."),
            soft_wrap=True,
        )
    else:
        options = [*_kept(settings or [], result.state), *([f"-o {_quoted(str(output))}"] if output else [])]
        named = [f"--name {name}"] if name else []
        resume = _command(" ".join(["scenarios", "recheck", _quoted(library), _quoted(spec), *named, *options]))
        _err.print(plain(_ended_early(result.state, result.message)), soft_wrap=True)
        _err.print(plain(f"  {resume}{_runs_option(runs_dir)}"), soft_wrap=True)
    raise typer.Exit(result.exit_code)


# -- labels by people --------------------------------------------------------------------------------------------------


@annotate_app.command("export")
def annotate_export(
    run_name: RunName,
    output: Annotated[Path, typer.Option("-o", "--output", help="The folder to write to.", metavar="DIR")],
    items: Annotated[int, typer.Option(help="Conversations on a sheet.", min=1)] = 100,
    seed: Annotated[
        int, typer.Option(help="What the items and their orders are drawn from.", min=0, max=2**63 - 1)
    ] = 0,
    annotators: Annotated[
        int, typer.Option(help="Sheets: the same items, each in an order of its own.", min=1, max=999)
    ] = 1,
    runs_dir: RunsDir = _RUNS,
    as_json: Json = False,
) -> None:
    """Write conversations for people to label: as a table (CSV) and as a page that works offline, one item a screen.

    Drawn by target, steering, behaviour, pair of values and verdict, each in its share. Sheets tell neither the target nor the
    steering, the behaviour, the values or the judge's verdict, and show the two actions in a drawn order.

    Example: [bold]conflictscope annotate export demo -o sheets --items 60 --annotators 2[/bold]
    """
    folder = RunFolder.find(run_name, runs_dir)
    found = asyncio.run(pipeline.export_sheets(folder, output, items=items, seed=seed, annotators=annotators))
    if as_json:
        _print_json(
            {
                "run": folder.name,
                "files": [str(path) for path in found.files],
                "items": found.items,
                "conversations": found.conversations,
            }
        )
        return
    for path in found.files:
        _out.print(plain(str(path)), soft_wrap=True)
    back = _command(f"annotate import {_quoted(run_name)} FILE...{_runs_option(runs_dir)}")
    _err.print(
        plain(f"{found.items:,} of {found.conversations:,} conversations. Labelled, back with: {back}"), soft_wrap=True
    )


@annotate_app.command("import")
def annotate_import(
    run_name: RunName,
    labels: Annotated[
        list[Path] | None,
        typer.Argument(help="Sheets that were filled in (CSV), or what the page saved (CSV, JSON).", metavar="LABELS"),
    ] = None,
    annotator: Annotated[
        str | None, typer.Option(help="Who filled them in; else as a file says, or is called.", metavar="NAME")
    ] = None,
    runs_dir: RunsDir = _RUNS,
    as_json: Json = False,
) -> None:
    """Read back what people said, and show how far they and the judge agree; without LABELS, of what was read before.

    What a person said before is replaced. A bad row stops the import, and then nothing is kept.

    Example: [bold]conflictscope annotate import demo kim.csv lee.csv[/bold]
    """
    folder = RunFolder.find(run_name, runs_dir)
    if labels:
        count = asyncio.run(pipeline.import_labels(folder, labels, annotator))
        _tell(f"{count:,} labels kept.")
    report = asyncio.run(pipeline.labels_of(folder))
    if as_json:
        _print_json({"run": folder.name, **report.to_json()})
    else:
        views.print_labels(_out, report)


# -- planted worlds ----------------------------------------------------------------------------------------------------


@plant_app.command("serve")
def plant_serve(
    world: Annotated[str, typer.Option(help="A world file, or the name of a built-in world.", metavar="W.toml")],
    host: Annotated[str, typer.Option(help="The address to listen on; anything but loopback is open to others.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(help="The port to listen on; 0 picks a free one.", min=0, max=65535)] = 8000,
    scenarios: Annotated[
        list[str] | None,
        typer.Option(
            help="A library, by path or built-in name, whose actions the models know; repeatable. Default: all built in.",
            metavar="LIBRARY",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """The planted world over HTTP, as OpenAI and Anthropic offer their models; with the faults and limits of its file.

    Any key is accepted. GET /metrics counts what was asked. Ctrl-C ends it.

    Example: [bold]conflictscope plant serve --world demo --port 0[/bold]
    """

    def announce(server: PlantedServer) -> None:
        if as_json:
            typer.echo(json.dumps({"url": server.url, "models": server.models}))  # a line: nothing follows to end it
            return
        told = (
            f"{server.url} serves {', '.join(server.models)}. In a sweep file: [providers.openai] "
            f'base_url = "{server.url}/v1", or [providers.anthropic] base_url = "{server.url}". Ctrl-C ends it.'
        )
        _out.print(plain(told), soft_wrap=True)

    asyncio.run(pipeline.serve_plant(world, scenarios or [], host, port, announce))


# -- helpers -----------------------------------------------------------------------------------------------------------


def _viewer(no_live: bool, as_json: bool) -> Viewer:
    console = _err if as_json else _out
    show: Callable[[Callable[[], Awaitable[Any]], Console], Awaitable[None]] = (
        views.live if console.is_terminal and not no_live and not as_json else views.lines
    )

    async def viewer(monitor: Monitor) -> None:
        await show(monitor.snapshot, _err if show is views.lines else console)

    return viewer


def _library_viewer(no_live: bool, as_json: bool) -> LibraryViewer:
    console = _err if as_json else _out
    show = views.live_library if console.is_terminal and not no_live and not as_json else views.library_lines

    async def viewer(take: Callable[[], Awaitable[LibraryProgress]]) -> None:
        await show(take, _err if show is views.library_lines else console)

    return viewer


def _stage(
    sweep: str,
    settings: Sequence[str],
    behaviors: Sequence[str],
    name: str | None,
    runs_dir: Path,
    no_live: bool,
    as_json: bool,
) -> tuple[Path | None, float, float]:
    """The library that a sweep makes first, what it cost, and the seconds that it took just now.

    Ends the command where the library was not made to the end.
    """
    file = pipeline.read_sweep(sweep, settings, name=name, behaviors=behaviors)
    spec = pipeline.stage_of(file)
    if spec is None:
        return None, 0.0, 0.0
    run = RunFolder.named(file.config.name, runs_dir)
    stage = pipeline.stage_folder(run)
    if run.exists:  # it has begun, on the library that it had then
        return pipeline.library_of(file, runs_dir), asyncio.run(pipeline.spent_usd(stage)), 0.0
    asyncio.run(pipeline.check_before_library(file))
    started = time.monotonic()
    result = asyncio.run(pipeline.generate(spec, stage, None, _library_viewer(no_live, as_json), _tell))
    if result.state != "finished" or not result.scenarios:
        resume = _command(" ".join(["run", _quoted(sweep), *_kept(settings, result.state, behaviors)]))
        resume += (f" --name {name}" if name else "") + _runs_option(runs_dir)
        _finish_library(result, resume, as_json, "generate.tries")
        raise typer.Exit(result.exit_code or 1)
    _tell(f"The library is made: {result.scenarios:,} scenarios in {result.library}.")
    if result.progress.short:
        told = f"It is {result.progress.short:,} scenarios short of what [generate] asks for: see `status {run.name}/library`."
        _tell(told)
    return result.library, result.progress.total.spent_usd, time.monotonic() - started


def _kept(settings: Sequence[str], state: str, behaviors: Sequence[str] = ()) -> list[str]:
    """Options to resume with: all but the limit that stopped it."""
    kept = [s for s in settings if state != "limit" or not s.startswith(("limits.cost_usd", "limits.time_s"))]
    return [*(f"--set {_quoted(s)}" for s in kept), *(f"--behavior {_quoted(b)}" for b in behaviors)]


def _finish_library(result: GenerationResult, resume: str, as_json: bool, tries: str) -> None:
    """Show how the making of a library ended. tries: the key of a greater number of tries."""
    if as_json:
        _print_json(result.to_json())
    else:
        views.print_library_progress(_out, result.progress)
    if result.scenarios:
        _err.print(plain(f"{result.library}: {result.scenarios:,} scenarios"), soft_wrap=True)
    if result.state != "finished":
        _err.print(plain(_ended_early(result.state, result.message)), soft_wrap=True)
        _err.print(plain(f"  {resume}"), soft_wrap=True)
    elif result.progress.short:
        told = f"{result.progress.short:,} scenarios are missing. With more tries it goes on:"
        _err.print(plain(told), soft_wrap=True)
        _err.print(plain(f"  {resume} --set {tries}=..."), soft_wrap=True)


def _seen_by(folder: RunFolder, judge: str | None) -> dict[str, Any]:
    """What a document says of the judge whose verdicts it is made from; nothing where they are the run's own."""
    return {} if judge is None else {"judge": judge, "left_out": asyncio.run(pipeline.left_out(folder, judge))}


def _tell_left_out(folder: RunFolder, judge: str | None) -> None:
    left_out = _seen_by(folder, judge).get("left_out", 0)
    if left_out:
        _warn(f"{left_out:,} episodes are left out: {judge} has not judged them")


def _ended_early(state: str, message: str) -> str:
    """Why work ended before its end, in words that lead up to how to go on."""
    return {
        "limit": f"Stopped by a limit: {message}. To go on, raise it and resume with:",
        "failed": f"error: {message}\nWhat was answered is kept. Mend it and resume with:",
    }.get(state, "Interrupted; everything that was answered is kept. Resume with:")


def _tell(text: str) -> None:
    _err.print(plain(text, "dim"), soft_wrap=True)


def _warn(text: str) -> None:
    _err.print(plain(f"warning: {text}", "yellow"), soft_wrap=True)


def _finish(
    result: RunResult,
    rankings: Sequence[Ranking],
    resume: str,
    runs_dir: Path,
    as_json: bool,
    truths: Mapping[str, Sequence[str]],
    *,
    repeatable: bool = False,
) -> NoReturn:
    """Show how a run ended and what it found, and exit. repeatable: without times in the JSON document."""
    progress = result.snapshot.progress
    resume += _runs_option(runs_dir)
    if as_json:
        document = _ranking_json(result.folder, Method.POSTERIOR, rankings, truths)
        if not repeatable:
            document["status"] = result.snapshot.to_json()
            document["left"] = list(result.left)
        _print_json(document)
    else:
        if truths and result.snapshot.conversation is not None:
            views.print_conversation(_out, result.snapshot.conversation)
        views.print_rankings(_out, rankings, truths)
        views.print_status(_out, result.snapshot)
        _out.print()
        _out.print(plain(f"See it again: {_command(f'rank {progress.run}{_runs_option(runs_dir)}')}"), soft_wrap=True)
    for text in _farewell(result, resume):
        _err.print(plain(text), soft_wrap=True)
    raise typer.Exit(result.exit_code)


def _farewell(result: RunResult, resume: str) -> list[str]:
    """What to tell about an end that is not the plain one: why, what is left, and how to go on."""
    progress = result.snapshot.progress
    told: list[str] = []
    if result.left:
        shown = [f"  {key}" for key in result.left[:_MOST_LEFT]]
        more = (
            [f"  ... and {len(result.left) - _MOST_LEFT:,} more: see --json"] if len(result.left) > _MOST_LEFT else []
        )
        told += [f"{len(result.left):,} episodes are left:", *shown, *more]
    match result.state:
        case "converged":
            planned = progress.planned or progress.done
            told.append(f"Every ranking is settled, after {progress.done:,} of {planned:,} episodes.")
            if progress.done < planned:
                told += ["To play the rest, resume with:", f"  {resume} --set stop.when=plan"]
        case "enough":
            told += [
                f"Ended early: {result.message}. To play the rest, resume with:",
                f"  {resume} --set limits.done_share=1",
            ]
        case "failed":
            told += [
                *(f"error: {line}" for line in result.message.split("\n")),
                "What was finished is kept. Mend it and resume with:",
                f"  {resume}",
            ]
        case "limit":
            told += [f"Stopped by a limit: {result.message}.", "To go on, raise it and resume with:", f"  {resume}"]
        case "interrupted":
            told += ["Interrupted; everything that was finished is kept. Resume with:", f"  {resume}"]
    if result.in_batches:
        told.append(f"{result.in_batches:,} calls wait in batches at their provider: the resume collects them.")
    if progress.failed and result.state in ("finished", "converged", "enough"):
        allowed = (
            f", more than limits.failed_share allows ({result.failed_share_allowed:.0%})" if result.exit_code else ""
        )
        where = result.folder.path / "log.jsonl"
        told += [
            f"{progress.failed:,} of {progress.done:,} episodes failed{allowed}; each one is in {where}. To try them again:"
        ]
        told += [f"  {resume}"]
    return told


def _truths(sweep: Sweep, rankings: Sequence[Ranking]) -> dict[str, Sequence[str]]:
    truths = {str(ranking.group): sweep.truth(ranking.group) for ranking in rankings}
    return {group: truth for group, truth in truths.items() if truth is not None}


def _ranking_json(
    folder: RunFolder, method: Method, rankings: Sequence[Ranking], truths: Mapping[str, Sequence[str]] | None = None
) -> dict[str, Any]:
    groups = [ranking.to_json() for ranking in rankings]
    for group, ranking in zip(groups, rankings, strict=True):
        if truths is not None and str(ranking.group) in truths:
            group["truth"] = list(truths[str(ranking.group)])
    return {"run": folder.name, "method": method.value, "groups": groups}


def _print_json(document: Any) -> None:
    typer.echo(json.dumps(document, indent=2))


def _pairs(options: Sequence[str] | None, option: str) -> dict[str, str]:
    """`["a=b"]` as a mapping."""
    pairs = {}
    for text in options or []:
        left, equals, right = text.partition("=")
        if not equals or not left or not right:
            raise InputError(f"{option} takes LEFT=RIGHT, got {text!r}")
        pairs[left] = right
    return pairs


def _verdict(state: str, where: str) -> Verdict:
    try:
        return Verdict(state)
    except ValueError:
        raise InputError(f"{where}: expected one of {', '.join(v.value for v in Verdict)}, got {state!r}") from None


def _command(rest: str) -> str:
    """A command of ours as this user can type it: the script may lie in a virtual environment that is not active."""
    script = shutil.which("conflictscope")
    if script is not None and Path(script).parent.samefile(Path(sys.executable).parent):
        return f"conflictscope {rest}"
    here = Path(sys.executable)
    python = here.relative_to(Path.cwd()) if here.is_relative_to(Path.cwd()) else here
    return f"{_quoted(str(python))} -m conflictscope {rest}"


def _runs_option(runs_dir: Path) -> str:
    return "" if runs_dir == _RUNS else f" --runs-dir {_quoted(str(runs_dir))}"


def _quoted(text: str) -> str:
    return shlex.quote(text)
