"""When a leader seals, and the steps from a frozen state to a published manifest. One per reign, one seal at a time.

`replica` runs it beside the queue of writes and does not wait for it. Everything slow is in a thread or in the store;
the event loop only freezes the state and swaps the layout.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from vectorfleet_node.shard.cache import SegmentCache
from vectorfleet_node.shard.leadership import Leadership
from vectorfleet_node.shard.port import NotApplied
from vectorfleet_node.shard.seal import Sealed, Sealer
from vectorfleet_node.shard.settings import Clock, ShardSettings
from vectorfleet_node.shard.sharing import SharedRun
from vectorfleet_node.shard.state import ShardState
from vectorfleet_node.storage import manifest as manifests
from vectorfleet_node.storage import paths
from vectorfleet_node.storage.log import Backoff, Sleep
from vectorfleet_node.storage.manifest import Manifest
from vectorfleet_node.storage.record import Publish
from vectorfleet_node.storage.store import DataLoss, StorageError, Store, StoreFull, StoreUnavailable

_RETRY: Final = 5.0  # seconds until a seal that could not be written is tried again


class Publisher:
    """Seals and publishes for one reign.

    adopt: brings the layout to the newest published manifest. complain: told what is wrong, "" when it is right again.
    """

    def __init__(
        self,
        store: Store,
        state: ShardState,
        leadership: Leadership,
        cache: SegmentCache,
        sealer: Sealer,
        *,
        uid: str,
        shard: int,
        clock: Clock,
        sleep: Sleep,
        settings: ShardSettings,
        adopt: Callable[[], Awaitable[None]],
        complain: Callable[[str], None],
    ) -> None:
        self.sealing = SharedRun(self._seal)
        self.publishing = 0  # position of the manifest whose publish record is under way
        self.last_write = clock.monotonic()
        self._store = store
        self._state = state
        self._leadership = leadership
        self._cache = cache
        self._sealer = sealer
        self._uid = uid
        self._shard = shard
        self._clock = clock
        self._sleep = sleep
        self._settings = settings
        self._adopt = adopt
        self._complain = complain

    async def run(self) -> None:
        """Seals whenever it is due, until the reign ends. A seal that lost or doubled a row ends it too."""
        while not self._leadership.ended:
            await self._sleep(self._settings.seal_idle / 8)
            if self._due() and not self._leadership.ended and not await self._seal_now():
                return

    async def _seal_now(self) -> bool:
        """Whether to go on."""
        try:
            await self.sealing.join()
        except DataLoss as error:
            self._complain(str(error))
            return False
        except NotApplied:
            return False
        except StorageError as error:
            self._complain(str(error))
            await self._sleep(_RETRY)
        return True

    def _due(self) -> bool:
        layout, settings = self._state.layout, self._settings
        rows = layout.growing_rows
        idle = self._clock.monotonic() - self.last_write >= settings.seal_idle
        return (
            rows >= settings.seal_rows
            or layout.growing_bytes >= settings.seal_bytes
            or (rows > 0 and idle)
            or self._state.position - self._state.newest_published >= settings.publish_records
            or self._state.log_bytes >= settings.publish_bytes
        )

    async def _seal(self) -> None:
        try:
            await self._adopt()
        except StorageError as error:
            # The layout in use, with the growing rows, is complete too: only its files are less merged.
            self._complain(f"newest manifest not usable: {error}")
        frozen = self._state.freeze(self._uid, self._shard)
        try:
            sealed = await asyncio.to_thread(self._sealer.seal, frozen)
        except OSError as error:
            raise StoreFull(f"cannot write segment files into {self._cache.folder}: {error}") from None
        await self._persist(sealed)
        await self._publish(sealed)
        self._state.install(sealed.manifest, sealed.segments)
        await self._cache.keep_only(sealed.manifest)
        self._complain("")

    async def _publish(self, sealed: Sealed) -> None:
        position = sealed.manifest.position
        crc = manifests.stored_crc(manifests.encode(sealed.manifest))
        # The manifest that is newest until now becomes the second newest: nothing below it is needed any more.
        boundary = max(self._state.boundary, self._state.newest_published)
        self.publishing = position
        try:
            await self._leadership.publish(Publish(position, crc, boundary))
        finally:
            self.publishing = 0

    async def _persist(self, sealed: Sealed) -> None:
        """Puts the files and the manifest into the store, however long that takes, until the reign ends."""
        backoff, attempt = Backoff(), 0
        while not self._leadership.ended:
            try:
                await self._cache.upload(sealed.new_files)
                await self._create(sealed.manifest)
            except DataLoss:
                raise
            except StorageError as error:
                self._complain(f"cannot store sealed rows: {error}")
                await self._sleep(backoff.pause(attempt))
                attempt += 1
            else:
                return

    async def _create(self, manifest: Manifest) -> None:
        key, data = paths.manifest(self._shard, manifest.position), manifests.encode(manifest)
        if await self._store.create(key, data):
            return
        found = await self._store.get(key)
        if found is None:
            raise StoreUnavailable(f"{key} could not be created: the store did not decide")
        if found != data:
            raise DataLoss(f"{key} is there already, with other contents")
