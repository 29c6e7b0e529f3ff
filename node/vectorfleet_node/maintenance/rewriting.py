"""Makes a rebuilt state count: a fence, a manifest, a publish record, and once more, so that nothing damaged is needed.

Used by `repair`, with the claim held. It writes as a leader does, through the production classes, one record at a time.
After the second publish record the boundary is past everything that was damaged; only then are damaged objects moved
away and their slots given to collection. A crash at any point leaves a shard that `fsck` can be run on again.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from vectorfleet_node.maintenance.salvage import Salvaged, Workshop
from vectorfleet_node.shard.leadership import entry_of, next_record
from vectorfleet_node.shard.seal import Sealer
from vectorfleet_node.shard.settings import Clock
from vectorfleet_node.storage import manifest as manifests
from vectorfleet_node.storage import paths
from vectorfleet_node.storage.log import SMALL_BLOCK
from vectorfleet_node.storage.manifest import FileEntry
from vectorfleet_node.storage.record import Body, Fence, Publish, Record, Unpin, encode
from vectorfleet_node.storage.store import StorageError, Store, StoreUnavailable

QUARANTINE_PREFIX: Final = "quarantine/"
_FILLER: Final = Unpin("fsck")  # ends no pin: it only takes up a slot


class SomebodyWrites(StorageError):
    """A record that is not ours came into the log: a node is running after all."""


class Rewriter:
    """Writes one shard's rebuilt state."""

    def __init__(self, shop: Workshop, salvaged: Salvaged, uid: str, clock: Clock) -> None:
        self._shop = shop
        self._salvaged = salvaged
        self._state = salvaged.state
        self._uid = uid
        self._clock = clock

    async def publish(self, pins: Iterable[str], bad_slots: Iterable[int]) -> None:
        """Makes the state count, without those pins, and the boundary pass the blocks of those slots."""
        await self._upload(self._salvaged.files)
        owner = f"fsck-{self._shop.new_id()}"
        await self._append(Fence(owner, "fsck", max(self._state.format, self._salvaged.writer.format)))
        for name in pins:
            await self._append(Unpin(name))
        last = max((block_end(slot) for slot in bad_slots), default=0)
        while self._state.position < last:
            await self._append(_FILLER)
        for _ in range(2):
            await self._publish()

    async def give_up(self, slots: Iterable[int]) -> None:
        """Lets slots below the boundary be absent. Slot 1, and each that held something, gets an empty fence.

        The fence is for a leader that was paused: it must not find its slot free.
        """
        for slot in slots:
            await self._mark(slot)
            held = await quarantine(self._shop.store, paths.log_slot(self._shop.shard, slot))
            if held or slot == 1:
                await self._void(slot)

    async def _append(self, body: Body) -> None:
        state, shop = self._state, self._shop
        epoch = self._salvaged.epoch
        record = next_record(self._uid, shop.shard, state, epoch, body, shop.new_id(), self._clock.wall())
        entry = entry_of(record)
        if await shop.log.append(record.position, entry.data) is not None:
            raise SomebodyWrites(f"{paths.log_slot(shop.shard, record.position)} was written by somebody else")
        state.apply(entry)

    async def _publish(self) -> None:
        frozen = self._state.freeze(self._uid, self._shop.shard)
        sealed = await asyncio.to_thread(Sealer(self._salvaged.writer).seal, frozen, None)
        await self._upload(sealed.new_files)
        data, position = manifests.encode(sealed.manifest), sealed.manifest.position
        await self._create(paths.manifest(self._shop.shard, position), data)
        boundary = max(self._state.boundary, self._state.newest_published)
        await self._append(Publish(position, manifests.stored_crc(data), boundary))
        self._state.install(sealed.manifest, sealed.segments)

    async def _upload(self, files: Iterable[FileEntry]) -> None:
        shop = self._shop
        for file in files:
            await shop.store.upload(paths.segment(shop.shard, file.name), shop.folder / file.name)

    async def _mark(self, slot: int) -> None:
        if not await self._shop.log.collected(slot):
            await self._shop.log.mark(1, slot // SMALL_BLOCK)

    async def _void(self, slot: int) -> None:
        nonce = bytes.fromhex(self._shop.new_id())
        record = Record(self._uid, self._shop.shard, slot, 1, nonce, 1, 0, Fence("", "fsck", self._state.format))
        await self._create(paths.log_slot(self._shop.shard, slot), encode(record))

    async def _create(self, key: str, data: bytes) -> None:
        if not await self._shop.store.create(key, data) and await self._shop.store.get(key) != data:
            raise StoreUnavailable(f"{key} could not be created")


def block_end(slot: int) -> int:
    """The last slot of the block that a marker for this slot covers."""
    return slot // SMALL_BLOCK * SMALL_BLOCK + SMALL_BLOCK - 1


async def quarantine(store: Store, key: str) -> bool:
    """Moves an object to `quarantine/<key>`, beside what is there already; False when it is absent."""
    if key not in await store.list(key):
        return False
    copy, number = f"{QUARANTINE_PREFIX}{key}", 1
    while copy in await store.list(copy):
        number += 1
        copy = f"{QUARANTINE_PREFIX}{key}.{number}"
    with tempfile.TemporaryDirectory(prefix="vectorfleet-fsck-") as folder:
        path = Path(folder) / "quarantined"
        await store.download(key, path)
        await store.upload(copy, path)
    await store.delete(key)
    return True
