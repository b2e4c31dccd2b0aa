"""Making libraries: what is asked for round after round, what is a near-duplicate, the six checks."""

from conflictscope.generation.checking import CheckPanel
from conflictscope.generation.gate import LEFT, Gate
from conflictscope.generation.making import Crew, LibraryMaker
from conflictscope.generation.similarity import Embedding, Hashing

__all__ = ["LEFT", "CheckPanel", "Crew", "Embedding", "Gate", "Hashing", "LibraryMaker"]
