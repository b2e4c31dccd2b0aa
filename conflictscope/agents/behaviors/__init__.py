"""Behaviours: what may be added to the user, the target or the judge, as a class with hooks; those built in are a file each."""

from conflictscope.agents.behaviors.base import Behavior
from conflictscope.agents.behaviors.loading import (
    BUILT_IN,
    ENTRY_POINTS,
    LoadedBehavior,
    behaviors_of,
    load_attribute,
    load_behaviors,
)
from conflictscope.agents.behaviors.playing import MOST_CHARACTERS, BehavingSpeaker, Part, attentive, behaving

__all__ = [
    "BUILT_IN",
    "ENTRY_POINTS",
    "MOST_CHARACTERS",
    "BehavingSpeaker",
    "Behavior",
    "LoadedBehavior",
    "Part",
    "attentive",
    "behaving",
    "behaviors_of",
    "load_attribute",
    "load_behaviors",
]
