"""fsck finds every kind of damage, names the object, and calls garbage garbage."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from collections_at_rest import (
    URL,
    Rows,
    change,
    check,
    flipped,
    keys,
    kinds,
    make_collected,
    rewrite_manifest,
    rewrite_record,
)
from replicas import SCHEMA, UID

from vectorfleet.descriptor import ClaimRecord
from vectorfleet.topology import Claim
from vectorfleet_node.maintenance.check import check_collection
from vectorfleet_node.maintenance.findings import Severity
from vectorfleet_node.storage import paths
from vectorfleet_node.storage.memory import MemoryStore
from vectorfleet_node.storage.record import Batch, BatchRequest, Pin, chain_value, decode, encode
from vectorfleet_node.storage.store import StoreNotFound

NEWEST = 6  # position of the newest manifest; its publish record is in slot 7
TAIL = 8


async def test_a_sound_collection_is_clean_and_counted(store: MemoryStore, rows: Rows) -> None:
    report = await check(store)
    assert report.clean
    assert report.all_findings == []
    (shard,) = report.shards
    assert (shard.rows, shard.tail, shard.records, shard.manifests) == (len(rows), TAIL, TAIL, 2)
    assert shard.files == len(await keys(store, "/segments/"))


@pytest.mark.parametrize("at", [0, 0.2, 0.5, 0.9, 1])
@pytest.mark.parametrize("kind", ["rows", "vectors", "index", "fields", "requests"])
async def test_a_flipped_bit_in_any_region_of_any_file_is_found(kind: str, at: float, store: MemoryStore) -> None:
    for key in await keys(store, f".{kind}"):
        await change(store, key, lambda body: flipped(body, at))
        report = await check(store)
        assert [(finding.kind.label, finding.key) for finding in report.all_findings] == [("file-damaged", key)]
        await change(store, key, lambda body: flipped(body, at))
    assert (await check(store)).clean


@pytest.mark.parametrize("at", [0, 0.1, 0.5, 0.9, 1])
async def test_a_flipped_bit_in_a_record_a_manifest_or_collection_json_is_found(at: float, store: MemoryStore) -> None:
    told = {"/log/": "record-damaged", "/manifests/": "manifest-damaged"}
    for part, kind in told.items():
        for key in await keys(store, part):
            await change(store, key, lambda body: flipped(body, at))
            report = await check(store)
            assert (kind, key) in {(finding.kind.label, finding.key) for finding in report.of(Severity.DAMAGE)}
            await change(store, key, lambda body: flipped(body, at))
    await change(store, "collection.json", lambda body: b"[" + body[1:])
    assert "collection" in kinds(await check(store))


async def test_every_object_that_counts_is_missed(store: MemoryStore) -> None:
    for key in await store.list(""):
        body = await store.get(key) or b""
        await store.delete(key)
        report = await check(store)
        at_the_tail = key == paths.log_slot(0, TAIL)  # a log that ends earlier is a log
        assert report.clean == at_the_tail, key
        if not at_the_tail:
            assert key in {finding.key for finding in report.of(Severity.DAMAGE)}
        await store.put(key, body)


async def test_the_offset_of_a_bad_block_is_told(store: MemoryStore) -> None:
    (key, *_) = await keys(store, ".vectors")
    await change(store, key, lambda body: flipped(body, 0.1))
    (finding,) = (await check(store)).all_findings
    assert finding.offset == 0
    assert "block" in finding.problem


async def test_orphans_are_garbage_with_a_size_not_damage(store: MemoryStore) -> None:
    await store.put(paths.segment(0, "1-00-00000000.rows"), b"x" * 700)
    await store.put(paths.manifest(0, 5), b"never published")
    await store.put("shards/0/notes.txt", b"what")
    await store.put("shards/1/log/1", b"what")
    await store.put("readme", b"what")
    report = await check(store)
    assert report.clean
    assert kinds(report) == {"file-left", "manifest-left", "unknown"}
    (left,) = [finding for finding in report.all_findings if finding.kind.label == "file-left"]
    assert left.size == 700


async def test_a_hole_in_the_log_is_damage_unless_a_marker_and_the_boundary_allow_it(store: MemoryStore) -> None:
    await store.delete(paths.log_slot(0, 5))
    report = await check(store)
    assert [finding.kind.label for finding in report.all_findings] == ["record-missing"]
    await store.create(paths.boundary(0, 1, 0), b"")
    found = kinds(await check(store))
    assert found == {"record-missing", "marker-early"}, "slot 5 is above the boundary 3"


async def test_the_first_fence_is_missed_even_where_all_else_may_be_collected(store: MemoryStore) -> None:
    await store.create(paths.boundary(0, 1, 0), b"")
    await store.delete(paths.log_slot(0, 1))
    assert paths.log_slot(0, 1) in {finding.key for finding in (await check(store)).all_findings}


async def test_a_record_that_does_not_chain_is_found_although_its_checksum_is_right(store: MemoryStore) -> None:
    await rewrite_record(store, 5, nonce=bytes(16))
    (finding,) = (await check(store)).all_findings
    assert (finding.kind.label, finding.position) == ("record-order", 6)


@pytest.mark.parametrize("changes", [{"epoch": 1}, {"epoch": 7}, {"stamp": 3}])
async def test_a_record_of_another_epoch_or_an_earlier_time_is_found(
    changes: dict[str, int], store: MemoryStore
) -> None:
    await rewrite_record(store, TAIL, **changes)
    (finding,) = (await check(store)).all_findings
    assert (finding.kind.label, finding.position) == ("record-order", TAIL)


async def test_objects_of_another_shard_or_slot_are_found(store: MemoryStore) -> None:
    await store.put(paths.log_slot(0, 5), await store.get(paths.log_slot(0, 6)) or b"")
    assert "record-damaged" in kinds(await check(store))
    one, two = await keys(store, ".vectors")
    first, second = await store.get(one), await store.get(two)
    await store.put(one, second or b"")
    await store.put(two, first or b"")
    report = await check(store)
    assert {one, two} <= {finding.key for finding in report.of(Severity.DAMAGE)}


async def test_a_row_that_a_manifest_lost_shows_in_the_sums_alone(store: MemoryStore) -> None:
    body = await store.get(paths.manifest(0, NEWEST)) or b""
    from vectorfleet_node.storage import manifest as manifests

    manifest = manifests.decode(body, uid=UID, shard=0, position=NEWEST)
    fewer = manifest.segments[0].model_copy(
        update={"live": b"\xfe" + b"\xff" * ((manifest.segments[0].count - 1) // 8)}
    )
    await rewrite_manifest(store, NEWEST, segments=(fewer, *manifest.segments[1:]))
    report = await check(store)
    assert "manifest-wrong" in kinds(report)
    (wrong,) = [finding for finding in report.all_findings if finding.kind.label == "manifest-wrong"]
    assert "its segments hold" in wrong.problem


async def test_a_manifest_that_agrees_with_itself_and_not_with_the_log_is_found(store: MemoryStore) -> None:
    """The row and its part of the sum are both gone: only the log since the older manifest knows of it."""
    import numpy as np

    from vectorfleet_node.shard.rowhash import to_hex
    from vectorfleet_node.storage import manifest as manifests

    older = manifests.decode(await store.get(paths.manifest(0, 3)) or b"", uid=UID, shard=0, position=3)
    await rewrite_manifest(
        store, NEWEST, segments=older.segments, rows=older.rows, row_hash=older.row_hash, requests=older.requests
    )
    report = await check(store)
    (wrong,) = [finding for finding in report.all_findings if finding.kind.label == "manifest-wrong"]
    assert "the log up to here makes" in wrong.problem
    assert to_hex(np.zeros(4, np.uint64)) not in wrong.problem


async def test_a_batch_with_rows_of_another_schema_is_found(store: MemoryStore) -> None:
    record = decode(await store.get(paths.log_slot(0, TAIL)) or b"", uid=UID, shard=0, position=TAIL)
    assert isinstance(record.body, Batch)
    await rewrite_record(store, TAIL, body=Batch((BatchRequest("r", b"no arrow"),)))
    (finding,) = (await check(store)).all_findings
    assert finding.kind.label == "record-damaged"
    assert "not an Arrow stream" in finding.problem


async def test_a_missing_fence_is_told_as_a_warning(tmp_path: Path) -> None:
    store, _ = await make_collected(tmp_path)
    await store.delete(paths.log_slot(0, 2))
    report = await check(store)
    assert report.clean
    assert [(finding.kind.label, finding.position) for finding in report.of(Severity.WARNING)] == [("fence-missing", 2)]


async def test_what_lies_unreadable_below_the_boundary_is_garbage(tmp_path: Path) -> None:
    store, _ = await make_collected(tmp_path)
    await store.put(paths.log_slot(0, 9), b"half deleted")
    report = await check(store)
    assert report.clean
    assert ("slot-left", 9) in {(finding.kind.label, finding.position) for finding in report.all_findings}


async def test_a_slot_that_a_pin_keeps_is_missed_wherever_the_boundary_is(store: MemoryStore) -> None:
    body = await store.get(paths.log_slot(0, TAIL)) or b""
    last = decode(body, uid=UID, shard=0, position=TAIL)
    pin = replace(last, position=9, stamp=last.stamp + 1, previous=chain_value(body), body=Pin("backup", 3, 6))
    await store.create(paths.log_slot(0, 9), encode(pin))
    assert (await check(store)).clean
    await change(store, paths.log_slot(0, 5), flipped)
    assert paths.log_slot(0, 5) in {finding.key for finding in (await check(store)).of(Severity.DAMAGE)}


async def test_a_damaged_claim_is_damage_and_the_shards_are_checked_all_the_same(store: MemoryStore) -> None:
    claim = ClaimRecord(holder=Claim(cluster="c", namespace="n", name="x"), collection=SCHEMA, stamp=1.0)
    await store.create(paths.claim(1), claim.model_dump_json().encode())
    assert (await check(store)).clean
    await store.create(paths.claim(2), b"{")
    report = await check(store)
    assert [(finding.kind.label, finding.key) for finding in report.all_findings] == [("claim", paths.claim(2))]
    assert len(report.shards) == 1


async def test_without_collection_json_the_claims_say_what_to_check(store: MemoryStore) -> None:
    claim = ClaimRecord(holder=Claim(cluster="c", namespace="n", name="x"), collection=SCHEMA, stamp=1.0)
    await store.create(paths.claim(1), claim.model_dump_json().encode())
    await store.delete("collection.json")
    report = await check(store)
    assert kinds(report) == {"collection"}
    assert report.uid == UID
    assert report.shards[0].tail == TAIL


async def test_a_deleted_collection_is_told_and_not_checked(store: MemoryStore) -> None:
    await store.create("deleted", b"{}")
    report = await check(store)
    assert kinds(report) == {"deleted"}
    assert report.clean


async def test_an_empty_url_is_not_a_clean_collection() -> None:
    with pytest.raises(StoreNotFound, match="empty"):
        await check(MemoryStore())


async def test_a_shard_that_is_not_there_cannot_be_asked_for(store: MemoryStore) -> None:
    with pytest.raises(ValueError, match="--shard is 4"):
        await check_collection(store, URL, only=4)


async def test_nothing_is_written_and_no_file_is_left(
    store: MemoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    before = dict(store._objects)
    await check(store)
    assert store._objects == before
    assert not any(entry.name for entry in os.scandir(tmp_path))
