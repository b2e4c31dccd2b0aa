from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message

from conflictscope.planted import planted_model
from conflictscope.planted.server import create_app
from conflictscope.planted.server.endpoint import MOST_BYTES
from tests.planted.served import CHAT, LEXICON, MESSAGES, OPENING, PATHS, RESPONSES, body, plant, world

BATCHES, FILES, MESSAGE_BATCHES = "/v1/batches", "/v1/files", "/v1/messages/batches"


def error_of(path: str, data: Any) -> dict[str, Any]:
    """The error in a body, which must have the shape that the path's service gives it."""
    if path.startswith(MESSAGES):
        assert data.keys() == {"type", "error", "request_id"}
        assert data["type"] == "error"
        assert data["error"].keys() == {"type", "message"}
        assert data["request_id"].startswith("req_")
    else:
        assert data.keys() == {"error"}
        assert data["error"].keys() == {"message", "type", "param", "code"}
    error: dict[str, Any] = data["error"]
    assert error["message"]
    return error


def without(path: str, key: str) -> dict[str, Any]:
    sent = body(path)
    del sent[key]
    return sent


@pytest.mark.parametrize("path", PATHS)
async def test_what_is_lacking_is_told(path: str) -> None:
    """A body that is no JSON, no object, or lacks what is needed: 400 with a message that names it."""
    said = "input" if path == RESPONSES else "messages"
    for content, told in [
        (b"", "could not parse"),
        (b"\xff\xfe", "could not parse"),
        (b"[" * 100_000, "could not parse"),
        (b"9" * 5_000, "could not parse"),
        (b"[1]", "must be a JSON object, got a list"),
        (json.dumps(without(path, "model")).encode(), "'model'"),
        (json.dumps(without(path, said)).encode(), f"'{said}'"),
        (json.dumps({**body(path), said: []}).encode(), f"'{said}'"),
        (json.dumps({**body(path), said: [{"role": "king", "content": "x"}]}).encode(), said),
        (json.dumps({**body(path), said: [{"role": "user", "content": {}}]}).encode(), said),
        (json.dumps({**body(path), "stream": "yes"}).encode(), "'stream'"),
        (json.dumps(body(path, OPENING + "\ud800")).encode(), "not valid Unicode"),
    ]:
        async with plant() as (server, client):
            response = await client.post(path, content=content)
            assert response.status_code == 400, content[:80]
            error = error_of(path, response.json())
            assert error["type"] == "invalid_request_error"
            assert told in error["message"]
            assert server.metrics.by_status == {"400": 1}


async def test_a_limit_that_is_no_limit_is_told() -> None:
    """The number of tokens and the seed are whole numbers; Anthropic needs the first."""
    async with plant() as (_, client):
        for path, key in ((CHAT, "max_tokens"), (CHAT, "max_completion_tokens"), (RESPONSES, "max_output_tokens"), (MESSAGES, "max_tokens")):  # fmt: skip
            for wrong in (0, -1, 1.5, True, "9", [], {}):
                response = await client.post(path, json={**body(path), key: wrong})
                assert (response.status_code, key in error_of(path, response.json())["message"]) == (400, True)
        assert (await client.post(CHAT, json=body(CHAT, seed="1"))).status_code == 400
        assert (await client.post(MESSAGES, json=without(MESSAGES, "max_tokens"))).status_code == 400


@pytest.mark.parametrize("path", PATHS)
async def test_an_unknown_model_is_told(path: str) -> None:
    """404, with the models that there are."""
    async with plant() as (server, client):
        response = await client.post(path, json=body(path, model="gpt-9"))
        assert response.status_code == 404
        error = error_of(path, response.json())
        assert "t, user, judge" in error["message"]
        assert error.get("code", "model_not_found") == "model_not_found"
        assert server.metrics.by_model == {}


@pytest.mark.parametrize("path", [*PATHS, "/v1/models", "/v1/models/t", BATCHES, FILES, MESSAGE_BATCHES])
async def test_without_a_key_nothing_is_answered(path: str) -> None:
    """401 in the service's shape; any key will do, in either header, and none comes back or is kept."""
    async with plant() as (server, client):
        method = "GET" if "models" in path else "POST"
        for headers in ({}, {"authorization": ""}, {"x-api-key": ""}):
            async with httpx2.AsyncClient(base_url=server.url, headers=headers) as stranger:
                response = await stranger.request(method, path, json=body(CHAT))
            assert response.status_code == 401
            error_of(path, response.json())
        for name in ("authorization", "x-api-key"):
            async with httpx2.AsyncClient(base_url=server.url, headers={name: "sk-SECRET"}) as guest:
                response = await guest.request(method, path, json=body(path))
            assert response.status_code != 401
            assert "sk-SECRET" not in response.text + str(response.headers)
        assert "sk-" not in (await client.get("/metrics")).text


