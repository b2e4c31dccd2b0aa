"""The plain script: `asyncio.gather` on OpenAI's SDK, with a semaphore. Stores, rates and retries nothing.

With one episode in flight it is the manner of the paper's code: one call after another. The setting `collector` keeps Python's
garbage collector out of its way as our runner does.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import httpx2
import openai

from benchmarks.clients import MAX_TOKENS, Clock, Episode, Job, Played, serve
from conflictscope.arena.runner import collector_out_of_the_way


async def episode(client: openai.AsyncOpenAI, schema: Any, asked: Episode) -> str:
    """Three calls; what the judge says the target did."""
    system, message = asked.user
    opening = await said(client, "user", asked.seed, system, message)
    reply = await said(client, "alpha", asked.seed + 1, None, opening)
    message = asked.judged(opening, reply)
    verdict = await said(client, "judge", asked.seed + 2, asked.judge[0], message, response_format=schema)
    action: str = json.loads(verdict)["action"]
    return action


async def said(client: Any, model: str, seed: int, system: str | None, message: str, **more: Any) -> str:
    """One call."""
    messages = [{"role": "user", "content": message}]
    if system is not None:
        messages.insert(0, {"role": "system", "content": system})
    completion = await client.chat.completions.create(
        model=model, messages=messages, max_completion_tokens=MAX_TOKENS, seed=seed, **more
    )
    text: str = completion.choices[0].message.content
    return text


async def play(job: Job, size: int, ready: Callable[[], None]) -> list[str]:
    """Every episode at once, but no more than the semaphore lets through. ready: called before the first."""
    # Keep-alive as long as ours: the connections of one call serve the next. With thousands in flight the event loop is busy
    # for longer than the five seconds that the SDK gives a connection.
    limits = httpx2.Limits(max_connections=job.in_flight, max_keepalive_connections=job.in_flight, keepalive_expiry=120)
    sdk = openai.AsyncOpenAI(
        base_url=f"{job.url}/v1",
        api_key="none",
        max_retries=0,
        timeout=httpx2.Timeout(600, connect=60),
        http_client=openai.DefaultAioHttpClient(limits=limits),
    )
    semaphore = asyncio.Semaphore(job.in_flight)
    async with sdk as client:

        async def one(asked: Episode) -> str:
            async with semaphore:
                return await episode(client, job.schema, asked)

        ready()
        return await asyncio.gather(*map(one, job.episodes[:size]))


def timed(job: Job, size: int) -> Played:
    """All of it."""
    clock, before = Clock(), Clock()
    with collector_out_of_the_way() if "collector" in job.settings else nullcontext():
        actions = asyncio.run(play(job, size, before.stop))
    assert len(actions) == size
    return clock.played(size, before_s=before.wall_s)


if __name__ == "__main__":
    serve(timed)
