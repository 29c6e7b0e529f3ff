"""Garbage collection of a shard's objects in the store, by its leader, after each manifest that it published.

Begun with a reign; it runs beside writes, flushes and compactions and none of them waits for it. What may go is decided
by the log alone, never by a clock: slots and manifests below the boundary that a publish record named, and files that
neither a manifest that counts names nor an import that may be replayed. The traps are all of order: a marker stands
before the first deletion in its block, so that nobody takes a deleted slot for the tail; fences stay for ever, so that
a stalled writer finds its slot taken; and the state is looked at *before* the store is listed, so that what is being
made meanwhile is nobody's garbage.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from vectorfleet_node.shard.settings import Observer, ShardSettings
from vectorfleet_node.shard.state import ShardState
from vectorfleet_node.storage import paths
from vectorfleet_node.storage.log import LARGE_BLOCK, SMALL_BLOCK, Backoff, Log, Sleep
from vectorfleet_node.storage.manifest import Manifest
from vectorfleet_node.storage.parallel import for_each
from vectorfleet_node.storage.record import Fence, UnknownRecord
from vectorfleet_node.storage.store import DataLoss, StorageError, Store

_AT_ONCE: Final = 8
_BACKOFF: Final = Backoff(shortest=1.0, longest=60.0)
_SLOTS_A_ROUND: Final = 16384

ReadManifest = Callable[[int, int | None], Awaitable[Manifest]]  # position, stored crc (None: any)


@dataclass(frozen=True)
class _Scope:
    """What one round goes by: the folded state as it was when the round began.

    manifests: position -> stored crc (None: only a pin knows it) of all that must stay. imported: files that records
    which must stay import. own: files of this reign that some manifest of it has named, or that none will.
    """

    boundary: int
    pins: tuple[tuple[int, int], ...]
    manifests: Mapping[int, int | None]
    newest: int
    imported: frozenset[str]
    own: frozenset[str]

    def collectable(self, block: int, size: int) -> bool:
        """Whether all slots of a block are at or below the boundary."""
        return (block + 1) * size - 1 <= self.boundary

    def pinned(self, slot: int) -> bool:
        """Whether a pin keeps the slot."""
        return any(manifest < slot <= through for manifest, through in self.pins)


class Collector:
    """Collects for one reign.

    read_manifest: as `Loader.read_manifest`. ended: whether the reign has. complain: told what is wrong, "" when all is
    well again.
    """

    def __init__(
        self,
        store: Store,
        log: Log,
        state: ShardState,
        read_manifest: ReadManifest,
        *,
        shard: int,
        sleep: Sleep,
        settings: ShardSettings,
        observer: Observer,
        ended: Callable[[], bool],
        complain: Callable[[str], None],
    ) -> None:
        self.stale_bytes = 0  # of files that go once the manifests before the newest have gone
        self._store = store
        self._log = log
        self._state = state
        self._read_manifest = read_manifest
        self._shard = shard
        self._epoch = state.epoch
        self._sleep = sleep
        self._settings = settings
        self._observer = observer
        self._ended = ended
        self._complain = complain
        self._work = asyncio.Event()
        self._sizes: dict[int, dict[str, int]] = {}  # manifest -> its files
        self._own: set[str] = set()
        self._swept = 0  # up to this slot only fences and what `_swept_pins` keep are left
        self._swept_pins: frozenset[tuple[int, int]] = frozenset()
        self._read_fences: set[int] = set()
        self._large: set[int] = set()  # large blocks whose markers stand

    def wake(self) -> None:
        """Something may have become garbage."""
        self._work.set()

    def published(self, manifest: Manifest) -> None:
        """A manifest of this reign counts from now on."""
        self._sizes[manifest.position] = {file.name: file.size for file in manifest.files()}
        self._disown(self._sizes[manifest.position])
        self.wake()

    def abandoned(self, names: Iterable[str]) -> None:
        """Files of this reign that no manifest will ever name."""
        self._disown(names)

    async def run(self) -> None:
        """Works whenever it is woken, until the reign ends. What the store refuses is tried again later."""
        failures = 0
        while not self._ended():
            await self._work.wait()
            self._work.clear()
            try:
                await self._round(self._scope())
            except StorageError as error:
                self._complain(f"garbage is left in the object store and collected later: {error}")
                self._work.set()
                await self._sleep(_BACKOFF.pause(failures))
                failures += 1
            else:
                self._complain("")
                failures = 0

    def _scope(self) -> _Scope:
        state = self._state
        pins = tuple(state.pins.values())
        manifests: dict[int, int | None] = dict.fromkeys(manifest for manifest, _ in pins)
        imported = frozenset(name for files in state.imports.values() for name in files)
        own = frozenset(self._own)
        return _Scope(state.boundary, pins, manifests | state.published, state.newest_published, imported, own)

    async def _round(self, scope: _Scope) -> None:
        await self._collect_slots(scope)
        await self._merge_markers(scope)
        await self._collect_manifests(scope)
        await self._collect_files(scope)

    async def _collect_slots(self, scope: _Scope) -> None:
        if not self._swept_pins <= frozenset(scope.pins):
            self._swept = 0  # a pin has gone, and what it kept may lie anywhere
        end = (scope.boundary + 1) // SMALL_BLOCK * SMALL_BLOCK
        if end <= self._swept + 1:
            return
        after = paths.log_slot(self._shard, self._swept)
        listed = await self._store.list(paths.log_prefix(self._shard), after=after)
        slots = [slot for slot in map(paths.number_of, listed) if slot is not None and slot < end]
        if len(slots) > _SLOTS_A_ROUND:  # the rest in another round, so that files have their turn too
            end = slots[_SLOTS_A_ROUND] // SMALL_BLOCK * SMALL_BLOCK
            slots = slots[: bisect_left(slots, end)]
            self.wake()
        for block, group in groupby(slots, lambda slot: slot // SMALL_BLOCK):
            going = [slot for slot in group if not scope.pinned(slot) and not await self._is_fence(slot)]
            if going and not self._ended():
                await self._mark(scope, block)
                await self._delete("log", [paths.log_slot(self._shard, slot) for slot in going])
        if not self._ended():
            self._swept, self._swept_pins = end - 1, frozenset(scope.pins)

    async def _is_fence(self, slot: int) -> bool:
        if slot > self._state.fences_since:
            return slot in self._state.fences
        # Older than the manifests that list fences: the slot itself has to say it. What cannot be read stays.
        if slot not in self._read_fences:
            try:
                entry = await self._log.read(slot)
            except (DataLoss, UnknownRecord):
                return True
            if entry is None or not isinstance(entry.record.body, Fence):
                return False
            self._read_fences.add(slot)
        return True

    async def _mark(self, scope: _Scope, block: int) -> None:
        """Returns once a marker stands for the small block: the large block's where that goes as a whole."""
        large = block * SMALL_BLOCK // LARGE_BLOCK
        if scope.collectable(large, LARGE_BLOCK):
            await self._mark_large(large)
        else:
            await self._log.mark(1, block)

    async def _mark_large(self, large: int) -> None:
        if large not in self._large:
            await self._log.mark(2, large)
            self._large.add(large)

    async def _merge_markers(self, scope: _Scope) -> None:
        """One marker for a large block instead of 256, created before those go."""
        if not scope.collectable(0, LARGE_BLOCK):
            return
        per_large = LARGE_BLOCK // SMALL_BLOCK
        prefix = paths.boundaries_prefix(self._shard, 1)
        small = sorted(
            int(number) for key in await self._store.list(prefix) if (number := key[len(prefix) :]).isdigit()
        )
        for large, blocks in groupby(small, lambda block: block // per_large):
            if scope.collectable(large, LARGE_BLOCK) and not self._ended():
                await self._mark_large(large)
                await self._delete("boundary", [paths.boundary(self._shard, 1, block) for block in blocks])

    async def _collect_manifests(self, scope: _Scope) -> None:
        listed = await self._store.list(paths.manifests_prefix(self._shard))
        numbered = [(paths.number_of(key), key) for key in listed]
        await self._delete(
            "manifest",
            [key for number, key in numbered if number and number < scope.boundary and number not in scope.manifests],
        )

    async def _collect_files(self, scope: _Scope) -> None:
        needed = await self._needed(scope) | scope.imported
        prefix = paths.segments_prefix(self._shard)
        names = [key[len(prefix) :] for key in await self._store.list(prefix)]
        # A file of this reign may be in the making: it goes only after a manifest had it and the next had not.
        going = [name for name in names if name not in needed and (self._is_older(name) or name in scope.own)]
        await self._delete("segment", [paths.segment(self._shard, name) for name in going])

    async def _needed(self, scope: _Scope) -> set[str]:
        """Names of all files that manifests in scope name. A StorageError when one of those cannot be read."""
        for position, crc in sorted(scope.manifests.items()):
            if position not in self._sizes:
                manifest = await self._read_manifest(position, crc)
                self._sizes[position] = {file.name: file.size for file in manifest.files()}
        for position in [position for position in self._sizes if position < scope.boundary]:
            if position not in scope.manifests:
                del self._sizes[position]
        firm = {scope.newest, *(manifest for manifest, _ in scope.pins)}
        kept = {name for position in firm if position in self._sizes for name in self._sizes[position]}
        every = {name: size for position in scope.manifests for name, size in self._sizes[position].items()}
        self.stale_bytes = sum(size for name, size in every.items() if name not in kept)
        return set(every)

    def _is_older(self, name: str) -> bool:
        epoch, separator, _ = name.partition("-")
        return bool(separator) and epoch.isascii() and epoch.isdigit() and int(epoch) < self._epoch

    def _disown(self, names: Iterable[str]) -> None:
        self._own |= {name for name in names if name.partition("-")[0] == str(self._epoch)}

    async def _delete(self, kind: str, keys: list[str]) -> None:
        """Deletes in small pieces with a pause behind each; stops when the reign ends."""
        for start in range(0, len(keys), SMALL_BLOCK):
            if self._ended():
                return
            piece = keys[start : start + SMALL_BLOCK]
            await for_each(piece, self._store.delete, limit=_AT_ONCE)
            self._observer.collected(kind, len(piece))
            await self._sleep(self._settings.collect_pause)
