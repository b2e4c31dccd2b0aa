"""A library of ten values of a constitution, planted: 45 pairs x 20 scenarios, killed twice on the way, and resumed.

    python -m benchmarks.libraries [/work/shared/data] [--count 20]

Without the data, ten criteria of our own. Tells the seconds of all three processes together, and what there is at the end.
"""

from __future__ import annotations

import argparse
import json
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from conflictscope.library import load_library

COMMAND = [sys.executable, "-m", "conflictscope"]
CRITERIA = [f"Give {what} its due." for what in (
    "candour", "comfort", "thrift", "courage", "patience", "order", "play", "privacy", "loyalty", "fairness")]  # fmt: skip
WORLD = """
seed = 3
[targets.alpha]
utilities = {{ {utilities} }}
[generator]
duplicate_rate = 0.2
defects = {{ realistic = 0.03, grounded = 0.05, feasible = 0.03, value_guided = 0.05, conflicting = 0.05, contested = 0.08 }}
[generator.faults]
prose = 0.01
broken = 0.01
count = 0.02
other_pair = 0.01
missing = 0.01
too_long = 0.01
[checkers.checker]
error_rate = 0.02
"""
SPEC = """
name = "constitution"
value_set = "values.toml"
world = "world.toml"
seed = 7
count = {count}
[generator]
model = "planted:generator"
[checks]
models = ["planted:checker"]
[user]
model = "planted:user"
"""


def main() -> None:
    """Run it and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path, help="folder with constitutions/oct_loving.json")
    parser.add_argument("--count", type=int, default=20, help="scenarios a pair")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        _run(Path(made), arguments.data, arguments.count)


def _run(folder: Path, data: Path | None, count: int) -> None:
    criteria = data / "constitutions" / "oct_loving.json" if data else folder / "criteria.json"
    if data is None:
        criteria.write_text(json.dumps(CRITERIA))
    subprocess.run([*COMMAND, "values", "new", str(criteria), "-o", "values.toml"], cwd=folder, check=True)
    names = json.loads(_command(folder, "values", "check", "values.toml", "--json"))["values"]
    utilities = ", ".join(f'"{name}" = {0.5 * place:g}' for place, name in enumerate(reversed(names)))
    (folder / "world.toml").write_text(WORLD.format(utilities=utilities))
    (folder / "spec.toml").write_text(SPEC.format(count=count))
    generate = [*COMMAND, "generate", "spec.toml", "-o", "library.jsonl", "--no-live"]
    started = time.perf_counter()
    planned = 10 * 45 * count
    for share in (0.2, 0.5):
        process = subprocess.Popen(generate, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and _answered(folder) < share * planned:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
        print(f"killed after {_answered(folder):,} answered calls, at {time.perf_counter() - started:.1f} s")
    told = json.loads(_command(folder, *generate[3:], "--json"))
    seconds = time.perf_counter() - started
    library = load_library(folder / "library.jsonl")
    counts = Counter(scenario.pair for scenario in library if scenario.passes)
    database = sqlite3.connect(folder / "runs" / "constitution" / "run.db")
    [(calls, asked_twice)] = database.execute(
        """SELECT sum(n), sum(n - 1) FROM (SELECT count(*) AS n FROM calls WHERE state = 'committed'
           GROUP BY scope, fingerprint)"""
    ).fetchall()
    least, most = min(counts.values()), max(counts.values())
    print(f"{len(counts)} pairs, {least} to {most} scenarios each that pass; {len(library):,} in the file")
    ids_twice = len(library) - len({scenario.id for scenario in library})
    print(f"{ids_twice} ids twice; {asked_twice} of {calls:,} answered calls made twice")
    print(f"drafts {told['drafts']}; rejected {told['rejected']}; replies {told['problems']}")
    print(f"short {told['wanted'] - told['passed']}")
    print(f"{seconds:.1f} s in all, {seconds / (len(library) or 1) * 1000:.1f} ms a scenario")


def _command(folder: Path, *arguments: str) -> str:
    return subprocess.run([*COMMAND, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


def _answered(folder: Path) -> int:
    path = folder / "runs" / "constitution" / "run.db"
    if not path.exists():
        return 0
    database = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=10)
    try:
        return int(database.execute("SELECT count(*) FROM calls WHERE state = 'committed'").fetchone()[0])
    except sqlite3.OperationalError:  # the file is there, the schema not yet
        return 0
    finally:
        database.close()


if __name__ == "__main__":
    main()
