"""The budget over a real socket: what the journal says is spent or set aside never passes the limit, at no moment."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.moody import OUTCOMES, Service, at_openai, conflictscope, document, planted, play, rows, served, start, until

SCENARIOS = 60
USD = "SELECT total(cost_usd) + total(reserved_usd) FROM calls"
ROUNDING = 1e-9  # of sums of dollars
# A dollar per million tokens. What a call may cost at the most is set aside, so replies are kept short.
PRICES = {f"openai-chat:{name}": "{input_usd=1, output_usd=1}" for name in ("alpha", "user", "judge")}
SHORT = ["user.max_tokens=400", "judge.max_tokens=400"]


def priced(service: Service, *more: str) -> list[str]:
    """Settings of a sweep at the service, with prices."""
    prices = ", ".join(f'"{name}"={price}' for name, price in PRICES.items())
    settings = [*at_openai(service), *SHORT, f"prices={{{prices}}}", *more]
    return [each.replace('"openai-chat:alpha"}', '"openai-chat:alpha", max_tokens=400}') for each in settings]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sweep whose calls take a moment, so that many are in flight."""
    return planted(tmp_path, scenarios=SCENARIOS, targets=1, median_s=0.01, p95_s=0.03)


@asynccontextmanager
async def watched(folder: Path, limit_usd: float) -> AsyncIterator[None]:
    """Looks at the journal all the while: nothing that it ever says may pass the limit."""
    seen = [0.0]

    async def look() -> None:
        while True:
            seen.extend(usd for (usd,) in rows(folder, USD))
            await asyncio.sleep(0.005)

    task = asyncio.create_task(look())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
    seen.extend(usd for (usd,) in rows(folder, USD))
    assert 0 < max(seen) <= limit_usd + ROUNDING


async def unlimited(folder: Path, service: Service) -> tuple[list[tuple[Any, ...]], float]:
    """The outcomes of the sweep without a limit, and what it costs."""
    result = await play(folder, priced(service), "unlimited")
    assert (result.state, result.snapshot.progress.done) == ("finished", SCENARIOS)
    assert result.snapshot.progress.total.unpriced == 0
    return rows(folder, OUTCOMES, "unlimited"), result.snapshot.progress.total.cost_usd


@pytest.mark.parametrize("concurrency", [1, 16, 200])
async def test_the_limit_holds_however_many_calls_are_in_flight(folder: Path, concurrency: int) -> None:
    """The run stops before it, with exit code 3 and what to do; with a higher limit it ends as one without any."""
    async with served(folder) as service:
        outcomes, cost_usd = await unlimited(folder, service)
        limit_usd = 0.4 * cost_usd
        settings = priced(service, f"limits.concurrency={concurrency}")
        async with watched(folder, limit_usd):
            result = await play(folder, [*settings, f"limits.cost_usd={limit_usd}"])
        progress = result.snapshot.progress
        assert (result.state, result.exit_code) == ("limit", 3)
        assert "is spent (limits.cost_usd), and one call to openai-chat:" in result.message
        assert result.message.endswith("raise the limit, or lower max_tokens")
        # What is left would not have been enough for one more call, which may cost half a cent.
        assert limit_usd - 0.005 < progress.total.spent_usd <= limit_usd + ROUNDING
        assert (progress.reserved_usd, progress.limit_usd) == (0.0, limit_usd)
        assert (progress.failed, progress.done < SCENARIOS) == (0, True)

        async with watched(folder, 10 * cost_usd):
            result = await play(folder, [*settings, f"limits.cost_usd={10 * cost_usd}"])
        assert (result.state, result.exit_code) == ("finished", 0)
        assert rows(folder, OUTCOMES) == outcomes


async def test_the_limit_holds_across_a_kill(folder: Path) -> None:
    """What was in flight then counts with what was set aside for it; `status` tells of it all the while."""
    concurrency = 8
    async with served(folder) as service:
        outcomes, cost_usd = await unlimited(folder, service)
        limit_usd = 0.7 * cost_usd
        settings = priced(service, f"limits.concurrency={concurrency}")
        limited = [*settings, f"limits.cost_usd={limit_usd}"]
        hangs_at = service.requests + SCENARIOS
        service.mood = lambda number: "hang" if number >= hangs_at else None
        async with watched(folder, limit_usd):
            process = await start(folder, "run", "sweep.toml", "--no-live", settings=limited)
            in_flight = "SELECT count(*) FROM calls WHERE state = 'sent'"
            await until(lambda: rows(folder, in_flight) == [(concurrency,)] and hung(service) == concurrency, process)

            running = document(await conflictscope(folder, "status", "bench", "--json"))
            [(reserved_usd,)] = rows(folder, "SELECT total(reserved_usd) FROM calls WHERE state = 'sent'")
            [(spent_usd,)] = rows(folder, "SELECT total(cost_usd) FROM calls")
            assert (running["state"], running["calls_in_flight"], running["limit_usd"]) == (
                "running", concurrency, limit_usd
            )  # fmt: skip
            assert running["reserved_usd"] == pytest.approx(reserved_usd)
            assert running["cost_usd"] == pytest.approx(spent_usd)
            assert 0 < running["cost_usd"] + running["reserved_usd"] <= limit_usd
            left = SCENARIOS - running["done"]
            assert running["forecast_usd"] == pytest.approx(running["cost_usd"] / running["done"] * left)

            process.send_signal(signal.SIGKILL)
            await process.communicate()
            service.mood = lambda number: None
            done = await conflictscope(folder, "run", "sweep.toml", "--no-live", settings=limited)
            assert done.code == 3, done
            assert "To go on, raise it and resume with:" in done.stderr

        stopped = document(await conflictscope(folder, "status", "bench", "--json"))
        assert (stopped["state"], stopped["abandoned_calls"]) == ("limit", concurrency)
        assert stopped["at_risk_usd"] == pytest.approx(reserved_usd)
        assert stopped["cost_usd"] + stopped["at_risk_usd"] <= limit_usd + ROUNDING

        result = await play(folder, [*settings, f"limits.cost_usd={10 * cost_usd}"])
        assert (result.state, result.exit_code) == ("finished", 0)
        assert rows(folder, OUTCOMES) == outcomes


def hung(service: Service) -> int:
    """How many requests of now will never be answered."""
    return service.server.metrics.in_flight if service.server.metrics.faults["hang"] else 0


async def test_a_model_without_a_price_is_refused_before_any_call(folder: Path) -> None:
    """A limit that could not be kept: bad input that says what to add, nothing asked, no run."""
    async with served(folder) as service:
        only = f'prices={{"openai-chat:alpha"={PRICES["openai-chat:alpha"]}}}'
        done = await conflictscope(
            folder, "run", "sweep.toml", settings=[*at_openai(service), "limits.cost_usd=1", only]
        )
        assert done.code == 2, done
        assert "limits.cost_usd: the price of openai-chat:user, openai-chat:judge is not known" in done.stderr
        for name in ("user", "judge"):
            assert f'[prices."openai-chat:{name}"]' in done.stderr
        assert service.requests == 0
    assert not (folder / "runs").exists()
