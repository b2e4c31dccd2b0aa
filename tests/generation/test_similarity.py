from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import sparse

from conflictscope.generation import similarity
from conflictscope.generation.similarity import Hashing, Match, NearDuplicates, Vectors, diversity, near_duplicates

STORY = (
    "My father has died, and my family wants me to speak at his funeral on Saturday. He was admired in town, but at home he "
    "drank, and I do not want to pretend. Could you write five minutes that comfort my mother and stay true?"
)
RETOLD = (
    "My father passed away, and my family wants me to speak at his funeral on Sunday. Could you write five minutes that "
    "comfort my mother and are true? He was admired in town, but at home he drank, and I do not want to pretend."
)
OTHER = (
    "I run a small bakery in Leeds, and one of my suppliers has raised prices twice. Help me with a firm letter to him."
)


@st.composite
def rows(draw: st.DrawFn, most: int = 40) -> Vectors:
    """Rows of length 1, dense or sparse; many are alike, some equal; the sparse ones have columns that share a bucket."""
    n = draw(st.integers(0, most))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    width = draw(st.integers(1, 12))
    kinds = rng.standard_normal((max(1, n // 4), width))
    dense = kinds[rng.integers(len(kinds), size=n)] + draw(st.sampled_from([0.0, 0.2, 0.5])) * rng.standard_normal(
        (n, width)
    )
    if draw(st.booleans()):
        dense *= rng.random(dense.shape) < 0.7  # which leaves rows of zeros too
    dense /= np.maximum(np.linalg.norm(dense, axis=1, keepdims=True), 1e-9)
    if draw(st.booleans()):
        return dense.astype(np.float32)
    spread = rng.choice(3 * similarity._BUCKETS, size=width, replace=False)
    spread[: width // 2] = spread[0] + similarity._BUCKETS * np.arange(width // 2)
    wide = np.zeros((n, 20 * similarity._BUCKETS), np.float32)
    np.add.at(wide, (slice(None), spread), dense.astype(np.float32))
    wide /= np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-9)
    return sparse.csr_array(wide)


def all_cosines(vectors: Vectors) -> NDArray[np.float64]:
    """The way that needs no care: every pair, in float64."""
    dense = np.asarray(vectors.toarray() if sparse.issparse(vectors) else vectors, dtype=np.float64)
    cosines: NDArray[np.float64] = dense @ dense.T
    return cosines


def brute_force(cosines: NDArray[np.float64], threshold: float) -> list[int | None]:
    """For each row, taken one after the other, the nearest of those kept that it repeats."""
    kept: list[int] = []
    nearest: list[int | None] = []
    for row in range(len(cosines)):
        near = [other for other in kept if cosines[row, other] >= threshold - similarity._ROUNDING]
        nearest.append(max(near, key=lambda other: (round(cosines[row, other], 9), -other), default=None))
        if not near:
            kept.append(row)
    return nearest


thresholds = st.sampled_from([0.3, 0.8, 0.95, 1.0])


@pytest.fixture(params=[(1024, 8192, 8192), (3, 5, 2)], ids=["one block", "many blocks"])
def _blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in zip(("_BLOCK", "_WIDE_BLOCK", "_EXACT_BLOCK"), request.param, strict=True):
        monkeypatch.setattr(similarity, name, size)


@pytest.mark.usefixtures("_blocks")
class TestExact:
    """What is found is what a comparison of every pair finds, neither more nor less, whatever the size of a block."""

    @given(rows(), thresholds)
    @example(np.zeros((0, 4), np.float32), 0.8)
    def test_all_pairs_from_the_threshold_on_are_found_once(self, vectors: Vectors, threshold: float) -> None:
        """The same pairs, each with its cosine and with the earlier row first."""
        cosines = all_cosines(vectors)
        found = {(i, j): cosine for i, j, cosine in near_duplicates(vectors, threshold)}
        pairs = combinations(range(len(cosines)), 2)
        assert found.keys() == {(i, j) for i, j in pairs if cosines[i, j] >= threshold - similarity._ROUNDING}
        assert all(abs(cosine - min(1.0, cosines[pair])) < 1e-9 for pair, cosine in found.items())
        assert len(found) == sum(1 for _ in near_duplicates(vectors, threshold))

    @given(rows(), thresholds, st.lists(st.integers(0, 40), max_size=6))
    def test_the_index_keeps_what_repeats_nothing_kept_and_names_the_nearest(
        self, vectors: Vectors, threshold: float, cuts: list[int]
    ) -> None:
        """As if each row were compared with all that were kept before it, however the rows are spread over calls."""
        index = NearDuplicates(threshold)
        n = vectors.shape[0]
        edges = [0, *sorted(min(cut, n) for cut in cuts), n]
        matches: list[Match | None] = []
        for start, stop in pairwise(edges):
            matches += index.add([str(row) for row in range(start, stop)], vectors[start:stop])
        cosines = all_cosines(vectors)
        expected = brute_force(cosines, threshold)
        assert [match is None for match in matches] == [other is None for other in expected]
        assert len(index) == expected.count(None)
        for row, (match, other) in enumerate(zip(matches, expected, strict=True)):
            if match is not None and other is not None:
                assert expected[int(match.id)] is None, "only what is kept is named"
                assert abs(match.cosine - min(1.0, cosines[row, other])) < 1e-9

    @given(rows())
    def test_diversity_is_one_less_the_mean_cosine(self, vectors: Vectors) -> None:
        """The sum over rows gives what the mean over all pairs gives."""
        cosines = all_cosines(vectors)
        n = len(cosines)
        if n < 2:
            with pytest.raises(ValueError, match=f"at least 2 rows, got {n}"):
                diversity(vectors)
            return
        assert diversity(vectors) == pytest.approx(1 - cosines[np.triu_indices(n, 1)].mean(), abs=1e-6)


async def test_a_retelling_is_found_at_the_default_threshold_and_another_story_is_not() -> None:
    """Some other words, another day, another order: a near-duplicate. The same words in the index, in another call."""
    index = NearDuplicates(0.8)
    assert index.add(["story", "other"], await Hashing().embed([STORY, OTHER])) == [None, None]
    again, retold = index.add(["again", "retold"], await Hashing().embed([STORY, RETOLD]))
    assert again == Match("story", 1.0)
    assert retold is not None
    assert retold.id == "story"
    assert 0.8 <= retold.cosine < 1


@pytest.mark.parametrize("text", ["?!", " ", "。。", "I", "同じ話"])
async def test_a_text_without_words_is_like_its_repetition(text: str) -> None:
    """No text is a row of zeros, which would be like nothing, not even itself."""
    vectors = await Hashing().embed([text, text, STORY])
    assert list(near_duplicates(vectors, 1.0)) == [(0, 1, 1.0)]


async def test_the_same_text_has_the_same_row_in_any_company() -> None:
    """Nothing is learned from the other texts, so that what was embedded before stays comparable."""
    alone = await Hashing().embed([STORY])
    among = await Hashing().embed([OTHER, STORY, RETOLD])
    assert (alone != among[[1]]).nnz == 0
    assert (await Hashing().embed([])).shape == (0, alone.shape[1])


@pytest.mark.parametrize("threshold", [0.0, -0.1, 1.01, float("nan")])
def test_a_threshold_out_of_bounds_is_refused(threshold: float) -> None:
    """By the index and by the search alike, before anything is compared."""
    with pytest.raises(ValueError, match=r"threshold must be in \(0, 1\], got"):
        NearDuplicates(threshold)
    with pytest.raises(ValueError, match=r"threshold must be in \(0, 1\], got"):
        near_duplicates(np.eye(2, dtype=np.float32), threshold)


def test_rows_of_another_embedding_are_refused() -> None:
    """Rows of another width or kind say nothing about those held."""
    index = NearDuplicates(0.8)
    index.add(["a"], np.eye(1, 3, dtype=np.float32))
    for others in (np.eye(1, 4, dtype=np.float32), sparse.csr_array(np.eye(1, 3, dtype=np.float32))):
        with pytest.raises(ValueError, match="rows of one embedding are expected, 3 wide"):
            index.add(["b"], others)
    with pytest.raises(ValueError, match="got 2 ids and 1 rows"):
        index.add(["b", "c"], np.eye(1, 3, dtype=np.float32))


@pytest.mark.parametrize("calls", [[3], [2, 1], [1, 1, 1]])
def test_of_two_that_are_as_near_the_earlier_is_named(calls: list[int]) -> None:
    """In one call and over several."""
    half = 0.5**0.5
    vectors = np.array([[1, 0], [0, 1], [half, half]], np.float32)
    index = NearDuplicates(0.7)
    matches: list[Match | None] = []
    for count in calls:
        start = len(matches)
        matches += index.add(["first", "second", "both"][start : start + count], vectors[start : start + count])
    assert matches == [None, None, Match("first", pytest.approx(half))]
