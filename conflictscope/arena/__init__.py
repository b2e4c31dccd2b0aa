"""The arena: episodes, the plan, the runner and the lanes to the models."""

from conflictscope.arena.episode import Broke, Episode, Judged, Said
from conflictscope.arena.lanes import (
    LOCAL,
    Budget,
    FlatPrice,
    ModelEmbedding,
    ModelLane,
    Policy,
    Price,
    RateLimit,
    known_price,
    lean_client,
    named_price,
    output_modes,
    quicken,
)
from conflictscope.arena.plan import EpisodeSpec, Plan
from conflictscope.arena.runner import GRACE_S, Cast, Runner, Stop
from conflictscope.arena.scheduler import Assignment, Scheduler, Settling, ThompsonScheduler, UniformScheduler, no_use

__all__ = [
    "GRACE_S",
    "LOCAL",
    "Assignment",
    "Broke",
    "Budget",
    "Cast",
    "Episode",
    "EpisodeSpec",
    "FlatPrice",
    "Judged",
    "ModelEmbedding",
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
    "named_price",
    "no_use",
    "output_modes",
    "quicken",
]
