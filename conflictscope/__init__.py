"""ConflictScope: which value does a model serve when two of them collide?"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from conflictscope.agents.behaviors import Behavior
    from conflictscope.errors import CallFailed, ConflictScopeError, InputError, LimitReached, StoreError
    from conflictscope.outcome import Group, Message, Mode, Outcome, Role, Verdict
    from conflictscope.ports import Turn
    from conflictscope.rating import Ranking, Rating
    from conflictscope.run import Run, load_run
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

_HOMES = {
    "agents.behaviors": ("Behavior",),
    "errors": ("CallFailed", "ConflictScopeError", "InputError", "LimitReached", "StoreError"),
    "outcome": ("Group", "Message", "Mode", "Outcome", "Role", "Verdict"),
    "ports": ("Turn",),
    "rating": ("Ranking", "Rating"),
    "run": ("Run", "load_run"),
    "scenario": ("Scenario",),
    "values": ("Value", "ValueSet"),
}


def __getattr__(name: str) -> Any:
    """Imported when it is asked for: models, data frames and charts take seconds, and a Ctrl-C meanwhile is ours to handle."""
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
