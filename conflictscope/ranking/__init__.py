"""Ratings and rankings of values from pairwise outcomes."""

from conflictscope.ranking.fold import GroupFold, rank_log
from conflictscope.ranking.stopping import converged, doubt
from conflictscope.ranking.trueskill import TrueSkillRanker

__all__ = ["GroupFold", "TrueSkillRanker", "converged", "doubt", "rank_log"]
