"""A run for notebooks and scripts: its tables as data frames, its rankings, its charts."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import polars as pl
from anyio.from_thread import start_blocking_portal

from conflictscope import pipeline, tidy
from conflictscope.audit import Audit
from conflictscope.board import Board
from conflictscope.comparison import By, Comparisons
from conflictscope.errors import InputError
from conflictscope.frames import frame
from conflictscope.monitor import Monitor
from conflictscope.outcome import Group
from conflictscope.pipeline.runs import check_played
from conflictscope.rating import Method, Ranking
from conflictscope.runfolder import RunFolder
from conflictscope.snapshot import LibraryProgress, Snapshot
from conflictscope.store import RunReader
from conflictscope.views import charts

if TYPE_CHECKING:
    import altair

_T = TypeVar("_T")


def load_run(path: str | Path) -> Run:
    """A run by the path of its folder, or by its name where it lies in `runs/`. Raises InputError where there is none, and
    StoreError where its file cannot be read.

    Nothing is read ahead: each method reads the run as it is then, also while it goes on.
    """
    run = Run(RunFolder.find(str(path), Path("runs")))
    check_played(run.meta, run.folder)
    return run


class Run:
    """One run. Made by `load_run`.

    Frames are polars; `.to_pandas()` makes them pandas. Their columns are those of `conflictscope export` (docs/exporting.md).
    All methods work with and without an event loop that runs, so in Jupyter too.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder

    def __repr__(self) -> str:
        return f"<Run {self.name}: {self.folder.path}>"

    @property
    def name(self) -> str:
        """The run's name."""
        return self.folder.name

    @property
    def meta(self) -> dict[str, Any]:
        """What it was started with: name, kind, seed, sweep, world, versions, ..."""
        return _wait(self._meta())

    @property
    def charts(self) -> Charts:
        """Its charts."""
        return Charts(self)

    # -- tables --------------------------------------------------------------------------------------------------------

    def episodes(self) -> pl.DataFrame:
        """Every episode that has ended."""
        return self._table(tidy.EPISODES)

    def outcomes(self) -> pl.DataFrame:
        """The episodes that are evidence, with their winners and losers."""
        return self._table(tidy.OUTCOMES)

    def messages(self) -> pl.DataFrame:
        """What was said."""
        return self._table(tidy.MESSAGES)

    def judgements(self) -> pl.DataFrame:
        """Every look of every judge."""
        return self._table(tidy.JUDGEMENTS)

    def calls(self) -> pl.DataFrame:
        """Every request to a model, without its words."""
        return self._table(tidy.CALLS)

    def scenarios(self) -> pl.DataFrame:
        """The scenarios."""
        return self._table(tidy.SCENARIOS)

    def values(self) -> pl.DataFrame:
        """The values."""
        return self._table(tidy.VALUES)

    def verdicts(self) -> pl.DataFrame:
        """The verdicts of judges of `rejudge`."""
        return self._table(tidy.VERDICTS)

    def labels(self) -> pl.DataFrame:
        """What people said."""
        return self._table(tidy.LABELS)

    def rankings(self, method: Method | str = Method.POSTERIOR, judge: str | None = None) -> pl.DataFrame:
        """The ranking of each group, a row for each value. As `rank`."""
        return frame(tidy.RANKINGS, tidy.ranking_rows(self.rank(method, judge)))

    def pairs(self, method: Method | str = Method.POSTERIOR, judge: str | None = None) -> pl.DataFrame:
        """The counts of each group, a row for each pair of values. As `rank`."""
        return frame(tidy.PAIRS, tidy.pair_rows(self.rank(method, judge)))

    # -- results -------------------------------------------------------------------------------------------------------

    def groups(self) -> list[Group]:
        """What there is a ranking for: targets under conditions."""
        return _wait(self._groups())

    def rank(self, method: Method | str = Method.POSTERIOR, judge: str | None = None) -> list[Ranking]:
        """The ranking of each group.

        method: `posterior`, `bradley_terry` or `trueskill`. judge: a judge of `rejudge` by name, whose verdicts are ranked
        instead of the run's own. Raises InputError for a judge that has not judged here.
        """
        return _wait(pipeline.rank(self.folder, _one_of(Method, method, "method"), judge=judge))

    def status(self, judge: str | None = None) -> Snapshot:
        """How far it is: `.progress`, live `.rankings`, and more."""
        found = _wait(pipeline.status(self.folder, judge))
        assert not isinstance(found, LibraryProgress), "load_run takes runs only"
        return found

    def compare(self, by: By | str | None = None, judge: str | None = None) -> Comparisons:
        """How groups differ that differ in one thing only: `target`, `mode`, `steering` or `behavior`; in each of them unless
        given. Raises InputError where there are no two such groups.
        """
        return _wait(pipeline.compare(self.folder, tuple(By) if by is None else (_one_of(By, by, "by"),), judge=judge))

    def audit(self) -> Audit:
        """What its judges, repeats and scenarios are worth."""
        return _wait(pipeline.audit(self.folder))

    def board(self) -> Board:
        """All that pages show of it at once: rankings, their histories, flips of judges, a timeline, failures."""
        return _wait(self._board())

    def _table(self, table: tidy.Table) -> pl.DataFrame:
        return _wait(self._frame(table))

    async def _frame(self, table: tidy.Table) -> pl.DataFrame:
        async with RunReader.open(self.folder.database) as reader:
            stretches = [frame(table, rows) async for rows in reader.table(table)]
        return pl.concat([frame(table, ()), *stretches], rechunk=True)

    async def _meta(self) -> dict[str, Any]:
        async with RunReader.open(self.folder.database) as reader:
            return await reader.meta()

    async def _groups(self) -> list[Group]:
        async with RunReader.open(self.folder.database) as reader:
            return list((await reader.groups()).values())

    async def _board(self) -> Board:
        async with RunReader.open(self.folder.database) as reader:
            return await Monitor(reader, self.folder).board()


