"""The course of a run over time, in a bounded number of stretches however long it took."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime

from conflictscope.board import Stretch

MOST_STRETCHES = 240


@dataclass(slots=True)
class Work:
    """What was done in some time; as in Stretch. answered: calls that `latency_s`, a sum, is of."""

    episodes: int = 0
    failed: int = 0
    calls: int = 0
    failed_calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    spent_usd: float = 0.0
    answered: int = 0
    latency_s: float = 0.0

    def add(self, more: Work) -> None:
        """Add what was done besides."""
        for name in _WORK:
            setattr(self, name, getattr(self, name) + getattr(more, name))


_WORK = tuple(each.name for each in fields(Work))


class Timeline:
    """Work by when it was done.

    A stretch is as many seconds long as it takes to have at most MOST_STRETCHES of them: 1, 2, 4, ... A stretch is there if
    something was done in it, or it lies in a session, so that a standstill shows; the time between sessions, be it days, is left
    out.
    """

    def __init__(self) -> None:
        self.stretch_s = 1
        self._work: dict[int, Work] = {}

    def add(self, second: str, work: Work) -> None:
        """Add what was done in one second. second: ISO 8601 without a zone, UTC."""
        moment = datetime.fromisoformat(second).replace(tzinfo=UTC)
        self._add(int(moment.timestamp()) // self.stretch_s, work)
        if len(self._work) > MOST_STRETCHES:
            self._widen()

    def _add(self, number: int, work: Work) -> None:
        own = self._work.get(number)
        if own is None:
            self._work[number] = work
        else:
            own.add(work)

    def _widen(self) -> None:
        self.stretch_s *= 2
        narrow, self._work = self._work, {}
        for number, work in narrow.items():
            self._add(number // 2, work)

    def fit(self, sessions: Iterable[tuple[datetime, datetime]]) -> None:
        """Make stretches so long that there are not too many. sessions: beginning and end of each."""
        spans = [(begin.timestamp(), end.timestamp()) for begin, end in sessions]
        while len(told := self._told(spans)) > MOST_STRETCHES:
            self._widen()
        self._numbers = sorted(told)

    def stretches(self) -> Sequence[Stretch]:
        """What was done, as of the last `fit`, oldest first. The last stretch may not be over."""
        return [self._stretch(number, self._work.get(number, Work())) for number in self._numbers]

    def _told(self, spans: Iterable[tuple[float, float]]) -> set[int]:
        told = set(self._work)
        for begin, end in spans:
            first, last = int(begin // self.stretch_s), int(end // self.stretch_s)
            told.update(range(first, min(last, first + MOST_STRETCHES) + 1))
        return told

    def _stretch(self, number: int, work: Work) -> Stretch:
        return Stretch(
            start=datetime.fromtimestamp(number * self.stretch_s, UTC).isoformat(),
            seconds=float(self.stretch_s),
            episodes=work.episodes,
            failed=work.failed,
            calls=work.calls,
            failed_calls=work.failed_calls,
            input_tokens=work.input_tokens,
            output_tokens=work.output_tokens,
            spent_usd=work.spent_usd,
            latency_s=work.latency_s / work.answered if work.answered else None,
        )
