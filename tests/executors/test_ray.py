"""Runs on a real Ray of two nodes on this machine: the same outcomes as without it, whatever is killed in between.

Where nothing happens to the driver it is this process, which has imported already what takes seconds.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from benchmarks.worlds import write_sweep
from conflictscope import pipeline
from conflictscope.errors import InputError
from conflictscope.pipeline import RunResult, executing
from conflictscope.pipeline.versions import versions
from tests.commands import COMMAND, environment
from tests.test_crash import OUTCOMES, committed, rows, wait_until
from tests.written import written

# Not imported here, for Ray reads its environment when it is.
pytestmark = pytest.mark.skipif(find_spec("ray") is None, reason='needs pip install "conflictscope[ray]"')

DEADLINE_S = 90
KEY = "sk-planted-0123456789abcdef"
PRICES = [
    f"prices.planted:{name}={{input_usd=1.0,output_usd=4.0}}" for name in ("alpha", "beta", "gamma", "user", "judge")
]
REPEATED = "SELECT scope FROM calls WHERE reply IS NOT NULL GROUP BY scope, fingerprint HAVING count(*) > 1"
CALLS = "SELECT scope, fingerprint FROM calls WHERE state = 'committed' ORDER BY scope, fingerprint"
MOODS = '''
import asyncio
import threading
from pathlib import Path

from conflictscope import Behavior, Role

class Text(str):
    """Cannot be sent to another process."""

    lock: threading.Lock

class Moods(Behavior):
    """Counts, in its own episode only, what the target says. Cannot be sent to another process, either.

    Waits in 21 episodes as long as there is a file `hold` beside it, so that no run ends before it was disturbed.
    """

    role = Role.TARGET
    timeout_s = 100.0
    everybody = threading.Lock()

    def begin(self):
        self.said = 0
        self.lock = threading.Lock()

    async def outgoing(self, message, turn):
        while turn.scenario.id < "s000007" and Path(__file__).with_name("hold").exists():
            await asyncio.sleep(0.05)
        with self.everybody, self.lock:
            self.said += 1
            text = Text(f"{message} (reply {self.said})")
            text.lock = self.lock
            return text
'''


def sweep(folder: Path) -> Path:
    """3 targets x 30 scenarios, plain and with a behaviour from a module beside the sweep file: 180 episodes."""
    path = write_sweep(folder, scenarios=30, concurrency=25, median_s=0.05, p95_s=0.4, error_rate=0.05)
    (folder / "moods.py").write_text(MOODS)
    path.write_text('behaviors = ["moods:Moods"]\n' + path.read_text())
    return folder


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sweep, played in one process."""
    folder = sweep(tmp_path_factory.mktemp("undisturbed"))
    assert asyncio.run(run(folder, *PRICES)).state == "finished"
    return folder


