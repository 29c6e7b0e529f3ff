"""When a leader seals, and the steps from a frozen state to a published manifest. One per reign, one publish at a time.

`replica` runs it beside the queue of writes and does not wait for it. Everything slow is in a thread or in the store;
the event loop only freezes the state and swaps the layout. `compaction` hands its results over here: whatever a
manifest says goes through this one place, else a flush and a merge would each publish without the other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from vectorfleet_node.shard.cache import SegmentCache
from vectorfleet_node.shard.collector import Collector
from vectorfleet_node.shard.leadership import Leadership
from vectorfleet_node.shard.port import NotApplied, ShardError
from vectorfleet_node.shard.seal import Merge, Sealed, Sealer
from vectorfleet_node.shard.settings import Clock, Observer, ShardSettings
from vectorfleet_node.shard.sharing import SharedRun
from vectorfleet_node.shard.state import FrozenState, ShardState
from vectorfleet_node.storage import manifest as manifests
from vectorfleet_node.storage import paths
from vectorfleet_node.storage.log import Backoff, Sleep
from vectorfleet_node.storage.manifest import Manifest
from vectorfleet_node.storage.record import Publish
from vectorfleet_node.storage.store import DataLoss, StorageError, Store, StoreFull, StoreUnavailable

_RETRY: Final = 5.0  # seconds until a seal that could not be written is tried again
_TIDY_SHARE: Final = 8  # it is worth a manifest to get rid of an eighth of what the shard takes


def boundary_with(position: int, published: Iterable[int], kept: int) -> int:
    """The boundary that goes with a manifest at `position`: the oldest of the `kept` newest; 0: there are fewer."""
    newest = sorted([*published, position])[-max(2, kept) :]
    return newest[0] if len(newest) == max(2, kept) else 0


async def keep_trying(
    action: Callable[[], Awaitable[object]],
    ended: Callable[[], bool],
    sleep: Sleep,
    complain: Callable[[str], None],
    at_once: tuple[type[StorageError], ...] = (DataLoss,),
) -> None:
    """Does something to the store, however long that takes; NotApplied when the reign ends before.

    at_once: errors that are raised instead of trying again.
    """
    attempt = 0
    while not ended():
        try:
            await action()
        except at_once:
            raise
        except StorageError as error:
            complain(f"cannot be stored yet: {error}")
            await sleep(Backoff().pause(attempt))
            attempt += 1
        else:
            return
    raise NotApplied("the reign ended before this was stored")


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
        collector: Collector,
        *,
        uid: str,
        shard: int,
        clock: Clock,
        sleep: Sleep,
        settings: ShardSettings,
        observer: Observer,
        adopt: Callable[[], Awaitable[None]],
        complain: Callable[[str], None],
    ) -> None:
        self.sealing = SharedRun(self._seal)
        self.last_write = clock.monotonic()
        self._merge: Merge | None = None  # finished, in no manifest yet
        self._refused: DataLoss | None = None  # why the last merge was not taken in
        self._store = store
        self._state = state
        self._leadership = leadership
        self._cache = cache
        self._sealer = sealer
        self._collector = collector
        self._uid = uid
        self._shard = shard
        self._clock = clock
        self._sleep = sleep
        self._settings = settings
        self._observer = observer
        self._adopt = adopt
        self._complain = complain

    async def run(self) -> None:
        """Seals whenever it is due, until the reign ends. A seal that lost or doubled a row ends it too."""
        while not self._leadership.ended:
            await self._sleep(self._settings.seal_idle / 8)
            if self._due() and not self._leadership.ended and not await self._seal_now():
                return

    @property
    def quiet(self) -> float:
        """Seconds since the last write."""
        return self._clock.monotonic() - self.last_write

    async def take_in(self, merge: Merge) -> None:
        """Returns when a manifest with the merge counts. DataLoss when it does not hold the shard's rows.

        NotApplied or another ShardError when the reign ends before. One at a time.
        """
        self._merge, self._refused = merge, None
        try:
            while self._merge is not None:
                try:
                    await self.sealing.join()
                except DataLoss:
                    raise
                except StorageError as error:
                    self._complain(str(error))
                    await self._sleep(_RETRY)
        finally:
            self._merge = None
        if self._refused is not None:
            raise self._refused

    async def _seal_now(self) -> bool:
        """Whether to go on."""
        try:
            await self.sealing.join()
        except DataLoss as error:
            self._complain(str(error))
            return False
        except ShardError:
            return False
        except StorageError as error:
            self._complain(str(error))
            await self._sleep(_RETRY)
        return True

    def _due(self) -> bool:
        layout, settings = self._state.layout, self._settings
        rows = layout.growing_rows
        quiet = self.quiet
        return (
            rows >= settings.seal_rows
            or layout.growing_bytes >= settings.seal_bytes
            or self._leadership.admission.wants_flush
            or (layout.unpublished and quiet >= settings.seal_idle)
            or self._state.position - self._state.newest_published >= settings.publish_records
            or self._state.log_bytes >= settings.publish_bytes
            or (quiet >= settings.tidy_idle and self._untidy())
        )

    def _untidy(self) -> bool:
        """Whether files that only older manifests name take much room: each new manifest lets one of those go."""
        taken = sum(file.size for segment in self._state.layout.segments for file in segment.entry.files())
        return _TIDY_SHARE * self._collector.stale_bytes > taken

    async def _seal(self) -> None:
        await self._adopt_newest()
        await self._cache.require(self._state.layout.growing_bytes)
        merge, frozen = self._merge, self._state.freeze(self._uid, self._shard)
        try:
            sealed = await self._write(frozen, merge)
        except DataLoss as error:
            if merge is None:
                raise
            # A merge that went wrong must not keep rows from being flushed.
            merge, self._merge, self._refused = None, None, error
            sealed = await self._write(frozen, None)
        del frozen  # however long the store is away: its snapshot holds on to what each record since has changed
        self._observer.flushed(sum(file.size for file in sealed.new_files))
        await self._try(lambda: self._persist(sealed))
        await self._try(lambda: self._publish(sealed.manifest))
        self._state.install(sealed.manifest, sealed.segments)
        if self._merge is merge:
            self._merge = None
        await self._cache.keep_only(sealed.manifest, self._state.layout.imported)
        self._collector.published(sealed.manifest)
        self._complain("")

    async def _adopt_newest(self) -> None:
        try:
            await self._adopt()
        except StorageError as error:
            self._complain(f"newest manifest not usable: {error}")
        # The layout in use, with the growing rows, is complete too. But a manifest must not name files that only a
        # manifest below the boundary had: they may be collected.
        position = self._state.layout.position
        if position and position not in self._state.published:
            raise StoreUnavailable(f"rows are not flushed: no manifest since {position} can be used")

    async def _write(self, frozen: FrozenState, merge: Merge | None) -> Sealed:
        try:
            return await asyncio.to_thread(self._sealer.seal, frozen, merge)
        except OSError as error:
            raise StoreFull(f"cannot write segment files into {self._cache.folder}: {error}") from None

    async def _try(self, action: Callable[[], Awaitable[object]]) -> None:
        await keep_trying(action, lambda: self._leadership.ended, self._sleep, self._complain)

    async def _persist(self, sealed: Sealed) -> None:
        await self._cache.upload(sealed.new_files)
        await self._create(sealed.manifest)

    async def _publish(self, manifest: Manifest) -> None:
        # Always the same manifest, however often the store refuses: its number cannot be used for another.
        crc = manifests.stored_crc(manifests.encode(manifest))
        boundary = boundary_with(manifest.position, self._state.published, self._settings.keep_manifests)
        await self._leadership.control(Publish(manifest.position, crc, max(self._state.boundary, boundary)))

    async def _create(self, manifest: Manifest) -> None:
        key, data = paths.manifest(self._shard, manifest.position), manifests.encode(manifest)
        if await self._store.create(key, data):
            return
        found = await self._store.get(key)
        if found is None:
            raise StoreUnavailable(f"{key} could not be created: the store did not decide")
        if found != data:
            raise DataLoss(f"{key} is there already, with other contents")
