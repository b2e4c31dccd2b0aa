"""What benchmarks print, and how it gets into docs/benchmarks.md: one table a benchmark, with date, versions and machine."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"


@dataclass(frozen=True)
class Table:
    """The figures of one benchmark.

    name: of its module in this package; its section of the page goes by it. rows: cells as they are shown, by column.
    packages: whose versions matter besides Python's. notes: sentences beneath the table. page: of the docs, that it stands on.
    """

    name: str
    title: str
    rows: Sequence[Mapping[str, str]]
    packages: Sequence[str] = ()
    notes: Sequence[str] = ()
    page: str = PAGE.name

    def markdown(self) -> str:
        """A section of the page."""
        columns = list(self.rows[0])
        lines = [f"## {self.title}", "", f"`python -m benchmarks.{self.name}`, {machine(self.packages)}.", ""]
        lines += ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
        lines += ["| " + " | ".join(row[column] for column in columns) + " |" for row in self.rows]
        lines += ["", *(f"{note}\n" for note in self.notes)]
        return "\n".join(lines).rstrip() + "\n"


def machine(packages: Sequence[str]) -> str:
    """Date, versions, cores and how busy they were a moment ago."""
    versions = ", ".join([f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in packages)])
    cpu = re.search(r"^model name\s*:\s*(.+)$", _read("/proc/cpuinfo"), re.MULTILINE)
    kind = cpu[1] if cpu else platform.machine()
    load = f", load {os.getloadavg()[0]:.1f} at the end"
    return f"{datetime.now(UTC):%Y-%m-%d}, {versions}, {os.cpu_count()} cores ({kind}, {platform.system()}){load}"


def arguments(description: str | None) -> argparse.ArgumentParser:
    """A parser with what all benchmarks take."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--write", action="store_true", help="put the figures into the docs")
    return parser


def progress(text: str) -> None:
    """Say on stderr how far a benchmark is."""
    print(f"{datetime.now().astimezone():%H:%M:%S} {text}", file=sys.stderr, flush=True)


def show(table: Table, given: argparse.Namespace) -> None:
    """Print a table as it was asked for, and put it into the page if that was asked for."""
    if given.json:
        print(json.dumps({"machine": machine(table.packages), "rows": list(table.rows), "notes": list(table.notes)}))
    else:
        print(table.markdown())
    if given.write:
        write(table, PAGE.with_name(table.page))


def write(table: Table, page: Path = PAGE) -> None:
    """Replace the section of a benchmark, or add it at the end."""
    begin, end = f"<!-- {table.name} -->\n", f"<!-- end of {table.name} -->\n"
    text, section = page.read_text(encoding="utf-8"), begin + table.markdown() + end
    if begin in text:
        before, _, rest = text.partition(begin)
        _, found, after = rest.partition(end)
        if not found:
            raise ValueError(f"{page}: the section {table.name} has no end")
        text = before + section + after
    else:
        text = text.rstrip("\n") + "\n\n" + section
    page.write_text(text, encoding="utf-8")


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:  # not on Linux
        return ""
