"""A store that misbehaves the way object stores do, from a seed. For tests of everything above the store port.

Time passes in turns of the event loop, so a run repeats exactly for its seed as long as nothing real is awaited. What a
disk does wrong (no room, failed syncs, lost page cache) is `tests.sim.disk`'s to do, below `LocalStore`.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

from vectorfleet_node.storage.store import Store, StoreFull, StoreUnavailable


@dataclass(frozen=True)
class Faults:
    """Probabilities per operation, and delays in event loop turns. The last three are damage, and never by default."""

    lost_reply: float = 0.05  # it happened, nobody learns of it
    lost_request: float = 0.05  # it did not happen, and nobody learns of that either
    busy: float = 0.02  # 503: it did not happen
    late: float = 0.05  # a create that is reported as timed out and lands later
    repeated: float = 0.03  # a create that is sent once more, later
    undecided: float = 0.05  # 409: neither created nor necessarily there
    exists: float = 0.03  # 412 for an object that this very create made: something below sent it twice
    outage: float = 0.002  # the beginning of a time without answers
    lagging_list: float = 0.2
    delay: int = 4
    stall: float = 0.01  # one operation takes very long, as if its caller had been paused
    stall_turns: int = 300
    full: float = 0.0  # no room: it did not happen
    short_read: float = 0.0  # the end of an object is missing
    bit_flip: float = 0.0


CALM = Faults(**{fault.name: 0 for fault in fields(Faults)})  # type: ignore[arg-type]


class FaultyStore:
    """Passes operations on to `inner`, or not. `faults` may be replaced at any time; `operations` counts them.

    fired: how often each fault happened; a run in which none did proves nothing.
    """

    def __init__(self, inner: Store, seed: int, faults: Faults | None = None) -> None:
        self.faults = faults or Faults()
        self.operations = 0
        self.fired: Counter[str] = Counter()
        self._inner = inner
        self._random = random.Random(seed)
        self._late: list[tuple[int, str, bytes]] = []  # due at this operation
        self._actions: list[tuple[int, Callable[[], None]]] = []
        self._out_until = 0
        self._changes: list[tuple[str, bool]] = []  # key, whether it came or went; newest last

    def at(self, operation: int, action: Callable[[], None]) -> None:
        """Calls `action` once that many operations have come."""
        self._actions.append((operation, action))

    async def create(self, key: str, body: bytes) -> bool:
        """See `Store.create`."""
        await self._pass_time(key)
        self._may_be_full(key)
        if self._happens("undecided"):
            return False
        if self._happens("late"):
            self._send_later(key, body)
            raise StoreUnavailable(f"create {key}: timed out")
        if self._happens("repeated"):
            self._send_later(key, body)
        created = await self._create(key, body)
        self._lose_reply(f"create {key}")
        return created and not self._happens("exists")

    async def get(self, key: str) -> bytes | None:
        """See `Store.get`."""
        await self._pass_time(key)
        body = await self._inner.get(key)
        self._lose_reply(f"get {key}")
        return None if body is None else self._damaged(body)

    async def list(self, prefix: str, *, after: str = "") -> list[str]:
        """See `Store.list`."""
        await self._pass_time(prefix)
        keys = set(await self._inner.list(prefix, after=after))
        if self._changes and self._happens("lagging_list"):
            for key, came in reversed(self._changes[-self._random.randint(1, 12) :]):
                if key.startswith(prefix) and key > after:
                    (keys.discard if came else keys.add)(key)
        return sorted(keys)

    async def put(self, key: str, body: bytes) -> None:
        """See `Store.put`."""
        await self._pass_time(key)
        self._may_be_full(key)
        await self._inner.put(key, body)
        self._changes.append((key, True))
        self._lose_reply(f"put {key}")

    async def delete(self, key: str) -> None:
        """See `Store.delete`."""
        await self._pass_time(key)
        await self._inner.delete(key)
        self._changes.append((key, False))
        self._lose_reply(f"delete {key}")

    async def upload(self, key: str, path: Path) -> None:
        """See `Store.upload`."""
        await self._pass_time(key)
        self._may_be_full(key)
        await self._inner.upload(key, path)
        self._lose_reply(f"upload {key}")

    async def download(self, key: str, path: Path) -> None:
        """See `Store.download`."""
        await self._pass_time(key)
        await self._inner.download(key, path)
        self._damage_file(path)

    async def room(self) -> int | None:
        """See `Store.room`."""
        return await self._inner.room()

    async def _create(self, key: str, body: bytes) -> bool:
        created = await self._inner.create(key, body)
        if created:
            self._changes.append((key, True))
        return created

    def _send_later(self, key: str, body: bytes) -> None:
        self._late.append((self.operations + self._random.randint(1, 60), key, body))

    async def _pass_time(self, key: str) -> None:
        turns = self._random.randint(0, self.faults.delay)
        if self._happens("stall"):
            turns += self._random.randint(0, self.faults.stall_turns)
        for _ in range(turns):
            await asyncio.sleep(0)
        self.operations += 1
        for due in [due for due in self._actions if due[0] <= self.operations]:
            self._actions.remove(due)
            due[1]()
        for late in [late for late in self._late if late[0] <= self.operations]:
            self._late.remove(late)
            await self._create(late[1], late[2])
        if self._happens("outage"):
            self._out_until = self.operations + self._random.randint(5, 40)
        out = self.operations < self._out_until and self.faults != CALM
        if out or self._happens("lost_request"):
            raise StoreUnavailable(f"{key}: no answer")
        if self._happens("busy"):
            raise StoreUnavailable(f"{key}: 503 SlowDown")

    def _may_be_full(self, key: str) -> None:
        if self._happens("full"):
            raise StoreFull(f"no room to write {key}")

    def _lose_reply(self, what: str) -> None:
        if self._happens("lost_reply"):
            raise StoreUnavailable(f"{what}: the reply was lost")

    def _damaged(self, body: bytes) -> bytes:
        if body and self._happens("short_read"):
            return body[: self._random.randrange(len(body))]
        if body and self._happens("bit_flip"):
            flipped = bytearray(body)
            flipped[self._random.randrange(len(body))] ^= 1 << self._random.randrange(8)
            return bytes(flipped)
        return body

    def _damage_file(self, path: Path) -> None:
        body = path.read_bytes()
        if (damaged := self._damaged(body)) != body:
            path.write_bytes(damaged)

    def _happens(self, fault: str) -> bool:
        happens = self._random.random() < getattr(self.faults, fault)
        self.fired[fault] += happens
        return bool(happens)
