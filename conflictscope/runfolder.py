"""Run folders: `<runs>/<name>/` with `run.db`, `sweep.toml` and `log.jsonl`."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from conflictscope.errors import InputError
from conflictscope.redaction import redact

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Where one run lives."""

    path: Path

    @classmethod
    def named(cls, name: str, runs_dir: Path) -> RunFolder:
        """The folder for a run to be made or resumed. Raises InputError for a name that is not plain."""
        if not _NAME.fullmatch(name):
            raise InputError(
                f"a run's name is letters, digits, dots, dashes and underscores (100 at most), got {name!r}"
            )
        return cls(runs_dir / name)

    @classmethod
    def find(cls, run: str, runs_dir: Path) -> RunFolder:
        """The folder of a run that exists: a name under `runs_dir`, or a path. Raises InputError."""
        for path in (runs_dir / run, Path(run), *([Path(run).parent] if Path(run).name == "run.db" else [])):
            if (path / "run.db").is_file():
                return cls(path)
        there = sorted(entry.parent.name for entry in runs_dir.glob("[!.]*/run.db")) if runs_dir.is_dir() else []
        hint = f"runs there: {', '.join(there[:20])}" if there else "there are none yet"
        raise InputError(f"no run {run!r} in {runs_dir} and no run folder of that path; {hint}")

    @property
    def name(self) -> str:
        """The run's name."""
        return self.path.resolve().name

    @property
    def database(self) -> Path:
        """The run file."""
        return self.path / "run.db"

    @property
    def sweep(self) -> Path:
        """The sweep as executed."""
        return self.path / "sweep.toml"

    @property
    def exists(self) -> bool:
        """Whether there is a run."""
        return self.database.is_file()

    def create(self) -> None:
        """Make the folder. Raises InputError where it can't be made."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"cannot make the run folder: {error.strerror}; choose another with --runs-dir", path=self.path
            ) from None
        if not os.access(self.path, os.W_OK):
            raise InputError(
                "cannot write to the run folder: permission denied; choose another with --runs-dir", path=self.path
            )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for this process. Raises InputError where another process holds it.

        The lock is on the folder itself: the system drops it when the process ends, however it ends.
        """
        handle = os.open(self.path, os.O_RDONLY)
        try:
            # Somebody who only looks (`in_work`) holds it for an instant.
            if not any(_try_lock(handle, fcntl.LOCK_EX, pause_s) for pause_s in (0.05, 0.1, 0.2, 0.0)):
                raise InputError("another process is working on this run", path=self.path)
            yield
        finally:
            os.close(handle)

    @property
    def in_work(self) -> bool:
        """Whether some process holds the run."""
        handle = os.open(self.path, os.O_RDONLY)
        try:
            return not _try_lock(handle, fcntl.LOCK_SH, 0.0)
        finally:
            os.close(handle)

    @contextmanager
    def in_the_making(self) -> Iterator[RunFolder]:
        """A folder beside this one that takes its place when the block ends well, and is removed when it does not.

        Raises InputError where it can't be made, or the place was taken meanwhile.
        """
        RunFolder(self.path.parent).create()
        making = Path(tempfile.mkdtemp(prefix=f".{self.path.name}-", dir=self.path.parent))
        try:
            yield RunFolder(making)
            try:
                making.rename(self.path)
            except OSError:
                raise InputError("was made by somebody else meanwhile: choose another name", path=self.path) from None
        finally:
            shutil.rmtree(making, ignore_errors=True)

    def write_sweep(self, text: str) -> None:
        """Write `sweep.toml`, whole or not at all."""
        part = self.sweep.with_suffix(".part")
        part.write_text(redact(text), encoding="utf-8")
        part.replace(self.sweep)

    @contextmanager
    def logging(self) -> Iterator[None]:
        """Send structlog to `log.jsonl`, appended, for as long as the block runs."""
        path = self.path / "log.jsonl"
        try:
            file = path.open("a", encoding="utf-8", buffering=1)
        except OSError as error:
            raise InputError(f"cannot be written: {error.strerror}", path=path) from None
        with file:
            structlog.configure(
                processors=[
                    structlog.processors.add_log_level,
                    structlog.processors.TimeStamper(fmt="iso", utc=True),
                    structlog.processors.format_exc_info,
                    structlog.processors.JSONRenderer(),
                    lambda _, __, line: redact(str(line)),
                ],
                logger_factory=structlog.WriteLoggerFactory(file=file),
                cache_logger_on_first_use=False,
            )
            try:
                yield
            finally:
                structlog.reset_defaults()


def _try_lock(handle: int, kind: int, pause_s: float) -> bool:
    """Whether the lock was to be had at once; where it was not, pause before the next try."""
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        time.sleep(pause_s)
        return False
    return True
