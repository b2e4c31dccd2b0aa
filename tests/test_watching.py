"""The live view as a user has it: `run` and `watch` in a terminal, of a run that goes on, has ended, or is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.cells import cell_len

from benchmarks.worlds import write_sweep
from tests.commands import COMMAND, conflictscope, environment
from tests.terminals import Terminal

SLOW = {"scenarios": 400, "targets": 3, "concurrency": 8, "median_s": 0.3, "p95_s": 0.5}
BIG, SMALL = (60, 200), (24, 80)


@pytest.fixture
def slow_run(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A run that takes minutes, in another process; there is its file, and it is in work."""
    sweep = write_sweep(tmp_path, **SLOW)  # type: ignore[arg-type]
    process = subprocess.Popen(
        [*COMMAND, "run", sweep, "--name", "slow", "--no-live"], cwd=tmp_path, env=environment(),
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    process.stderr.readline()  # its first line of progress
    yield process
    process.kill()
    process.communicate()


def fits(terminal: Terminal, size: tuple[int, int]) -> bool:
    """Whether what is shown lies within so many lines and columns."""
    lines = terminal.shown.split("\n")
    return len(lines) <= size[0] and max(map(cell_len, lines)) <= size[1]


def test_a_run_on_a_terminal_is_shown_and_ends_with_its_summary(tmp_path: Path) -> None:
    """Live at both sizes, through a resize in the middle; then the terminal is as it was, with rankings and status on it."""
    sweep = write_sweep(tmp_path, **{**SLOW, "scenarios": 60, "concurrency": 16})  # type: ignore[arg-type]
    with Terminal("run", sweep, "--name", "shown", cwd=tmp_path, size=SMALL) as terminal:
        terminal.until(lambda: "running" in terminal.shown and "of 16 in flight" in terminal.shown)
        terminal.until(lambda: "judge  " in terminal.shown and " 1. " in terminal.shown)
        assert fits(terminal, SMALL)
        terminal.resize(*BIG)
        terminal.until(lambda: "── latest episodes" in terminal.shown)
        assert fits(terminal, BIG)
        assert max(map(cell_len, terminal.shown.split("\n"))) > 120
        terminal.resize(*SMALL)
        terminal.until(lambda: terminal.shown != "" and "── latest episodes" not in terminal.shown)
        assert fits(terminal, SMALL)
        assert terminal.until_end() == 0
        assert terminal.screen is None
        after = terminal.sent.rpartition("\x1b[?1049l")[2]
        assert "\x1b[?25h" in terminal.sent
        assert "settled" in after
        assert "episodes" in after
        assert "See it again" in after


def test_ctrl_c_is_answered_on_the_screen(tmp_path: Path) -> None:
    """What the run says to a Ctrl-C is seen while it stops, and stays when the screen is left; 130 as without a screen."""
    sweep = write_sweep(tmp_path, **SLOW)  # type: ignore[arg-type]
    with Terminal("run", sweep, "--name", "stopped", cwd=tmp_path) as terminal:
        terminal.until(lambda: " 1. " in terminal.shown)
        terminal.press("\x03")
        terminal.until(lambda: "Stopping: what is in flight has" in terminal.shown)
        assert terminal.until_end() == 130
        assert "Stopping: what is in flight has" in terminal.sent.rpartition("\x1b[?1049l")[2]


@pytest.mark.parametrize("leave", ["q", "\x03"])
def test_a_live_run_is_watched_from_another_process_and_left_alone(
    slow_run: subprocess.Popen[bytes], tmp_path: Path, leave: str
) -> None:
    """Two watch it at once; by q or Ctrl-C one leaves at once, finds its terminal as it was, and the run goes on."""
    with (
        Terminal("watch", "slow", cwd=tmp_path, size=SMALL) as one,
        Terminal("watch", "slow", cwd=tmp_path, size=BIG) as other,
    ):
        for terminal in (one, other):
            terminal.until(lambda t=terminal: "running" in t.shown and " 1. " in t.shown)  # type: ignore[misc]
            assert "q leaves" in terminal.shown
        assert fits(one, SMALL)
        assert fits(other, BIG)
        assert not one.echoes
        one.press(leave)
        assert one.until_end() == (0 if leave == "q" else 130)
        assert one.screen is None
        assert one.echoes
        before = other.sent
        other.until(lambda: len(other.sent) > len(before))
    assert slow_run.poll() is None


def test_a_run_that_is_killed_while_it_is_watched(slow_run: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """The watcher sees it, and ends with what the run came to and that it was killed."""
    with Terminal("watch", "slow", cwd=tmp_path) as terminal:
        terminal.until(lambda: " 1. " in terminal.shown)
        os.kill(slow_run.pid, signal.SIGKILL)
        assert terminal.until_end() == 0
        after = terminal.sent.rpartition("\x1b[?1049l")[2]
        assert "killed" in after
        assert "outcomes" in after


def test_arrows_scroll_the_rankings(slow_run: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """Down begins with the next ranking, up goes back; also where several keys come at once, as from one that is held down."""
    with Terminal("watch", "slow", cwd=tmp_path, size=(12, 50)) as terminal:
        terminal.until(lambda: "more below" in terminal.shown)
        terminal.press("\x1b[B")
        terminal.until(lambda: "1 more above" in terminal.shown)
        terminal.press("\x1b[A")
        terminal.until(lambda: "more above" not in terminal.shown)
        terminal.press("\x1b[B\x1b[B\x1b[A\x1b[B")
        terminal.until(lambda: "2 more above" in terminal.shown)
        terminal.press("kq")
        assert terminal.until_end() == 0


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run that has ended."""
    folder = tmp_path_factory.mktemp("finished")
    conflictscope("run", write_sweep(folder, scenarios=12), "--name", "done", "--no-live", cwd=folder)
    return folder


def test_a_finished_run_is_shown_once(finished: Path) -> None:
    """On a terminal and into a pipe: rankings and status, and the command ends."""
    with Terminal("watch", "done", cwd=finished) as terminal:
        assert terminal.until_end() == 0
        assert "finished" in terminal.sent.rpartition("\x1b[?1049l")[2]
    told = conflictscope("watch", "done", cwd=finished).stdout
    assert "\x1b" not in told
    assert "finished" in told
    assert " 1. " in told


def test_without_a_screen_there_are_plain_lines(slow_run: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """A terminal that can't be drawn on, and one whose user asked for it, get a line at a time."""
    for options, env in ((["--no-live"], {}), ([], {"TERM": "dumb"})):
        with Terminal("watch", "slow", *options, cwd=tmp_path, env=env) as terminal:
            terminal.until(lambda t=terminal: "episodes" in t.sent and "\n" in t.sent)  # type: ignore[misc]
            assert "\x1b[?1049h" not in terminal.sent
            assert "\x1b[2J" not in terminal.sent


def test_json_is_a_line_for_each_change(slow_run: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """Each is what `status --json` tells; the last one tells how the run ended."""
    watching = subprocess.Popen(
        [*COMMAND, "watch", "slow", "--json"], cwd=tmp_path, env=environment(), stdout=subprocess.PIPE
    )
    assert watching.stdout is not None
    documents = [json.loads(watching.stdout.readline()) for _ in range(2)]
    assert [document["state"] for document in documents] == ["running", "running"]
    assert documents[0]["calls"] < documents[1]["calls"]
    assert {lane["most"] for lane in documents[1]["lanes"]} == {8}
    slow_run.kill()
    *_, last = (json.loads(line) for line in watching.stdout)
    assert last["state"] == "killed"
    assert watching.wait() == 0
    watching.stdout.close()
    status = json.loads(conflictscope("status", "slow", "--json", cwd=tmp_path).stdout)
    assert set(status) == set(last)


def test_a_run_that_is_not_there_is_told(tmp_path: Path) -> None:
    """One clear message, and exit code 2."""
    assert "no run 'nowhere'" in conflictscope("watch", "nowhere", cwd=tmp_path, code=2).stderr


def test_a_terminal_without_utf_gets_ascii(finished: Path, slow_run: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """Bars and arrows are drawn with what it has."""
    with Terminal("watch", "slow", cwd=tmp_path, env={"PYTHONIOENCODING": "ascii"}) as terminal:
        terminal.until(lambda: " 1. " in terminal.shown and "#" in terminal.shown)
        assert terminal.shown.isascii()
