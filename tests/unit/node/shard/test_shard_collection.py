"""Garbage collection: what nobody needs goes, what somebody may need stays, whoever crashes, stalls or wakes late."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from garbage import TIDY, collected, fill, slots
from replicas import (
    UID,
    Counts,
    contents,
    delete,
    leading,
    make_replica,
    new_shard,
    row_hash,
    running,
    until,
    upsert,
    write,
)
from steered import SteeredStore

from vectorfleet_node.shard.compaction import FAN_IN
from vectorfleet_node.shard.publisher import boundary_with
from vectorfleet_node.shard.replica import ShardReplica
from vectorfleet_node.storage import paths
from vectorfleet_node.storage.log import LARGE_BLOCK, SMALL_BLOCK
from vectorfleet_node.storage.record import Batch, Fence, Record, decode, encode
from vectorfleet_node.storage.store import StorageError


@pytest.mark.parametrize(
    ("published", "position", "kept", "expected"),
    [([], 5, 2, 0), ([3], 5, 2, 3), ([3, 4], 5, 2, 4), ([3, 4], 5, 3, 3), ([3], 5, 3, 0), ([3], 5, 0, 3)],
)
def test_the_boundary_is_the_oldest_of_the_manifests_that_are_kept_and_never_the_newest(
    published: list[int], position: int, kept: int, expected: int
) -> None:
    assert boundary_with(position, published, kept) == expected


async def test_slots_manifests_and_files_go_once_nothing_needs_them_and_fences_stay(tmp_path: Path) -> None:
    store, counts = SteeredStore(), Counts()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path, "a", settings=TIDY, counts=counts)) as leader:
        for step in range(4):
            await fill(leader, 50, f"{step}-")
        await leader.compact()
        await fill(leader, 1)
        await fill(leader, 1)
        await collected(store.inner, leader)
        rows, hashed = contents(leader.view()), row_hash(leader)
        state = leader._follower.state
        assert slots(store)[:2] == [1, 2] == state.fences
        assert slots(store)[2] == (state.boundary + 1) // SMALL_BLOCK * SMALL_BLOCK == 3 * SMALL_BLOCK
        assert store.keys("boundary/") == [paths.boundary(0, 1, block) for block in range(3)]
        assert [paths.number_of(key) for key in store.keys("manifests/")] == sorted(state.published)
        assert set(counts.collected) == {"log", "manifest", "segment"}
        assert counts.collected["log"] == 3 * SMALL_BLOCK - 3
    async with leading(again := make_replica(store, tmp_path, "b", settings=TIDY)):
        assert (contents(again.view()), row_hash(again), again.report().message) == (rows, hashed, "")
        await fill(again, 70)
        await fill(again, 1)
        await fill(again, 1)
        await collected(store.inner, again)
        assert again.report().message == ""


async def test_the_marker_of_a_block_stands_before_any_of_its_slots_is_deleted(tmp_path: Path) -> None:
    store = SteeredStore()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path, "a", settings=TIDY)) as leader:
        for _ in range(3):
            await fill(leader, 80)
        await collected(store.inner, leader)
        await until(lambda: store.asked("delete shards/0/log"))
    marked = set[int]()
    for call in store.calls:
        if call.startswith("create shards/0/boundary/1/"):
            marked.add(int(call.rsplit("/", 1)[1]))
        elif call.startswith("delete shards/0/log/"):
            assert int(call.rsplit("/", 1)[1]) // SMALL_BLOCK in marked
    assert marked


async def test_nothing_goes_before_the_publish_record_is_in_the_log(tmp_path: Path) -> None:
    store = SteeredStore()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path, "a", settings=TIDY)) as leader:
        await fill(leader, 70)
        await fill(leader, 1)
        await collected(store.inner, leader)
        await write(leader, upsert(["last"]))
        deleted, before = store.asked("delete"), store.keys()
        store.hold("create shards/0/log")
        flush = asyncio.create_task(leader.flush())
        await until(lambda: store.waiting)
        await asyncio.sleep(0.05)
        assert store.asked("delete") == deleted
        assert set(before) < set(store.keys())
        store.release()
        await flush
        await until(lambda: store.asked("delete") > deleted)


async def test_a_large_block_has_one_marker_made_before_the_small_ones_go(tmp_path: Path) -> None:
    store = SteeredStore()
    await new_shard(store)
    replica = make_replica(store, tmp_path, "a", settings=replace(TIDY, publish_records=10**9))
    async with leading(replica) as leader:
        await fill(leader, 70)
        await fill(leader, 1)
        await fill(leader, 1)
        await collected(store.inner, leader)
        assert store.keys("boundary/") == [paths.boundary(0, 1, 0)]
        await stretch(leader, LARGE_BLOCK + SMALL_BLOCK)
        await fill(leader, 1)
        await fill(leader, 1)
        await collected(store.inner, leader)
        await until(lambda: store.keys("boundary/2/") == [paths.boundary(0, 2, 0)])
        await until(lambda: store.keys("boundary/1/") == [paths.boundary(0, 1, LARGE_BLOCK // SMALL_BLOCK)])
    # A collector that died before it made the large marker left all small ones.
    await store.inner.delete(paths.boundary(0, 2, 0))
    for block in range(LARGE_BLOCK // SMALL_BLOCK):
        await store.inner.put(paths.boundary(0, 1, block), b"")
    store.calls.clear()
    async with leading(make_replica(store, tmp_path, "next", settings=TIDY)) as leader:
        await fill(leader, 1)
        await until(lambda: store.keys("boundary/1/") == [paths.boundary(0, 1, LARGE_BLOCK // SMALL_BLOCK)])
    large = store.calls.index(f"create {paths.boundary(0, 2, 0)}")
    assert large < min(store.calls.index(f"delete {paths.boundary(0, 1, block)}") for block in (0, 100, 255))
    async with running(again := make_replica(store.inner, tmp_path, "b")):
        assert again.report().message == ""
        assert await again._log.collected(70)


async def stretch(leader: ShardReplica, through: int) -> None:
    """Empty records, put into the log directly, up to a slot: thousands of writes would take too long."""
    follower = leader._follower
    while follower.state.position < through:
        state = follower.state
        nonce = state.position.to_bytes(16, "big")
        record = Record(UID, 0, state.position + 1, state.epoch, nonce, state.stamp + 1, state.chain, Batch(()))
        assert await leader._log.append(record.position, encode(record)) is None
        await leader.make_strong()


async def test_an_error_of_the_store_is_told_and_what_it_kept_is_collected_later(tmp_path: Path) -> None:
    store = SteeredStore()
    await new_shard(store)

    async def quickly(seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.01))

    refuse, refused = True, 0
    delete_object = store.inner.delete

    async def refusing(key: str) -> None:
        nonlocal refused
        if refuse and "/segments/" in key:
            refused += 1
            raise StorageError("not now")
        await delete_object(key)

    store.inner.delete = refusing  # type: ignore[method-assign]
    async with leading(make_replica(store, tmp_path, "a", settings=TIDY, sleep=quickly)) as leader:
        for _ in range(FAN_IN):
            await fill(leader, 3)
        await leader.compact()
        await fill(leader, 1)
        await until(lambda: "collected later: not now" in leader.report().message)
        await until(lambda: refused > 200)  # many more than the publishes alone would make it try
        await write(leader, delete("k1"))
        refuse = False
        await collected(store.inner, leader)
        await until(lambda: leader.report().message == "")


async def test_files_that_only_old_manifests_name_go_from_an_idle_shard_too(tmp_path: Path) -> None:
    store = SteeredStore()
    await new_shard(store)
    settings = replace(TIDY, seal_idle=0.02, tidy_idle=0.05, keep_manifests=4)
    async with leading(make_replica(store, tmp_path, "a", settings=settings)) as leader:
        for step in range(8):
            await fill(leader, 5, f"{step}-")

        def stored() -> int:
            return sum(len(store.inner._objects[key]) for key in store.keys("segments/"))

        await until(lambda: stored() <= 1.5 * leader.report().live_bytes)
        await until(lambda: not leader._leading().publisher._untidy())
        tail = leader.report().position
        await asyncio.sleep(0.2)
        assert leader.report().position <= tail + 4  # and then it is quiet


async def test_a_slot_that_vanished_is_told_by_the_slots_behind_it(tmp_path: Path) -> None:
    store = SteeredStore()
    await new_shard(store)
    follower = make_replica(store, tmp_path, "b")
    async with running(follower), leading(make_replica(store.inner, tmp_path, "a")) as leader:
        await write(leader, upsert(["a"]))
        await follower.make_strong()
        store.hold("get shards/0/log")
        await until(lambda: store.waiting)
        for number in range(3):
            await write(leader, upsert([f"k{number}"], number))
        await store.inner.delete(paths.log_slot(0, 4))
        store.release()
        follower._follower._look_again = 0
        await until(lambda: "log record 4 is missing" in follower.report().message)
        assert not follower.report().ready


async def test_slots_older_than_the_list_of_fences_are_read_before_they_are_deleted(tmp_path: Path) -> None:
    store = SteeredStore()
    await new_shard(store)
    for name in "ab":
        async with leading(make_replica(store, tmp_path, name)) as leader:
            await fill(leader, 70)
    async with running(replica := make_replica(store, tmp_path, "c", settings=TIDY)):
        replica._follower.state.fences.clear()
        replica._follower.state.fences_since = replica._follower.state.layout.position  # as a format 1 manifest has it
        await replica.take_over()
        await fill(replica, 1)
        await fill(replica, 1)
        kept = [1, 2, 74]
        await until(lambda: slots(store)[: len(kept) + 1] == [*kept, 2 * SMALL_BLOCK])
        for slot in kept:
            assert isinstance(
                decode(store.inner._objects[paths.log_slot(0, slot)], uid=UID, shard=0, position=slot).body, Fence
            )
