"""Checking the scenarios of a library once more, alone: by other models, by several, or only some of the checks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from conflictscope import agents
from conflictscope.documents import read_document
from conflictscope.errors import CallFailed, InputError
from conflictscope.generation import LEFT, CheckPanel
from conflictscope.generation.gate import all_of
from conflictscope.library import check_output, find, load_library, load_value_set, write_library
from conflictscope.pipeline.casting import check_services, make_models
from conflictscope.pipeline.generating import LIBRARY, load_world
from conflictscope.pipeline.models import Models
from conflictscope.pipeline.sweep import blamed, digest
from conflictscope.pipeline.work import opened
from conflictscope.planted import Lexicon
from conflictscope.redaction import know_secrets
from conflictscope.runfolder import RunFolder
from conflictscope.scenario import Check, Scenario
from conflictscope.spec import parse_checks

_AT_ONCE = 256  # scenarios; their calls wait for the slots of the lanes

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class RecheckResult:
    """How the checks of a library ended.

    library: the file that was written, None where they were not finished. unchecked: scenarios of which a checker gave no
    verdict, and why: they keep what they had. state, message: as in GenerationResult.
    """

    folder: RunFolder
    library: Path | None
    scenarios: Sequence[Scenario]
    unchecked: dict[str, str]
    state: str
    message: str

    @property
    def exit_code(self) -> int:
        """0 done, 1 a scenario is unchecked or a lane is closed, 3 a limit, 130 interrupted."""
        return {"failed": 1, "limit": 3, "interrupted": 130}.get(self.state, int(bool(self.unchecked)))

    def to_json(self) -> dict[str, Any]:
        """By name."""
        return {
            "run": self.folder.name,
            "state": self.state,
            "library": str(self.library) if self.library else None,
            "scenarios": len(self.scenarios),
            "passing": sum(scenario.passes for scenario in self.scenarios),
            "unchecked": self.unchecked,
        }


async def recheck(
    library: Path,
    reference: str,
    overrides: Sequence[str],
    runs_dir: Path,
    *,
    name: str | None = None,
    output: Path | None = None,
    tell: Callable[[str], None] = lambda text: None,
    advance: Callable[[int, int], None] = lambda done, planned: None,
) -> RecheckResult:
    """Check the scenarios of a library as a specification says; what the same checker said of the same check before is replaced.

    output: the library to write, default: a file in the run folder. advance: told how many are done. Raises InputError.
    """
    know_secrets()
    path = find("specs", reference, Path.cwd())
    document = read_document(path)
    config = parse_checks(document, overrides)
    with blamed(document, "value_set"):
        value_set = load_value_set(find("values", config.value_set, path.parent))
    scenarios = load_library(library, value_set)
    world = load_world(config, document)
    folder = RunFolder.named(name or f"{config.name}-checks", runs_dir)
    written = output or folder.path / LIBRARY
    if output is not None:
        check_output(output)
    identity = {
        "checks": config.checks.model_dump(mode="json"),
        "seed": config.seed,
        "value_set": digest(value_set.model_dump(mode="json")),
        "world": digest(world.model_dump(mode="json")) if world else None,
        "library": digest([scenario.model_copy(update={"checks": ()}).to_json() for scenario in scenarios]),
        "prompts": [prompt.version for prompt in agents.library_prompts()],
    }
    values = {value.name: value for value in value_set.values}
    done: dict[str, tuple[Check, ...]] = {}
    unchecked: dict[str, str] = {}
    async with Models(config, world, Lexicon.of(())) as make:
        try:
            models = make_models(config.models(), make)
            check_services(config, models)
        except InputError as error:
            raise InputError(str(error), path=path) from None
        meta = {"source": str(path), "spec": config.model_dump(mode="json", exclude_none=True)}
        async with opened(
            "checks", config, folder, models, value_set=value_set, identity=identity, meta=meta, tell=tell
        ) as work:
            panel = CheckPanel(
                work.checkers(), config.checks.names, seed=config.seed, values=values, gate=work.new_gate()
            )

            async def check(scenario: Scenario) -> None:
                try:
                    done[scenario.id] = await panel.check(f"check/{scenario.id}", scenario, Counter())
                except CallFailed as failure:
                    unchecked[scenario.id] = str(failure)
                    work.writer.forget(f"check/{scenario.id}")
                    log.warning("scenario.unchecked", scenario=scenario.id, error=str(failure))
                advance(len(done) + len(unchecked), len(scenarios))

            async def check_all() -> None:
                try:
                    for start in range(0, len(scenarios), _AT_ONCE):
                        await all_of(check(scenario) for scenario in scenarios[start : start + _AT_ONCE])
                except LEFT as halt:
                    log.info("checks.left", error=str(halt))

            await work.do(check_all, [(model, config.checks) for model in config.checks.models])
    if work.state != "finished":
        return RecheckResult(folder, None, (), unchecked, work.state, work.message)
    checked = [_with_checks(scenario, done.get(scenario.id, ())) for scenario in scenarios]
    write_library(written, checked)
    return RecheckResult(folder, written, checked, unchecked, work.state, work.message)


def _with_checks(scenario: Scenario, checks: Sequence[Check]) -> Scenario:
    """The scenario with these checks in place of those by the same checkers."""
    renewed = {(check.name, check.checker) for check in checks}
    kept = [check for check in scenario.checks if (check.name, check.checker) not in renewed]
    return scenario.model_copy(update={"checks": (*kept, *checks)})
