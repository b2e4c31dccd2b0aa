"""What a driver and its workers say to each other. Named tuples, for they are packed and unpacked by the million.

Whatever a worker numbers is numbered by itself, from 1 on; what carries `number` first and is not Played, Left or Ended is a
question, or the answer to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

from conflictscope.outcome import Group
from conflictscope.ports import CallEnd, CallSent, EpisodeRecord
from conflictscope.snapshot import LaneLoad


class Sent(NamedTuple):
    """A request is about to go out. One that costs money waits for the answer, which comes when it is committed."""

    number: int
    call: CallSent


class Ended(NamedTuple):
    """How it ended. number: as in Sent."""

    number: int
    end: CallEnd


class Reserve(NamedTuple):
    """May so much be spent? The answer is yes, or that the limit is reached."""

    number: int
    usd: float
    what: str


class Settle(NamedTuple):
    """A reservation, put in for what was spent."""

    number: int
    spent_usd: float


class Admit(NamedTuple):
    """May a request of about so many tokens be sent to this provider now?"""

    number: int
    provider: str
    tokens: float


class Correct(NamedTuple):
    """What an admitted request really took."""

    number: int
    tokens: float


class Opening(NamedTuple):
    """The opening message of a scenario was written."""

    scenario_id: str
    text: str


class Played(NamedTuple):
    """An episode came to its end. number: as in Play. All its calls were told before."""

    number: int
    record: EpisodeRecord


class Left(NamedTuple):
    """An episode is left. why: a limit was reached, a lane is closed, or `broken`, which is a fault of ours.

    closed: the lanes that this worker has closed, and why.
    """

    number: int
    why: Literal["limit", "closed", "broken"]
    told: str
    closed: Mapping[str, str]


class Loads(NamedTuple):
    """How the lanes of this worker stand."""

    lanes: Sequence[LaneLoad]


class Logged(NamedTuple):
    """A line of the log, redacted."""

    level: str
    event: str
    fields: Mapping[str, Any]


class Gone(NamedTuple):
    """The worker has left; nothing comes after this."""


FromWorker: TypeAlias = (
    Sent | Ended | Reserve | Settle | Admit | Correct | Opening | Played | Left | Loads | Logged | Gone
)


class Play(NamedTuple):
    """Play an episode. opening: of its scenario, where it is written. answers: what was answered in it, or for it, before."""

    number: int
    group: Group
    scenario_id: str
    repeat: int
    opening: str | None
    answers: Mapping[str, Mapping[str, bytes]]


class Drop(NamedTuple):
    """Abandon an episode."""

    number: int


class Answer(NamedTuple):
    """Yes, to a question of this number, or that the limit is reached."""

    number: int
    limit: str | None = None


class Workers(NamedTuple):
    """So many workers share what there is."""

    many: int


class Leave(NamedTuple):
    """Abandon what is in flight, tell how it ended, and go."""


FromDriver: TypeAlias = Play | Drop | Answer | Workers | Leave
