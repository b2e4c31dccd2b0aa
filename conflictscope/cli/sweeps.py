"""Commands that execute and plan sweeps."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.progress import Progress

from conflictscope import pipeline, views
from conflictscope.cli.app import (
    MOST_LEFT,
    RUNS,
    Executor,
    Json,
    NoLive,
    RunsDir,
    Settings,
    Show,
    app,
    command,
    err,
    out,
    print_json,
    quoted,
    ranking_json,
    runs_option,
    shown,
    waiting,
)
from conflictscope.cli.libraries import finish_library, kept
from conflictscope.forecast import Assumptions
from conflictscope.rating import Method, Ranking
from conflictscope.runfolder import RunFolder
from conflictscope.views.text import plain

if TYPE_CHECKING:
    from conflictscope.monitor import Monitor
    from conflictscope.pipeline import RunResult, Sweep, Viewer

_ASSUMED = Assumptions()


@app.command()
def demo(
    runs_dir: RunsDir = RUNS,
    seed: Annotated[int, typer.Option(help="Seed of the sweep; the same seed gives the same outcomes.")] = 7,
    executor: Executor = None,
    no_live: NoLive = False,
    as_json: Json = False,
) -> None:
    """A sweep of planted models on the built-in hhh library: no key, no network, about twenty seconds.

    Ends with the ranking of each target beside the order that was planted in it. Starts afresh each time.

    Example: [bold]conflictscope demo --seed 3[/bold]
    """
    sweep = pipeline.load_sweep("demo", [f"seed={seed}", *_played_by(executor)])
    show, tell = shown(no_live, as_json)

    async def work() -> RunResult:
        await pipeline.remove_demo(RunFolder.named(sweep.config.name, runs_dir), sweep)
        return await pipeline.run_sweep(sweep, runs_dir, _viewer(show), tell)

    if not as_json:
        out.print(
            f"{len(sweep.scenarios)} scenarios, {len(sweep.config.targets)} planted targets, {len(sweep.groups)} rankings. "
            "All models are offline stand-ins whose priorities are known.\n"
        )
    result = asyncio.run(work())
    with waiting("Ranking"):
        rankings = asyncio.run(pipeline.rank(result.folder))
    resume = command(f"run demo --set seed={seed}" + (f" --executor {executor}" if executor else ""))
    _finish(result, rankings, resume, runs_dir, as_json, _truths(sweep, rankings), repeatable=True)


@app.command()
def run(
    sweep: Annotated[str, typer.Argument(help="A sweep file, or the name of a built-in sweep.", metavar="SWEEP.toml")],
    name: Annotated[str | None, typer.Option(help="The run's name; default: the name in the sweep file.")] = None,
    runs_dir: RunsDir = RUNS,
    settings: Settings = None,
    behavior: Annotated[
        list[str] | None,
        typer.Option(
            help="One more condition: a behaviour by its name, module:Class or ./file.py:Class; `a + b` plays both. Repeatable.",
            metavar="BEHAVIOR",
        ),
    ] = None,
    executor: Executor = None,
    no_live: NoLive = False,
    as_json: Json = False,
) -> None:
    """Execute a sweep. The same name again resumes it; no answered call is made twice.

    A sweep with a section `generate` first makes its library, in the run's folder.

    Ctrl-C stops it cleanly: what is in flight has 5 seconds to finish, all else is left for the resume.

    Example: [bold]conflictscope run sweep.toml --set limits.concurrency=8[/bold]
    """
    settings = [*(settings or []), *_played_by(executor)]
    library, spent_usd, spent_s = _stage(sweep, settings, behavior or [], name, runs_dir, no_live, as_json)
    loaded = pipeline.load_sweep(sweep, settings, name=name, library=library, behaviors=behavior or [])
    if loaded.left_out:
        err.print(f"{loaded.left_out:,} scenarios of the library did not pass their checks and are left out.")
    show, tell = shown(no_live, as_json)
    result = asyncio.run(
        pipeline.run_sweep(loaded, runs_dir, _viewer(show), tell, spent_usd=spent_usd, spent_s=spent_s)
    )
    with waiting("Ranking"):
        rankings = asyncio.run(pipeline.rank(result.folder))
    resume = command(" ".join(["run", quoted(sweep), *kept(settings, result.state, behavior or [])]))
    resume += f" --name {name}" if name else ""
    _finish(result, rankings, resume, runs_dir, as_json, _truths(loaded, rankings))


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
    runs_dir: RunsDir = RUNS,
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
    with Progress(console=err, transient=True, disable=as_json or not err.is_terminal) as progress:
        bar = progress.add_task("Simulating", total=1.0)
        forecast = asyncio.run(
            pipeline.plan_sweep(loaded, assumptions, folder, lambda share: progress.update(bar, completed=share))
        )
    if as_json:
        print_json(forecast.to_json())
    else:
        views.print_forecast(out, forecast)


def _played_by(executor: str | None) -> list[str]:
    """What `--executor` sets."""
    return [] if executor is None else [f"executor.kind={executor}"]


def _viewer(show: Show) -> Viewer:
    async def viewer(monitor: Monitor) -> None:
        await show(monitor.snapshot)

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
    show, tell = shown(no_live, as_json)
    result = asyncio.run(pipeline.generate(spec, stage, None, show, tell))
    if result.state != "finished" or not result.scenarios:
        resume = command(" ".join(["run", quoted(sweep), *kept(settings, result.state, behaviors)]))
        resume += (f" --name {name}" if name else "") + runs_option(runs_dir)
        finish_library(result, resume, as_json, "generate.tries")
        raise typer.Exit(result.exit_code or 1)
    tell(f"The library is made: {result.scenarios:,} scenarios in {result.library}.")
    if result.progress.short:
        told = f"It is {result.progress.short:,} scenarios short of what [generate] asks for: see `status {run.name}/library`."
        tell(told)
    return result.library, result.progress.total.spent_usd, time.monotonic() - started


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
    resume += runs_option(runs_dir)
    if as_json:
        document = ranking_json(result.folder, Method.POSTERIOR, rankings, truths)
        if not repeatable:
            document["status"] = result.snapshot.to_json()
            document["left"] = list(result.left)
        print_json(document)
    else:
        if truths and result.snapshot.conversation is not None:
            views.print_conversation(out, result.snapshot.conversation)
        views.print_status(out, result.snapshot)
        out.print()
        views.print_rankings(out, rankings, truths)  # last: the screen may hold no more
        out.print(plain(f"See it again: {command(f'rank {progress.run}{runs_option(runs_dir)}')}"), soft_wrap=True)
    for text in _farewell(result, resume):
        err.print(plain(text), soft_wrap=True)
    raise typer.Exit(result.exit_code)


def _farewell(result: RunResult, resume: str) -> list[str]:
    """What to tell about an end that is not the plain one: why, what is left, and how to go on."""
    progress = result.snapshot.progress
    told: list[str] = []
    if result.left:
        shown = [f"  {key}" for key in result.left[:MOST_LEFT]]
        more = [f"  ... and {len(result.left) - MOST_LEFT:,} more: see --json"] if len(result.left) > MOST_LEFT else []
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
