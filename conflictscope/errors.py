"""What can go wrong, as types.

ConflictScopeError
|-- InputError        a file, key, option or setting is not as it must be (exit 2)
|-- StoreError        a run file cannot be read or written (exit 2)
|-- StopRun           no further episode can be played
|   |-- LimitReached  the sweep's own cost limit was reached (exit 3)
|   `-- AccessDenied  a service refuses us altogether: wrong key, unknown model (exit 2)
`-- CallFailed        one call to a model gave no usable reply; becomes a typed state of one episode
"""

from __future__ import annotations

from pathlib import Path


class ConflictScopeError(Exception):
    """Base of every error that ConflictScope raises on purpose."""


class InputError(ConflictScopeError):
    """Bad input, told so that a newcomer can act: where, which key, what was expected and what came."""

    def __init__(self, message: str, *, path: Path | str | None = None, line: int | None = None) -> None:
        where = "" if path is None else f"{path}:{line}: " if line else f"{path}: "
        super().__init__(where + message)


class StoreError(ConflictScopeError):
    """A run file cannot be opened, read or written."""


class StopRun(ConflictScopeError):
    """No further episode can be played; those in flight are left for a resume, not counted as failed."""


class LimitReached(StopRun):
    """The sweep reached a limit that its file sets."""


class AccessDenied(StopRun):
    """A service refuses every call: the key is not accepted, or there is no such model."""


class CallFailed(ConflictScopeError):
    """One call gave no usable reply.

    `kind` is a stable short word for counting. Of the call: `timeout`, `http_429` (and every other status), `connection`,
    `api` (the service said that it failed), `setup` (the model has no such setting or mode), `unexpected`. Of the reply:
    `refused` (by the model's own refusal or a content filter), `truncated` (by the token limit), `empty`, `unparsed` (no
    protocol's reply, or no valid typed reply after one re-ask; the message ends with the reply as it came). `agent`: a
    user's own agent raised.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind
