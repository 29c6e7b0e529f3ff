"""Files whose checksums are all right and whose contents are wrong: what a bug writes, not a bad disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from collections_at_rest import check, rewrite_manifest
from replicas import DIMENSIONS, UID

from vectorfleet.schema import IndexKind, Metric
from vectorfleet_node.engine.artefact import Header
from vectorfleet_node.maintenance.findings import Severity
from vectorfleet_node.storage import checked, fieldfile, paths, segment
from vectorfleet_node.storage import manifest as manifests
from vectorfleet_node.storage.checked import CheckedFile
from vectorfleet_node.storage.manifest import FileEntry, Manifest
from vectorfleet_node.storage.memory import MemoryStore
from vectorfleet_node.storage.segment import SegmentRows

NEWEST = 6


async def manifest_of(store: MemoryStore) -> Manifest:
    return manifests.decode(await store.get(paths.manifest(0, NEWEST)) or b"", uid=UID, shard=0, position=NEWEST)


async def put_file(
    store: MemoryStore, folder: Path, kind: segment.FileKind, write: Callable[[Path], object]
) -> FileEntry:
    """A new file with right checksums in the store."""
    path = folder / "new"
    write(path)
    size, crc = checked.seal(path)
    name = segment.file_name(2, "ee" * 8, crc, kind)
    await store.upload(paths.segment(0, name), path)
    return FileEntry(name=name, size=size, crc32c=crc)


async def problems(store: MemoryStore) -> dict[str, str]:
    """Kind -> problem of the damage, but for what follows from it in the sums."""
    found = (await check(store)).of(Severity.DAMAGE)
    return {finding.kind.label: finding.problem for finding in found if "record" not in finding.kind.label}


def swapped_rows(rows: SegmentRows) -> SegmentRows:
    order = np.array([1, 0, *range(2, len(rows.sequences))])
    return replace(rows, rows=rows.rows.take(pa.array(order)), hashes=rows.hashes[order])


WRONG: dict[str, tuple[Callable[[SegmentRows], SegmentRows], str]] = {
    "a hash": (
        lambda rows: replace(rows, hashes=rows.hashes + np.uint64(1)),
        "does not have the hash that stands beside",
    ),
    "sequences": (lambda rows: replace(rows, sequences=rows.sequences[::-1].copy()), "sequences do not ascend"),
    "row order": (swapped_rows, "key index has hashes that are not those of its keys"),
    "key index": (
        lambda rows: replace(rows, keys=replace(rows.keys, rows=np.zeros_like(rows.keys.rows))),
        "does not name each row once",
    ),
    "key hashes": (
        lambda rows: replace(rows, keys=replace(rows.keys, hashes=rows.keys.hashes + np.uint64(1))),
        "has hashes that are not those of its keys",
    ),
    "a row too few": (
        lambda rows: SegmentRows(
            rows.rows.slice(1),
            rows.sequences[1:],
            rows.hashes[1:],
            type(rows.keys).of(rows.rows.slice(1).column("key")),
        ),
        "rows; its manifest says",
    ),
}


@pytest.mark.parametrize("what", WRONG)
async def test_rows_that_contradict_themselves_are_found(what: str, store: MemoryStore, tmp_path: Path) -> None:
    spoil, told = WRONG[what]
    manifest = await manifest_of(store)
    entry = manifest.segments[0]
    await store.download(paths.segment(0, entry.rows.name), tmp_path / "old")
    content = segment.read_rows(CheckedFile.open(tmp_path / "old"))
    file = await put_file(store, tmp_path, "rows", lambda path: segment.write_rows(path, spoil(content), 2))
    spoilt = entry.model_copy(update={"rows": file})
    await rewrite_manifest(store, NEWEST, segments=(spoilt, *manifest.segments[1:]))
    assert told in (await problems(store))["file-wrong"]


async def test_vectors_of_other_rows_are_found(store: MemoryStore, tmp_path: Path) -> None:
    manifest = await manifest_of(store)
    entry = manifest.segments[0]
    zeros = np.zeros((entry.count, DIMENSIONS), np.float32)
    file = await put_file(store, tmp_path, "vectors", lambda path: segment.write_vectors(path, [zeros]))
    spoilt = entry.model_copy(update={"vectors": {"default": file}})
    await rewrite_manifest(store, NEWEST, segments=(spoilt, *manifest.segments[1:]))
    assert "does not have the hash that stands beside" in (await problems(store))["file-wrong"]


async def test_an_index_over_other_rows_is_found(store: MemoryStore, tmp_path: Path) -> None:
    manifest = await manifest_of(store)
    entry = manifest.segments[0]
    header = Header(IndexKind.EXACT, Metric.COSINE, DIMENSIONS, entry.count + 1).pack()
    file = await put_file(store, tmp_path, "index", lambda path: path.write_bytes(header))
    index = entry.indexes["default"].model_copy(update={"file": file})
    spoilt = entry.model_copy(update={"indexes": {"default": index}})
    await rewrite_manifest(store, NEWEST, segments=(spoilt, *manifest.segments[1:]))
    assert f"over {entry.count + 1} x {DIMENSIONS}" in (await problems(store))["file-wrong"]


async def test_indexes_of_fields_that_are_not_those_of_the_rows_are_found(store: MemoryStore, tmp_path: Path) -> None:
    manifest = await manifest_of(store)
    entry = manifest.segments[0]
    same = pa.table({"lang": ["same"] * entry.count, "year": pa.nulls(entry.count, pa.int64())})
    file = await put_file(store, tmp_path, "fields", lambda path: fieldfile.write_fields(path, same, ["lang"]))
    spoilt = entry.model_copy(update={"fields": file})
    await rewrite_manifest(store, NEWEST, segments=(spoilt, *manifest.segments[1:]))
    assert "its index of lang is not that of the rows" in (await problems(store))["file-wrong"]


@pytest.mark.parametrize("requests", [[("a", 9)], [("a", 5), ("b", 4)], [("a", 0)], []])
async def test_request_ids_of_other_positions_are_found(
    requests: list[tuple[str, int]], store: MemoryStore, tmp_path: Path
) -> None:
    manifest = await manifest_of(store)
    file = await put_file(store, tmp_path, "requests", lambda path: segment.write_requests(path, requests))
    entry = manifest.requests[0].model_copy(update={"file": file, "count": max(1, len(requests))})
    await rewrite_manifest(store, NEWEST, requests=(entry,))
    told = (await problems(store))["file-wrong"]
    assert told.startswith(("its positions are not in (0, ", "it has 0 ids; its manifest says 1"))


@pytest.mark.parametrize(
    "changes", [{"boundary": 1}, {"epoch": 9}, {"owner": "somebody"}, {"chain": 1}, {"stamp": 7}, {"published": ()}]
)
async def test_a_manifest_that_says_other_things_than_the_log_is_found(
    changes: dict[str, object], store: MemoryStore
) -> None:
    await rewrite_manifest(store, NEWEST, **changes)
    assert "manifest-wrong" in await problems(store)
