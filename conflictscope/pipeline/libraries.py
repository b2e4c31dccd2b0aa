"""What is done with libraries and value sets that exist: measured, compared, made of tables and of prose."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from conflictscope.agents import LeanSpeaker, propose_values
from conflictscope.audit import Figure
from conflictscope.criteria import read_criteria, split_criteria, value_set_text
from conflictscope.documents import explain
from conflictscope.errors import CallFailed, InputError, LaneClosed
from conflictscope.generation import metrics
from conflictscope.generation.similarity import Embedding
from conflictscope.library import load_library
from conflictscope.librarystats import CheckerAgreement, Coefficient, ConditionStats, LibraryStats
from conflictscope.outcome import Outcome
from conflictscope.pipeline.scratch import embedding_by, scratch
from conflictscope.pipeline.sweep import digest
from conflictscope.ranking.agreement import cohen_kappa, krippendorff_alpha
from conflictscope.runfolder import RunFolder
from conflictscope.scenario import Scenario
from conflictscope.spec import OFFLINE_EMBEDDING, SimilarityConfig
from conflictscope.store import RunReader
from conflictscope.values import Value, ValueSet

_MOST_FOR_A_MODEL = 100  # criteria: a reply that names more of them would be cut


async def library_stats(
    paths: Sequence[Path],
    runs: Sequence[RunFolder] = (),
    embedding: str = OFFLINE_EMBEDDING,
    runs_dir: Path = Path("runs"),
) -> list[LibraryStats]:
    """What each library is made of and worth, in their order.

    runs: what targets made of them; each counts for the library most of whose scenarios it has outcomes of. embedding: what
    their likeness is measured by, as in a specification; what a model says is kept in `runs_dir`. Raises InputError, also for a
    run of none of the libraries.
    """
    libraries = [load_library(path) for path in paths]
    played = await _by_library(libraries, runs)
    try:
        SimilarityConfig(embedding=embedding)
    except ValidationError as error:
        raise InputError(f"--{explain(error.errors()[0], SimilarityConfig)}") from None
    names = _names(paths)
    try:
        async with embedding_by(embedding, runs_dir) as embedder:
            return [
                await _stats(name, library, by_run, embedder)
                for name, library, by_run in zip(names, libraries, played, strict=True)
            ]
    except (CallFailed, LaneClosed) as failure:
        raise InputError(f"--embedding {embedding}: {failure}") from failure


async def stats_of_run(
    name: str, scenarios: Sequence[Scenario], outcomes: Sequence[Outcome], run: RunFolder
) -> LibraryStats:
    """What the scenarios of a run are made of and worth, and what its targets made of them; offline."""
    async with embedding_by(OFFLINE_EMBEDDING, run.path.parent) as embedder:
        return await _stats(name, scenarios, {str(run.path.resolve()): outcomes}, embedder)


async def new_value_set(
    criteria: Path,
    output: Path,
    *,
    model: str | None = None,
    world: str | None = None,
    force: bool = False,
    runs_dir: Path = Path("runs"),
) -> ValueSet:
    """Write a value set with a value for each criterion of a file, and return it.

    model: names and words the values; without one the criteria are the definitions. world: where a planted model comes from.
    force: write over a file that exists. What a model says is kept in `runs_dir`. Raises InputError.
    """
    if output.suffix != ".toml":
        raise InputError(f"-o: expected a .toml file, got {str(output)!r}")
    if output.exists() and not force:
        raise InputError("exists: choose another -o, or write over it with --force", path=output)
    if world is not None and model is None:
        raise InputError(f"--world {world}: says where a planted --model comes from, and there is none")
    sentences = read_criteria(criteria)
    if model is None:
        values = split_criteria(sentences)
        told = "each definition is a criterion as it stands there, each name its first telling words"
    else:
        values = await _proposed(sentences, model, world, runs_dir)
        told = f"named and worded by {model}"
    try:
        value_set = ValueSet(
            name=output.stem,
            description=f"Of the {len(sentences)} criteria of {criteria.name}.",
            source=f"{criteria.name}: {told}.",
            values=values,
        )
    except ValidationError as error:
        told = explain(error.errors()[0], ValueSet)
        raise InputError(f"-o: the set is named as its file is: {told}") from None
    comment = f"Made of {criteria.name} by `conflictscope values new`. Names are for you to choose: edit them."
    write_text(output, value_set_text(value_set, comment))
    return value_set


async def _proposed(criteria: Sequence[str], model: str, world: str | None, runs_dir: Path) -> tuple[Value, ...]:
    """The values that a model makes of criteria. Raises InputError, also where it gives no usable reply."""
    if len(criteria) > _MOST_FOR_A_MODEL:
        raise InputError(f"--model: takes {_MOST_FOR_A_MODEL} criteria at the most, got {len(criteria)}")
    async with scratch(runs_dir, model, world) as opened:
        speaker = LeanSpeaker(opened.lanes.to(model))
        scope = f"values/{digest(list(criteria))}"
        try:
            return await propose_values(speaker, criteria, 0, scope, Counter())
        except (CallFailed, LaneClosed) as failure:
            opened.store.writer.forget(scope)
            raise InputError(f"--model {model}: {failure}") from failure


def write_text(path: Path, text: str) -> None:
    """Write a file that was asked for. Raises InputError where it can't be written."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", path=path) from None


