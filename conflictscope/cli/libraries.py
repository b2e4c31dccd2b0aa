"""Commands that make, check and import value sets and libraries."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import Progress

from conflictscope import pipeline, views
from conflictscope.cli.app import (
    MOST_LEFT,
    RUNS,
    Json,
    NoLive,
    RunsDir,
    Settings,
    app,
    command,
    ended_early,
    err,
    out,
    print_json,
    quoted,
    runs_option,
    scenarios_app,
    shown,
    tell,
    values_app,
    warn,
)
from conflictscope.errors import InputError
from conflictscope.generation.overlaps import overlaps
from conflictscope.library import find, load_library, load_value_set, write_library
from conflictscope.pipeline import GenerationResult
from conflictscope.runfolder import RunFolder
from conflictscope.spec import OFFLINE_EMBEDDING
from conflictscope.tables import DilemmaColumns, read_dilemmas
from conflictscope.views.text import plain

if TYPE_CHECKING:
    pass


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
    runs_dir: RunsDir = RUNS,
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
    show, tell = shown(no_live, as_json)
    result = asyncio.run(pipeline.generate(loaded, folder, output, show, tell))
    options = [*kept(settings or [], result.state), *([f"-o {quoted(str(output))}"] if output else [])]
    resume = command(" ".join(["generate", quoted(spec), *([f"--name {name}"] if name else []), *options]))
    finish_library(result, resume + runs_option(runs_dir), as_json, "tries")
    raise typer.Exit(result.exit_code)


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
        warn(warning)
    if as_json:
        names, pairs = list(value_set.names), len(value_set.pairs())
        print_json({"name": value_set.name, "values": names, "pairs": pairs, "warnings": warnings})
    else:
        out.print(plain(f"ok: {value_set.name}: {len(value_set.names)} values, {len(value_set.pairs())} pairs"))


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
    runs_dir: RunsDir = RUNS,
    as_json: Json = False,
) -> None:
    """A value set from prose: each criterion becomes a value.

    Example: [bold]conflictscope values new constitution.md -o my-values.toml[/bold]
    """
    value_set = asyncio.run(
        pipeline.new_value_set(criteria, output, model=model, world=world, force=force, runs_dir=runs_dir)
    )
    if as_json:
        print_json({"file": str(output), "name": value_set.name, "values": list(value_set.names)})
    else:
        told = f"{output}: {len(value_set.names)} values, {len(value_set.pairs()):,} pairs. Read the names, edit them, then:"
        out.print(plain(told), soft_wrap=True)
        out.print(plain(f"  {command(f'values check {quoted(str(output))}')}"), soft_wrap=True)


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
        print_json({"scenarios": len(scenarios), "pairs": len(pairs), "passing": passing})
    else:
        out.print(f"ok: {len(scenarios):,} scenarios, {len(pairs):,} pairs of values")


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
    runs_dir: RunsDir = RUNS,
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
        print_json(documents[0] if len(documents) == 1 else {"libraries": documents})
    else:
        views.print_libraries(out, libraries)


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
        print_json(
            {
                "scenarios": len(imported.scenarios),
                "situations": imported.rows,
                "pairs": pairs,
                "left_out": imported.left_out,
                "refused": [{"line": row.line, "reason": row.reason} for row in imported.refused],
            }
        )
        return
    out.print(
        plain(
            f"{output}: {len(imported.scenarios):,} scenarios from {imported.rows:,} situations, {pairs} pairs of values"
        ),
        soft_wrap=True,
    )
    views.print_import(out, imported)


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
    runs_dir: RunsDir = RUNS,
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """Make the checks of a library once more, with other models, with several, or only some of them.

    What other checkers said stays beside; what the same one said of the same check is replaced. Resumable like `generate`.

    Example: [bold]conflictscope scenarios recheck hhh spec.toml --set 'checks.models=["openai:gpt-5.1"]' -o checked.jsonl[/bold]
    """
    with Progress(console=err, transient=True, disable=as_json or not err.is_terminal) as progress:
        bar = progress.add_task("Checking", total=None)
        result = asyncio.run(
            pipeline.recheck(
                find("libraries", library, Path.cwd()),
                spec,
                settings or [],
                runs_dir,
                name=name,
                output=output,
                tell=tell,
                advance=lambda done, planned: progress.update(bar, completed=done, total=planned),
            )
        )
    if as_json:
        print_json(result.to_json())
    else:
        stats = asyncio.run(pipeline.library_stats([result.library])) if result.library is not None else []
        if stats:
            views.print_libraries(out, stats)
    for own_id, reason in list(result.unchecked.items())[:MOST_LEFT]:
        err.print(plain(f"unchecked: {own_id}: {reason}"), soft_wrap=True)
    if result.library is not None:
        passing = sum(scenario.passes for scenario in result.scenarios)
        err.print(
            plain(f"{result.library}: {len(result.scenarios):,} scenarios, {passing:,} pass their checks."),
            soft_wrap=True,
        )
    else:
        options = [*kept(settings or [], result.state), *([f"-o {quoted(str(output))}"] if output else [])]
        named = [f"--name {name}"] if name else []
        resume = command(" ".join(["scenarios", "recheck", quoted(library), quoted(spec), *named, *options]))
        err.print(plain(ended_early(result.state, result.message)), soft_wrap=True)
        err.print(plain(f"  {resume}{runs_option(runs_dir)}"), soft_wrap=True)
    raise typer.Exit(result.exit_code)


def kept(settings: Sequence[str], state: str, behaviors: Sequence[str] = ()) -> list[str]:
    """Options to resume with: all but the limit that stopped it."""
    kept = [s for s in settings if state != "limit" or not s.startswith(("limits.cost_usd", "limits.time_s"))]
    return [*(f"--set {quoted(s)}" for s in kept), *(f"--behavior {quoted(b)}" for b in behaviors)]


def finish_library(result: GenerationResult, resume: str, as_json: bool, tries: str) -> None:
    """Show how the making of a library ended. tries: the key of a greater number of tries."""
    if as_json:
        print_json(result.to_json())
    else:
        views.print_library_progress(out, result.progress)
    if result.scenarios:
        err.print(plain(f"{result.library}: {result.scenarios:,} scenarios"), soft_wrap=True)
    if result.state != "finished":
        err.print(plain(ended_early(result.state, result.message)), soft_wrap=True)
        err.print(plain(f"  {resume}"), soft_wrap=True)
    elif result.progress.short:
        told = f"{result.progress.short:,} scenarios are missing. With more tries it goes on:"
        err.print(plain(told), soft_wrap=True)
        err.print(plain(f"  {resume} --set {tries}=..."), soft_wrap=True)
