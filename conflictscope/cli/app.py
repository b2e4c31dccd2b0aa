"""What commands share: the applications, options, consoles, and words."""

from __future__ import annotations

import asyncio
import json
import shlex
import shutil
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from typer.core import TyperGroup

from conflictscope import pipeline, views
from conflictscope.errors import InputError
from conflictscope.outcome import Verdict
from conflictscope.rating import Method, Ranking
from conflictscope.runfolder import RunFolder
from conflictscope.views.text import plain

_ORDER = (
    "demo", "run", "watch", "view", "status", "rank", "compare", "audit", "rejudge", "annotate", "report", "export", "import",
    "plan", "generate", "values", "scenarios", "plant",
)  # fmt: skip


class _InOrder(TyperGroup):
    """Commands as a user meets them, not as modules are imported."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        return sorted(super().list_commands(ctx), key=_ORDER.index)


app = typer.Typer(
    name="conflictscope",
    cls=_InOrder,
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


out = _Console(highlight=False)
err = _Console(stderr=True, highlight=False)


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
Show = Callable[[views.Take], Awaitable[None]]
Executor = Annotated[
    Literal["local", "ray"] | None,
    typer.Option(help="Where episodes are played: in this process, or on Ray; default: as the sweep file says."),
]
RUNS = Path("runs")
MOST_LEFT = 10
"""As many episodes or scenarios are listed in the terminal."""


def seen_by(folder: RunFolder, judge: str | None) -> dict[str, Any]:
    """What a document says of the judge whose verdicts it is made from; nothing where they are the run's own."""
    return {} if judge is None else {"judge": judge, "left_out": asyncio.run(pipeline.left_out(folder, judge))}


def tell_left_out(folder: RunFolder, judge: str | None) -> None:
    """Warn of episodes that a judge of `rejudge` has not judged."""
    left_out = seen_by(folder, judge).get("left_out", 0)
    if left_out:
        warn(f"{left_out:,} episodes are left out: {judge} has not judged them")


def ended_early(state: str, message: str) -> str:
    """Why work ended before its end, in words that lead up to how to go on."""
    return {
        "limit": f"Stopped by a limit: {message}. To go on, raise it and resume with:",
        "failed": f"error: {message}\nWhat was answered is kept. Mend it and resume with:",
    }.get(state, "Interrupted; everything that was answered is kept. Resume with:")


def tell(text: str) -> None:
    """A line on stderr, beside what the command is about."""
    err.print(plain(text, "dim"), soft_wrap=True)


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Show on stderr, where that is a terminal, that something goes on which takes more than a second."""
    shown = err.status(what)
    timer = threading.Timer(1.0, shown.start)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        shown.stop()


def shown(no_live: bool, as_json: bool) -> tuple[Show, Callable[[str], None]]:
    """How work is shown while it goes on, and what tells its user a line meanwhile."""
    if no_live or as_json or not views.can_show(out):
        return lambda take: views.lines(take, err), tell
    live = views.Live(out, tell)
    return live.show, live.tell


def warn(text: str) -> None:
    """A warning on stderr."""
    err.print(plain(f"warning: {text}", "yellow"), soft_wrap=True)


def print_json(document: Any, indent: int | None = 2) -> None:
    """A document of `--json`: the only one, or where there are several, each in a line (indent None)."""
    typer.echo(json.dumps(document, indent=indent))


def split_pairs(options: Sequence[str] | None, option: str) -> dict[str, str]:
    """`["a=b"]` as a mapping."""
    pairs = {}
    for text in options or []:
        left, equals, right = text.partition("=")
        if not equals or not left or not right:
            raise InputError(f"{option} takes LEFT=RIGHT, got {text!r}")
        pairs[left] = right
    return pairs


def read_verdict(state: str, where: str) -> Verdict:
    """A state by its name. Raises InputError."""
    try:
        return Verdict(state)
    except ValueError:
        raise InputError(f"{where}: expected one of {', '.join(v.value for v in Verdict)}, got {state!r}") from None


def command(rest: str) -> str:
    """A command of ours as this user can type it: the script may lie in a virtual environment that is not active."""
    script = shutil.which("conflictscope")
    if script is not None and Path(script).parent.samefile(Path(sys.executable).parent):
        return f"conflictscope {rest}"
    here = Path(sys.executable)
    python = here.relative_to(Path.cwd()) if here.is_relative_to(Path.cwd()) else here
    return f"{quoted(str(python))} -m conflictscope {rest}"


def runs_option(runs_dir: Path) -> str:
    """The option of a command to type, where the runs folder is not the default one."""
    return "" if runs_dir == RUNS else f" --runs-dir {quoted(str(runs_dir))}"


def quoted(text: str) -> str:
    """A word of a command to type."""
    return shlex.quote(text)


def ranking_json(
    folder: RunFolder, method: Method, rankings: Sequence[Ranking], truths: Mapping[str, Sequence[str]] | None = None
) -> dict[str, Any]:
    """The document of `rank --json`. truths: planted orders by `str(ranking.group)`."""
    groups = [ranking.to_json() for ranking in rankings]
    for group, ranking in zip(groups, rankings, strict=True):
        if truths is not None and str(ranking.group) in truths:
            group["truth"] = list(truths[str(ranking.group)])
    return {"run": folder.name, "method": method.value, "groups": groups}
