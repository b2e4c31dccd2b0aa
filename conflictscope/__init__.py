"""ConflictScope: which value does a model serve when two of them collide?"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from conflictscope.agents.behaviors import Behavior
from conflictscope.errors import CallFailed, ConflictScopeError, InputError, LimitReached, StoreError
from conflictscope.outcome import Group, Message, Mode, Outcome, Role, Verdict
from conflictscope.ports import Turn
from conflictscope.rating import Ranking, Rating
from conflictscope.scenario import Scenario
from conflictscope.values import Value, ValueSet

if TYPE_CHECKING:
    from conflictscope.run import Run, load_run

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
    "Run",
    "Scenario",
    "StoreError",
    "Turn",
    "Value",
    "ValueSet",
    "Verdict",
    "__version__",
    "load_run",
]


def __getattr__(name: str) -> Any:
    """What needs data frames and charts is imported when it is asked for: it takes seconds, which agents and behaviours of
    others should not wait for.
    """
    if name in ("Run", "load_run"):
        return getattr(import_module("conflictscope.run"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
