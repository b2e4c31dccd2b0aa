"""Showing work while it goes on, without letting the view take it down."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog

log = structlog.get_logger()


@asynccontextmanager
async def shown(view: Callable[[], Awaitable[None]] | None) -> AsyncIterator[None]:
    """Run a view while the block runs; one that breaks must not take the work with it: what broke it is in the log."""
    if view is None:
        yield
        return

    async def isolated() -> None:
        try:
            await view()
        except Exception as error:  # noqa: BLE001 - whatever it was, it is in the log
            log.warning("view.failed", error=f"{type(error).__name__}: {error}")

    task = asyncio.create_task(isolated())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
