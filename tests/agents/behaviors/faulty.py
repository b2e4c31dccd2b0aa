"""Behaviours that do wrong, each in one hook, for the tests of what becomes of their episodes."""

from __future__ import annotations

import asyncio
import threading

from pydantic_ai import Agent
from pydantic_ai.toolsets import FunctionToolset

from conflictscope import Behavior, Role

MEGABYTE = "x" * 1_048_576


class OfUser(Behavior):
    role = Role.USER


class OfTarget(Behavior):
    role = Role.TARGET


class OfJudge(Behavior):
    role = Role.JUDGE


def _raises(self, *_):
    raise ZeroDivisionError("by me")


async def _hangs(self, *_):
    await asyncio.Event().wait()


def _blocks(self, *_):
    threading.Event().wait()


def _nothing(self, *_):
    return None


def _long(self, *_):
    return MEGABYTE


async def _cancels(self, *_):
    raise asyncio.CancelledError


FAULTS = {
    "raises": _raises,
    "hangs": _hangs,
    "blocks": _blocks,
    "nothing": _nothing,
    "long": _long,
    "cancels": _cancels,
}


def faulty(base: type[Behavior], hook: str, fault: str) -> type[Behavior]:
    """A behaviour whose hook of this name has this fault."""
    body = {
        "stop": lambda self, turn: None,
        hook: FAULTS[fault],
        "__module__": __name__,
    }  # `begin` comes before another hook
    if fault in ("hangs", "blocks"):
        body["timeout_s"] = 2.0
    return type(f"{base.__name__}_{hook}_{fault}", (base,), body)


CASES = [
    *((base, hook, fault) for base in (OfUser, OfTarget) for hook in ("instructions", "outgoing") for fault in FAULTS),
    *((OfJudge, hook, fault) for hook in ("instructions", "page") for fault in FAULTS),
    *(
        (base, hook, fault)
        for base in (OfUser, OfTarget, OfJudge)
        for hook in ("begin", "incoming", "stop")
        for fault in FAULTS
        if fault != "nothing" and (hook, fault) != ("begin", "long")
    ),
    *((OfTarget, hook, fault) for hook in ("toolsets", "capabilities") for fault in FAULTS),
    *((OfTarget, "agent", fault) for fault in FAULTS if fault != "nothing"),
]
"""A hook that may return nothing has that fault no more."""
for _base, _hook, _fault in CASES:
    _made = faulty(_base, _hook, _fault)
    globals()[_made.__name__] = _made


class ToolRaises(OfTarget):
    def toolsets(self):
        return [FunctionToolset([self.write_note])]

    def instructions(self, instructions, turn):
        return f"{instructions}\n<notes>\n(none)\n</notes>"  # what a planted target takes for an offer to write one

    def write_note(self, note: str) -> str:
        raise ZeroDivisionError("by me")


class ToolHangs(ToolRaises):
    timeout_s = 0.5

    async def write_note(self, note: str) -> str:
        await asyncio.Event().wait()
        return note


class ToolBlocks(ToolRaises):
    timeout_s = 0.5

    def write_note(self, note: str) -> str:
        threading.Event().wait()
        return note


class ToolLong(ToolRaises):
    def write_note(self, note: str) -> str:
        return MEGABYTE


class AgentLong(OfTarget):
    def agent(self):
        agent = Agent()

        @agent.output_validator
        def much(text: str) -> str:
            return MEGABYTE

        return agent


class AsideEmpty(OfTarget):
    async def instructions(self, instructions, turn):
        return await self.ask(turn, ["one", "two"])
