from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import anthropic
import httpx2
import openai
import pytest

from conflictscope.planted.server import PlantedServer
from tests.planted.served import CHAT, MESSAGES, OPENING, PAGE, PATHS, RESPONSES, body, plant, sdks, words

REFUSALS = {
    "rate_limit": (429, 429, openai.RateLimitError, anthropic.RateLimitError),
    "server_error": (500, 500, openai.InternalServerError, anthropic.InternalServerError),
    "unauthorized": (401, 401, openai.AuthenticationError, anthropic.AuthenticationError),
    "overloaded": (503, 529, openai.InternalServerError, anthropic.InternalServerError),
}


async def until(true: Callable[[], bool]) -> None:
    """Wait, step by step, for what the server or a client does."""
    while not true():
        await asyncio.sleep(0.001)


# -- faults that are errors --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", REFUSALS)
async def test_a_refusal_reaches_the_official_clients_as_its_service_puts_it(kind: str) -> None:
    """Status, exception, type in the body, Retry-After where there is one; and it is counted."""
    at_openai, at_anthropic, openai_error, anthropic_error = REFUSALS[kind]
    async with plant(faults={kind: 1.0, "retry_after_s": 2.0}) as (server, _), sdks(server) as (gpt, claude):
        for ask in (gpt.chat.completions.create(**body(CHAT)), gpt.responses.create(**body(RESPONSES))):
            with pytest.raises(openai_error) as caught:
                await ask
            assert caught.value.status_code == at_openai
            assert caught.value.body.keys() == {"message", "type", "param", "code"}
            assert caught.value.response.headers.get("retry-after") == ("2" if kind == "rate_limit" else None)
            assert caught.value.request_id.startswith("req_")
        with pytest.raises(anthropic_error) as refused:
            await claude.messages.create(**body(MESSAGES))
        assert refused.value.status_code == at_anthropic
        assert refused.value.body["type"] == "error"
        assert refused.value.body["request_id"] == refused.value.request_id
        assert refused.value.response.headers.get("retry-after") == ("2" if kind == "rate_limit" else None)
        told = server.metrics.to_json()
    assert told["faults"] == {kind: 3}
    assert told["answered"] == told["output_tokens"] == 0
    assert sum(told["by_status"].values()) == told["requests"] == 3


async def test_a_retry_of_the_same_request_draws_anew() -> None:
    """A fault belongs to the arrival, not to the request: the same one is refused now and answered then."""
    async with plant(faults={"server_error": 0.5}) as (server, client):
        statuses = [(await client.post(CHAT, json=body(CHAT))).status_code for _ in range(40)]
        assert set(statuses) == {200, 500}
        assert server.metrics.by_status == {"200": statuses.count(200), "500": statuses.count(500)}
    async with plant(faults={"server_error": 0.5}) as (_, client):
        assert [(await client.post(CHAT, json=body(CHAT))).status_code for _ in range(40)] == statuses


# -- bodies that are not what was asked for ----------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("path", PATHS)
async def test_a_malformed_body_holds_nothing_that_could_pass_for_an_answer(path: str, stream: bool) -> None:
    """200, and then in turn: JSON that breaks off, a page, nothing, other JSON, an envelope without content."""
    async with plant(faults={"malformed": 1.0}) as (server, client):
        bodies = []
        for _ in range(10):
            response = await client.post(path, json=body(path, PAGE, "judge", stream=stream))
            assert response.status_code == 200
            bodies.append(response.content)
        assert server.metrics.answered == 0
    assert not any(b"action_1" in each or b"resolved" in each for each in bodies)
    assert len(set(bodies[:5])) == 5
    if stream:
        return
    truncated, page, empty, other, hollow = bodies[:5]
    for broken in (truncated, page, empty):
        with pytest.raises(json.JSONDecodeError):
            json.loads(broken)
    assert page.startswith(b"<!DOCTYPE html>")
    assert json.loads(other).keys().isdisjoint(json.loads(hollow).keys() - {"object"})
    assert json.loads(hollow)[{CHAT: "choices", RESPONSES: "output", MESSAGES: "content"}[path]] == []


# -- connections that fail ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("path", PATHS)
async def test_a_connection_closes_in_the_middle_of_a_body(path: str, stream: bool) -> None:
    """The client sees a status, a part of what was promised, and the end of the connection."""
    part = b""
    async with plant(faults={"disconnect": 1.0}) as (server, client):
        async with client.stream("POST", path, json=body(path, stream=stream)) as response:
            assert response.status_code == 200
            with pytest.raises(httpx2.RemoteProtocolError):
                async for chunk in response.aiter_bytes():
                    part += chunk
        await until(lambda: server.metrics.in_flight == 0)
        told = server.metrics.to_json()
    assert part
    if not stream:
        assert int(response.headers["content-length"]) > len(part)
    assert (told["by_status"], told["faults"], told["answered"]) == ({"disconnect": 1}, {"disconnect": 1}, 0)


async def test_the_official_clients_see_the_connection_fail() -> None:
    """As a connection error, not as an answer."""
    async with plant(faults={"disconnect": 1.0}) as (server, _), sdks(server) as (gpt, claude):
        with pytest.raises(openai.APIConnectionError):
            await gpt.chat.completions.create(**body(CHAT))
        with pytest.raises(anthropic.APIConnectionError):
            await claude.messages.create(**body(MESSAGES))


