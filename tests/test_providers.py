"""Real SDKs over a real socket: a tiny server that answers as the services do, so that models are used by their names."""

from __future__ import annotations

import resource
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.worlds import write_sweep
from conflictscope import pipeline
from conflictscope.arena import runner as runner_module
from conflictscope.errors import InputError
from conflictscope.outcome import Verdict
from tests.scripted import INPUT_TOKENS, Answer, Asked, Service, serving
from tests.written import written

CHAT, CLAUDE = "openai-chat:gpt-4o-mini", "anthropic:claude-sonnet-5"


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """A fresh server on loopback; keys are canaries."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-CANARY")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-CANARY")
    with serving() as fresh:
        yield fresh


def sweep_on(service: Service, folder: Path, model: str, *more: str, judge: str | None = None) -> pipeline.Sweep:
    """A sweep whose target and judge are `model`, or whose judge is another, reached at the service."""
    providers = f'providers={{anthropic={{base_url="{service.url}"}}, openai={{base_url="{service.url}/v1"}}}}'
    if model.startswith("anthropic") and judge is None:
        providers = f'providers={{anthropic={{base_url="{service.url}"}}}}'
    elif judge is None:
        providers = f'providers={{openai={{base_url="{service.url}/v1"}}}}'
    return pipeline.load_sweep(
        str(write_sweep(folder, scenarios=4)),
        [f'targets=[{{model="{model}"}}]', f'judge.models=["{judge or model}"]', providers, *more],
    )


@pytest.mark.parametrize(
    ("model", "path"),
    [
        (CHAT, "/v1/chat/completions"),
        ("openai-responses:gpt-4o-mini", "/v1/responses"),
        ("openai:gpt-4o-mini", "/v1/responses"),
        (CLAUDE, "/v1/messages"),
    ],
)
async def test_a_model_by_its_pydantic_ai_name_plays_and_judges(
    service: Service, tmp_path: Path, model: str, path: str
) -> None:
    """Requests go to the named server in the provider's own protocol; replies become typed verdicts with tokens and cost."""
    result = await pipeline.run_sweep(sweep_on(service, tmp_path, model), tmp_path / "runs")
    progress = result.snapshot.progress
    assert {asked.path for asked in service.asked} == {path}
    assert set(progress.verdicts) <= {Verdict.A, Verdict.B}
    assert (progress.done, len(service.asked)) == (4, 1 + 8)  # one small question before the sweep
    assert progress.total.cost_usd > 0
    assert progress.total.unpriced == 0
    assert progress.total.input_tokens >= 9 * INPUT_TOKENS
    assert sum(asked.wants_verdict for asked in service.asked) == 1 + 4


async def test_two_ways_to_one_model_are_two_lanes(service: Service, tmp_path: Path) -> None:
    """Each is called what the sweep file calls it, in the journal and for its price, and has its own calls and replies."""
    chat, responses = "openai-chat:gpt-4o-mini", "openai-responses:gpt-4o-mini"
    more = [
        f'targets=[{{model="{chat}"}}, {{model="{responses}"}}]',
        f'prices={{"{chat}"={{input_usd=1000, output_usd=0}}, "{responses}"={{input_usd=0, output_usd=0}}}}',
    ]
    result = await pipeline.run_sweep(sweep_on(service, tmp_path, chat, *more), tmp_path / "runs")
    usage = result.snapshot.progress.usage
    spoken = {purpose: used for purpose, used in usage.items() if purpose.target and purpose.role == "target"}
    assert {(purpose.target, purpose.model): used.calls for purpose, used in spoken.items()} == {
        (chat, chat): 4,
        (responses, responses): 4,
    }
    assert {purpose.model: used.cost_usd > 0 for purpose, used in spoken.items()} == {chat: True, responses: False}


async def test_a_key_is_sent_to_the_service_and_written_nowhere(service: Service, tmp_path: Path) -> None:
    """The key travels in the header, and is in no file of the run."""
    result = await pipeline.run_sweep(sweep_on(service, tmp_path, CHAT), tmp_path / "runs")
    assert all("sk-CANARY" in str(asked.headers) for asked in service.asked)
    for name, content in written(result.folder.path).items():
        assert b"CANARY" not in content, name


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_a_model_that_cannot_be_used_is_told_before_any_episode_is_charged(
    service: Service, tmp_path: Path, status: int
) -> None:
    """Every such model is named with what it said, in one message; when that is mended, a resume plays every episode."""
    service.otherwise = lambda asked: Answer(status, text="not for you")
    sweep = sweep_on(service, tmp_path, CHAT, judge=CLAUDE)
    with pytest.raises(InputError) as refused:
        await pipeline.run_sweep(sweep, tmp_path / "runs")
    lines = str(refused.value).splitlines()
    assert lines[0] == "these models cannot be used as they are asked for:"
    assert sorted(line.split(": ")[0].strip() for line in lines[1:]) == [CLAUDE, CHAT]
    assert all(f"http_{status}" in line and "not for you" in line for line in lines[1:])
    assert len(service.asked) == 2
    service.otherwise = lambda asked: Answer()
    progress = (await pipeline.run_sweep(sweep, tmp_path / "runs")).snapshot.progress
    assert (progress.state, progress.done, progress.failed) == ("finished", 4, 0)
    assert progress.total.failed == 2


