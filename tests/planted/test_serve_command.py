from __future__ import annotations

import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from openai import OpenAI

from benchmarks.worlds import write_sweep
from conflictscope.library import find, load_library
from tests.commands import COMMAND, conflictscope, environment


@contextmanager
def served(folder: Path, *options: object) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`plant serve` in another process, and the first line that it prints."""
    command = [*COMMAND, "plant", "serve", *map(str, options)]
    with subprocess.Popen(
        command, cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline()
        finally:
            process.kill()


def metrics(url: str) -> dict[str, Any]:
    with urlopen(f"{url}/metrics") as response:
        told: dict[str, Any] = json.load(response)
        return told


def ended(process: subprocess.Popen[str], number: signal.Signals) -> tuple[int, str, str]:
    """What a signal makes of it: the exit code and what else it printed."""
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    return process.returncode, out, err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_served_world_says_where_it_is_and_ends_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    """One line with the address, the models and the sweep file's keys; a signal ends it with 0, also while it answers."""
    (tmp_path / "w.toml").write_text("[targets.t]\nutilities = { honesty = 1.0 }\n[faults]\nhang = 1.0\n")
    with served(tmp_path, "--world", "w.toml", "--port", 0) as (process, line):
        url = line.split()[0]
        assert line.startswith("http://127.0.0.1:")
        assert f'[providers.openai] base_url = "{url}/v1"' in line
        assert f'[providers.anthropic] base_url = "{url}".' in line
        assert "serves t, user, judge, generator, checker." in line
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as hanging:
            sent = b'{"model":"t","messages":[{"role":"user","content":"x"}]}'
            head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-api-key: k\r\ncontent-length: %d\r\n\r\n"
            hanging.sendall(head % len(sent) + sent)
            while metrics(url)["in_flight"] == 0:
                pass
            assert ended(process, number) == (0, "", "")


def test_json_is_one_document_and_the_models_know_the_built_in_libraries(tmp_path: Path) -> None:
    """The address and the models on one line, nothing else; a built-in scenario is answered with one of its actions."""
    with served(tmp_path, "--world", "demo", "--port", 0, "--json") as (process, line):
        told = json.loads(line)
        assert told.keys() == {"url", "models"}
        assert told["models"] == ["guardian", "pleaser", "truthteller", "user", "judge", "generator", "checker"]
        scenario = load_library(find("libraries", "hhh", tmp_path))[0]
        question = f"A case.\n\nA. {' '.join(scenario.action_a.split())}\nB. {' '.join(scenario.action_b.split())}\n"
        with OpenAI(api_key="k", base_url=f"{told['url']}/v1") as client:
            reply = client.chat.completions.create(model="guardian", messages=[{"role": "user", "content": question}])
        assert reply.choices[0].message.content in ("A", "B")
        assert ended(process, signal.SIGTERM) == (0, "", "")


def test_libraries_that_are_named_are_known(tmp_path: Path) -> None:
    """--scenarios adds what the models know: a choice instead of neither."""
    write_sweep(tmp_path, scenarios=6)
    case = json.loads((tmp_path / "library.jsonl").read_text().splitlines()[0])
    question = f"A case.\n\nA. {case['action_a']}\nB. {case['action_b']}\n"
    with served(
        tmp_path, "--world", "world.toml", "--scenarios", "library.jsonl", "--scenarios", "hhh", "--port", 0
    ) as (process, line):
        with OpenAI(api_key="k", base_url=f"{line.split()[0]}/v1") as client:
            reply = client.chat.completions.create(model="alpha", messages=[{"role": "user", "content": question}])
        assert reply.choices[0].message.content in ("A", "B")
        assert ended(process, signal.SIGINT) == (0, "", "")


def test_a_port_in_use_is_told(tmp_path: Path) -> None:
    """One message, exit 2."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = conflictscope("plant", "serve", "--world", "demo", "--port", port, cwd=tmp_path, code=2)
    assert (done.stdout, done.stderr.count("\n")) == ("", 1)
    assert f"--port {port}: the port is in use on 127.0.0.1" in done.stderr


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--world", "none"], "'none' is neither a path nor a built-in name of worlds"),
        (["--world", "demo", "--scenarios", "none.jsonl"], "none.jsonl: no such file"),
        (["--world", "demo", "--host", "192.0.2.1"], "cannot listen at 192.0.2.1"),
        (["--world", "demo", "--port", "70000"], "65535"),
    ],
)
def test_what_cannot_be_served_is_told(tmp_path: Path, options: list[str], told: str) -> None:
    """An unknown world or library, an address that is not ours, a port that is none: exit 2."""
    assert told in conflictscope("plant", "serve", *options, cwd=tmp_path, code=2).stderr