async def hang(server: PlantedServer, client: httpx2.AsyncClient, path: str) -> asyncio.Task[Any]:
    """A request that the server has accepted and will not answer."""
    before = server.metrics.faults["hang"]
    task = asyncio.create_task(client.post(path, json=body(path)))
    await until(lambda: server.metrics.faults["hang"] == before + 1)
    return task


@pytest.mark.parametrize("path", PATHS)
async def test_a_hanging_request_is_free_as_soon_as_its_client_leaves(path: str) -> None:
    """It is never answered, and leaves the count of those in flight when the connection closes."""
    async with plant(faults={"hang": 1.0}) as (server, client):
        task = await hang(server, client, path)
        assert server.metrics.in_flight == 1
        task.cancel()
        await until(lambda: server.metrics.in_flight == 0)
        assert server.metrics.by_status == {"hang": 1}
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_server_that_ends_leaves_no_request_hanging() -> None:
    """Shutting down breaks off what hangs and what is being waited for."""
    async with plant(faults={"hang": 1.0}) as (server, client):
        hanging = await hang(server, client, CHAT)
        server.stop()
        response = await hanging
    assert response.status_code == 500
    async with plant(timing={"latency_s": {"median": 1e6, "p95": 1e6}}) as (server, client):
        waiting = asyncio.create_task(client.post(CHAT, json=body(CHAT)))
        await until(lambda: server.metrics.in_flight == 1)
        server.stop()
        assert (await waiting).status_code == 500


async def test_a_client_that_does_not_wait_for_its_answer_is_counted() -> None:
    """What it asked for is worked on no more, and nothing counts as answered or spent."""
    async with plant(timing={"latency_s": {"median": 1e6, "p95": 1e6}}) as (server, client):
        task = asyncio.create_task(client.post(CHAT, json=body(CHAT)))
        await until(lambda: server.metrics.by_model["t"] == 1)
        task.cancel()
        await until(lambda: server.metrics.in_flight == 0)
        assert server.metrics.by_status == {"abandoned": 1}
        assert server.metrics.answered == server.metrics.output_tokens == 0


# -- what is counted ---------------------------------------------------------------------------------------------------


async def test_the_metrics_add_up() -> None:
    """Whatever happened to it, each request is in one status; the rest follows from what was sent."""
    rates = {"rate_limit": 0.2, "server_error": 0.1, "malformed": 0.2, "disconnect": 0.2}
    async with plant(faults=rates) as (_, client):
        whole = []
        for number in range(60):
            try:
                response = await client.post(CHAT, json=body(CHAT, OPENING + "!" * (number % 20)))
            except httpx2.RemoteProtocolError:
                continue
            if response.status_code == 200 and b"Here is what I do" in response.content:
                whole.append((number % 20, words(CHAT, response.json())))
        await client.post(CHAT, content=b"{")
        await client.post(CHAT, json=body(CHAT, model="nobody"))
        told = (await client.get("/metrics")).json()
    injected = told["faults"]
    assert set(injected) == set(rates)
    assert told["requests"] == 62 == sum(told["by_status"].values())
    assert told["by_status"] == {
        "200": len(whole) + injected["malformed"],
        "429": injected["rate_limit"],
        "500": injected["server_error"],
        "disconnect": injected["disconnect"],
        "400": 1,
        "404": 1,
    }
    assert told["by_model"] == {"t": 60}
    assert told["answered"] == len(whole)
    assert told["in_flight"] == told["rejected"] == 0
    assert told["highest_in_flight"] == 1
    assert told["repeated"] >= len(whole) - len(dict(whole))
    assert told["connections_opened"] >= 1 + injected["disconnect"]
    assert told["connections_open"] == told["highest_connections"] == 1


async def test_a_request_that_was_answered_before_is_a_repeated_one() -> None:
    """Only its exact body, in the same protocol, and only if it had been answered whole."""
    async with plant(faults={"server_error": 0.0}) as (server, client):
        for path in PATHS:
            assert (await client.post(path, json=body(path))).status_code == 200
        assert server.metrics.repeated == 0
        await client.post(CHAT, json=body(CHAT, seed=1))
        assert server.metrics.repeated == 0
        await client.post(CHAT, json=body(CHAT))
        assert (server.metrics.repeated, server.metrics.answered) == (1, 5)
    async with plant(faults={"server_error": 1.0}) as (server, client):
        for _ in range(2):
            await client.post(CHAT, json=body(CHAT))
        assert server.metrics.repeated == 0


async def test_requests_in_flight_and_connections_are_counted_at_their_peak() -> None:
    """Thirty at once: thirty in flight, thirty connections, and none of either is forgotten."""
    async with plant(timing={"latency_s": {"median": 1e6, "p95": 1e6}}) as (server, client):
        tasks = [asyncio.create_task(client.post(CHAT, json=body(CHAT, f"{n}"))) for n in range(30)]
        await until(lambda: server.metrics.in_flight == 30)
        for task in tasks:
            task.cancel()
        await until(lambda: server.metrics.connections_open == server.metrics.in_flight == 0)
        assert server.metrics.highest_in_flight == 30
        assert server.metrics.highest_connections == server.metrics.connections_opened == 30
