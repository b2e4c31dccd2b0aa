"""Requests and replies in the run file: small, and read back as they were, whoever was killed when."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conflictscope.errors import StoreError
from conflictscope.outcome import Role
from conflictscope.ports import CallEnd, CallSent, CallState
from conflictscope.store import RunWriter, bodies, readable
from conflictscope.store.bodies import DICTIONARIES, MAGIC, Bodies

ANY_BODY = st.one_of(
    st.binary(max_size=300),
    st.binary(max_size=50).map(MAGIC.__add__),
    st.recursive(st.none() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)
    .map(json.dumps)
    .map(str.encode),
)


def body(number: int) -> bytes:
    """One of many that differ little."""
    said = [f"Consider case {number * place % 9_973} with care." for place in range(1, 9)]
    return json.dumps({"messages": said, "settings": {"seed": number, "max_tokens": 1_000}}).encode()


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dictionary is trained from some hundred of these bodies."""
    monkeypatch.setattr(bodies, "SAMPLE_BYTES", 100_000)


async def keep(path: Path, asked: Sequence[bytes], scope: str = "e") -> None:
    """A process that asks and is answered what it asked."""
    async with RunWriter.open(path) as writer:
        for place, request in enumerate(asked):
            number = await writer.sent(CallSent(scope, str(place), Role.TARGET, "alpha", "m", "p@1", request, 0.0))
            writer.ended(number, CallEnd(CallState.COMMITTED, reply=request))


async def kept(path: Path, count: int, scope: str = "e") -> list[bytes | None]:
    """What a later process takes for the answers."""
    async with RunWriter.open(path) as writer:
        await writer.begin_session()
        return [writer.answered(scope, str(place)) for place in range(count)]


def dictionaries(path: Path) -> list[bytes]:
    with closing(sqlite3.connect(path)) as connection:
        return [dictionary for (dictionary,) in connection.execute(DICTIONARIES)]


def stored(path: Path, column: str = "reply") -> Iterator[bytes]:
    with closing(sqlite3.connect(path)) as connection:
        for (content,) in connection.execute(f"SELECT {column} FROM calls ORDER BY seq"):
            yield content


@cache
def dictionary() -> bytes:
    learner = Bodies()
    for number in range(400):
        learner.look_at(body(number))
    trained = learner.train()
    assert trained is not None
    return trained


@given(st.lists(ANY_BODY, min_size=1, max_size=9))
@settings(max_examples=50)
def test_any_body_is_unpacked_as_it_was(some: list[bytes]) -> None:
    """Bytes of any kind, frames among them, packed with and without a dictionary; by another process, too."""
    packed = [packer.pack(one) or b"" for packer in (Bodies(), Bodies([dictionary()])) for one in some]
    reader = Bodies([dictionary()])
    assert [reader.unpack(one) for one in packed] == [*some, *some]
    assert all(one.startswith(MAGIC) for one in packed)


@given(st.lists(ANY_BODY, min_size=1, max_size=10))
@settings(max_examples=8)
def test_any_body_comes_back_from_the_file(some: list[bytes]) -> None:
    """Written by one process and answered by the next, before and after a dictionary was trained."""

    async def play(path: Path) -> None:
        for scope, asked in ("before", some), ("while", [body(number) for number in range(200)]), ("after", some):
            await keep(path, asked, scope)
        assert len(dictionaries(path)) == 1
        assert await kept(path, len(some), "before") == await kept(path, len(some), "after") == some

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(play(Path(folder) / "run.db"))


async def test_bodies_that_are_alike_take_little(tmp_path: Path) -> None:
    """Before there is a dictionary less than half, with it less than a quarter; nobody rewrites the former ones."""
    path, asked = tmp_path / "run.db", [body(number) for number in range(3_000)]
    await keep(path, asked[:100], "first")
    early = list(stored(path))
    assert sum(map(len, early)) < 0.5 * sum(map(len, asked[:100]))
    assert dictionaries(path) == []
    await keep(path, asked)
    content = list(stored(path))
    assert content[:100] == early
    assert sum(map(len, content[-1_000:])) < 0.25 * sum(map(len, asked[-1_000:]))
    assert await kept(path, len(asked)) == asked


async def test_dictionaries_are_few_and_outlive_their_process(tmp_path: Path) -> None:
    """The second rests on every tenth body, so that it knows more of the run; a later process goes on with it at once."""
    path = tmp_path / "run.db"
    await keep(path, [body(number) for number in range(3_000)])
    trained = dictionaries(path)
    assert len(trained) == 2
    await keep(path, [body(7)], "later")
    assert dictionaries(path) == trained
    newest = Bodies(trained).pack(body(7))
    assert list(stored(path))[-1] == newest
    assert len(newest or b"") < len(Bodies().pack(body(7)) or b"")


