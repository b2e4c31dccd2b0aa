"""A planted world served by a process of its own, for benchmarks and tests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Server:
    """A `plant serve` that runs."""

    url: str
    pid: int

    @property
    def openai_url(self) -> str:
        """The base URL for OpenAI's SDK."""
        return f"{self.url}/v1"

    def metrics(self) -> dict[str, Any]:
        """What it has counted so far."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=30) as response:
            counted: dict[str, Any] = json.load(response)
        return counted


@contextmanager
def serving(folder: Path, cpu: int | None = None) -> Iterator[Server]:
    """Serve the world of a folder that `write_sweep` wrote, on a free port. cpu: the core to pin the server to."""
    command = [sys.executable, "-m", "conflictscope", "plant", "serve", "--json", "--port", "0"]
    command += ["--world", str(folder / "world.toml"), "--scenarios", str(folder / "library.jsonl")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        # The document may be printed over several lines; it ends where its brace does.
        text = ""
        while not text.rstrip().endswith("}") and (line := process.stdout.readline()):
            text += line
        if cpu is not None:
            os.sched_setaffinity(process.pid, {cpu})
        yield Server(json.loads(text)["url"], process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        assert process.stdout is not None
        process.stdout.close()
