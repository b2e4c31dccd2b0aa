"""A line of the table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """check: what was measured, in words. bound: the figure to reach. reached: the figure. holds: whether it was reached."""

    check: str
    bound: str
    reached: str
    holds: bool
