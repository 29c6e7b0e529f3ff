"""Opening a segment's files: what is parsed was verified, whatever format it is in, and damage names its file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from replicas import indexed, upsert, vectors_of
from sealing import writer_in

from vectorfleet.schema import CollectionSchema, FieldSchema, FieldType, IndexKind, IndexType
from vectorfleet_node.engine.cpu import CpuEngine
from vectorfleet_node.engine.port import SearchOptions
from vectorfleet_node.shard.batch import encode
from vectorfleet_node.shard.blocks import GrowingRows, SealedRows, Segment
from vectorfleet_node.shard.opening import open_segment
from vectorfleet_node.shard.parts import read_requests
from vectorfleet_node.shard.port import Rotten
from vectorfleet_node.storage.checked import CheckedFile, DamagedFile
from vectorfleet_node.storage.format import READABLE
from vectorfleet_node.storage.record import BatchRequest
from vectorfleet_node.storage.store import DataLoss

HNSW = indexed(IndexType.HNSW)
CODES = indexed(IndexType.PQ)
KEYS = [f"k{number}" for number in range(500)]


def written(
    folder: Path,
    written_format: int = 2,
    told: list[tuple[str, str]] | None = None,
    schema: CollectionSchema = HNSW,
) -> Segment:
    rows = GrowingRows(schema)
    (part,) = read_requests((BatchRequest("r", encode(upsert(KEYS, schema=schema).rows)),), 3, schema)
    first = 0
    while first < len(KEYS):
        first += rows.append(part, first)  # type: ignore[arg-type]
    return writer_in(folder, schema=schema, written_format=written_format, rotten=told).write([rows.part()])


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    with path.open("r+b") as file:
        file.write(data)


def opened(folder: Path, segment: Segment, schema: CollectionSchema = HNSW) -> Segment:
    return open_segment(folder, segment.entry, schema, CpuEngine(), lambda *_: None)


@pytest.mark.parametrize("written_format", READABLE)
def test_codes_are_written_only_where_every_replica_can_read_them(tmp_path: Path, written_format: int) -> None:
    segment = written(tmp_path, written_format, schema=CODES)
    kind = IndexKind.PQ if written_format >= 2 else IndexKind.EXACT
    assert segment.entry.indexes["default"].kind is kind
    assert opened(tmp_path, segment, CODES).indexes["default"].kind is kind


@pytest.mark.parametrize("written_format", READABLE)
def test_a_graph_of_every_format_is_opened_from_its_file_and_answers_as_before(
    tmp_path: Path, written_format: int
) -> None:
    segment = written(tmp_path, written_format)
    index = segment.entry.indexes["default"]
    assert CheckedFile.open(tmp_path / index.file.name).checked == (written_format == 2)
    queries = vectors_of(5, 9)
    options = SearchOptions()
    before = segment.indexes["default"].search(queries, 7, allow=None, options=options)
    after = opened(tmp_path, segment).indexes["default"].search(queries, 7, allow=None, options=options)
    np.testing.assert_array_equal(before[1], after[1])
    assert opened(tmp_path, segment).indexes["default"].kind is IndexKind.HNSW


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_an_index_is_verified_whole_before_it_is_parsed(tmp_path: Path, part: float) -> None:
    segment = written(tmp_path)
    file = segment.entry.indexes["default"].file
    flip(tmp_path / file.name, int(file.size * part))
    with pytest.raises(DamagedFile, match=f"{file.name} is damaged at offset"):
        opened(tmp_path, segment)


def test_rows_that_are_not_as_many_as_the_manifest_says_are_refused(tmp_path: Path) -> None:
    segment = written(tmp_path)
    fewer = segment.with_entry(segment.entry.model_copy(update={"count": 499}))
    with pytest.raises(DataLoss, match="has 500 rows; its manifest says 499"):
        opened(tmp_path, fewer)


def test_a_vector_file_of_another_segment_is_refused(tmp_path: Path) -> None:
    segment = written(tmp_path)
    file = segment.entry.vectors["default"]
    (tmp_path / file.name).write_bytes(bytes(100))
    with pytest.raises(DataLoss, match="has 100 bytes; 500 vectors of 8 dimensions have 16000"):
        opened(tmp_path, segment)


@pytest.mark.parametrize("kind", FieldType)
def test_a_field_that_is_younger_than_the_file_is_null_and_needs_no_check(tmp_path: Path, kind: FieldType) -> None:
    segment = written(tmp_path)
    younger = HNSW.model_copy(update={"fields": (*HNSW.fields, FieldSchema(name="new", type=kind))})
    again = open_segment(tmp_path, segment.entry, younger, CpuEngine(), lambda *_: None)
    assert again.content.rows.column("new").null_count == 500
    again.files.verify(np.arange(500), ("new", "lang"), ("default",))
    again.files.verify_columns(("new",))


def test_rotten_rows_are_not_written_into_a_new_segment(tmp_path: Path) -> None:
    told: list[tuple[str, str]] = []
    segment = written(tmp_path, told=told)
    file = segment.entry.vectors["default"].name
    flip(tmp_path / file, 77)
    part = SealedRows(segment, segment.entry.live_mask()).part()
    with pytest.raises(Rotten, match=file):
        writer_in(tmp_path / "next", schema=HNSW).write([part])
    assert [name for name, _ in told] == [file]
