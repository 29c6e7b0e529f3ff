"""From a segment's files in a folder to a `Segment`. For `cache` (what it fetched) and `writing` (what it made).

Whoever calls this has checked each file against the size and checksum in its entry; the shapes, and what the state
decides with, are checked here once more. The trap is time: a field may be younger than the file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from vectorfleet.schema import CollectionSchema, VectorSchema
from vectorfleet_node.engine.port import BuildJob, Engine, Index
from vectorfleet_node.shard.batch import KEY_COLUMN, arrow_schema, field_column
from vectorfleet_node.shard.blocks import Segment
from vectorfleet_node.shard.checks import RottenCallback, SegmentFiles
from vectorfleet_node.storage import segment
from vectorfleet_node.storage.checked import CheckedFile
from vectorfleet_node.storage.fieldfile import read_fields
from vectorfleet_node.storage.fieldindex import FieldIndex
from vectorfleet_node.storage.manifest import FileEntry, IndexEntry, SegmentEntry
from vectorfleet_node.storage.store import DataLoss


def open_segment(
    folder: Path,
    entry: SegmentEntry,
    collection: CollectionSchema,
    engine: Engine,
    rotten: RottenCallback,
    lost: frozenset[str] = frozenset(),
    cancelled: Callable[[], bool] = lambda: False,
) -> Segment:
    """The segment, its large files memory-mapped. Slow: call it in a thread.

    rotten: see `SegmentFiles`. lost: index files that cannot be had; they are built anew, in memory, and indexes of
    fields are left out. DataLoss when a file is not what the entry says it is.
    """
    rows_file = CheckedFile.open(folder / entry.rows.name)
    content = segment.read_rows(rows_file)
    if len(content.sequences) != entry.count:
        raise DataLoss(f"{entry.rows.name} has {len(content.sequences)} rows; its manifest says {entry.count}")
    files, vectors, indexes = {}, {}, {}
    for vector in collection.vectors:
        if vector.name not in entry.vectors or vector.name not in entry.indexes:
            raise DataLoss(f"segment {entry.rows.name} has no vector {vector.name}")
        files[vector.name] = CheckedFile.open(folder / entry.vectors[vector.name].name)
        vectors[vector.name] = segment.map_vectors(files[vector.name], entry.count, vector.dimensions)
        index = entry.indexes[vector.name]
        if index.file.name in lost:
            job = BuildJob(folder / entry.vectors[vector.name].name, cancelled)
            indexes[vector.name] = _build_index(folder, index, vector, vectors[vector.name], engine, job)
        else:
            indexes[vector.name] = open_index(folder, index, vector, vectors[vector.name], engine)
    rows = conform(content.rows, collection, entry.rows.name)
    fields = {} if entry.fields and entry.fields.name in lost else open_fields(folder, entry, rows)
    checks = SegmentFiles(rows_file, rows, files, rotten)
    return Segment(entry, replace(content, rows=rows), vectors, indexes, checks, lost, fields=fields)


def open_requests(folder: Path, file: FileEntry) -> list[tuple[str, int]]:
    """The request ids in a file, oldest first. DataLoss when it is none."""
    return segment.read_requests(CheckedFile.open(folder / file.name))


def open_fields(folder: Path, entry: SegmentEntry, rows: pa.Table) -> dict[str, FieldIndex]:
    """The indexes of a segment's fields over its rows, by field. DataLoss when they are damaged or of other rows."""
    return read_fields(CheckedFile.open(folder / entry.fields.name), rows) if entry.fields else {}


def conform(rows: pa.Table, collection: CollectionSchema, name: str) -> pa.Table:
    """The columns as the schema has them: a field added since the file `name` was written is null in all its rows."""
    wanted = arrow_schema(collection)
    unknown = set(rows.column_names) - {KEY_COLUMN, *(field.name for field in collection.fields)}
    if unknown:
        raise DataLoss(f"{name} has the fields {sorted(unknown)}, which are not in this node's schema")
    columns = {KEY_COLUMN: rows.column(KEY_COLUMN)}
    for field in collection.fields:
        kind = wanted.field(field_column(field.name)).type
        present = field.name in rows.column_names
        columns[field.name] = rows.column(field.name) if present else pa.nulls(rows.num_rows, kind)
        if columns[field.name].type != kind:
            raise DataLoss(f"{name} has {columns[field.name].type} in field {field.name}; the schema says {kind}")
    return pa.table(columns)


def open_index(
    folder: Path, index: IndexEntry, vector: VectorSchema, vectors: segment.Vectors, engine: Engine
) -> Index:
    """An index over vectors that are open. DataLoss when it is damaged or is none."""
    path = folder / index.file.name
    file = CheckedFile.open(path)
    file.verify_all()
    try:
        return engine.load(index.kind, vectors, vector.metric, path, len(file.data))
    except ValueError as error:
        raise DataLoss(f"{index.file.name} cannot be opened: {error}") from None


def _build_index(
    folder: Path, index: IndexEntry, vector: VectorSchema, vectors: segment.Vectors, engine: Engine, job: BuildJob
) -> Index:
    artefact = folder / f"{index.file.name}.tmp"
    try:
        # It maps the artefact: the name is not needed any more.
        return engine.build(index.kind, vectors, vector.metric, artefact, job)
    finally:
        artefact.unlink(missing_ok=True)
