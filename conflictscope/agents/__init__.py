"""The roles of an episode, on pydantic-ai."""

from conflictscope.agents.judge import JudgeReply, ModelJudge
from conflictscope.agents.multiple_choice import LetterReader, Question, question_prompt
from conflictscope.agents.participants import SimulatedUser, Target, steer
from conflictscope.agents.probe import probe_text, probe_verdict
from conflictscope.agents.prompts import all_prompts
from conflictscope.agents.speakers import AgentSpeaker, LeanSpeaker, Speaker, agent_model, speaker

__all__ = [
    "AgentSpeaker",
    "JudgeReply",
    "LeanSpeaker",
    "LetterReader",
    "ModelJudge",
    "Question",
    "SimulatedUser",
    "Speaker",
    "Target",
    "agent_model",
    "all_prompts",
    "probe_text",
    "probe_verdict",
    "question_prompt",
    "speaker",
    "steer",
]
