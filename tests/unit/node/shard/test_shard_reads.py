"""What a read may count on: strong, session and bounded reads, at leaders and followers."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from replicas import QUIET, TestClock, contents, leading, make_replica, new_shard, running, until, upsert, write
from steered import SteeredStore

from vectorfleet_node.shard.port import Behind
from vectorfleet_node.storage.memory import MemoryStore
from vectorfleet_node.storage.store import StoreUnavailable

LAZY = replace(QUIET, poll=1e9, poll_idle=1e9)  # learns only what it asks for


async def test_a_strong_read_at_a_follower_sees_a_write_just_acknowledged_elsewhere(tmp_path: Path) -> None:
    store = MemoryStore()
    await new_shard(store)
    leader, follower = make_replica(store, tmp_path, "a"), make_replica(store, tmp_path, "b", settings=LAZY)
    async with leading(leader), running(follower):
        for number in range(10):
            await write(leader, upsert([f"k{number}"]))
            await follower.make_strong()
            assert f"k{number}" in contents(follower.view())


async def test_a_strong_read_never_joins_a_check_that_has_asked_already(tmp_path: Path) -> None:
    shared = MemoryStore()
    await new_shard(shared)
    slow = SteeredStore(shared)
    leader, follower = make_replica(shared, tmp_path, "a"), make_replica(slow, tmp_path, "b", settings=LAZY)
    async with leading(leader), running(follower):
        await follower.make_strong()
        slow.hold_reply("get shards/0/log")
        early = asyncio.create_task(follower.make_strong())
        await until(lambda: slow.waiting)
        await write(leader, upsert(["new"]))
        late = [asyncio.create_task(follower.make_strong()) for _ in range(5)]
        await asyncio.sleep(0.01)
        before = slow.asked("get shards/0/log")
        slow.release()
        await early
        for read in late:
            await read
        assert "new" in contents(follower.view())
        assert slow.asked("get shards/0/log") - before <= 3, "the late reads did not share one check"


async def test_a_strong_read_at_a_leader_looks_behind_its_undecided_write(tmp_path: Path) -> None:
    shared = MemoryStore()
    await new_shard(shared)
    slow = SteeredStore(shared)
    old, new = make_replica(slow, tmp_path, "a", settings=LAZY), make_replica(shared, tmp_path, "b")
    async with leading(old), running(new):
        slow.hold_reply("create shards/0/log")
        undecided = asyncio.create_task(write(old, upsert(["landed"])))
        await until(lambda: slow.waiting)
        await new.take_over()
        await write(new, upsert(["acknowledged"]))
        await old.make_strong()
        assert set(contents(old.view())) == {"landed", "acknowledged"}
        assert not old.leads
        slow.release()
        assert await undecided == 3


async def test_a_leaders_check_acknowledges_its_write_that_landed(tmp_path: Path) -> None:
    store = SteeredStore()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path, "a", settings=LAZY)) as replica:
        store.hold_reply("create shards/0/log")
        sent = asyncio.create_task(write(replica, upsert(["a"])))
        await until(lambda: store.waiting)
        await replica.make_strong()
        assert await sent == 3
        assert replica.leads
        store.release()
        assert await write(replica, upsert(["b"])) == 4


async def test_a_bounded_read_asks_only_when_the_last_answer_is_too_old(tmp_path: Path) -> None:
    store, clock = SteeredStore(), TestClock()
    await new_shard(store)
    leader = make_replica(store.inner, tmp_path, "a")
    follower = make_replica(store, tmp_path, "b", settings=LAZY, clock=clock)
    async with leading(leader), running(follower):
        await follower.make_strong()
        await write(leader, upsert(["new"]))
        asked = len(store.calls)
        await follower.make_fresh(5)
        assert len(store.calls) == asked
        clock.added += 6
        await follower.make_fresh(5)
        assert "new" in contents(follower.view())
        store.down = True
        await follower.make_fresh(5)
        clock.added += 6
        with pytest.raises(StoreUnavailable):
            await follower.make_fresh(5)
        assert "new" in contents(follower.view())


async def test_freshness_counts_from_asking_not_from_the_answer(tmp_path: Path) -> None:
    shared, clock = MemoryStore(), TestClock()
    await new_shard(shared)
    slow = SteeredStore(shared)
    leader = make_replica(shared, tmp_path, "a")
    follower = make_replica(slow, tmp_path, "b", settings=LAZY, clock=clock)
    async with leading(leader), running(follower):
        await follower.make_strong()
        slow.hold_reply("get shards/0/log")
        check = asyncio.create_task(follower.make_strong())
        await until(lambda: slow.waiting)
        await write(leader, upsert(["new"]))
        clock.added += 10
        slow.release()
        await check
        assert "new" not in contents(follower.view())
        await follower.make_fresh(5)
        assert "new" in contents(follower.view())


async def test_a_session_waits_for_its_position_and_not_for_one_that_the_log_does_not_have(tmp_path: Path) -> None:
    store = MemoryStore()
    await new_shard(store)
    leader, follower = make_replica(store, tmp_path, "a"), make_replica(store, tmp_path, "b", settings=LAZY)
    async with leading(leader), running(follower):
        position = await write(leader, upsert(["a"]))
        await follower.wait_for(position)
        assert set(contents(follower.view())) == {"a"}
        for replica in (leader, follower):
            with pytest.raises(Behind, match=str(position + 1)):
                await replica.wait_for(position + 1)


async def test_a_follower_learns_of_writes_by_itself(tmp_path: Path) -> None:
    store = MemoryStore()
    await new_shard(store)
    leader, follower = make_replica(store, tmp_path, "a"), make_replica(store, tmp_path, "b")
    async with leading(leader), running(follower):
        position = await write(leader, upsert(["a"]))
        await until(lambda: follower.report().position == position)
        assert set(contents(follower.view())) == {"a"}


async def test_a_replica_waits_for_its_store_and_says_so(tmp_path: Path) -> None:
    store = SteeredStore()
    await new_shard(store)
    store.down = True
    replica = make_replica(store, tmp_path, "a")
    starting = asyncio.create_task(replica.start())
    await until(lambda: "does not answer" in replica.report().message)
    assert not replica.report().ready
    store.down = False
    await starting
    assert replica.report().ready
    await replica.stop()
