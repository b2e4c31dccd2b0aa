"""Planted worlds: offline models whose value priorities are known by construction."""

from conflictscope.planted.language import Lexicon
from conflictscope.planted.models import PlantedModel, planted_model
from conflictscope.planted.world import PlantedTarget, PlantedWorld, parse_world

__all__ = ["Lexicon", "PlantedModel", "PlantedTarget", "PlantedWorld", "parse_world", "planted_model"]
