"""Who leads: fences, zombies, and what happens to the writes of a leader that has lost its shard."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from replicas import QUIET, UID, abandon, contents, leading, make_replica, new_shard, running, until, upsert, write
from steered import SteeredStore

from vectorfleet_node.shard.port import InDoubt, NotApplied, NotLeader
from vectorfleet_node.storage import paths
from vectorfleet_node.storage.format import FORMAT
from vectorfleet_node.storage.memory import MemoryStore
from vectorfleet_node.storage.record import Fence, decode
from vectorfleet_node.storage.store import StoreUnavailable


async def test_a_zombie_leader_loses_its_slot_and_none_of_its_waiting_writes_is_applied(tmp_path: Path) -> None:
    shared = MemoryStore()
    await new_shard(shared)
    paused = SteeredStore(shared)
    zombie, heir = make_replica(paused, tmp_path, "a"), make_replica(shared, tmp_path, "b")
    async with leading(zombie), running(heir):
        await write(zombie, upsert(["kept"]))
        creates = paused.asked("create shards/0/log")
        paused.hold("shards/")
        sent = asyncio.create_task(write(zombie, upsert(["sent"])))
        await until(lambda: paused.asked("create shards/0/log") > creates)
        queued = asyncio.create_task(write(zombie, upsert(["queued"])))
        await asyncio.sleep(0.01)
        await heir.take_over()
        await write(heir, upsert(["new"]))
        paused.release()
        for lost in (sent, queued):
            with pytest.raises(NotApplied):
                await lost
        assert not zombie.leads
        await until(lambda: zombie.leader == ("owner-b", "b:7301"))
        with pytest.raises(NotLeader) as told:
            await write(zombie, upsert(["more"]))
        assert told.value.address == "b:7301"
        await zombie.make_strong()
        assert set(contents(zombie.view())) == set(contents(heir.view())) == {"kept", "new"}


async def test_a_rivals_record_in_the_slot_of_a_write_under_way_does_not_acknowledge_it(tmp_path: Path) -> None:
    shared = MemoryStore()
    await new_shard(shared)
    slow = SteeredStore(shared)
    lazy = replace(QUIET, poll=1e9, poll_idle=1e9)
    zombie, heir = make_replica(slow, tmp_path, "a", settings=lazy), make_replica(shared, tmp_path, "b")
    async with leading(zombie), running(heir):
        slow.hold("create shards/0/log/")
        sent = asyncio.create_task(write(zombie, upsert(["sent"])))
        await until(lambda: slow.waiting)
        await heir.take_over()
        await zombie._follower.catch_up()  # a look that was under way when the reign began brings the rival's fence
        assert not zombie.leads
        slow.release()
        with pytest.raises(NotApplied):
            await sent


async def test_who_leads_has_a_fence_of_its_own_in_the_log(tmp_path: Path) -> None:
    store = MemoryStore()
    await new_shard(store)
    for epoch, name in enumerate(("a", "b", "c"), start=2):
        async with leading(make_replica(store, tmp_path, name)) as replica:
            data = await store.get(paths.log_slot(0, epoch))
            assert data is not None
            fence = decode(data, uid=UID, shard=0, position=epoch)
            assert (fence.epoch, fence.body) == (epoch, Fence(f"owner-{name}", f"{name}:7301", FORMAT))
            assert replica.leads


async def test_an_idle_zombie_steps_down_at_its_next_strong_read(tmp_path: Path) -> None:
    store = MemoryStore()
    await new_shard(store)
    lazy = replace(QUIET, poll=1e9, poll_idle=1e9)
    zombie, heir = make_replica(store, tmp_path, "a", settings=lazy), make_replica(store, tmp_path, "b")
    async with leading(zombie), leading(heir):
        await write(heir, upsert(["new"]))
        assert zombie.leads
        await zombie.make_strong()
        assert not zombie.leads
        assert set(contents(zombie.view())) == {"new"}


async def test_a_takeover_keeps_every_acknowledged_write(tmp_path: Path) -> None:
    store = MemoryStore()
    await new_shard(store)
    first = make_replica(store, tmp_path, "a")
    await first.start()
    await first.take_over()
    for number in range(10):
        await write(first, upsert([f"k{number}"], number))
    rows = contents(first.view())
    await abandon(first)
    async with leading(make_replica(store, tmp_path, "b")) as second:
        assert contents(second.view()) == rows
        assert second.report().leader


async def test_one_of_two_candidates_wins_and_the_other_follows_it(tmp_path: Path) -> None:
    store = SteeredStore()
    await new_shard(store)
    a, b = make_replica(store, tmp_path, "a"), make_replica(store, tmp_path, "b")
    async with running(a, b):
        store.hold("create shards/0/log")
        candidates = [asyncio.create_task(replica.take_over()) for replica in (a, b)]
        await until(lambda: store.waiting == 2)
        store.release()
        outcomes = await asyncio.gather(*candidates, return_exceptions=True)
        assert sorted(map(type, outcomes), key=str) == sorted([type(None), NotLeader], key=str)
        assert [a.leads, b.leads].count(True) == 1
        assert a.leader == b.leader


async def test_a_candidate_that_loses_its_slot_to_a_write_applies_it_and_tries_again(tmp_path: Path) -> None:
    shared = MemoryStore()
    await new_shard(shared)
    slow = SteeredStore(shared)
    leader, candidate = make_replica(shared, tmp_path, "a"), make_replica(slow, tmp_path, "b")
    async with leading(leader), running(candidate):
        slow.hold("create shards/0/log")
        taking = asyncio.create_task(candidate.take_over())
        await until(lambda: slow.waiting)
        await write(leader, upsert(["late"]))
        slow.release()
        await taking
        assert candidate.leads
        assert set(contents(candidate.view())) == {"late"}


async def test_a_cancelled_takeover_still_ends_in_leading(tmp_path: Path) -> None:
    store = SteeredStore()
    await new_shard(store)
    async with running(replica := make_replica(store, tmp_path, "a")):
        store.hold("create shards/0/log")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await replica.take_over()
        assert not replica.leads
        store.release()
        await replica.take_over()
        assert replica.leads
        await write(replica, upsert(["a"]))
        assert replica.report().position == 3


async def test_a_takeover_with_the_store_away_fails_and_can_be_tried_again(tmp_path: Path) -> None:
    store = SteeredStore()
    await new_shard(store)
    async with running(replica := make_replica(store, tmp_path, "a")):
        store.down = True
        with pytest.raises(StoreUnavailable):
            await replica.take_over()
        store.down = False
        await replica.take_over()
        assert replica.leads


async def test_a_fence_in_a_slot_that_was_collected_does_not_lead(tmp_path: Path) -> None:
    shared = MemoryStore()
    await new_shard(shared)
    stalled = SteeredStore(shared)
    async with running(candidate := make_replica(stalled, tmp_path, "b")):
        stalled.hold("create shards/0/log")
        taking = asyncio.create_task(candidate.take_over())
        await until(lambda: stalled.waiting)
        async with leading(make_replica(shared, tmp_path, "a")) as leader:
            for number in range(70):
                await write(leader, upsert([f"k{number}"], number))
            await leader.flush()
            rows = contents(leader.view())
            await shared.put(paths.boundary(0, 1, 0), b"")
            for position in range(2, 64):
                await shared.delete(paths.log_slot(0, position))
            stalled.release()
            with pytest.raises(NotLeader) as told:
                await taking
            assert told.value.owner == "owner-a"
            assert not candidate.leads
            assert contents(candidate.view()) == rows


async def test_stopping_decides_the_write_under_way(tmp_path: Path) -> None:
    store = SteeredStore()
    await new_shard(store)
    replica = make_replica(store, tmp_path, "a")
    await replica.start()
    await replica.take_over()
    store.hold("create shards/0/log")
    sent = asyncio.create_task(write(replica, upsert(["sent"])))
    await until(lambda: store.waiting)
    queued = asyncio.create_task(write(replica, upsert(["queued"])))
    await asyncio.sleep(0.01)
    stopping = asyncio.create_task(replica.stop())
    with pytest.raises(NotApplied):
        await queued
    store.release()
    await stopping
    assert await sent == 3


async def test_a_write_that_cannot_be_decided_while_stopping_is_in_doubt(tmp_path: Path) -> None:
    store = SteeredStore()
    await new_shard(store)
    replica = make_replica(store, tmp_path, "a", settings=replace(QUIET, stop_patience=0.02))
    await replica.start()
    await replica.take_over()
    store.hold("create shards/0/log")
    sent = asyncio.create_task(write(replica, upsert(["sent"])))
    await until(lambda: store.waiting)
    await replica.stop()
    with pytest.raises(InDoubt):
        await sent
