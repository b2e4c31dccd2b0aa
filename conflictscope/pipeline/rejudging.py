"""New verdicts on the stored conversations of a run: judges are asked, and nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from conflictscope import agents
from conflictscope.arena import Broke, Budget, Episode, Judged, ModelLane, Stop
from conflictscope.config import JudgeConfig, Orders, RejudgeConfig
from conflictscope.documents import Document, read_document
from conflictscope.errors import CallFailed, InputError, LaneClosed, LimitReached
from conflictscope.library import find
from conflictscope.outcome import Role, Verdict
from conflictscope.pipeline.casting import Lanes, check_services, make_models
from conflictscope.pipeline.models import Models
from conflictscope.pipeline.preflight import plain_settings, preflight
from conflictscope.pipeline.stopping import stopped_by_signals, stopped_by_time, unless_stopped, until_patience_ends
from conflictscope.pipeline.sweep import digest
from conflictscope.planted import Lexicon, PlantedWorld, parse_world
from conflictscope.planted.models import PlantedJudgeModel, PlantedModel
from conflictscope.ports import Turn
from conflictscope.redaction import know_secrets
from conflictscope.runfolder import RunFolder
from conflictscope.services import PLANTED, RoleSettings, parse_overridden, provider_section
from conflictscope.snapshot import Usage
from conflictscope.store import RunReader, RunWriter, VerdictStore

# Of a sweep's judge only what holds for any other as well; whether one can be asked in batches depends on its provider.
_KEPT = {*RoleSettings.model_fields, "orders"}
_LONGEST_NAME = 120

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class JudgeVerdicts:
    """What a judge made of the conversations of a run. left: how many it has not judged yet."""

    judge: str
    model: str
    verdicts: Mapping[Verdict, int]
    left: int

    @property
    def judged(self) -> int:
        """How many conversations it was asked about, in whatever state that ended."""
        return sum(self.verdicts.values())

    def to_json(self) -> dict[str, Any]:
        """By name."""
        verdicts = {verdict.value: self.verdicts.get(verdict, 0) for verdict in Verdict}
        return {
            "judge": self.judge,
            "model": self.model,
            "judged": self.judged,
            "left": self.left,
            "verdicts": verdicts,
        }


@dataclass(frozen=True, slots=True)
class RejudgeResult:
    """How a judging anew ended.

    conversations: that can be judged. usage: of this execution. state: `finished`, `interrupted`, `limit` or `failed` (a lane was
    closed). message: why, in words.
    """

    folder: RunFolder
    conversations: int
    judges: Sequence[JudgeVerdicts]
    usage: Usage
    state: str
    message: str
    failed_share_allowed: float

    @property
    def too_many_failed(self) -> bool:
        """Whether a judge failed to judge a greater share than limits.failed_share allows."""
        allowed = self.failed_share_allowed
        return any(each.verdicts.get(Verdict.JUDGE_FAILED, 0) > allowed * max(1, each.judged) for each in self.judges)

    @property
    def exit_code(self) -> int:
        """0 done, 1 too many failures or a closed lane, 3 a limit, 130 interrupted."""
        return {"failed": 1, "limit": 3, "interrupted": 130}.get(self.state, int(self.too_many_failed))

    def to_json(self) -> dict[str, Any]:
        """By name."""
        return {
            "run": self.folder.name,
            "state": self.state,
            "conversations": self.conversations,
            "judges": [each.to_json() for each in self.judges],
            "calls": self.usage.to_json(),
        }


async def rejudge(
    folder: RunFolder,
    models: Sequence[str],
    overrides: Sequence[str] = (),
    *,
    orders: Orders | None = None,
    name: str | None = None,
    world: str | None = None,
    tell: Callable[[str], None] = lambda text: None,
    advance: Callable[[int, int], None] = lambda done, planned: None,
) -> RejudgeResult:
    """Have models judge the stored conversations of a run, each by itself; what a judge has judged is not asked again.

    A conversation is judged once, as it stands at its end, with the seed and the order of its episode. Limits, providers, prices
    and the settings of the judge are those of the run's sweep file, with `overrides`; the cost limit holds for all that the run
    file has seen. orders: as in the sweep file unless given. name: under which the verdicts of one model are kept; its own unless
    given. world: where planted judges come from; the run's own unless given. advance: told how many are done of how many.
    Raises InputError.
    """
    know_secrets()
    async with RunReader.open(folder.database) as reader:
        meta = await reader.meta()
        config = _config(folder, models, orders, overrides)
        names = _names(models, name, await reader.own_judges())
        if not await reader.judgeable():
            raise InputError("holds no conversation that a judge could judge", path=folder.path)
    planted = _world(meta, world, models)
    async with Models(config, planted, Lexicon.of(())) as make:
        made = make_models(models, make)
        for model in made.values():
            if isinstance(model, PlantedModel) and not isinstance(model, PlantedJudgeModel):
                raise InputError(f"--judge {PLANTED}{model.model_name}: that planted model is no judge")
        check_services(config, made)
        if config.judge.batch and (without := [each for each in models if made[each].batch_max_requests is None]):
            raise InputError(f"judge.batch = true: there is no batch API for {without[0]}")
        stop = Stop()
        with folder.locked(), folder.logging(), stopped_by_signals(stop, tell):
            async with RunWriter.open(folder.database) as writer, RunReader.open(folder.database) as reader:
                known = (await reader.meta()).get("judges", {})
                asked = {own: _identity(config, model, planted) for own, model in names.items()}
                _check_same(folder, known, asked)
                store = VerdictStore(writer)
                session = await store.begin_session({"judges": {**known, **asked}}, list(names))
                await writer.add_scenarios((), {each.version: each.text for each in agents.episode_prompts()})
                last_end, spent_usd = await reader.spent_usd()
                budget = Budget(config.limits.cost_usd, spent_usd)
                lanes = Lanes(config, writer, budget, made)
                panel = {own: lanes.to(model) for own, model in names.items()}
                work = Rejudging(reader, store, panel, config, stop, advance)
                await work.look_up()
                if work.done:
                    tell(
                        f"{work.done:,} of {work.planned:,} verdicts are there, {work.planned - work.done:,} are left."
                    )
                log.info("rejudge.started", run=folder.name, planned=work.planned, done=work.done, session=session)
                lanes.resume(await writer.sent_batches())
                try:
                    with stopped_by_time(stop, config.limits.time_s):
                        if work.done < work.planned:
                            settings = plain_settings(config.judge)
                            questions = [(model, Role.JUDGE, settings) for model in made]
                            await unless_stopped(stop, preflight(questions, lanes, writer, session, tell))
                        if not stop.asked:
                            await until_patience_ends(stop, work.run())
                except InputError:
                    await writer.end_session(session, "failed")
                    raise
                finally:
                    await lanes.close()
                closed = lanes.closed()
                state = stop.reason or ("failed" if closed else "finished")
                await writer.end_session(session, state)
                log.info("rejudge.ended", run=folder.name, state=state, reason=stop.message)
                _, new = await reader.usage(last_end)
                found = await reader.verdicts()
    conversations = work.planned // len(names)
    judged = [
        JudgeVerdicts(own, model, found.get(own, {}), conversations - sum(found.get(own, {}).values()))
        for own, model in names.items()
    ]
    usage = sum(new.values(), Usage())
    message = stop.message or "\n".join(closed)
    return RejudgeResult(folder, conversations, judged, usage, state, message, config.limits.failed_share)


class Rejudging:
    """The judging of what is left, at most `limits.concurrency` conversations at a time.

    lanes: to each judge, by the name under which its verdicts are kept.
    """

    def __init__(
        self,
        reader: RunReader,
        store: VerdictStore,
        lanes: Mapping[str, ModelLane],
        config: RejudgeConfig,
        stop: Stop,
        advance: Callable[[int, int], None],
    ) -> None:
        self._reader = reader
        self._store = store
        self._lanes = lanes
        self._judges = {name: _judge(name, config.judge, lane) for name, lane in lanes.items()}
        self._limits = config.limits
        self._in_batches = config.judge.batch
        self._stop = stop
        self._advance = advance
        self._left: list[tuple[int, str]] = []
        self.planned = 0
        self.done = 0

    async def look_up(self) -> None:
        """See what there is to do: the judges take turns at each conversation."""
        conversations = await self._reader.judgeable()
        judged = {judge: await self._reader.judged(judge) for judge in self._judges}
        self._left = [(seq, judge) for seq in conversations for judge in self._judges if seq not in judged[judge]]
        self.planned = len(conversations) * len(self._judges)
        self.done = self.planned - len(self._left)

    async def run(self) -> None:
        """Judge until nothing is left or a stop is asked for."""
        self._advance(self.done, self.planned)
        left = iter(self._left)
        async with asyncio.TaskGroup() as crew:
            for _ in range(min(self._limits.concurrency, len(self._left))):
                crew.create_task(self._work(left))

    async def _work(self, left: Iterator[tuple[int, str]]) -> None:
        for seq, judge in left:
            if self._stop.asked:
                return
            if self._lanes[judge].closed:
                continue
            try:
                await self._judge(seq, judge)
            except LaneClosed as closed:
                log.info("conversation.left", seq=seq, judge=judge, error=str(closed))
            except LimitReached as limit:
                self._stop.request("limit", str(limit))
            else:
                self.done += 1
                self._advance(self.done, self.planned)

    async def _judge(self, seq: int, judge: str) -> None:
        stored = await self._reader.stored_conversation(seq)
        scenario = await self._reader.scenario(stored.scenario_id)
        scope = f"rejudge/{judge}/{stored.key}"
        turn = Turn(scope, stored.target, stored.seed, scenario, stored.transcript, stored.shown_first)
        # The end of an episode, played again: the judge's turn, after which nobody else's comes.
        episode = Episode(max_turns=0, next=Role.JUDGE, transcript=stored.transcript)
        timeout_s = None if self._in_batches else self._limits.episode_timeout_s
        try:
            async with asyncio.timeout(timeout_s) as clock:
                episode = episode.advance(Judged(await self._judges[judge].judge(turn)))
        except CallFailed as failure:
            episode = episode.advance(Broke(failure.kind, failure.told))
        except TimeoutError:
            if not clock.expired():
                raise
            episode = episode.advance(Broke("episode_timeout", f"not judged within {timeout_s:g} s"))
        assert episode.verdict is not None, "nobody's turn comes after the judge's"
        self._store.record(judge, seq, episode.verdict, episode.strength, episode.failure, episode.judgements)
        log.info("conversation.judged", key=stored.key, judge=judge, verdict=episode.verdict.value)


def _config(folder: RunFolder, models: Sequence[str], orders: Orders | None, overrides: Sequence[str]) -> RejudgeConfig:
    """What the run's sweep file says of judges, limits and services, as far as it concerns these models, with overrides."""
    for model in models:
        if not all(model.partition(":")):
            raise InputError(f'--judge: a model is named "provider:name", e.g. "openai:gpt-5.1", got {model!r}')
    if len(set(models)) < len(models):
        raise InputError(f"--judge names a model twice: {', '.join(models)}")
    document = read_document(folder.sweep) if folder.sweep.is_file() else Document(folder.sweep, "", {})
    section = {key: value for key, value in document.data.get("judge", {}).items() if key in _KEPT}
    providers = {provider_section(model.partition(":")[0]) for model in models}
    data = {
        "limits": document.data.get("limits", {}),
        "providers": {name: each for name, each in document.data.get("providers", {}).items() if name in providers},
        "prices": {name: each for name, each in document.data.get("prices", {}).items() if name in models},
        "judge": {**section, **({"orders": orders} if orders else {}), "models": models[:1]},
    }
    config = parse_overridden(Document(document.path, document.text, data), RejudgeConfig, overrides)
    if config.judge.models != tuple(models[:1]):
        raise InputError("--set judge.models: who judges is told by --judge")
    beside = sorted(config.judge.model_fields_set - {*_KEPT, "models", "batch"})
    if beside:
        raise InputError(
            f"--set judge.{beside[0]}: is for a sweep; here each judges by itself, once, and is asked for no quotes"
        )
    unknown = sorted(config.prices.keys() - set(models))
    if unknown:
        raise InputError(f"prices: {unknown[0]!r} is none of the judges ({', '.join(models)})")
    return config


