"""inspect-ai: a task with a solver that asks user and target, and a scorer that asks the judge; its log of samples included.

Settings: none for its defaults; `best` for the fastest of what it offers; `aiohttp` for the HTTP client that we use.
"""

from __future__ import annotations

import json
import tempfile
from typing import Any

import httpx2
import inspect_ai
import openai
from inspect_ai import Task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import (
    ChatMessage,
    ChatMessageSystem,
    ChatMessageUser,
    GenerateConfig,
    Model,
    ResponseSchema,
    get_model,
)
from inspect_ai.scorer import Score, Scorer, Target, accuracy, scorer, stderr
from inspect_ai.solver import Generate, Solver, TaskState, solver

from benchmarks.clients import MAX_TOKENS, Clock, Job, Played, serve


def model(job: Job, name: str) -> Model:
    """A model of the server, by chat completions."""
    more: dict[str, Any] = {}
    if "aiohttp" in job.settings:
        limits = httpx2.Limits(max_connections=job.in_flight, max_keepalive_connections=job.in_flight)
        more["http_client"] = openai.DefaultAioHttpClient(limits=limits)
    return get_model(
        f"openai/{name}",
        base_url=f"{job.url}/v1",
        api_key="none",
        memoize=False,  # an HTTP client of ours belongs to one event loop, and there is one to a play
        responses_api=False,
        config=GenerateConfig(max_tokens=MAX_TOKENS),
        **more,
    )


@solver
def conversation(job: Job) -> Solver:
    """The user opens, the target replies."""
    user = model(job, "user")

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        asked = job.episodes[int(state.sample_id)]
        system, message = asked.user
        prompt: list[ChatMessage] = [ChatMessageSystem(content=system), ChatMessageUser(content=message)]
        opening = await user.generate(prompt, config=GenerateConfig(seed=asked.seed))
        state.messages = [ChatMessageUser(content=opening.completion)]
        return await generate(state, seed=asked.seed + 1)

    return solve


@scorer(metrics=[accuracy(), stderr()])
def verdict(job: Job) -> Scorer:
    """The judge says what the target did."""
    judge = model(job, "judge")
    schema = ResponseSchema.model_validate(
        {"json_schema": job.schema["json_schema"]["schema"], "name": job.schema["json_schema"]["name"], "strict": True}
    )

    async def score(state: TaskState, target: Target) -> Score:
        asked = job.episodes[int(state.sample_id)]
        message = asked.judged(state.messages[0].text, state.output.completion)
        prompt: list[ChatMessage] = [ChatMessageSystem(content=asked.judge[0]), ChatMessageUser(content=message)]
        config = GenerateConfig(seed=asked.seed + 2, response_schema=schema)
        said = await judge.generate(prompt, config=config)
        action = json.loads(said.completion)["action"]
        return Score(value=float(action == "action_1"), answer=action, explanation=said.completion)

    return score


def timed(job: Job, size: int) -> Played:
    """All of it, from the making of the dataset on."""
    fastest: dict[str, Any] = {
        "max_connections": job.in_flight,
        "max_samples": job.in_flight,
        "log_realtime": False,
        "log_model_api": False,
        "log_refusals": False,
        "log_buffer": size,
        "log_level": "error",
        "log_level_transcript": "error",
        "score_display": False,
        "ctl_server": False,
    }
    with tempfile.TemporaryDirectory() as folder:
        clock = Clock()
        samples = [Sample(input=asked.user[1], id=number) for number, asked in enumerate(job.episodes[:size])]
        [log] = inspect_ai.eval(
            Task(dataset=MemoryDataset(samples), solver=conversation(job), scorer=verdict(job), name="job"),
            model=model(job, "alpha"),
            log_dir=folder,
            display="none",
            **(fastest if "best" in job.settings else {}),
        )
        took = clock.played(size)
    assert log.status == "success", str(log.error)[:1_000]
    assert log.results is not None
    assert log.results.completed_samples == size
    return took


if __name__ == "__main__":
    serve(timed)
