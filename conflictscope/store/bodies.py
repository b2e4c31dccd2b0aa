"""Requests and replies as a run file keeps them: zstd frames, with dictionaries that are trained from its own.

They are most of a run, and like one another: prompts, settings and schemas are the same in thousands of them. A dictionary knows
what they share, so that a frame holds little but what is new.
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterable

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd  # the same module, for older Pythons

MAGIC = b"\x28\xb5\x2f\xfd"  # begins every frame, and no JSON: it is not UTF-8
DICTIONARY_BYTES = 32_768  # more makes real requests smaller still, but needs more of them to be trained from
SAMPLE_BYTES = 500_000  # some hundred calls; to train from them takes a twentieth of a second, in a thread
_LEVEL = 3  # at 6 a frame is a tenth smaller, and takes three times as long
_SPARSER = 10
DICTIONARIES = "SELECT body FROM dictionaries ORDER BY number"


class Bodies:
    """Packs bodies for a run file, and unpacks them.

    A dictionary is trained from the first SAMPLE_BYTES of bodies, then from every tenth body until there are as many bytes again,
    then from every hundredth, ...: what is asked first in a run, all its openings maybe, is not what it asks later. Every frame
    names its dictionary, so that those of former processes go on being read.

    dictionaries: those of the file, the oldest first.
    """

    def __init__(self, dictionaries: Iterable[bytes] = ()) -> None:
        self._dictionaries: dict[int, zstd.ZstdDict] = {}
        self._compressor = zstd.ZstdCompressor(_LEVEL)
        self._every, self._seen = 1, 0
        self._sample: list[bytes] = []
        self._sampled = 0
        for dictionary in dictionaries:
            self._use(zstd.ZstdDict(dictionary))
            self._every *= _SPARSER

    def pack(self, body: bytes | None) -> bytes | None:
        """A frame with this body; None for None."""
        return None if body is None else self._compressor.compress(body, self._compressor.FLUSH_FRAME)

    def unpack(self, stored: bytes | str) -> bytes:
        """What was packed; what is no frame was stored as it is, by an older version.

        Raises sqlite3.DatabaseError for a broken frame, and where its dictionary is gone.
        """
        if isinstance(stored, str):
            return stored.encode()
        if not stored.startswith(MAGIC):
            return stored
        try:
            number = zstd.get_frame_info(stored).dictionary_id
            return zstd.decompress(stored, self._dictionaries.get(number))
        except zstd.ZstdError as error:
            raise sqlite3.DatabaseError(f"a request or reply cannot be unpacked: {error}") from None

    def look_at(self, body: bytes) -> None:
        """Take a body that is about to be packed into the sample, if it is its turn."""
        if self._seen % self._every == 0:
            self._sample.append(body)
            self._sampled += len(body)
        self._seen += 1

    @property
    def full(self) -> bool:
        """Whether there is enough to train from."""
        return self._sampled >= SAMPLE_BYTES

    def train(self) -> bytes | None:
        """A new dictionary, with which bodies are packed from now on; None where the sample is too small, or nothing is new."""
        sample, self._sample, self._sampled = self._sample, [], 0
        self._every *= _SPARSER
        try:
            dictionary = zstd.train_dict(sample, DICTIONARY_BYTES)
        except zstd.ZstdError:
            return None
        if dictionary.dict_id in self._dictionaries:
            return None
        self._use(dictionary)
        return dictionary.dict_content

    def _use(self, dictionary: zstd.ZstdDict) -> None:
        self._dictionaries[dictionary.dict_id] = dictionary
        self._compressor = zstd.ZstdCompressor(_LEVEL, zstd_dict=dictionary)


def readable(connection: sqlite3.Connection) -> sqlite3.Connection:
    """Let SQL read requests and replies of a run file: `SELECT role, body(request), body(reply) FROM calls`, as JSON text.

    Of a run that goes on, what was written with a dictionary that came later is an error: open it anew. Returns the connection.
    """
    [(there,)] = connection.execute(
        "SELECT count(*) FROM sqlite_master WHERE name = 'dictionaries'"
    )  # not in older files
    bodies = Bodies(body for (body,) in (connection.execute(DICTIONARIES) if there else ()))
    connection.create_function("body", 1, lambda stored: stored and bodies.unpack(stored).decode(), deterministic=True)
    return connection
