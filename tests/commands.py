"""The command line as a user has it: another process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

COMMAND = [sys.executable, "-m", "conflictscope"]


def conflictscope(
    *arguments: object, cwd: Path, code: int = 0, keys: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end in a folder, with no key in the environment but `keys`; it must exit with `code`."""
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        cwd=cwd,
        env=environment() | dict(keys or {}),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def environment() -> dict[str, str]:
    """This process's environment, less everything that looks like a key."""
    return {name: value for name, value in os.environ.items() if not name.endswith(("_API_KEY", "_TOKEN"))}
