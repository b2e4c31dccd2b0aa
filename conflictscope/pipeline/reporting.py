"""A report of a run: everything that is known of it, gathered from its file, as one page and as figure files."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from conflictscope.comparison import Comparisons
from conflictscope.errors import InputError
from conflictscope.librarystats import LibraryStats
from conflictscope.monitor import Monitor, stop_rule
from conflictscope.pipeline.auditing import audit_in
from conflictscope.pipeline.comparing import compare_in
from conflictscope.pipeline.judging import judge_errors
from conflictscope.pipeline.libraries import stats_of_run, write_text
from conflictscope.pipeline.runs import check_played
from conflictscope.ranking import folded, rank_group
from conflictscope.rating import Method
from conflictscope.redaction import know_secrets, redact
from conflictscope.runfolder import RunFolder
from conflictscope.store import RunReader
from conflictscope.views import charts
from conflictscope.views.report import Report, report_figures, report_html

_METHODS = (Method.POSTERIOR, Method.BRADLEY_TERRY, Method.TRUESKILL)
_WORTH_TELLING_S = 1.0


@dataclass(frozen=True, slots=True)
class WrittenReport:
    """page: the file. figures: the files, in the order of the page."""

    page: Path
    figures: tuple[Path, ...]


async def write_report(
    folder: RunFolder,
    output: Path,
    figures: Path | None = None,
    command: str = "conflictscope report",
    tell: Callable[[str], None] = lambda text: None,
) -> WrittenReport:
    """Write the report of a run as one HTML file, and each of its charts as SVG, PNG and PDF into the folder `figures`.

    command: what to type for the same report again. tell: shows a line where something takes long. Raises InputError, before
    anything is gathered where a file cannot be written.
    """
    if output.is_dir():
        raise InputError("-o: is a folder; name a file in it, e.g. report.html", path=output)
    if not output.parent.is_dir():
        raise InputError(f"-o: there is no folder {str(output.parent)!r}", path=output)
    if not os.access(output if output.exists() else output.parent, os.W_OK):
        raise InputError("-o: cannot be written", path=output)
    if figures is not None:
        _make_folder(figures)
    know_secrets()
    report = await gather(folder, tell)
    with _told("drawing charts", tell):
        drawn = report_figures(report)
        page = report_html(report, drawn, command)
    write_text(output, redact(page))
    written = []
    if figures is not None:
        with _told(f"writing {len(drawn) * len(charts.FIGURES)} figure files", tell):
            for name, each in drawn.items():
                for kind in charts.FIGURES:
                    written.append(figures / f"{name}.{kind}")
                    charts.save_chart(each.chart, written[-1])
    return WrittenReport(output, tuple(written))


async def gather(folder: RunFolder, tell: Callable[[str], None] = lambda text: None) -> Report:
    """All that a report says of a run, as it is at one moment. Raises InputError for a folder that holds no episodes' run."""
    async with RunReader.open(folder.database) as reader, reader.at_one_moment():
        meta = await reader.meta()
        check_played(meta, folder)
        with _told("reading the run", tell):
            board = await Monitor(reader, folder).board()
        sessions = await reader.sessions()
        with _told("ranking by three methods", tell):
            rule, errors = stop_rule(meta), await judge_errors(reader)
            folds = await folded(reader, rule)
            rankings = {
                method: [rank_group(fold, method, rule, errors.get(fold.group)) for fold in folds]
                for method in _METHODS
            }
        with _told("measuring the scenarios", tell):
            library = await _library(reader, folder, str(meta.get("sweep", {}).get("scenarios", folder.name)))
        ended = sessions[-1].ended_at or await reader.last_sign_at() if sessions else None
        with _told("comparing groups", tell):
            try:
                comparisons = await compare_in(reader, folder, tell=tell)
            except InputError as error:  # of one group there is nothing to compare, and the report says so
                comparisons = Comparisons((), (), (str(error).removeprefix(f"{folder.database}: "),))
        with _told("auditing", tell):
            audited = await audit_in(reader, folder, tell) if rankings[Method.POSTERIOR] else None
    return Report(
        board=board,
        began=sessions[0].started_at if sessions else None,
        ended=ended,
        meta=meta,
        sweep=folder.sweep.read_text(encoding="utf-8") if folder.sweep.is_file() else "",
        rankings=rankings,
        comparisons=comparisons,
        audit=audited,
        library=library,
    )


async def _library(reader: RunReader, folder: RunFolder, name: str) -> LibraryStats | None:
    scenarios = await reader.scenarios()
    if not scenarios:
        return None
    outcomes = [outcome async for outcome in reader.canonical_outcomes()]
    return await stats_of_run(name, list(scenarios.values()), outcomes, folder)


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--figures: cannot be made: {error.strerror}", path=path) from None


@contextmanager
def _told(what: str, tell: Callable[[str], None]) -> Iterator[None]:
    """Tell what was done and how long it took, where it took long."""
    began = time.monotonic()
    yield
    took_s = time.monotonic() - began
    if took_s >= _WORTH_TELLING_S:
        tell(f"{what}: {took_s:.1f} s")
