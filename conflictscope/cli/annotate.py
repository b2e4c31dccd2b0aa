"""Labels by people, out and back."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from conflictscope import pipeline, views
from conflictscope.cli.app import (
    RUNS,
    Json,
    RunName,
    RunsDir,
    annotate_app,
    command,
    err,
    out,
    print_json,
    quoted,
    runs_option,
    tell,
)
from conflictscope.runfolder import RunFolder
from conflictscope.views.text import plain

if TYPE_CHECKING:
    pass


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
    runs_dir: RunsDir = RUNS,
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
        print_json(
            {
                "run": folder.name,
                "files": [str(path) for path in found.files],
                "items": found.items,
                "conversations": found.conversations,
            }
        )
        return
    for path in found.files:
        out.print(plain(str(path)), soft_wrap=True)
    back = command(f"annotate import {quoted(run_name)} FILE...{runs_option(runs_dir)}")
    err.print(
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
    runs_dir: RunsDir = RUNS,
    as_json: Json = False,
) -> None:
    """Read back what people said, and show how far they and the judge agree; without LABELS, of what was read before.

    What a person said before is replaced. A bad row stops the import, and then nothing is kept.

    Example: [bold]conflictscope annotate import demo kim.csv lee.csv[/bold]
    """
    folder = RunFolder.find(run_name, runs_dir)
    if labels:
        count = asyncio.run(pipeline.import_labels(folder, labels, annotator))
        tell(f"{count:,} labels kept.")
    report = asyncio.run(pipeline.labels_of(folder))
    if as_json:
        print_json({"run": folder.name, **report.to_json()})
    else:
        views.print_labels(out, report)
