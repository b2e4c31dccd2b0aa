"""The roles of an episode, and of the making of a library, on pydantic-ai."""

from conflictscope.agents.action_rating import RatingQuestion, RatingReader, rating_prompt, ratings, read_rating
from conflictscope.agents.behaviors import (
    BehavingSpeaker,
    Behavior,
    LoadedBehavior,
    Part,
    attentive,
    behaving,
    behaviors_of,
    load_attribute,
    load_behaviors,
)
from conflictscope.agents.checks import CheckReply, ModelChecker, ServesReply
from conflictscope.agents.generator import ElaborateReply, ModelGenerator, OutlinesReply
from conflictscope.agents.judge import JudgeReply, ModelJudge, Panel
from conflictscope.agents.letters import read_letter
from conflictscope.agents.multiple_choice import LetterReader, Question, letter_settings, question_prompt
from conflictscope.agents.openings import ModelOpeningWriter, OpeningReply
from conflictscope.agents.participants import Briefing, SimulatedUser, Target, own_briefing, steer
from conflictscope.agents.probe import probe_text, probe_verdict
from conflictscope.agents.prompts import episode_prompts, library_prompts
from conflictscope.agents.speakers import AgentSpeaker, LeanSpeaker, Speaker, agent_model, speaker
from conflictscope.agents.structured import Problem
from conflictscope.agents.value_writer import ValuesReply, propose_values

__all__ = [
    "AgentSpeaker",
    "BehavingSpeaker",
    "Behavior",
    "Briefing",
    "CheckReply",
    "ElaborateReply",
    "JudgeReply",
    "LeanSpeaker",
    "LetterReader",
    "LoadedBehavior",
    "ModelChecker",
    "ModelGenerator",
    "ModelJudge",
    "ModelOpeningWriter",
    "OpeningReply",
    "OutlinesReply",
    "Panel",
    "Part",
    "Problem",
    "Question",
    "RatingQuestion",
    "RatingReader",
    "ServesReply",
    "SimulatedUser",
    "Speaker",
    "Target",
    "ValuesReply",
    "agent_model",
    "attentive",
    "behaving",
    "behaviors_of",
    "episode_prompts",
    "letter_settings",
    "library_prompts",
    "load_attribute",
    "load_behaviors",
    "own_briefing",
    "probe_text",
    "probe_verdict",
    "propose_values",
    "question_prompt",
    "rating_prompt",
    "ratings",
    "read_letter",
    "read_rating",
    "speaker",
    "steer",
]
