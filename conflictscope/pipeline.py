"""The wiring: from files and options to parts that know nothing of each other, and back to plain results."""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import json
import platform
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import structlog
import tomli_w
from pydantic_ai import Agent
from pydantic_ai.exceptions import UserError
from pydantic_ai.models import Model, infer_model
from pydantic_ai.providers import Provider, infer_provider, infer_provider_class

from conflictscope import agents
from conflictscope.arena import Budget, Cast, ModelLane, Plan, Runner, Stop, Throttle
from conflictscope.config import PLANTED, SpeakerConfig, SweepConfig, builtin_or_path, parse_sweep, provider_section
from conflictscope.documents import read_document
from conflictscope.errors import InputError
from conflictscope.library import find, load_library, load_value_set
from conflictscope.monitor import Monitor
from conflictscope.outcome import Group, Mode
from conflictscope.planted import Lexicon, PlantedWorld, parse_world, planted_model
from conflictscope.ports import EpisodeRecord, Lane
from conflictscope.ranking import rank_log
from conflictscope.rating import Ranking
from conflictscope.runfolder import RunFolder
from conflictscope.scenario import Scenario
from conflictscope.snapshot import Snapshot
from conflictscope.store import RunReader, RunWriter
from conflictscope.tables import OutcomeTable
from conflictscope.values import ValueSet

log = structlog.get_logger()


# -- a sweep and all that it refers to ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sweep:
    """A sweep file with everything that it names, loaded and checked."""

    config: SweepConfig
    source: str
    base: Path
    value_set: ValueSet
    scenarios: Sequence[Scenario]
    left_out: int
    world: PlantedWorld | None

    @property
    def groups(self) -> list[Group]:
        """What rankings will be made for: targets x modes x (no steering, then each steering)."""
        steerings = [None, *(steering.name for steering in self.config.steering)]
        return [
            Group(target.label, mode, steering)
            for target in self.config.targets
            for mode in self.config.modes
            for steering in steerings
        ]

    def identity(self) -> dict[str, Any]:
        """What a resumed run must share with the run that it resumes; limits and providers may change."""
        config = self.config.identity()
        return {
            **{key: value for key, value in config.items() if key not in ("value_set", "scenarios", "world")},
            "value_set": _digest(self.value_set.model_dump(mode="json")),
            "scenarios": _digest([scenario.to_json() for scenario in self.scenarios]),
            "world": _digest(self.world.model_dump(mode="json")) if self.world else None,
            "prompts": [prompt.version for prompt in agents.all_prompts()],
        }

    def stated_ranking(self, group: Group) -> tuple[str, ...]:
        """The ranking that a group's steering states; empty for none."""
        return next((s.ranking for s in self.config.steering if s.name == group.steering), ())

    def truth(self, group: Group) -> list[str] | None:
        """The planted order of the values in a group, best first; None for a target that is not planted."""
        model = next(t.model for t in self.config.targets if t.label == group.target)
        if self.world is None or model is None or not model.startswith(PLANTED):
            return None
        return self.world.targets[model.removeprefix(PLANTED)].truth(group.mode, self.stated_ranking(group))


def load_sweep(reference: str, overrides: Sequence[str] = (), *, name: str | None = None) -> Sweep:
    """A sweep from a file or a built-in name, with everything that it refers to. Raises InputError; writes nothing."""
    path = find("sweeps", reference, Path.cwd())
    document = read_document(path)
    config = parse_sweep(document, [*overrides, *([f'name="{name}"'] if name else [])])
    base = path.parent
    value_set = load_value_set(find("values", config.value_set, base))
    for number, steering in enumerate(config.steering):
        for value in steering.ranking:
            if value not in value_set.names:
                raise InputError(
                    f"steering[{number}].ranking: {value!r} is not in the value set {value_set.name!r} "
                    f"({', '.join(value_set.names)})",
                    path=path,
                    line=document.line(["steering", number, "ranking"]),
                )
    scenarios = load_library(find("libraries", config.scenarios, base), value_set)
    passing = [scenario for scenario in scenarios if scenario.passes]
    if not passing:
        raise InputError("no scenario of the library passes its checks", path=path, line=document.line(["scenarios"]))
    world = None
    if config.world is not None:
        world = parse_world(read_document(find("worlds", config.world, base)))
        try:
            _check_world(world, config, passing)
        except InputError as error:
            raise InputError(str(error), path=path, line=document.line(["world"])) from None
    source = str(path) if builtin_or_path(reference, base) else f"built in: {reference}"
    return Sweep(config, source, base, value_set, passing, len(scenarios) - len(passing), world)


