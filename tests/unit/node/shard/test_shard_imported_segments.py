"""What becomes of imported segments: merges, collection and pins, and replicas that come late, or find them damaged."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from garbage import TIDY, collected
from replicas import (
    FLOOR,
    SCHEMA,
    abandon,
    bring,
    delete,
    ids,
    leading,
    make_replica,
    new_shard,
    row_hash,
    rows_of,
    running,
    seen,
    segments_of,
    until,
    upsert,
    write,
)
from steered import SteeredStore
from test_shard_pins import read

from vectorfleet_node.engine.cpu import CpuEngine
from vectorfleet_node.shard import compaction
from vectorfleet_node.shard.compaction import FAN_IN
from vectorfleet_node.shard.spool import Spool
from vectorfleet_node.shard.writing import SegmentWriter
from vectorfleet_node.storage.memory import MemoryStore


async def test_merges_put_imported_rows_among_those_of_their_neighbours(tmp_path: Path) -> None:
    """The rows of a part have sequences of the time of its beginning, between those of a segment flushed later."""
    store = SteeredStore()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path, settings=TIDY)) as leader:
        for step in range(FAN_IN):
            await write(leader, upsert([f"early {step}"], 1))
            store.hold("upload")
            importing = asyncio.create_task(bring(leader, [f"import {step}.{n}" for n in range(3)], 2, f"i{step}"))
            await until(lambda: store.waiting)
            await write(leader, upsert([f"late {step}"], 3))
            store.release()
            await importing
            await leader.flush()
        before, hashed = seen(leader), row_hash(leader)
        assert leader.report().segments == 2 * FAN_IN
        await leader.compact()
        assert leader.report().segments < 2 * FAN_IN
        for segment in segments_of(leader):
            assert (segment.content.sequences[1:] > segment.content.sequences[:-1]).all()
        assert seen(leader) == before
        assert row_hash(leader) == hashed
    async with running(again := make_replica(store.inner, tmp_path, "again")):
        assert seen(again) == before
        assert row_hash(again) == hashed


def test_rows_whose_sequences_interleave_are_written_in_their_order(tmp_path: Path) -> None:
    keys = {"a": ["a3", "a7", "a8"], "b": ["b1", "b5"]}
    parts = []
    for name, mine in keys.items():
        spool = Spool(tmp_path, SCHEMA, ids(name), 1 << 20)
        spool.append(upsert(mine, ord(name)).rows)
        sequences = np.array([int(key[1:]) for key in mine], np.uint64)
        parts.append(replace(spool.part(1), sequences=sequences))
        spool.remove()
    engine = CpuEngine(build_threads=1)
    written = SegmentWriter(tmp_path, SCHEMA, engine, 2, 2, ids("w"), lambda: None, lambda *_: None).write(parts)
    assert written.content.sequences.tolist() == [1, 3, 5, 7, 8]
    assert written.content.rows.column("key").to_pylist() == ["b1", "a3", "b5", "a7", "a8"]
    expected = rows_of(keys["a"], ord("a")) | rows_of(keys["b"], ord("b"))
    for number, key in enumerate(written.content.rows.column("key").to_pylist()):
        assert expected[key] == ("en", 0, written.vectors["default"][number].tobytes())
    hashes = {tuple(row) for part in parts for row in part.hashes.tolist()}
    assert {tuple(row) for row in written.content.hashes.tolist()} == hashes


async def test_segments_are_not_merged_while_parts_are_imported_unless_there_are_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SteeredStore()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path)) as leader:
        for number in range(FAN_IN):
            await write(leader, upsert([f"k{number}"]))
            await leader.flush()
        store.hold(".vectors")
        importing = asyncio.create_task(bring(leader, ["a", "b"]))
        await until(lambda: store.waiting)
        reign = leader._leading()
        await reign.compactor.settle(patient=True)
        assert leader.report().segments == FAN_IN
        monkeypatch.setattr(compaction, "_MANY", FAN_IN - 1)
        merging = asyncio.create_task(reign.compactor.settle(patient=True))
        await until(lambda: leader.report().compaction)
        store.release()
        await asyncio.gather(importing, merging)
        assert leader.report().segments == 2
        assert len(seen(leader)) == FAN_IN + 2


async def test_collection_keeps_what_an_import_named_until_nobody_can_replay_it(tmp_path: Path) -> None:
    store = MemoryStore()
    await new_shard(store)
    settings = replace(TIDY, keep_manifests=3)
    async with leading(make_replica(store, tmp_path, settings=settings)) as leader:
        await write(leader, upsert(["a"]))
        await leader.flush()
        await bring(leader, ["x", "y"], 1)
        await write(leader, delete("x", "y"))
        files = {name for names in leader._follower.state.imports.values() for name in names}
        assert files
        await write(leader, upsert(["b"]))
        await leader.flush()  # the manifest leaves the segment out: none of its rows is live
        await asyncio.sleep(0.1)
        assert files <= {key.rpartition("/")[2] for key in store._objects}
        for number in range(4):
            await write(leader, upsert([f"c{number}"]))
            await leader.flush()
        await until(lambda: not files & {key.rpartition("/")[2] for key in store._objects})
        assert not leader._follower.state.imports


async def test_a_pin_keeps_what_the_log_behind_its_manifest_imports(tmp_path: Path) -> None:
    store = SteeredStore()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path, settings=TIDY)) as leader:
        await write(leader, upsert(["a", "x"]))
        await leader.flush()
        await bring(leader, ["x", "y"], 1)
        pin = await leader.pin("backup")
        pinned = seen(leader)
        files = {name for names in leader._follower.state.imports.values() for name in names}
        await write(leader, delete("x", "y"))
        for number in range(4):
            await write(leader, upsert([f"c{number}"]))
            await leader.flush()
        await leader.compact()
        await asyncio.sleep(0.1)
        assert (await read(store, tmp_path / "pinned", pin))[1] == pinned
        await leader.unpin("backup")
        await until(lambda: not files & {key.rpartition("/")[2] for key in store.keys("/segments/")})
        assert not leader._follower.state.imports


async def test_a_follower_that_comes_too_late_for_an_imported_segment_loads_a_newer_manifest(tmp_path: Path) -> None:
    store = SteeredStore()
    await new_shard(store.inner)
    follower = make_replica(store, tmp_path, "follower", settings=TIDY)
    async with leading(make_replica(store.inner, tmp_path, settings=TIDY)) as leader, running(follower):
        await write(leader, upsert(["a"]))
        await follower.wait_for(leader.view().position)
        store.hold("download")
        await bring(leader, ["x", "y"], 1)
        await until(lambda: store.waiting)
        await write(leader, delete("x"))
        for number in range(4):
            await write(leader, upsert([f"c{number}"]))
            await leader.flush()
        await leader.compact()
        await collected(store.inner, leader)
        store.release()
        await follower.wait_for(leader.view().position)
        assert seen(follower) == seen(leader)
        assert follower.ready


async def test_an_imported_segment_that_cannot_be_had_keeps_a_follower_before_its_record(tmp_path: Path) -> None:
    store = SteeredStore()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path)) as leader:
        await write(leader, upsert(["a"]))
        before = leader.view().position
        await bring(leader, ["x", "y"], 1)
        await write(leader, upsert(["b"]))
        store.rot(".vectors")
        follower = make_replica(store, tmp_path, "follower")
        async with running(follower):
            assert not follower.ready
            assert "imports a segment that cannot be had" in follower.report().message
            assert "damaged in the store" in follower.report().message
        assert set(seen(leader)) == {"a", "b", "x", "y"}
        assert leader.view().position > before


async def test_a_follower_that_ran_into_a_damaged_segment_goes_on_when_it_was_mended(tmp_path: Path) -> None:
    store = SteeredStore()
    await new_shard(store)
    follower = make_replica(store, tmp_path, "follower")
    async with leading(make_replica(store.inner, tmp_path)) as leader, running(follower):
        await write(leader, upsert(["a"]))
        await follower.wait_for(leader.view().position)
        store.hold("download")
        await bring(leader, ["x", "y"], 1)
        await until(lambda: store.waiting)
        key = store.rot(".vectors")
        store.release()
        await until(lambda: not follower.ready)
        assert "imports a segment that cannot be had" in follower.report().message
        assert seen(follower) == rows_of(["a"])
        good = bytearray(store.inner._objects[key])
        good[-20] ^= 1
        store.inner._objects[key] = bytes(good)
        await until(lambda: follower.ready)
        await follower.wait_for(leader.view().position)
        assert seen(follower) == seen(leader)


async def test_what_a_leader_that_was_killed_had_spooled_is_removed_by_its_next_start(tmp_path: Path) -> None:
    store = MemoryStore()
    await new_shard(store)
    leader = make_replica(store, tmp_path)
    await leader.start()
    await leader.take_over()

    async def stalled() -> AsyncIterator[pa.RecordBatch]:
        yield upsert(["a"]).rows
        await asyncio.Event().wait()

    importing = asyncio.create_task(leader.import_rows("import", FLOOR, stalled()))
    await until(lambda: list((tmp_path / "a").glob("*.tmp")))
    left = {path: path.read_bytes() for path in (tmp_path / "a").glob("*.tmp")}
    await abandon(leader)
    importing.cancel()
    await asyncio.gather(importing, return_exceptions=True)
    for path, body in left.items():
        path.write_bytes(body)  # as a kill leaves it
    async with leading(make_replica(store, tmp_path)) as again:
        assert not list((tmp_path / "a").glob("*.tmp"))
        assert seen(again) == {}
