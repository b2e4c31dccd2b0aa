"""Behaviours are found by name, module, file and entry point, and what cannot be is one InputError before anything runs."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from conflictscope import Behavior, pipeline
from conflictscope.agents.behaviors import BUILT_IN, load_behaviors
from conflictscope.errors import InputError
from conflictscope.outcome import Group, Mode, episode_key
from tests.agents.behaviors.worlds import groups, play, sweep_in

OWN = Path(__file__).with_name("own.py")
TARGET, OPEN, CHOICE = "planted:alpha", Mode.OPEN_ENDED, Mode.MULTIPLE_CHOICE


@pytest.mark.parametrize("name", BUILT_IN)
def test_what_is_built_in_is_found_by_its_name(name: str, tmp_path: Path) -> None:
    """Its name ends in its role."""
    (loaded,) = load_behaviors(name, tmp_path)
    assert loaded.name == name
    assert name.endswith(loaded.type.role.value)


def test_a_file_a_module_and_an_entry_point_give_the_same_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All three, also with `+`, and each is called by its own name."""
    module = "tests.agents.behaviors.own:Leaves"
    entry = metadata.EntryPoint("leaver", module, "conflictscope.behaviors")
    monkeypatch.setattr(metadata, "entry_points", lambda group: metadata.EntryPoints([entry]).select(group=group))
    loaded = load_behaviors(f"{OWN}:Leaves + {module} + leaver", tmp_path)
    assert [each.name for each in loaded] == ["Leaves", "Leaves", "leaver"]
    assert len({each.source for each in loaded}) == 1
    assert all(each.hooks == {"stop"} and issubclass(each.type, Behavior) for each in loaded)


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("nobody", "no behaviour is called 'nobody'; there are persistent_user"),
        ("no.such.module:X", "'no.such.module:X' cannot be loaded: No module named 'no'"),
        ("./none.py:X", "'./none.py:X' cannot be loaded: FileNotFoundError"),
        (f"{OWN}:None", "cannot be loaded: module"),
        (f"{OWN}:Stranger", "not a subclass of conflictscope.Behavior"),
        (f"{OWN}:NoRole", "role must be Role.USER, Role.TARGET or Role.JUDGE, got None"),
        (f"{OWN}:Checks", "role must be Role.USER, Role.TARGET or Role.JUDGE, got <Role.CHECKER"),
        (f"{OWN}:Needy", "is made without arguments"),
        (f"{OWN}:Timeless", "timeout_s must be a number > 0, got 0"),
        (f"{OWN}:SaysNothing", "is a behaviour of the judge, which has no hook `outgoing`"),
        (f"{OWN}:Agentic + {OWN}:Agentic", "each bring an agent for the target"),
    ],
)
def test_what_cannot_be_played_is_told_with_file_line_and_key(tmp_path: Path, entry: str, told: str) -> None:
    """One InputError, when the sweep file is read."""
    path = sweep_in(tmp_path).base / "sweep.toml"
    path.write_text(f'behaviors = [\n"persistent_user",\n"{entry}",\n]\n{path.read_text()}')
    with pytest.raises(InputError) as refused:
        pipeline.load_sweep(str(path))
    assert str(refused.value).startswith(f"{path}:")
    assert "behaviors[1]: " in str(refused.value)
    assert told in str(refused.value)


@pytest.mark.parametrize("entry", ["", "a +", ":X", "mod:", "./file.py", "a/b"])
def test_a_text_that_names_nothing_is_refused(tmp_path: Path, entry: str) -> None:
    """Before anything is looked for."""
    with pytest.raises(InputError, match="a behaviour is a name"):
        sweep_in(tmp_path, f'behaviors=["{entry}"]')


def test_two_of_one_name_and_a_mode_without_its_role_are_refused(tmp_path: Path) -> None:
    """A condition has one name; a user behaviour has nothing to do in multiple choice; an agent cannot be batched."""
    with pytest.raises(InputError, match="two behaviors have the same name: Leaves"):
        sweep_in(tmp_path, f'behaviors=["{OWN}:Leaves", "tests.agents.behaviors.own:Leaves"]')
    with pytest.raises(InputError, match="modes has no open_ended"):
        sweep_in(tmp_path, 'behaviors=["persistent_user"]', 'modes=["multiple_choice"]')
    batched = 'targets=[{model="planted:alpha", batch=true}]'
    with pytest.raises(InputError, match="sends its requests itself"):
        sweep_in(tmp_path, 'behaviors=["note_taking_target"]', 'modes=["multiple_choice"]', batched)


def test_each_entry_is_one_more_condition_in_the_modes_that_have_its_role(tmp_path: Path) -> None:
    """Beside the plain one, and with each steering; keys without a behaviour are as they were."""
    sweep = sweep_in(
        tmp_path, 'behaviors=["persistent_user + hesitant_target", "hesitant_target"]', 'modes=["open_ended", "multiple_choice"]',
        'steering=[{name="up", ranking=["thrift", "care"]}]',
    )  # fmt: skip
    both = "persistent_user + hesitant_target"
    assert groups(sweep) == [
        *(Group(TARGET, OPEN, steering, name) for steering in (None, "up") for name in (both, "hesitant_target")),
        *(Group(TARGET, CHOICE, steering, "hesitant_target") for steering in (None, "up")),
    ]
    assert len(sweep.groups) == 4 + len(groups(sweep))
    assert episode_key(Group("a", OPEN), "s", 1) == "a|open_ended||s|1"
    assert episode_key(Group("a", OPEN, None, "x|y"), "s", 1) == "a|open_ended||s|1|x%7Cy"


async def test_the_source_of_a_behaviour_is_part_of_the_run(tmp_path: Path) -> None:
    """The sweep as executed loads again from elsewhere; a changed file, one more behaviour or one less do not resume it."""
    sweep_in(tmp_path)
    mine = tmp_path / "sweep" / "mine.py"
    mine.write_text(OWN.read_text())
    sweep = sweep_in(tmp_path, 'behaviors=["./mine.py:Counts"]')
    database = await play(sweep, tmp_path)
    assert pipeline.load_sweep(str(database.parent / "sweep.toml")).identity() == sweep.identity()
    await play(sweep_in(tmp_path, 'behaviors=["./mine.py:Counts"]', "limits.concurrency=1"), tmp_path)
    for other in ('behaviors=["./mine.py:Counts", "persistent_user"]', "behaviors=[]"):
        with pytest.raises(InputError, match=r"other settings \(behaviors\)"):
            await play(sweep_in(tmp_path, other), tmp_path)
    mine.write_text(mine.read_text() + "\n# changed\n")
    with pytest.raises(InputError, match=r"other settings \(behaviors\)"):
        await play(sweep_in(tmp_path, 'behaviors=["./mine.py:Counts"]'), tmp_path)
