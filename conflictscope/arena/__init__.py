"""The arena: episodes, the plan, the runner and the lanes to the models."""

from conflictscope.arena.episode import Broke, Episode, Judged, Said
from conflictscope.arena.lanes import Budget, ModelLane, Throttle
from conflictscope.arena.plan import EpisodeSpec, Plan
from conflictscope.arena.runner import Cast, Runner, Stop

__all__ = [
    "Broke",
    "Budget",
    "Cast",
    "Episode",
    "EpisodeSpec",
    "Judged",
    "ModelLane",
    "Plan",
    "Runner",
    "Said",
    "Stop",
    "Throttle",
]