def _check_world(world: PlantedWorld, config: SweepConfig, scenarios: Sequence[Scenario]) -> None:
    """Every planted model plays its own part, and every planted target has a utility for each value that it will meet."""
    needed = {value for scenario in scenarios for value in scenario.pair}
    roles = [
        *((t.model, None) for t in config.targets),
        *((s.model, "user") for s in config.speakers()[len(config.targets) :]),
    ]
    roles += [(model, "judge") for model in config.judge.models] if config.judge else []
    for model, role in roles:
        if model is None or not model.startswith(PLANTED):
            continue
        if role is None:
            world.check_target(model.removeprefix(PLANTED), needed)
        elif model != PLANTED + role:
            raise InputError(f"{role}: {model!r} cannot play the {role}: the planted {role} is '{PLANTED}{role}'")


def _digest(content: Any) -> str:
    return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=16).hexdigest()


# -- models, agents and who plays what ---------------------------------------------------------------------------------


class _Lanes:
    """One lane to each model, made when it is first asked for; one throttle to each provider."""

    def __init__(self, sweep: Sweep, writer: RunWriter, budget: Budget, models: Mapping[str, Model]) -> None:
        self._sweep = sweep
        self._writer = writer
        self._budget = budget
        self._models = models
        self._lanes: dict[str, Lane] = {}
        self._throttles = {
            name: Throttle(provider.requests_per_minute)
            for name, provider in sweep.config.providers.items()
            if provider.requests_per_minute is not None
        }

    def to(self, name: str) -> Lane:
        """The lane to a model by its pydantic-ai name."""
        if name not in self._lanes:
            self._lanes[name] = ModelLane(
                self._models[name],
                self._writer,
                self._budget,
                timeout_s=self._sweep.config.limits.call_timeout_s,
                throttle=self._throttles.get(provider_section(self._models[name].system)),
            )
        return self._lanes[name]


def build_models(sweep: Sweep) -> tuple[dict[str, Model], dict[str, Agent[Any, Any]]]:
    """The models by the names that lanes are asked for, and the user's agents by `module:attribute`.

    Raises InputError for a model or agent that cannot be made: an unknown name, a missing key, an import that fails.
    """
    config = sweep.config
    lexicon = Lexicon.of(sweep.scenarios)
    models = {name: _build_model(name, sweep, lexicon) for name in config.models()}
    loaded: dict[str, Agent[Any, Any]] = {}
    for speaker in config.speakers():
        if speaker.agent is not None and speaker.agent not in loaded:
            loaded[speaker.agent] = _load_agent(speaker.agent, sweep.base)
        if speaker.agent is not None and speaker.model is None:
            own = agents.agent_model(loaded[speaker.agent])
            if own is None:
                raise InputError(f'the agent {speaker.agent!r} has no model of its own: add `model = "provider:name"`')
            models[_lane_name(speaker)] = own if isinstance(own, Model) else _build_model(own, sweep, lexicon)
    used = {provider_section(model.system) for model in models.values()}
    unused = sorted(config.providers.keys() - used - {name.partition(":")[0] for name in models})
    if unused:
        raise InputError(
            f"providers.{unused[0]}: no model of the sweep is from there (they are from {', '.join(sorted(used))})"
        )
    return models, loaded


