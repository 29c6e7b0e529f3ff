"""The data sets of the search benchmarks, laid down as files for the workers: rows, queries, and the right answers.

GloVe and the glosses are those of `tests.golden`, fetched and cached there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.search.measures import Floats, Ids, clustered, nearest, unit
from benchmarks.search.peers.base import ALL
from benchmarks.search.settings import Scale
from demo.errors import DemoError
from tests.golden import datasets


@dataclass(frozen=True)
class Dataset:
    """Unit vectors (rows, d) and (queries, d), float32. percent: (rows,) 0..99 at random, to filter by."""

    name: str
    rows: Floats
    queries: Floats
    percent: Ids


class NotThere(Exception):
    """A data set has to be made first; the message says how."""


def synthetic(scale: Scale, rows: int = 0, dimensions: int = 0) -> Dataset:
    """Clustered rows, as many as the scale says unless told."""
    rows, dimensions = rows or scale.rows, dimensions or scale.dimensions
    made = clustered(scale.seed, rows + scale.queries, dimensions)
    return _dataset("synthetic", made[:rows], made[rows:])


def named(name: str, scale: Scale) -> Dataset:
    """`synthetic`, `glove` or `minilm`. NotThere when one cannot be fetched, or `make demo` has not made it yet."""
    if name == "synthetic":
        return synthetic(scale)
    try:
        found = datasets.glove() if name == "glove" else datasets.minilm()
    except DemoError as error:
        raise NotThere(f"{name}: {error}") from None
    if found is None:
        raise NotThere("the embeddings of the glosses are not in the cache: run `make demo`, which makes them")
    return _dataset(name, unit(found.vectors), unit(found.queries))


def _dataset(name: str, rows: Floats, queries: Floats) -> Dataset:
    return Dataset(name, rows, queries, np.random.default_rng(0).integers(0, ALL, len(rows)))


def lay_down(dataset: Dataset, folder: Path, k: int, belows: Sequence[int] = (ALL,)) -> None:
    """Writes what a worker reads, with the k nearest rows of each query among those whose percent is below each."""
    np.save(folder / "rows.npy", dataset.rows)
    np.save(folder / "queries.npy", dataset.queries)
    np.save(folder / "percent.npy", dataset.percent)
    for below in belows:
        places = np.flatnonzero(dataset.percent < below)
        np.save(folder / f"truth-{below}.npy", places[nearest(dataset.rows[places], dataset.queries, k)])
