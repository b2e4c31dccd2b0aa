"""Runs on a real Ray of two nodes on this machine: the same outcomes as without it, whatever is killed in between."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from benchmarks.worlds import write_sweep
from tests.commands import COMMAND, conflictscope, environment
from tests.test_crash import OUTCOMES, committed, rows, wait_until
from tests.written import written

# Not imported here, for Ray reads its environment when it is.
pytestmark = pytest.mark.skipif(find_spec("ray") is None, reason='needs pip install "conflictscope[ray]"')

DEADLINE_S = 90
KEY = "sk-planted-0123456789abcdef"
PRICES = [
    part
    for name in ("alpha", "beta", "gamma", "user", "judge")
    for part in ("--set", f"prices.planted:{name}={{input_usd=1.0,output_usd=4.0}}")
]
REPEATED = "SELECT scope FROM calls WHERE reply IS NOT NULL GROUP BY scope, fingerprint HAVING count(*) > 1"
CALLS = "SELECT scope, fingerprint FROM calls WHERE state = 'committed' ORDER BY scope, fingerprint"
MOODS = '''
from conflictscope import Behavior, Role

class Moods(Behavior):
    """Counts, in its own episode only, what the target says."""

    role = Role.TARGET

    def begin(self):
        self.said = 0

    async def outgoing(self, message, turn):
        self.said += 1
        return f"{message} (reply {self.said})"
'''


def sweep(folder: Path) -> Path:
    """3 targets x 30 scenarios, plain and with a behaviour from a module beside the sweep file: 180 episodes."""
    path = write_sweep(folder, scenarios=30, concurrency=24, median_s=0.05, p95_s=0.4, error_rate=0.05)
    (folder / "moods.py").write_text(MOODS)
    path.write_text('behaviors = ["moods:Moods"]\n' + path.read_text())
    return folder


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sweep, played in one process."""
    folder = sweep(tmp_path_factory.mktemp("undisturbed"))
    conflictscope("run", "sweep.toml", "--json", *PRICES, cwd=folder)
    return folder


@pytest.fixture(scope="session")
def nodes() -> Iterator[Any]:
    """A Ray of two nodes with a core each, on loopback."""
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

        plain = {"num_cpus": 1, "object_store_memory": 100 * 1024**2, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args=plain)
        try:
            cluster.second = cluster.add_node(num_cpus=1, object_store_memory=100 * 1024**2)
            yield cluster
        finally:
            cluster.shutdown()


def on_ray(nodes: Any) -> list[str]:
    return ["--executor", "ray", "--set", f"executor.address={nodes.address}", *PRICES]


def cluster_environment() -> dict[str, str]:
    """A key for the driver alone, which must show up nowhere; the token of the cluster is none of a model's."""
    return environment() | {name: value for name, value in os.environ.items() if name.startswith("RAY_")}


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, "run", "sweep.toml", "--no-live", *arguments],
        cwd=folder, env=cluster_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
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
            if path.read_bytes().startswith(b"ray::Worker") and os.getpid() in ancestors(int(path.parent.name)):
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


def test_two_nodes_give_the_outcomes_of_one_process(nodes: Any, undisturbed: Path, tmp_path: Path) -> None:
    """Outcomes and calls are those of a local run, with a behaviour from a module beside the sweep file."""
    finish(start(sweep(tmp_path), *on_ray(nodes)))
    assert_same(tmp_path, undisturbed)
    assert rows(tmp_path, "SELECT count(*) FROM calls WHERE state != 'committed'") == [(0,)]


def test_a_worker_that_is_killed_takes_nothing_with_it(nodes: Any, undisturbed: Path, tmp_path: Path) -> None:
    """kill -9 in the middle: its episodes are played by others, and no answered call is paid again."""
    process = start(sweep(tmp_path), *on_ray(nodes))
    wait_until(tmp_path, process, 40)
    os.kill(workers()[0], signal.SIGKILL)
    finish(process)
    assert_same(tmp_path, undisturbed)
    assert rows(tmp_path, "SELECT DISTINCT state FROM calls WHERE state != 'committed'") in ([], [("abandoned",)])
    assert "worker.lost" in (tmp_path / "runs" / "bench" / "log.jsonl").read_text()


