"""Ratings and rankings of values from pairwise outcomes."""

from conflictscope.ranking.beliefs import GroupBeliefs
from conflictscope.ranking.bradley_terry import fit_bradley_terry
from conflictscope.ranking.comparing import GroupOutcomes, align, compare
from conflictscope.ranking.fold import GroupFold
from conflictscope.ranking.history import GroupHistory
from conflictscope.ranking.judge_error import (
    JudgeError,
    Uncorrected,
    estimate_judge_error,
    fit_corrected,
    judge_error_from_gold,
)
from conflictscope.ranking.looks import (
    agreement_of,
    judge_agreement,
    judge_retests,
    order_effects,
    retests,
    unrated,
)
from conflictscope.ranking.methods import folded, live_posterior, rank_group, rank_log
from conflictscope.ranking.posterior import Posterior, fit_posterior
from conflictscope.ranking.reference import score_both
from conflictscope.ranking.stability import stability
from conflictscope.ranking.stopping import convergence, doubts
from conflictscope.ranking.tally import Tally
from conflictscope.ranking.trueskill import TrueSkillRanker
from conflictscope.ranking.variance import variance_components

__all__ = [
    "GroupBeliefs",
    "GroupFold",
    "GroupHistory",
    "GroupOutcomes",
    "JudgeError",
    "Posterior",
    "Tally",
    "TrueSkillRanker",
    "Uncorrected",
    "agreement_of",
    "align",
    "compare",
    "convergence",
    "doubts",
    "estimate_judge_error",
    "fit_bradley_terry",
    "fit_corrected",
    "fit_posterior",
    "folded",
    "judge_agreement",
    "judge_error_from_gold",
    "judge_retests",
    "live_posterior",
    "order_effects",
    "rank_group",
    "rank_log",
    "retests",
    "score_both",
    "stability",
    "unrated",
    "variance_components",
]
