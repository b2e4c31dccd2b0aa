"""Work on a library in a run folder: opened once for its making and for its checks, with lanes, a stop and a session."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import structlog
from pydantic_ai.models import Model

from conflictscope import agents
from conflictscope.arena import Budget, Stop
from conflictscope.errors import InputError
from conflictscope.generation import Gate
from conflictscope.outcome import Role
from conflictscope.pipeline.casting import Lanes
from conflictscope.pipeline.preflight import Question, plain_settings, preflight
from conflictscope.pipeline.stopping import stopped_by_signals, stopped_by_time, unless_stopped, until_patience_ends
from conflictscope.pipeline.versions import versions
from conflictscope.runfolder import RunFolder
from conflictscope.services import RoleSettings
from conflictscope.spec import ChecksSpec
from conflictscope.store import RunReader, RunWriter
from conflictscope.values import ValueSet

log = structlog.get_logger()


@dataclass
class Work:
    """What is open while a library is made or checked. state, message: how it ended, once it has."""

    folder: RunFolder
    config: ChecksSpec
    writer: RunWriter
    reader: RunReader
    lanes: Lanes
    stop: Stop
    tell: Callable[[str], None]
    session: int = 0
    state: str = field(default="running", init=False)
    message: str = field(default="", init=False)

    def new_gate(self) -> Gate:
        """As many pieces of work at a time as the file allows, and none once a stop is asked for."""
        return Gate(
            self.config.limits.concurrency, lambda: self.stop.asked, lambda told: self.stop.request("limit", told)
        )

    def checkers(self) -> list[agents.ModelChecker]:
        """One for each model that checks."""
        checks = self.config.checks
        return [agents.ModelChecker(agents.LeanSpeaker(self.lanes.to(model), checks), model) for model in checks.models]

    async def do(
        self, work: Callable[[], Awaitable[None]], roles: Sequence[tuple[str, RoleSettings]], **settings: Any
    ) -> None:
        """Begin a session, see whether the models can be used, do the work until it is done or a stop was asked for; and end it.

        roles: models and the settings that they are asked with. settings: entries of `meta` that a resume may change.
        """
        limits = self.config.limits
        self.session = await self.writer.begin_session({"limits": limits.model_dump(), **settings})
        log.info("library.started", run=self.folder.name, session=self.session)
        try:
            async with self.lanes.recorded(self.writer):
                with stopped_by_time(self.stop, limits.time_s):
                    questions = _questions(roles)
                    asking = preflight(questions, self.lanes, self.writer, self.session, self.tell)
                    await unless_stopped(self.stop, asking)
                    if not self.stop.asked:
                        await until_patience_ends(self.stop, work())
        except InputError:
            await self.writer.end_session(self.session, "failed")
            raise
        finally:
            await self.lanes.close()
        closed = self.lanes.closed()
        self.state = self.stop.reason or ("failed" if closed else "finished")
        self.message = self.stop.message or "\n".join(closed)
        await self.writer.end_session(self.session, self.state)
        log.info("library.ended", run=self.folder.name, state=self.state)


@asynccontextmanager
async def opened(
    kind: str,
    config: ChecksSpec,
    folder: RunFolder,
    models: Mapping[str, Model],
    *,
    value_set: ValueSet,
    identity: Mapping[str, Any],
    meta: Mapping[str, Any],
    tell: Callable[[str], None],
) -> AsyncIterator[Work]:
    """A run folder, begun or resumed, held by this process until the block ends.

    kind, identity: what a resume must share with what it resumes. meta: what else is written down at the beginning. Raises
    InputError where the folder holds something else, or is held by another process.
    """
    await _check_resumable(folder, kind, identity)
    folder.create()
    stop = Stop()
    with folder.locked(), folder.logging(), stopped_by_signals(stop, tell):
        await _check_resumable(
            folder, kind, identity
        )  # again: another process may have begun it before we held the lock
        async with RunWriter.open(folder.database) as writer, RunReader.open(folder.database) as reader:
            if not await reader.meta():
                begun = {
                    "kind": kind,
                    "name": config.name,
                    "seed": config.seed,
                    "identity": identity,
                    "versions": versions(),
                }
                await writer.begin({**begun, **meta}, value_set)
            await writer.add_scenarios((), {prompt.version: prompt.text for prompt in agents.library_prompts()})
            _, spent_usd = await reader.spent_usd()
            budget = Budget(config.limits.cost_usd, spent_usd)
            yield Work(folder, config, writer, reader, Lanes(config, writer, budget, models), stop, tell)


async def _check_resumable(folder: RunFolder, kind: str, identity: Mapping[str, Any]) -> None:
    """Whether the folder is free, or holds this very work. Raises InputError that names what differs."""
    if not folder.exists:
        return
    async with RunReader.open(folder.database) as reader:
        meta = await reader.meta()
    if not meta:
        return  # killed before its first commit
    if meta["kind"] != kind:
        raise InputError(
            f"{folder.name!r} holds something else ({meta['kind']}): choose another --name", path=folder.path
        )
    differing = [key for key in identity if meta["identity"].get(key) != identity[key]]
    if differing:
        raise InputError(
            f"{folder.name!r} was begun with other settings ({', '.join(differing)}): choose another --name, or undo the change",
            path=folder.path,
        )


def _questions(roles: Sequence[tuple[str, RoleSettings]]) -> list[Question]:
    """Every role here gives typed replies, as a judge does."""
    asked = dict.fromkeys((model, plain_settings(settings)) for model, settings in roles)
    return [(model, Role.JUDGE, settings) for model, settings in asked]
