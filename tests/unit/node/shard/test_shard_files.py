"""Segment files, manifests and row hashes: what is written is read back, what is damaged is told."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from google_crc32c import value

from vectorfleet.schema import IndexKind
from vectorfleet_node.shard.rowhash import hash_rows, to_hex, total
from vectorfleet_node.storage import checked, segment
from vectorfleet_node.storage import manifest as manifests
from vectorfleet_node.storage.checked import CheckedFile, DamagedFile
from vectorfleet_node.storage.format import BLOCK_CHECKSUMS, FORMAT, READABLE
from vectorfleet_node.storage.keyindex import KeyIndex
from vectorfleet_node.storage.manifest import FileEntry, IndexEntry, Manifest, RequestsEntry, SegmentEntry
from vectorfleet_node.storage.record import UnknownRecord
from vectorfleet_node.storage.segment import SegmentRows
from vectorfleet_node.storage.store import DataLoss

FILE = FileEntry(name="1-ab-cd.rows", size=10, crc32c=7)
MANIFEST = Manifest(
    uid="u", shard=3, position=42, chain=1, epoch=2, stamp=3, owner="o", address="a:1",
    first_hash=0, last_hash=2**64 - 1, rows=1, row_hash="ab" * 32,
    segments=(SegmentEntry(count=9, rows=FILE, vectors={}, indexes={}, live=b"\xff\x01"),),
    requests=(RequestsEntry(through=42, count=1, file=FILE),), low=5, published=(), boundary=0, pins=(),
)  # fmt: skip


def rows_of(count: int) -> SegmentRows:
    rng = np.random.default_rng(count)
    rows = pa.table({"key": [f"k{n}" for n in range(count)], "hash": pa.array([None, *range(count - 1)], pa.int64())})
    hashes = rng.integers(0, 2**63, (count, 4)).astype(np.uint64)
    return SegmentRows(rows, np.arange(count, dtype=np.uint64) * 3, hashes, KeyIndex.of(rows.column("key")))


def seal(path: Path, written_format: int) -> CheckedFile:
    """The file as a writer of that format leaves it, opened."""
    if written_format >= BLOCK_CHECKSUMS:
        checked.seal(path)
    return CheckedFile.open(path)


@pytest.mark.parametrize("written_format", READABLE)
def test_rows_of_every_format_are_read_back_even_with_a_field_named_like_a_column_of_ours(
    tmp_path: Path, written_format: int
) -> None:
    written = rows_of(10)
    segment.write_rows(tmp_path / "r", written, written_format)
    read = segment.read_rows(seal(tmp_path / "r", written_format))
    assert read.rows.equals(written.rows)
    np.testing.assert_array_equal(read.sequences, written.sequences)
    np.testing.assert_array_equal(read.hashes, written.hashes)
    np.testing.assert_array_equal(read.keys.hashes, written.keys.hashes)
    np.testing.assert_array_equal(read.keys.rows, written.keys.rows)


def test_what_a_state_decides_with_does_not_change_when_the_file_rots(tmp_path: Path) -> None:
    written = rows_of(100)
    segment.write_rows(tmp_path / "r", written, 2)
    read = segment.read_rows(seal(tmp_path / "r", 2))
    (tmp_path / "r").write_bytes(b"\xff" * (tmp_path / "r").stat().st_size)
    assert read.rows.column("key").equals(written.rows.column("key"))
    np.testing.assert_array_equal(read.sequences, written.sequences)
    np.testing.assert_array_equal(read.hashes, written.hashes)
    np.testing.assert_array_equal(read.keys.hashes, written.keys.hashes)
    np.testing.assert_array_equal(read.keys.rows, written.keys.rows)


def test_a_key_index_that_points_outside_of_the_rows_is_refused(tmp_path: Path) -> None:
    good = rows_of(3)
    wrong = [KeyIndex(good.keys.hashes, good.keys.rows + 1), KeyIndex(good.keys.hashes[::-1], good.keys.rows)]
    for number, index in enumerate(wrong):
        segment.write_rows(tmp_path / str(number), replace(good, keys=index), 2)
        with pytest.raises(DataLoss, match=f"{number} cannot be read: its key index"):
            segment.read_rows(seal(tmp_path / str(number), 2))


def test_colliding_hashes_give_every_row_that_may_be_meant() -> None:
    index = KeyIndex(np.array([3, 7, 7, 7, 9], np.uint64), np.array([4, 0, 2, 1, 3], np.uint32))
    found = sorted(
        (int(number), int(row))
        for numbers, rows in index.matches(np.array([2, 7, 9, 10], np.uint64))
        for number, row in zip(numbers, rows, strict=True)
    )
    assert found == [(1, 0), (1, 1), (1, 2), (2, 3)]
    assert list(KeyIndex.of(pa.array([], pa.string())).matches(np.array([1], np.uint64))) == []


@pytest.mark.parametrize("written_format", READABLE)
def test_vectors_are_mapped_and_a_cut_file_is_refused(tmp_path: Path, written_format: int) -> None:
    vectors = np.random.default_rng(1).standard_normal((7, 5), np.float32)
    segment.write_vectors(tmp_path / "v", [vectors[:3], vectors[3:]])
    file = seal(tmp_path / "v", written_format)
    np.testing.assert_array_equal(segment.map_vectors(file, 7, 5), vectors)
    with pytest.raises(DataLoss, match="140 bytes"):
        segment.map_vectors(file, 8, 5)


@pytest.mark.parametrize("written_format", READABLE)
def test_request_files_are_read_back(tmp_path: Path, written_format: int) -> None:
    segment.write_requests(tmp_path / "q", [("a", 1), ("b", 2)])
    assert segment.read_requests(seal(tmp_path / "q", written_format)) == [("a", 1), ("b", 2)]


@pytest.mark.parametrize("read", [segment.read_rows, segment.read_requests])
def test_another_file_is_not_taken_for_rows_or_requests(tmp_path: Path, read) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "x").write_bytes(b"something else altogether")
    with pytest.raises(DataLoss, match="x cannot be read"):
        read(CheckedFile.open(tmp_path / "x"))
    segment.write_requests(tmp_path / "q", [("a", 1)])
    if read is segment.read_rows:
        with pytest.raises(DataLoss, match="not a segment's rows"):
            read(CheckedFile.open(tmp_path / "q"))


@pytest.mark.parametrize("kind", ["rows", "requests"])
def test_a_flipped_bit_in_rows_or_requests_is_found_before_they_are_parsed(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "f"
    if kind == "rows":
        segment.write_rows(path, rows_of(20), 2)
    else:
        segment.write_requests(path, [("a", 1), ("b", 2)])
    data = path.stat().st_size
    checked.seal(path)
    good = path.read_bytes()
    for offset in random.Random(3).sample(range(data), 100):
        path.write_bytes(good[:offset] + bytes([good[offset] ^ 16]) + good[offset + 1 :])
        with pytest.raises(DamagedFile):
            (segment.read_rows if kind == "rows" else segment.read_requests)(CheckedFile.open(path))


@pytest.mark.parametrize("written_format", READABLE)
def test_a_manifest_of_every_format_is_read_back(written_format: int) -> None:
    manifest = MANIFEST.model_copy(update={"format": written_format})
    assert manifests.decode(manifests.encode(manifest), uid="u", shard=3, position=42) == manifest


def test_a_manifest_of_format_1_has_only_what_its_readers_know() -> None:
    manifest = MANIFEST.model_copy(update={"format": 1, "fences": (1, 7), "fences_since": 0})
    read = manifests.decode(manifests.encode(manifest), uid="u", shard=3, position=42)
    assert (read.fences, read.fences_since) == ((), None)
    assert b"fences" not in manifests.encode(manifest)


def test_a_manifest_of_a_newer_format_stops_the_reader_and_is_no_damage() -> None:
    newer = manifests.encode(MANIFEST.model_copy(update={"format": FORMAT + 1}))
    with pytest.raises(UnknownRecord, match=f"has format {FORMAT + 1}; this version reads formats 1 to {FORMAT}"):
        manifests.decode(newer, uid="u", shard=3, position=42)


def test_an_index_of_a_kind_that_another_version_made_stops_the_reader_and_is_no_damage() -> None:
    indexes = {"default": IndexEntry(kind=IndexKind.PQ, file=FILE)}
    segments = tuple(each.model_copy(update={"indexes": indexes}) for each in MANIFEST.segments)
    data = manifests.encode(MANIFEST.model_copy(update={"segments": segments}))[:-4].replace(b'"PQ"', b'"XY"')
    with pytest.raises(UnknownRecord, match="indexes of the kind XY; this version knows Exact, HNSW, HNSW-Int8, PQ"):
        manifests.decode(data + value(data).to_bytes(4, "little"), uid="u", shard=3, position=42)


def test_any_flipped_bit_of_a_manifest_is_found() -> None:
    data = manifests.encode(MANIFEST)
    for offset in range(len(data)):
        damaged = bytearray(data)
        damaged[offset] ^= 1 << random.Random(offset).randrange(8)
        with pytest.raises(DataLoss):
            manifests.decode(bytes(damaged), uid="u", shard=3, position=42)


@pytest.mark.parametrize("other", [{"uid": "x"}, {"shard": 4}, {"position": 41}])
def test_another_shards_manifest_is_refused(other: dict[str, object]) -> None:
    asked = {"uid": "u", "shard": 3, "position": 42} | other
    with pytest.raises(DataLoss, match="holds manifest 42 of shard 3"):
        manifests.decode(manifests.encode(MANIFEST), **asked)  # type: ignore[arg-type]


def test_a_row_hash_depends_on_key_sequence_fields_and_vector() -> None:
    vector = np.ones((1, 3), np.float32)
    table = pa.table({"key": ["a"], "x": pa.array([1], pa.int64())})
    base = to_hex(total(hash_rows(["a"], [5], table, {"v": vector})))
    different = [
        hash_rows(["b"], [5], table, {"v": vector}),
        hash_rows(["a"], [6], table, {"v": vector}),
        hash_rows(["a"], [5], pa.table({"key": ["a"], "x": pa.array([2], pa.int64())}), {"v": vector}),
        hash_rows(["a"], [5], pa.table({"key": ["a"], "y": pa.array([1], pa.int64())}), {"v": vector}),
        hash_rows(["a"], [5], table, {"v": vector * 2}),
    ]
    assert len({base, *(to_hex(total(hashes)) for hashes in different)}) == 6


def test_a_field_that_is_null_does_not_change_a_row_hash() -> None:
    vector = np.ones((1, 3), np.float32)
    without = hash_rows(["a"], [5], pa.table({"key": ["a"]}), {"v": vector})
    with_null = hash_rows(["a"], [5], pa.table({"key": ["a"], "x": pa.array([None], pa.int64())}), {"v": vector})
    np.testing.assert_array_equal(without, with_null)