def test_a_driver_that_is_killed_is_resumed(nodes: Any, undisturbed: Path, tmp_path: Path) -> None:
    """kill -9 of `run`, and `run` again: the workers go with it, and what was answered is taken from the run file."""
    process = start(sweep(tmp_path), *on_ray(nodes))
    wait_until(tmp_path, process, 40)
    process.kill()
    process.communicate()
    until(lambda: not workers())
    assert 0 < committed(tmp_path) < 180
    finish(start(tmp_path, *on_ray(nodes)))
    assert_same(tmp_path, undisturbed)


def test_the_budget_holds_for_all_workers_together(nodes: Any, undisturbed: Path, tmp_path: Path) -> None:
    """With half of what the sweep costs, it stops with exit 3, and what is spent and at risk is within the limit."""
    [(cost,)] = rows(undisturbed, "SELECT sum(cost_usd) FROM calls")
    assert isinstance(cost, float)
    short = ", ".join(f'{{model = "planted:{name}", max_tokens = 200}}' for name in ("alpha", "beta", "gamma"))
    settings = (f"limits.cost_usd={cost / 2}", f"targets=[{short}]", "user.max_tokens=200", "judge.max_tokens=200")
    options = [part for setting in settings for part in ("--set", setting)]
    told = finish(start(sweep(tmp_path), *on_ray(nodes), *options), code=3)
    assert "limits.cost_usd" in told
    [(spent,)] = rows(tmp_path, "SELECT sum(coalesce(cost_usd, 0) + reserved_usd) FROM calls")
    assert isinstance(spent, float)
    assert cost / 4 < spent <= cost / 2
    assert rows(tmp_path, "SELECT count(*) FROM episodes WHERE verdict LIKE '%failed'") == [(0,)]


def test_a_behaviour_that_a_worker_cannot_load_is_told_at_once(nodes: Any, tmp_path: Path) -> None:
    """It imports here and not there: one message, exit 2, no episode."""
    sweep(tmp_path)
    (tmp_path / "moods.py").write_text(f"import os\nos.environ['HERE_ONLY']\n{MOODS}")
    process = subprocess.run(
        [*COMMAND, "run", "sweep.toml", "--no-live", *on_ray(nodes)], cwd=tmp_path, capture_output=True, text=True,
        env=cluster_environment() | {"HERE_ONLY": "1"}, timeout=DEADLINE_S, check=False,
    )  # fmt: skip
    assert process.returncode == 2, process.stderr
    assert "'moods:Moods' cannot be loaded: KeyError: 'HERE_ONLY'" in process.stderr
    assert "Traceback" not in process.stderr
    assert process.stderr.count("error:") == 1
    assert rows(tmp_path, "SELECT count(*) FROM episodes") == [(0,)]


def test_a_node_that_is_lost_takes_nothing_with_it(nodes: Any, undisturbed: Path, tmp_path: Path) -> None:
    """One of two nodes goes in the middle: the other plays the run to its end."""
    process = start(sweep(tmp_path), *on_ray(nodes))
    wait_until(tmp_path, process, 40)
    nodes.remove_node(nodes.second, allow_graceful=False)
    finish(process)
    assert_same(tmp_path, undisturbed)


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
def test_an_address_where_no_ray_is_is_told_within_seconds(tmp_path: Path, listening: bool) -> None:
    """Nobody listens there, or somebody who does not speak Ray's protocol: one message, exit 2, and no run is begun."""
    sweep(tmp_path)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if listening:
            server.listen()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        asked = ["run", "sweep.toml", "--executor", "ray", "--set", f"executor.address={address}"]
        began = time.monotonic()
        done = conflictscope(*asked, cwd=tmp_path, code=2)
    assert f"no Ray can be reached at '{address}'" in done.stderr
    assert time.monotonic() - began < 30
    assert not (tmp_path / "runs").exists()


def test_without_the_package_it_says_how_to_get_it(tmp_path: Path) -> None:
    """Ray is not installed: one message with the command that installs it, exit 2, and no run is begun."""
    sweep(tmp_path)
    hook = (
        "import sys; sys.modules['ray'] = None; from conflictscope.cli import main; "
        "sys.argv = ['conflictscope', 'run', 'sweep.toml', '--executor', 'ray']; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", hook], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    assert 'pip install "conflictscope[ray]"' in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()
