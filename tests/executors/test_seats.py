"""What a worker plays with, made from what the driver sends."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.worlds import write_sweep
from conflictscope import pipeline
from conflictscope.arena import Line, LineJournal, LineOpenings
from conflictscope.errors import InputError
from conflictscope.pipeline import executing

BEHAVIOR = """
from conflictscope import Behavior, Role
from helping import SIGN

class Signing(Behavior):
    role = Role.TARGET

    def outgoing(self, message, turn):
        return message + SIGN
"""


def order(sweep: pipeline.Sweep, **changed: object) -> executing._Order:
    whole = executing._Order(
        replace(sweep, behaviors={}),
        executing._own_files(sweep.base),
        {"planted:judge": "prompted"},
        None,
        executing._versions_of(sweep.behaviors),
    )
    return replace(whole, **changed)  # type: ignore[arg-type]


@asynccontextmanager
async def seated(whole: executing._Order):
    line = Line()
    async with executing._seat(whole, line, LineJournal(line), LineOpenings(line)) as seat:
        yield seat


async def test_other_code_of_a_behaviour_on_a_node_is_told_with_both(tmp_path: Path) -> None:
    """A package that is installed in another version there: which behaviour, what is there and what is here."""
    path = write_sweep(tmp_path, scenarios=2)
    sweep = pipeline.load_sweep(str(path), behaviors=["persistent_user"])
    with pytest.raises(
        InputError, match=r"'persistent_user' is persistent_user@\w+ there and persistent_user@old here"
    ):
        async with seated(order(sweep, behaviors={"persistent_user": ["persistent_user@old"]})):
            raise AssertionError


async def test_a_model_that_cannot_be_made_there_is_told(
    make_sweep: Callable[..., pipeline.Sweep], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker takes its keys from its own environment: where one is missing, that is bad input."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    sweep = make_sweep('judge.models=["openai:gpt-5-mini"]')
    with pytest.raises(InputError, match=r"on .*, model 'openai:gpt-5-mini' cannot be used"):
        async with seated(order(sweep)):
            raise AssertionError


async def test_code_beside_the_sweep_file_goes_along_to_other_machines(tmp_path: Path) -> None:
    """Where the sweep's folder is not there, its behaviour is loaded from what was sent, with the module that it imports."""
    path = write_sweep(tmp_path / "here", scenarios=2)
    (tmp_path / "here" / "signing.py").write_text(BEHAVIOR)
    (tmp_path / "here" / "helping.py").write_text("SIGN = '!'\n")
    path.write_text('behaviors = ["signing:Signing"]\n' + path.read_text())
    sweep = pipeline.load_sweep(str(path))
    whole = order(sweep)
    assert {name for name in whole.files if not name.startswith("test")} == {"signing.py", "helping.py"}
    (tmp_path / "here").rename(tmp_path / "elsewhere")
    spare = tmp_path / "spare"
    spare.mkdir()
    assert executing._base(whole, spare) == spare
    assert (spare / "signing.py").read_text() == BEHAVIOR
    (tmp_path / "elsewhere").rename(tmp_path / "here")
    assert executing._base(whole, spare) == sweep.base


async def test_a_seat_asks_for_verdicts_as_the_preflight_found_out(make_sweep: Callable[..., pipeline.Sweep]) -> None:
    """All scenarios are there, and the lanes are those of the sweep."""
    sweep = make_sweep()
    async with seated(order(sweep)) as seat:
        assert seat.scenarios.keys() == {scenario.id for scenario in sweep.scenarios}
        assert seat.closed() == {}
