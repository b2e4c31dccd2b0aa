"""What a report is made from, as plain data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from conflictscope.audit import Audit
from conflictscope.board import Board
from conflictscope.comparison import By, Comparison, Comparisons
from conflictscope.librarystats import LibraryStats
from conflictscope.outcome import Group, Verdict
from conflictscope.rating import Method, Ranking
from conflictscope.snapshot import Usage

_FINISHED = ("finished", "converged", "imported", "enough")


@dataclass(frozen=True)
class Report:
    """All that there is to say of a run.

    began, ended: ISO 8601, UTC; None where nothing tells. meta: what the run was started with. sweep: its file as executed,
    empty for recorded outcomes. rankings: by method, one a group, in the same order. audit: None without episodes. library: of
    the run's scenarios; None where it holds none.
    """

    board: Board
    began: str | None
    ended: str | None
    meta: Mapping[str, Any]
    sweep: str
    rankings: Mapping[Method, Sequence[Ranking]]
    comparisons: Comparisons
    audit: Audit | None
    library: LibraryStats | None

    @property
    def main(self) -> Sequence[Ranking]:
        """The rankings that the sentences are about: those of the joint posterior."""
        return self.rankings[Method.POSTERIOR]

    @property
    def unfinished(self) -> bool:
        """Whether episodes of the plan are still to be played."""
        return self.board.snapshot.progress.state not in _FINISHED

    @property
    def verdicts(self) -> Mapping[Verdict, int]:
        """Episodes by state."""
        return self.board.snapshot.progress.verdicts

    @property
    def left_out(self) -> dict[Verdict, int]:
        """Episodes by state, of those that no ranking learns from, the most frequent first."""
        counts = Counter({verdict: count for verdict, count in self.verdicts.items() if not verdict.rated and count})
        return dict(counts.most_common())

    def by_group(self) -> Iterator[tuple[Group, dict[Method, Ranking]]]:
        """Each group with its rankings by all methods."""
        for each in zip(*self.rankings.values(), strict=True):
            yield each[0].group, dict(zip(self.rankings, each, strict=True))

    def compared_by(self) -> dict[By, list[Comparison]]:
        """Comparisons of groups by what they differ in: modes first, targets last, for of those there are most."""
        order = (By.MODE, By.STEERING, By.BEHAVIOR, By.TARGET)
        ordered = sorted(self.comparisons.comparisons, key=lambda each: order.index(each.by[0]))
        return {by: list(each) for by, each in groupby(ordered, key=lambda each: each.by[0])}

    def usage_by(self, *what: str) -> dict[tuple[str, ...], Usage]:
        """What requests took, by role, target or model, the dearest first."""
        sums: dict[tuple[str, ...], Usage] = {}
        for purpose, used in self.board.snapshot.progress.usage.items():
            key = tuple(getattr(purpose, one) or "all targets" for one in what)
            sums[key] = sums.get(key, Usage()) + used
        return dict(sorted(sums.items(), key=lambda item: (-item[1].spent_usd, -item[1].calls, item[0])))
