"""One peer in a process of its own: commands as JSON lines on stdin, one JSON line for each on stdout.

`__main__` starts it with the Python of the environment that has the peer. Commands: load; ask (effort, first, count,
clients), whose answer has what was found and the seconds of each query; memory; the end of stdin closes the peer.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.search.measures import Floats
from benchmarks.search.peers import PEERS, Peer


def resident(pid: int | str) -> int:
    """Bytes of resident memory."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))


def _load(peer: Peer, rows: Floats) -> dict[str, Any]:
    start = time.perf_counter()
    peer.load(rows)
    return {"seconds": time.perf_counter() - start}


def ask(peer: Peer, queries: Floats, k: int, effort: int, clients: int) -> dict[str, Any]:
    """Asks all queries with `clients` threads, each sending its next one when the last is answered."""

    def one(query: Floats) -> tuple[list[int], float]:
        start = time.perf_counter()
        found = peer.search(query, k, effort)
        return found, time.perf_counter() - start

    with ThreadPoolExecutor(clients) as pool:
        start = time.perf_counter()
        answers = list(pool.map(one, queries))
        wall = time.perf_counter() - start
    return {"found": [found for found, _ in answers], "seconds": [took for _, took in answers], "wall": wall}


def _commands(peer: Peer, rows: Floats, queries: Floats) -> Iterator[dict[str, Any]]:
    does: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
        "load": lambda _: _load(peer, rows),
        "ask": lambda told: ask(peer, queries, told["k"], told["effort"], told["clients"]),
        "memory": lambda _: {"bytes": resident(peer.pid or "self")},
    }
    for line in sys.stdin:
        told = json.loads(line)
        yield does[told["do"]](told)


def main() -> None:
    """Arguments: the peer's name, and the folder that holds rows.npy and queries.npy."""
    name, folder = sys.argv[1], Path(sys.argv[2])
    own = folder / name
    own.mkdir()
    peer = PEERS[name](own)
    try:
        for answer in _commands(peer, np.load(folder / "rows.npy", mmap_mode="r"), np.load(folder / "queries.npy")):
            print(json.dumps(answer), flush=True)
    finally:
        peer.close()


if __name__ == "__main__":
    main()
