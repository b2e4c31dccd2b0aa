"""Making a library in its run folder: begin or resume, round after round, write the file, say how it ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from conflictscope import agents
from conflictscope.documents import Document, read_document
from conflictscope.drafts import DraftState
from conflictscope.errors import CallFailed, InputError, LaneClosed, LimitReached
from conflictscope.generation import CheckPanel, Crew, Embedding, Hashing, LibraryMaker
from conflictscope.library import check_output, find, load_library, load_value_set, write_library
from conflictscope.monitor import elapsed_s, lanes, run_state
from conflictscope.pipeline.casting import check_services, make_models
from conflictscope.pipeline.models import Models
from conflictscope.pipeline.showing import shown
from conflictscope.pipeline.sweep import SweepFile, blamed, digest
from conflictscope.pipeline.work import Work, opened
from conflictscope.planted import Lexicon, PlantedWorld, parse_world
from conflictscope.redaction import know_secrets
from conflictscope.runfolder import RunFolder
from conflictscope.scenario import Scenario
from conflictscope.services import PLANTED, builtin_or_path
from conflictscope.snapshot import LibraryProgress, PairProgress
from conflictscope.spec import OFFLINE_EMBEDDING, ChecksSpec, GenerationSpec, LibraryPlan, parse_spec
from conflictscope.store import LibraryStore, RunReader
from conflictscope.values import ValueSet

LIBRARY = "library.jsonl"

log = structlog.get_logger()


@dataclass(frozen=True)
class Specification:
    """A specification file with everything that it names, loaded and checked.

    others: the scenarios of the libraries that it must not repeat.
    """

    config: GenerationSpec
    source: str
    value_set: ValueSet
    world: PlantedWorld | None
    others: Sequence[Scenario]

    def identity(self) -> dict[str, Any]:
        """What a resume must share with what it resumes; how many scenarios, limits and providers may change."""
        config = self.config.identity()
        return {
            **{key: value for key, value in config.items() if key not in ("value_set", "world", "against")},
            "value_set": digest(self.value_set.model_dump(mode="json")),
            "world": digest(self.world.model_dump(mode="json")) if self.world else None,
            "against": digest([scenario.to_json() for scenario in self.others]),
            "prompts": [prompt.version for prompt in agents.library_prompts()],
        }


@dataclass(frozen=True, slots=True)
class GenerationResult:
    """How the making of a library ended.

    library: the file. scenarios: how many it holds, those that failed a check included. state: `finished`, `interrupted`, `limit`
    or `failed` (a lane was closed). message: why, in words.
    """

    folder: RunFolder
    library: Path
    scenarios: int
    state: str
    message: str
    progress: LibraryProgress

    @property
    def exit_code(self) -> int:
        """0 done, 1 a pair is short of its count or a lane is closed, 3 a limit, 130 interrupted."""
        return {"failed": 1, "limit": 3, "interrupted": 130}.get(self.state, int(self.progress.short > 0))

    def to_json(self) -> dict[str, Any]:
        """By name."""
        return {
            **self.progress.to_json(),
            "state": self.state,
            "library": str(self.library),
            "scenarios": self.scenarios,
        }


LibraryViewer = Callable[[Callable[[], Awaitable[LibraryProgress]]], Awaitable[None]]


def load_spec(reference: str, overrides: Sequence[str] = (), *, name: str | None = None) -> Specification:
    """A specification from a file, with everything that it refers to. Raises InputError; writes nothing."""
    path = find("specs", reference, Path.cwd())
    document = read_document(path)
    config = parse_spec(document, overrides)
    if name is not None:
        config = config.model_copy(update={"name": name})
    source = str(path) if builtin_or_path(reference, path.parent) else f"built in: {reference}"
    return specify(config, document, source)


def specify(config: GenerationSpec, document: Document, source: str) -> Specification:
    """A specification with everything that it refers to. document: the file that it stands in. Raises InputError."""
    base = document.path.parent
    with blamed(document, "value_set"):
        value_set = load_value_set(find("values", config.value_set, base))
    world = load_world(config, document)
    with blamed(document, "against"):
        others = [scenario for library in config.against for scenario in load_library(find("libraries", library, base))]
    return Specification(config, source, value_set, world, others)


def load_world(config: ChecksSpec, document: Document) -> PlantedWorld | None:
    """The planted world that a specification names, if any, with a part for each planted model. Raises InputError."""
    if config.world is None:
        return None
    with blamed(document, "world"):
        world = parse_world(read_document(find("worlds", config.world, document.path.parent)))
    parts: list[tuple[str, str, Sequence[str]]] = [
        ("checks.models", model, world.checker_names) for model in config.checks.models
    ]
    if isinstance(config, GenerationSpec):
        parts.append(("generator.model", config.generator.model, ["generator"]))
        parts += [("user.model", config.user.model, ["user"])] if config.user else []
    with blamed(document, "world"):
        world.check_in_process()
    for key, model, fitting in parts:
        if model.startswith(PLANTED) and model.removeprefix(PLANTED) not in fitting:
            names = ", ".join(PLANTED + each for each in fitting)
            line = document.line(key.split("."))
            raise InputError(
                f"{key}: {model!r} cannot play that part: fitting is {names}", path=document.path, line=line
            )
    return world


def stage_of(file: SweepFile) -> Specification | None:
    """The specification of the library that a sweep makes first; None where it names one that is there. Raises InputError."""
    config = file.config
    if config.generate is None:
        return None
    plan = config.generate
    spec = GenerationSpec(
        **{name: getattr(plan, name) for name in LibraryPlan.model_fields},
        name=config.name,
        value_set=config.value_set,
        world=config.world,
        seed=config.seed,
        **config.only_for(plan.priced()),
    )
    return specify(spec, file.document, file.source)


def stage_folder(run: RunFolder) -> RunFolder:
    """Where the library that a sweep makes first is made: inside the folder of its run."""
    return RunFolder(run.path / "library")


def library_of(file: SweepFile, runs_dir: Path) -> Path:
    """The library that a sweep with a [generate] section has made, or will have."""
    return stage_folder(RunFolder.named(file.config.name, runs_dir)).path / LIBRARY


async def generate(
    spec: Specification,
    folder: RunFolder,
    output: Path | None = None,
    viewer: LibraryViewer | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> GenerationResult:
    """Make a library, or what is left of it, in its run folder; and write it to `output` (default: a file in the folder).

    Scenarios that `output` holds already count and stay as they are. viewer: shows the progress while it goes on, from the
    run file; it is cancelled at the end. tell: shows a line. Raises InputError where it cannot start.
    """
    know_secrets()
    config = spec.config
    library = output or folder.path / LIBRARY
    pairs = config.pairs_of(spec.value_set)
    if not pairs:
        raise InputError(
            f'the value set {spec.value_set.name!r} has one group only, so no pair lies between groups: set pairs = "all"',
            path=spec.source,
        )
    if output is not None:
        check_output(output)
    there = load_library(library, spec.value_set) if library.exists() else ()
    async with Models(config, spec.world, Lexicon.of(())) as make:
        try:
            models = make_models(config.models(), make)
            embedder = None if config.offline else make.embedding(config.similarity.embedding)
            named = {config.similarity.embedding: embedder} if embedder else {}
            check_services(config, {**models, **named})
        except InputError as error:
            raise InputError(str(error), path=spec.source) from None
        meta = {
            "source": spec.source,
            "spec": config.model_dump(mode="json", exclude_none=True),
            "world": spec.world.model_dump(mode="json", exclude_none=True) if spec.world else None,
        }
        async with opened(
            "library",
            config,
            folder,
            models,
            value_set=spec.value_set,
            identity=spec.identity(),
            meta=meta,
            tell=tell,
        ) as work:
            store = LibraryStore(work.writer)
            own = {scenario.id for scenario in await _made(store)}
            existing = [scenario for scenario in there if scenario.id not in own]
            passing = Counter(scenario.pair for scenario in existing if scenario.passes)
            embedding = work.lanes.embedding(config.similarity.embedding, embedder, store) if embedder else Hashing()
            maker = _maker(spec, work, store, embedding, existing)

            async def progress() -> LibraryProgress:
                return await library_progress(work.reader, folder)

            async def make_it() -> None:
                async with shown(partial(viewer, progress) if viewer else None):
                    try:
                        await maker.run(pairs)
                    except (CallFailed, LaneClosed) as failure:
                        work.stop.request("failed", f"{config.similarity.embedding}: {failure}")
                    except LimitReached as limit:
                        work.stop.request("limit", str(limit))

            roles = [
                (config.generator.model, config.generator),
                *((model, config.checks) for model in config.checks.models),
            ]
            roles += [(config.user.model, config.user)] if config.user else []
            await work.do(
                make_it,
                roles,
                count=config.count,
                tries=config.tries,
                pairs=[[*pair, passing[min(pair), max(pair)]] for pair in pairs],
            )
            # What stands in the file by now stays as it is: people and other processes may have changed it.
            there = load_library(library, spec.value_set) if library.exists() else ()
            known = {scenario.id for scenario in there}
            scenarios = [*there, *(scenario for scenario in await _made(store) if scenario.id not in known)]
            if scenarios:
                write_library(library, scenarios)
            ended = replace(await progress(), state=work.state, in_flight=0)  # the folder is still held by us
            return GenerationResult(folder, library, len(scenarios), work.state, work.message, ended)


async def _made(store: LibraryStore) -> list[Scenario]:
    """What this run has made for its library."""
    return [draft.scenario for one in await store.rounds() for draft in one.drafts if draft.kept and draft.scenario]


def _maker(
    spec: Specification, work: Work, store: LibraryStore, embedding: Embedding, existing: Sequence[Scenario]
) -> LibraryMaker:
    config = spec.config
    values = {value.name: value for value in spec.value_set.values}
    gate = work.new_gate()
    generator = agents.ModelGenerator(
        agents.LeanSpeaker(work.lanes.to(config.generator.model), config.generator), config.generator.model
    )
    writer = None
    if config.user is not None:
        writer = agents.ModelOpeningWriter(agents.LeanSpeaker(work.lanes.to(config.user.model), config.user))
    panel = CheckPanel(work.checkers(), config.checks.names, seed=config.seed, values=values, gate=gate)
    return LibraryMaker(
        config,
        Crew(generator, panel, writer, embedding),
        store,
        seed=config.seed,
        values=values,
        existing=existing,
        others=spec.others,
        gate=gate,
    )


async def library_progress(reader: RunReader, folder: RunFolder) -> LibraryProgress:
    """How far the making of a library is, from its run file."""
    meta = await reader.meta()
    counts = await reader.draft_counts()
    pairs = []
    for value_a, value_b, there in meta.get("pairs", ()):
        pair = value_a, value_b
        passed = there + counts.states.get((pair, DraftState.PASSED), 0)
        at_most = meta["tries"] * meta["count"]
        pairs.append(PairProgress(*pair, meta["count"], passed, counts.asked.get(pair, 0), at_most))
    _, used = await reader.usage()
    in_flight, _ = await reader.in_flight()
    running = folder.in_work
    embedding = meta["spec"]["similarity"]["embedding"]
    return LibraryProgress(
        run=folder.name,
        state=run_state("library", await reader.sessions(), running=running),
        pairs=pairs,
        drafts={s: sum(count for (_, own), count in counts.states.items() if own is s) for s in DraftState},
        rejected=counts.rejected,
        problems=counts.problems,
        embedding=Hashing.name if embedding == OFFLINE_EMBEDDING else embedding,
        threshold=meta["spec"]["similarity"]["threshold"],
        usage=used,
        in_flight=in_flight if running else 0,
        limit_usd=meta["limits"].get("cost_usd"),
        elapsed_s=await elapsed_s(reader, running=running),
        lanes=await lanes(reader, running=running),
    )
