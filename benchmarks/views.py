"""What it takes to look at a run.

    python -m benchmarks.views reading

reading: a run file of EPISODES episodes (three targets, two modes, six values; two looks of a judge and three calls each; 0.8
GB) is written as a runner writes it, and read in a process of its own: the first board, then a board each second while 200
episodes per second are added, then pages of episodes without and with a search.
"""

from __future__ import annotations

import asyncio
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable
from itertools import combinations, product
from pathlib import Path
from typing import TypeVar

from conflictscope.board import EpisodeFilter
from conflictscope.monitor import Monitor
from conflictscope.outcome import Group, Judgement, Message, Mode, Outcome, Role, Verdict
from conflictscope.ports import CallEnd, CallSent, CallState, EpisodeRecord
from conflictscope.runfolder import RunFolder
from conflictscope.scenario import Scenario
from conflictscope.store import RunReader, RunWriter

EPISODES = 200_000
PER_S = 200
LIVE_S = 20
VALUES = ("candour", "care", "courage", "justice", "loyalty", "thrift")
PAIRS = tuple(combinations(VALUES, 2))
GROUPS = tuple(
    Group(target, mode) for target, mode in product(("alpha", "beta", "gamma"), (Mode.OPEN_ENDED, Mode.MULTIPLE_CHOICE))
)
WORDS = Path(__file__).read_text(encoding="utf-8").split()
ANSWER = CallEnd(
    CallState.COMMITTED, reply=b"r" * 700, input_tokens=400, output_tokens=120, cost_usd=0.001, latency_s=0.8
)

Found = TypeVar("Found")


def episode(number: int) -> EpisodeRecord:
    """The n-th episode of the synthetic run, in which each scenario is played in all groups."""
    rng = random.Random(number)
    scenario, place = divmod(number, len(GROUPS))
    group, (a, b) = GROUPS[place], PAIRS[scenario % len(PAIRS)]
    judged = group.mode is Mode.OPEN_ENDED
    verdict = Verdict.A if rng.gauss(0.15 * (VALUES.index(b) - VALUES.index(a)), 1) > 0 else Verdict.B
    verdict = rng.choices((verdict, Verdict.TIE, Verdict.REFUSED, Verdict.TARGET_FAILED), (93, 4, 2, 1))[0]
    choices = (Verdict.A, Verdict.B) if rng.random() < 0.1 else (verdict, verdict)
    roles = (Role.USER, Role.TARGET, Role.USER, Role.TARGET)
    return EpisodeRecord(
        Outcome(group, f"s{scenario:06}", 1, a, b, verdict, None, "a", "judge" if judged else "parser"),
        number,
        tuple(Message(role, " ".join(rng.choices(WORDS, k=35))) for role in roles),
        (
            Judgement("judge", "a", choices[0], True, 5, " ".join(rng.choices(WORDS, k=40))),
            Judgement("judge", "b", choices[1], True, 5, " ".join(rng.choices(WORDS, k=40))),
        )
        if judged and verdict.rated
        else (),
        "timeout: no answer" if verdict.failed else None,
        2.5,
    )


async def record(writer: RunWriter, number: int) -> None:
    """Add an episode with its calls, as a runner does."""
    one = episode(number)
    for role in (Role.USER, Role.TARGET, Role.JUDGE):
        target = one.outcome.group.target
        sent = CallSent(one.outcome.key, f"{number:064x}", role, target, f"m:{role}", "p@1", b"q" * 1_500, 0.0)
        writer.ended(await writer.sent(sent), ANSWER)
    await writer.record_episode(one)


async def make(folder: RunFolder) -> None:
    """Write a run."""
    folder.create()
    scenarios = (
        Scenario(
            id=f"s{number:06}",
            value_a=PAIRS[number % len(PAIRS)][0],
            value_b=PAIRS[number % len(PAIRS)][1],
            description=" ".join(WORDS[number % 99 :][:60]),
            action_a="Do the one.",
            action_b="Do the other.",
        )
        for number in range(EPISODES // len(GROUPS) + 1)
    )
    async with RunWriter.open(folder.database) as writer:
        await writer.begin({"kind": "sweep", "name": folder.name, "planned": 2 * EPISODES}, VALUES)
        await writer.add_scenarios(scenarios, {})
        await writer.begin_session()
        for number in range(EPISODES):
            await record(writer, number)


async def go_on(folder: RunFolder) -> None:
    """Add PER_S episodes each second, for LIVE_S seconds."""
    with folder.locked():
        async with RunWriter.open(folder.database) as writer:
            begin = time.monotonic()
            for number in range(PER_S * LIVE_S):
                await asyncio.sleep(begin + number / PER_S - time.monotonic())
                await record(writer, EPISODES + number)


async def timed(name: str, work: Awaitable[Found]) -> Found:
    """Await it and say how long it took."""
    began, cpu = time.perf_counter(), time.process_time()
    found = await work
    print(f"{name:<34}{time.perf_counter() - began:>8.3f} s, {time.process_time() - cpu:>6.3f} s of CPU", flush=True)
    return found


async def look(folder: RunFolder) -> None:
    """Read a run, and follow it while another process goes on with it."""
    async with RunReader.open(folder.database) as reader:
        monitor = Monitor(reader, folder)
        await timed("first board", monitor.board())
        await timed("nothing new", monitor.board())
        writer = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "benchmarks.views", "go-on", str(folder.path)
        )
        while writer.returncode is None:
            board = await timed("a second later", monitor.board())
            behind = await reader.episodes() - board.snapshot.progress.done
            print(f"{'':<4}episodes behind: {behind}")
            await asyncio.sleep(1)
        await timed("choices", reader.filter_choices())
        await timed("page", reader.episode_page(EpisodeFilter()))
        await timed("page, nothing found", reader.episode_page(EpisodeFilter(failure="never")))
        await timed("search, common word", reader.episode_page(EpisodeFilter(text="import")))
        await timed("search, nothing found", reader.episode_page(EpisodeFilter(text="no" * 4)))
        await timed("search, part of the JSON", reader.episode_page(EpisodeFilter(text=f"role {'no' * 4}")))
        await timed("episode", reader.episode(EPISODES // 2))
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MB")


def main() -> None:
    """What is asked for; `look` and `go-on` are for the processes that `reading` starts."""
    match sys.argv[1:]:
        case ["reading"]:
            with tempfile.TemporaryDirectory() as name:
                folder = RunFolder(Path(name) / "long")
                asyncio.run(timed(f"writing {EPISODES:,} episodes", make(folder)))
                began = time.perf_counter()
                subprocess.run([sys.executable, "-c", "import conflictscope.monitor"], check=True)
                print(f"{'a process with all imports':<34}{time.perf_counter() - began:>8.3f} s", flush=True)
                subprocess.run([sys.executable, "-m", "benchmarks.views", "look", str(folder.path)], check=True)
        case ["look", path]:
            asyncio.run(look(RunFolder(Path(path))))
        case ["go-on", path]:
            asyncio.run(go_on(RunFolder(Path(path))))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
