"""Batches over a real socket: the planted server as OpenAI and as Anthropic, and the command line in a process that is killed."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from benchmarks.served import Server, serving
from benchmarks.worlds import write_sweep
from conflictscope import pipeline
from conflictscope.errors import InputError
from tests.commands import COMMAND, environment

SCENARIOS = 8
KEYS = {"OPENAI_API_KEY": "sk-CANARY-0123456789", "ANTHROPIC_API_KEY": "sk-CANARY-0123456789"}
OUTCOMES = "SELECT target, mode, scenario_id, verdict, strength, shown_first, judge FROM outcomes ORDER BY 1, 2, 3"
BATCHED = "SELECT count(*) FROM calls WHERE batch IS NOT NULL"
DEADLINE_S = 60
providers = pytest.mark.parametrize("provider", ["openai", "anthropic"])


@dataclass(frozen=True)
class Place:
    """A folder with a sweep, and the server that plays its models."""

    folder: Path
    server: Server

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        path = self.folder / "runs" / "bench" / "run.db"
        if not path.exists():
            return []
        connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=10)
        try:
            return connection.execute(query).fetchall()
        except sqlite3.OperationalError:  # the file is there, the schema not yet
            return []
        finally:
            connection.close()


@contextmanager
def placed(folder: Path, provider: str, *, batch: bool, batch_s: float = 0.0) -> Iterator[Place]:
    """A sweep in both modes, judge and target in batches or not, whose server takes `batch_s` for a batch."""
    write_sweep(folder, scenarios=SCENARIOS, targets=1, base_url="http://127.0.0.1/v1")
    world = tomllib.loads((folder / "world.toml").read_text())
    world["timing"]["batch_s"] = batch_s
    (folder / "world.toml").write_text(tomli_w.dumps(world))
    with serving(folder) as server:
        sweep = tomllib.loads((folder / "sweep.toml").read_text())
        sweep |= {
            "modes": ["multiple_choice", "open_ended"],
            "targets": [{"model": f"{provider}:alpha", "batch": batch}],
            "user": {"model": f"{provider}:user"},
            "judge": {"models": [f"{provider}:judge"], "batch": batch},
            "providers": {provider: {"base_url": server.openai_url if provider == "openai" else server.url}},
        }
        (folder / "sweep.toml").write_text(tomli_w.dumps(sweep))
        yield Place(folder, server)


def start(place: Place, poll_s: float, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, "run", "sweep.toml", "--no-live", "--set", f"limits.batch_poll_s={poll_s}", *more],
        cwd=place.folder, env=environment() | KEYS, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def run(place: Place, *more: str) -> None:
    process = start(place, 0.05, *more)
    stdout, stderr = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, stdout + stderr


def asked(place: Place) -> dict[str, int]:
    """What the server was asked for and has billed."""
    metrics = place.server.metrics()
    return {
        "requests": metrics["requests"] + metrics["batched"],
        **{key: metrics[key] for key in ("input_tokens", "output_tokens")},
    }


@pytest.fixture(scope="module", params=["openai", "anthropic"])
def live(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Any, dict[str, int]]:
    """A run without batches: the provider, its outcomes, and what it asked for."""
    with placed(tmp_path_factory.mktemp("live"), request.param, batch=False) as place:
        run(place)
        assert place.server.metrics()["batches"] == 0
        return request.param, place.rows(OUTCOMES), asked(place)


def test_batches_change_nothing_but_the_way(live: tuple[str, Any, dict[str, int]], tmp_path: Path) -> None:
    """A multiple-choice sweep and a judged one, in batches: the same outcomes from the same requests and tokens."""
    provider, outcomes, billed = live
    with placed(tmp_path, provider, batch=True) as place:
        run(place)
        assert place.rows(OUTCOMES) == outcomes
        assert asked(place) == billed
        metrics = place.server.metrics()
        assert metrics["batched"] == 2 * SCENARIOS
        assert place.rows("SELECT count(*) FROM batches WHERE ended_at IS NOT NULL") == [(metrics["batches"],)]
        assert place.rows(BATCHED) == [(2 * SCENARIOS,)]
        assert place.rows("SELECT count(*) FROM calls WHERE batch IS NOT NULL AND role = 'user'") == [(0,)]
        assert place.rows("SELECT DISTINCT state FROM calls") == [("committed",)]
        live_usd, batch_usd = (
            place.rows(f"SELECT cost_usd FROM calls WHERE batch IS {null} NULL LIMIT 1") for null in ("", "NOT")
        )
        assert live_usd == batch_usd == [(None,)]  # nobody knows what a planted model would cost


@pytest.mark.parametrize(
    ("live", "number"),
    [("openai", signal.SIGKILL), ("anthropic", signal.SIGKILL), ("openai", signal.SIGINT)],
    indirect=["live"],
)
def test_what_was_sent_in_a_batch_is_collected_and_not_paid_again(
    live: tuple[str, Any, dict[str, int]], tmp_path: Path, number: signal.Signals
) -> None:
    """Ended while all batches are at the provider, and resumed: each request in one batch, the outcomes of the live run.

    No episode may take longer than a tenth of a second, were it not that a batch takes its time.
    """
    impatient = "--set", "limits.episode_timeout_s=0.1"
    provider, outcomes, billed = live
    with placed(tmp_path, provider, batch=True, batch_s=4.0) as place:
        # It looks at a batch once, which has not ended yet, and not again before it is stopped.
        process = start(place, 3600, *impatient)
        deadline = time.monotonic() + DEADLINE_S
        while place.rows(BATCHED) != [(2 * SCENARIOS,)]:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline, "the run does not get on"
            time.sleep(0.01)
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=DEADLINE_S)
        assert place.rows("SELECT state, count(*) FROM calls WHERE batch IS NOT NULL GROUP BY 1") == [("sent", 16)]
        assert place.rows("SELECT count(*) FROM episodes") == [(0,)]
        if number is signal.SIGINT:
            assert process.returncode == 130, stdout + stderr
            assert "16 calls wait in batches at their provider: the resume collects them." in stderr
        before = place.server.metrics()["batches"]
        run(place, *impatient)
        assert place.rows(OUTCOMES) == outcomes
        assert place.server.metrics()["batches"] == before
        [(preflights,)] = place.rows("SELECT count(*) FROM calls WHERE scope LIKE 'preflight/%'")
        assert asked(place)["requests"] == billed["requests"] + preflights // 2  # each session asks its small questions
        assert place.rows("SELECT state, count(*) FROM calls GROUP BY 1") == [("committed", asked(place)["requests"])]
        assert place.rows("SELECT count(*) FROM batches WHERE ended_at IS NULL") == [(0,)]


@providers
async def test_batches_keep_the_budget(provider: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a price and a limit given, what was reserved is settled with what each reply cost by its usage."""
    for name, key in KEYS.items():
        monkeypatch.setenv(name, key)
    with placed(tmp_path, provider, batch=True) as place:
        prices = {f"{provider}:{name}": {"input_usd": 1.0, "output_usd": 2.0} for name in ("alpha", "user", "judge")}
        sweep = pipeline.load_sweep(
            str(tmp_path / "sweep.toml"),
            ["limits.cost_usd=0.5", "limits.batch_poll_s=0.05", f"prices={_toml(prices)}", "limits.concurrency=100"],
        )
        result = await pipeline.run_sweep(sweep, tmp_path / "runs")
        progress, metrics = result.snapshot.progress, place.server.metrics()
        assert (result.state, progress.done) == ("finished", 2 * SCENARIOS)
        assert progress.total.at_risk_usd == 0
        assert progress.total.cost_usd == pytest.approx(
            metrics["input_tokens"] * 1e-6 + metrics["output_tokens"] * 2e-6
        )


