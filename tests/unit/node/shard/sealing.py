"""Seals and merges a state as a leader does, without one: for tests of the state alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from replicas import SCHEMA, UID, ids

from vectorfleet.schema import CollectionSchema
from vectorfleet_node.engine.cpu import CpuEngine
from vectorfleet_node.shard.compaction import merge
from vectorfleet_node.shard.seal import Merge, Sealed, Sealer
from vectorfleet_node.shard.state import FrozenState, ShardState
from vectorfleet_node.shard.writing import SegmentWriter, Work
from vectorfleet_node.storage.format import FORMAT


def writer_in(
    folder: Path,
    *,
    schema: CollectionSchema = SCHEMA,
    written_format: int = FORMAT,
    rotten: list[tuple[str, str]] | None = None,
) -> SegmentWriter:
    """Writes segments into the folder; rotten: where to note what readers find."""
    found = [] if rotten is None else rotten
    folder.mkdir(parents=True, exist_ok=True)
    return SegmentWriter(
        folder,
        schema,
        CpuEngine(build_threads=1),
        1,
        written_format,
        ids(folder.name),
        lambda: None,
        lambda file, problem: found.append((file, problem)),
    )


def frozen(state: ShardState) -> FrozenState:
    return state.freeze(UID, 0)


def seal(state: ShardState, writer: SegmentWriter) -> Sealed:
    """Seals the growing rows and swaps to the manifest."""
    sealed = Sealer(writer).seal(frozen(state), None)
    state.install(sealed.manifest, sealed.segments)
    return sealed


def merged(state: ShardState, blocks: Sequence[int], writer: SegmentWriter) -> Merge:
    """What a job makes of those segments, as they are now."""
    parts = [state.snapshot().parts[block] for block in blocks]
    return merge(parts, writer, Work())
