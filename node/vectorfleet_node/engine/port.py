"""The engine port: what a shard asks of a search engine. Numpy in, numpy out; scores where higher is better.

Implementations stand beside this module; `shard` builds and loads indexes through it and `query` searches them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from contextlib import AbstractAsyncContextManager
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
    """How hard to look.

    exact: forbids approximation. ef: the size of the candidate list (of a walk, or that codes nominate); 0: the index
    chooses from k. target_recall: choose so that about this share of the best k is found; 0: the default effort, 1: as
    `exact`. At most one of them is given.
    """

    exact: bool = False
    ef: int = 0
    target_recall: float = 0.0


@dataclass
class EngineTrace:
    """plan: how an index answered one call, for humans: "graph, ef 283". `Index.search` fills it."""

    plan: str = ""


@dataclass(frozen=True)
class Choice:
    """A kind of index for a segment. reason: half a sentence for humans, the same for all segments it holds for."""

    kind: IndexKind
    reason: str


class BuildFailed(Exception):
    """An index could not be built; the message says over what, and why. Trying again may help."""


class BuildCancelled(BuildFailed):
    """Nobody wanted the index any more."""


@dataclass(frozen=True)
class Build:
    """An index to be built: its kind and the shape of its vectors."""

    kind: IndexKind
    rows: int
    dimensions: int


@dataclass(frozen=True)
class BuildJob:
    """A build that may take hours, for somebody who may stop waiting.

    vectors: the file that begins with the vectors. cancelled: whether the index is not wanted any more. progress: told
    (rows done, rows in all). Both are called often, in the thread that builds.
    """

    vectors: Path
    cancelled: Callable[[], bool]
    progress: Callable[[int, int], None] = lambda _, __: None


class Index(Protocol):
    """A searchable, immutable set of vectors numbered 0..rows-1. Safe to search from several threads."""

    @property
    def kind(self) -> IndexKind:
        """What it is."""

    @property
    def rows(self) -> int:
        """How many vectors it holds."""

    def search(
        self, queries: Floats, k: int, *, allow: Mask | None, options: SearchOptions, trace: EngineTrace | None = None
    ) -> tuple[Floats, Ids]:
        """The best k rows for each query.

        Args:
            queries: (n, dimensions) float32, C-contiguous, finite.
            k: at least 1.
            allow: (rows,) bool, only rows that are True may be returned; None: all of them.
            options: see SearchOptions.
            trace: told how it was done, where one wants to know.

        Returns:
            (n, w) float32 scores, descending (cosine similarity, dot product or minus squared L2 distance), and
            (n, w) int64 row numbers; w is k, or more where rows that are known tie with the k-th, so that the caller
            can order these by key. Where there are fewer the rest is -inf and -1.
        """


class Engine(Protocol):
    """Builds and opens indexes."""

    def choose(self, vector: VectorSchema, rows: int, kinds: Collection[IndexKind], *, quick: bool = False) -> Choice:
        """The kind to build over `rows` vectors of that schema. Pure: the same on every node of one version.

        kinds: those that the shard's format can name (`storage.format.index_kinds`); Exact and HNSW are among them.
        quick: one that is built within seconds, for a segment that writes wait for; it gets the other kind later.
        ValueError: this engine has not what the schema asks for.
        """

    def turn(self, builds: Iterable[Build]) -> AbstractAsyncContextManager[object]:
        """To be held, on the event loop, around builds with a job: on a node one heavy build runs at a time.

        Whoever others wait for, as writes do for a flush, builds a quick index instead.
        """

    def build(
        self, kind: IndexKind, vectors: Floats, metric: Metric, artefact: Path, job: BuildJob | None = None
    ) -> Index:
        """Builds an index over raw (rows, dimensions) float32 `vectors` and writes what `load` needs to `artefact`.

        Slow: call it in a thread. The vectors stay in use for as long as the index is. job: lets an engine build in a
        process of its own, with BuildCancelled when it is told so; BuildFailed.
        """

    def load(self, kind: IndexKind, vectors: Floats, metric: Metric, artefact: Path, size: int | None = None) -> Index:
        """Opens an index from its artefact and the same raw vectors (perhaps a read-only memory map). Never builds.

        size: bytes of the artefact at the beginning of the file, None for all of it. ValueError when it is not an
        index of that kind over these vectors.
        """
