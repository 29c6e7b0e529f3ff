"""Garbage collection: what nobody needs goes, what somebody may need stays, whoever crashes, stalls or wakes late."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from garbage import TIDY, collected, fill, garbage
from replicas import (
    UID,
    Counts,
    abandon,
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
from vectorfleet_node.shard.port import NotApplied, NotLeader
from vectorfleet_node.shard.publisher import boundary_with
from vectorfleet_node.shard.replica import ShardReplica
from vectorfleet_node.storage import paths
from vectorfleet_node.storage.log import LARGE_BLOCK, SMALL_BLOCK
from vectorfleet_node.storage.memory import MemoryStore
from vectorfleet_node.storage.record import Batch, Fence, Record, decode, encode
from vectorfleet_node.storage.store import StorageError


def slots(store: SteeredStore | MemoryStore) -> list[int]:
    keys = (store.inner if isinstance(store, SteeredStore) else store)._objects
    return [paths.number_of(key) or 0 for key in sorted(keys) if "/log/" in key]


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


async def test_a_follower_that_is_behind_a_collected_slot_loads_the_shard_anew(tmp_path: Path) -> None:
    store, slow = SteeredStore(), SteeredStore()
    slow.inner = store.inner
    await new_shard(store)
    follower = make_replica(slow, tmp_path, "b")
    async with leading(make_replica(store, tmp_path, "a", settings=TIDY)) as leader, running(follower):
        await fill(leader, 2)
        await follower.make_strong()
        slow.hold("get shards/0/log")
        await until(lambda: slow.waiting)
        for _ in range(3):
            await fill(leader, 70)
        await collected(store.inner, leader)
        slow.release()
        await follower.make_strong()
        assert contents(follower.view()) == contents(leader.view())
        await until(lambda: not follower.report().message)
        assert follower.report().ready


async def test_a_manifest_that_is_collected_while_it_is_adopted_is_no_damage(tmp_path: Path) -> None:
    store, slow = SteeredStore(), SteeredStore()
    slow.inner = store.inner
    await new_shard(store)
    follower = make_replica(slow, tmp_path, "b")
    async with leading(make_replica(store, tmp_path, "a", settings=TIDY)) as leader, running(follower):
        slow.hold("get shards/0/manifests")
        await fill(leader, 2)
        await until(lambda: slow.waiting)
        for _ in range(3):
            await fill(leader, 2)
        await leader.compact()
        await fill(leader, 1)
        await collected(store.inner, leader)
        await until(lambda: follower._follower.state.position == leader._follower.state.position)
        slow.release()
        newest = leader._follower.state.newest_published
        await until(lambda: follower._follower.state.layout.position == newest and not follower.report().message)
        assert contents(follower.view()) == contents(leader.view())


async def test_a_leader_that_cannot_adopt_publishes_no_file_that_may_be_collected(tmp_path: Path) -> None:
    store, blind = SteeredStore(), SteeredStore()
    blind.inner = store.inner
    get, broken = blind.get, True

    async def get_no_manifest(key: str) -> bytes | None:
        if broken and "/manifests/" in key:
            raise StorageError("not now")
        return await get(key)

    await new_shard(store)
    async with leading(make_replica(store, tmp_path, "a", settings=TIDY)) as leader:
        await fill(leader, 2)
        heir = make_replica(blind, tmp_path, "b", settings=TIDY)
        await heir.start()
        blind.get = get_no_manifest  # type: ignore[method-assign]
        for step in range(FAN_IN):
            await fill(leader, 2, f"{step}-")
        await leader.compact()
        await fill(leader, 1)
        await collected(store.inner, leader)
    async with leading(heir):
        await write(heir, upsert(["new"]))
        rows, manifests = contents(heir.view()), store.keys("manifests/")
        with pytest.raises(StorageError, match="no manifest since 4 can be used"):
            await heir.flush()
        assert store.keys("manifests/") == manifests
        broken = False
        await heir.flush()
        assert contents(heir.view()) == rows
        async with running(fresh := make_replica(store.inner, tmp_path, "c")):
            assert (fresh.report().message, contents(fresh.view())) == ("", rows)


async def test_a_manifest_of_a_dead_leader_whose_files_were_collected_is_passed_over(tmp_path: Path) -> None:
    store = SteeredStore()
    await new_shard(store)
    dying = make_replica(store, tmp_path, "a", settings=TIDY)
    await dying.start()
    await dying.take_over()
    await fill(dying, 70)
    await write(dying, upsert(["unpublished"]))
    store.hold("create shards/0/log")
    flush = asyncio.create_task(dying.flush())
    await until(lambda: len(store.keys("manifests/")) == 2 and store.waiting)
    await abandon(dying)
    await asyncio.gather(flush, return_exceptions=True)
    orphan = paths.number_of(store.keys("manifests/")[-1])
    async with leading(make_replica(store.inner, tmp_path, "b", settings=TIDY)) as leader:
        assert leader._follower.state.layout.position != orphan
        await fill(leader, 1)
        await until(lambda: not [key for key in garbage(store.inner, leader) if "/segments/" in key])
        assert paths.manifest(0, orphan or 0) in store.keys("manifests/")  # above the boundary: it goes later
        async with running(late := make_replica(store.inner, tmp_path, "c")):
            assert (late.report().message, contents(late.view())) == ("", contents(leader.view()))
        await fill(leader, 1)
        await fill(leader, 1)
        await collected(store.inner, leader)


async def test_the_garbage_collection_of_a_zombie_deletes_nothing_that_is_named(tmp_path: Path) -> None:
    store = SteeredStore()
    await new_shard(store)
    zombie = make_replica(store, tmp_path, "a", settings=TIDY)
    async with running(zombie):
        await zombie.take_over()
        for step in range(FAN_IN):
            await fill(zombie, 40, f"{step}-")
        await zombie.compact()
        assert zombie._reign is not None
        asleep = zombie._reign.collector
        scope = asleep._scope()  # of a round that goes on when everything has changed
        asleep._ended = lambda: False
        async with leading(make_replica(store.inner, tmp_path, "b", settings=TIDY)) as leader:
            for step in range(FAN_IN):
                await fill(leader, 20, f"{step}-")
            await leader.pin("now")
            await leader.compact()
            for _ in range(3):
                await fill(leader, 70)
            await until(lambda: not zombie.leads)
            await collected(store.inner, leader)
            kept = store.keys()
            await asleep._round(scope)
            assert set(kept) <= set(store.keys())
            rows, hashed = contents(leader.view()), row_hash(leader)
        async with running(fresh := make_replica(store.inner, tmp_path, "c")):
            assert (contents(fresh.view()), row_hash(fresh), fresh.report().message) == (rows, hashed, "")


async def test_an_append_that_stalled_until_its_slot_was_collected_is_not_acknowledged(tmp_path: Path) -> None:
    store = SteeredStore()
    await new_shard(store)
    stalled = make_replica(store, tmp_path, "a", settings=TIDY)
    async with running(stalled):
        await stalled.take_over()
        await fill(stalled, 3)
        store.hold("create shards/0/log")
        writing = asyncio.create_task(write(stalled, upsert(["late"])))
        await until(lambda: store.waiting)
        slot = stalled._follower.state.position + 1
        async with leading(make_replica(store.inner, tmp_path, "b", settings=TIDY)) as leader:
            for _ in range(3):
                await fill(leader, 70)
            await collected(store.inner, leader)
            assert slots(store)[2:4] == [slot, 2 * SMALL_BLOCK]  # the fence stands there, all about it is gone
            store.release()
            with pytest.raises(NotApplied):
                await writing
            assert "late" not in contents(leader.view())
            await stalled.make_strong()
            assert contents(stalled.view()) == contents(leader.view())


async def test_a_fence_in_a_collected_slot_does_not_lead(tmp_path: Path) -> None:
    store = SteeredStore()
    await new_shard(store)
    candidate = make_replica(store, tmp_path, "a", settings=TIDY)
    async with running(candidate), leading(make_replica(store.inner, tmp_path, "b", settings=TIDY)) as leader:
        await fill(leader, 3)
        await candidate.make_strong()
        store.hold("create shards/0/log")
        taking = asyncio.create_task(candidate.take_over())
        await until(lambda: store.waiting)
        for _ in range(3):
            await fill(leader, 70)
        await collected(store.inner, leader)
        store.release()
        with pytest.raises(NotLeader):
            await taking
        assert leader.leads
        await candidate.make_strong()
        assert contents(candidate.view()) == contents(leader.view())


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
