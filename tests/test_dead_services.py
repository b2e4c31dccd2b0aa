"""Services that are of no use: the sweep ends by itself, soon, after few requests, and says why; mended, it is resumed."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from conflictscope.arena.lanes.breaker import IN_A_ROW
from tests.moody import OUTCOMES, Done, Service, at_openai, conflictscope, planted, play, rows, served

ATTEMPTS = 2
IMPATIENT = [f"limits.attempts={ATTEMPTS}", "limits.call_timeout_s=0.5", "limits.retry_time_s=2"]
# Starting Python takes most of it; the calls themselves, 2 attempts of 0.5 s and a pause of at most 1 s, take 2 s.
ENDS_WITHIN_S = 30
WAYS = 3  # of asking a judge for a verdict: by schema, by tool, in words
SAID = {
    "unauthorized": "http_401",
    "server_error": "http_500",
    "hang": "timeout: openai-chat:{name} gave no reply within 0.5 s",
    "malformed": "malformed",
}


def check_refused(done: Done, said: str, seconds: float, folder: Path) -> None:
    """It ended as bad input, with one message that has a line for each model, and played nothing."""
    assert done.code == 2, done
    assert done.stdout == ""
    asking, message, *lines = done.stderr.splitlines()
    assert asking.startswith("Asking ")
    assert message == "error: these models cannot be used as they are asked for:"
    assert [line.split(": ")[0].strip() for line in lines] == [f"openai-chat:{m}" for m in ("judge", "alpha", "user")]
    for line, name in zip(lines, ("judge", "alpha", "user"), strict=True):
        assert said.format(name=name) in line
    assert seconds < ENDS_WITHIN_S
    assert rows(folder, "SELECT count(*) FROM episodes") == [(0,)]
    assert rows(folder, "SELECT count(*) FROM calls WHERE state = 'committed'") == [(0,)]


@pytest.mark.parametrize(
    ("fault", "most_requests"),
    [
        ("unauthorized", 3),  # one for each model: another attempt would do no better
        ("server_error", 3 * ATTEMPTS),
        ("hang", 3 * ATTEMPTS),
        ("malformed", (2 + WAYS) * ATTEMPTS),  # each way of asking the judge may be the wrong one
    ],
)
async def test_a_service_that_fails_from_the_beginning(tmp_path: Path, fault: str, most_requests: int) -> None:
    """`run` says in one message what each model said, with exit code 2; once that is mended, it plays every episode."""
    folder = planted(tmp_path, scenarios=8, targets=1)
    async with served(folder) as service:
        service.mood = lambda number: fault
        settings = [*at_openai(service), *IMPATIENT]
        began = time.monotonic()
        done = await conflictscope(folder, "run", "sweep.toml", settings=settings)
        check_refused(done, SAID[fault], time.monotonic() - began, folder)
        assert service.requests <= most_requests
        assert service.requests == rows(folder, "SELECT count(*) FROM calls")[0][0]

        service.mood = lambda number: None
        result = await play(folder, settings)
        assert (result.state, result.snapshot.progress.done, result.snapshot.progress.failed) == ("finished", 8, 0)


@contextmanager
def nobody() -> Iterator[str]:
    """An address where nobody listens: the port is taken, and not listened to."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@contextmanager
def silence() -> Iterator[str]:
    """An address where connections are accepted, and nothing is ever said."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.mark.parametrize(("address", "said"), [(nobody, "connection: "), (silence, SAID["hang"])])
async def test_a_service_that_is_not_there(tmp_path: Path, address: Callable[..., Iterator[str]], said: str) -> None:
    """Nobody who listens, or nobody who speaks: the same one message, after two attempts for each model."""
    folder = planted(tmp_path, scenarios=8, targets=1)
    with address() as url:  # type: ignore[attr-defined]
        began = time.monotonic()
        done = await conflictscope(folder, "run", "sweep.toml", settings=[*at_openai(url), *IMPATIENT])
    check_refused(done, said, time.monotonic() - began, folder)
    assert rows(folder, "SELECT count(*) FROM calls") == [(3 * ATTEMPTS,)]


# -- in the middle of a run --------------------------------------------------------------------------------------------

SCENARIOS = 40
CONCURRENCY = 6
DIES_AT = 20  # requests to the service; its target needs 40


def on_two_services(dying: Service, healthy: Service) -> list[str]:
    """Target `alpha` alone is at the service that dies; `beta`, the user and the judge are at the other."""
    return [
        'targets=[{model="openai-chat:alpha", name="alpha"}, {model="anthropic:beta", name="beta"}]',
        'user.model="anthropic:user"',
        'judge.models=["anthropic:judge"]',
        f'providers={{openai={{base_url="{dying.url}/v1"}}, anthropic={{base_url="{healthy.url}"}}}}',
        f"limits.concurrency={CONCURRENCY}",
        *IMPATIENT,
    ]


@pytest.mark.parametrize("fault", list(SAID))
async def test_a_service_that_dies_in_the_middle_closes_its_lane_only(tmp_path: Path, fault: str) -> None:
    """After five episodes in a row its lane is closed, with one message and exit code 1; the other target is played to its end.

    The same command plays what is left, and all is as if nothing had happened.
    """
    folder = planted(tmp_path, scenarios=SCENARIOS, targets=2)
    async with served(folder) as dying, served(folder) as healthy:
        settings = on_two_services(dying, healthy)
        undisturbed = await play(folder, settings, "undisturbed")
        assert (undisturbed.state, undisturbed.snapshot.progress.done) == ("finished", 2 * SCENARIOS)

        before = dying.requests
        dying.mood = lambda number: fault if number >= before + DIES_AT else None
        began = time.monotonic()
        result = await play(folder, settings)
        assert time.monotonic() - began < ENDS_WITHIN_S
        assert (result.state, result.exit_code) == ("failed", 1)
        told = f"openai-chat:alpha gave {IN_A_ROW} episodes in a row the same error: {SAID[fault].format(name='alpha')}"
        assert result.message.startswith(told)
        assert "\n" not in result.message
        # Those that closed the lane, and what was in flight then.
        attempts = 1 if fault == "unauthorized" else ATTEMPTS
        assert dying.requests - before - DIES_AT <= attempts * (IN_A_ROW - 1 + CONCURRENCY)

        verdicts = dict(rows(folder, "SELECT target || verdict, count(*) FROM outcomes GROUP BY 1"))
        assert sum(count for verdict, count in verdicts.items() if verdict in ("betaa", "betab")) == SCENARIOS
        assert verdicts.get("alphatarget_failed", 0) < IN_A_ROW
        assert len(result.left) == SCENARIOS - sum(n for verdict, n in verdicts.items() if verdict.startswith("alpha"))
        assert 0 < len(result.left) < SCENARIOS
        assert all("alpha" in key for key in result.left)

        dying.mood = lambda number: None
        asked = healthy.requests
        result = await play(folder, settings)
        assert (result.state, result.exit_code, result.message) == ("finished", 0, "")
        assert rows(folder, OUTCOMES) == rows(folder, OUTCOMES, "undisturbed")
        left = SCENARIOS - verdicts.get("alphaa", 0) - verdicts.get("alphab", 0)
        assert healthy.requests - asked <= 3 + left, "of beta nothing is asked again, of alpha only for its judge"
