"""Workers as actors of Ray, on this machine or on a cluster."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import shutil
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import structlog

from conflictscope.arena.executors.driver import Hire, RemoteWorker, WorkerLost
from conflictscope.arena.executors.messages import FromDriver, FromWorker
from conflictscope.arena.executors.worker import Setup, Worker
from conflictscope.errors import InputError
from conflictscope.redaction import know_secrets

_CONNECT_S = 5.0
_INIT_S = 90.0
# Ray speaks gRPC: what a client begins with, and the kind of frame that every server of HTTP/2 answers with (RFC 9113, 3.4).
_HTTP2_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
_HTTP2_SETTINGS = 4
_OBJECT_STORE_BYTES = 200 * 1024**2  # a sweep and large batches of messages go through it
# Ray tells nobody of us, looks for no newer version of itself, and leaves to us what to do when memory is short.
_ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}

log = structlog.get_logger()


class Cluster:
    """A Ray that is connected to. workers: as many as were asked for, else one a core."""

    def __init__(self, ray_: Any, workers: int) -> None:
        self._ray = ray_
        self.workers = workers

    def hiring(self, setup: Setup) -> Hire:
        """What makes a worker at such a seat."""
        return partial(self._hire, self._ray.put(setup))

    async def _hire(self, setup: Any) -> RemoteWorker:
        """One more actor, on a core of its own, as soon as there is one. Raises InputError, WorkerLost."""
        exceptions = self._ray.exceptions
        actor = self._ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0)(Worker).remote()
        try:
            await actor.start.remote(setup)
        except exceptions.RayTaskError as failed:
            self._ray.kill(actor)
            cause = failed.cause
            told = str(cause) if isinstance(cause, InputError) else f"a worker cannot begin: {_short(cause)}"
            raise InputError(told) from None
        except exceptions.RayError as lost:
            self._ray.kill(actor)
            raise WorkerLost(_short(lost)) from None
        except BaseException:
            self._ray.kill(actor)
            raise
        return _Actor(self._ray, actor)


class _Actor:
    """A worker as the driver has it."""

    def __init__(self, ray_: Any, actor: Any) -> None:
        self._ray = ray_
        self._actor = actor

    async def take(self, messages: Sequence[FromDriver]) -> None:
        """As a RemoteWorker has it."""
        try:
            await self._actor.take.remote(messages)
        except self._ray.exceptions.RayError as lost:
            raise WorkerLost(_short(lost)) from None

    async def give(self) -> Sequence[FromWorker]:
        """As a RemoteWorker has it."""
        try:
            said: Sequence[FromWorker] = await self._actor.give.remote()
        except self._ray.exceptions.RayError as lost:
            raise WorkerLost(_short(lost)) from None
        return said

    def end(self) -> None:
        """As a RemoteWorker has it."""
        self._ray.kill(self._actor)


@asynccontextmanager
async def cluster(address: str | None, workers: int | None) -> AsyncIterator[Cluster]:
    """Connect to the Ray at `address`, or start one on this machine, on loopback, that ends with the block.

    Raises InputError where Ray is not installed, nothing answers at the address, or the versions there differ from ours.
    """
    for key, value in (_ENVIRONMENT if address is not None else _ENVIRONMENT | _alone()).items():
        os.environ.setdefault(key, value)
    know_secrets()
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise InputError(
            f'executor.kind = "ray" needs the package ray ({error}): pip install "conflictscope[ray]"'
        ) from None
    logging.getLogger("ray").setLevel(logging.CRITICAL)  # what matters comes as an error
    if address is not None and address != "auto":
        await _reach(address)
    folder = tempfile.mkdtemp(prefix="cs-ray-") if address is None else None
    connection = _Connection(partial(_connect, ray, address, workers, folder), ray.shutdown)
    try:
        await connection.open(f"the Ray at {address!r}" if address is not None else "a Ray on this machine")
        cores = int(ray.cluster_resources().get("CPU", 0))  # type: ignore[no-untyped-call]
        yield Cluster(ray, workers or max(1, cores))
    finally:
        await connection.close()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _alone() -> dict[str, str]:
    """What keeps a Ray of our own to loopback and to us; to Ray, a machine that takes part in no cluster has no other address."""
    return {
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
    }


def _connect(ray: Any, address: str | None, workers: int | None, folder: str | None) -> None:
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL, "configure_logging": False}
    if address is not None:
        ray.init(address=address, **quiet)
        return
    ray.init(
        address="local",
        num_cpus=workers or os.cpu_count(),
        object_store_memory=_OBJECT_STORE_BYTES,
        include_dashboard=False,
        _temp_dir=folder,
        **quiet,
    )


class _Connection:
    """Ray's own thread: it connects, and it is there until the end, for the processes that it starts end with it."""

    def __init__(self, connect: Callable[[], None], disconnect: Callable[[], None]) -> None:
        self._connect, self._disconnect = connect, disconnect
        self._over = threading.Event()
        self._loop = asyncio.get_running_loop()
        self._connected: asyncio.Future[None] = self._loop.create_future()
        self._disconnected: asyncio.Future[None] = self._loop.create_future()

    async def open(self, what: str) -> None:
        """Connect. Raises InputError."""
        threading.Thread(target=self._work, daemon=True).start()
        try:
            async with asyncio.timeout(_INIT_S):
                await asyncio.shield(self._connected)
        except TimeoutError:
            raise InputError(f"executor: {what} did not answer within {_INIT_S:g} s") from None
        except (RuntimeError, ConnectionError, ValueError, OSError) as error:
            raise InputError(f"executor: {what} cannot be used: {_short(error)}") from None

    async def close(self) -> None:
        """Disconnect; who does not answer is left alone."""
        self._over.set()
        await asyncio.wait([self._disconnected], timeout=_INIT_S if self._connected.done() else 0.0)

    def _work(self) -> None:
        try:
            self._connect()
        except BaseException as error:  # noqa: BLE001 - told to whoever waits
            self._tell(self._connected, error)
        else:
            self._tell(self._connected)
            self._over.wait()
        self._disconnect()
        self._tell(self._disconnected)

    def _tell(self, whom: asyncio.Future[None], error: BaseException | None = None) -> None:
        def tell() -> None:
            if error is not None:
                whom.set_exception(error)
                whom.exception()  # nobody may wait any more
            else:
                whom.set_result(None)

        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(tell)


async def _reach(address: str) -> None:
    """See whether something that may be a Ray listens there, for Ray itself looks for minutes. Raises InputError."""
    host, _, port = address.rpartition(":")
    try:
        async with asyncio.timeout(_CONNECT_S):
            reader, writer = await asyncio.open_connection(host, int(port))
            try:
                if "RAY_USE_TLS" not in os.environ:
                    writer.write(_HTTP2_HELLO)
                    if (await reader.readexactly(9))[3] != _HTTP2_SETTINGS:
                        raise ValueError("something else listens there")
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError, EOFError) as error:
        told = _why_not(error)
        raise InputError(
            f"executor.address: no Ray can be reached at {address!r} ({told}); expected host:port, e.g. 10.0.0.1:6379, as "
            "`ray start --head` tells it, or auto"
        ) from None


def _why_not(error: BaseException) -> str:
    if isinstance(error, TimeoutError | EOFError):
        return "no answer"
    return os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)


def _short(error: BaseException) -> str:
    """The lines of an error of Ray that tell something, as one."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:500]