async def test_paths_and_methods_that_do_not_exist_are_told() -> None:
    """404 and 405 in the shape of the service to which the path belongs."""
    async with plant() as (_, client):
        for method, path, status in [
            ("GET", CHAT, 405),
            ("GET", MESSAGES, 405),
            ("POST", "/v1/models", 405),
            ("POST", "/v1/embeddings", 404),
            ("POST", "/v1/messages/count_tokens", 404),
            ("POST", "/v1/chat/completions/", 404),
            ("GET", "/", 404),
            ("GET", "/v1/models/none", 404),
            ("GET", f"{BATCHES}/none", 404),
            ("GET", f"{FILES}/none", 404),
            ("DELETE", f"{FILES}/none", 404),
            ("GET", f"{FILES}/none/content", 404),
            ("GET", f"{MESSAGE_BATCHES}/none", 404),
            ("GET", f"{MESSAGE_BATCHES}/none/results", 404),
        ]:
            response = await client.request(method, path)
            assert response.status_code == status, path
            error_of(path, response.json())


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
async def test_a_body_that_is_too_large_is_refused(path: str) -> None:
    """413, before it is read to its end."""
    async with plant() as (_, client):
        response = await client.post(path, content=b" " * (MOST_BYTES + 1))
    assert response.status_code == 413
    error_of(path, response.json())


# -- hostile shapes ----------------------------------------------------------------------------------------------------

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(
    ["user", "assistant", "system", "tool", "function", "message", "text", "auto", "required", "any", "none", "t", "judge",
     "tool_result", "function_call_output", "allowed_tools", "\ud800"]
)  # fmt: skip
KEYS = st.sampled_from(
    ["model", "messages", "input", "instructions", "system", "role", "content", "type", "text", "tools", "function", "name",
     "parameters", "input_schema", "properties", "required", "tool_choice", "max_tokens", "max_output_tokens", "seed",
     "stream", "stream_options", "include_usage", "output", "mode", "requests", "custom_id", "params", "endpoint",
     "input_file_id", "completion_window"]
)  # fmt: skip
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS | st.text(max_size=3), inner, max_size=5), max_leaves=12
)  # fmt: skip


@st.composite
def bodies(draw: st.DrawFn) -> tuple[str, Any]:
    """A good request in which some parts are something else, or anything at all."""
    path = draw(st.sampled_from([*PATHS, BATCHES, MESSAGE_BATCHES]))
    if draw(st.integers(0, 4)) == 0:
        return path, draw(JSON)
    tool = {
        "type": "function",
        "name": "f",
        "function": {"name": "f", "parameters": {}},
        "input_schema": {},
        "parameters": {},
    }
    sent: Any = {
        **body(path if path in PATHS else CHAT, OPENING, draw(st.sampled_from(["t", "judge", "user"]))),
        **draw(st.sampled_from([{}, {"tools": [tool]}, {"tools": [tool, tool], "tool_choice": "required"}])),
        "requests": [{"custom_id": "a", "params": body(MESSAGES)}],
        "endpoint": CHAT,
        "input_file_id": "file-1",
        "completion_window": "24h",
    }
    for _ in range(draw(st.integers(1, 3))):
        place = sent
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            key = draw(st.sampled_from(keys) if keys and draw(st.booleans()) else KEYS)
            inner = place.get(key) if isinstance(place, dict) else place[key] if isinstance(key, int) else None
            if isinstance(inner, dict | list) and inner and draw(st.integers(0, 3)):
                place = inner
                continue
            if isinstance(place, dict) or isinstance(key, int):
                place[key] = draw(JSON)
            break
    return path, sent


def ask(path: str, content: bytes) -> tuple[int, bytes]:
    """What the application answers, without a socket."""
    app = create_app(world(), {name: planted_model(world(), name, LEXICON) for name in ("t", "user", "judge")})
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": content, "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "root_path": "",
        "query_string": b"",
        "headers": [(b"x-api-key", b"k"), (b"content-type", b"application/json")],
        "server": ("127.0.0.1", 80),
        "scheme": "http",
    }
    asyncio.run(app(scope, receive, send))
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])


@given(bodies())
def test_no_shape_of_a_body_upsets_the_server(asked: tuple[str, Any]) -> None:
    """Whatever JSON comes, it is answered, or refused with an error in the service's shape; never with a 5xx."""
    path, sent = asked
    status, content = ask(path, json.dumps(sent).encode())
    assert status in (200, 400, 404)
    if status != 200:
        error_of(path, json.loads(content))


@given(st.sampled_from([*PATHS, BATCHES, MESSAGE_BATCHES, FILES]), st.binary(max_size=200))
def test_no_bytes_upset_the_server(path: str, content: bytes) -> None:
    """What is not JSON at all is refused in the service's shape."""
    status, reply = ask(path, content)
    assert status == 400
    error_of(path, json.loads(reply))
