"""The arena: episodes, the plan, the runner and the lanes to the models."""

from conflictscope.arena.episode import Broke, Episode, Judged, Said
from conflictscope.arena.lanes import (
    Budget,
    FlatPrice,
    ModelLane,
    Policy,
    Price,
    RateLimit,
    known_price,
    lean_client,
    output_modes,
    quicken,
)
from conflictscope.arena.plan import EpisodeSpec, Plan
from conflictscope.arena.runner import GRACE_S, Cast, Runner, Stop
from conflictscope.arena.scheduler import Assignment, Scheduler, Settling, ThompsonScheduler, UniformScheduler

__all__ = [
    "GRACE_S",
    "Assignment",
    "Broke",
    "Budget",
    "Cast",
    "Episode",
    "EpisodeSpec",
    "FlatPrice",
    "Judged",
    "ModelLane",
    "Plan",
    "Policy",
    "Price",
    "RateLimit",
    "Runner",
    "Said",
    "Scheduler",
    "Settling",
    "Stop",
    "ThompsonScheduler",
    "UniformScheduler",
    "known_price",
    "lean_client",
    "output_modes",
    "quicken",
]
