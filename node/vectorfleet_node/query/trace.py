"""How a shard was searched, for `explain`: filled by `search`, put on the wire by the API layer.

Kept beside the search instead of in its result, so that who does not ask pays for a few looks at the clock and no more.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from vectorfleet.schema import IndexKind


@dataclass(frozen=True)
class BlockTrace:
    """One block. allowed: rows that live and pass the filter; with none it was not searched. Times in nanoseconds.

    plan: how its index looked, for humans.
    """

    rows: int
    live: int
    allowed: int
    sealed: bool
    index: IndexKind
    candidates: int
    filter_ns: int
    engine_ns: int
    plan: str


@dataclass
class ShardTrace:
    """One search of one shard, all queries of the call together."""

    blocks: list[BlockTrace] = field(default_factory=list)
    rank_ns: int = 0
    gather_ns: int = 0