class Charts:
    """The charts of a run, as Altair has them: a notebook shows them, `.save("chart.svg")` writes them.

    group: one of `Run.groups()` or its words, like "planted:guardian / open_ended"; may be left out where the run has one.
    """

    def __init__(self, run: Run) -> None:
        self._run = run

    def ranking(self, method: Method | str = Method.POSTERIOR) -> altair.TopLevelMixin:
        """Utilities of all groups with their 95 % intervals, best first."""
        return charts.ranking_chart(self._run.rank(method))

    def methods(self, group: Group | str | None = None) -> altair.TopLevelMixin:
        """One group by all methods."""
        return charts.methods_chart([self._one(self._run.rank(method), group) for method in Method])

    def pair_matrix(self, group: Group | str | None = None) -> altair.TopLevelMixin:
        """How often the value of a row won against that of a column, and how often the order of the actions decided."""
        board = self._run.board()
        ranking = self._one(board.rankings, group)
        return charts.pair_matrix(ranking, board.flips.get(ranking.group, {}))

    def convergence(self, group: Group | str | None = None) -> altair.TopLevelMixin:
        """The live ratings of one group over its outcomes, with their 95 % bands."""
        board = self._run.board()
        return charts.convergence_chart(board.histories[self._one(board.rankings, group).group])

    def doubt(self) -> altair.TopLevelMixin:
        """How far each ranking was from being settled, over its outcomes."""
        board = self._run.board()
        alpha = board.rankings[0].convergence.rule.alpha
        return charts.doubt_chart(list(board.histories.values()), alpha)

    def states(self) -> altair.TopLevelMixin:
        """What episodes came to."""
        return charts.states_chart(self._run.rank())

    def shifts(self, by: By | str | None = None) -> list[altair.TopLevelMixin]:
        """How values differ between two groups, a chart for each comparison. by: as in `Run.compare`."""
        return [charts.shift_chart(comparison) for comparison in self._run.compare(by).comparisons]

    def steering(self) -> altair.TopLevelMixin:
        """How far steerings that state a ranking were followed."""
        return charts.steering_chart(self._run.compare(By.STEERING).alignments)

    def flips(self) -> altair.TopLevelMixin:
        """How often the order of the actions changed a judge's mind."""
        return charts.flips_chart(self._run.audit())

    def throughput(self) -> altair.TopLevelMixin:
        """Episodes per second over time."""
        return charts.throughput_chart(self._run.board().timeline)

    def spend(self) -> altair.TopLevelMixin:
        """What was spent over time, in dollars."""
        board = self._run.board()
        return charts.spend_chart(board.timeline, board.snapshot.progress.limit_usd)

    def cost(self) -> altair.TopLevelMixin:
        """What each role and model cost."""
        return charts.cost_chart(self._run.status().progress.usage)

    def failures(self) -> altair.TopLevelMixin:
        """Failed episodes by kind."""
        return charts.failures_chart(self._run.board().failures)

    @staticmethod
    def _one(rankings: Sequence[Ranking], group: Group | str | None) -> Ranking:
        """The ranking of a group. Raises InputError."""
        found = [ranking for ranking in rankings if group is None or str(ranking.group) == str(group)]
        if len(found) != 1:
            there = "; ".join(str(ranking.group) for ranking in rankings) or "none"
            raise InputError(f"group: expected one of {there}; got {None if group is None else str(group)!r}")
        return found[0]


def _one_of(kind: Any, name: str, parameter: str) -> Any:
    try:
        return kind(name)
    except ValueError:
        raise InputError(f"{parameter}: expected one of {', '.join(kind)}, got {name!r}") from None


def _wait(work: Coroutine[Any, Any, _T]) -> _T:
    """The result of asynchronous work; where an event loop runs in this thread, as in Jupyter, it is done in another thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)

    async def done() -> _T:
        return await work

    with start_blocking_portal() as portal:  # a Ctrl-C here cancels the work there
        return portal.call(done)
