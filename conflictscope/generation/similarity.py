"""What is a near-duplicate: texts as vectors, an index that grows, all near pairs of a library, how diverse it is.

Nothing here holds a matrix of all pairs. Dense products, which are fast, say which pairs of rows may be near enough; only
those are compared exactly. So that this works for the long sparse rows of hashed words too, each gets a short dense row beside
it, whose products with others are never below the cosines.
"""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Vectors: TypeAlias = NDArray[np.float32] | sparse.csr_array
"""(n, d): a row for each text, of length 1; float32."""

_FEATURES = 2**20  # of hashed words: two of a text's hundred or so rarely meet
_BUCKETS = 512
_WORD = re.compile(r"\w+")
_BLOCK, _WIDE_BLOCK = 1024, 8192  # rows that are multiplied at once, with so many others
_EXACT_BLOCK = 8192  # pairs that are compared exactly at once
_ROUNDING = 1e-6  # what a float32 row may lack of length 1; a cosine that misses the threshold by less has reached it


class Embedding(Protocol):
    """Makes vectors of texts, near to each other where the texts mean the same."""

    @property
    def name(self) -> str:
        """What it is, for reports: `hashing (words, offline)`, `openai:text-embedding-3-small`."""
        ...

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """A row for each text. Raises CallFailed, LimitReached, LaneClosed where a model is asked."""
        ...


class Hashing:
    """Bags of words, hashed: offline, the same in every process, with nothing to be learned from a library.

    A word counts 1 + log(how often it occurs): of the simple weightings, the one that best told rewordings from other texts on
    the same subject (benchmarks.duplicates). It sees the words and not the meaning: a text that is told in other words
    throughout is another one. Of 212 pairs of real openings that all-MiniLM-L6-v2 has at 0.8 or more, it has none there, but all
    between 0.39 and 0.69. Words are runs of letters; where a script has no spaces, those are whole clauses.
    Source: Weinberger et al. 2009; Manning et al. 2008, section 6.4.1.
    """

    name = "hashing (words, offline)"

    async def embed(self, texts: Sequence[str]) -> sparse.csr_array:
        """A sparse row for each text."""
        return await asyncio.to_thread(_hashed, texts)


def _hashed(texts: Sequence[str]) -> sparse.csr_array:
    if not texts:
        return sparse.csr_array((0, _FEATURES), dtype=np.float32)
    # Imported here, for it takes two seconds, and few commands compare texts.
    from sklearn.feature_extraction.text import HashingVectorizer
    from sklearn.preprocessing import normalize

    words = HashingVectorizer(analyzer=_words, n_features=_FEATURES, alternate_sign=False, norm=None, dtype=np.float32)
    rows = sparse.csr_array(words.transform(texts))
    rows.data = 1 + np.log(rows.data)
    return sparse.csr_array(normalize(rows, copy=False))


def _words(text: str) -> list[str]:
    """The words of a text; a text without any is a word by itself, so that it is like its repetition."""
    return _WORD.findall(text.lower()) or [text]


@dataclass(frozen=True, slots=True)
class Match:
    """What a new text is a near-duplicate of. cosine: at most 1."""

    id: str
    cosine: float