async def test_more_connections_than_the_system_allows_are_told_once_before_the_run(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 1_024))
    sweep = sweep_on(service, tmp_path, CHAT, "limits.concurrency=2000")
    with pytest.raises(InputError) as refused:
        await pipeline.run_sweep(sweep, tmp_path / "runs")
    assert str(refused.value).count("2,000 connections need 2,100 open files, and this system allows 1,024") == 1
    assert not service.asked
    assert not list(tmp_path.glob("runs/*"))


async def test_the_preflight_finds_a_way_to_ask_for_verdicts_and_keeps_it(service: Service, tmp_path: Path) -> None:
    """A model that takes no JSON schema is asked by a tool, then in words; what works is stored, and is used from then on."""

    def way(asked: Asked) -> str:
        return "tool" if "tools" in asked.body else asked.body.get("response_format", {"type": "text"})["type"]

    def words_only(asked: Asked) -> Answer:
        return Answer(400, text="no such thing") if way(asked) in ("json_schema", "tool") else Answer()

    service.otherwise = words_only
    result = await pipeline.run_sweep(sweep_on(service, tmp_path, CHAT), tmp_path / "runs")
    assert result.snapshot.progress.done == 4
    assert [way(asked) for asked in service.asked[:3]] == ["json_schema", "tool", "json_object"]
    assert len(service.asked) == 3 + 8
    with sqlite3.connect(result.folder.database) as connection:
        assert connection.execute("SELECT model, output_mode FROM lanes").fetchall() == [(CHAT, "prompted")]
    connection.close()
    await pipeline.run_sweep(sweep_on(service, tmp_path, CHAT), tmp_path / "runs")
    assert len(service.asked) == 3 + 8  # neither the question nor any episode again


async def test_prose_instead_of_a_verdict_fails_the_judge(service: Service, tmp_path: Path) -> None:
    """A judge that no longer answers in the asked shape is a judge_failed after one re-ask, never a verdict."""
    service.answers.append(Answer())
    service.otherwise = lambda asked: Answer(text="Action 1, without any doubt.")
    result = await pipeline.run_sweep(sweep_on(service, tmp_path, CHAT), tmp_path / "runs")
    assert result.snapshot.progress.verdicts == {Verdict.JUDGE_FAILED: 4}
    assert len(service.asked) == 1 + 4 * (1 + 2)


async def test_a_judge_that_never_answers_in_the_asked_shape_is_told_before_the_sweep(
    service: Service, tmp_path: Path
) -> None:
    """Every way of asking is tried, each with its one re-ask; then the model is named, with the reply as it came."""
    service.otherwise = lambda asked: Answer(
        text='"Action 1"' if "tools" in asked.body else "Action 1, without any doubt."
    )
    with pytest.raises(InputError, match=r"openai-chat:gpt-4o-mini: unparsed: (.|\n)*Action 1, without any doubt\."):
        await pipeline.run_sweep(sweep_on(service, tmp_path, CHAT), tmp_path / "runs")
    assert len(service.asked) == 3 * 2


async def test_requests_per_minute_holds_for_the_provider(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 5 a minute, the 6th call waits for its minute: a time limit ends the run with 5 calls made."""
    monkeypatch.setattr(runner_module, "GRACE_S", 0.05)
    sweep = sweep_on(service, tmp_path, CHAT, "providers.openai.requests_per_minute=5", "limits.time_s=2")
    result = await pipeline.run_sweep(sweep, tmp_path / "runs")
    assert result.exit_code == 3
    assert len(service.asked) == 5


async def test_tokens_per_minute_holds_for_the_provider(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With room for a few requests' tokens in a minute, the next one waits: a time limit ends the run."""
    monkeypatch.setattr(runner_module, "GRACE_S", 0.05)
    sweep = sweep_on(service, tmp_path, CHAT, "providers.openai.tokens_per_minute=3000", "limits.time_s=2")
    result = await pipeline.run_sweep(sweep, tmp_path / "runs")
    assert result.exit_code == 3
    assert 1 < len(service.asked) < 9
