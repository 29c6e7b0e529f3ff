"""From the objects in the store to a shard's state at the log's tail. Called when a replica starts or fell behind.

No index is ever built here: segments come with their artefacts, records after the manifest become growing rows. The
trap is trust: a manifest that no publish record names does not count, and damage is worked round by an older manifest
(the log since then says the same) but never by leaving a record out. What garbage collection took meanwhile is not
damage: whether a manifest that cannot be had should be there is known only once the log has been read.
"""

from __future__ import annotations

import asyncio
from typing import Final

from vectorfleet.schema import CollectionSchema
from vectorfleet_node.shard.blocks import Segment
from vectorfleet_node.shard.cache import SegmentCache
from vectorfleet_node.shard.state import ShardState, imports_of
from vectorfleet_node.storage import manifest as manifests
from vectorfleet_node.storage import paths
from vectorfleet_node.storage.log import BEHIND, TAIL, Entry, Log, Sleep
from vectorfleet_node.storage.manifest import Manifest
from vectorfleet_node.storage.record import Fence, Record
from vectorfleet_node.storage.store import DataLoss, Store

_WINDOW: Final = 16  # records fetched at once
_ATTEMPTS: Final = 4  # listings may lag behind a manifest that is there
_PAUSE: Final = 0.2  # seconds


class _Unopened(DataLoss):
    """What a record imports cannot be opened."""


