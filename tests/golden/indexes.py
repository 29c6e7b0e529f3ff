"""Indexes over the data sets, built by the product's engine once and kept by what they are made of: vectors, code."""

from __future__ import annotations

import hashlib
import inspect
import time
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Final

import numpy as np
import pyarrow as pa

from tests.golden.datasets import CACHE, Dataset
from vectorfleet.schema import IndexKind
from vectorfleet_node.engine import approximate, encoding, exact, hnsw, pq
from vectorfleet_node.engine.cpu import CpuEngine
from vectorfleet_node.engine.port import Index
from vectorfleet_node.shard.view import Key, RowBlock

_BUILDERS: Final[dict[IndexKind, tuple[Any, ...]]] = {
    IndexKind.EXACT: (exact,),
    IndexKind.HNSW: (hnsw.build, approximate.fill, encoding),
    IndexKind.HNSW_INT8: (hnsw.build, approximate.fill, encoding),
    IndexKind.PQ: (pq.build, approximate.fill, encoding),
}


@dataclass(frozen=True)
class View:
    """A shard of one sealed segment."""

    blocks: tuple[RowBlock, ...]
    position: int = 1

    def locate(self, keys: list[Key]) -> list[tuple[int, int] | None]:
        """Not asked by searches."""
        raise NotImplementedError


def view_of(dataset: Dataset, kind: IndexKind) -> View:
    """The data set under an index of that kind; builds it when the cache has none."""
    columns = {"key": pa.array([str(row) for row in range(len(dataset.vectors))])}
    columns |= {name: pa.array(values) for name, values in dataset.fields.items()}
    block = RowBlock(
        rows=pa.table({name: columns[name] for name in ("key", *(field.name for field in dataset.schema.fields))}),
        vectors={"default": dataset.vectors},
        indexes={"default": _index(dataset, kind)},
        live=np.ones(len(dataset.vectors), np.bool_),
        sealed=True,
    )
    return View((block,))


def _index(dataset: Dataset, kind: IndexKind) -> Index:
    metric = dataset.schema.vectors[0].metric
    made_of = f"{dataset.digest} {kind} {_code(kind)} {version('faiss-cpu')}"
    path = CACHE / "golden" / f"index-{hashlib.sha256(made_of.encode()).hexdigest()[:16]}"
    if not path.is_file():
        began, partial = time.monotonic(), path.with_suffix(".partial")
        CpuEngine().build(kind, dataset.vectors, metric, partial)
        partial.replace(path)
        print(f"{dataset.name}: {kind} built in {time.monotonic() - began:.0f} s, {path.stat().st_size >> 20} MiB")
    return CpuEngine().load(kind, dataset.vectors, metric, path)


def _code(kind: IndexKind) -> str:
    """What builds that kind: another one makes other indexes."""
    source = "".join(map(inspect.getsource, _BUILDERS[kind]))
    return hashlib.sha256(f"{source}{hnsw.PARAMETERS}".encode()).hexdigest()
