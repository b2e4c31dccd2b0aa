"""Keeping keys out of everything that is written or shown.

Keys come from the environment. Whatever looks like one there is taken out of log lines, error messages, journaled requests and
replies: a service may quote a key in its error message, or a hostile one in its reply.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping

_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL", re.IGNORECASE)
# What is shorter, or is a word, would take ordinary words out of texts.
_SHORTEST = 8
_WORD = re.compile(r"[a-z]{1,15}")
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
        if (
            len(stripped) >= _SHORTEST
            and not _WORD.fullmatch(stripped)
            and stripped not in _secrets
            and not os.path.exists(stripped)
        ):  # a file with keys
            _secrets.extend(form for form in _forms(stripped) if form not in _secrets)
    _secrets.sort(key=len, reverse=True)  # a key that holds another goes first, whole
    _secrets_bytes[:] = [secret.encode(errors="surrogateescape") for secret in _secrets]


def _forms(secret: str) -> set[str]:
    """A secret as it is, and as it stands in JSON, in Python's `repr`, and in JSON inside of either: most have one form."""
    forms = {secret}
    for _ in range(2):
        forms |= {form for known in forms for form in _escaped(known)}
    return forms


def _escaped(text: str) -> Iterator[str]:
    yield json.dumps(text)[1:-1]
    yield json.dumps(text, ensure_ascii=False)[1:-1]
    yield repr(text)[1:-1]
    both_quotes = "\"'"  # a text that holds both is written with the single ones escaped
    yield repr(both_quotes + text)[4:-1]


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
