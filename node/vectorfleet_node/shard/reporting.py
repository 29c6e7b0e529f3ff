"""What a replica tells of itself: a value for `Report`, `Describe` and metrics. Called by `replica`; never blocks."""

from __future__ import annotations

from collections.abc import Sequence

from vectorfleet_node.shard.port import ReplicaReport
from vectorfleet_node.shard.reign import Reign
from vectorfleet_node.shard.state import ShardState
from vectorfleet_node.storage.manifest import SegmentEntry


def report_loaded(
    shard: int, state: ShardState, reign: Reign | None, *, ready: bool, quarantined: int, message: str
) -> ReplicaReport:
    """The report of a replica that has a state. reign: when it leads."""
    parts = [part for part in state.snapshot().parts if part.entry is not None]
    entries = [part.entry for part in parts if part.entry is not None]
    leadership = reign.leadership if reign else None
    return ReplicaReport(
        shard=shard,
        ready=ready,
        leader=reign is not None,
        position=state.position,
        rows=state.rows,
        growing_rows=state.layout.live_growing_rows,
        bytes=_bytes(entries),
        indexes=tuple(sorted({index.kind.value for entry in entries for index in entry.indexes.values()})),
        message=message,
        quarantined=quarantined,
        growing_bytes=leadership.held().unflushed if leadership else state.layout.growing_bytes,
        writes_waiting=leadership.admission.waiting if leadership else 0,
        segments=len(parts),
        live_bytes=sum(
            _bytes([entry]) * part.block.live_rows // entry.count for part, entry in zip(parts, entries, strict=True)
        ),
        compaction=reign.compactor.doing if reign else "",
    )


def _bytes(entries: Sequence[SegmentEntry]) -> int:
    return sum(file.size for entry in entries for file in entry.files())