class NearDuplicates:
    """Texts that are no near-duplicates of each other, by their vectors; grows.

    threshold: a row whose cosine with another is this or more repeats it; in (0, 1]. Raises ValueError where it is not.
    """

    def __init__(self, threshold: float) -> None:
        self._threshold = _checked(threshold)
        self._ids: list[str] = []
        self._held: _Held | None = None

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, ids: Sequence[str], vectors: Vectors) -> list[Match | None]:
        """Hold each row that repeats none that is held, or say which is nearest to it; the earliest of several.

        Rows are taken one after the other: what comes of them is the same however they are spread over calls. Raises
        ValueError where there are not as many ids as rows, or the rows are of another kind or width than those held.
        """
        if len(ids) != vectors.shape[0]:
            raise ValueError(f"ids and vectors must go together, got {len(ids)} ids and {vectors.shape[0]} rows")
        if not ids:
            return []  # whose width says nothing
        if self._held is None:
            self._held = _Held(vectors)
        self._held.check(vectors)
        matches: list[Match | None] = []
        for start in range(0, len(ids), _BLOCK):
            block = _Rows.of(vectors[start : start + _BLOCK])
            matches += self._add_block(ids[start : start + _BLOCK], block, self._held)
        return matches

    def nearest(self, vectors: Vectors) -> list[Match | None]:
        """What is held that each row repeats, if anything; the nearest, the earliest of several. Holds none of them."""
        if self._held is None:
            return [None] * vectors.shape[0]
        self._held.check(vectors)
        matches: list[Match | None] = []
        for start in range(0, vectors.shape[0], _BLOCK):
            matches += self._nearest(_Rows.of(vectors[start : start + _BLOCK]), self._held)
        return matches

    def _nearest(self, block: _Rows, held: _Held) -> list[Match | None]:
        nearest: list[Match | None] = [None] * block.bounds.shape[0]
        for row, other, cosine in _near(block, held.rows(), self._threshold):
            best = nearest[row]
            if best is None or cosine > best.cosine:
                nearest[row] = Match(self._ids[other], cosine)
        return nearest

    def _add_block(self, ids: Sequence[str], block: _Rows, held: _Held) -> list[Match | None]:
        nearest = self._nearest(block, held)
        within = defaultdict(list)
        for other, row, cosine in _near_within(block, self._threshold):
            within[row].append((other, cosine))
        for row in range(len(ids)):
            for other, cosine in sorted(within[row]):
                best, is_held = nearest[row], nearest[other] is None
                if is_held and (best is None or cosine > best.cosine):
                    nearest[row] = Match(ids[other], cosine)
        new = [row for row, match in enumerate(nearest) if match is None]
        held.append(block.take(new))
        self._ids += [ids[row] for row in new]
        return nearest


def near_duplicates(vectors: Vectors, threshold: float) -> Iterator[tuple[int, int, float]]:
    """Every pair of rows i < j with a cosine of `threshold` or more, and the cosine; block by block, so not in order.

    threshold: in (0, 1]; raises ValueError where it is not.
    """
    return _near_within(_Rows.of(vectors), _checked(threshold))


def diversity(vectors: Vectors) -> float:
    """1 - the mean cosine over all pairs of rows: 0 where all are one text, 1 where no two have anything in common.

    In O(n d): the cosines of all pairs add up to half of what the squared length of the sum of rows has over that of the rows.
    Raises ValueError for fewer than 2 rows.
    """
    n = vectors.shape[0]
    if n < 2:
        raise ValueError(f"diversity takes at least 2 rows, got {n}")
    total = np.asarray(vectors.sum(axis=0, dtype=np.float64)).ravel()
    numbers = vectors.ravel() if isinstance(vectors, np.ndarray) else vectors.data
    squares = float(np.einsum("i,i->", numbers, numbers, dtype=np.float64))
    return 1 - float(total @ total - squares) / float(n * (n - 1))


