"""A sweep against a service that throttles, stalls, garbles and breaks off, without and with `kill -9`.

The small edition of `benchmarks/faults.py`: the same runs, with fewer episodes.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import faults
from benchmarks.faults import FAULTS, Finished, play, truth, verdicts_from_malformed

EPISODES = 200
CALLS = 3 * EPISODES + 3  # and one question to each model before
CONCURRENCY = 24  # a kill loses what is in flight, which is to be few beside all calls


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The same sweep against a service that does all right."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(faults, "CONCURRENCY", CONCURRENCY)
        return play(tmp_path_factory.mktemp("reference") / "run", EPISODES, {})


@pytest.mark.parametrize("kills", [(), (0.25, 0.4)], ids=["run through", "killed twice"])
def test_a_sweep_gets_through_faults_and_kills(
    reference: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kills: tuple[float, ...]
) -> None:
    """Every episode ends as in the run without faults, and nothing that was committed is asked again."""
    monkeypatch.setattr(faults, "CONCURRENCY", CONCURRENCY)
    run = play(tmp_path / "run", EPISODES, FAULTS, kills)
    injected = run.metrics["faults"]
    assert set(injected) == set(FAULTS), "each kind of fault came"

    assert run.exit_code == 0
    assert len(run.episodes) == EPISODES
    failed = sum(run.failures.values())
    assert failed < 0.005 * EPISODES
    assert set(run.failures) <= {"http_429", "http_500", "malformed", "timeout", "connection"}
    assert run.order == reference.order == truth(tmp_path / "run")

    equal = sum(run.episodes[key] == episode for key, episode in reference.episodes.items())
    assert equal == EPISODES - failed

    again = run.metrics["answered"] - run.calls["committed"] - run.lost
    assert (run.twice, again) == (0, 0)
    assert verdicts_from_malformed(run) == 0
    # What a kill takes away before it is committed is asked again; all else is asked once, and once more for each fault.
    assert run.metrics["requests"] - run.lost <= 1.1 * (CALLS + sum(injected.values()))
    assert set(run.calls) - {"abandoned"} == {"committed", "failed"}
    assert bool(kills) >= bool(run.calls["abandoned"])


def test_without_faults_each_call_is_one_request(reference: Finished) -> None:
    """Three for an episode and one before for each model, each answered and committed once."""
    assert (reference.exit_code, dict(reference.failures), dict(reference.calls)) == (0, {}, {"committed": CALLS})
    metrics = reference.metrics
    assert metrics["requests"] == metrics["answered"] == metrics["by_status"]["200"] == CALLS
    assert metrics["repeated"] == 0
