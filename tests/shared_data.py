"""Where the recorded real data lies: beside the checkout, not in it."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).parents[2] / "shared" / "data"


def shared(name: str) -> Path:
    """The path of a file or folder of recorded data; skips the test where it is missing."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"recorded data is not there: {path}")
    return path
