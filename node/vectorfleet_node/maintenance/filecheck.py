"""Checks files of a segment that lie in a folder: whole, well formed, and right. Blocking; run it in a thread.

Used by `check` with files fetched into a temporary folder. Nothing a file says is believed: rows are hashed anew from
the bytes, keys must belong to the shard, sequences must ascend.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vectorfleet.partition import Key, shard_of
from vectorfleet.schema import CollectionSchema
from vectorfleet_node.engine.artefact import check_header
from vectorfleet_node.maintenance.findings import Kind
from vectorfleet_node.shard.parts import ROW_BITS
from vectorfleet_node.shard.rowhash import LANES, Hashes, hash_in_pieces
from vectorfleet_node.storage import segment
from vectorfleet_node.storage.checked import CheckedFile
from vectorfleet_node.storage.fieldfile import read_fields, wrong_fields
from vectorfleet_node.storage.keyindex import KeyIndex
from vectorfleet_node.storage.manifest import FileEntry, RequestsEntry, SegmentEntry
from vectorfleet_node.storage.segment import KEY, SegmentRows
from vectorfleet_node.storage.store import DataLoss

Problem = tuple[Kind, str, str]  # kind, file name, what is wrong


@dataclass
class SegmentContent:
    """What a segment holds. hashes: (n, 4) uint64 of the bytes, None when its rows cannot be read in full."""

    problems: list[Problem] = field(default_factory=list)
    hashes: Hashes | None = None
    touched: dict[int, Key] = field(default_factory=dict)
    newest: int = 0  # log position of its newest row


def whole(folder: Path, entry: FileEntry) -> Problem | None:
    """Whether the file is as its manifest says."""
    path = folder / entry.name
    if not path.exists():
        return (Kind.FILE_MISSING, entry.name, "it is missing")
    size, crc = segment.checksum(path)
    if (size, crc) == (entry.size, entry.crc32c):
        return None
    problem = f"it has {size} bytes with checksum {crc:08x}; its manifest says {entry.size} with {entry.crc32c:08x}"
    try:
        CheckedFile.open(path).verify_all()
    except DataLoss as error:
        problem = f"{str(error).removeprefix(f'{entry.name} is ')}; {problem}"
    return (Kind.FILE_DAMAGED, entry.name, problem)


def check_segment(
    folder: Path, entries: list[SegmentEntry], collection: CollectionSchema, shard: int, touched: Set[Key]
) -> SegmentContent:
    """Checks one segment's files. entries: as each manifest names it, all with the same rows. touched: keys to note."""
    files = {file.name: file for entry in entries for file in entry.files()}
    content = SegmentContent([problem for file in files.values() if (problem := whole(folder, file))])
    bad = {name for _, name, _ in content.problems}
    entry = entries[0]
    if bad.isdisjoint({entry.rows.name, *(file.name for file in entry.vectors.values())}):
        try:
            _check_rows(content, folder, entry, collection, shard, touched)
        except DataLoss as error:
            content.problems.append((Kind.FILE_WRONG, entry.rows.name, str(error)))
    if content.hashes is not None:
        content.problems += _check_fields(folder, entry, {each.fields.name for each in entries if each.fields} - bad)
    for each in entries:
        content.problems += _check_indexes(folder, each, collection, bad)
    return content


def check_requests(folder: Path, entry: RequestsEntry, before: int) -> Problem | None:
    """Whether a request file holds what its manifest says. before: `through` of the file before it."""
    problem = whole(folder, entry.file)
    if problem:
        return problem
    try:
        requests = segment.read_requests(CheckedFile.open(folder / entry.file.name))
    except DataLoss as error:
        return (Kind.FILE_WRONG, entry.file.name, str(error))
    positions = [position for _, position in requests]
    if len(requests) != entry.count:
        return (Kind.FILE_WRONG, entry.file.name, f"it has {len(requests)} ids; its manifest says {entry.count}")
    if positions != sorted(positions) or (positions and not before < positions[0] <= positions[-1] <= entry.through):
        return (Kind.FILE_WRONG, entry.file.name, f"its positions are not in ({before}, {entry.through}], ascending")
    return None


