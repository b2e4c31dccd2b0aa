"""A sweep file with everything that it names, loaded and checked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from conflictscope import agents
from conflictscope.config import SweepConfig, parse_sweep
from conflictscope.documents import Document, read_document
from conflictscope.errors import InputError
from conflictscope.library import find, load_library, load_value_set
from conflictscope.outcome import Group
from conflictscope.planted import PlantedWorld, parse_world
from conflictscope.scenario import Scenario
from conflictscope.services import PLANTED, builtin_or_path
from conflictscope.values import ValueSet


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
            "value_set": digest(self.value_set.model_dump(mode="json")),
            "scenarios": digest([scenario.to_json() for scenario in self.scenarios]),
            "world": digest(self.world.model_dump(mode="json")) if self.world else None,
            "prompts": [prompt.version for prompt in agents.episode_prompts()],
        }

    def as_executed(self) -> str:
        """The sweep file with overrides applied, defaults spelled out and paths made absolute."""
        data = self.config.model_dump(mode="json", exclude_none=True)
        for key in ("value_set", "scenarios", "world"):
            path = builtin_or_path(data[key], self.base) if key in data else None
            if path is not None:
                data[key] = str(path)
        if self.config.generate is not None:
            against = self.config.generate.against
            data["generate"]["against"] = [str(builtin_or_path(each, self.base) or each) for each in against]
        return f"# As executed, from {self.source}; agents are imported from {self.base}\n\n{tomli_w.dumps(data)}"

    def stated_ranking(self, group: Group) -> tuple[str, ...]:
        """The ranking that a group's steering states; empty for none."""
        return next((s.ranking for s in self.config.steering if s.name == group.steering), ())

    def truth(self, group: Group) -> list[str] | None:
        """The planted order of the values in a group, best first; None for a target that is not planted."""
        model = next(t.model for t in self.config.targets if t.label == group.target)
        if self.world is None or model is None or not model.startswith(PLANTED):
            return None
        return self.world.targets[model.removeprefix(PLANTED)].truth(group.mode, self.stated_ranking(group))


@dataclass(frozen=True)
class SweepFile:
    """A sweep file as it was read, before anything that it names is loaded."""

    path: Path
    document: Document
    config: SweepConfig
    source: str


def read_sweep(reference: str, overrides: Sequence[str] = (), *, name: str | None = None) -> SweepFile:
    """A sweep file, by path or built-in name. Raises InputError."""
    path = find("sweeps", reference, Path.cwd())
    document = read_document(path)
    config = parse_sweep(document, overrides)
    if name is not None:
        config = config.model_copy(update={"name": name})
    source = str(path) if builtin_or_path(reference, path.parent) else f"built in: {reference}"
    return SweepFile(path, document, config, source)


def load_beside(file: SweepFile) -> tuple[ValueSet, PlantedWorld | None]:
    """The value set and the world that a sweep file names, and whether its steerings fit. Raises InputError."""
    document, config, base = file.document, file.config, file.path.parent
    with blamed(document, "value_set"):
        value_set = load_value_set(find("values", config.value_set, base))
    for number, steering in enumerate(config.steering):
        for value in steering.ranking:
            if value not in value_set.names:
                raise InputError(
                    f"steering[{number}].ranking: {value!r} is not in the value set {value_set.name!r} "
                    f"({', '.join(value_set.names)})",
                    path=file.path,
                    line=document.line(["steering", number, "ranking"]),
                )
    if config.world is None:
        return value_set, None
    with blamed(document, "world"):
        world = parse_world(read_document(find("worlds", config.world, base)))
        if config.generate is not None:
            _check_world(world, config, value_set.names)  # before a library is made, and paid for
    return value_set, world


@contextmanager
def blamed(document: Document, key: str) -> Iterator[None]:
    """What is wrong with something that a file names is told with the line that names it."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{key}: {error}", path=document.path, line=document.line([key])) from None


def load_sweep(
    reference: str, overrides: Sequence[str] = (), *, name: str | None = None, library: Path | None = None
) -> Sweep:
    """A sweep from a file or a built-in name, with everything that it refers to. Raises InputError; writes nothing.

    library: the one that its [generate] section has made.
    """
    file = read_sweep(reference, overrides, name=name)
    path, document, config, base = file.path, file.document, file.config, file.path.parent
    value_set, world = load_beside(file)
    if config.scenarios is not None:
        with blamed(document, "scenarios"):
            library = find("libraries", config.scenarios, base)
    elif library is None or not library.is_file():
        raise InputError(
            "the library that its [generate] section asks for is not made yet: `run` makes it",
            path=path,
            line=document.line(["generate"]),
        )
    scenarios = load_library(library, value_set)
    passing = [scenario for scenario in scenarios if scenario.passes]
    if not passing:
        raise InputError("no scenario of the library passes its checks", path=path, line=document.line(["scenarios"]))
    if world is not None:
        with blamed(document, "world"):
            _check_world(world, config, {value for scenario in passing for value in scenario.pair})
    return Sweep(config, file.source, base, value_set, passing, len(scenarios) - len(passing), world)


def _check_world(world: PlantedWorld, config: SweepConfig, needed: Iterable[str]) -> None:
    """The world can answer in process, each planted model plays its own part, and each target knows the values it will meet."""
    world.check_in_process()
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
        elif model.removeprefix(PLANTED) not in (players := world.judge_names if role == "judge" else (role,)):
            there = ", ".join(f"'{PLANTED}{name}'" for name in players)
            raise InputError(f"{role}: {model!r} cannot play the {role}: the planted {role} is {there}")


def digest(content: Any) -> str:
    """A short hash of what can be written as JSON."""
    return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=16).hexdigest()
