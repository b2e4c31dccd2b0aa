"""Deadlines and the tail, on a service that stops answering in the middle of a run."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from conflictscope.arena import runner as runner_module
from tests.moody import OUTCOMES, Service, at_openai, conflictscope, document, planted, play, rows, served

SCENARIOS = 40
CONCURRENCY = 10
# Without the deadline under test, each of these runs would last an hour.
PATIENT = [f"limits.concurrency={CONCURRENCY}", "limits.call_timeout_s=3600"]
ENDS_WITHIN_S = 30


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    async with served(planted(tmp_path, scenarios=SCENARIOS, targets=1)) as service:
        yield service


async def finished(service: Service, folder: Path) -> None:
    """Mended and resumed, the run plays what is left, and equals one that nothing happened to."""
    service.mood = lambda number: None
    settings = [*at_openai(service), *PATIENT]
    result = await play(folder, settings)
    assert (result.state, result.exit_code, result.snapshot.progress.done) == ("finished", 0, SCENARIOS)
    await play(folder, settings, "undisturbed")
    assert rows(folder, OUTCOMES) == rows(folder, OUTCOMES, "undisturbed")


async def test_an_episode_that_takes_too_long_fails_and_lets_the_next_one_in(service: Service, tmp_path: Path) -> None:
    """Five calls hang for ever: five episodes end in `episode_timeout`, all others in a verdict."""
    service.mood = lambda number: "hang" if 50 <= number < 55 else None
    began = time.monotonic()
    result = await play(tmp_path, [*at_openai(service), *PATIENT, "limits.episode_timeout_s=3"])
    assert time.monotonic() - began < ENDS_WITHIN_S
    progress = result.snapshot.progress
    assert (result.state, result.exit_code) == ("finished", 1)  # more failed than limits.failed_share allows
    assert progress.failures == {"episode_timeout": 5}
    assert (progress.done, progress.failed) == (SCENARIOS, 5)
    assert rows(tmp_path, "SELECT DISTINCT failure FROM episodes WHERE failure IS NOT NULL") == [
        ("episode_timeout: not resolved within 3 s",)
    ]
    assert rows(tmp_path, "SELECT count(*) FROM calls WHERE state = 'abandoned'") == [(5,)]
    await finished(service, tmp_path)


async def test_the_time_of_a_sweep_ends_it_whatever_hangs(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every call from some moment on hangs: exit code 3 when the time is up, with nothing made of what was in flight."""
    monkeypatch.setattr(runner_module, "GRACE_S", 0.1)
    service.mood = lambda number: "hang" if number >= 60 else None
    began = time.monotonic()
    result = await play(tmp_path, [*at_openai(service), *PATIENT, "limits.time_s=3"])
    assert time.monotonic() - began < ENDS_WITHIN_S
    assert (result.state, result.exit_code, result.message) == ("limit", 3, "3 s have passed (limits.time_s)")
    progress = result.snapshot.progress
    assert 0 < progress.done < SCENARIOS
    assert progress.failed == 0
    [(abandoned,)] = rows(tmp_path, "SELECT count(*) FROM calls WHERE state = 'abandoned'")
    assert 0 < abandoned <= CONCURRENCY
    await finished(service, tmp_path)


async def test_a_preflight_that_hangs_is_ended_by_the_time_too(service: Service, tmp_path: Path) -> None:
    """The small questions before the sweep are within its time."""
    service.mood = lambda number: "hang"
    result = await play(tmp_path, [*at_openai(service), *PATIENT, "limits.time_s=2"])
    assert (result.state, result.exit_code, service.requests) == ("limit", 3, 3)
    await finished(service, tmp_path)


async def test_a_sweep_may_end_before_its_tail(service: Service, tmp_path: Path) -> None:
    """With nine tenths it ends, exit code 0, though the last calls hang; what is left is listed, and can be played later."""
    last = 3 + 3 * SCENARIOS - 4  # of the last four episodes, or of fewer, a call is left
    service.mood = lambda number: "hang" if number >= last else None
    settings = [*at_openai(service), *PATIENT]
    share = "limits.done_share=0.9"
    done = await conflictscope(tmp_path, "run", "sweep.toml", "--json", settings=[*settings, share])
    assert done.code == 0, done
    told = document(done)
    stored = {key for (key,) in rows(tmp_path, "SELECT key FROM episodes")}
    assert told["status"]["state"] == "enough"
    assert told["status"]["done"] == len(stored) >= 0.9 * SCENARIOS
    assert 0 < len(told["left"]) == SCENARIOS - len(stored) <= 4
    assert not stored & set(told["left"])
    for key in told["left"]:
        assert f"\n  {key}\n" in done.stderr
    assert f"{len(told['left'])} episodes are left:" in done.stderr
    ended = re.search(r"Ended early: (\d+) episodes have ended \(limits.done_share\)", done.stderr)
    assert ended is not None
    assert 0.9 * SCENARIOS <= int(ended[1]) <= len(stored)  # what was in flight then had its grace
    resume = done.stderr.splitlines()[-1]
    assert resume.endswith(f"--set {share} --set limits.done_share=1")

    service.mood = lambda number: None
    result = await play(tmp_path, [*settings, share, "limits.done_share=1"])
    assert (result.state, result.snapshot.progress.done) == ("finished", SCENARIOS)
    await finished(service, tmp_path)