def _names(models: Sequence[str], name: str | None, own: Sequence[str]) -> dict[str, str]:
    """The models by the names under which their verdicts are kept."""
    if name is not None and len(models) > 1:
        raise InputError(f"--name {name}: is for the verdicts of one judge, and --judge names {len(models)}")
    if name is not None and not (name.isprintable() and 0 < len(name.strip()) <= _LONGEST_NAME):
        raise InputError(f"--name: expected 1 to {_LONGEST_NAME} printable characters, got {name!r}")
    names = {name or model: model for model in models}
    taken = [each for each in names if each in own]
    if taken:
        raise InputError(f"{taken[0]!r} is what the run's own judge is called: choose another name with --name")
    return names


def _world(meta: Mapping[str, Any], world: str | None, models: Sequence[str]) -> PlantedWorld | None:
    """The world of planted judges: the one that is named, else that of the run. Raises InputError where there is none."""
    planted = [model for model in models if model.startswith(PLANTED)]
    if not planted:
        return None
    if world is not None:
        found = parse_world(read_document(find("worlds", world, Path.cwd())))
    elif meta.get("world"):
        found = PlantedWorld.model_validate(meta["world"])
    else:
        raise InputError(f"--judge {planted[0]}: the run has no planted world, name one with --world")
    found.check_in_process()
    return found


