"""Garbage collection and those who come late: followers, adopters, zombies, and writes that stalled."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from garbage import TIDY, collected, fill, garbage, slots
from replicas import (
    abandon,
    contents,
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
from vectorfleet_node.storage import paths
from vectorfleet_node.storage.log import SMALL_BLOCK
from vectorfleet_node.storage.store import StorageError


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
