"""Runs in notebooks and scripts."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import altair as alt
import pytest

import conflictscope
from conflictscope import pipeline
from conflictscope.errors import InputError, StoreError
from conflictscope.rating import Method
from conflictscope.run import Run
from conflictscope.runfolder import RunFolder

MakeSweep = Callable[..., pipeline.Sweep]
STEERED = '[{name = "thrift-first", ranking = ["thrift", "care", "candour"]}]'


@pytest.fixture
def played(make_sweep: MakeSweep, tmp_path: Path) -> RunFolder:
    """Three targets in two modes, with and without a steering."""
    sweep = make_sweep(
        'modes=["open_ended", "multiple_choice"]',
        f"steering={STEERED}",
        'judge.orders="both"',
        scenarios=24,
        error_rate=0.1,
    )
    return asyncio.run(pipeline.run_sweep(sweep, tmp_path / "runs")).folder


def same_as_the_pipeline(run: Run) -> None:
    assert run.rankings().height == 12 * 4
    assert run.episodes().height == run.status().progress.done == run.audit().episodes == 24 * 12
    assert len(run.compare("mode").comparisons) == 6


def test_a_run_tells_what_the_commands_tell(played: RunFolder) -> None:
    """Rankings, status, comparisons and audits are those of the pipeline; the run's name and start are there."""
    run = conflictscope.load_run(played.path)
    same_as_the_pipeline(run)
    assert (run.name, run.meta["kind"], run.groups()) == ("bench", "sweep", [ranking.group for ranking in run.rank()])
    for method in Method:
        wanted = [ranking.to_json() for ranking in asyncio.run(pipeline.rank(played, method))]
        assert [ranking.to_json() for ranking in run.rank(method.value)] == wanted
    rated = run.pairs().select(rated="wins_a").sum().item() + run.pairs()["wins_b"].sum() + run.pairs()["ties"].sum()
    assert rated == run.outcomes().height
    assert run.episodes().to_pandas()["verdict"].value_counts().sum() == 24 * 12


async def test_it_works_where_an_event_loop_runs(make_sweep: MakeSweep, tmp_path: Path) -> None:
    """As in Jupyter; what goes wrong inside comes out as it is."""
    folder = (await pipeline.run_sweep(make_sweep(), tmp_path / "runs")).folder
    run = conflictscope.load_run(str(folder.path))
    assert (
        run.outcomes().height + run.episodes().filter(~run.episodes()["verdict"].is_in(["a", "b", "tie"])).height == 36
    )
    assert len(run.rank()) == 3
    with pytest.raises(InputError, match="has not judged here"):
        run.rank(judge="nobody")


def test_every_chart_is_an_altair_chart_that_can_be_drawn(played: RunFolder) -> None:
    """Of a group by its words or by itself; and without one, where there are several, the groups are told."""
    run = conflictscope.load_run(played.path)
    charts, group = run.charts, run.groups()[0]
    drawn = [
        charts.ranking(), charts.ranking("trueskill"), charts.doubt(), charts.states(), charts.steering(), charts.flips(),
        charts.throughput(), charts.spend(), charts.cost(), charts.failures(), *charts.shifts("mode"),
        *(chart(group) for chart in (charts.convergence, charts.pair_matrix, charts.methods)),
        charts.convergence(str(group)),
    ]  # fmt: skip
    for chart in drawn:
        assert isinstance(chart, alt.TopLevelMixin)
        assert chart.to_dict()["$schema"].startswith("https://vega.github.io/schema/vega-lite/")
    assert charts.convergence(str(group)).to_dict() == charts.convergence(group).to_dict()
    with pytest.raises(InputError, match=r"group: expected one of planted:alpha / multiple_choice; .*; got None"):
        charts.convergence()


def test_what_is_no_run_is_told(tmp_path: Path, played: RunFolder) -> None:
    """By an InputError that names it; a file that is no run file by a StoreError."""
    with pytest.raises(InputError, match="no run 'nowhere'"):
        conflictscope.load_run("nowhere")
    (tmp_path / "run.db").write_text("not a database, and long enough to be read as the header of one" * 9)
    with pytest.raises(StoreError, match=r"not a run file|not a database"):
        conflictscope.load_run(tmp_path)
    run = conflictscope.load_run(played.path)
    with pytest.raises(InputError, match="method: expected one of trueskill, posterior, bradley_terry, got 'elo'"):
        run.rank("elo")
    with pytest.raises(InputError, match="by: expected one of"):
        run.compare("weather")


def test_importing_the_package_imports_no_frames_and_no_charts() -> None:
    """Agents and behaviours of others import it, and should not wait for what notebooks need."""
    program = (
        "import sys, conflictscope; print([name for name in ('polars', 'altair', 'inspect_ai') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=True)
    assert done.stdout == "[]\n"
    assert all(hasattr(conflictscope, name) for name in conflictscope.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        conflictscope.nothing  # noqa: B018
