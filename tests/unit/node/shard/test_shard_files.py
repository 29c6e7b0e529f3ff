"""Segment files, manifests and row hashes: what is written is read back, what is damaged is told."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from vectorfleet_node.shard.rowhash import hash_rows, to_hex, total
from vectorfleet_node.storage import manifest as manifests
from vectorfleet_node.storage import segment
from vectorfleet_node.storage.manifest import FileEntry, Manifest, RequestsEntry, SegmentEntry
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
    return SegmentRows(rows, np.arange(count, dtype=np.uint64) * 3, hashes)


def test_rows_are_read_back_even_with_a_field_named_like_a_column_of_ours(tmp_path: Path) -> None:
    written = rows_of(10)
    segment.write_rows(tmp_path / "r", written)
    read = segment.read_rows(tmp_path / "r")
    assert read.rows.equals(written.rows)
    np.testing.assert_array_equal(read.sequences, written.sequences)
    np.testing.assert_array_equal(read.hashes, written.hashes)


def test_vectors_are_mapped_and_a_cut_file_is_refused(tmp_path: Path) -> None:
    vectors = np.random.default_rng(1).standard_normal((7, 5), np.float32)
    segment.write_vectors(tmp_path / "v", [vectors[:3], vectors[3:]])
    np.testing.assert_array_equal(segment.map_vectors(tmp_path / "v", 7, 5), vectors)
    with pytest.raises(DataLoss, match="140 bytes"):
        segment.map_vectors(tmp_path / "v", 8, 5)


def test_request_files_are_read_back(tmp_path: Path) -> None:
    segment.write_requests(tmp_path / "q", [("a", 1), ("b", 2)])
    assert segment.read_requests(tmp_path / "q") == [("a", 1), ("b", 2)]


@pytest.mark.parametrize("read", [segment.read_rows, segment.read_requests])
def test_another_file_is_not_taken_for_rows_or_requests(tmp_path: Path, read) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "x").write_bytes(b"something else altogether")
    with pytest.raises(DataLoss):
        read(tmp_path / "x")


def test_a_manifest_is_read_back() -> None:
    assert manifests.decode(manifests.encode(MANIFEST), uid="u", shard=3, position=42) == MANIFEST


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
