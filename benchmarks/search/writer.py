"""Rows written at a steady rate while a server answers, and what its metrics say happened. Used by `mixed`."""

from __future__ import annotations

import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from benchmarks.search.measures import Floats
from benchmarks.search.peers.base import NAME
from vectorfleet import Client

_BATCH: Final = 100
_FLUSHED: Final = "vectorfleet_node_flush_bytes_total"
_MERGES: Final = "vectorfleet_node_compactions_total"
_LOOK: Final = 0.5  # seconds between two looks at the metrics
_REST: Final = 3.0  # seconds without a write after which a shard has sealed what came


@dataclass
class Happened:
    """seals: looks at which more had been flushed than at the one before, so at least as many flushes.

    merges: by the server's counter. slowest: seconds until a batch was acknowledged.
    """

    rows: int = 0
    seals: int = 0
    merges: int = 0
    slowest: float = 0.0


def totals(text: str) -> dict[str, float]:
    """Sums over all labels, by name, of metrics in Prometheus' text format."""
    sums: dict[str, float] = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            key = name.partition("{")[0]
            sums[key] = sums.get(key, 0.0) + float(value)
    return sums


class Writer:
    """Writes `rows` under keys from `first` on, over and over, until stopped. pause: see `settings.Scale`.

    A write or a look that failed is raised when it is left: figures beside a dead writer mean nothing.
    """

    def __init__(self, address: str, metrics: int, rows: Floats, first: int, rate: int, pause: float) -> None:
        self._address, self._metrics = address, f"http://127.0.0.1:{metrics}/metrics"
        self._rows, self._first, self._rate, self._pause = rows, first, rate, pause
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(2)
        self.happened = Happened()

    def __enter__(self) -> Writer:
        self._work = [self._pool.submit(self._write), self._pool.submit(self._watch)]
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._pool.shutdown()
        for work in self._work:
            work.result()

    def _write(self) -> None:
        """A batch each `_BATCH / rate` seconds; one that is late is followed at once by the next."""
        with Client(self._address, timeout=120.0) as client:
            began = rested = time.perf_counter()
            while not self._stop.is_set():
                if self._pause and time.perf_counter() - rested > self._pause:
                    self._stop.wait(_REST)
                    began += _REST
                    rested = time.perf_counter()
                due = began + self.happened.rows / self._rate
                self._stop.wait(max(0.0, due - time.perf_counter()))
                self._one(client)

    def _one(self, client: Client) -> None:
        start = self.happened.rows % (len(self._rows) - _BATCH + 1)
        keys = range(self._first + self.happened.rows, self._first + self.happened.rows + _BATCH)
        sent = time.perf_counter()
        fields = {"percent": [0] * _BATCH}
        client.upsert(NAME, list(keys), self._rows[start : start + _BATCH], fields=fields)
        self.happened.slowest = max(self.happened.slowest, time.perf_counter() - sent)
        self.happened.rows += _BATCH

    def _watch(self) -> None:
        first = before = self._look()
        while not self._stop.wait(_LOOK):
            now = self._look()
            self.happened.seals += now.get(_FLUSHED, 0) > before.get(_FLUSHED, 0)
            before = now
        self.happened.merges = int(before.get(_MERGES, 0) - first.get(_MERGES, 0))

    def _look(self) -> dict[str, float]:
        with urllib.request.urlopen(self._metrics, timeout=60) as answer:  # noqa: S310 - this machine's own server
            return totals(answer.read().decode())
