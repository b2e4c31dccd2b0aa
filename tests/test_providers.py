"""Real SDKs over a real socket: a tiny server that answers as the services do, so that models are used by their names."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from benchmarks.worlds import write_sweep
from conflictscope import pipeline
from conflictscope.outcome import Verdict

VERDICT = json.dumps({"reasoning": "so", "resolved": True, "action": "action_1", "strength": 6})


class Service(BaseHTTPRequestHandler):
    """Chat completions, responses and messages; says VERDICT whatever it is asked."""

    status: ClassVar[int] = 200
    text: ClassVar[str] = VERDICT
    seen: ClassVar[list[tuple[str, dict[str, Any], dict[str, str]]]] = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.seen.append((self.path, body, dict(self.headers)))
        reply = self.reply(body) if self.status == 200 else {"error": {"message": "no", "type": "x"}, "type": "error"}
        streamed = bool(body.get("stream")) and self.status == 200
        payload = self.events(reply).encode() if streamed else json.dumps(reply).encode()
        self.send_response(self.status)
        self.send_header("content-type", "text/event-stream" if streamed else "application/json")
        self.send_header("content-length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def reply(self, body: dict[str, Any]) -> dict[str, Any]:
        model = body["model"]
        if self.path.endswith("/chat/completions"):
            message = {"role": "assistant", "content": self.text}
            usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            return {
                "id": "c",
                "object": "chat.completion",
                "created": 1,
                "model": model,
                "choices": [choice],
                "usage": usage,
            }
        if self.path.endswith("/responses"):
            content = [{"type": "output_text", "text": self.text, "annotations": []}]
            output = [{"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": content}]
            usage = {"input_tokens": 100, "output_tokens": 10, "total_tokens": 110,
                     "input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}  # fmt: skip
            return {"id": "r", "object": "response", "created_at": 1, "model": model, "output": output, "status": "completed",
                    "usage": usage, "parallel_tool_calls": True, "tool_choice": "auto", "tools": []}  # fmt: skip
        assert self.path.endswith("/messages")
        usage = {"input_tokens": 100, "output_tokens": 10}
        return {"id": "m", "type": "message", "role": "assistant", "model": model, "usage": usage,
                "content": [{"type": "text", "text": self.text}], "stop_reason": "end_turn", "stop_sequence": None}  # fmt: skip

    def events(self, message: dict[str, Any]) -> str:
        """A message as Anthropic streams it; pydantic-ai asks for that where a reply may be long."""
        delta = {"type": "text_delta", "text": self.text}
        end = {"stop_reason": "end_turn", "stop_sequence": None}
        events = [
            {"type": "message_start", "message": {**message, "content": [], "stop_reason": None}},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            {"type": "content_block_delta", "index": 0, "delta": delta},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": end, "usage": {"output_tokens": 10}},
            {"type": "message_stop"},
        ]
        return "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a fresh server on loopback; keys are canaries."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-CANARY")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-CANARY")
    monkeypatch.setattr(Service, "seen", [])
    with ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def sweep_on(service: str, folder: Path, model: str, *more: str) -> pipeline.Sweep:
    """A sweep whose target and judge are `model`, reached at the service."""
    section, base_url = ("anthropic", service) if model.startswith("anthropic") else ("openai", f"{service}/v1")
    return pipeline.load_sweep(
        str(write_sweep(folder, scenarios=4)),
        [
            f'targets=[{{model="{model}"}}]',
            f'judge.models=["{model}"]',
            f'providers={{{section}={{base_url="{base_url}"}}}}',
            *more,
        ],
    )


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("openai-chat:gpt-4o-mini", "/v1/chat/completions"),
        ("openai-responses:gpt-4o-mini", "/v1/responses"),
        ("openai:gpt-4o-mini", "/v1/responses"),
        ("anthropic:claude-sonnet-5", "/v1/messages"),
    ],
)
async def test_a_model_by_its_pydantic_ai_name_plays_and_judges(
    service: str, tmp_path: Path, model: str, path: str
) -> None:
    """Requests go to the named server in the provider's own protocol; replies become typed verdicts with tokens and cost."""
    result = await pipeline.run_sweep(sweep_on(service, tmp_path, model), tmp_path / "runs")
    progress = result.snapshot.progress
    assert {seen[0].partition("?")[0] for seen in Service.seen} == {path}
    assert set(progress.verdicts) <= {Verdict.A, Verdict.B}
    assert (progress.done, len(Service.seen)) == (4, 8)
    assert progress.cost_usd > 0
    assert progress.unpriced_calls == 0
    assert progress.input_tokens >= 8 * 100
    with_schema = [body for _, body, _ in Service.seen if '"properties": {"reasoning"' in json.dumps(body)]
    assert len(with_schema) == 4


async def test_a_key_is_sent_to_the_service_and_written_nowhere(service: str, tmp_path: Path) -> None:
    """The key travels in the header, and is in no file of the run."""
    result = await pipeline.run_sweep(sweep_on(service, tmp_path, "openai-chat:gpt-4o-mini"), tmp_path / "runs")
    assert all("sk-CANARY" in str(headers) for _, _, headers in Service.seen)
    for path in result.folder.path.iterdir():
        assert b"CANARY" not in path.read_bytes(), path.name


async def test_a_key_that_is_refused_stops_the_run_and_charges_no_episode(
    service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a 401 the run ends by itself with exit 2; when the key is mended, a resume plays every episode."""
    monkeypatch.setattr(Service, "status", 401)
    sweep = sweep_on(service, tmp_path, "openai-chat:gpt-4o-mini", "limits.concurrency=2")
    refused = await pipeline.run_sweep(sweep, tmp_path / "runs")
    assert (refused.state, refused.exit_code, refused.snapshot.progress.done) == ("failed", 2, 0)
    assert "refuses every call: http_401" in refused.message
    assert len(Service.seen) <= 2
    monkeypatch.setattr(Service, "status", 200)
    assert (await pipeline.run_sweep(sweep, tmp_path / "runs")).snapshot.progress.done == 4


async def test_prose_instead_of_a_verdict_fails_the_judge(
    service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A judge that never answers in the asked shape is a judge_failed after one re-ask, never a verdict."""
    monkeypatch.setattr(Service, "text", "Action 1, without any doubt.")
    result = await pipeline.run_sweep(sweep_on(service, tmp_path, "openai-chat:gpt-4o-mini"), tmp_path / "runs")
    assert result.snapshot.progress.verdicts == {Verdict.JUDGE_FAILED: 4}
    assert len(Service.seen) == 4 * (1 + 2)


async def test_requests_per_minute_holds_for_the_provider(service: str, tmp_path: Path) -> None:
    """With 5 a minute, the 6th call waits for its minute: a time limit ends the run with 5 calls made."""
    sweep = sweep_on(
        service, tmp_path, "openai-chat:gpt-4o-mini", "providers.openai.requests_per_minute=5", "limits.time_s=2"
    )
    result = await pipeline.run_sweep(sweep, tmp_path / "runs")
    assert result.exit_code == 3
    assert len(Service.seen) == 5
