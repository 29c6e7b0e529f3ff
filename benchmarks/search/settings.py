"""How much of everything each part measures: one value per scale, committed, so that two runs mean the same.

FULL is what the published figures come from, QUICK the same shapes smaller (two cores, ten minutes in all), SMOKE only
shows that everything runs. `__main__` picks one; a few fields can be told on the command line.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

WANTED: Final = 0.95  # recall that everything is tuned to
BAND: Final = 0.005  # above it, at most, to be compared
HIGHEST: Final = 0.98  # that everything is tuned to, where somebody finds more than WANTED with the least effort
K: Final = 10
LIMIT_MS: Final = 10.0  # of p99, where the load that a peer bears is read off
PEERS: Final = ("vectorfleet", "pgvector", "weaviate", "milvus-lite", "chroma", "lancedb", "qdrant-edge", "faiss")


@dataclass(frozen=True)
class Scale:
    """Of one run. seconds: of one turn at one load. rounds: turns whose median counts.

    datasets: of `peers`; `synthetic` has `rows` x `dimensions`. clients: that ask at once.
    wide: dimensions of `openloop`, whose hits are `wide_k`; rates: queries a second that arrive there.
    batch: queries of one request, where requests have several. sizes: rows that `growth` grows to.
    minutes: of writing, `write_rows` a second; pause: after so many seconds it rests until all is sealed, 0: never.
    """

    name: str
    rows: int
    dimensions: int
    queries: int
    rounds: int
    seconds: float
    datasets: tuple[str, ...]
    rates: tuple[int, ...]
    sizes: tuple[int, ...]
    minutes: float
    pause: float
    peers: tuple[str, ...] = PEERS
    clients: tuple[int, ...] = (1, 16)
    wide: int = 1024
    wide_k: int = 100
    batch: int = 64
    write_rows: int = 1000
    seed: int = 1


FULL: Final = Scale(
    name="full",
    rows=100_000,
    dimensions=768,
    queries=2000,
    rounds=5,
    seconds=5.0,
    datasets=("synthetic", "glove", "minilm"),
    rates=(100, 200, 300, 400, 500, 600, 800, 1000, 1250, 1500, 2000, 2500),
    sizes=(10_000, 100_000),
    minutes=5.0,
    pause=0.0,
)
QUICK: Final = Scale(
    name="quick",
    rows=10_000,
    dimensions=768,
    queries=300,
    rounds=3,
    seconds=1.0,
    datasets=("synthetic",),
    rates=(200, 400, 800, 1600),
    sizes=(5_000, 20_000),
    minutes=1.0,
    pause=4.0,
)
SMOKE: Final = Scale(
    name="smoke",
    rows=600,
    dimensions=32,
    queries=40,
    rounds=1,
    seconds=0.2,
    datasets=("synthetic",),
    rates=(50, 100),
    sizes=(300,),
    minutes=0.05,
    pause=0.0,
    peers=("vectorfleet", "faiss"),
    wide=48,
    wide_k=20,
    batch=8,
    write_rows=100,
)
