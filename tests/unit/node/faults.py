"""A store that misbehaves the way object stores do, from a seed. For tests of everything above the store port.

Time passes in turns of the event loop, so a run repeats exactly for its seed as long as nothing real is awaited.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vectorfleet_node.storage.store import Store, StoreUnavailable


@dataclass(frozen=True)
class Faults:
    """Probabilities per operation, and delays in event loop turns."""

    lost_reply: float = 0.05  # it happened, nobody learns of it
    lost_request: float = 0.05  # it did not happen
    late: float = 0.05  # a create that is reported as timed out and lands later
    repeated: float = 0.03  # a create that is sent once more, later
    undecided: float = 0.05  # 409: neither created nor necessarily there
    outage: float = 0.002  # the beginning of a time without answers
    lagging_list: float = 0.2
    delay: int = 4
    stall: float = 0.01  # one operation takes very long, as if its caller had been paused
    stall_turns: int = 300


CALM = Faults(0, 0, 0, 0, 0, 0, 0, 0, 0, 0)


class FaultyStore:
    """Passes operations on to `inner`, or not. `faults` may be replaced at any time; `operations` counts them."""

    def __init__(self, inner: Store, seed: int, faults: Faults | None = None) -> None:
        self.faults = faults or Faults()
        self.operations = 0
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
        faults, happens = self.faults, self._random.random
        if happens() < faults.undecided:
            return False
        if happens() < faults.late:
            self._late.append((self.operations + self._random.randint(1, 60), key, body))
            raise StoreUnavailable(f"create {key}: timed out")
        if happens() < faults.repeated:
            self._late.append((self.operations + self._random.randint(1, 60), key, body))
        created = await self._create(key, body)
        self._lose_reply(f"create {key}")
        return created

    async def get(self, key: str) -> bytes | None:
        """See `Store.get`."""
        await self._pass_time(key)
        return await self._inner.get(key)

    async def list(self, prefix: str, *, after: str = "") -> list[str]:
        """See `Store.list`."""
        await self._pass_time(prefix)
        keys = set(await self._inner.list(prefix, after=after))
        if self._random.random() < self.faults.lagging_list and self._changes:
            for key, came in reversed(self._changes[-self._random.randint(1, 12) :]):
                if key.startswith(prefix) and key > after:
                    (keys.discard if came else keys.add)(key)
        return sorted(keys)

    async def put(self, key: str, body: bytes) -> None:
        """See `Store.put`."""
        await self._pass_time(key)
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
        await self._inner.upload(key, path)
        self._lose_reply(f"upload {key}")

    async def download(self, key: str, path: Path) -> None:
        """See `Store.download`."""
        await self._pass_time(key)
        await self._inner.download(key, path)

    async def room(self) -> int | None:
        """See `Store.room`."""
        return await self._inner.room()

    async def _create(self, key: str, body: bytes) -> bool:
        created = await self._inner.create(key, body)
        if created:
            self._changes.append((key, True))
        return created

    async def _pass_time(self, key: str) -> None:
        turns = self._random.randint(0, self.faults.delay)
        if self._random.random() < self.faults.stall:
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
        if self._random.random() < self.faults.outage:
            self._out_until = self.operations + self._random.randint(5, 40)
        out = self.operations < self._out_until and self.faults != CALM
        if out or self._random.random() < self.faults.lost_request:
            raise StoreUnavailable(f"{key}: no answer")

    def _lose_reply(self, what: str) -> None:
        if self._random.random() < self.faults.lost_reply:
            raise StoreUnavailable(f"{what}: the reply was lost")