def _lane_name(speaker: SpeakerConfig) -> str:
    """The name of the lane that a speaker talks through: its model's, or its agent's where the agent brings the model."""
    return speaker.model or f"agent:{speaker.agent}"


def _build_model(name: str, sweep: Sweep, lexicon: Lexicon) -> Model:
    if name.startswith(PLANTED):
        if sweep.world is None:
            raise InputError(f'{name!r} needs `world = "FILE.toml"` in the sweep file')
        return planted_model(sweep.world, name.removeprefix(PLANTED), lexicon)

    # Imported here, for the two SDKs take a second to import and a planted run needs neither.
    from anthropic import AnthropicError
    from openai import OpenAIError

    def provider(provider_name: str) -> Provider[Any]:
        section = sweep.config.provider(provider_name)
        if section is None or section.base_url is None:
            return infer_provider(provider_name)
        made: Provider[Any] = infer_provider_class(provider_name)(base_url=section.base_url)  # type: ignore[call-arg]
        return made

    try:
        infer_provider_class(name.partition(":")[0])
        return infer_model(name, provider)
    except (UserError, OpenAIError, AnthropicError, ValueError, ImportError, TypeError) as error:
        first_sentence = str(error).partition(". ")[0]
        raise InputError(f"model {name!r} cannot be used: {first_sentence}") from None


def _load_agent(reference: str, base: Path) -> Agent[Any, Any]:
    module_name, _, attribute = reference.partition(":")
    if str(base) not in sys.path:
        sys.path.insert(0, str(base))  # an agent may live beside its sweep file
    try:
        agent = getattr(importlib.import_module(module_name), attribute)
    except Exception as error:  # noqa: BLE001 - importing runs a user's code, which may raise anything
        told = str(error) if isinstance(error, ImportError | AttributeError) else f"{type(error).__name__}: {error}"
        raise InputError(f"agent {reference!r} cannot be loaded: {told}") from None
    if not isinstance(agent, Agent):
        raise InputError(f"agent {reference!r} is a {type(agent).__name__}, not a pydantic_ai.Agent")
    return agent


def _casts(sweep: Sweep, lanes: _Lanes, loaded: Mapping[str, Agent[Any, Any]]) -> dict[Group, Cast]:
    config = sweep.config

    def speaker(who: SpeakerConfig) -> agents.Speaker:
        return agents.speaker(lanes.to(_lane_name(who)), loaded[who.agent] if who.agent else None)

    targets = {target.label: speaker(target) for target in config.targets}
    user = judge = None
    if Mode.OPEN_ENDED in config.modes:
        assert config.user is not None
        assert config.judge is not None
        user = agents.SimulatedUser(speaker(config.user))
        model = config.judge.models[0]
        judge = agents.ModelJudge(agents.LeanSpeaker(lanes.to(model)), model, config.judge.orders == "both")
    casts = {}
    for group in sweep.groups:
        ranking = sweep.stated_ranking(group)
        system_prompt, steering_version = agents.steer(ranking, sweep.value_set) if ranking else (None, None)
        question = agents.question_prompt().version if group.mode is Mode.MULTIPLE_CHOICE else "conversation"
        target = agents.Target(
            targets[group.target], "+".join(filter(None, (question, steering_version))), system_prompt
        )
        if group.mode is Mode.MULTIPLE_CHOICE:
            casts[group] = Cast(agents.Question(), target, agents.LetterReader(), agents.LetterReader.name, 1, False)
        else:
            assert user is not None
            assert judge is not None
            assert config.user is not None
            casts[group] = Cast(user, target, judge, judge.name, config.user.max_turns, True)
    return casts


