"""Rotten bytes: found, fetched again or worked round, told, and never served."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from replicas import (
    UID,
    Counts,
    contents,
    ids,
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

from vectorfleet_node.shard.port import NotReady
from vectorfleet_node.storage import manifest as manifests
from vectorfleet_node.storage import paths
from vectorfleet_node.storage.memory import MemoryStore
from vectorfleet_node.storage.record import decode, encode
from vectorfleet_node.storage.store import DataLoss

KINDS = ["rows", "vectors", "index", "fields", "requests"]


async def sealed_shard(store: SteeredStore, folder: Path) -> tuple[dict[object, object], str]:
    """A shard with a manifest and a record after it; its rows and their hash."""
    await new_shard(store)
    async with leading(make_replica(store, folder, "maker")) as leader:
        await write(leader, upsert(["a", "b", "c"], 1))
        await leader.flush()
        await write(leader, upsert(["c", "d"], 2))
        return dict(contents(leader.view())), row_hash(leader)


def flip(path: Path) -> None:
    body = bytearray(path.read_bytes())
    body[len(body) // 2] ^= 4
    path.write_bytes(bytes(body))


@pytest.mark.parametrize("kind", KINDS)
async def test_a_rotten_file_in_the_cache_is_set_aside_and_fetched_again(kind: str, tmp_path: Path) -> None:
    store = SteeredStore()
    rows, hashed = await sealed_shard(store, tmp_path)
    (victim,) = (tmp_path / "maker").glob(f"*.{kind}")
    flip(victim)
    counts = Counts()
    async with running(replica := make_replica(store, tmp_path, "maker", counts=counts)):
        assert (contents(replica.view()), row_hash(replica)) == (rows, hashed)
        assert replica.report().ready
        assert store.asked("download") == 1
        assert counts.built == 0
        assert victim.with_name(victim.name + ".damaged").exists()


@pytest.mark.parametrize("kind", ["rows", "vectors", "requests", "manifests/"])
async def test_a_rotten_object_is_worked_round_by_the_log_and_told(kind: str, tmp_path: Path) -> None:
    store = SteeredStore()
    rows, hashed = await sealed_shard(store, tmp_path)
    key = store.rot(kind)
    async with leading(make_replica(store, tmp_path, "b")) as replica:
        assert (contents(replica.view()), row_hash(replica)) == (rows, hashed)
        assert replica.report().ready
        assert "damaged" in replica.report().message
        assert kind == "manifests/" or key in replica.report().message
        await replica.flush()
    async with running(healed := make_replica(store, tmp_path, "c")):
        assert (contents(healed.view()), row_hash(healed)) == (rows, hashed)
        assert healed.report().message == ""
        assert healed.report().growing_rows == 0


async def test_a_rotten_segment_that_the_log_cannot_replace_is_refused(tmp_path: Path) -> None:
    store = SteeredStore()
    await sealed_shard(store, tmp_path)
    key = store.rot("vectors")
    await store.put(paths.boundary(0, 1, 0), b"")
    await store.delete(paths.log_slot(0, 2))
    async with running(replica := make_replica(store, tmp_path, "b")):
        assert not replica.report().ready
        assert key in replica.report().message
        with pytest.raises(NotReady, match="damaged"):
            replica.view()


async def test_a_follower_goes_on_serving_when_a_published_segment_is_rotten(tmp_path: Path) -> None:
    store = SteeredStore()
    await new_shard(store)
    leader, follower = make_replica(store, tmp_path, "a"), make_replica(store, tmp_path, "b")
    async with leading(leader), running(follower):
        await write(leader, upsert(["a", "b"], 1))
        await follower.make_strong()
        store.hold("download")
        await leader.flush()
        await until(lambda: store.waiting)
        store.rot(".vectors")
        store.release()
        await until(lambda: "damaged" in follower.report().message)
        assert contents(follower.view()) == contents(leader.view())
        assert follower.report().ready


@pytest.mark.parametrize("offset", [0, 4, 60, -2])
async def test_a_damaged_record_stops_the_replica_and_is_never_skipped(offset: int, tmp_path: Path) -> None:
    store = SteeredStore()
    await sealed_shard(store, tmp_path)
    for key in store.keys("manifests/"):
        await store.delete(key)
    store.rot(paths.log_slot(0, 3), offset=offset)
    async with running(replica := make_replica(store, tmp_path, "b")):
        assert not replica.report().ready
        assert "log record 3 of shard 0" in replica.report().message
        with pytest.raises(NotReady):
            replica.view()


async def test_a_record_that_becomes_unreadable_takes_readiness_and_strong_reads_away(tmp_path: Path) -> None:
    store = SteeredStore()
    await new_shard(store)
    leader, follower = make_replica(store.inner, tmp_path, "a"), make_replica(store, tmp_path, "b")
    async with leading(leader), running(follower):
        await write(leader, upsert(["a"], 1))
        await follower.make_strong()
        store.hold("get shards/0/log")
        await write(leader, upsert(["b"], 1))
        store.rot(paths.log_slot(0, 4))
        store.release()
        await until(lambda: not follower.report().ready)
        assert "log record 4" in follower.report().message
        assert set(contents(follower.view())) == {"a"}


async def test_another_record_in_place_of_one_breaks_the_chain_and_is_refused(tmp_path: Path) -> None:
    store = MemoryStore()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path, "a")) as leader:
        for number in range(4):
            await write(leader, upsert([f"k{number}"], number))
    key = paths.log_slot(0, 4)
    record = decode(store._objects[key], uid=UID, shard=0, position=4)
    object.__setattr__(record, "nonce", bytes.fromhex(ids("forged")()))
    store._objects[key] = encode(record)
    async with running(replica := make_replica(store, tmp_path, "b")):
        assert not replica.report().ready
        assert "record 5" in replica.report().message


@pytest.mark.parametrize("position", [1, 3])
async def test_a_missing_record_is_told(position: int, tmp_path: Path) -> None:
    store = SteeredStore()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path, "a")) as leader:
        for number in range(4):
            await write(leader, upsert([f"k{number}"], number))
    await store.delete(paths.log_slot(0, position))
    async with running(replica := make_replica(store, tmp_path, "b")):
        assert not replica.report().ready
        assert replica.report().message


async def test_a_shard_without_slot_1_is_lost_data_not_an_empty_shard(tmp_path: Path) -> None:
    async with running(replica := make_replica(MemoryStore(), tmp_path, "a")):
        assert not replica.report().ready
        assert "slot 1" in replica.report().message


async def test_another_manifest_in_place_of_the_published_one_is_not_used(tmp_path: Path) -> None:
    store = SteeredStore()
    await new_shard(store)
    leader, follower = make_replica(store, tmp_path, "a"), make_replica(store.inner, tmp_path, "b")
    async with leading(leader), running(follower):
        await write(leader, upsert(["a", "b"], 1))
        rows = contents(leader.view())
        store.hold("create shards/0/log")
        flush = asyncio.create_task(leader.flush())
        await until(lambda: store.keys("manifests/") and store.waiting)
        (key,) = store.keys("manifests/")
        good = manifests.decode(store.inner._objects[key], uid=UID, shard=0, position=paths.number_of(key) or 0)
        hiding = good.model_copy(update={"segments": (good.segments[0].model_copy(update={"live": b"\x01"}),)})
        store.inner._objects[key] = manifests.encode(hiding)
        store.release()
        await flush
        await follower.make_strong()
        with pytest.raises(DataLoss, match="not the one that the log names"):
            await follower._follower.adoption.join()
        assert contents(follower.view()) == rows
