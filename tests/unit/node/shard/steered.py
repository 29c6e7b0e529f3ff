"""A store in memory that a test steers: it goes down, holds operations back, loses replies, rots."""

from __future__ import annotations

import asyncio
from pathlib import Path

from vectorfleet_node.storage.memory import MemoryStore
from vectorfleet_node.storage.store import StoreUnavailable


class SteeredStore:
    """down: nothing is answered. lose_replies: creates happen and nobody learns of it. calls: all that was asked.

    hold(part): calls ("operation key") that contain it wait until `release`; hold_reply(part): they happen, then wait.
    """

    def __init__(self, inner: MemoryStore | None = None) -> None:
        self.inner = inner or MemoryStore()
        self.down = False
        self.lose_replies = False
        self.calls: list[str] = []
        self._before: list[str] = []
        self._after: list[str] = []
        self._released = asyncio.Event()
        self.waiting = 0

    def hold(self, part: str) -> None:
        self._before.append(part)

    def hold_reply(self, part: str) -> None:
        self._after.append(part)

    def release(self) -> None:
        released, self._released = self._released, asyncio.Event()
        self._before, self._after = [], []
        released.set()

    def asked(self, part: str) -> int:
        return sum(part in call for call in self.calls)

    def rot(self, part: str, *, offset: int = -20) -> str:
        """Flips a bit of the one object whose key contains `part`; its key."""
        (key,) = [key for key in self.inner._objects if part in key]
        body = bytearray(self.inner._objects[key])
        body[offset] ^= 1
        self.inner._objects[key] = bytes(body)
        return key

    def keys(self, part: str = "") -> list[str]:
        return sorted(key for key in self.inner._objects if part in key)

    async def create(self, key: str, body: bytes) -> bool:
        await self._pass(f"create {key}")
        created = await self.inner.create(key, body)
        await self._wait(f"create {key}", self._after)
        if self.lose_replies:
            raise StoreUnavailable("the reply was lost")
        return created

    async def get(self, key: str) -> bytes | None:
        await self._pass(f"get {key}")
        body = await self.inner.get(key)
        await self._wait(f"get {key}", self._after)
        return body

    async def list(self, prefix: str, *, after: str = "") -> list[str]:
        await self._pass(f"list {prefix}")
        return await self.inner.list(prefix, after=after)

    async def put(self, key: str, body: bytes) -> None:
        await self._pass(f"put {key}")
        await self.inner.put(key, body)

    async def delete(self, key: str) -> None:
        await self._pass(f"delete {key}")
        await self.inner.delete(key)

    async def upload(self, key: str, path: Path) -> None:
        await self._pass(f"upload {key}")
        await self.inner.upload(key, path)

    async def download(self, key: str, path: Path) -> None:
        await self._pass(f"download {key}")
        await self.inner.download(key, path)

    async def room(self) -> int | None:
        return await self.inner.room()

    async def _pass(self, call: str) -> None:
        self.calls.append(call)
        await self._wait(call, self._before)
        if self.down:
            raise StoreUnavailable("the store is down")
        await asyncio.sleep(0)

    async def _wait(self, call: str, held: list[str]) -> None:
        if any(part in call for part in held):
            self.waiting += 1
            await self._released.wait()
            self.waiting -= 1