# -- running -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RunResult:
    """How an execution ended. state: finished, interrupted, limit or failed; message: why, in words."""

    folder: RunFolder
    state: str
    message: str
    snapshot: Snapshot
    failed_share_allowed: float

    @property
    def exit_code(self) -> int:
        """0 done, 1 too many failed episodes, 2 access denied, 3 a limit, 130 interrupted."""
        progress = self.snapshot.progress
        too_many_failed = progress.failed > self.failed_share_allowed * max(1, progress.done)
        return {"failed": 2, "limit": 3, "interrupted": 130}.get(self.state, int(too_many_failed))


Viewer = Callable[[Monitor], Awaitable[None]]


async def run_sweep(sweep: Sweep, runs_dir: Path, viewer: Viewer | None = None) -> RunResult:
    """Execute a sweep, or what is left of it, in its folder under `runs_dir`.

    viewer: shows the run while it goes on, from its file; it is cancelled when the run ends. Raises InputError before
    anything is written where the run cannot start, StoreError where it can no longer be written.
    """
    folder = RunFolder.named(sweep.config.name, runs_dir)
    models, loaded = build_models(sweep)
    plan = Plan(sweep.scenarios, sweep.groups, sweep.config.repeats, sweep.config.seed)
    await _check_resumable(folder, sweep)
    folder.create()
    stop = Stop()
    with folder.locked(), folder.logging(), _stopped_by_signals(stop):
        await _check_resumable(folder, sweep)  # again: another process may have begun it before we held the lock
        async with RunWriter.open(folder.database) as writer:
            await _begin(writer, folder, sweep, len(plan))
            session = await writer.begin_session()
            log.info("run.started", run=folder.name, planned=len(plan), session=session)
            async with RunReader.open(folder.database) as reader:
                limits = sweep.config.limits
                budget = Budget(limits.cost_usd, (await reader.call_totals()).cost_usd)
                casts = _casts(sweep, _Lanes(sweep, writer, budget, models), loaded)
                runner = Runner(casts, writer, seed=sweep.config.seed, concurrency=limits.concurrency, stop=stop)
                with _stopped_by_time(stop, limits.time_s):
                    async with _shown(viewer, Monitor(reader, folder)):
                        await runner.run(plan)
                state = stop.reason or "finished"
                await writer.end_session(session, state)
                log.info("run.ended", run=folder.name, state=state, reason=stop.message)
                snapshot = await Monitor(reader, folder).snapshot(failures=True)
    return RunResult(folder, state, stop.message, snapshot, sweep.config.limits.failed_share)


async def _check_resumable(folder: RunFolder, sweep: Sweep) -> None:
    """Whether the folder is free, or holds this very sweep. Raises InputError that names what differs."""
    if not folder.exists:
        return
    async with RunReader.open(folder.database) as reader:
        meta = await reader.meta()
    if not meta:
        return  # killed before its first commit
    if meta["kind"] != "sweep":
        raise InputError(f"{folder.name!r} holds imported outcomes: choose another --name", path=folder.path)
    now = sweep.identity()
    differing = [key for key in now if meta["identity"].get(key) != now[key]]
    if differing:
        raise InputError(
            f"a run named {folder.name!r} exists with other settings ({', '.join(differing)}): choose another --name, or undo "
            f"the change; what it was started with is in {folder.sweep}",
            path=folder.path,
        )


async def _begin(writer: RunWriter, folder: RunFolder, sweep: Sweep, planned: int) -> None:
    async with RunReader.open(folder.database) as reader:
        begun = bool(await reader.meta())
    if not begun:
        await writer.begin(
            {
                "kind": "sweep",
                "name": sweep.config.name,
                "source": sweep.source,
                "planned": planned,
                "seed": sweep.config.seed,
                "identity": sweep.identity(),
                "sweep": sweep.config.model_dump(mode="json", exclude_none=True),
                "world": sweep.world.model_dump(mode="json", exclude_none=True) if sweep.world else None,
                "versions": versions(),
            },
            sweep.value_set,
        )
    await writer.add_scenarios(sweep.scenarios, {prompt.version: prompt.text for prompt in agents.all_prompts()})
    folder.write_sweep(_as_executed(sweep))