@pytest.mark.parametrize(
    "same", [b"{}", b"q" * 1_500, b"x" * 120_000], ids=["tiny", "all alike", "each larger than the sample"]
)
async def test_bodies_of_which_no_dictionary_comes_are_stored_all_the_same(tmp_path: Path, same: bytes) -> None:
    """Nothing to learn, nothing new to learn the second time, or too few samples: the run goes on."""
    path = tmp_path / "run.db"
    asked = [same] * (20 if len(same) > 100_000 else 2_000)
    await keep(path, asked)
    assert len(dictionaries(path)) <= 1
    assert await kept(path, len(asked)) == asked


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from conflictscope.store import bodies
from conflictscope.store.bodies import Bodies
from tests.store.test_bodies import body, keep

bodies.SAMPLE_BYTES = 100_000
train, pack, moment = Bodies.train, Bodies.pack, sys.argv[2]
left = 10**9

def trained(self):
    global left
    train(self)
    if moment == "before the commit":
        os.kill(os.getpid(), signal.SIGKILL)
    left = 5

def packed(self, body):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return pack(self, body)

Bodies.train, Bodies.pack = trained, packed
path = Path(sys.argv[1])
asyncio.run(keep(path, [body(number) for number in range(100)]))
asyncio.run(keep(path, [body(number) for number in range(1_000)], "more"))
"""


@pytest.mark.parametrize("moment", ["before the commit", "in the commit"])
async def test_a_kill_around_the_training_loses_nothing_that_was_committed(tmp_path: Path, moment: str) -> None:
    """Neither the dictionary nor a frame that needs it is in the file, all that was there is read, and the next process trains."""
    path = tmp_path / "run.db"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", KILLED, str(path), moment)
    assert await asyncio.wait_for(process.wait(), 60) == -signal.SIGKILL
    assert dictionaries(path) == []
    asked = [body(number) for number in range(1_000)]
    assert await kept(path, 100) == asked[:100]
    assert await kept(path, 1, "more") == [None]
    await keep(path, asked, "again")
    assert len(dictionaries(path)) > 0
    assert await kept(path, len(asked), "again") == asked


async def test_calls_of_an_older_file_are_replayed_and_left_as_they_are(tmp_path: Path) -> None:
    """JSON stays JSON, as bytes or as text; what is written now stands beside it as frames."""
    path = tmp_path / "run.db"
    await keep(path, [body(1), body(2), body(3)])
    older = [body(1), body(2).decode()]
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany(
            "UPDATE calls SET request = ?1, reply = ?1 WHERE seq = ?2", zip(older, (1, 2), strict=True)
        )
        connection.executescript("DROP TABLE dictionaries; DELETE FROM migrations WHERE name = '0010_bodies'")
    assert await kept(path, 3) == [body(1), body(2), body(3)]
    assert list(stored(path))[:2] == older
    assert list(stored(path, "request"))[2].startswith(MAGIC)


async def test_sql_reads_bodies_as_json(tmp_path: Path) -> None:
    """Of a connection that was made to: text that SQLite takes apart, NULL where there is none."""
    path = tmp_path / "run.db"
    await keep(path, [body(number) for number in range(500)])
    async with RunWriter.open(path) as writer:
        await writer.sent(CallSent("open", "f", Role.TARGET, "alpha", "m", "p@1", body(500), 0.0))
    with closing(readable(sqlite3.connect(path))) as connection:
        seeds = connection.execute("SELECT body(request) ->> '$.settings.seed' FROM calls ORDER BY seq").fetchall()
        assert seeds == [(number,) for number in range(501)]
        assert connection.execute("SELECT body(reply) FROM calls WHERE scope = 'open'").fetchone() == (None,)


@pytest.mark.parametrize("damage", ["substr(reply, 1, length(reply) - 4)", "reply || x'00112233'", "x'28b52ffd'"])
async def test_a_broken_frame_is_told_and_never_an_answer(tmp_path: Path, damage: str) -> None:
    """As a damaged file is: with the path, and what is wrong."""
    path = tmp_path / "run.db"
    await keep(path, [body(1)])
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"UPDATE calls SET reply = CAST({damage} AS BLOB)")
    with pytest.raises(StoreError, match=r"run\.db: a request or reply cannot be unpacked"):
        await kept(path, 1)


async def test_a_frame_whose_dictionary_is_gone_is_told(tmp_path: Path) -> None:
    """Somebody deleted it."""
    path = tmp_path / "run.db"
    await keep(path, [body(number) for number in range(1_000)])
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM dictionaries")
    with pytest.raises(StoreError, match="cannot be unpacked"):
        await kept(path, 1)
