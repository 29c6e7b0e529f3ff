"""The engine port: what a shard asks of a search engine. Numpy in, numpy out; scores where higher is better.

Implementations stand beside this module; `shard` builds and loads indexes through it and `query` searches them.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vectorfleet.schema import IndexKind, Metric, VectorSchema

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class SearchOptions:
    """How hard to look. `exact` forbids approximation; `ef` 0 lets the index choose from k."""

    exact: bool = False
    ef: int = 0


@dataclass(frozen=True)
class Choice:
    """A kind of index for a segment. reason: half a sentence for humans, the same for all segments it holds for."""

    kind: IndexKind
    reason: str


class Index(Protocol):
    """A searchable, immutable set of vectors numbered 0..rows-1. Safe to search from several threads."""

    @property
    def kind(self) -> IndexKind:
        """What it is."""

    @property
    def rows(self) -> int:
        """How many vectors it holds."""

    def search(self, queries: Floats, k: int, *, allow: Mask | None, options: SearchOptions) -> tuple[Floats, Ids]:
        """The best k rows for each query.

        Args:
            queries: (n, dimensions) float32, C-contiguous, finite.
            k: at least 1.
            allow: (rows,) bool, only rows that are True may be returned; None: all of them.
            options: see SearchOptions.

        Returns:
            (n, w) float32 scores, descending (cosine similarity, dot product or minus squared L2 distance), and
            (n, w) int64 row numbers; w is k, or more where rows that are known tie with the k-th, so that the caller
            can order these by key. Where there are fewer the rest is -inf and -1.
        """


class Engine(Protocol):
    """Builds and opens indexes."""

    def choose(self, vector: VectorSchema, rows: int, kinds: Collection[IndexKind]) -> Choice:
        """The kind to build over `rows` vectors of that schema. Pure: the same on every node of one version.

        kinds: those that the shard's format can name (`storage.format.index_kinds`); Exact and HNSW are among them.
        ValueError: this engine has not what the schema asks for.
        """

    def build(self, kind: IndexKind, vectors: Floats, metric: Metric, artefact: Path) -> Index:
        """Builds an index over raw (rows, dimensions) float32 `vectors` and writes what `load` needs to `artefact`.

        Slow: call it in a thread. The vectors stay in use for as long as the index is.
        """

    def load(self, kind: IndexKind, vectors: Floats, metric: Metric, artefact: Path, size: int | None = None) -> Index:
        """Opens an index from its artefact and the same raw vectors (perhaps a read-only memory map). Never builds.

        size: bytes of the artefact at the beginning of the file, None for all of it. ValueError when it is not an
        index of that kind over these vectors.
        """
