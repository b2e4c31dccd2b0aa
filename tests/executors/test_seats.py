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
from conflictscope.pipeline.versions import versions

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
        replace(sweep, behaviors={}), executing._own_files(sweep.base), {"planted:judge": "prompted"}, None, versions()
    )
    return replace(whole, **changed)  # type: ignore[arg-type]


@asynccontextmanager
async def seated(whole: executing._Order):
    line = Line()
    async with executing._seat(whole, line, LineJournal(line), LineOpenings(line)) as seat:
        yield seat


async def test_other_versions_on_a_node_are_told_with_both(make_sweep: Callable[..., pipeline.Sweep]) -> None:
    """Python or a package that matters differs: which, what is there and what is here."""
    ours = versions() | {"python": "3.99.0", "conflictscope": "9.9"}
    with pytest.raises(
        InputError, match=r"cannot begin: python is 3\..* there and 3\.99\.0 here, conflictscope is 0\."
    ):
        async with seated(order(make_sweep(), versions=ours)):
            raise AssertionError


async def test_a_model_that_cannot_be_made_there_is_told(
    make_sweep: Callable[..., pipeline.Sweep], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker takes its keys from its own environment: where one is missing, that is bad input."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    sweep = make_sweep('judge.models=["openai:gpt-5-mini"]')
    with pytest.raises(InputError, match=r"a worker on .* cannot begin: model 'openai:gpt-5-mini' cannot be used"):
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
