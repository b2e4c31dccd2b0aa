"""What a lane costs: CPU per call of ours, of the bare SDK on the same transport, and of pydantic-ai's `Agent.run` on that.

    python -m benchmarks.overhead             about three minutes

A planted server answers in a process of its own, on another core. For each SDK, at 100 and at 1,000 in flight, the bare SDK
(`DefaultAioHttpClient`, retries off), a full lane (journal to disk included) and `Agent.run` (an agent that was made once, on the
client of the bare SDK) send the same requests; the CPU time of this process, all threads included, is divided by the number of
calls. Medians of ROUNDS alternating rounds.
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
from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelRequest, UserPromptPart
from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.settings import ModelSettings

from benchmarks.figures import Table, arguments, progress, show
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

CALLS = 1_500
ROUNDS = 3
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


def through_agent(model: Model) -> Ask:
    """One call of an agent."""
    agent = Agent(model, instructions=SYSTEM)

    async def ask(number: int) -> object:
        return await agent.run(
            f"{number}. {QUESTION}", model_settings=ModelSettings(seed=number, max_tokens=MAX_TOKENS)
        )

    return ask


async def compare(server: Server, folder: Path) -> list[dict[str, str]]:
    """Measure."""
    sweep = pipeline.load_sweep(str(folder / "sweep.toml"), ["limits.concurrency=1000"])
    limits = httpx2.Limits(max_connections=1_000, max_keepalive_connections=1_000, keepalive_expiry=120)
    timeout = httpx2.Timeout(600, connect=60)  # a busy event loop is no reason to give a connection up
    oai = openai.AsyncOpenAI(
        base_url=server.openai_url,
        max_retries=0,
        timeout=timeout,
        http_client=openai.DefaultAioHttpClient(limits=limits),
    )
    ant = anthropic.AsyncAnthropic(
        base_url=server.url,
        max_retries=0,
        timeout=timeout,
        http_client=anthropic.DefaultAioHttpClient(limits=limits),
    )
    agents = (
        through_agent(OpenAIChatModel("alpha", provider=OpenAIProvider(openai_client=oai))),
        through_agent(AnthropicModel("alpha", provider=AnthropicProvider(anthropic_client=ant))),
    )
    first = 0
    rows = []
    async with Models(sweep.config, None, Lexicon.of([])) as make, RunWriter.open(folder / "run.db") as writer:
        for name, bare, agent in zip(
            ("openai-chat", "anthropic"), (bare_openai(oai), bare_anthropic(ant)), agents, strict=True
        ):
            model = make.make(f"{name}:alpha")
            for in_flight in (100, 1_000):
                lane = through(ModelLane(model, writer, Budget(None), Policy(concurrency=in_flight)))
                taken: tuple[list[float], ...] = ([], [], [], [])
                for _ in range(ROUNDS):
                    taken[0].append(await measure(bare, in_flight, first))
                    with collector_out_of_the_way():  # as the runner does
                        taken[1].append(await measure(bare, in_flight, first + CALLS))
                        taken[2].append(await measure(lane, in_flight, first + 2 * CALLS))
                    taken[3].append(await measure(agent, in_flight, first + 3 * CALLS))
                    first += 4 * CALLS
                rows.append(row(name, in_flight, *map(median, taken)))
                progress(f"{name}, {in_flight:,} in flight: {rows[-1]['our lane, ms']} ms")
    await oai.close()
    await ant.close()
    return rows


def row(name: str, in_flight: int, bare_ms: float, tuned_ms: float, lane_ms: float, agent_ms: float) -> dict[str, str]:
    """A line of the table."""
    return {
        "SDK": name,
        "in flight": f"{in_flight:,}",
        "bare SDK, ms": f"{bare_ms:.2f}",
        "the same, our collector, ms": f"{tuned_ms:.2f}",
        "our lane, ms": f"{lane_ms:.2f}",
        "Agent.run, ms": f"{agent_ms:.2f}",
        "lane / bare": f"{lane_ms / bare_ms:.2f}",
        "lane / bare, our collector": f"{lane_ms / tuned_ms:.2f}",
        "Agent.run / bare": f"{agent_ms / bare_ms:.2f}",
        "Agent.run / lane": f"{agent_ms / lane_ms:.2f}",
    }


NOTES = (
    f"Milliseconds of CPU per call, all threads; medians of {ROUNDS} alternating rounds of {CALLS:,} calls.",
    (
        "Each call sends about 2 KB to a planted server on another core. The lane throttles, meters, journals to disk and "
        "reads what a service tells of its limits. The bare SDK and `Agent.run` (made once, text output) share one client on "
        "aiohttp, retries off. They have Python's garbage collector as it is; our runner keeps it out of the way, here with the "
        "lane, and once more with the bare SDK."
    ),
)


def main() -> None:
    """Serve on one core, ask from another."""
    given = arguments(__doc__).parse_args()
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
            rows = asyncio.run(compare(server, path))
    packages = ("openai", "anthropic", "pydantic-ai-slim", "aiohttp")
    show(Table("overhead", "CPU per call: bare SDK, a lane, an agent", rows, packages, NOTES), given)


if __name__ == "__main__":
    main()