def _names(paths: Sequence[Path]) -> list[str]:
    """The names of the files; with their folders where two have one name. Raises InputError for a library that stands twice."""
    stems = [path.stem for path in paths]
    names = [path.stem if stems.count(path.stem) == 1 else str(path) for path in paths]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError("the library is named twice", path=twice)
    return names


async def _by_library(
    libraries: Sequence[Sequence[Scenario]], runs: Sequence[RunFolder]
) -> list[dict[str, list[Outcome]]]:
    """Of each library, by run: the outcomes of its scenarios. Raises InputError."""
    found: list[dict[str, list[Outcome]]] = [{} for _ in libraries]
    pairs = [{scenario.id: scenario.pair for scenario in library} for library in libraries]
    for run in runs:
        async with RunReader.open(run.database) as reader:
            outcomes = [outcome async for outcome in reader.canonical_outcomes()]
        # The same id may stand in two libraries; the same id with the same two values hardly ever does.
        own = [[outcome for outcome in outcomes if known.get(outcome.scenario_id) == outcome.pair] for known in pairs]
        most = max(range(len(libraries)), key=lambda number: len(own[number]))
        if not own[most]:
            raise InputError("has no outcome of a scenario of the libraries named", path=run.path)
        if str(run.path.resolve()) in found[most]:
            raise InputError("the run is named twice", path=run.path)
        found[most][str(run.path.resolve())] = own[most]
    return found


async def _stats(
    name: str, scenarios: Sequence[Scenario], by_run: Mapping[str, Sequence[Outcome]], embedding: Embedding
) -> LibraryStats:
    vectors = await embedding.embed([scenario.description for scenario in scenarios])
    likeness, pairs = metrics.likeness(
        scenarios, vectors, embedding=embedding.name, threshold=SimilarityConfig().threshold
    )
    played = metrics.by_condition(outcome for outcomes in by_run.values() for outcome in outcomes)
    return LibraryStats(
        name,
        scenarios=len(scenarios),
        situations=len(metrics.situations(scenarios)),
        passing=sum(scenario.passes for scenario in scenarios),
        pairs=pairs,
        templates=metrics.template_counts(scenarios),
        rates=metrics.pass_rates(scenarios),
        checkers=tuple(
            _checker_agreement(check, verdicts) for check, verdicts in metrics.checker_verdicts(scenarios).items()
        ),
        likeness=likeness,
        runs=tuple(Path(run).name for run in by_run),
        conditions=tuple(_condition(condition, targets) for condition, targets in played.items()),
    )


def _checker_agreement(check: str, verdicts: Sequence[Mapping[str, bool]]) -> CheckerAgreement:
    """Cohen's kappa of two checkers, Krippendorff's alpha of more."""
    checkers = tuple(sorted({checker for by_checker in verdicts for checker in by_checker}))
    if len(checkers) == 2:
        first, second = ([by_checker[checker] for by_checker in verdicts] for checker in checkers)
        agreement = _coefficient("cohen_kappa", cohen_kappa(first, second))
    else:
        items = [list(by_checker.values()) for by_checker in verdicts]
        agreement = _coefficient("krippendorff_alpha", krippendorff_alpha(items))
    return CheckerAgreement(check, checkers, agreement)


def _condition(condition: metrics.Condition, played: metrics.Played) -> ConditionStats:
    mode, steering, behavior = condition
    sides = metrics.sides_taken(played)
    return ConditionStats(
        mode,
        steering,
        behavior,
        agree=metrics.agreed(sides) if sides else None,
        alpha=_coefficient("krippendorff_alpha", krippendorff_alpha(sides)) if sides else None,
        targets=metrics.clear_preferences(played),
    )


def _coefficient(name: str, found: Figure) -> Coefficient:
    return Coefficient(name, found.value, found.low, found.high, found.items)
