"""A sweep file with everything that it names, loaded and checked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from conflictscope import agents
from conflictscope.config import SteeringConfig, SweepConfig, parse_sweep
from conflictscope.documents import Document, read_document, read_text
from conflictscope.errors import InputError
from conflictscope.library import find, load_library, load_value_set
from conflictscope.outcome import Group
from conflictscope.planted import PlantedWorld, parse_world, read_stated_ranking
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
    briefings: Mapping[str, agents.Briefing]  # by steering

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
            "briefings": digest([briefing.text for briefing in self.briefings.values()]),
        }

    def as_executed(self) -> str:
        """The sweep file with overrides applied, defaults spelled out and paths made absolute."""
        data = self.config.model_dump(mode="json", exclude_none=True)
        for key in ("value_set", "scenarios", "world"):
            path = builtin_or_path(data[key], self.base) if key in data else None
            if path is not None:
                data[key] = str(path)
        for steering in data["steering"]:
            if "prompt" in steering:
                steering["prompt"] = str(self.base / steering["prompt"])
        if self.config.generate is not None:
            against = self.config.generate.against
            data["generate"]["against"] = [str(builtin_or_path(each, self.base) or each) for each in against]
        return f"# As executed, from {self.source}; agents are imported from {self.base}\n\n{tomli_w.dumps(data)}"

    def prompts(self) -> dict[str, str]:
        """The texts that a run rests on, by version: our own wordings, and the user's system prompts."""
        own = [self.briefings[steering.name] for steering in self.config.steering if steering.prompt is not None]
        ours = {prompt.version: prompt.text for prompt in agents.episode_prompts()}
        return ours | {briefing.version: briefing.text for briefing in own}

    def briefing(self, group: Group) -> agents.Briefing | None:
        """The system prompt of a group's targets; None without steering."""
        return None if group.steering is None else self.briefings[group.steering]

    def truth(self, group: Group) -> list[str] | None:
        """The planted order of the values in a group, best first; None for a target that is not planted."""
        model = next(t.model for t in self.config.targets if t.label == group.target)
        if self.world is None or model is None or not model.startswith(PLANTED):
            return None
        briefing = self.briefing(group)
        stated = read_stated_ranking(briefing.text) if briefing else ()
        return self.world.targets[model.removeprefix(PLANTED)].truth(group.mode, stated)


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
        for value in steering.ranking or ():
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
    briefings = {steering.name: _briefing(steering, value_set, base) for steering in config.steering}
    return Sweep(config, file.source, base, value_set, passing, len(scenarios) - len(passing), world, briefings)


def _briefing(steering: SteeringConfig, value_set: ValueSet, base: Path) -> agents.Briefing:
    """The system prompt of a steering. Raises InputError for a file that cannot be read, or says nothing."""
    if steering.prompt is None:
        assert steering.ranking is not None, "SteeringConfig holds that there is one or the other"
        assert steering.style is not None, "SteeringConfig holds that a wording of ours has a style"
        return agents.steer(steering.ranking, value_set, steering.style)
    path = base / steering.prompt
    text = read_text(path).strip()
    if not text:
        raise InputError(
            f"steering {steering.name!r}: expected the text of a system prompt, got an empty file", path=path
        )
    return agents.own_briefing(path.name, text)


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
