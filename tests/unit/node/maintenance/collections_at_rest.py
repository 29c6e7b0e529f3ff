"""A small collection at rest, made by real replicas, with what must be in it. For the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from replicas import QUIET, SCHEMA, UID, contents, delete, leading, make_replica, new_shard, upsert, write

from vectorfleet.descriptor import CollectionDescriptor
from vectorfleet.partition import KEY_HASH
from vectorfleet_node.maintenance.check import check_collection
from vectorfleet_node.maintenance.findings import Report
from vectorfleet_node.storage import manifest as manifests
from vectorfleet_node.storage import paths
from vectorfleet_node.storage.memory import MemoryStore
from vectorfleet_node.storage.record import decode, encode
from vectorfleet_node.storage.store import Store

URL = "memory://at-rest"
Rows = dict[object, object]


async def make(store: Store, folder: Path) -> Rows:
    """A shard: fence 2, rows 3, publish 4, deletes and rows 5-6, publish 7, rows 8. Its rows."""
    await new_shard(store)
    await describe(store)
    async with leading(make_replica(store, folder, "maker", settings=QUIET)) as leader:
        await write(leader, upsert([f"k{number}" for number in range(40)], 1))
        await leader.flush()
        await write(leader, delete("k1", "k2"))
        await write(leader, upsert(["k3", "new"], 2))
        await leader.flush()
        await write(leader, upsert(["k3", "k4", "late"], 3))
        return dict(contents(leader.view()))


async def describe(store: Store) -> None:
    """collection.json."""
    body = CollectionDescriptor(uid=UID, collection=SCHEMA, key_hash=KEY_HASH).model_dump_json().encode()
    await store.create("collection.json", body)


async def make_collected(folder: Path) -> tuple[MemoryStore, Rows]:
    """A shard whose rows are in a segment of several blocks only: what wrote them has been collected from the log."""
    store = MemoryStore()
    await new_shard(store)
    await describe(store)
    async with leading(make_replica(store, folder, "large")) as leader:
        await write(leader, upsert([f"row-{number}" for number in range(6000)], 1))
        await leader.flush()
        rows = dict(contents(leader.view()))
        for number in range(70):
            await write(leader, upsert(["filler"], number))
        for _ in range(4):
            await leader.flush()
            await write(leader, upsert(["filler"], 1))
            await write(leader, delete("filler"))
        assert dict(contents(leader.view())) == rows
    await store.create(paths.boundary(0, 1, 0), b"")
    for slot in range(3, 64):
        await store.delete(paths.log_slot(0, slot))
    assert (await check(store)).clean
    return store, rows


async def rows_of(store: Store, folder: Path, name: str = "reader") -> Rows:
    """Every live row, as a replica that knows nothing loads them."""
    replica = make_replica(store, folder, name)
    await replica.start()
    try:
        return dict(contents(replica.view()))
    finally:
        await replica.stop()


async def check(store: Store) -> Report:
    return await check_collection(store, URL)


def kinds(report: Report) -> set[str]:
    return {finding.kind.label for finding in report.all_findings}


async def keys(store: Store, part: str) -> list[str]:
    return [key for key in await store.list("") if part in key]


async def change(store: Store, key: str, edit: Callable[[bytes], bytes]) -> None:
    """Puts other bytes in an object's place."""
    body = await store.get(key)
    assert body is not None
    await store.put(key, edit(body))


def flipped(body: bytes, at: float = 0.5) -> bytes:
    """One bit flipped, at a fraction of the length."""
    position = min(len(body) - 1, int(len(body) * at))
    return body[:position] + bytes([body[position] ^ 4]) + body[position + 1 :]


async def rewrite_record(store: Store, position: int, **changes: object) -> None:
    """Another record, with a valid checksum, in a slot."""
    from dataclasses import replace

    key = paths.log_slot(0, position)
    body = await store.get(key)
    assert body is not None
    record = decode(body, uid=UID, shard=0, position=position)
    await store.put(key, encode(replace(record, **changes)))  # type: ignore[arg-type]


async def rewrite_manifest(store: Store, position: int, **changes: object) -> None:
    """Another manifest, with a valid checksum, that its publish record names."""
    from vectorfleet_node.storage.record import Publish

    key = paths.manifest(0, position)
    body = await store.get(key)
    assert body is not None
    manifest = manifests.decode(body, uid=UID, shard=0, position=position).model_copy(update=changes)
    data = manifests.encode(manifest)
    await store.put(key, data)
    old = decode(await store.get(paths.log_slot(0, position + 1)) or b"", uid=UID, shard=0, position=position + 1)
    assert isinstance(old.body, Publish)
    await rewrite_record(store, position + 1, body=Publish(position, manifests.stored_crc(data), old.body.boundary))


def copy_of(store: MemoryStore) -> MemoryStore:
    copied = MemoryStore()
    copied._objects = dict(store._objects)
    return copied
