"""Keeping keys out of everything that is written or shown.

Keys come from the environment. Whatever looks like one there is taken out of log lines, error messages, journaled requests and
replies: a service may quote a key in its error message, or a hostile one in its reply.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL", re.IGNORECASE)
_SHORTEST = 8  # anything shorter would take ordinary words out of texts
MARK = "[redacted]"

_secrets: list[str] = []
_secrets_bytes: list[bytes] = []


def know_secrets(environment: Mapping[str, str] | None = None, *more: str | None) -> None:
    """Take what looks like a key in the environment, and `more`, for secret from now on; what was known before stays."""
    environment = os.environ if environment is None else environment
    found = [value for name, value in environment.items() if _SECRET_NAME.search(name)]
    found += [secret for secret in more if secret is not None]
    for secret in found:
        stripped = secret.strip()
        if len(stripped) >= _SHORTEST and stripped not in _secrets and not os.path.exists(stripped):  # a file with keys
            _secrets.append(stripped)
    _secrets.sort(key=len, reverse=True)  # a key that holds another goes first, whole
    _secrets_bytes[:] = [secret.encode() for secret in _secrets]


def redact(text: str) -> str:
    """`text` with a mark in the place of every known secret."""
    for secret in _secrets:
        if secret in text:
            text = text.replace(secret, MARK)
    return text


def redact_bytes(data: bytes) -> bytes:
    """As `redact`, for UTF-8."""
    for secret in _secrets_bytes:
        if secret in data:
            data = data.replace(secret, MARK.encode())
    return data