@pytest.fixture(autouse=True)
def what_ray_leaves() -> Iterator[None]:
    """Where this process is the driver Ray leaves an event loop open in it: no fault of the test in which it is collected."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """A Ray of two nodes with a core each, on loopback, without what nobody here needs of it."""
    given = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in given.items():
            patch.setenv(name, value)
        from ray.cluster_utils import Cluster

        node = {"num_cpus": 1, "object_store_memory": 100 * 1024**2, "include_log_monitor": False}
        head = node | {"include_dashboard": False, "no_monitor": True}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        try:
            cluster.second = cluster.add_node(**node)
            yield cluster
        finally:
            cluster.shutdown()


def run(folder: Path, *settings: str) -> Any:
    """The sweep, with this process as the driver."""
    return pipeline.run_sweep(pipeline.load_sweep(str(folder / "sweep.toml"), settings), folder / "runs")


async def run_and(folder: Path, *settings: str, disturb: Callable[[], None]) -> RunResult:
    """The same; somebody disturbs it when both workers are at work, and some of its episodes have ended."""
    (folder / "hold").touch()
    running = asyncio.create_task(run(folder, *settings))
    async with asyncio.timeout(DEADLINE_S):
        while committed(folder) < 40 or rows(folder, "SELECT min(limit_now) FROM lane_loads") != [(26,)]:
            assert not running.done(), running.result().message
            await asyncio.sleep(0.05)
    await asyncio.to_thread(disturb)
    (folder / "hold").unlink()
    return await running


def on_ray(nodes: Any) -> list[str]:
    return ["executor.kind=ray", f"executor.address={nodes.address}", *PRICES]


def start(folder: Path, *settings: str) -> subprocess.Popen[str]:
    """The sweep, with a driver that is another process. The token of the cluster is none of a model's."""
    options = [part for setting in settings for part in ("--set", setting)]
    return subprocess.Popen(
        [*COMMAND, "run", "sweep.toml", "--no-live", *options], cwd=folder,
        env=environment() | {name: value for name, value in os.environ.items() if name.startswith("RAY_")},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(process: subprocess.Popen[str], code: int = 0) -> str:
    stdout, stderr = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == code, f"exit {process.returncode}\n{stdout}\n{stderr}"
    return stderr


def ancestors(process: int) -> Iterator[int]:
    while process > 1:
        process = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
        yield process


def workers() -> list[int]:
    """The processes of actors at work, of the Ray of this test session alone."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().startswith(b"ray::RayWorker") and os.getpid() in ancestors(int(path.parent.name)):
                found.append(int(path.parent.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def until(what: Any) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not what():
        assert time.monotonic() < deadline, "it does not come"
        time.sleep(0.02)


def assert_same(folder: Path, undisturbed: Path) -> None:
    """The same outcomes and calls, each once, and nothing paid twice."""
    assert rows(folder, OUTCOMES) == rows(undisturbed, OUTCOMES)
    assert rows(folder, "SELECT count(*), count(DISTINCT key), max(seq) FROM episodes") == [(180, 180, 180)]
    assert rows(folder, REPEATED) == []
    assert rows(folder, CALLS) == rows(undisturbed, CALLS)
    ended_before = """SELECT count(*) FROM episodes e JOIN calls c ON c.scope = e.key
                      WHERE c.created_at > e.created_at"""
    assert rows(folder, ended_before) == [(0,)]


def assert_one_was_lost(folder: Path) -> None:
    """With episodes that had to be played by somebody else, and calls whose end nobody saw."""
    log = (folder / "runs" / "bench" / "log.jsonl").read_text().splitlines()
    [lost] = [line for line in map(json.loads, log) if line["event"] == "worker.lost"]
    assert lost["episodes"] > 0
    assert rows(folder, "SELECT DISTINCT state FROM calls WHERE state != 'committed'") in ([], [("abandoned",)])


def test_two_nodes_give_the_outcomes_of_one_process(nodes: Any, undisturbed: Path, tmp_path: Path) -> None:
    """Outcomes and calls are those of a local run, with a behaviour from a module beside the sweep file that no process could
    send to another one."""
    finish(start(sweep(tmp_path), *on_ray(nodes)))
    assert_same(tmp_path, undisturbed)
    assert rows(tmp_path, "SELECT count(*) FROM calls WHERE state != 'committed'") == [(0,)]


async def test_a_worker_that_is_killed_takes_nothing_with_it(nodes: Any, undisturbed: Path, tmp_path: Path) -> None:
    """kill -9 in the middle: its episodes are played by others, and no answered call is paid again."""
    folder = sweep(tmp_path)
    await run_and(folder, *on_ray(nodes), disturb=lambda: os.kill(workers()[0], signal.SIGKILL))
    assert_same(folder, undisturbed)
    assert_one_was_lost(folder)


async def test_a_driver_that_is_killed_is_resumed(nodes: Any, undisturbed: Path, tmp_path: Path) -> None:
    """kill -9 of `run`, and a run again: the workers go with it, and what was answered is taken from the run file."""
    (sweep(tmp_path) / "hold").touch()
    process = start(tmp_path, *on_ray(nodes))
    wait_until(tmp_path, process, 40)
    process.kill()
    process.communicate()
    (tmp_path / "hold").unlink()
    until(lambda: not workers())
    assert 40 <= committed(tmp_path) < 180
    assert (await run(tmp_path, *on_ray(nodes))).state == "finished"
    assert_same(tmp_path, undisturbed)


async def test_the_budget_holds_for_all_workers_together(nodes: Any, undisturbed: Path, tmp_path: Path) -> None:
    """With half of what the sweep costs, it stops at the limit, and what is spent and at risk is within it."""
    [(cost,)] = rows(undisturbed, "SELECT sum(cost_usd) FROM calls")
    assert isinstance(cost, float)
    short = ", ".join(f'{{model = "planted:{name}", max_tokens = 200}}' for name in ("alpha", "beta", "gamma"))
    settings = (f"limits.cost_usd={cost / 2}", f"targets=[{short}]", "user.max_tokens=200", "judge.max_tokens=200")
    result = await run(sweep(tmp_path), *on_ray(nodes), *settings)
    assert result.exit_code == 3
    assert "limits.cost_usd" in result.message
    [(spent,)] = rows(tmp_path, "SELECT sum(coalesce(cost_usd, 0) + reserved_usd) FROM calls")
    assert isinstance(spent, float)
    assert cost / 4 < spent <= cost / 2
    assert rows(tmp_path, "SELECT count(*) FROM episodes WHERE verdict LIKE '%failed'") == [(0,)]


async def test_a_worker_that_cannot_begin_says_why(nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A behaviour that imports here and not there, and another ConflictScope there: one message each, and no episode."""
    (sweep(tmp_path) / "here.py").write_text(f"import os\nos.environ['HERE_ONLY']\n{MOODS}")
    monkeypatch.setenv("HERE_ONLY", "1")
    with pytest.raises(
        InputError, match=r"cannot begin: on .*'\./here\.py:Moods' cannot be loaded: KeyError: 'HERE_ONLY'"
    ):
        await run(tmp_path, *on_ray(nodes), 'behaviors=["./here.py:Moods"]', "executor.workers=1")
    monkeypatch.setattr(executing, "versions", lambda: versions() | {"conflictscope": "9.9.9"})
    with pytest.raises(
        InputError, match=r"cannot begin: on .*, conflictscope is 0\.\S+ there and 9\.9\.9 here: install"
    ):
        await run(tmp_path, *on_ray(nodes), "name=other", "executor.workers=1")
    assert rows(tmp_path, "SELECT count(*) FROM episodes") == [(0,)]


async def test_a_ray_of_another_version_is_told_with_both(nodes: Any, tmp_path: Path) -> None:
    """What the cluster says that it is; no run is begun."""
    from ray._raylet import GcsClient

    key, client = (b"CLUSTER_METADATA", b"cluster"), GcsClient(address=nodes.address)
    told = client.internal_kv_get(key[0], namespace=key[1])
    try:
        client.internal_kv_put(key[0], json.dumps(json.loads(told) | {"ray_version": "1.2.3"}).encode(), True, key[1])
        with pytest.raises(
            InputError, match=r"is Ray 1\.2\.3 on Python 3\S+, here is Ray 2\S+ on Python 3.*: install the same"
        ):
            await run(sweep(tmp_path), *on_ray(nodes))
    finally:
        client.internal_kv_put(key[0], told, True, key[1])
    assert not (tmp_path / "runs").exists()


async def test_a_node_that_is_lost_takes_nothing_with_it(nodes: Any, undisturbed: Path, tmp_path: Path) -> None:
    """One of two nodes goes in the middle: the other plays the run to its end."""
    folder = sweep(tmp_path)
    lose = nodes.remove_node
    await run_and(folder, *on_ray(nodes), disturb=lambda: lose(nodes.second, allow_graceful=False))
    assert_same(folder, undisturbed)
    assert_one_was_lost(folder)


def test_ctrl_c_ends_a_ray_of_our_own_with_the_run(tmp_path: Path) -> None:
    """`--executor ray` alone starts a Ray; an interrupt ends the run with exit 130, and no process and no key is left."""
    mark = secrets.token_hex(8)
    sweep(tmp_path)
    process = subprocess.Popen(
        [*COMMAND, "run", "sweep.toml", "--no-live", "--executor", "ray", "--set", "executor.workers=1"], cwd=tmp_path,
        env=environment() | {"TEST_MARK": mark, "OPENAI_API_KEY": KEY}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, start_new_session=True,
    )  # fmt: skip
    wait_until(tmp_path, process, 20)
    assert len(marked(mark)) > 3
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    told = finish(process, code=130)
    assert "conflictscope run sweep.toml" in told
    assert "executor.kind=ray" in told
    until(lambda: not marked(mark))
    assert {state for (state,) in rows(tmp_path, "SELECT DISTINCT state FROM calls")} <= {"committed", "abandoned"}
    assert not any(KEY.encode() in content for content in written(tmp_path / "runs").values())


def marked(mark: str) -> list[int]:
    """The processes that have a mark in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark.encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("listening", [False, True])
async def test_an_address_where_no_ray_is_is_told_within_seconds(
    tmp_path: Path, listening: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody listens there, or somebody who does not speak Ray's protocol: one message, and no run is begun."""
    monkeypatch.setattr(import_module("conflictscope.arena.executors.cluster"), "_ASK_S", 2.0)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if listening:
            server.listen()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(InputError, match=rf"no Ray can be reached at '{address}' \((no answer|Connect)") as told:
            await run(sweep(tmp_path), "executor.kind=ray", f"executor.address={address}")
    assert "\n" not in str(told.value)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("address", ["127.0.0.1:99999", "127.0.0.1:0", "127.0.0.1", "nonsense", "ray://127.0.0.1:port"])
async def test_an_address_without_a_port_is_told(tmp_path: Path, address: str) -> None:
    """Before anybody is asked."""
    with pytest.raises(InputError, match=rf"no Ray can be reached at '{address}' \(no port\); expected host:port"):
        await run(sweep(tmp_path), "executor.kind=ray", f"executor.address={address}")


async def test_without_the_package_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray is not installed: one message with the command that installs it, and no run is begun."""
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r'pip install "conflictscope\[ray\]"'):
        await run(sweep(tmp_path), "executor.kind=ray")
    assert not (tmp_path / "runs").exists()
