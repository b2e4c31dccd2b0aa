"""What every test has: one event loop kind, a small planted sweep, and no network beyond loopback (pyproject.toml)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings

from benchmarks.worlds import write_sweep
from conflictscope import pipeline

# A timing never decides a test: a slow machine may generate slowly.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")


@pytest.fixture(autouse=True)
def _quiet_log() -> Iterator[None]:
    """Parts that are tried alone log to nowhere; a run logs to its own file."""
    structlog.configure(processors=[], logger_factory=structlog.ReturnLoggerFactory())
    yield
    structlog.reset_defaults()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def make_sweep(tmp_path: Path) -> Callable[..., pipeline.Sweep]:
    """Builds a planted sweep in tmp_path; keyword arguments as for benchmarks.worlds.write_sweep, plus overrides."""

    def make(*overrides: str, scenarios: int = 12, **settings: float) -> pipeline.Sweep:
        path = write_sweep(tmp_path / "sweep", scenarios=scenarios, **settings)
        return pipeline.load_sweep(str(path), list(overrides))

    return make
