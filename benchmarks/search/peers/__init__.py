"""The engines that are compared, each a module of its own, imported only in the worker that runs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Known:
    """Where a peer is: its module here and its class there. own: it is in the product's environment, not the peers'.

    server: it is asked over a socket, as ours is; a library is asked without a network, which favours it.
    go_module: of which its program is built at first, as `benchmarks/programs` pins it.
    """

    module: str
    cls: str
    own: bool = False
    server: bool = True
    go_module: str = ""


KNOWN: Final = {
    "vectorfleet": Known("ours", "VectorFleet", own=True),
    "engine": Known("ours_raw", "RawEngine", own=True, server=False),
    "pgvector": Known("pgvector", "PgVector"),
    "weaviate": Known("weaviate", "Weaviate", own=True, go_module="github.com/weaviate/weaviate"),
    "milvus-lite": Known("milvus", "MilvusLite"),
    "chroma": Known("chroma", "Chroma"),
    "lancedb": Known("lance", "LanceDb", server=False),
    "qdrant-edge": Known("qdrant", "QdrantEdge", server=False),
    "faiss": Known("faiss_raw", "RawFaiss", own=True, server=False),
}


def known(name: str) -> Known:
    """By name, which may have a variant behind a colon: `vectorfleet:HNSW`. ValueError names those that exist."""
    found = KNOWN.get(name.partition(":")[0])
    if found is None:
        raise ValueError(f"there is no peer {name!r}; there are {', '.join(KNOWN)}")
    return found
