"""Which segment has another kind of index than it should, and the job that builds the right one. `compaction` runs it.

Young segments have an index that is quickly built, and the schema may ask for another kind than it did when a segment
was written. Only the index file is new: the rows keep their files and with them their names, so whoever looks for *the
same segment* compares the names of all its files. The trap is an index that flaps: what is wanted follows from the
schema, the number of rows and the format alone, and so does what was built.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from vectorfleet_node.shard.blocks import Segment
from vectorfleet_node.shard.opening import open_index
from vectorfleet_node.shard.port import NotApplied
from vectorfleet_node.shard.seal import Merge
from vectorfleet_node.shard.writing import SegmentWriter, Work
from vectorfleet_node.storage.manifest import FileEntry


def outdated(segment: Segment, writer: SegmentWriter) -> list[str]:
    """The vectors whose index is of another kind than a merge would build now."""
    held = segment.entry.indexes
    builds = zip(writer.collection.vectors, writer.builds(segment.entry.count), strict=True)
    return [schema.name for schema, build in builds if held[schema.name].kind is not build.kind]


def next_segment(segments: Iterable[Segment], writer: SegmentWriter) -> Segment | None:
    """The largest of those with an outdated index; None when all is well.

    What the store has no good copy of is left to `mending`, which writes the segment anew.
    """
    found = [segment for segment in segments if not segment.rebuilt and outdated(segment, writer)]
    return max(found, key=lambda segment: segment.entry.count, default=None)


def reindex(segment: Segment, writer: SegmentWriter, work: Work) -> Merge:
    """Builds the outdated indexes of a segment from its vectors. Slow: run it in a thread.

    Rotten when the vectors are, NotApplied when the reign ended meanwhile; BuildFailed; OSError of the disk.
    """
    names = outdated(segment, writer)
    segment.files.verify(np.arange(segment.entry.count), (), names)
    made: list[FileEntry] = []
    entry, indexes = segment.entry, dict(segment.indexes)
    try:
        for schema in writer.collection.vectors:
            if schema.name in names:
                built = writer.index(schema, entry.vectors[schema.name], entry.count, work)
                made.append(built.file)
                entry = entry.model_copy(update={"indexes": {**entry.indexes, schema.name: built}})
                vectors = segment.vectors[schema.name]
                indexes[schema.name] = open_index(writer.folder, built, schema, vectors, writer.engine)
        if work.cancelled():
            raise NotApplied("the reign ended while an index was built")
    except BaseException:
        writer.discard(made)
        raise
    return Merge(frozenset([entry.rows.name]), replace(segment, entry=entry, indexes=indexes), tuple(made))
