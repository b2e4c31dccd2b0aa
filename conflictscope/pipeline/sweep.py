"""A sweep file with everything that it names, loaded and checked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w

from conflictscope import agents
from conflictscope.config import SteeringConfig, SweepConfig, behavior_name, parse_sweep
from conflictscope.documents import Document, read_document, read_text
from conflictscope.errors import InputError
from conflictscope.library import find, load_library, load_value_set
from conflictscope.outcome import Group, Mode, Role
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
    behaviors: Mapping[str, Sequence[agents.LoadedBehavior]] = field(default_factory=dict)

    @property
    def groups(self) -> list[Group]:
        """What rankings will be made for: targets x modes x (no steering, then each) x (plain, then each behaviour).

        A behaviour of the user or the judge is played in the mode that has one.
        """
        steerings = [None, *(steering.name for steering in self.config.steering)]
        return [
            Group(target.label, mode, steering, behavior)
            for target in self.config.targets
            for mode in self.config.modes
            for steering in steerings
            for behavior in (None, *self.behaviors_in(mode))
        ]

    def behaviors_in(self, mode: Mode) -> list[str]:
        """The names of the behaviours that are played in a mode."""
        return [name for name, loaded in self.behaviors.items() if _plays_in(mode, loaded)]

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
            "behaviors": {name: [each.version for each in loaded] for name, loaded in self.behaviors.items()} or None,
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
        data["behaviors"] = [_from_anywhere(entry, self.base) for entry in self.config.behaviors]
        if self.config.generate is not None:
            against = self.config.generate.against
            data["generate"]["against"] = [str(builtin_or_path(each, self.base) or each) for each in against]
        return f"# As executed, from {self.source}; agents and behaviours are imported from {self.base}\n\n{tomli_w.dumps(data)}"

    def prompts(self) -> dict[str, str]:
        """The texts that a run rests on, by version: our own wordings, and the user's system prompts."""
        own = [self.briefings[steering.name] for steering in self.config.steering if steering.prompt is not None]
        ours = {prompt.version: prompt.text for prompt in agents.episode_prompts()}
        return ours | {briefing.version: briefing.text for briefing in own}

    def briefing(self, group: Group) -> agents.Briefing | None:
        """The system prompt of a group's targets; None without steering."""
        return None if group.steering is None else self.briefings[group.steering]

    def truth(self, group: Group) -> list[str] | None:
        """The planted order of the sweep's values in a group, best first; None for a target that is not planted.

        None with a behaviour, too: what it does to a target, no world knows.
        """
        model = next(t.model for t in self.config.targets if t.label == group.target)
        if self.world is None or group.behavior or model is None or not model.startswith(PLANTED):
            return None
        briefing = self.briefing(group)
        stated = read_stated_ranking(briefing.text) if briefing else ()
        planted = self.world.targets[model.removeprefix(PLANTED)].truth(group.mode, stated)
        return [value for value in planted if value in self.value_set.names]  # a world may know more


@dataclass(frozen=True)
class SweepFile:
    """A sweep file as it was read, before anything that it names is loaded."""

    path: Path
    document: Document
    config: SweepConfig
    source: str
    behaviors: Mapping[str, Sequence[agents.LoadedBehavior]]


def read_sweep(
    reference: str, overrides: Sequence[str] = (), *, name: str | None = None, behaviors: Sequence[str] = ()
) -> SweepFile:
    """A sweep file, by path or built-in name, with further behaviours, whose files are looked for here. Raises InputError.

    Behaviours are loaded right away: one that cannot be is told before a library is made and paid for.
    """
    path = find("sweeps", reference, Path.cwd())
    document = read_document(path)
    config = parse_sweep(document, overrides)
    if behaviors:
        added = [*config.behaviors, *(_from_anywhere(entry, Path.cwd()) for entry in behaviors)]
        config = parse_sweep(document, [*overrides, f"behaviors={json.dumps(added)}"])
    if name is not None:
        config = config.model_copy(update={"name": name})
    source = str(path) if builtin_or_path(reference, path.parent) else f"built in: {reference}"
    return SweepFile(path, document, config, source, _load_behaviors(config, path, document, len(behaviors)))


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
    reference: str,
    overrides: Sequence[str] = (),
    *,
    name: str | None = None,
    library: Path | None = None,
    behaviors: Sequence[str] = (),
) -> Sweep:
    """A sweep from a file or a built-in name, with everything that it refers to. Raises InputError; writes nothing.

    library: the one that its [generate] section has made. behaviors: as in `read_sweep`.
    """
    file = read_sweep(reference, overrides, name=name, behaviors=behaviors)
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
    left_out = len(scenarios) - len(passing)
    return Sweep(config, file.source, base, value_set, passing, left_out, world, briefings, file.behaviors)


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


def _load_behaviors(
    config: SweepConfig, path: Path, document: Document, added: int
) -> dict[str, tuple[agents.LoadedBehavior, ...]]:
    """By name. added: how many of them the command line added, at the end. Raises InputError for one that cannot be loaded, or
    not be played in this sweep.
    """
    loaded = {}
    for number, entry in enumerate(config.behaviors):
        try:
            behaviors = loaded[behavior_name(entry)] = agents.load_behaviors(entry, path.parent)
            _check_behaviors(config, behaviors)
        except InputError as error:
            if number >= len(config.behaviors) - added:
                raise InputError(f"--behavior {entry}: {error}") from None
            line = document.line(["behaviors", number])
            raise InputError(f"behaviors[{number}]: {error}", path=path, line=line) from None
    return loaded


def _check_behaviors(config: SweepConfig, loaded: Sequence[agents.LoadedBehavior]) -> None:
    if not any(_plays_in(mode, loaded) for mode in config.modes):
        raise InputError("the user and the judge take part in mode open_ended only, and modes has no open_ended")
    batched = {
        Role.TARGET: any(target.batch for target in config.targets),
        Role.JUDGE: config.judge is not None and config.judge.batch,
    }
    for behavior in loaded:
        role = behavior.type.role
        if behavior.type.looks > 1 and config.judge is not None and config.judge.seed is not True:
            raise InputError(
                f"{behavior.name} looks {behavior.type.looks} times: that needs judge.seed = true, so that each look is a "
                f"request of its own, got {config.judge.seed!r}"
            )
        if behavior.brings_an_agent and batched.get(role):
            raise InputError(
                f"{behavior.name} sends its requests itself, so there can be no batch = true for the {role.value}"
            )


def _plays_in(mode: Mode, loaded: Sequence[agents.LoadedBehavior]) -> bool:
    """Whether all roles that they are for take part in a mode."""
    return mode is Mode.OPEN_ENDED or all(behavior.type.role is Role.TARGET for behavior in loaded)


def _from_anywhere(entry: str, base: Path) -> str:
    """An entry of `behaviors` with the files in it as absolute paths."""

    def absolute(part: str) -> str:
        place, _, name = part.rpartition(":")
        return f"{(base / place).resolve()}:{name}" if place.endswith(".py") else part

    return " + ".join(absolute(part.strip()) for part in entry.split("+"))


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
