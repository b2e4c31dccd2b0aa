"""What can go wrong, as types.

ConflictScopeError
|-- InputError        a file, key, option or setting is not as it must be (exit 2)
|-- StoreError        a run file cannot be read or written (exit 2)
|-- LimitReached      the sweep's own cost limit is reached; nothing further can be asked (exit 3)
|-- LaneClosed        a service keeps refusing us in one way; episodes that need that lane are left for a resume
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


class LimitReached(ConflictScopeError):
    """The sweep reached a limit that its file sets. Episodes in flight are left for a resume, not counted as failed."""


class LaneClosed(ConflictScopeError):
    """A lane answers nobody any more. Episodes that need it are left for a resume, not counted as failed."""


class CallFailed(ConflictScopeError):
    """One call gave no usable reply.

    `kind` is a stable short word for counting. Of the call: `timeout`, `connection`, `http_429` and every other status,
    `malformed` (a body that is cut short or not what was asked for), `api` (a reply that the service itself says failed),
    `quota` (credit is used up), `setup` (the model has no such setting or mode), `unexpected`. Of a call in a batch: `expired`,
    `canceled` (the batch ended before the model was asked), `batch` (the batch is gone, or cannot be read). Of the reply:
    `refused` (by the model's own refusal or a content filter), `truncated` (by the token limit), `empty`, `unparsed` (no valid
    typed reply after one re-ask; the message ends with the reply as it came), `unquoted` (the same, of a judge that quotes
    what the target did not say). `agent`: a user's own agent raised.
    `behavior`: a behaviour raised, took too long, or returned what it should not.
    `episode_timeout`: of the episode.

    retry_after_s: how long the service asked us to wait, where it did. sent: False where no connection could be made, so that
    nothing can be billed.
    """

    def __init__(self, kind: str, message: str, *, retry_after_s: float | None = None, sent: bool = True) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind
        self.told = message
        self.retry_after_s = retry_after_s
        self.sent = sent
