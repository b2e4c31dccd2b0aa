"""Taking runs out."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from conflictscope.cli.app import RUNS, Json, RunName, RunsDir, app, err, out, print_json
from conflictscope.runfolder import RunFolder
from conflictscope.views.text import plain


class Format(StrEnum):
    """What a run is exported as."""

    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"
    INSPECT = "inspect"


@app.command()
def export(
    run_name: RunName,
    fmt: Annotated[Format, typer.Option("--format", help="Tidy tables, or logs that Inspect opens.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="Folder for the files. Default: `export` in the run's folder.", metavar="DIR"
        ),
    ] = None,
    runs_dir: RunsDir = RUNS,
    as_json: Json = False,
) -> None:
    """Write a run as tidy tables, a file each: episodes, outcomes, messages, judgements, calls, scenarios, rankings, ...

    Files of the same names are replaced, once all are whole. In CSV, a text that a spreadsheet would take for a formula begins
    with an apostrophe. inspect: a log for each target and condition, for `inspect view` and `read_eval_log`; needs
    `pip install 'conflictscope\\[inspect]'`.

    Example: [bold]conflictscope export demo --format parquet -o tables[/bold]
    """
    folder = RunFolder.find(run_name, runs_dir)
    output = output or folder.path / "export"
    from conflictscope.pipeline.exporting import export_logs, export_tables  # polars takes 0.2 s to come up
    from conflictscope.views.export import TableFormat

    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        TimeElapsedColumn(),
        console=err,
        transient=True,
        disable=as_json or not err.is_terminal,
    ) as progress:
        line = progress.add_task("Reading")

        def advance(what: str, rows: int) -> None:
            progress.update(line, description=f"{what}: {rows:,} rows" if rows else what)

        if fmt is Format.INSPECT:
            written = asyncio.run(export_logs(folder, output, advance))
        else:
            written = asyncio.run(export_tables(folder, output, TableFormat(fmt), advance))
    if as_json:
        print_json({"run": folder.name, "format": fmt.value, "files": [each.to_json() for each in written]})
        return
    for each in written:
        out.print(plain(f"{each.rows:>12,}  {each.path}"), soft_wrap=True)
