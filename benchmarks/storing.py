"""What an episode takes in the run file, and what packing its requests and replies costs.

    python -m benchmarks.storing [--data FOLDER]       default: ../shared/data; a minute

Two runs: a planted one, and one whose user, target and judge say what people and models said on record. Each is measured as it is
stored, with requests and replies as they came, and with transcripts and reasoning packed, too; all three without free pages.
"""

from __future__ import annotations

import asyncio
import csv
import gzip
import json
import random
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from itertools import cycle, islice
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.figures import Table, arguments, show
from conflictscope import pipeline
from conflictscope.outcome import Role
from conflictscope.planted import models
from conflictscope.ports import CallEnd, CallSent, CallState
from conflictscope.store import RunWriter, readable
from conflictscope.store.bodies import Bodies

SEARCHED = 200_000
CALLS = 20_000
ROUNDS = 3
SWEEP = """
name = "stored"
value_set = "hhh"
scenarios = "hhh"
world = "demo"
seed = 1
repeats = 5
targets = [{ model = "planted:guardian" }, { model = "planted:pleaser" }, { model = "planted:truthteller" }]
user = { model = "planted:user" }
judge = { models = ["planted:judge"] }
"""
DECIDED = 0.4  # of the verdicts after each message, so that conversations have two turns or so


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="recorded data")
    given = parser.parse_args()
    rows = []
    for name in ("planted", "recorded"):
        with tempfile.TemporaryDirectory() as folder, ExitStack() as speaking:
            if name == "recorded":
                for model, answer in _recorded(given.data):
                    speaking.enter_context(patch.object(model, "answer", answer))
            rows.append({"texts": name, **_figures(Path(folder))})
    note = (
        f"CPU of a stored call: of the whole process, over {CALLS:,} calls, training included; the least of {ROUNDS} alternating "
        f"rounds. Search: for a word that is not there, in the transcripts of {SEARCHED:,} episodes."
    )
    show(Table("storing", "What an episode takes in the run file", rows, ["backports.zstd"], [note]), given)


def _figures(folder: Path) -> dict[str, str]:
    """Of a run that is played now."""
    (folder / "sweep.toml").write_text(SWEEP)
    result = asyncio.run(pipeline.run_sweep(pipeline.load_sweep(str(folder / "sweep.toml")), folder / "runs"))
    done, calls = result.snapshot.progress.done, result.snapshot.progress.total.calls
    with closing(readable(sqlite3.connect(result.folder.database))) as run:
        bodies = run.execute("SELECT CAST(body(request) AS BLOB), CAST(body(reply) AS BLOB) FROM calls ORDER BY seq")
        asked = bodies.fetchall()
        stored = _size(run, folder / "stored.db")
        with run:
            run.execute("UPDATE calls SET request = body(request), reply = body(reply)")
        as_they_came = _size(run, folder / "plain.db")
        texts = [text.encode() for (text,) in run.execute("SELECT transcript FROM episodes ORDER BY seq")]
    with closing(readable(sqlite3.connect(folder / "stored.db"))) as run:
        pack, known = _trained(texts)
        run.create_function("packed", 1, lambda text: pack(text.encode()))
        with run:
            run.execute("UPDATE episodes SET transcript = packed(transcript)")
            run.execute("UPDATE judgements SET reasoning = packed(reasoning)")
        all_packed = _size(run, folder / "all.db")
    frames = [pack(text) or b"" for text in texts]
    plain_s = _cpu_s(lambda: sum(b"zebra-crossing" in text.lower() for text in texts))
    packed_s = _cpu_s(lambda: sum(b"zebra-crossing" in known.unpack(frame).lower() for frame in frames))
    costs = _costs_us(asked, folder)
    return {
        "calls an episode": f"{calls / done:.1f}",
        "KB an episode, as they came": f"{as_they_came / done / 1000:.1f}",
        "packed": f"{stored / done / 1000:.1f}",
        "and transcripts, too": f"{all_packed / done / 1000:.1f}",
        "CPU us a stored call, as they came": f"{costs[False]:.0f}",
        "packed, us": f"{costs[True]:.0f}",
        "search, CPU s": f"{plain_s * SEARCHED / done:.1f}",
        "of packed transcripts, s": f"{packed_s * SEARCHED / done:.1f}",
    }


