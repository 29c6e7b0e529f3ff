"""Which segment has other indexes than it should, and the job that builds the right ones. `compaction` runs it.

Young segments have an index that is quickly built, and the schema may ask for another kind, or for indexes of other
fields, than it did when a segment was written. Only the index files are new: the rows keep their files and with them
their names, so whoever looks for *the same segment* compares the names of all its files. The trap is an index that
flaps: what is wanted follows from the schema, the number of rows and the format alone, and so does what was built.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from vectorfleet_node.shard.blocks import Segment
from vectorfleet_node.shard.opening import open_fields, open_index
from vectorfleet_node.shard.port import NotApplied
from vectorfleet_node.shard.seal import Merge
from vectorfleet_node.shard.writing import SegmentWriter, Work
from vectorfleet_node.storage.manifest import FileEntry


def outdated(segment: Segment, writer: SegmentWriter) -> list[str]:
    """The vectors whose index is of another kind than a merge would build now."""
    held = segment.entry.indexes
    builds = zip(writer.collection.vectors, writer.builds(segment.entry.count), strict=True)
    return [schema.name for schema, build in builds if held[schema.name].kind is not build.kind]


def outdated_fields(segment: Segment, writer: SegmentWriter) -> bool:
    """Whether it has indexes of other fields than a merge would build now."""
    return segment.fields.keys() != set(writer.indexed_fields)


def next_segment(segments: Iterable[Segment], writer: SegmentWriter) -> Segment | None:
    """The largest of those with an index that is outdated or wanting; None when all is well.

    What the store has no good copy of is left to `mending`, which writes the segment anew.
    """
    whole = [segment for segment in segments if not segment.rebuilt]
    found = [segment for segment in whole if outdated(segment, writer) or outdated_fields(segment, writer)]
    return max(found, key=lambda segment: segment.entry.count, default=None)


def reindex(segment: Segment, writer: SegmentWriter, work: Work) -> Merge:
    """Builds the outdated indexes of a segment from its vectors and fields. Slow: run it in a thread.

    Rotten when these are, NotApplied when the reign ended meanwhile; BuildFailed; OSError of the disk.
    """
    names = outdated(segment, writer)
    segment.files.verify(np.arange(segment.entry.count), (), names)
    made: list[FileEntry] = []
    entry, indexes, fields = segment.entry, dict(segment.indexes), segment.fields
    try:
        for schema in writer.collection.vectors:
            if schema.name in names:
                built = writer.index(schema, entry.vectors[schema.name], entry.count, work)
                made.append(built.file)
                entry = entry.model_copy(update={"indexes": {**entry.indexes, schema.name: built}})
                vectors = segment.vectors[schema.name]
                indexes[schema.name] = open_index(writer.folder, built, schema, vectors, writer.engine)
        if outdated_fields(segment, writer):
            segment.files.verify_columns(writer.indexed_fields)
            file = writer.fields(segment.content.rows)
            made += [] if file is None else [file]
            entry = entry.model_copy(update={"fields": file})
            fields = open_fields(writer.folder, entry, segment.content.rows)
        if work.cancelled():
            raise NotApplied("the reign ended while an index was built")
    except BaseException:
        writer.discard(made)
        raise
    output = replace(segment, entry=entry, indexes=indexes, fields=fields)
    return Merge(frozenset([entry.rows.name]), output, tuple(made))
