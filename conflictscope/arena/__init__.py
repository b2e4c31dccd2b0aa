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
    quick_post,
)
from conflictscope.arena.plan import EpisodeSpec, Plan
from conflictscope.arena.runner import Cast, Runner, Stop

__all__ = [
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
    "Stop",
    "known_price",
    "lean_client",
    "output_modes",
    "quick_post",
]
