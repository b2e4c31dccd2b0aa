"""Commands about runs that exist, and about outcomes from elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import Progress

from conflictscope import pipeline, views
from conflictscope.cli.app import (
    RUNS,
    Json,
    JudgeName,
    NoLive,
    RunName,
    RunsDir,
    Settings,
    app,
    command,
    ended_early,
    err,
    out,
    print_json,
    quoted,
    ranking_json,
    read_verdict,
    runs_option,
    seen_by,
    split_pairs,
    tell,
    tell_left_out,
    waiting,
    warn,
)
from conflictscope.cli.libraries import kept
from conflictscope.comparison import By
from conflictscope.config import Orders
from conflictscope.conversations import CONVERSATION_FILES, ConversationFile
from conflictscope.errors import InputError
from conflictscope.rating import Method
from conflictscope.runfolder import RunFolder
from conflictscope.snapshot import LibraryProgress
from conflictscope.tables import OutcomeTable
from conflictscope.views.text import plain

if TYPE_CHECKING:
    pass


WatchJson = Annotated[
    bool,
    typer.Option("--json", help="Print what `status --json` tells as a line for each change, one a second at most."),
]


@app.command()
def status(run_name: RunName, judge: JudgeName = None, runs_dir: RunsDir = RUNS, as_json: Json = False) -> None:
    """Counts by state, calls, tokens, cost, rate, errors, time left; and how far each ranking is from being settled.

    Example: [bold]conflictscope status demo[/bold]
    """
    folder = RunFolder.find(run_name, runs_dir)
    with waiting(f"Reading {folder.name}"):
        snapshot = asyncio.run(pipeline.status(folder, judge))
    if as_json:
        print_json(snapshot.to_json())
    elif isinstance(snapshot, LibraryProgress):
        views.print_library_progress(out, snapshot)
    else:
        views.print_status(out, snapshot)


@app.command()
def watch(run_name: RunName, runs_dir: RunsDir = RUNS, no_live: NoLive = False, as_json: WatchJson = False) -> None:
    """The live view of a run from another terminal; how it ended, once it has.

    Reads the run's file only and never touches the run. q or Ctrl-C leaves, arrows and pages scroll the rankings. A run that
    nobody works on is shown once. A library in the making is shown as `generate` shows it.

    Example: [bold]conflictscope watch demo[/bold]
    """
    stage = pipeline.stage_folder(RunFolder(runs_dir / run_name))
    folder = stage if stage.exists and not RunFolder(runs_dir / run_name).exists else RunFolder.find(run_name, runs_dir)
    if as_json:
        asyncio.run(pipeline.watch(folder, lambda take: views.documents(take, _print_line)))
        return
    if not no_live and views.can_show(out):
        ended = asyncio.run(pipeline.watch(folder, views.Live(out, tell, keys=True).show))
    else:
        ended = asyncio.run(pipeline.watch(folder, lambda take: views.lines(take, out)))
    if isinstance(ended, LibraryProgress):
        views.print_library_progress(out, ended)
        return
    if ended.progress.state == "running":
        tell(f"{ended.progress.run} goes on.")
        return
    with waiting("Ranking"):
        rankings = asyncio.run(pipeline.rank(folder))
    views.print_status(out, ended)
    out.print()
    views.print_rankings(out, rankings)


def _print_line(document: Mapping[str, Any]) -> None:
    print_json(document, indent=None)


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
    runs_dir: RunsDir = RUNS,
    as_json: Json = False,
) -> None:
    """Rank the values for each target and condition, with uncertainty.

    posterior: a joint Gaussian posterior over all values, probit link, full covariance. bradley_terry: the paper's fit, in
    log-odds, with a bootstrap by scenario. trueskill: the live rating, folded in an order that does not depend on what came
    first. Equal outcomes give equal rankings by all three, and each is shown with checks of its fit.

    Example: [bold]conflictscope rank demo --method bradley_terry --json[/bold]
    """
    folder = RunFolder.find(run_name, runs_dir)
    with waiting("Ranking"):
        rankings = asyncio.run(pipeline.rank(folder, method, judge_error, judge))
    if as_json:
        print_json({**ranking_json(folder, method, rankings), **seen_by(folder, judge)})
    else:
        views.print_rankings(out, rankings)
        tell_left_out(folder, judge)


@app.command()
def compare(
    run_name: RunName,
    by: Annotated[By | None, typer.Option(help="What the groups differ in; default: each of the four.")] = None,
    judge: JudgeName = None,
    runs_dir: RunsDir = RUNS,
    as_json: Json = False,
) -> None:
    """Compare targets, modes, steerings and behaviours on the scenarios that they share, with intervals clustered by scenario.

    For each two groups that differ in one thing only: how utilities and ranks differ, and how alike the rankings are. For each
    steering that states a ranking: the share of outcomes that agree with it, without and with the steering.

    Example: [bold]conflictscope compare demo --by mode[/bold]
    """
    folder = RunFolder.find(run_name, runs_dir)
    with waiting("Comparing"):
        found = asyncio.run(pipeline.compare(folder, tuple(By) if by is None else (by,), tell, judge))
    if as_json:
        print_json({"run": folder.name, **found.to_json(), **seen_by(folder, judge)})
    else:
        views.print_comparisons(out, found)
        tell_left_out(folder, judge)


@app.command()
def view(
    runs_dir: Annotated[
        Path, typer.Argument(help="Folder that holds the runs, or that of one run.", metavar="[RUNS_DIR]")
    ] = RUNS,
    port: Annotated[int, typer.Option(help="The port to listen on; 0 picks a free one.", min=0, max=65535)] = 8765,
    host: Annotated[str, typer.Option(help="The address to listen on; anything but loopback is open to others.")] = (
        "127.0.0.1"
    ),
) -> None:
    """The runs of a folder in a browser, live: rankings as they converge, episodes, comparisons. Ctrl-C ends it.

    Open the address that it prints: its token lets you in, and nobody else.

    Example: [bold]conflictscope view runs[/bold]
    """

    def announce(url: str) -> None:
        if host not in ("localhost", "127.0.0.1", "::1"):
            warn(
                f"{host} can be reached from other machines, and what goes over the network can be read: --host 127.0.0.1"
            )
        out.print(plain(url), soft_wrap=True)
        tell("Open this address in a browser. Ctrl-C ends it.")

    asyncio.run(pipeline.view_runs(runs_dir, host, port, announce))


@app.command()
def audit(run_name: RunName, runs_dir: RunsDir = RUNS, as_json: Json = False) -> None:
    """What a run's judges, repeats and scenarios are worth: read it before you trust a ranking.

    What the order of the two actions does, how far judges and repeats agree, what is left out, what outcomes vary by, how far
    rankings move; and what the paper's scoring would have concluded from the same episodes, beside ours.

    Example: [bold]conflictscope audit demo[/bold]
    """
    folder = RunFolder.find(run_name, runs_dir)
    with waiting("Auditing"):
        found = asyncio.run(pipeline.audit(folder, tell))
    if as_json:
        print_json({"run": folder.name, **found.to_json()})
    else:
        views.print_audit(out, found)


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
    runs_dir: RunsDir = RUNS,
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
    with Progress(console=err, transient=True, disable=as_json or not err.is_terminal) as progress:
        bar = progress.add_task("Judging", total=None)
        result = asyncio.run(
            pipeline.rejudge(
                folder,
                judge,
                settings or [],
                orders=orders,
                name=name,
                world=world,
                tell=tell,
                advance=lambda done, planned: progress.update(bar, completed=done, total=planned),
            )
        )
    if as_json:
        print_json(result.to_json())
    else:
        views.print_verdicts(out, [(each.judge, each.verdicts, each.left) for each in result.judges])
    told = f"{result.usage.calls:,} calls, ${result.usage.spent_usd:,.4f}."
    if result.state == "finished":
        first = result.judges[0].judge
        told += f" Next: {command(f'rank {quoted(run_name)} --judge {quoted(first)}')}{runs_option(runs_dir)}"
    err.print(plain(told), soft_wrap=True)
    options = [
        *(f"--judge {quoted(model)}" for model in judge),
        *([f"--orders {orders}"] if orders else []),
        *([f"--name {quoted(name)}"] if name else []),
        *([f"--world {quoted(world)}"] if world else []),
        *kept(settings or [], result.state),
    ]
    again = command(" ".join(["rejudge", quoted(run_name), *options])) + runs_option(runs_dir)
    if result.state != "finished":
        for text in (ended_early(result.state, result.message), f"  {again}"):
            err.print(plain(text), soft_wrap=True)
    elif result.too_many_failed:
        err.print(plain("Too many conversations could not be judged; to try them again:"), soft_wrap=True)
        err.print(plain(f"  {again}"), soft_wrap=True)
    raise typer.Exit(result.exit_code)


@app.command()
def report(
    run_name: RunName,
    output: Annotated[
        Path | None, typer.Option("-o", help="The page. Default: RUN.html here.", metavar="FILE.html")
    ] = None,
    figures: Annotated[
        Path | None,
        typer.Option(help="Also write each chart there as SVG, PNG and PDF; made if it is missing.", metavar="DIR"),
    ] = None,
    runs_dir: RunsDir = RUNS,
    as_json: Json = False,
) -> None:
    """A run as one self-contained page: what was found, how sure, and what could not be said; figures and tables.

    It needs no network, runs no script, and is the same for the same run file. --json tells which files were written.

    Example: [bold]conflictscope report demo -o demo.html --figures figures[/bold]
    """
    folder = RunFolder.find(run_name, runs_dir)
    page = output or Path(f"{folder.name}.html")
    again = f"conflictscope report {quoted(folder.name)}" + (f" --figures {quoted(figures.name)}" if figures else "")
    written = asyncio.run(pipeline.write_report(folder, page, figures, again, tell))
    if as_json:
        print_json({"run": folder.name, "page": str(written.page), "figures": [str(path) for path in written.figures]})
    else:
        told = f" and {len(written.figures)} figure files in {figures}" if figures else ""
        out.print(plain(f"{written.page} written{told}."), soft_wrap=True)


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
    runs_dir: RunsDir = RUNS,
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
        theirs: read_verdict(state, f"--verdict {theirs}={state}")
        for theirs, state in split_pairs(verdict, "--verdict").items()
    }
    folder = RunFolder.named(name, runs_dir)
    if table.name.endswith(CONVERSATION_FILES):
        if words:
            raise InputError("--verdict: conversations have none yet; `rejudge` judges them", path=table)
        file = ConversationFile(table, split_pairs(column, "--column"), split_pairs(constant, "--constant"))
        conversations, messages = asyncio.run(pipeline.import_conversations(file, folder))
        if as_json:
            print_json({"run": folder.name, "conversations": conversations, "messages": messages})
        else:
            told = f"{conversations:,} conversations of {messages:,} messages imported. Next: "
            told += command(f"rejudge {name} --judge MODEL{runs_option(runs_dir)}")
            out.print(plain(told), soft_wrap=True)
        return
    outcomes = OutcomeTable(table, split_pairs(column, "--column"), words, split_pairs(constant, "--constant"))
    count = asyncio.run(pipeline.import_outcomes(outcomes, folder))
    if as_json:
        print_json({"run": folder.name, "outcomes": count})
    else:
        out.print(
            plain(f"{count:,} outcomes imported. Next: {command(f'rank {name}{runs_option(runs_dir)}')}"),
            soft_wrap=True,
        )
