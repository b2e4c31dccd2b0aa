"""The command line as a user has it: another process."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from conflictscope.__main__ import main

COMMAND = [sys.executable, "-m", "conflictscope"]

# Most of what a short command takes is imports. This server has done them, and forks a process for each command. Nothing of
# this may start a thread, as polars does.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    ["tests.commands", "conflictscope.cli", "conflictscope.pipeline.running", "conflictscope.monitor"]
)


def conflictscope(
    *arguments: object, cwd: Path, code: int = 0, keys: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end in a folder, with no key in the environment but `keys`; it must exit with `code`."""
    command = list(map(str, arguments))
    with tempfile.TemporaryDirectory() as folder:
        stdout, stderr = Path(folder) / "stdout", Path(folder) / "stderr"
        process = _FORKS.Process(target=_run, args=(command, cwd, environment() | dict(keys or {}), stdout, stderr))
        process.start()
        process.join(120)
        if process.exitcode is None:
            process.kill()
            process.join()
        done = subprocess.CompletedProcess(command, process.exitcode or 0, stdout.read_text(), stderr.read_text())
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def _run(command: Sequence[str], cwd: Path, environment: Mapping[str, str], stdout: Path, stderr: Path) -> None:
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    for descriptor, path in ((1, stdout), (2, stderr)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), descriptor)
    sys.argv = ["conflictscope", *command]
    main()


def environment() -> dict[str, str]:
    """This process's environment, less everything that looks like a key."""
    return {name: value for name, value in os.environ.items() if not name.endswith(("_API_KEY", "_TOKEN"))}
