from __future__ import annotations

import pytest

from conflictscope.arena.lanes.journal import failed
from conflictscope.errors import CallFailed


@pytest.mark.parametrize(
    ("failure", "at_risk_usd"),
    [
        (CallFailed("connection", "closed in the middle"), 0.5),
        (CallFailed("connection", "refused", sent=False), 0.0),
        (CallFailed("timeout", "late"), 0.5),
        (CallFailed("http_500", "no"), 0.0),
    ],
)
def test_only_what_was_sent_may_be_billed(failure: CallFailed, at_risk_usd: float) -> None:
    """A call whose end was not seen counts with what was reserved; where no connection was made, there is nothing to count."""
    assert failed(failure, 0.5, 1.0).at_risk_usd == at_risk_usd
