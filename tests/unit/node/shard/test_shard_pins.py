"""Pins: a pinned moment reads the same whatever is written, flushed, merged, collected, taken over and restarted."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from garbage import garbage
from replicas import (
    QUIET,
    SCHEMA,
    UID,
    abandon,
    contents,
    delete,
    leading,
    make_replica,
    new_shard,
    running,
    until,
    upsert,
    write,
)
from steered import SteeredStore

from vectorfleet_node.engine.cpu import CpuEngine
from vectorfleet_node.shard.cache import SegmentCache
from vectorfleet_node.shard.compaction import FAN_IN
from vectorfleet_node.shard.loader import Loader
from vectorfleet_node.shard.port import InDoubt, NotLeader
from vectorfleet_node.shard.replica import ShardReplica
from vectorfleet_node.shard.rowhash import to_hex
from vectorfleet_node.shard.settings import Observer
from vectorfleet_node.storage import paths
from vectorfleet_node.storage.log import Log
from vectorfleet_node.storage.record import Pin
from vectorfleet_node.storage.store import DataLoss, Store

TIDY = replace(QUIET, collect_pause=0, keep_manifests=2)


async def read(store: Store, folder: Path, pin: Pin) -> tuple[int, dict[object, object], str]:
    """Position, rows and row hash of a pinned moment, by a loader with a cache of its own."""
    await asyncio.to_thread(folder.mkdir)
    cache = SegmentCache(store, 0, folder, CpuEngine(build_threads=1), SCHEMA, Observer())
    log = Log(store, UID, 0, sleep=asyncio.sleep)
    loader = Loader(store, log, cache, uid=UID, shard=0, collection=SCHEMA, sleep=asyncio.sleep)
    state = await loader.load_at(pin.manifest, pin.through)
    return state.position, dict(contents(state.snapshot())), to_hex(state.row_hash)


async def churn(leader: ShardReplica) -> None:
    """Everything that could move a row or let one go."""
    for step in range(FAN_IN):
        for number in range(20):
            await write(leader, upsert([f"k{number}"], 1000 * step + number))
        await write(leader, delete("k1", "k2"))
        await leader.flush()
    await leader.compact()
    for _ in range(3):
        await write(leader, upsert(["last"]))
        await leader.flush()
    inner = leader._realm.store.inner  # type: ignore[attr-defined]
    await until(lambda: not garbage(inner, leader))


async def test_a_pinned_moment_reads_the_same_after_everything(tmp_path: Path) -> None:
    store = SteeredStore()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path, "a", settings=TIDY)) as leader:
        await write(leader, upsert([f"k{number}" for number in range(10)], 1))
        await leader.flush()
        await write(leader, upsert(["k1", "behind the manifest"], 2))
        await write(leader, delete("k3"))
        pin = await leader.pin("backup")
        assert (pin.manifest, pin.through) == (3, 6)  # the publish record is number 4
        assert await leader.pin("backup") == pin
        before = await read(store, tmp_path / "before", pin)
        assert before[:2] == (6, contents(leader.view()))
        await churn(leader)
        assert leader._follower.state.boundary > 64 > pin.through
        pinned = {paths.log_slot(0, slot) for slot in range(pin.manifest + 1, pin.through + 1)}
        assert pinned | {paths.manifest(0, pin.manifest)} <= set(store.keys())
        assert await read(store, tmp_path / "after churn", pin) == before
    async with leading(make_replica(store, tmp_path, "b", settings=TIDY)) as leader:
        await churn(leader)
        assert await read(store, tmp_path / "after a takeover", pin) == before
    async with leading(make_replica(store, tmp_path, "b", settings=TIDY)) as leader:
        await churn(leader)
        assert await leader.pin("backup") == pin
        assert await read(store, tmp_path / "after a restart", pin) == before
        await leader.unpin("backup")
        await leader.unpin("backup")
        await until(lambda: not garbage(store.inner, leader))
        assert paths.manifest(0, pin.manifest) not in store.keys("manifests/")
        assert paths.log_slot(0, pin.through) not in store.keys("log/")
        with pytest.raises(DataLoss, match="manifest 3 of shard 0 is missing"):
            await read(store, tmp_path / "after unpin", pin)


async def test_a_shard_without_a_manifest_gets_one_when_it_is_pinned(tmp_path: Path) -> None:
    store = SteeredStore()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path, "a")) as leader:
        pin = await leader.pin("empty")
        assert await read(store, tmp_path / "read", pin) == (3, {}, "0" * 64)


async def test_a_pin_on_a_manifest_below_the_boundary_is_refused_by_every_replica(tmp_path: Path) -> None:
    store = SteeredStore()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path, "a", settings=TIDY)) as leader:
        for _ in range(4):
            await write(leader, upsert(["a"]))
            await leader.flush()
        state, reign = leader._follower.state, leader._reign
        assert reign is not None
        await reign.leadership.control(Pin("late", min(state.published) - 3, state.position))
        await reign.leadership.control(Pin("unheard of", 10**6, state.position))
        assert state.pins == {}
        await leader.pin("good")
    async with running(again := make_replica(store, tmp_path, "b")):
        assert set(again._follower.state.pins) == {"good"}


async def test_pins_go_ahead_of_the_writes_that_wait_and_take_turns(tmp_path: Path) -> None:
    store = SteeredStore()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path, "a", settings=replace(QUIET, batch_bytes=1))) as leader:
        await write(leader, upsert(["a"]))
        await leader.flush()
        store.hold("create shards/0/log")
        writes = [asyncio.create_task(write(leader, upsert([f"k{number}"]))) for number in range(6)]
        await until(lambda: store.waiting)
        pins = [asyncio.create_task(leader.pin(f"pin{number}")) for number in range(3)]
        flush = asyncio.create_task(leader.flush())
        await asyncio.sleep(0.05)
        store.release()
        await asyncio.gather(*pins)
        assert sum(task.done() for task in writes) < len(writes)
        await asyncio.gather(*writes, flush)
        assert set(leader._follower.state.pins) == {"pin0", "pin1", "pin2"}


async def test_only_a_leader_pins_and_one_that_dies_leaves_the_pin_in_doubt(tmp_path: Path) -> None:
    store = SteeredStore()
    await new_shard(store)
    dying, follower = make_replica(store, tmp_path, "a"), make_replica(store.inner, tmp_path, "b")
    async with running(follower):
        await dying.start()
        await dying.take_over()
        await write(dying, upsert(["a"]))
        await dying.flush()
        with pytest.raises(NotLeader):
            await follower.pin("x")
        with pytest.raises(NotLeader):
            await follower.unpin("x")
        store.hold("create shards/0/log")
        pinning = asyncio.create_task(dying.pin("x"))
        await until(lambda: store.waiting)
        pinning.cancel()
        with pytest.raises(InDoubt):
            await pinning
        await abandon(dying)


async def test_a_pinned_moment_that_was_never_published_or_lost_a_record_is_refused(tmp_path: Path) -> None:
    store = SteeredStore()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path, "a")) as leader:
        for number in range(3):
            await write(leader, upsert([f"k{number}"], number))
            await leader.flush()
        pin = await leader.pin("x")
        with pytest.raises(DataLoss, match="does not count at log position 3"):
            await read(store, tmp_path / "too early", Pin("x", 3, 3))  # its publish record is number 4
        await store.delete(paths.log_slot(0, pin.through))
        with pytest.raises(DataLoss, match=f"log record {pin.through} of shard 0 is missing"):
            await read(store, tmp_path / "a record is gone", pin)
