"""One shard's log over a store: append, read, and what comes next. Called by the shard's leader and followers.

It knows nothing of leadership: the caller passes the slot and the finished bytes. The traps are in the order of
things: nothing but the slot's content decides an append, a retry sends the same bytes, and a missing slot means the
tail only if no boundary marker was there *after* the slot was read.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from vectorfleet_node.storage import paths
from vectorfleet_node.storage.format import READABLE
from vectorfleet_node.storage.record import Fence, Record, chain_value, decode, encode
from vectorfleet_node.storage.store import (
    CredentialsMissing,
    CredentialsRefused,
    DataLoss,
    StorageError,
    Store,
    StoreFull,
    StoreNotFound,
    StoreUnavailable,
)

SMALL_BLOCK: Final = 64  # slots per boundary/1 marker
LARGE_BLOCK: Final = 16384  # slots per boundary/2 marker
_MARKER: Final = b"slots of this block may have been collected"

Sleep = Callable[[float], Awaitable[None]]
_REFUSALS = (CredentialsMissing, CredentialsRefused, StoreFull, StoreNotFound)


@dataclass(frozen=True)
class Backoff:
    """Pauses between attempts, in seconds: doubling from `shortest` to `longest`."""

    shortest: float = 0.05
    longest: float = 2.0

    def pause(self, attempt: int) -> float:
        """The pause after failed attempt number `attempt`, counted from 0."""
        return min(self.longest, self.shortest * 2.0 ** min(attempt, 30))


@dataclass(frozen=True)
class Entry:
    """A record that is in the log. chain: what its successor's `previous` is. data: the object's bytes."""

    record: Record
    chain: int
    data: bytes


class End(Enum):
    """Why there is no next record."""

    TAIL = "tail"  # the slot was empty while this was asked
    BEHIND = "behind"  # it has been collected: load a newer manifest


TAIL: Final = End.TAIL
BEHIND: Final = End.BEHIND


def genesis(uid: str, shard: int, nonce: bytes, stamp: int) -> bytes:
    """The record for slot 1 of a new shard: a fence of epoch 1 that nobody owns.

    In the oldest format: who else will read it is not known yet. The first leader raises it.
    """
    return encode(Record(uid, shard, 1, 1, nonce, stamp, 0, Fence("", "", READABLE[0]), READABLE[0]))


class Log:
    """The log of one shard of the collection `uid`. Stateless: any number may exist for one shard."""

    def __init__(self, store: Store, uid: str, shard: int, *, sleep: Sleep, backoff: Backoff | None = None) -> None:
        self._store = store
        self._uid = uid
        self._shard = shard
        self._sleep = sleep
        self._backoff = backoff or Backoff()

    async def collected(self, position: int) -> bool:
        """Whether the slot may have been deleted."""
        # In this order: garbage collection writes the large marker before it deletes the small ones.
        small = paths.boundary(self._shard, 1, position // SMALL_BLOCK)
        if await self._store.get(small) is not None:
            return True
        large = paths.boundary(self._shard, 2, position // LARGE_BLOCK)
        return await self._store.get(large) is not None

    async def mark(self, level: int, block: int) -> None:
        """Returns once a marker stands that says slots of the block may be gone. A StorageError when none could be."""
        key = paths.boundary(self._shard, level, block)
        if not await self._store.create(key, _MARKER) and await self._store.get(key) is None:
            raise StoreUnavailable(f"{key} could not be created: the store did not decide")

    async def next_after(self, position: int, chain: int) -> Entry | End:
        """The record after `position`, whose chain value is `chain` (0, 0 before slot 1); TAIL or BEHIND.

        DataLoss or UnknownRecord when the slot holds something that cannot be read.
        """
        entry = await self.read(position + 1)
        # The slot first, the marker second: a marker precedes every deletion, so "none, none" held at the first get.
        if entry is None and not await self.collected(position + 1):
            return TAIL
        if entry is None or entry.record.previous != chain:
            entry = await self.read(position + 1)
        if entry is None or entry.record.previous != chain:
            return BEHIND
        # A candidate that slept may have put its fence into a slot that had been used and collected, and whoever slept
        # as long is where it was: to them that fence chains. Only fences come there, so only fences are doubted.
        if isinstance(entry.record.body, Fence) and await self.collected(position + 1):
            return BEHIND
        return entry

    async def last_listed(self, position: int) -> int:
        """The newest slot behind `position` that a listing shows, 0 when there is none. Listings may lag."""
        after = paths.log_slot(self._shard, position)
        listed = await self._store.list(paths.log_prefix(self._shard), after=after)
        return max(filter(None, map(paths.number_of, listed)), default=0)

    async def read(self, position: int) -> Entry | None:
        """The record in a slot, or None when the slot is empty. Raises as `next_after`."""
        data = await self._store.get(paths.log_slot(self._shard, position))
        return None if data is None else self._entry(data, position)

    async def create_first(self, body: bytes) -> Entry:
        """Puts `genesis` into slot 1 unless something is there; returns what is there, of whichever uid."""
        key = paths.log_slot(self._shard, 1)
        await self._store.create(key, body)
        data = await self._store.get(key)
        if data is None:
            raise StoreUnavailable(f"{key} could not be created: the store did not decide")
        first = decode(data, uid=None, shard=self._shard, position=1)
        if not isinstance(first.body, Fence):
            raise DataLoss(f"{key} is not a fence")
        return Entry(first, chain_value(data), data)

    async def append(self, position: int, body: bytes) -> Entry | None:
        """Puts `body` into the slot. None: it is in the log. An entry: another record holds the slot, now and for ever.

        It goes on with the same bytes until one of the two is known, however long the store is away, so run it as a
        task and do not cancel it: a caller that gives up early does not know the outcome. Raises a StorageError only
        when the very first attempt was refused before anything was written (CredentialsMissing, CredentialsRefused,
        StoreFull, StoreNotFound), or when another's record holds the slot and cannot be read (DataLoss, UnknownRecord).
        """
        key = paths.log_slot(self._shard, position)
        attempt = 0
        while True:
            try:
                if await self._store.create(key, body):
                    return None
            except _REFUSALS:
                if attempt == 0:
                    raise
            except StorageError:
                pass  # decides nothing: the slot itself is asked below
            found = await self._peek(key)
            if found == body:
                return None
            if found is not None:
                return self._entry(found, position)
            await self._sleep(self._backoff.pause(attempt))
            attempt += 1

    async def _peek(self, key: str) -> bytes | None:
        try:
            return await self._store.get(key)
        except StorageError:
            return None

    def _entry(self, data: bytes, position: int) -> Entry:
        record = decode(data, uid=self._uid, shard=self._shard, position=position)
        return Entry(record, chain_value(data), data)
