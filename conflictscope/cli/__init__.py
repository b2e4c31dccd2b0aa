"""The command line: parse, call the pipeline, show, exit code."""

from __future__ import annotations

import errno
import io
import os
import sys
import traceback
from typing import Annotated, NoReturn

import typer

from conflictscope import __version__
from conflictscope.cli import annotate, export, libraries, plant, runs, sweeps  # noqa: F401 - each adds its commands
from conflictscope.cli.app import app, err
from conflictscope.errors import ConflictScopeError
from conflictscope.redaction import know_secrets, redact
from conflictscope.views.text import plain

__all__ = ["main"]


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
            err.print(plain("" if number else "error: ", "bold red").append_text(plain(text)), soft_wrap=True)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            _crash()
        err.print(plain(f"error: the output cannot be written: {error.strerror}"))
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