class Loader:
    """Loads one shard. damage: what had to be worked round, for the report; empty when all was well."""

    def __init__(
        self,
        store: Store,
        log: Log,
        cache: SegmentCache,
        *,
        uid: str,
        shard: int,
        collection: CollectionSchema,
        sleep: Sleep,
    ) -> None:
        self.damage = ""
        self._unopened = ""
        self._store = store
        self._log = log
        self._cache = cache
        self._uid = uid
        self._shard = shard
        self._collection = collection
        self._sleep = sleep

    async def load(self) -> ShardState:
        """The state at the tail. DataLoss when the log is damaged or missing, or too much else is; any StorageError."""
        self.damage = self._unopened = ""
        unusable: dict[int, str] = {}  # manifest -> why
        behind = 0
        while True:
            state, manifest, crc = await self._newest(unusable)
            start = state.position
            if not await self._replay(state, unusable):
                behind += 1
                if behind == _ATTEMPTS:
                    raise DataLoss(self._unopened or self._gap(state.position, unusable))
                await self._sleep(_PAUSE)
            elif not state.position:
                raise DataLoss(f"slot 1 of the log of shard {self._shard} is missing: the shard's data is gone")
            elif start >= max(1, state.boundary) and state.published.get(start) != crc:
                unusable[start] = f"manifest {start} was never published"  # its segments may be collected
            else:
                damaged = [position for position in state.published if position > start and position in unusable]
                self.damage = unusable[max(damaged)] if damaged else ""
                if manifest is not None:
                    await self._cache.keep_only(manifest, state.layout.imported)
                return state

    async def load_at(self, manifest: int, through: int) -> ShardState:
        """The state at log position `through` exactly, from that manifest and the log behind it.

        For positions that a pin keeps. Give such a loader a cache folder of its own: what is served goes on using its
        files. DataLoss when the manifest, a file or a record is missing or damaged, or the manifest does not count.
        """
        state, _, crc = await self._at(manifest)
        while state.position < through:
            found = await self._log.read(state.position + 1)
            if found is None or found.record.previous != state.chain:
                raise DataLoss(self._gap(state.position, {}))
            await self._apply(state, found)
        if state.position != through or state.published.get(manifest) != crc:
            raise DataLoss(f"manifest {manifest} of shard {self._shard} does not count at log position {through}")
        return state

    async def read_manifest(self, position: int, crc: int | None = None) -> Manifest:
        """A manifest. DataLoss when it is absent, damaged, or not the one with that stored crc."""
        manifest, found = await self._read(position)
        if crc is not None and found != crc:
            raise DataLoss(f"manifest {position} of shard {self._shard} is not the one that the log names")
        return manifest

    async def open(self, manifest: Manifest, held: tuple[Segment, ...]) -> tuple[Segment, ...]:
        """The manifest's segments; those already held are not opened again. CacheFull when they do not fit here."""
        await self._cache.reserve(manifest)
        known = {segment.entry.names(): segment for segment in held}
        opened = []
        for entry in manifest.segments:
            same = known.get(entry.names())
            opened.append(same.with_entry(entry) if same else await self._cache.open(entry))
        return tuple(opened)

    async def open_imports(self, state: ShardState, record: Record) -> None:
        """What must be done before the state applies the record: what it imports is opened, and looked up.

        DataLoss when a file is damaged, or collected: newer manifests count then. CacheFull; any StorageError.
        """
        for entry in imports_of(record):
            if not state.offered(entry):
                segment = await self._cache.open(entry)
                if not state.offered(entry):  # who leads may have made it meanwhile
                    state.offer(segment)
                await asyncio.to_thread(state.prepare, record)

    async def _newest(self, unusable: dict[int, str]) -> tuple[ShardState, Manifest | None, int]:
        """The state at the newest manifest that loads, with that and its stored crc; the empty state when none does."""
        listed = await self._store.list(paths.manifests_prefix(self._shard))
        for position in sorted(filter(None, map(paths.number_of, listed)), reverse=True):
            if position in unusable:
                continue
            try:
                return await self._at(position)
            except DataLoss as error:
                unusable[position] = str(error)
        return ShardState(self._collection), None, 0

    async def _at(self, position: int) -> tuple[ShardState, Manifest, int]:
        manifest, crc = await self._read(position)
        segments = await self.open(manifest, ())
        requests = await self._cache.requests(manifest.requests)
        state = await asyncio.to_thread(ShardState.at_manifest, manifest, segments, requests, self._collection)
        return state, manifest, crc

    async def _read(self, position: int) -> tuple[Manifest, int]:
        data = await self._store.get(paths.manifest(self._shard, position))
        if data is None:
            raise DataLoss(f"manifest {position} of shard {self._shard} is missing")
        manifest = manifests.decode(data, uid=self._uid, shard=self._shard, position=position)
        return manifest, manifests.stored_crc(data)

    async def _replay(self, state: ShardState, unusable: dict[int, str]) -> bool:
        """Applies every record after the state's position. False when the next one cannot be had any more, or not
        what it imports: both may have been collected meanwhile.
        """
        try:
            return await self._replay_all(state, unusable)
        except _Unopened as error:
            self._unopened = str(error)
            return False

    async def _replay_all(self, state: ShardState, unusable: dict[int, str]) -> bool:
        listed = await self._store.list(
            paths.log_prefix(self._shard), after=paths.log_slot(self._shard, state.position)
        )
        for start in range(0, len(listed), _WINDOW):
            first = state.position + 1
            window = range(first, first + len(listed[start : start + _WINDOW]))
            for entry in await asyncio.gather(*(self._log.read(position) for position in window)):
                if entry is not None and isinstance(entry.record.body, Fence):
                    found = await self._log.next_after(state.position, state.chain)  # a fence may be no record
                    entry = found if isinstance(found, Entry) else None
                if entry is None or entry.record.previous != state.chain:
                    break  # left to `next_after`, which knows what it means
                await self._apply(state, entry)
        while True:
            found = await self._log.next_after(state.position, state.chain)
            if found is TAIL:
                if listed and state.position < (paths.number_of(listed[-1]) or 0):
                    raise DataLoss(self._gap(state.position, unusable))  # an empty slot before a used one is no tail
                return True
            if found is BEHIND:
                return False
            assert isinstance(found, Entry)
            await self._apply(state, found)

    def _gap(self, position: int, unusable: dict[int, str]) -> str:
        why = f" ({unusable[max(unusable)]})" if unusable else ""
        return (
            f"log record {position + 1} of shard {self._shard} is missing or does not follow record {position}, "
            f"and no newer manifest can be loaded{why}"
        )

    async def _apply(self, state: ShardState, entry: Entry) -> None:
        try:
            await self.open_imports(state, entry.record)
        except DataLoss as error:
            raise _Unopened(
                f"log record {entry.record.position} imports a segment that cannot be had: {error}"
            ) from None
        state.apply(entry)
        await asyncio.sleep(0)  # noqa: TID251 - takes no time; a long log must not keep the loop from everybody else