def _judge(name: str, judging: JudgeConfig, lane: ModelLane) -> agents.ModelJudge:
    return agents.ModelJudge(agents.LeanSpeaker(lane, judging, judging.batch), name, judging.orders == "both")


def _identity(config: RejudgeConfig, model: str, world: PlantedWorld | None) -> dict[str, Any]:
    """What all verdicts under one name have in common."""
    service = config.providers.get(provider_section(model.partition(":")[0]))
    return {
        **config.judge.model_dump(mode="json", exclude={"models", "batch"}, exclude_none=True),
        "seed": str(config.judge.seed),  # true and 1 are equal to Python, and not to us
        "model": model,
        "base_url": service.base_url if service else None,
        "world": digest(world.model_dump(mode="json")) if world and model.startswith(PLANTED) else None,
        "prompts": [prompt.version for prompt in agents.episode_prompts() if prompt.version.startswith("judge@")],
    }


def _check_same(folder: RunFolder, known: Mapping[str, Mapping[str, Any]], asked: Mapping[str, Any]) -> None:
    """Whether who judged under these names before is who shall judge now. Raises InputError that names what differs."""
    for name, identity in asked.items():
        before = known.get(name, identity)
        differing = sorted(key for key in {*before, *identity} if before.get(key) != identity.get(key))
        if differing:
            raise InputError(
                f"{name!r} has judged here with other settings ({', '.join(differing)}): choose another --name, or undo the "
                "change",
                path=folder.path,
            )
