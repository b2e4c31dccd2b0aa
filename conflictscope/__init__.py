"""ConflictScope: which value does a model serve when two of them collide?"""

from conflictscope.agents.behaviors import Behavior
from conflictscope.errors import CallFailed, ConflictScopeError, InputError, LimitReached, StoreError
from conflictscope.outcome import Group, Message, Mode, Outcome, Role, Verdict
from conflictscope.ports import Turn
from conflictscope.rating import Ranking, Rating
from conflictscope.scenario import Scenario
from conflictscope.values import Value, ValueSet

__version__ = "0.1.0"

__all__ = [
    "Behavior",
    "CallFailed",
    "ConflictScopeError",
    "Group",
    "InputError",
    "LimitReached",
    "Message",
    "Mode",
    "Outcome",
    "Ranking",
    "Rating",
    "Role",
    "Scenario",
    "StoreError",
    "Turn",
    "Value",
    "ValueSet",
    "Verdict",
    "__version__",
]
