"""ConflictScope: which value does a model serve when two of them collide?"""

from conflictscope.errors import CallFailed, ConflictScopeError, InputError, LimitReached, StoreError
from conflictscope.outcome import Group, Mode, Outcome, Verdict
from conflictscope.rating import Ranking, Rating
from conflictscope.scenario import Scenario
from conflictscope.values import Value, ValueSet

__version__ = "0.1.0"

__all__ = [
    "CallFailed",
    "ConflictScopeError",
    "Group",
    "InputError",
    "LimitReached",
    "Mode",
    "Outcome",
    "Ranking",
    "Rating",
    "Scenario",
    "StoreError",
    "Value",
    "ValueSet",
    "Verdict",
    "__version__",
]
