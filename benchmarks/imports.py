"""The rate of an import beside that of upserts: `python -m benchmarks.imports`. Needs an idle machine.

The same rows go into a fresh `vectorfleet serve` each time, in turns: as an import, as a load (upserts of 2,000 rows),
and some of them one row a request. An import returns when its segments, indexes included, are stored; upserts return
when they are in the log, and their segments come later. So a load has two rates: until it is acknowledged, and until
everything is in segments and the server is done.
"""

from __future__ import annotations

import argparse
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console

from benchmarks.search import processes
from benchmarks.storage.figures import RESULTS, Figure, Report, keep, median, show
from vectorfleet import Client, open_source

_CENTRES, _SPREAD, _SEED = 500, 0.4, 1
_ROW_WISE_ROWS, _ROW_WISE_CALLERS = 3000, 16
_IDLE_LOOKS, _LOOK_SECONDS, _IDLE_CPU = 3, 0.5, 0.05


@dataclass(frozen=True)
class Taken:
    """How long one way took. acknowledged, done: seconds until it returned, and until the server had nothing to do.

    cpu: seconds of the server's processes, from when it was ready.
    """

    acknowledged: float
    done: float
    cpu: float


def write_rows(path: Path, rows: int, dimensions: int) -> None:
    """Clustered vectors with a text field."""
    random = np.random.default_rng(_SEED)
    centres = random.standard_normal((_CENTRES, dimensions), dtype=np.float32)
    noise = _SPREAD * random.standard_normal((rows, dimensions), dtype=np.float32)
    vectors = pa.FixedSizeListArray.from_arrays(
        pa.array((centres[random.integers(0, _CENTRES, rows)] + noise).ravel()), dimensions
    )
    languages = pa.array(["en" if row % 3 else "de" for row in range(rows)])
    pq.write_table(pa.table({"id": np.arange(rows), "vector": vectors, "lang": languages}), path)


class Server:
    """A server in a process of its own. Use it as a context."""

    def __init__(self, folder: Path) -> None:
        program = "from vectorfleet.cli import main; main()"
        self._log = (folder / "serve.log").open("w+")
        self._process = subprocess.Popen(
            [sys.executable, "-c", program, "serve", "--data", str(folder / "data"), "--port", "0"], stderr=self._log
        )

    def __enter__(self) -> Server:
        deadline = time.monotonic() + 60
        while (found := re.search(r"is serving .* on (\S+)", Path(self._log.name).read_text())) is None:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the server does not start: {Path(self._log.name).read_text()}")
            time.sleep(0.1)
        self.address = found[1]
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGINT)
        self._process.wait(60)
        self._log.close()

    def cpu(self) -> float:
        """Seconds of CPU of the server, of the processes it has now, and of those it had."""
        return processes.cpu(processes.tree(self._process.pid), ended=True)

    def settle(self, client: Client, collection: str) -> float:
        """Returns when all rows are in segments and the server has been idle for a while; when that began."""
        idle, began = 0, time.monotonic()
        while idle < _IDLE_LOOKS:
            before, looked = self.cpu(), time.monotonic()
            time.sleep(_LOOK_SECONDS)
            if client.describe(collection).sealed and self.cpu() - before < _IDLE_CPU * _LOOK_SECONDS:
                began, idle = (looked, 1) if not idle else (began, idle + 1)
            else:
                idle = 0
        return began


@contextmanager
def _serving(index: str, dimensions: int, shards: int) -> Iterator[tuple[Server, Client]]:
    with (
        tempfile.TemporaryDirectory(dir=Path.cwd()) as folder,
        Server(Path(folder)) as server,
        Client(server.address) as client,
    ):
        client.create_collection("rows", dimensions, index=index, fields={"lang": "String"}, shards=shards)
        yield server, client


def measure(way: str, path: Path, index: str, dimensions: int, shards: int) -> Taken:
    """One way (`import`, `load` or `rows`) on a fresh server."""
    with _serving(index, dimensions, shards) as (server, client):
        cpu, began = server.cpu(), time.monotonic()
        if way == "import":
            client.import_rows("rows", open_source(path))
        elif way == "load":
            client.load("rows", open_source(path))
        else:
            _row_wise(client, path)
        acknowledged = time.monotonic()
        done = server.settle(client, "rows")
        return Taken(acknowledged - began, max(acknowledged, done) - began, server.cpu() - cpu)


def _row_wise(client: Client, path: Path) -> None:
    batch = next(open_source(path).batches(_ROW_WISE_ROWS))

    def upsert(row: int) -> None:
        key, vector = str(batch.keys[row]), batch.vectors["default"][row : row + 1]
        client.upsert("rows", [key], vector, fields={"lang": batch.fields["lang"][row : row + 1]})

    with ThreadPoolExecutor(_ROW_WISE_CALLERS) as pool:
        list(pool.map(upsert, range(len(batch.keys))))


def run(rows: int, dimensions: int, shards: int, index: str, rounds: int) -> Report:
    """All rounds; medians."""
    taken: dict[str, list[Taken]] = {"import": [], "load": [], "rows": []}
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        path = Path(folder) / "rows.parquet"
        write_rows(path, rows, dimensions)
        for _ in range(rounds):
            for way, found in taken.items():
                found.append(measure(way, path, index, dimensions, shards))
    imported, loaded, single = (
        Taken(*(median(values) for values in zip(*((t.acknowledged, t.done, t.cpu) for t in found), strict=True)))
        for found in taken.values()
    )
    singly = min(rows, _ROW_WISE_ROWS) / single.acknowledged
    return Report(
        "rate",
        (
            f"{rows:,} rows x {dimensions} and a text field from Parquet; {shards} shards, index {index}, local folder",
            f"{rounds} rounds in turns, medians; load: upserts of 2,000 rows, 4 at a time",
            f"row-wise: the first {_ROW_WISE_ROWS:,} rows, one a request, {_ROW_WISE_CALLERS} at a time",
        ),
        (
            Figure("import: stored, indexed", rows / imported.acknowledged, "rows/s", singly, "row-wise, acknowledged"),
            Figure("load: acknowledged", rows / loaded.acknowledged, "rows/s", singly, "row-wise, acknowledged"),
            Figure("import: stored, indexed", rows / imported.acknowledged, "rows/s", rows / loaded.done, "load"),
            Figure("import: server idle again", rows / imported.done, "rows/s", rows / loaded.done, "load"),
            Figure("import: CPU of the server", 1e6 * imported.cpu / rows, "us/row", 1e6 * loaded.cpu / rows, "load"),
        ),
        "import",
    )


def main() -> None:
    """Parses the command line and runs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.imports", description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--dimensions", type=int, default=384)
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--index", default="Auto")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the JSON goes")
    arguments = parser.parse_args()
    report = run(arguments.rows, arguments.dimensions, arguments.shards, arguments.index, arguments.rounds)
    show(report, Console())
    keep(report, arguments.results)


if __name__ == "__main__":
    main()
