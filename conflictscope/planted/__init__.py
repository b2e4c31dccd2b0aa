"""Planted worlds: offline models whose value priorities are known by construction."""

from conflictscope.planted.drafts import defects_of
from conflictscope.planted.invention import facts_of
from conflictscope.planted.language import Lexicon, read_stated_ranking
from conflictscope.planted.models import PlantedModel, planted_model
from conflictscope.planted.world import PlantedTarget, PlantedWorld, parse_world

__all__ = [
    "Lexicon",
    "PlantedModel",
    "PlantedTarget",
    "PlantedWorld",
    "defects_of",
    "facts_of",
    "parse_world",
    "planted_model",
    "read_stated_ranking",
]
