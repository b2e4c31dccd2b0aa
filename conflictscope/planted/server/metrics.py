"""What `GET /metrics` tells: counts of what was asked of the models, and what came of it."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Visit:
    """A request on its way. number: its place in the order of arrival, from 0. outcome: a status, or what came instead."""

    number: int
    outcome: str = "abandoned"  # the client left before anything was decided


@dataclass
class Metrics:
    """Counts since the server began.

    requests, in_flight, highest_in_flight: model requests. by_status: of those that have ended; beside statuses there are
    `hang`, `disconnect` and `abandoned` (the client left first). by_model: requests per model, of those that name one.
    faults: injected, by kind. answered: 200s that were delivered whole. repeated: requests whose exact body had been
    answered before. rejected: turned away by the limits of the world. batches, batched: batches made, and requests that
    were answered in them. Tokens are those of all answers, in batches too.
    """

    requests: int = 0
    in_flight: int = 0
    highest_in_flight: int = 0
    by_status: Counter[str] = field(default_factory=Counter)
    by_model: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    answered: int = 0
    repeated: int = 0
    rejected: int = 0
    batches: int = 0
    batched: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    connections_opened: int = 0
    connections_open: int = 0
    highest_connections: int = 0
    _answered_bodies: set[bytes] = field(default_factory=set)

    def arrive(self) -> Visit:
        """A model request has come."""
        visit = Visit(self.requests)
        self.requests += 1
        self.in_flight += 1
        self.highest_in_flight = max(self.highest_in_flight, self.in_flight)
        return visit

    def leave(self, visit: Visit) -> None:
        """It has ended."""
        self.in_flight -= 1
        self.by_status[visit.outcome] += 1

    def fingerprint(self, path: str, body: bytes) -> bytes:
        """What tells one body from another; counts it as repeated if it was answered before."""
        fingerprint = hashlib.blake2b(body, digest_size=16, key=path.encode()[:64]).digest()
        self.repeated += fingerprint in self._answered_bodies
        return fingerprint

    def deliver(self, fingerprint: bytes) -> None:
        """A good reply has been delivered whole."""
        self.answered += 1
        self._answered_bodies.add(fingerprint)

    def spend(self, input_tokens: int, output_tokens: int) -> None:
        """An answer was made of so many tokens."""
        self.input_tokens += input_tokens
        self.output_tokens += output_tokens

    def connect(self) -> None:
        """A connection was opened."""
        self.connections_opened += 1
        self.connections_open += 1
        self.highest_connections = max(self.highest_connections, self.connections_open)

    def disconnect(self) -> None:
        """A connection was closed."""
        self.connections_open -= 1

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        return {key: value for key, value in vars(self).items() if not key.startswith("_")}