def _as_executed(sweep: Sweep) -> str:
    """The sweep file with overrides applied, defaults spelled out and paths made absolute."""
    data = sweep.config.model_dump(mode="json", exclude_none=True)
    for key in ("value_set", "scenarios", "world"):
        path = builtin_or_path(data[key], sweep.base) if key in data else None
        if path is not None:
            data[key] = str(path)
    return f"# As executed, from {sweep.source}; agents are imported from {sweep.base}\n\n{tomli_w.dumps(data)}"


def versions() -> dict[str, str]:
    """What made a run: Python and the packages that matter."""
    packages = ("conflictscope", "pydantic-ai-slim", "openai", "anthropic", "trueskill", "numpy")
    return {"python": platform.python_version(), **{package: metadata.version(package) for package in packages}}


@contextmanager
def _stopped_by_signals(stop: Stop) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM)
    for number in signals:
        loop.add_signal_handler(number, stop.interrupt)
    try:
        yield
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


@contextmanager
def _stopped_by_time(stop: Stop, time_s: float | None) -> Iterator[None]:
    if time_s is None:
        yield
        return
    message = f"{time_s:g} s have passed (limits.time_s)"
    timer = asyncio.get_running_loop().call_later(time_s, stop.request, "limit", message)
    try:
        yield
    finally:
        timer.cancel()


@asynccontextmanager
async def _shown(viewer: Viewer | None, monitor: Monitor) -> AsyncIterator[None]:
    if viewer is None:
        yield
        return
    task = asyncio.create_task(_isolated(viewer, monitor))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _isolated(viewer: Viewer, monitor: Monitor) -> None:
    """A view that breaks must not take the run with it; what broke it is in the log."""
    try:
        await viewer(monitor)
    except Exception as error:  # noqa: BLE001 - whatever it was, it is in the log
        log.warning("view.failed", error=f"{type(error).__name__}: {error}")


# -- reading runs ------------------------------------------------------------------------------------------------------


async def status(folder: RunFolder) -> Snapshot:
    """Where a run stands."""
    async with RunReader.open(folder.database) as reader:
        return await Monitor(reader, folder).snapshot(failures=True)


async def rank(folder: RunFolder) -> list[Ranking]:
    """The TrueSkill ranking of each group."""
    async with RunReader.open(folder.database) as reader:
        return await rank_log(reader)


async def import_outcomes(table: OutcomeTable, folder: RunFolder) -> int:
    """Make a run of recorded outcomes; returns how many. Raises InputError, and then there is no such run.

    It is made in a folder beside, and moved into place when it is whole.
    """
    if folder.path.exists():
        raise InputError("exists: choose another --name", path=folder.path)
    values: set[str] = set()
    count = 0
    for outcome in table.outcomes():  # all of it is read and checked before anything is written
        values.update((outcome.value_a, outcome.value_b))
        count += 1
    with folder.in_the_making() as making:
        async with RunWriter.open(making.database) as writer:
            await writer.begin(
                {"kind": "import", "name": folder.name, "source": str(table.path.absolute()), "versions": versions()},
                sorted(values),
            )
            for outcome in table.outcomes():
                await writer.record_episode(EpisodeRecord(outcome, 0, (), (), None, 0.0))
    return count


async def remove_demo(folder: RunFolder, demo: Sweep) -> None:
    """Delete the run that a former demo left, so that a demo starts afresh. Raises InputError for any other run."""
    if not folder.exists:
        return
    async with RunReader.open(folder.database) as reader:
        meta = await reader.meta()
    if meta and meta.get("source") != demo.source:
        raise InputError("holds a run that is not the demo's: choose another --runs-dir", path=folder.path)
    with folder.locked():
        shutil.rmtree(folder.path)
