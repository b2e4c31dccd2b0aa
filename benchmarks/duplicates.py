"""Near-duplicates: how many are found, how many of those found are some, and how long it takes.

    python -m benchmarks.duplicates [DATA] [--part real|planted|scale] [--model FOLDER]     default of DATA: ../shared/data

real     the 2,892 opening messages of `conflictscope_prompts`: pairs from a cosine of 0.8 on, within a set and a pair of values;
         the nearest are printed side by side, to be read
planted  real openings reworded by known edits, and descriptions of the planted generator that retell one situation: recall, and
         precision at the least (real openings that repeat each other count as found wrongly), at 0.8
scale    100,000 synthetic rows: seconds, and the most memory that the process had

--model: a folder with a sentence-transformers model (all-MiniLM-L6-v2), to be measured beside hashing; needs
`conflictscope[sentence-transformers]`. Without it five minutes; with it ten more on two cores.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import multiprocessing
import re
import resource
import textwrap
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from conflictscope.arena import LOCAL
from conflictscope.generation.similarity import Embedding, Hashing, NearDuplicates, diversity, near_duplicates
from conflictscope.pipeline.models import Models
from conflictscope.planted import Lexicon, facts_of
from conflictscope.planted.invention import Telling, invent
from conflictscope.seeds import derive, uniform
from conflictscope.services import Services
from conflictscope.spec import SimilarityConfig

THRESHOLD = SimilarityConfig().threshold
SETS = ("HHH", "modelspec", "personalprotective")
_SEED = 1
_ROWS = 100_000
_SITUATIONS = 3_000
_SHOWN = 20
_EXCERPT = 900  # characters of each text of a pair that is shown
_COLUMN = 64
_UNLIKE = 0.6  # below that, pairs are not even looked at
_A_CALL = 1_000  # rows that are added to the index at a time
# What people say in other words, without meaning another thing.
_SYNONYMS = {
    "need": "require",
    "help": "assist",
    "want": "would like",
    "create": "put together",
    "write": "draft",
    "make": "produce",
    "show": "demonstrate",
    "use": "employ",
    "using": "employing",
    "get": "obtain",
    "give": "offer",
    "keep": "retain",
    "start": "begin",
    "started": "began",
    "avoid": "steer clear of",
    "explain": "describe",
    "worried": "concerned",
    "important": "crucial",
    "specific": "particular",
    "detailed": "thorough",
    "clear": "plain",
    "current": "present",
    "recent": "latest",
    "new": "fresh",
    "old": "former",
    "several": "a number of",
    "many": "lots of",
    "about": "regarding",
    "also": "in addition",
    "because": "since",
    "but": "yet",
    "while": "whereas",
    "really": "truly",
    "very": "highly",
    "currently": "at the moment",
    "soon": "before long",
    "quickly": "fast",
    "job": "position",
    "work": "labour",
    "working": "toiling",
    "company": "firm",
    "team": "crew",
    "meeting": "session",
    "plan": "scheme",
    "project": "undertaking",
    "problem": "trouble",
    "issues": "troubles",
    "advice": "guidance",
    "steps": "measures",
    "ways": "means",
    "family": "household",
    "kids": "children",
    "friends": "pals",
    "people": "folks",
    "students": "pupils",
    "school": "academy",
    "tomorrow": "the day after today",
    "please": "kindly",
    "can": "could",
    "should": "ought to",
    "must": "have to",
    "including": "among them",
    "ensure": "make sure",
    "focus": "concentrate",
    "provide": "supply",
    "support": "back",
    "understand": "grasp",
}
_NAMES = ("Aarav", "Brill", "Castellanos", "Dunmore", "Ekwueme", "Fjord", "Grantham", "Hollis", "Iwata", "Jankowski")
_NAME = re.compile(r"(?<=[a-z,] )[A-Z][a-z]+(?: [A-Z][a-z]+)*")
_NUMBER = re.compile(r"\d+")
_WORD = re.compile(r"[A-Za-z]+")
_SENTENCE = re.compile(r"(?<=[.!?])\s+")


def swap_words(text: str, seed: int) -> str:
    """Every word that has a synonym is swapped for it."""

    def swapped(match: re.Match[str]) -> str:
        word = match[0]
        other = _SYNONYMS.get(word.lower(), word)
        return other.capitalize() if word[0].isupper() and other != word else other

    return _WORD.sub(swapped, text)


def reorder(text: str, seed: int) -> str:
    """The sentences in another order."""
    sentences = _SENTENCE.split(text)
    return " ".join(sorted(sentences, key=lambda sentence: derive(seed, "order", sentence)))


def rename(text: str, seed: int) -> str:
    """Other names of people and places, each the same throughout, and other numbers."""
    renamed = _NAME.sub(lambda match: _NAMES[derive(seed, match[0]) % len(_NAMES)], text)
    return _NUMBER.sub(lambda match: str(int(match[0]) + 1 + derive(seed, match[0]) % 9), renamed)


def shorten(text: str, seed: int) -> str:
    """A quarter of the sentences is left out."""
    kept = [sentence for sentence in _SENTENCE.split(text) if uniform(seed, "kept", sentence) > 0.25]
    return " ".join(kept) or text


def all_edits(text: str, seed: int) -> str:
    """Other words, another order, other names."""
    return rename(reorder(swap_words(text, seed), seed), seed)


EDITS: dict[str, Callable[[str, int], str]] = {
    "words": swap_words,
    "order": reorder,
    "names": rename,
    "shorter": shorten,
    "all but shorter": all_edits,
}


def openings(data: Path) -> tuple[list[str], list[str]]:
    """The opening messages, and of each the set and the pair of values that it belongs to."""
    texts, groups = [], []
    for name in SETS:
        with gzip.open(data / "conflictscope_prompts" / f"{name}.prompts.json.gz") as file:
            for scenario, text in json.load(file).items():
                texts.append(text)
                groups.append(f"{name}: " + " and ".join(scenario.split("_")[1:3]))
    return texts, groups


def planted_texts(data: Path, edits: Sequence[str] = tuple(EDITS)) -> tuple[list[str], list[int]]:
    """Texts, and of each a label: those with one label are near-duplicates of each other, and of no others.

    Every fifth opening is there twice: as it is, and reworded by one of the edits; the others once.
    """
    texts, _ = openings(data)
    labels = list(range(len(texts)))
    for turn, original in enumerate(range(0, len(labels), 5)):
        texts.append(EDITS[edits[turn % len(edits)]](texts[original], derive(_SEED, original)))
        labels.append(original)
    return texts, labels


def retold_texts() -> tuple[list[str], list[int]]:
    """The same of the planted generator: 3,000 situations, every fifth of them told twice, each time in words of its own."""
    situations = [invent(derive(_SEED, number), mild=number % 2 == 0) for number in range(_SITUATIONS)]
    labels = [*range(_SITUATIONS), *range(0, _SITUATIONS, 5)]
    texts = [
        Telling(situations[label], derive(_SEED, "telling", turn)).description() for turn, label in enumerate(labels)
    ]
    assert [facts_of(text) for text in texts] == [situations[label] for label in labels]
    return texts, labels


class LocalModel:
    """A model of sentence-transformers, which remembers what it was asked."""

    def __init__(self, folder: Path) -> None:
        self.name = f"{LOCAL}:{folder.name}"
        self._model = Models(Services(), None, Lexicon.of([])).embedding(f"{LOCAL}:{folder.resolve()}")
        self._rows: dict[str, NDArray[np.float32]] = {}

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """A dense row for each text."""
        new = [text for text in dict.fromkeys(texts) if text not in self._rows]
        if new:
            rows = np.array((await self._model.embed(new, input_type="document")).embeddings, np.float32)
            self._rows |= zip(new, rows / np.linalg.norm(rows, axis=1, keepdims=True), strict=True)
        return np.array([self._rows[text] for text in texts])


def real(data: Path, embedding: Embedding) -> None:
    """What is found among real openings, and the nearest pairs."""
    texts, groups = openings(data)
    vectors = asyncio.run(embedding.embed(texts))
    found: list[tuple[float, int, int]] = []
    nearest = -1.0
    repeated, likeness = 0, []
    for group in sorted(set(groups)):
        members = [row for row, other in enumerate(groups) if other == group]
        ours = vectors[members]
        found += [(cosine, members[i], members[j]) for i, j, cosine in near_duplicates(ours, THRESHOLD)]
        nearest = max([nearest, *(cosine for _, _, cosine in near_duplicates(ours, _UNLIKE))])
        index = NearDuplicates(THRESHOLD)
        repeated += len(members) - sum(match is None for match in index.add([texts[row] for row in members], ours))
        likeness.append(diversity(ours))
    print(f"\n{embedding.name}: {len(texts):,} openings in {len(likeness)} pairs of values")
    print(f"  {len(found)} pairs of openings from {THRESHOLD} on; without {repeated} openings there is none")
    print(
        f"  the nearest pair has {nearest:.3f}; diversity within a pair of values: {np.mean(likeness):.2f} on average"
    )
    for cosine, i, j in sorted(found, reverse=True)[:: max(1, len(found) // _SHOWN)][:_SHOWN]:
        print(f"\n  {cosine:.3f}  {groups[i]}")
        columns = [textwrap.wrap(texts[row][:_EXCERPT], _COLUMN) for row in (i, j)]
        for line in range(max(map(len, columns))):
            left, right = (column[line] if line < len(column) else "" for column in columns)
            print(f"  {left:<{_COLUMN}} | {right}")


def planted(data: Path, embedding: Embedding) -> None:
    """Recall and precision of near-duplicates that were planted."""
    print(f"\n{embedding.name}, at {THRESHOLD}")
    print(f"  {'edit':<18}{'planted':>8}{'recall':>8}{'precision':>11}{'lowest decile':>15}{'others, highest':>17}")
    worlds = {edit: planted_texts(data, (edit,)) for edit in EDITS}
    worlds |= {"of each a fifth": planted_texts(data), "retold": retold_texts()}
    for name, (texts, labels) in worlds.items():
        vectors = asyncio.run(embedding.embed(texts))
        originals = {label: row for row, label in reversed(list(enumerate(labels)))}
        truth = {(originals[label], row) for row, label in enumerate(labels) if originals[label] != row}
        others = [cosine for i, j, cosine in near_duplicates(vectors, _UNLIKE) if (i, j) not in truth]
        false = sum(cosine >= THRESHOLD for cosine in others)
        cosines = np.array([1 - diversity(vectors[pair]) for pair in map(list, truth)])
        hits = int((cosines >= THRESHOLD).sum())
        print(
            f"  {name:<18}{len(truth):>8}{hits / len(truth):>8.3f}{hits / max(1, hits + false):>11.3f}"
            f"{np.quantile(cosines, 0.1):>15.2f}{max(others, default=_UNLIKE):>17.2f}"
        )


def scale(data: Path, kind: str) -> str:
    """A row of the table of seconds and memory. One row in a hundred repeats another, nearly."""
    rng = np.random.default_rng(_SEED)
    started = time.perf_counter()
    if kind == "dense":
        dense = rng.standard_normal((_ROWS, 384), dtype=np.float32)
        dense[::100] = dense[1::100] + 0.3 * dense[::100]
        vectors = dense / np.linalg.norm(dense, axis=1, keepdims=True)
    else:
        sentences = [sentence for text in openings(data)[0] for sentence in _SENTENCE.split(text) if len(sentence) > 20]
        drawn = rng.integers(len(sentences), size=(_ROWS, 7))
        drawn[::100, 1:] = drawn[1::100, 1:]
        vectors = asyncio.run(Hashing().embed([" ".join(sentences[number] for number in row) for row in drawn]))
    seconds = [time.perf_counter() - started]

    def timed(work: Callable[[], float]) -> float:
        started = time.perf_counter()
        done = work()
        seconds.append(time.perf_counter() - started)
        return done

    def grown() -> int:
        index = NearDuplicates(THRESHOLD)
        for start in range(0, _ROWS, _A_CALL):
            index.add([str(row) for row in range(start, start + _A_CALL)], vectors[start : start + _A_CALL])
        return len(index)

    pairs = timed(lambda: sum(1 for _ in near_duplicates(vectors, THRESHOLD)))
    held = timed(grown)
    timed(lambda: diversity(vectors))
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux counts in KB
    return f"  {kind:<8}{pairs:>8,}{held:>9,}" + "".join(f"{s:>11.1f}" for s in seconds) + f"{peak_mb:>11,.0f}"


def main() -> None:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.duplicates")
    parser.add_argument("data", nargs="?", type=Path, default=Path("../shared/data"))
    parser.add_argument("--part", choices=["real", "planted", "scale"])
    parser.add_argument("--model", type=Path)
    asked = parser.parse_args()
    embeddings: list[Embedding] = [Hashing(), *([LocalModel(asked.model)] if asked.model else [])]
    for name, part in [("real", real), ("planted", planted)]:
        if asked.part in (None, name):
            for embedding in embeddings:
                part(asked.data, embedding)
    if asked.part in (None, "scale"):
        print(f"\n{_ROWS:,} rows, from {THRESHOLD} on; seconds, and the most MB of a process")
        print(
            f"  {'rows':<8}{'pairs':>8}{'held':>9}{'made':>11}{'all pairs':>11}{'index':>11}{'diversity':>11}{'MB':>11}"
        )
        for kind in ("hashed", "dense"):
            with multiprocessing.get_context("spawn").Pool(1) as fresh:
                print(fresh.apply(scale, (asked.data, kind)), flush=True)


if __name__ == "__main__":
    main()
