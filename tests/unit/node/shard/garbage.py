"""What a shard's objects are for, found out from the store alone: for tests of garbage collection and of crashes."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from replicas import QUIET, UID, until, upsert, write
from steered import SteeredStore

from vectorfleet_node.shard.replica import ShardReplica
from vectorfleet_node.storage import manifest as manifests
from vectorfleet_node.storage import paths
from vectorfleet_node.storage.memory import MemoryStore

Result = TypeVar("Result")

TIDY = replace(QUIET, collect_pause=0, keep_manifests=2)


class DyingStore:
    """Answers `limit` calls and not the last of these: it happens, and nothing is heard of it or of any later call."""

    def __init__(self, inner: MemoryStore, limit: int) -> None:
        self.inner = inner
        self.calls: list[str] = []
        self.died = asyncio.Event()
        self.limit = limit

    async def room(self) -> int | None:
        return None

    async def create(self, key: str, body: bytes) -> bool:
        await self._begin(f"create {key}")
        return await self._end(await self.inner.create(key, body))

    async def get(self, key: str) -> bytes | None:
        await self._begin(f"get {key}")
        return await self._end(await self.inner.get(key))

    async def list(self, prefix: str, *, after: str = "") -> list[str]:
        await self._begin(f"list {prefix}")
        return await self._end(await self.inner.list(prefix, after=after))

    async def put(self, key: str, body: bytes) -> None:
        await self._begin(f"put {key}")
        await self._end(await self.inner.put(key, body))

    async def delete(self, key: str) -> None:
        await self._begin(f"delete {key}")
        await self._end(await self.inner.delete(key))

    async def upload(self, key: str, path: Path) -> None:
        await self._begin(f"upload {key}")
        await self._end(await self.inner.upload(key, path))

    async def download(self, key: str, path: Path) -> None:
        await self._begin(f"download {key}")
        await self._end(await self.inner.download(key, path))

    async def _begin(self, call: str) -> None:
        if len(self.calls) >= self.limit:
            await asyncio.Event().wait()
        self.calls.append(call)

    async def _end(self, result: Result) -> Result:
        if len(self.calls) >= self.limit:
            self.died.set()
            await asyncio.Event().wait()
        return result


def slots(store: SteeredStore | MemoryStore) -> list[int]:
    keys = (store.inner if isinstance(store, SteeredStore) else store)._objects
    return [paths.number_of(key) or 0 for key in sorted(keys) if "/log/" in key]


def garbage(store: MemoryStore, replica: ShardReplica) -> list[str]:
    """Keys of the shard's objects that nobody needs, as the replica's state has it."""
    state = replica._follower.state
    pins = list(state.pins.values())
    kept = {*state.published, *(manifest for manifest, _ in pins)}
    named = set[str]()
    for position in kept:
        data = store._objects.get(paths.manifest(0, position))
        assert data is not None, f"manifest {position} counts or is pinned, and is gone"
        named |= {file.name for file in manifests.decode(data, uid=UID, shard=0, position=position).files()}
    named |= {name for files in state.imports.values() for name in files}
    end = (state.boundary + 1) // 64 * 64

    def needed(key: str) -> bool:
        number = paths.number_of(key) or 0
        if key.startswith(paths.log_prefix(0)):
            return number >= end or number in state.fences or any(m < number <= through for m, through in pins)
        if key.startswith(paths.manifests_prefix(0)):
            return number in kept
        return not key.startswith(paths.segments_prefix(0)) or key.removeprefix(paths.segments_prefix(0)) in named

    return [key for key in sorted(store._objects) if not needed(key)]


async def fill(leader: ShardReplica, records: int, name: str = "k") -> None:
    """So many records that replace each other's rows, and a flush."""
    for number in range(records):
        await write(leader, upsert([f"{name}{number % 7}"], number))
    await leader.flush()


async def collected(store: MemoryStore, leader: ShardReplica) -> None:
    """Waits until the leader has left nothing that could go."""
    await until(lambda: not garbage(store, leader))
