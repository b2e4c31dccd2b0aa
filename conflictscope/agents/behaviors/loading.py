"""Finding behaviours: built in, in a module, in a file, or by entry point."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

from conflictscope.agents.behaviors.base import Behavior
from conflictscope.errors import InputError
from conflictscope.outcome import Role

MOST_LOOKS = 99
"""As often a judge may look at one conversation."""

ENTRY_POINTS = "conflictscope.behaviors"
"""The group of entry points by which an installed package offers behaviours."""

BUILT_IN = {
    "persistent_user": "PersistentUser",
    "revealing_user": "RevealingUser",
    "moody_user": "MoodyUser",
    "hesitant_target": "HesitantTarget",
    "note_taking_target": "NoteTakingTarget",
    "panel_judge": "PanelJudge",
    "quoting_judge": "QuotingJudge",
}
"""Module, which is also the name, and class."""

_BRINGS_AN_AGENT = ("toolsets", "capabilities", "agent")
_NOT_FOR = {Role.USER: {"page"}, Role.TARGET: {"page"}, Role.JUDGE: {"outgoing"}}
_HOOKS = ("begin", "instructions", "incoming", "outgoing", "page", "stop", *_BRINGS_AN_AGENT)


@dataclass(eq=False)
class LoadedBehavior:
    """A behaviour's class, ready to play.

    name: as the sweep file has it, without where it is from. source: the text of the file that it stands in. hooks: those that
    it overrides. hung: how many of its plain hooks are running past their time just now.
    """

    name: str
    type: type[Behavior]
    source: str
    hooks: frozenset[str]
    hung: int = 0

    @property
    def version(self) -> str:
        """The name and a hash of the source."""
        return f"{self.name}@{hashlib.blake2b(self.source.encode(), digest_size=8).hexdigest()}"

    @property
    def brings_an_agent(self) -> bool:
        """Whether its role is played by a pydantic-ai Agent."""
        return not self.hooks.isdisjoint(_BRINGS_AN_AGENT)


def load_behaviors(entry: str, base: Path) -> tuple[LoadedBehavior, ...]:
    """The behaviours of an entry of the sweep file, `a + b` or one. Raises InputError.

    base: the folder of the sweep file, from which files are looked for and modules imported.
    """
    loaded = tuple(_load(reference.strip(), base) for reference in entry.split("+"))
    for role in {behavior.type.role for behavior in loaded}:
        agents = [each.name for each in loaded if each.type.role is role and "agent" in each.hooks]
        if len(agents) > 1:
            raise InputError(f"{' and '.join(agents)} each bring an agent for the {role.value}: one can play at a time")
    return loaded


def behaviors_of(loaded: Sequence[LoadedBehavior], role: Role) -> tuple[LoadedBehavior, ...]:
    """Those of a role, in their order."""
    return tuple(each for each in loaded if each.type.role is role)


def load_attribute(reference: str, base: Path) -> Any:
    """What `module:attribute` or `path/file.py:attribute` names. Raises InputError for an import that fails.

    A path is relative to `base`; a module may lie there, too.
    """
    place, _, attribute = reference.rpartition(":")
    try:
        return getattr(_file(base / place) if place.endswith(".py") else _module(place, base), attribute)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - importing runs a user's code, which may raise anything
        told = str(error) if isinstance(error, ImportError | AttributeError) else f"{type(error).__name__}: {error}"
        raise InputError(f"{reference!r} cannot be loaded: {told}") from None


def _module(name: str, base: Path) -> ModuleType:
    if str(base) not in sys.path:
        sys.path.insert(0, str(base))  # it may live beside its sweep file
    return importlib.import_module(name)


def _file(path: Path) -> ModuleType:
    content = path.read_bytes()
    digest = hashlib.blake2b(str(path.resolve()).encode() + content, digest_size=8).hexdigest()
    name = f"{path.stem}_{digest}"  # two files of one name are two modules
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None, "a .py file has a spec"
        assert spec.loader is not None, "and a loader"
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]


def _load(reference: str, base: Path) -> LoadedBehavior:
    if ":" in reference:
        name, found = reference.rpartition(":")[2], load_attribute(reference, base)
    elif reference in BUILT_IN:
        name = reference
        found = load_attribute(f"{__package__}.{reference}:{BUILT_IN[reference]}", base)
    else:
        name, found = reference, _offered(reference)
    _check(reference, found)
    try:
        source = Path(inspect.getfile(found)).read_text(encoding="utf-8")
    except (OSError, TypeError, UnicodeDecodeError) as error:
        raise InputError(
            f"{reference!r}: its source, a hash of which is part of the run, cannot be read: {error}"
        ) from None
    hooks = frozenset(hook for hook in _HOOKS if getattr(found, hook) is not getattr(Behavior, hook))
    beside = hooks & _NOT_FOR[found.role]
    if beside:
        raise InputError(f"{reference!r} is a behaviour of the {found.role.value}, which has no hook `{min(beside)}`")
    return LoadedBehavior(name, found, source, hooks)


def _offered(name: str) -> Any:
    """What an installed package offers under this name."""
    offered = metadata.entry_points(group=ENTRY_POINTS)
    for entry_point in offered.select(name=name):
        try:
            return entry_point.load()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - importing runs somebody's code, which may raise anything
            raise InputError(f"{name!r} cannot be loaded: {type(error).__name__}: {error}") from None
    known = ", ".join([*BUILT_IN, *sorted(offered.names)])
    raise InputError(
        f"no behaviour is called {name!r}; there are {known}, and your own as module:Class or ./file.py:Class"
    )


def _check(reference: str, found: Any) -> None:
    if not (isinstance(found, type) and issubclass(found, Behavior)):
        raise InputError(f"{reference!r} is {found!r:.80}, not a subclass of conflictscope.Behavior")
    role = getattr(found, "role", None)
    if role not in _NOT_FOR:
        raise InputError(f"{reference!r}: role must be Role.USER, Role.TARGET or Role.JUDGE, got {role!r:.80}")
    if not isinstance(found.timeout_s, int | float) or not found.timeout_s > 0:
        raise InputError(f"{reference!r}: timeout_s must be a number > 0, got {found.timeout_s!r:.80}")
    if type(found.looks) is not int or not 1 <= found.looks <= MOST_LOOKS:
        raise InputError(f"{reference!r}: looks must be an integer in 1..{MOST_LOOKS}, got {found.looks!r:.80}")
    if role is not Role.JUDGE and (found.looks > 1 or found.quotes):
        raise InputError(f"{reference!r} is a behaviour of the {role.value}: looks and quotes are for a judge")
    try:
        inspect.signature(found).bind()
    except (TypeError, ValueError) as error:
        raise InputError(f"{reference!r} is made without arguments, its state in `begin`: {error}") from None
