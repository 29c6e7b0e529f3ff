"""A query loop that goes on while a pod is killed, and the count of its calls that failed. Used by story.py."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vectorfleet import CollectionInfo, VectorFleetError

Ask = Callable[[NDArray[np.float32]], int]  # one query -> the number of hits


@dataclass
class Tally:
    """What became of the calls."""

    calls: int = 0
    failures: list[str] = field(default_factory=list)
    slowest: float = 0.0  # seconds


class QueryLoop:
    """Asks queries from several threads until it is stopped; a with block. `ask` raises where a call fails.

    An answer with fewer hits than `expected` counts as a failure: a short answer must not pass for a whole one.
    """

    def __init__(self, ask: Ask, queries: NDArray[np.float32], expected: int, threads: int = 4) -> None:
        self._ask = ask
        self._queries = queries
        self._expected = expected
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(threads)]
        self.tally = Tally()

    def __enter__(self) -> QueryLoop:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *problem: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    @property
    def calls(self) -> int:
        """Calls that have ended so far."""
        with self._lock:
            return self.tally.calls

    def _run(self, first: int) -> None:
        number = first
        while not self._stop.is_set():
            began = time.perf_counter()
            problem = self._once(self._queries[number % len(self._queries)])
            number += len(self._threads)
            with self._lock:
                self.tally.calls += 1
                self.tally.slowest = max(self.tally.slowest, time.perf_counter() - began)
                if problem:
                    self.tally.failures.append(problem)

    def _once(self, query: NDArray[np.float32]) -> str:
        try:
            hits = self._ask(query)
        except VectorFleetError as error:
            return f"{type(error).__name__}: {error}"
        return "" if hits == self._expected else f"{hits} hits instead of {self._expected}"


def victim(info: CollectionInfo) -> str:
    """The node whose loss hurts most: the leader of the first shard that has one."""
    leaders = [copy.node for shard in info.shards for copy in shard.replicas if copy.leader]
    return leaders[0] if leaders else info.shards[0].replicas[0].node