def _toml(prices: dict[str, dict[str, float]]) -> str:
    inner = (
        f'"{name}" = {{input_usd = {p["input_usd"]}, output_usd = {p["output_usd"]}}}' for name, p in prices.items()
    )
    return f"{{{', '.join(inner)}}}"


# -- what the sweep file may say ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ('targets=[{model="openai:alpha", batch=true}]', "its multiple_choice and action_rating episodes, and modes has neither"),
        ('targets=[{agent="a:b", batch=true}]', "batch = true needs a `model` alone: an agent sends its requests itself"),
        ("user.batch=true", "unknown key 'user.batch'"),
        ("limits.batch_poll_s=0", "limits.batch_poll_s"),
    ],
)  # fmt: skip
def test_a_batch_that_cannot_be_is_refused(tmp_path: Path, override: str, told: str) -> None:
    """The message names the key and says why."""
    path = write_sweep(tmp_path, scenarios=1, targets=1, base_url="http://127.0.0.1/v1")
    with pytest.raises(InputError, match=told):
        pipeline.load_sweep(str(path), [override])


@pytest.mark.parametrize("model", ["openai-chat:alpha", "planted:judge"])
async def test_a_model_without_a_batch_api_is_refused_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    """Chat completions and planted models have none: the run refuses, and there is no folder."""
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    base_url = None if model.startswith("planted") else "http://127.0.0.1/v1"
    path = write_sweep(tmp_path, scenarios=1, targets=1, base_url=base_url)
    sweep = pipeline.load_sweep(str(path), [f'judge.models=["{model}"]', "judge.batch=true"])
    with pytest.raises(InputError, match=f"batch = true: there is no batch API for {model}"):
        await pipeline.run_sweep(sweep, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_run_may_be_resumed_with_or_without_batches(tmp_path: Path) -> None:
    """What goes in batches is how a run is done, not what it is."""
    path = write_sweep(tmp_path, scenarios=1, targets=1, base_url="http://127.0.0.1/v1")
    modes = 'modes=["multiple_choice", "open_ended"]'
    plain = pipeline.load_sweep(str(path), [modes])
    batched = pipeline.load_sweep(
        str(path), [modes, 'targets=[{model="openai-chat:alpha", batch=true}]', "judge.batch=true"]
    )
    assert batched.config.batched() == ["openai-chat:alpha", "openai-chat:judge"]
    assert plain.identity() == batched.identity()