def _check_rows(
    content: SegmentContent,
    folder: Path,
    entry: SegmentEntry,
    collection: CollectionSchema,
    shard: int,
    touched: Set[Key],
) -> None:
    rows = segment.read_rows(CheckedFile.open(folder / entry.rows.name))
    if len(rows.sequences) != entry.count:
        raise DataLoss(f"it has {len(rows.sequences)} rows; its manifest says {entry.count}")
    if not (rows.sequences[1:] > rows.sequences[:-1]).all():
        raise DataLoss("its sequences do not ascend")
    content.newest = int(rows.sequences[-1]) >> ROW_BITS
    hashes = np.empty((entry.count, LANES), np.uint64)
    vectors = _verified_vectors(folder, entry, collection)
    for start, keys, found in hash_in_pieces(rows.sequences, rows.rows, vectors):
        hashes[start : start + len(keys)] = found
        for number, key in enumerate(keys, start):
            if shard_of(key, collection.shards) != shard:
                raise DataLoss(
                    f"row {number} has key {key!r}, which belongs to shard {shard_of(key, collection.shards)}"
                )
            if key in touched:
                content.touched[number] = key
    _check_key_index(rows)
    different = np.flatnonzero((hashes != rows.hashes).any(axis=1))
    if len(different):
        raise DataLoss(
            f"row {different[0]} (and {len(different) - 1} more) does not have the hash that stands beside it"
        )
    content.hashes = hashes


def _check_key_index(rows: SegmentRows) -> None:
    expected = KeyIndex.of(rows.rows.column(KEY))
    hashes = np.empty_like(expected.hashes)
    hashes[expected.rows] = expected.hashes
    if len(rows.keys.rows) != len(hashes) or (np.bincount(rows.keys.rows, minlength=len(hashes)) != 1).any():
        raise DataLoss("its key index does not name each row once")
    if (hashes[rows.keys.rows] != rows.keys.hashes).any():
        raise DataLoss("its key index has hashes that are not those of its keys")


def _verified_vectors(folder: Path, entry: SegmentEntry, collection: CollectionSchema) -> dict[str, segment.Vectors]:
    vectors = {}
    for schema in collection.vectors:
        if schema.name not in entry.vectors:
            raise DataLoss(f"the segment has no vectors {schema.name}")
        file = CheckedFile.open(folder / entry.vectors[schema.name].name)
        file.verify_all()
        vectors[schema.name] = segment.map_vectors(file, entry.count, schema.dimensions)
    return vectors


def _check_fields(folder: Path, entry: SegmentEntry, names: Set[str]) -> list[Problem]:
    """Whether files with indexes of fields say what the rows do, whose file is whole."""
    found: list[Problem] = []
    for name in sorted(names):
        try:
            rows = segment.read_rows(CheckedFile.open(folder / entry.rows.name)).rows
            wrong = wrong_fields(read_fields(CheckedFile.open(folder / name), rows), rows)
        except DataLoss as error:
            found.append((Kind.FILE_WRONG, name, str(error)))
        else:
            found += [(Kind.FILE_WRONG, name, f"its index of {field} is not that of the rows") for field in wrong]
    return found


def _check_indexes(folder: Path, entry: SegmentEntry, collection: CollectionSchema, bad: set[str]) -> list[Problem]:
    found: list[Problem] = []
    for schema in collection.vectors:
        index = entry.indexes.get(schema.name)
        if index is None:
            found.append((Kind.FILE_WRONG, entry.rows.name, f"the segment has no index of {schema.name}"))
        elif index.file.name not in bad:
            path, shape = folder / index.file.name, (entry.count, schema.dimensions)
            try:
                check_header(path, index.kind, schema.metric, shape, len(CheckedFile.open(path).data))
            except (ValueError, DataLoss) as error:
                found.append((Kind.FILE_WRONG, index.file.name, str(error)))
    return found