def _checked(threshold: float) -> float:
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold must be in (0, 1], got {threshold}")
    return threshold


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows, and the dense ones beside them. bounds: (n, b), with products that are never below the cosines, but for rounding."""

    exact: Vectors
    bounds: NDArray[np.float32]

    @classmethod
    def of(cls, vectors: Vectors) -> _Rows:
        return cls(vectors, vectors if isinstance(vectors, np.ndarray) else _bucket_lengths(vectors))

    def take(self, rows: Sequence[int]) -> _Rows:
        bounds = self.bounds[rows]
        return _Rows(bounds if isinstance(self.exact, np.ndarray) else self.exact[rows], bounds)


def _bucket_lengths(rows: sparse.csr_array) -> NDArray[np.float32]:
    """The length of the part of each row that lies in each of _BUCKETS sets of columns.

    x . y is the sum over sets of the products of their parts, each of which is at most the product of the lengths of the two
    parts, by Cauchy and Schwarz.
    """
    squares = sparse.csr_array((rows.data**2, rows.indices % _BUCKETS, rows.indptr), shape=(rows.shape[0], _BUCKETS))
    lengths: NDArray[np.float32] = np.sqrt(squares.toarray(), dtype=np.float32)
    return lengths


class _Growing:
    """An array that rows are appended to, in O(rows) each time on average."""

    def __init__(self, like: NDArray[Any]) -> None:
        self._array = np.empty((0, *like.shape[1:]), like.dtype)
        self._length = 0

    @property
    def filled(self) -> NDArray[Any]:
        return self._array[: self._length]

    def append(self, rows: NDArray[Any]) -> None:
        end = self._length + len(rows)
        if end > len(self._array):
            grown = np.empty((max(end, 2 * len(self._array)), *self._array.shape[1:]), self._array.dtype)
            grown[: self._length] = self.filled
            self._array = grown
        self._array[self._length : end] = rows
        self._length = end


class _Held:
    """Rows of one kind and width, to which more are appended. like: some such rows."""

    def __init__(self, like: Vectors) -> None:
        self._width = like.shape[1]
        self._dense = isinstance(like, np.ndarray)
        self._bounds = _Growing(np.empty((0, self._width if self._dense else _BUCKETS), np.float32))
        self._data = _Growing(np.empty(0, np.float32))
        self._indices = _Growing(np.empty(0, np.int32))
        self._ends = _Growing(np.empty(0, np.int64))

    def check(self, vectors: Vectors) -> None:
        """Raises ValueError where rows do not fit to those held."""
        if (isinstance(vectors, np.ndarray), vectors.shape[1]) != (self._dense, self._width):
            raise ValueError(f"rows of one embedding are expected, {self._width} wide, got {vectors.shape[1]}")

    def rows(self) -> _Rows:
        bounds = self._bounds.filled
        if self._dense:
            return _Rows(bounds, bounds)
        starts = np.concatenate(([0], self._ends.filled))
        parts = self._data.filled, self._indices.filled, starts
        return _Rows(sparse.csr_array(parts, shape=(len(bounds), self._width)), bounds)

    def append(self, rows: _Rows) -> None:
        self._bounds.append(rows.bounds)
        if not isinstance(rows.exact, np.ndarray):
            self._ends.append(rows.exact.indptr[1:].astype(np.int64) + len(self._data.filled))
            self._data.append(rows.exact.data)
            self._indices.append(rows.exact.indices)


def _near(left: _Rows, right: _Rows, threshold: float) -> Iterator[tuple[int, int, float]]:
    """Rows of both whose cosine reaches the threshold, and the cosine; for each row of `left`, those of `right` in order."""
    for start in range(0, right.bounds.shape[0], _WIDE_BLOCK):
        products = left.bounds @ right.bounds[start : start + _WIDE_BLOCK].T
        rows, others = np.nonzero(products >= _may_reach(threshold, left))
        yield from _exactly(left.exact, right.exact, rows, others + start, threshold)


def _near_within(rows: _Rows, threshold: float) -> Iterator[tuple[int, int, float]]:
    """The pairs of rows i < j whose cosine reaches the threshold, and the cosine."""
    n = rows.bounds.shape[0]
    for top in range(0, n, _BLOCK):
        for left in range(top, n, _WIDE_BLOCK):
            products = rows.bounds[top : top + _BLOCK] @ rows.bounds[left : left + _WIDE_BLOCK].T
            i, j = np.nonzero(products >= _may_reach(threshold, rows))
            i, j = i + top, j + left
            once = i < j
            yield from _exactly(rows.exact, rows.exact, i[once], j[once], threshold)


def _may_reach(threshold: float, rows: _Rows) -> np.float32:
    """From which product of bounds on two rows must be compared: it may be too low by what the sum of its terms is rounded by."""
    return np.float32(threshold - _ROUNDING - rows.bounds.shape[1] * np.finfo(np.float32).eps)


def _exactly(
    left: Vectors, right: Vectors, rows: NDArray[np.intp], others: NDArray[np.intp], threshold: float
) -> Iterator[tuple[int, int, float]]:
    """Those of the pairs whose cosine, in float64, reaches the threshold."""
    for start in range(0, len(rows), _EXACT_BLOCK):
        i, j = rows[start : start + _EXACT_BLOCK], others[start : start + _EXACT_BLOCK]
        cosines = _products(left[i].astype(np.float64), right[j].astype(np.float64))
        near = cosines >= threshold - _ROUNDING
        yield from zip(i[near].tolist(), j[near].tolist(), np.minimum(cosines[near], 1.0).tolist(), strict=True)


def _products(first: Vectors, second: Vectors) -> NDArray[np.float64]:
    """Of each row with the row beside it."""
    terms = first * second if isinstance(first, np.ndarray) else first.multiply(second)
    products: NDArray[np.float64] = terms.sum(axis=1)
    return products
