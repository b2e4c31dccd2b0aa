"""What the pages are made from."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol

from conflictscope.board import Board, Episode, EpisodeFilter, EpisodePage, FilterChoices
from conflictscope.comparison import Comparisons


@dataclass(frozen=True, slots=True)
class RunCard:
    """One run in the list. kind: `sweep`, `import`, `library` or `checks`. started_at: ISO 8601, UTC; None where it never ran.
    problem: why it cannot be read, in words; the rest says nothing then.
    """

    name: str
    kind: str
    state: str
    planned: int | None
    done: int
    targets: Sequence[str]
    started_at: str | None
    spent_usd: float
    limit_usd: float | None
    problem: str | None = None


class RunSource(Protocol):
    """The runs of one folder. A run is named as its card is; NoSuchRun is raised for every other name."""

    async def runs(self) -> Sequence[RunCard]:
        """All runs, the newest first."""
        ...

    def boards(self, run: str) -> AsyncGenerator[Board]:
        """The run as of now, then anew whenever something has happened: always the newest state, whatever was missed.

        Raises TooManyRuns where as many runs are watched as may be.
        """
        ...

    async def choices(self, run: str) -> FilterChoices:
        """What episodes can be filtered by."""
        ...

    async def episode_page(self, run: str, wanted: EpisodeFilter, before: int | None, limit: int) -> EpisodePage:
        """At most `limit` of the episodes that are wanted; those before `before`, where it is given."""
        ...

    async def episode(self, run: str, seq: int) -> Episode | None:
        """One episode; None where there is none of this number."""
        ...

    async def comparisons(self, run: str, other: str | None) -> Comparisons:
        """Of the groups of a run; with `other`, of each of its groups with the same one of another run.

        Raises InputError where nothing can be compared.
        """
        ...


class NoSuchRun(LookupError):
    """There is no such run in the folder."""


class TooManyRuns(RuntimeError):
    """As many runs are watched as may be at once."""
