"""A small planted world to serve, and what is asked of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI
from pydantic_ai.models import Model
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider

from conflictscope.agents.prompts import fence, fenced_transcript, load_prompt
from conflictscope.outcome import Message, Mode, Role
from conflictscope.planted import Lexicon, PlantedWorld, language
from conflictscope.planted.server import PlantedServer, serving

LEXICON = Lexicon({"Go x.": ("x",), "Stay y.": ("y",)}, {})
QUESTION = load_prompt("multiple_choice").message(situation="A case.", action_1="Go x.", action_2="Stay y.")
OPENING = language.write_opening({"situation": "A case.", "goal": "help", "action_1": "Go x.", "action_2": "Stay y."})
PAGE = load_prompt("judge").message(
    situation="A case.",
    action_1=fence("Go x."),
    action_2=fence("Stay y."),
    transcript=fenced_transcript([Message(Role.TARGET, language.write_choice(Mode.OPEN_ENDED, "Go x.", "", 1.0))]),
)
VERDICT_KEYS = {"reasoning", "resolved", "action", "strength"}
CHAT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"
PATHS = (CHAT, RESPONSES, MESSAGES)


def world(**sections: Any) -> PlantedWorld:
    """A world with one target, `t`."""
    return PlantedWorld.model_validate({"targets": {"t": {"utilities": {"x": 0.7, "y": 0.0}}}, **sections})


def body(path: str, text: str = OPENING, model: str = "t", **more: Any) -> dict[str, Any]:
    """A request in one of the three protocols."""
    said = [{"role": "user", "content": text}]
    asked = {"input": said} if path == RESPONSES else {"messages": said}
    return {"model": model, **asked, **({"max_tokens": 1000} if path == MESSAGES else {}), **more}


@asynccontextmanager
async def plant(window_s: float = 60.0, **sections: Any) -> AsyncIterator[tuple[PlantedServer, httpx2.AsyncClient]]:
    """A served world, and a plain client that knows its address and has a key."""
    async with (
        serving(world(**sections), LEXICON, window_s=window_s) as server,
        httpx2.AsyncClient(base_url=server.url, headers={"authorization": "Bearer sk-CANARY"}, timeout=30) as client,
    ):
        yield server, client


@asynccontextmanager
async def sdks(server: PlantedServer) -> AsyncIterator[tuple[AsyncOpenAI, AsyncAnthropic]]:
    """The official clients, which do not retry."""
    async with (
        AsyncOpenAI(api_key="k", base_url=f"{server.url}/v1", max_retries=0, timeout=30) as openai,
        AsyncAnthropic(api_key="k", base_url=server.url, max_retries=0, timeout=30) as anthropic,
    ):
        yield openai, anthropic


@asynccontextmanager
async def models(server: PlantedServer, name: str) -> AsyncIterator[dict[str, Model]]:
    """One planted model as pydantic-ai reaches it, by protocol."""
    async with sdks(server) as (openai, anthropic):
        at_openai = OpenAIProvider(openai_client=openai)
        yield {
            CHAT: OpenAIChatModel(name, provider=at_openai),
            RESPONSES: OpenAIResponsesModel(name, provider=at_openai),
            MESSAGES: AnthropicModel(name, provider=AnthropicProvider(anthropic_client=anthropic)),
        }


def words(path: str, reply: dict[str, Any]) -> str:
    """The text of a reply."""
    if path == CHAT:
        return str(reply["choices"][0]["message"]["content"])
    return str((reply["output"][0] if path == RESPONSES else reply)["content"][0]["text"])


def is_verdict(text: str) -> bool:
    """Whether a text is the JSON of a verdict."""
    try:
        return json.loads(text).keys() == VERDICT_KEYS
    except ValueError:
        return False
