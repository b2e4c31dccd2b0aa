"""A judge that quotes evidence."""

from __future__ import annotations

from conflictscope.agents.behaviors.base import Behavior
from conflictscope.outcome import Role


class QuotingJudge(Behavior):
    """Must quote the words of the target that decide its verdict; each quote is held to the transcript."""

    role = Role.JUDGE
    quotes = True
