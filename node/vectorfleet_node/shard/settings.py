"""What `ShardReplica` takes from outside: its clocks, its observers and its settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


class Clock(Protocol):
    """Where time comes from."""

    def monotonic(self) -> float:
        """Seconds that never go back; only differences mean something."""

    def wall(self) -> float:
        """Seconds since the epoch; for the stamps in records, never for safety."""


def _ignore_seconds(_: float) -> None:
    pass


def _ignore() -> None:
    pass


def _ignore_file(_: str, __: str) -> None:
    pass


def _ignore_bytes(_: int) -> None:
    pass


def _ignore_reason(_: str) -> None:
    pass


def _ignore_objects(_: str, __: int) -> None:
    pass


@dataclass(frozen=True)
class Observer:
    """Told what happens, for metrics.

    appended: seconds from sending a record to knowing that it is in the log.
    index_built, index_loaded: one call for each vector index that was built, or opened from an artefact.
    rotten: each file of this node's cache that was found damaged and set aside, and what is wrong with it.
    scrubbed: bytes of open segments that were read again.
    refused: a write that was not let in, and why: memory, queue, store or volume.
    flushed, compacted: bytes of new segment files, once for each flush or merge. (flushed + compacted) / flushed is the
    write amplification.
    reindexed: bytes of new index files, once for each segment whose index was built anew.
    collected: how many objects of a kind (log, manifest, segment, boundary) garbage collection deleted.
    """

    appended: Callable[[float], None] = _ignore_seconds
    index_built: Callable[[], None] = _ignore
    index_loaded: Callable[[], None] = _ignore
    rotten: Callable[[str, str], None] = _ignore_file
    scrubbed: Callable[[int], None] = _ignore_bytes
    refused: Callable[[str], None] = _ignore_reason
    flushed: Callable[[int], None] = _ignore_bytes
    compacted: Callable[[int], None] = _ignore_bytes
    reindexed: Callable[[int], None] = _ignore_bytes
    collected: Callable[[str, int], None] = _ignore_objects


@dataclass(frozen=True)
class ShardSettings:
    """Sizes and times of one replica; times in seconds.

    commit_window: shortest time between two sends to the log, unless half a record's worth waits: 0.005 suits a local
        folder, 0.05 a remote store.
    batch_bytes: requests are put into one record up to this size; a bigger request is a record of its own.
    delete_keys: rows of a delete by filter in one record; more take several.
    queue_bytes: writes queued for the log; beyond it they wait for room, and so they do with the next two.
    growing_bytes: rows in no segment, and writes on their way there, in memory. A larger write passes alone.
    undecided_limit: no write is queued any more once a send has been undecided for so long.
    reserve_bytes: of a volume whose size is known: kept free of clients' writes, so that flushing them needs no favour.
    seal_rows, seal_bytes, seal_idle: growing rows are sealed when so many, so large, or when none came for so long.
    publish_records, publish_bytes: a manifest is published when the log since the last is so long, for quick starts.
    keep_manifests: so many of the newest manifests stay, with their files and the log since, at least 2: a follower
        that is further behind has to load the shard anew.
    tidy_idle: when no write came for so long, manifests are published only so that what they keep can be collected.
    collect_pause: between two small pieces of garbage collection.
    compact_bytes: segments are merged up to this size. 0: never, and no index is built anew.
    reindex_idle: segments that may yet be merged get another kind of index when no write came for so long.
    import_bytes: rows and vectors of one part of an import; as much again, or more, is taken while its index is built.
    poll, poll_idle: pause between two looks for new records, when there were some and when there were none.
    scrub_seconds, scrub_rate: every byte of the segments in use is read again in that time (0: never), at so many bytes
        a second at most.
    scrub_store_seconds: a leader reads the store's copies of these files again in that time. 0: never.
    stop_patience: how long `stop` waits for the send under way to be decided.
    """

    commit_window: float = 0.005
    batch_bytes: int = 4 << 20
    delete_keys: int = 65_536
    queue_bytes: int = 64 << 20
    growing_bytes: int = 512 << 20
    undecided_limit: float = 2.0
    reserve_bytes: int = 256 << 20
    seal_rows: int = 100_000
    seal_bytes: int = 128 << 20
    seal_idle: float = 2.0
    publish_records: int = 1000
    publish_bytes: int = 64 << 20
    keep_manifests: int = 3
    tidy_idle: float = 60.0
    collect_pause: float = 0.02
    compact_bytes: int = 1 << 30
    reindex_idle: float = 10.0
    import_bytes: int = 256 << 20
    poll: float = 0.1
    poll_idle: float = 1.0
    scrub_seconds: float = 86_400.0
    scrub_rate: int = 16 << 20
    scrub_store_seconds: float = 0.0
    stop_patience: float = 3.0
