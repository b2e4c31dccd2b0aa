"""Before real models are put to work: is each of them there, does it accept our key, and how can it be asked for a verdict?"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeAlias

import structlog

from conflictscope import agents
from conflictscope.arena import ModelLane, output_modes
from conflictscope.config import SweepConfig
from conflictscope.errors import CallFailed, InputError
from conflictscope.outcome import Role
from conflictscope.pipeline.casting import Lanes
from conflictscope.services import RoleSettings
from conflictscope.store import RunWriter

# After these, another way of asking for typed output may do.
_WRONG_WAY = {"http_400", "http_422", "setup", "unparsed", "empty", "malformed"}

log = structlog.get_logger()


Question: TypeAlias = tuple[str, Role, RoleSettings]


async def preflight(
    questions: Sequence[Question], lanes: Lanes, writer: RunWriter, session: int, tell: Callable[[str], None]
) -> None:
    """Ask each model that is not planted here one small question, and keep how those who judge are asked for verdicts.

    questions: lanes, as what they are asked, and with which settings; as a judge stands for every role that gives typed replies.

    Each session asks anew, for a key may have been revoked meanwhile. Raises InputError that tells of every model that failed,
    LimitReached where the budget does not even reach for this.
    """
    known = await writer.output_modes()
    checks = []
    scope = f"preflight/{session}"
    questions = [each for each in questions if lanes.to(each[0]).model.system != "planted"]
    for name, role, settings in questions:
        lane = lanes.to(name)
        if role is Role.JUDGE:
            lane.output_mode = known.get(name, lane.output_mode)
            checks.append(_find_output_mode(name, lane, settings, writer, scope))
        else:
            checks.append(agents.probe_text(lane, role, settings, scope))
    if not checks:
        return
    names = list(dict.fromkeys(name for name, _, _ in questions))
    tell(f"Asking {', '.join(names)} one small question each, to see whether they can be used ...")
    results = await asyncio.gather(*checks, return_exceptions=True)
    failures = [
        f"{name}: {result}"
        for (name, _, _), result in zip(questions, results, strict=True)
        if isinstance(result, CallFailed)
    ]
    if failures:
        log.error("preflight.failed", failures=failures)
        raise InputError("these models cannot be used as they are asked for:\n  " + "\n  ".join(failures))
    for result in results:
        if result is not None:
            raise result


def preflight_questions(config: SweepConfig) -> list[Question]:
    """Which lanes are asked, as what, and with which settings; with the same settings once, for a verdict where it judges."""
    judges = [(name, Role.JUDGE, plain_settings(config.judge)) for name in config.judges() if config.judge]
    speakers = [
        (speaker.lane, Role.USER if speaker is config.user else Role.TARGET, plain_settings(speaker))
        for speaker in config.speakers()
    ]
    asked: dict[tuple[str, RoleSettings], Role] = {}
    for name, role, settings in [*judges, *speakers]:  # the judge's is the harder question
        asked.setdefault((name, settings), role)
    return [(name, role, settings) for (name, settings), role in asked.items()]


def plain_settings(section: RoleSettings) -> RoleSettings:
    """The settings of a section, alone and comparable."""
    return RoleSettings(**{name: getattr(section, name) for name in RoleSettings.model_fields})


async def _find_output_mode(name: str, lane: ModelLane, settings: RoleSettings, writer: RunWriter, scope: str) -> None:
    """Find the best way to ask this model for a verdict that it takes, beginning with what was found before."""
    promised = output_modes(lane.model)
    ways = [lane.output_mode, *(mode for mode in promised if mode != lane.output_mode)]
    for mode in ways:
        lane.output_mode = mode
        try:
            await agents.probe_verdict(lane, settings, scope)
        except CallFailed as failure:
            if failure.kind not in _WRONG_WAY or mode == ways[-1]:
                raise
            log.info("preflight.output_mode", model=name, mode=mode, error=str(failure)[:500])
        else:
            await writer.record_output_mode(name, mode)
            return
