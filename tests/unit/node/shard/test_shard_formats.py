"""A fleet of two versions: everybody reads what the leader writes, and the format rises when all read the newer one."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import google_crc32c
import pytest
from replicas import UID, contents, delete, leading, make_replica, new_shard, report, running, until, upsert, write

from vectorfleet_node.shard.port import NotApplied, NotLeader
from vectorfleet_node.shard.replica import ShardReplica
from vectorfleet_node.storage import manifest as manifests
from vectorfleet_node.storage import paths
from vectorfleet_node.storage.checked import CheckedFile
from vectorfleet_node.storage.format import FORMAT, READABLE
from vectorfleet_node.storage.memory import MemoryStore
from vectorfleet_node.storage.record import decode


class FormerVersion:
    """A store as a node sees it that reads format 1 only: whatever is newer looks newer than this version reads."""

    def __init__(self, inner: MemoryStore) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def get(self, key: str, *rest: Any) -> bytes | None:
        body = await self._inner.get(key, *rest)
        if body is None or body[:4] not in (b"VFLR", b"VFMF") or int.from_bytes(body[4:6], "little") == 1:
            return body
        content = body[:4] + (FORMAT + 1).to_bytes(2, "little") + body[6:-4]
        return content + google_crc32c.value(content).to_bytes(4, "little")


async def quick(seconds: float) -> None:
    """Sleeps, but not long."""
    await asyncio.sleep(min(seconds, 0.01))


async def formats(store: MemoryStore) -> list[int]:
    """The format of each record of the log, in order."""
    found = []
    for position, key in enumerate(await store.list(paths.log_prefix(0)), 1):
        body = await store.get(key)
        assert body is not None
        found.append(decode(body, uid=UID, shard=0, position=position).format)
    return found


async def newest_manifest(store: MemoryStore) -> manifests.Manifest:
    key = (await store.list(paths.manifests_prefix(0)))[-1]
    body = await store.get(key)
    assert body is not None
    return manifests.decode(body, uid=UID, shard=0, position=paths.number_of(key) or 0)


async def files(store: MemoryStore, folder: Path) -> list[CheckedFile]:
    """The files that the newest manifest names."""

    found = []
    for file in (await newest_manifest(store)).files():
        await store.download(paths.segment(0, file.name), folder / file.name)
        found.append(CheckedFile.open(folder / file.name))
    return found


async def write_on(replica: ShardReplica, part: Any, request_id: str) -> int:
    """As a client does: again, with the same id, while the leader changes."""
    while True:
        try:
            return await write(replica, part, request_id)
        except (NotLeader, NotApplied):
            await asyncio.sleep(0.001)


async def test_a_former_version_follows_a_leader_of_this_one(tmp_path: Path) -> None:
    store = MemoryStore()
    await new_shard(store)
    new = make_replica(store, tmp_path, "new", fleet_format=lambda: 1)
    old = make_replica(FormerVersion(store), tmp_path, "old")  # type: ignore[arg-type]
    async with leading(new), running(old):
        await write(new, upsert(["a", "b", "c"]))
        await write(new, delete("b"))
        await new.flush()
        last = await write(new, upsert(["d"], seed=1))
        await until(lambda: report(old).position >= last and old._follower.state.layout.segments)
        assert contents(old.view()) == contents(new.view())
        assert report(old).ready
    assert set(await formats(store)) == {1}
    assert (await newest_manifest(store)).format == 1
    assert not any(file.checked for file in await files(store, tmp_path))


async def test_the_format_rises_when_every_replica_reads_the_newer_one_and_no_write_is_lost(tmp_path: Path) -> None:
    store, known = MemoryStore(), 1
    await new_shard(store)
    replica = make_replica(store, tmp_path, sleep=quick, fleet_format=lambda: known)
    async with leading(replica):
        await write(replica, upsert(["early"]))
        await replica.flush()
        epoch, known = replica._follower.state.epoch, 2
        for number in range(30):
            await write_on(replica, upsert([f"k{number}"], seed=number), f"client-{number}")
            await asyncio.sleep(0.002)
        await until(lambda: replica.leads and replica._follower.state.format == 2)
        assert replica._follower.state.epoch == epoch + 1
        assert set(contents(replica.view())) == {"early", *(f"k{number}" for number in range(30))}
        await replica.flush()
        await asyncio.sleep(0.1)
        assert replica._follower.state.epoch == epoch + 1, "a format that is in use is not begun again"
    found = await formats(store)
    assert found == sorted(found)
    assert (await newest_manifest(store)).format == 2


async def test_a_former_version_that_meets_a_newer_fence_stops_and_tells_why(tmp_path: Path) -> None:
    store, known = MemoryStore(), 1
    await new_shard(store)
    new = make_replica(store, tmp_path, "new", sleep=quick, fleet_format=lambda: known)
    old = make_replica(FormerVersion(store), tmp_path, "old", sleep=quick)  # type: ignore[arg-type]
    async with leading(new), running(old):
        position = await write(new, upsert(["a"]))
        await until(lambda: report(old).position >= position)
        known = 2  # a wrong guess, or a node that was rolled back
        await until(lambda: not report(old).ready)
        assert f"has format {FORMAT + 1}; this version reads formats" in report(old).message
        await write_on(new, upsert(["b"]), "after")
        assert report(new).ready
        assert report(old).position < report(new).position
    again = make_replica(FormerVersion(store), tmp_path, "again")  # type: ignore[arg-type]
    async with running(again):
        assert not report(again).ready


async def test_a_former_version_does_not_start_from_a_newer_manifest(tmp_path: Path) -> None:
    store = MemoryStore()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path, "new")) as new:
        await write(new, upsert(["a"]))
        await new.flush()
    old = make_replica(FormerVersion(store), tmp_path, "old")  # type: ignore[arg-type]
    async with running(old):
        assert not report(old).ready
        assert f"has format {FORMAT + 1}; this version reads formats" in report(old).message


async def test_a_format_is_never_lowered(tmp_path: Path) -> None:
    store = MemoryStore()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path, "a", fleet_format=lambda: 2)) as first:
        await write(first, upsert(["a"]))
    async with leading(make_replica(store, tmp_path, "b", fleet_format=lambda: 1)) as second:
        assert second._follower.state.format == 2
        await write(second, upsert(["b"]))
        await second.flush()
    assert (await formats(store))[1:] == [2] * (len(await formats(store)) - 1)
    assert (await newest_manifest(store)).format == 2


async def test_the_format_that_the_fleet_tells_is_no_reason_to_write_what_this_version_does_not_know(
    tmp_path: Path,
) -> None:
    store = MemoryStore()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path, fleet_format=lambda: FORMAT + 5)) as replica:
        await write(replica, upsert(["a"]))
        assert replica._follower.state.format == FORMAT


@pytest.mark.parametrize("flushed", [False, True])
async def test_a_collection_of_format_1_is_opened_answered_and_compacted_into_format_2(
    tmp_path: Path, flushed: bool
) -> None:
    store = MemoryStore()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path, "former", fleet_format=lambda: READABLE[0])) as former:
        for number in range(6):
            await write(former, upsert([f"k{number}", f"x{number}"], seed=number))
            await write(former, delete(f"x{number}"))
            await former.flush()
        if not flushed:
            await write(former, upsert(["k1", "late"], seed=77))
        expected = contents(former.view())
    async with leading(make_replica(store, tmp_path, "now")) as now:
        assert contents(now.view()) == expected
        await write(now, upsert(["k0"], seed=99))
        await write(now, delete("k5"))
        expected = contents(now.view())
        await now.flush()
        assert contents(now.view()) == expected
        await now.compact()
        await now.flush()
        assert contents(now.view()) == expected
    async with running(again := make_replica(store, tmp_path, "again")):
        assert contents(again.view()) == expected
    assert (await newest_manifest(store)).format == 2