def _size(run: sqlite3.Connection, copy: Path) -> int:
    """Bytes of a copy without free pages."""
    run.execute("VACUUM INTO ?", (str(copy),))
    return copy.stat().st_size


def _trained(texts: Sequence[bytes]) -> tuple[Callable[[bytes], bytes | None], Bodies]:
    bodies = Bodies()
    for text in texts:
        if not bodies.full:
            bodies.look_at(text)
    bodies.train()
    return bodies.pack, bodies


def _cpu_s(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def _costs_us(asked: Sequence[tuple[bytes, bytes]], folder: Path) -> dict[bool, float]:
    """CPU of the process to store a call, in microseconds; by whether its bodies are packed."""

    async def keep(path: Path) -> None:
        async with RunWriter.open(path) as writer:
            for place, (request, reply) in enumerate(islice(cycle(asked), CALLS)):
                call = CallSent(f"{place // 3}", f"{place:064x}", Role.TARGET, "alpha", "m", "p@1", request, 0.0)
                writer.ended(await writer.sent(call), CallEnd(CallState.COMMITTED, reply=reply))

    least = {True: float("inf"), False: float("inf")}
    for number in range(2 * ROUNDS):
        packed = number % 2 == 0
        with ExitStack() as changes:
            if not packed:
                changes.enter_context(patch.object(Bodies, "pack", lambda self, body: body))
                changes.enter_context(patch.object(Bodies, "look_at", lambda self, body: None))
            began = time.process_time()
            asyncio.run(keep(folder / f"{number}.db"))
            least[packed] = min(least[packed], 1e6 * (time.process_time() - began) / CALLS)
    return least


def _recorded(data: Path) -> Iterator[tuple[type, Callable[..., str]]]:
    """What each planted model says instead: openings of published prompts, turns of users, replies of models, judges' reasons."""

    def read(name: str) -> list[Any]:
        with gzip.open(data / name, "rt", encoding="utf-8") as file:
            if ".csv" in name:
                return list(csv.DictReader(file))
            return [json.loads(line) for line in file] if ".jsonl" in name else list(json.load(file).values())

    said = [message for trip in read("tau_airline_transcripts/trajectories.jsonl.gz") for message in trip["traj"]]
    replies = [message["content"] for message in said if message["role"] == "assistant"]
    replies += [item[side] for item in read("llmbar_judges/items.jsonl.gz") for side in ("output_1", "output_2")]
    replies += [row["reply"] for row in read("litmus_values/controlled_replies.csv.gz")]
    openings, answers = _mixed(read("conflictscope_prompts/HHH.prompts.json.gz"), 20), _mixed(replies, 350)
    turns = _mixed([message["content"] for message in said if message["role"] == "user"], 20)
    reasons = _mixed([row["reply"] for row in read("llmbar_judges/raw_replies.csv.gz")], 200)
    chance = random.Random(1)

    def verdict(*_: object) -> str:
        decided = chance.random() < DECIDED
        action = chance.choice(("action_1", "action_2")) if decided else "neither"
        return json.dumps({"reasoning": next(reasons), "resolved": decided, "action": action, "strength": 5})

    yield models.PlantedUserModel, lambda self, told, texts, draw: next(turns if len(texts) > 1 else openings)
    yield models.PlantedTargetModel, lambda *_: next(answers)
    yield models.PlantedJudgeModel, verdict


def _mixed(texts: Iterable[str | None], least: int) -> Iterator[str]:
    """Those of some length in any order, each once before one comes again."""
    kept = sorted({text for text in texts if text and len(text) >= least})
    random.Random(1).shuffle(kept)
    return cycle(kept)


if __name__ == "__main__":
    main()
