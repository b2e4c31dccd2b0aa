"""What a lane costs: CPU per call of our client, divided by that of the bare SDK on the same transport.

    python -m benchmarks.overhead

A planted server answers in a process of its own, on another core. For each SDK, at 100 and at 1,000 in flight, the bare SDK
(`DefaultAioHttpClient`, retries off) and a full lane (journal to disk included) send the same requests; the CPU time of this
process, all threads included, is divided by the number of calls. Medians of ROUNDS alternating rounds.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median

import anthropic
import httpx2
import openai
from pydantic_ai.messages import ModelMessage, ModelRequest, UserPromptPart
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.settings import ModelSettings

from benchmarks.served import Server, serving
from benchmarks.worlds import write_sweep
from conflictscope import pipeline
from conflictscope.arena import Budget, ModelLane, Policy
from conflictscope.arena.runner import collector_out_of_the_way
from conflictscope.outcome import Role
from conflictscope.pipeline.models import Models
from conflictscope.planted import Lexicon
from conflictscope.ports import Call
from conflictscope.store import RunWriter

CALLS = 3_000
ROUNDS = 5
MAX_TOKENS = 1_000
SYSTEM = "You are an assistant. " * 10
QUESTION = "Which of the two would you do?\n" + "The office is closed, and the files are due. " * 40

Ask = Callable[[int], Awaitable[object]]


async def measure(ask: Ask, in_flight: int, first: int) -> float:
    """Milliseconds of CPU per call."""
    numbers = iter(range(first, first + CALLS))

    async def work() -> None:
        for number in numbers:
            await ask(number)

    started = time.process_time()
    async with asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(work())
    return (time.process_time() - started) / CALLS * 1_000


def bare_openai(client: openai.AsyncOpenAI) -> Ask:
    """One call of the bare SDK."""

    async def ask(number: int) -> object:
        return await client.chat.completions.create(
            model="alpha",
            messages=[{"role": "system", "content": SYSTEM}, {"role": "user", "content": f"{number}. {QUESTION}"}],
            max_completion_tokens=MAX_TOKENS,
            seed=number,
        )

    return ask


def bare_anthropic(client: anthropic.AsyncAnthropic) -> Ask:
    """One call of the bare SDK."""

    async def ask(number: int) -> object:
        return await client.messages.create(
            model="alpha",
            system=SYSTEM,
            messages=[{"role": "user", "content": f"{number}. {QUESTION}"}],
            max_tokens=MAX_TOKENS,
        )

    return ask


def through(lane: ModelLane) -> Ask:
    """One call through a lane."""

    async def ask(number: int) -> object:
        messages: list[ModelMessage] = [
            ModelRequest(parts=[UserPromptPart(f"{number}. {QUESTION}")], instructions=SYSTEM)
        ]
        settings = ModelSettings(seed=number, max_tokens=MAX_TOKENS)
        return await lane.request(
            Call(
                f"episode {number}", "alpha", Role.TARGET, "conversation", messages, settings, ModelRequestParameters()
            )
        )

    return ask


async def compare(server: Server, folder: Path) -> None:
    """Measure and print."""
    sweep = pipeline.load_sweep(str(folder / "sweep.toml"), ["limits.concurrency=1000"])
    limits = httpx2.Limits(max_connections=1_000, max_keepalive_connections=1_000, keepalive_expiry=120)
    oai = openai.AsyncOpenAI(
        base_url=server.openai_url, max_retries=0, http_client=openai.DefaultAioHttpClient(limits=limits)
    )
    ant = anthropic.AsyncAnthropic(
        base_url=server.url, max_retries=0, http_client=anthropic.DefaultAioHttpClient(limits=limits)
    )
    first = 0
    print(f"{'SDK':<12}{'in flight':>10}{'bare ms':>10}{'lane ms':>10}{'ratio':>8}")
    async with Models(sweep.config, None, Lexicon.of([])) as make, RunWriter.open(folder / "run.db") as writer:
        for name, bare in (("openai-chat", bare_openai(oai)), ("anthropic", bare_anthropic(ant))):
            model = make.make(f"{name}:alpha")
            for in_flight in (100, 1_000):
                lane = ModelLane(model, writer, Budget(None), Policy(concurrency=in_flight))
                ours = through(lane)
                with_bare, with_lane = [], []
                for _ in range(ROUNDS):
                    with_bare.append(await measure(bare, in_flight, first))
                    with collector_out_of_the_way():  # as the runner does
                        with_lane.append(await measure(ours, in_flight, first + CALLS))
                    first += 2 * CALLS
                ratio = median(with_lane) / median(with_bare)
                print(f"{name:<12}{in_flight:>10,}{median(with_bare):>10.2f}{median(with_lane):>10.2f}{ratio:>8.2f}")
    await oai.close()
    await ant.close()


def main() -> None:
    """Serve on one core, ask from another."""
    os.environ.update(OPENAI_API_KEY="not-a-real-key", ANTHROPIC_API_KEY="not-a-real-key")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        write_sweep(path, scenarios=6, targets=1)
        cores = sorted(os.sched_getaffinity(0))
        with serving(path, cores[-1]) as server:
            write_sweep(path, scenarios=6, targets=1, base_url=server.openai_url)
            config = (path / "sweep.toml").read_text()
            (path / "sweep.toml").write_text(
                f'{config}\n[providers.anthropic]\nbase_url = "{server.url}"\n'.replace(
                    "[[targets]]", '[[targets]]\nmodel = "anthropic:alpha"\n\n[[targets]]', 1
                )
            )
            os.sched_setaffinity(0, {cores[0]})
            asyncio.run(compare(server, path))


if __name__ == "__main__":
    main()
