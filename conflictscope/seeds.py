"""Random numbers drawn from what they are for, so that nothing depends on the order of execution.

Every draw names its seed and its purpose: `uniform(run_seed, episode_key, "order")`. The same names give the same
number in any process, on any machine, in any order, after any number of kills and resumes.
"""

from __future__ import annotations

import hashlib
from statistics import NormalDist

_STANDARD_NORMAL = NormalDist()


def derive(*parts: str | int) -> int:
    """An integer, uniform over [0, 2**63), that is a pure function of `parts` and of their boundaries."""
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        encoded = str(part).encode()
        digest.update(len(encoded).to_bytes(4, "big") + encoded)
    return int.from_bytes(digest.digest(), "big") >> 1  # fits a signed 64-bit column


def uniform(*parts: str | int) -> float:
    """A number in the open interval (0, 1), with 52 random bits."""
    return ((derive(*parts) >> 11) + 0.5) / 2**52


def normal(*parts: str | int) -> float:
    """A standard normal number."""
    return _STANDARD_NORMAL.inv_cdf(uniform(*parts))


def request_seed(*parts: str | int) -> int:
    """A seed to send to a model: 31 bits, which every provider that takes a seed accepts."""
    return derive(*parts) >> 32
