"""Exact search against HNSW on clustered vectors: queries a second, latency and recall, with and without a filter.

Run it by hand: `python -m benchmarks.engine --help`, on an idle machine. One thread searches, as in a node.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from vectorfleet.schema import IndexKind, Metric
from vectorfleet_node.engine.cpu import CpuEngine
from vectorfleet_node.engine.port import Floats, Ids, Index, Mask, SearchOptions

CENTRES = 50
INTRINSIC = 26  # dimensions that the rows really vary in; text embeddings have about 20


@dataclass(frozen=True)
class Measured:
    """One way to search: median and 99th percentile of the seconds a query takes, and recall against exact search."""

    name: str
    median: float
    p99: float
    recall: float


def clustered(rng: np.random.Generator, rows: int, dimensions: int) -> Floats:
    """(rows, dimensions) float32 round CENTRES centres in a subspace of INTRINSIC dimensions, and a little noise."""
    basis = rng.standard_normal((INTRINSIC, dimensions)) / np.sqrt(INTRINSIC)
    centres = rng.standard_normal((CENTRES, INTRINSIC))
    inner = 0.5 * centres[rng.integers(0, CENTRES, rows)] + rng.standard_normal((rows, INTRINSIC))
    out: Floats = (inner @ basis + 0.01 * rng.standard_normal((rows, dimensions))).astype(np.float32)
    return out


def measure(name: str, index: Index, queries: Floats, k: int, ef: int, allow: Mask | None, truth: Ids) -> Measured:
    """Asks the queries one by one."""
    options = SearchOptions(ef=ef)
    seconds, hits = [], 0
    index.search(queries[:1], k, allow=allow, options=options)
    for query, best in zip(queries, truth, strict=True):
        start = time.perf_counter()
        _, ids = index.search(query[None], k, allow=allow, options=options)
        seconds.append(time.perf_counter() - start)
        hits += len(np.intersect1d(ids[0], best))
    return Measured(name, float(np.median(seconds)), float(np.quantile(seconds, 0.99)), hits / truth.size)


def report(title: str, results: Sequence[Measured], console: Console) -> None:
    """Prints a table."""
    table = Table("index", "queries/s (median)", "median ms", "p99 ms", "recall", title=title)
    for result in results:
        figures = (1 / result.median, result.median * 1e3, result.p99 * 1e3)
        table.add_row(result.name, *(f"{figure:,.2f}" for figure in figures), f"{result.recall:.4f}")
    console.print(table)


def run(vectors: Floats, queries: Floats, arguments: argparse.Namespace, console: Console) -> None:
    """Builds both indexes and measures them, unfiltered and with a random filter."""
    engine, metric, k = CpuEngine(), Metric(arguments.metric), arguments.k
    with TemporaryDirectory() as folder:
        exact = engine.build(IndexKind.EXACT, vectors, metric, Path(folder) / "exact")
        start = time.perf_counter()
        graph = engine.build(IndexKind.HNSW, vectors, metric, Path(folder) / "hnsw")
        console.print(f"HNSW over {len(vectors):,} x {vectors.shape[1]} built in {time.perf_counter() - start:.1f} s")
        for share in (1.0, *arguments.filters):
            allow: NDArray[np.bool_] | None = None
            if share < 1:
                allow = np.random.default_rng(arguments.seed + 1).random(len(vectors)) < share
            _, truth = exact.search(queries, k, allow=allow, options=SearchOptions())
            results = [measure("Exact", exact, queries, k, 0, allow, truth)]
            for ef in (0, *arguments.ef):
                name = f"HNSW ef={ef or 'default'}"
                results.append(measure(name, graph, queries, k, ef, allow, truth))
            report("no filter" if allow is None else f"{share:.0%} of the rows pass", results, console)


def main() -> None:
    """Parses the command line and runs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine", description=__doc__)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--dimensions", type=int, default=384)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--metric", choices=[metric.value for metric in Metric], default=Metric.COSINE.value)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--ef", type=int, nargs="*", default=[64, 400], help="besides the default")
    parser.add_argument("--filters", type=float, nargs="*", default=[0.5, 0.1, 0.01], help="shares of rows that pass")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    everything = clustered(rng, arguments.rows + arguments.queries, arguments.dimensions)
    run(everything[: arguments.rows], everything[arguments.rows :], arguments, Console())


if __name__ == "__main__":
    main()
