"""What a replica tells of itself: a value for `Report`, `Describe` and metrics. Called by `replica`; never blocks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from vectorfleet.schema import VectorSchema
from vectorfleet_node.engine.port import Engine
from vectorfleet_node.shard.port import IndexReport, ReplicaReport
from vectorfleet_node.shard.reign import Reign
from vectorfleet_node.shard.state import ShardState
from vectorfleet_node.storage.format import index_kinds
from vectorfleet_node.storage.manifest import SegmentEntry


def report_loaded(
    shard: int,
    state: ShardState,
    reign: Reign | None,
    *,
    ready: bool,
    quarantined: int,
    message: str,
    index_details: tuple[IndexReport, ...],
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
        index_details=index_details,
    )


def index_details(state: ShardState, vectors: Iterable[VectorSchema], engine: Engine) -> tuple[IndexReport, ...]:
    """Which kinds of index the sealed rows have, and why; or why they will soon have another."""
    entries = [part.entry for part in state.snapshot().parts if part.entry is not None]
    segments, rows = Counter[tuple[str, str, str]](), Counter[tuple[str, str, str]]()
    for vector in vectors:
        for entry in entries:
            kind = entry.indexes[vector.name].kind
            choice = engine.choose(vector, entry.count, index_kinds(state.format))
            reason = choice.reason if kind is choice.kind else f"{choice.kind} comes next: {choice.reason}"
            segments[vector.name, kind, reason] += 1
            rows[vector.name, kind, reason] += entry.count
    return tuple(IndexReport(*told, count, rows[told]) for told, count in sorted(segments.items()))


def _bytes(entries: Sequence[SegmentEntry]) -> int:
    return sum(file.size for entry in entries for file in entry.files())
