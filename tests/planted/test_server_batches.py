from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import anthropic
import openai
import pytest
from pydantic_ai.direct import model_request_batch
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.messages import ModelRequest, ModelResponse
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.models.batch import BatchRequest
from pydantic_ai.output import OutputObjectDefinition

from conflictscope.agents.judge import JudgeReply
from conflictscope.planted import planted_model
from tests.planted.served import CHAT, LEXICON, MESSAGES, OPENING, PAGE, RESPONSES, body, models, plant, sdks, world

SOON = {"poll_interval": timedelta(milliseconds=1), "max_poll_interval": timedelta(milliseconds=1)}
LONG = {"timing": {"batch_s": 1e6}}


def requests(*texts: str, parameters: ModelRequestParameters | None = None) -> list[BatchRequest]:
    return [
        BatchRequest(
            custom_id=f"r{number}",
            messages=[ModelRequest.user_text_prompt(text)],
            model_request_parameters=parameters or ModelRequestParameters(),
        )
        for number, text in enumerate(texts)
    ]


# -- through pydantic-ai -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [RESPONSES, MESSAGES])
async def test_a_batch_answers_as_single_requests_do(path: str) -> None:
    """Each request of a batch has the reply that the model gives to it alone, and its usage; one batch is made."""
    texts = [OPENING + "!" * number for number in range(5)]
    planted = planted_model(world(), "t", LEXICON)
    async with plant() as (server, _), models(server, "t") as by_path:
        replies = await model_request_batch(by_path[path], requests(*texts), **SOON)
        told = server.metrics
        assert (told.batches, told.batched, told.requests) == (1, 5, 0)
        assert told.output_tokens == sum(
            reply.usage.output_tokens for reply in replies if isinstance(reply, ModelResponse)
        )
    for text, reply in zip(texts, replies, strict=True):
        assert isinstance(reply, ModelResponse)
        assert reply.text == planted.reply("", [text]).text


@pytest.mark.parametrize("path", [RESPONSES, MESSAGES])
async def test_verdicts_come_in_a_batch(path: str) -> None:
    """Typed output, natively, is what a judge's batch is made of."""
    output = OutputObjectDefinition(json_schema=JudgeReply.model_json_schema(), name="JudgeReply", strict=True)
    parameters = ModelRequestParameters(output_mode="native", output_object=output)
    async with plant() as (server, _), models(server, "judge") as by_path:
        by_path[path].profile["supports_json_schema_output"] = True
        (reply,) = await model_request_batch(by_path[path], requests(PAGE, parameters=parameters), **SOON)
    assert isinstance(reply, ModelResponse)
    assert JudgeReply.model_validate_json(reply.text or "").action == "action_1"


@pytest.mark.parametrize("path", [RESPONSES, MESSAGES])
async def test_a_request_that_is_refused_fails_in_its_place(path: str) -> None:
    """The error that it would have met alone comes instead of its reply."""
    async with plant() as (server, _), models(server, "nobody") as by_path:
        replies = await model_request_batch(by_path[path], requests(OPENING, PAGE), **SOON)
    assert [reply.status_code for reply in replies if isinstance(reply, ModelHTTPError)] == [404, 404]


@pytest.mark.parametrize("path", [RESPONSES, MESSAGES])
async def test_a_batch_is_collected_by_its_id_and_can_be_cancelled(path: str) -> None:
    """It runs until its time; a handle is enough to ask about it; cancelled, it answers nothing."""
    async with plant(**LONG) as (server, _), models(server, "t") as by_path:
        model = by_path[path]
        encoded = [await model.batch_encode(request) for request in requests(OPENING, PAGE)]
        batch = await model.batch_create(encoded)
        assert (await model.batch_status(batch)).status == "in_progress"
        assert (await model.batch_cancel(batch)).status == "canceling"
        ended = await model.batch_status(batch)
        assert (ended.status, ended.request_count) == ("ended", 2)
        assert {result.status for result in await model.batch_results(ended)} == {"canceled"}
        assert server.metrics.batched == 0


# -- as it stands on the wire ------------------------------------------------------------------------------------------


def line(custom_id: str, path: str = CHAT, **more: Any) -> dict[str, Any]:
    return {"custom_id": custom_id, "method": "POST", "url": path, "body": body(path), **more}


async def upload(gpt: openai.AsyncOpenAI, *lines: Any) -> str:
    content = b"\n".join(each if isinstance(each, bytes) else json.dumps(each).encode() for each in lines)
    return (await gpt.files.create(file=("in.jsonl", content), purpose="batch")).id


