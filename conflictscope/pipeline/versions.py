"""What makes a run: Python and the packages that matter."""

from __future__ import annotations

import platform
from importlib import metadata


def versions() -> dict[str, str]:
    """Of this process, by name."""
    packages = ("conflictscope", "pydantic-ai-slim", "openai", "anthropic", "trueskill", "numpy")
    return {"python": platform.python_version(), **{package: metadata.version(package) for package in packages}}
