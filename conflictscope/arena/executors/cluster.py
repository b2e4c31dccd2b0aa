"""Workers as actors of Ray, on this machine or on a cluster."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import platform
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import structlog

from conflictscope.arena.executors.driver import Hire, RemoteWorker, WorkerLost
from conflictscope.arena.executors.messages import FromDriver, FromWorker
from conflictscope.arena.executors.worker import Setup
from conflictscope.errors import InputError
from conflictscope.redaction import know_secrets

_CONNECT_S = 5.0
_ASK_S = 12.0
_INIT_S = 90.0
_OBJECT_STORE_BYTES = 200 * 1024**2  # a sweep and large batches of messages go through it
# Ray tells nobody of us, and leaves the accelerators of this machine as they are.
_ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
# Asks the Ray at an address for its versions. In a process of its own: Ray repeats its questions for half a minute and longer,
# cannot be interrupted, and talks of it on stderr.
_ASK = """
import json, sys
try:
    from ray._common.usage.usage_lib import get_cluster_metadata
    from ray._private.services import canonicalize_bootstrap_address
    from ray._raylet import GcsClient
    told = get_cluster_metadata(GcsClient(address=canonicalize_bootstrap_address(sys.argv[1])))
except Exception as error:
    unknown = getattr(error, "rpc_code", None) == 12
    told = {"error": "it does not answer as a Ray does" if unknown else f"{type(error).__name__}: {error}"}
print(json.dumps(told))
"""

log = structlog.get_logger()


class Cluster:
    """A Ray that is connected to. workers: as many as were asked for, else one a core."""

    def __init__(self, ray_: Any, workers: int) -> None:
        self._ray = ray_
        self.workers = workers

    def hiring(self, setup: Setup, versions: Mapping[str, str]) -> Hire:
        """What makes a worker at such a seat, where Python and packages have these versions. Raises InputError."""
        from ray import cloudpickle

        try:
            packed = cloudpickle.dumps(setup)  # type: ignore[no-untyped-call]
        except Exception as error:  # noqa: BLE001 - whatever is in there says itself why it cannot be packed
            raise InputError(f"executor: the sweep cannot be sent to workers: {_short(error)}") from None
        kind = self._ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0)(_ray_worker())
        return partial(self._hire, kind, versions, self._ray.put(packed))

    async def _hire(self, kind: Any, versions: Mapping[str, str], setup: Any) -> RemoteWorker:
        """One more actor, on a core of its own, as soon as there is one. Raises InputError, WorkerLost."""
        exceptions = self._ray.exceptions
        actor = kind.remote()
        try:
            await actor.start.remote(versions, setup)
        except exceptions.RayTaskError as failed:
            self._ray.kill(actor)
            told = str(failed.cause) if isinstance(failed.cause, InputError | ImportError) else _short(failed.cause)
            raise InputError(f"a worker cannot begin: {told}") from None
        except exceptions.RayError as lost:
            self._ray.kill(actor)
            raise WorkerLost(_short(lost)) from None
        except BaseException:
            self._ray.kill(actor)
            raise
        return _Actor(self._ray, actor)


def _ray_worker() -> type:
    """The class of the actors. Ray sends it as it is, for it is made in here: it finds out whether ConflictScope is there."""

    class RayWorker:
        async def start(self, versions: Mapping[str, str], setup: bytes) -> None:
            import platform
            import socket
            from importlib import metadata

            differing = []
            for name, here in versions.items():
                try:
                    there = platform.python_version() if name == "python" else metadata.version(name)
                except metadata.PackageNotFoundError:
                    there = "not installed"
                if there != here:
                    differing.append(f"{name} is {there} there and {here} here")
            if differing:
                raise ImportError(f"on {socket.gethostname()}, {', '.join(differing)}: install the same on all nodes")
            from ray import cloudpickle

            from conflictscope.arena.executors.worker import Worker

            self._worker = Worker()
            await self._worker.start(cloudpickle.loads(setup))

        async def take(self, messages: Sequence[FromDriver]) -> None:
            await self._worker.take(messages)

        async def give(self) -> Sequence[FromWorker]:
            return await self._worker.give()

    return RayWorker


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
    if address is not None:
        await _reach(address, ray.__version__)
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


async def _reach(address: str, version: str) -> None:
    """See whether a Ray listens there, and whether it is of this version and this Python. Raises InputError."""
    if address != "auto":
        host, _, port = address.rpartition(":")
        if not port.isdecimal() or not 0 < int(port) < 65_536:
            raise _no_ray(address, "no port")
        try:
            async with asyncio.timeout(_CONNECT_S):
                _, writer = await asyncio.open_connection(host, int(port))
                writer.close()
        except (OSError, ValueError) as error:  # a TimeoutError is an OSError
            raise _no_ray(address, getattr(error, "strerror", None) or str(error) or "no answer") from None
    told = await _ask(address)
    if "error" in told:
        raise _no_ray(address, " ".join(told["error"].partition(". ")[0].split())[:200])
    there = f"Ray {told['ray_version']} on Python {told['python_version']}"
    here = f"Ray {version} on Python {platform.python_version()}"
    if there != here:
        raise InputError(f"executor.address: at {address!r} is {there}, here is {here}: install the same on all nodes")


async def _ask(address: str) -> dict[str, str]:
    """What the Ray at an address tells of itself, else why it tells nothing, as `error`."""
    asking = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-c", _ASK, address, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(_ASK_S):
            said, _ = await asking.communicate()
    except TimeoutError:
        return {"error": f"no answer within {_ASK_S:g} s"}
    finally:
        if asking.returncode is None:
            asking.kill()
            await asking.wait()
    try:
        told: dict[str, str] = json.loads(said.splitlines()[-1])  # what others print comes before
    except (IndexError, ValueError):
        return {"error": "no answer"}
    return told


def _no_ray(address: str, why: str) -> InputError:
    return InputError(
        f"executor.address: no Ray can be reached at {address!r} ({why}); expected host:port, e.g. 10.0.0.1:6379, as "
        "`ray start --head` tells it, or auto"
    )


def _short(error: BaseException) -> str:
    """The lines of an error of Ray that tell something, as one."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:500]
