"""What calls return: plain frozen values, free of protobuf.

Made by replies.py. Scores are higher for the better row, whatever the metric.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vectorfleet.partition import Key


@dataclass(frozen=True)
class Row:
    """One row: its key, the fields asked for (None where null), and its vectors, float32 of shape (dimensions,)."""

    key: Key
    fields: Mapping[str, Any] = field(default_factory=dict)
    vectors: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)


@dataclass(frozen=True)
class Hit:
    """A row that was found. `score` is cosine similarity, dot product or minus the squared L2 distance."""

    key: Key
    score: float
    fields: Mapping[str, Any] = field(default_factory=dict)
    vectors: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)


@dataclass(frozen=True)
class Group:
    """The best rows that have one value of the field that a search groups by; None: those without a value."""

    value: Any
    hits: list[Hit]


@dataclass(frozen=True)
class SegmentExplanation:
    """How one segment was searched: `allowed` of its `live` rows pass the filter; times in microseconds."""

    rows: int
    live: int
    allowed: int  # none: it was not searched
    sealed: bool  # False: the growing rows
    index: str
    candidates: int  # that its index returned
    filter_us: int
    engine_us: int
    plan: str = ""


@dataclass(frozen=True)
class ShardExplanation:
    """How one shard was searched; times in microseconds, of all `batch_queries` of the engine call but for the wait."""

    shard: int
    node: str
    position: int
    wait_us: int  # until an engine thread of the node was free
    batch_queries: int
    segments: tuple[SegmentExplanation, ...]
    rank_us: int
    gather_us: int


@dataclass(frozen=True)
class SearchResult:
    """`hits[i]` are the rows found for the i-th query, best first: k of them, fewer where fewer rows match.

    With `group_by`, `groups[i]` are the groups found for it, the one with the best row first, and `hits[i]` the rows of
    all of them one after the other.
    """

    hits: list[list[Hit]]
    indexes: tuple[str, ...] = ()  # kinds of index that answered
    missing_shards: tuple[int, ...] = ()  # only with allow_partial
    groups: list[list[Group]] = field(default_factory=list)  # only with group_by
    explanation: tuple[ShardExplanation, ...] = ()  # only with explain; per request that the search became


@dataclass(frozen=True)
class WriteResult:
    """An acknowledged, durable write. `rows`: how many it wrote; of a delete by filter how many it deleted."""

    rows: int
    request_id: str
    positions: Mapping[int, int]  # shard -> log position after this write
    rows_known: bool = True  # False: `rows` lacks what an earlier attempt of this delete by filter deleted


@dataclass(frozen=True)
class LoadResult:
    """A finished load: rows written by it, and the time it took."""

    rows: int
    seconds: float


@dataclass(frozen=True)
class ImportResult:
    """A finished import: rows of the source, how many of them earlier runs had stored, and the time it took."""

    rows: int
    repeated: int
    seconds: float


@dataclass(frozen=True)
class VectorInfo:
    """One named vector of a collection."""

    name: str
    dimensions: int
    metric: str
    index: str
    quantization: str = "Auto"


@dataclass(frozen=True)
class FieldInfo:
    """One payload field of a collection."""

    name: str
    type: str
    indexed: bool


@dataclass(frozen=True)
class IndexInfo:
    """Segments whose `vector` has the same kind of index for the same reason."""

    vector: str
    kind: str
    reason: str
    segments: int
    rows: int


@dataclass(frozen=True)
class ReplicaInfo:
    """One copy of a shard, as the answering node sees it; of its live `rows`, `growing_rows` are not sealed yet."""

    node: str
    reachable: bool
    ready: bool
    leader: bool
    position: int
    rows: int
    growing_rows: int
    indexes: tuple[str, ...]
    message: str  # why it is not ready
    quarantined: int = 0  # damaged files that its node set aside
    segments: int = 0
    bytes: int = 0  # of the segments' files
    live_bytes: int = 0  # of these, what is for live rows
    compaction: str = ""  # what the leader merges or indexes now
    index_details: tuple[IndexInfo, ...] = ()


@dataclass(frozen=True)
class ShardInfo:
    """One shard and its copies."""

    id: int
    replicas: tuple[ReplicaInfo, ...]


@dataclass(frozen=True)
class CollectionInfo:
    """Schema of a collection and state of its shards."""

    name: str
    uid: str
    key_type: str  # String | Int64
    vectors: tuple[VectorInfo, ...]
    fields: tuple[FieldInfo, ...]
    shards: tuple[ShardInfo, ...]

    @property
    def rows(self) -> int:
        """Live rows, by the leader of each shard, or the copy that has seen most."""
        return sum(
            max(shard.replicas, key=lambda copy: (copy.leader, copy.position)).rows
            for shard in self.shards
            if shard.replicas
        )

    @property
    def sealed(self) -> bool:
        """Whether every reachable copy has all its rows in sealed, indexed segments, and every shard such a copy."""
        return all(
            any(copy.reachable for copy in shard.replicas)
            and all(copy.ready and not copy.growing_rows for copy in shard.replicas if copy.reachable)
            for shard in self.shards
        )
