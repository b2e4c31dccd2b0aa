"""A behaviour that does wrong fails its episode, typed and by its name; the sweep goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from conflictscope import pipeline
from conflictscope.outcome import Verdict
from tests.agents.behaviors.faulty import CASES
from tests.agents.behaviors.worlds import play, rows, sweep_in

FILE = Path(__file__).with_name("faulty.py")


async def played(sweep: pipeline.Sweep, folder: Path) -> dict[str | None, list[tuple[str, str | None]]]:
    """Verdict and failure of each episode, by behaviour."""
    query = "SELECT behavior, verdict, failure FROM episodes e JOIN groups g ON g.id = e.group_id"
    found: dict[str | None, list[tuple[str, str | None]]] = {}
    for behavior, verdict, failure in rows(await play(sweep, folder), query):
        found.setdefault(behavior, []).append((verdict, failure))
    return found


def at_fault(base: type) -> str:
    return base.role.failure.value  # type: ignore[attr-defined]


async def test_every_fault_of_every_hook_fails_its_episode_typed_and_the_sweep_goes_on(tmp_path: Path) -> None:
    """One sweep with all of them: each episode fails by its role, with kind, behaviour, hook and cause; the plain ones play."""
    expected = {f"{base.__name__}_{hook}_{fault}": (base, hook, fault) for base, hook, fault in CASES}
    entries = [f"{FILE}:{name}" for name in expected]
    sweep = sweep_in(tmp_path, f"behaviors={entries!r}", "user.max_turns=2", scenarios=2, hesitation_rate=1.0)
    found = await played(sweep, tmp_path)
    assert [Verdict(verdict).failed for verdict, _ in found.pop(None)] == [False, False]
    assert found.keys() == expected.keys()
    wrong = {
        "raises": "raised ZeroDivisionError: by me",
        "hangs": "took longer than 2 s",
        "blocks": "took longer than 2 s",
        "nothing": "returned nothing (None); expected",
        "long": "returned",
        "cancels": "raised CancelledError",
    }
    for name, (base, hook, fault) in expected.items():
        for verdict, failure in found[name]:
            assert failure is not None, name
            assert failure.startswith(f"behavior: {name}.{hook} {wrong[fault]}"), (name, failure)
            assert verdict == at_fault(base), (name, verdict)
            assert len(failure) < 200


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("ToolRaises", "ToolRaises: ZeroDivisionError: by me"),
        ("ToolHangs", "ToolHangs: its agent took longer than 0.5 s over a step of its own"),
        ("ToolBlocks", "ToolBlocks: its agent took longer than 0.5 s over a step of its own"),
        ("ToolLong", "ToolLong.write_note returned 1,048,576 characters; at most 100,000 are allowed"),
        ("AgentLong", "AgentLong: the agent's reply returned 1,048,576 characters; at most 100,000 are allowed"),
        ("AsideEmpty", "AsideEmpty.instructions raised ValueError: history needs an odd number of texts"),
    ],
)
async def test_what_an_agent_or_its_tools_do_wrong_is_the_behaviours_failure(
    tmp_path: Path, name: str, told: str
) -> None:
    """A tool that raises, hangs, blocks a thread or returns 1 MB; an agent that answers with 1 MB."""
    sweep = sweep_in(tmp_path, f'behaviors=["{FILE}:{name}"]', scenarios=2)
    found = await played(sweep, tmp_path)
    assert [Verdict(verdict).failed for verdict, _ in found[None]] == [False, False]
    for verdict, failure in found[name]:
        assert verdict == "target_failed"
        assert failure is not None
        assert failure.startswith(f"behavior: {told}")