async def test_openai_results_come_as_files() -> None:
    """Good lines in one file, refused ones in the other; counts, contents and the files' own lives."""
    async with plant() as (server, _), sdks(server) as (gpt, _):
        wrong = [line("b", body=body(CHAT, model="none")), line("c", body=[]), line("d", body=body(CHAT, stream=True))]
        file_id = await upload(gpt, line("a"), *wrong)
        batch = await gpt.batches.create(input_file_id=file_id, endpoint=CHAT, completion_window="24h")
        assert (batch.status, batch.output_file_id) == ("in_progress", None)
        batch = await gpt.batches.retrieve(batch.id)
        counts = batch.request_counts
        assert (batch.status, counts.total, counts.completed, counts.failed) == ("completed", 4, 1, 3)
        good = json.loads((await gpt.files.content(batch.output_file_id)).text)
        bad = [json.loads(each) for each in (await gpt.files.content(batch.error_file_id)).text.splitlines()]
        assert (good["custom_id"], good["response"]["status_code"]) == ("a", 200)
        assert good["response"]["body"]["object"] == "chat.completion"
        assert [(each["custom_id"], each["response"]["status_code"]) for each in bad] == [
            ("b", 404),
            ("c", 400),
            ("d", 400),
        ]
        assert all(each["response"]["body"]["error"]["message"] for each in bad)
        assert [each.id async for each in gpt.batches.list()] == [batch.id]
        assert (await gpt.files.retrieve(file_id)).purpose == "batch"
        assert (await gpt.files.delete(file_id)).deleted
        with pytest.raises(openai.NotFoundError):
            await gpt.files.retrieve(file_id)
        with pytest.raises(openai.BadRequestError, match="completed"):
            await gpt.batches.cancel(batch.id)


@pytest.mark.parametrize(
    ("lines", "code", "number"),
    [
        ((line("a"), b"{"), "invalid_json_line", 2),
        ((line("a"), line("a")), "duplicate_custom_id", 2),
        ((line("a", RESPONSES),), "mismatched_endpoint", 1),
        (({"method": "POST"},), "invalid_json_line", 1),
        ((b"\n",), "empty_file", None),
    ],
)
async def test_an_openai_file_that_cannot_be_run_fails_as_a_whole(
    lines: tuple[Any, ...], code: str, number: int | None
) -> None:
    """The batch has failed, with what is wrong and its line, and none of it is run."""
    async with plant() as (server, _), sdks(server) as (gpt, _):
        batch = await gpt.batches.create(
            input_file_id=await upload(gpt, *lines), endpoint=CHAT, completion_window="24h"
        )
        batch = await gpt.batches.retrieve(batch.id)
        assert server.metrics.batched == 0
    assert batch.status == "failed"
    assert [(error.code, error.line) for error in batch.errors.data] == [(code, number)]


async def test_an_openai_upload_that_is_none_is_refused() -> None:
    """No file, another purpose, no form at all; a batch of a file that is not there, or of another path."""
    async with plant() as (_, client):
        for sent in (
            {"data": {"purpose": "batch"}},
            {"files": {"file": ("x", b"{}")}, "data": {"purpose": "fine-tune"}},
            {"files": {"file": ("x", b"{}")}},
            {"content": b"--x", "headers": {"content-type": "multipart/form-data; boundary=x"}},
            {"content": b"{}", "headers": {"content-type": "multipart/form-data"}},
        ):
            assert (await client.post("/v1/files", **sent)).status_code == 400  # type: ignore[arg-type]
        asked = {"input_file_id": "file-none", "endpoint": CHAT, "completion_window": "24h"}
        assert (await client.post("/v1/batches", json=asked)).status_code == 404
        for wrong in ({"endpoint": "/v1/embeddings"}, {"completion_window": "1h"}, {"input_file_id": 3}):
            assert (await client.post("/v1/batches", json={**asked, **wrong})).status_code == 400


async def test_anthropic_results_come_as_lines() -> None:
    """Each request's message or error by its custom id, once the batch has ended."""
    async with plant() as (server, _), sdks(server) as (_, claude):
        asked: list[Any] = [
            {"custom_id": "a", "params": body(MESSAGES)},
            {"custom_id": "b", "params": body(MESSAGES, model="none")},
        ]
        batch = await claude.messages.batches.create(requests=asked)
        assert (batch.processing_status, batch.results_url) == ("in_progress", None)
        batch = await claude.messages.batches.retrieve(batch.id)
        counts = batch.request_counts
        assert (batch.processing_status, counts.succeeded, counts.errored, counts.processing) == ("ended", 1, 1, 0)
        results = {each.custom_id: each.result async for each in await claude.messages.batches.results(batch.id)}
        assert results["a"].message.content[0].text.endswith("as it stands.")
        assert results["b"].error.error.type == "not_found_error"
        assert [each.id async for each in claude.messages.batches.list()] == [batch.id]
        for wrong in ([], [{"custom_id": "a b", "params": {}}], [asked[0], asked[0]], [{"params": {}}]):
            with pytest.raises(anthropic.BadRequestError):
                await claude.messages.batches.create(requests=wrong)


async def test_an_anthropic_batch_that_runs_has_no_results_yet() -> None:
    """It says so; one that has ended is left as it is by a cancel."""
    async with plant(**LONG) as (server, client), sdks(server) as (_, claude):
        batch = await claude.messages.batches.create(requests=[{"custom_id": "a", "params": body(MESSAGES)}])  # type: ignore[list-item]
        assert (await client.get(f"/v1/messages/batches/{batch.id}/results")).status_code == 400
    async with plant() as (server, client), sdks(server) as (_, claude):
        batch = await claude.messages.batches.create(requests=[{"custom_id": "a", "params": body(MESSAGES)}])  # type: ignore[list-item]
        await claude.messages.batches.retrieve(batch.id)
        assert (await claude.messages.batches.cancel(batch.id)).request_counts.succeeded == 1
