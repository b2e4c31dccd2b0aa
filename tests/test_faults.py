"""Whatever goes wrong, in whatever order: each episode ends in one state or is left, and the call journal balances."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic_ai.exceptions import (
    ContentFilterError,
    ModelConnectionError,
    ModelHTTPError,
    ModelQuotaExceededError,
    UnexpectedModelBehavior,
    UserError,
)
from pydantic_ai.messages import ModelResponse, TextPart
from pydantic_ai.models import Model
from pydantic_ai.models.wrapper import WrapperModel

from benchmarks.worlds import write_sweep
from conflictscope import pipeline
from conflictscope.arena.lanes import retry as retry_module
from conflictscope.planted import Lexicon, PlantedWorld, planted_model
from conflictscope.snapshot import Usage
from conflictscope.store import RunReader
from tests.scripted import Answer, Service, serving

STATUSES = [400, 401, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503, 504, 529]
FAULTS: dict[str, Callable[[], BaseException]] = {
    **{f"http_{status}": (lambda status=status: ModelHTTPError(status, "m", "no")) for status in STATUSES},  # type: ignore[misc]
    "quota": lambda: ModelQuotaExceededError("m", "pay first"),
    "refused": lambda: ContentFilterError("blocked"),
    "connection": lambda: ModelConnectionError("m", "reset"),
    "malformed": lambda: UnexpectedModelBehavior("not JSON"),
    "setup": lambda: UserError("no such setting"),
    "unexpected": lambda: IndexError("list index out of range"),
}
REPLIES = {"garbled": "\x00 no verdict", "blank": " "}
FAULT = st.sampled_from([*FAULTS, *REPLIES, "hang"])
# Mostly no fault, so that episodes get far enough for the next one.
DRAWN = st.lists(st.none() | FAULT, max_size=60)


class Faulty(WrapperModel):
    """A planted model whose requests end as they were drawn."""

    def __init__(self, wrapped: Model, drawn: Iterator[str | None]) -> None:
        super().__init__(wrapped)
        self.drawn = drawn

    async def request(self, *arguments: Any) -> ModelResponse:
        fault = next(self.drawn, None)
        if fault in FAULTS:
            raise FAULTS[fault]()
        if fault in REPLIES:
            return ModelResponse(parts=[TextPart(REPLIES[fault])])
        if fault == "hang":
            await asyncio.Event().wait()
        return await super().request(*arguments)


def run(folder: Path, drawn: Iterator[str | None], *more: str) -> pipeline.RunResult:
    """Play, or resume, a small planted sweep under these faults."""

    def faulty(world: PlantedWorld, name: str, lexicon: Lexicon) -> Model:
        return Faulty(planted_model(world, name, lexicon), drawn)

    overrides = ['modes=["open_ended", "multiple_choice"]', "limits.concurrency=3", "limits.call_timeout_s=0.02",
                 "limits.attempts=2", *more]  # fmt: skip
    sweep = pipeline.load_sweep(str(write_sweep(folder / "sweep", scenarios=3, targets=2)), overrides)
    with (
        patch("conflictscope.pipeline.models.planted_model", faulty),
        patch.object(retry_module, "_pause_s", lambda state: 0.0),
    ):
        return asyncio.run(pipeline.run_sweep(sweep, folder / "runs"))


def check(result: pipeline.RunResult) -> None:
    """Each planned episode has one state or is left, and every call is committed, failed or abandoned."""
    progress, total = result.snapshot.progress, result.snapshot.progress.total
    with sqlite3.connect(result.folder.database) as connection:
        stored = Counter(key for (key,) in connection.execute("SELECT key FROM episodes"))
        states = Counter(state for (state,) in connection.execute("SELECT state FROM calls"))
        odd = connection.execute(
            """SELECT count(*) FROM calls WHERE (state = 'committed') != (reply IS NOT NULL)
               OR (state = 'failed') != (failure IS NOT NULL) OR ended IS NULL"""
        ).fetchone()
        unexplained = connection.execute(
            """SELECT count(*) FROM episodes WHERE (verdict IN ('target_failed', 'judge_failed', 'user_failed'))
               != (failure IS NOT NULL)"""
        ).fetchone()
        # A resumed run never pays twice for a reply, but for one that its episode failed by.
        twice = connection.execute(
            "SELECT count(*) FROM (SELECT 1 FROM calls WHERE reply IS NOT NULL AND fingerprint != '' GROUP BY scope, fingerprint HAVING count(*) > 1)"
        ).fetchone()
    connection.close()
    assert set(stored.values()) <= {1}
    assert sum(stored.values()) == progress.done == sum(progress.verdicts.values())
    assert sum(progress.failures.values()) == progress.failed
    assert not stored.keys() & set(result.left)
    if result.state in ("finished", "failed"):
        assert len(stored) + len(result.left) == progress.planned
        assert bool(result.left) <= (result.state == "failed")
    assert (odd, unexplained, twice) == ((0,), (0,), (0,))
    assert total.calls == states["committed"] + states["failed"] + states["abandoned"] == sum(states.values())
    assert (total.failed, total.abandoned) == (states["failed"], states["abandoned"])
    assert (progress.in_flight, progress.reserved_usd) == (0, 0.0)

    async def parts() -> Usage:
        async with RunReader.open(result.folder.database) as reader:
            _, usage = await reader.usage()
            return sum(usage.values(), Usage())

    assert asyncio.run(parts()) == total


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@example(["http_401"] * 60, [])
@example(["http_500"] * 60, ["hang"] * 5)
@example(["hang"] * 10, ["garbled"] * 20)
@given(DRAWN, DRAWN)
def test_any_sequence_of_faults_leaves_episodes_and_calls_in_order(
    first: list[str | None], second: list[str | None]
) -> None:
    """Played under one sequence, resumed under another, and then without faults: in order each time, and whole in the end."""
    with tempfile.TemporaryDirectory() as folder:
        for drawn in (first, second):
            check(run(Path(folder), iter(drawn)))
        done = run(Path(folder), iter(()), "limits.call_timeout_s=60")
        check(done)
        # What came back, though it was of no use, is an answer: it is not asked for again.
        assert done.state == "finished"
        assert set(done.snapshot.progress.failures) <= {"unparsed", "empty"}


def test_outcomes_after_faults_are_those_of_a_run_without_any(tmp_path: Path) -> None:
    """Every kind of fault that passes, then resumed: to the letter what an undisturbed run has."""
    passing = [fault for fault in FAULTS if fault not in ("refused", "setup")]
    drawn = iter([*passing, None, *passing, "hang", None, *passing] * 3)
    results = [run(tmp_path / "disturbed", drawn)]
    results += [run(tmp_path / "disturbed", iter(())) for _ in range(2)]
    check(results[-1])
    undisturbed = run(tmp_path / "undisturbed", iter(()))
    told = "SELECT key, verdict, strength, shown_first, judge, seed, transcript FROM episodes ORDER BY key"
    rows = []
    for result in (results[-1], undisturbed):
        connection = sqlite3.connect(result.folder.database)
        rows.append(connection.execute(told).fetchall())
        connection.close()
    assert rows[0] == rows[1]
    assert len(rows[0]) == undisturbed.snapshot.progress.planned == 12
    total = results[-1].snapshot.progress.total
    assert total.calls - total.failed - total.abandoned == undisturbed.snapshot.progress.total.calls


# -- over a socket -----------------------------------------------------------------------------------------------------

WIRE = [
    *(Answer(status) for status in (400, 429, 500, 503, 529)),
    *(Answer(body=body) for body in (b"", b"<html>", b"{}", b'{"choices": []}')),
    *(Answer(wire=wire) for wire in ("close", "reset", "cut")),  # type: ignore[arg-type]
    Answer(text=""),
    Answer(text="no verdict"),
    Answer(429, headers={"retry-after": "0"}),
]


@pytest.mark.parametrize("model", ["openai-chat:gpt-4o-mini", "anthropic:claude-sonnet-5"])
def test_any_sequence_of_faults_of_the_wire_does_too(monkeypatch: pytest.MonkeyPatch, model: str) -> None:
    """The same through a real client; every attempt that the journal has is a request that the service saw, and no other."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-some-key")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-some-key")
    monkeypatch.setattr(retry_module, "_pause_s", lambda state: 0.0)

    @settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(st.just(Answer()) | st.sampled_from(WIRE), max_size=40))
    def one(answers: list[Answer]) -> None:
        with tempfile.TemporaryDirectory() as folder, serving() as service:
            service.answers.extend([Answer(), *answers])  # the preflight comes through
            sweep = _sweep_on(service, Path(folder), model)
            result = asyncio.run(pipeline.run_sweep(sweep, Path(folder) / "runs"))
            check(result)
            usage = result.snapshot.progress.usage.items()
            assert len(service.asked) == sum(
                used.calls for purpose, used in usage if not purpose.model.startswith("planted")
            )

    one()


def _sweep_on(service: Service, folder: Path, model: str) -> pipeline.Sweep:
    section, base_url = ("anthropic", service.url) if "anthropic" in model else ("openai", f"{service.url}/v1")
    overrides = [
        f'targets=[{{model="{model}"}}]',
        f'judge.models=["{model}"]',
        f'providers={{{section}={{base_url="{base_url}"}}}}',
        "limits.concurrency=3",
        "limits.attempts=2",
    ]
    return pipeline.load_sweep(str(write_sweep(folder / "sweep", scenarios=4)), overrides)
