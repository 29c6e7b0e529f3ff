"""Compaction: which segments to write anew as one, and the job that does so beside flushes, writes and searches.

A `Compactor` runs one job at a time for a reign; `publisher` takes the finished one into the next manifest it
publishes. Where nothing is to be merged it builds indexes that are of another kind than wanted (`reindexing`). Rows
keep their sequences, and the writer puts them in that order. The trap is time: rows are superseded while a job runs.
Its output has every row that was live at its beginning; which of them are live now is asked of its inputs when the
manifest is made, never of the job.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final

from vectorfleet_node.engine.port import BuildCancelled, BuildFailed
from vectorfleet_node.shard.blocks import BlockPart, Segment
from vectorfleet_node.shard.cache import SegmentCache
from vectorfleet_node.shard.port import NotApplied, Rotten
from vectorfleet_node.shard.publisher import Publisher, keep_trying
from vectorfleet_node.shard.reindexing import next_segment, outdated, outdated_fields, reindex
from vectorfleet_node.shard.rowhash import to_hex, total
from vectorfleet_node.shard.seal import Merge
from vectorfleet_node.shard.settings import Observer, ShardSettings
from vectorfleet_node.shard.state import ShardState
from vectorfleet_node.shard.writing import SegmentWriter, Work
from vectorfleet_node.storage.log import Sleep
from vectorfleet_node.storage.store import DataLoss, StorageError, StoreFull

FAN_IN: Final = 4  # so many neighbours, at least, are merged into one
_GROWTH: Final = 3  # by which a merge outgrows its largest input: a row is rewritten a logarithmic number of times
_MANY: Final = 64  # segments; more are merged although an import takes the CPUs
_RETRY: Final = 10.0  # seconds until a job that failed is tried again


@dataclass(frozen=True)
class Size:
    """Bytes of a segment's files, and what of them is for live rows."""

    stored: int
    live: int

    @property
    def wasteful(self) -> bool:
        """Whether more than a third is dead: stored / live > 1.5."""
        return 2 * self.stored > 3 * self.live


def plan(sizes: Sequence[Size], limit: int) -> range | None:
    """Which neighbouring segments to write anew as one; None when all is well.

    Of the runs of at least FAN_IN neighbours that together are at least thrice the largest of them, and at most `limit`
    bytes, the one with the smallest segments; else the segment that wastes most, if more than a third of it is dead.
    """
    best, smallest = None, float("inf")
    for start in range(len(sizes)):
        largest = 0
        for count, bytes_ in enumerate(accumulate(size.live for size in sizes[start:]), 1):
            largest = max(largest, sizes[start + count - 1].live)
            if bytes_ > limit:
                break
            if count >= FAN_IN and bytes_ >= _GROWTH * largest and bytes_ / count < smallest:
                best, smallest = range(start, start + count), bytes_ / count
    wasteful = [number for number, size in enumerate(sizes) if size.wasteful]
    if best is None and wasteful:
        worst = max(wasteful, key=lambda number: sizes[number].stored - sizes[number].live)
        best = range(worst, worst + 1)
    return best


def size_of(part: BlockPart) -> Size:
    """What a sealed block takes."""
    assert part.entry is not None, "growing rows have no files"
    stored = sum(file.size for file in part.entry.files())
    return Size(stored, stored * part.block.live_rows // part.entry.count)


def merge(parts: Sequence[BlockPart], writer: SegmentWriter, work: Work) -> Merge:
    """Writes the live rows of `parts` as one segment. Slow: run it in a thread.

    DataLoss when the files do not hold exactly those rows, Rotten when an input's bytes are damaged, NotApplied when
    the reign ended meanwhile; BuildFailed. Nothing is left on the disk in these cases.
    """
    inputs = frozenset(part.entry.rows.name for part in parts if part.entry is not None)
    if not any(part.block.live_rows for part in parts):
        return Merge(inputs, None, ())
    output = writer.write(parts, work)
    files = tuple(output.entry.files())
    found, expected = writer.row_hash(output.entry), total(output.content.hashes)
    if work.cancelled() or (found != expected).any():
        writer.discard(files)
        if work.cancelled():
            raise NotApplied("the reign ended while segments were merged")
        raise DataLoss(f"a merged segment holds rows with hash {to_hex(found)}; its inputs have {to_hex(expected)}")
    return Merge(inputs, output, files)


class Compactor:
    """Merges and reindexes for one reign.

    room: bytes that the store has room for, None: no limit is known. importing: whether parts of an import are under
    way. abandoned: told the names of files that no manifest will name. complain: told what is wrong, "" when all is
    well.
    """

    def __init__(
        self,
        state: ShardState,
        cache: SegmentCache,
        writer: SegmentWriter,
        publisher: Publisher,
        *,
        sleep: Sleep,
        settings: ShardSettings,
        observer: Observer,
        room: Callable[[], Awaitable[int | None]],
        importing: Callable[[], bool],
        ended: Callable[[], bool],
        abandoned: Callable[[Iterable[str]], None],
        complain: Callable[[str], None],
    ) -> None:
        self._doing = ""
        self._stage = ""  # of what it does
        self._state = state
        self._cache = cache
        self._writer = writer
        self._publisher = publisher
        self._sleep = sleep
        self._settings = settings
        self._observer = observer
        self._room = room
        self._importing = importing
        self._ended = ended
        self._abandoned = abandoned
        self._complain = complain
        self._turn = asyncio.Lock()

    @property
    def doing(self) -> str:
        """What it does now, for humans; empty when nothing."""
        return self._doing and self._doing + self._stage

    async def run(self) -> None:
        """Merges whenever there is something to merge, until the reign ends."""
        while not self._ended():
            await self._sleep(self._settings.seal_idle / 8)
            try:
                await self.settle(patient=True)
            except (StorageError, Rotten) as error:
                self._complain(f"segments are not merged or indexed: {error}")
                await self._sleep(_RETRY)
            else:
                self._complain("")

    async def settle(self, *, patient: bool = False) -> None:
        """Works until nothing is left to be done. Raises a StorageError, Rotten, or NotApplied at a reign's end.

        patient: while writes come, no index is built for a segment that may be merged soon; while parts of an import
        are under way, nothing is done at all, unless there are many segments already.
        """
        while not self._ended() and not (patient and self._importing() and len(self._state.layout.segments) <= _MANY):
            async with self._turn:
                if (names := self._next()) is not None:
                    await self._merge(names)
                elif (segment := self._outdated(patient)) is not None:
                    await self._reindex(segment)
                else:
                    return

    async def rewrite(self, name: str) -> None:
        """Writes a segment anew from the files that are mapped here, whatever became of those in the store.

        name: of its rows file. Returns when a manifest with the new files counts, or the segment is not in use. Raises
        as `settle`.
        """
        async with self._turn:
            await self._merge(frozenset([name]))

    def _next(self) -> frozenset[str] | None:
        if not self._settings.compact_bytes:
            return None
        sealed = [part for part in self._state.snapshot().parts if part.entry is not None]
        chosen = plan([size_of(part) for part in sealed], self._settings.compact_bytes)
        if chosen is None:
            return None
        return frozenset(part.entry.rows.name for part in sealed[chosen.start : chosen.stop] if part.entry is not None)

    def _outdated(self, patient: bool) -> Segment | None:
        settings, segments = self._settings, list(self._state.layout.segments)
        if patient and self._publisher.quiet < settings.reindex_idle:
            least = settings.compact_bytes // FAN_IN  # so many of that size are too large for a merge
            segments = [held for held in segments if sum(file.size for file in held.entry.files()) > least]
        return next_segment(segments, self._writer) if settings.compact_bytes else None

    async def _merge(self, names: frozenset[str]) -> None:
        parts = self._parts(names)
        if not parts:
            return
        size = sum(size_of(part).live for part in parts)
        rows = sum(part.block.live_rows for part in parts)
        with self._telling(f"writing {len(parts)} segments as one of about {size} bytes"):
            async with self._turn_to_build(rows):
                await self._require_room(size)
                merged = await self._in_thread(merge, self._parts(names))
            await self._put(merged, self._observer.compacted)

    async def _reindex(self, segment: Segment) -> None:
        name, rows = segment.entry.rows.name, segment.entry.count
        size = sum(segment.entry.vectors[vector].size for vector in outdated(segment, self._writer))
        size += segment.entry.rows.size if outdated_fields(segment, self._writer) else 0
        with self._telling(f"building an index over {rows} rows"):
            async with self._turn_to_build(rows):
                await self._require_room(size)
                current = next((held for held in self._state.layout.segments if held.entry.rows.name == name), None)
                if current is None:
                    return
                built = await self._in_thread(reindex, current)
            await self._put(built, self._observer.reindexed)

    def _parts(self, names: frozenset[str]) -> list[BlockPart]:
        """Those segments as they are now, also after a wait for somebody else's build."""
        return [part for part in self._state.snapshot().parts if part.entry and part.entry.rows.name in names]

    @contextmanager
    def _telling(self, doing: str) -> Iterator[None]:
        self._doing = doing
        try:
            yield
        finally:
            self._doing = self._stage = ""

    @asynccontextmanager
    async def _turn_to_build(self, rows: int) -> AsyncIterator[None]:
        """Waits until this node may build the indexes of a segment of so many rows."""
        self._stage = ", waits for another build"
        async with self._writer.engine.turn(self._writer.builds(rows)):
            self._stage = ""
            yield
            self._stage = ""

    def _progress(self, done: int, rows: int) -> None:
        self._stage = f", {100 * done // rows} % indexed"

    async def _in_thread(self, job: Callable[[Any, SegmentWriter, Work], Merge], what: object) -> Merge:
        try:
            return await asyncio.to_thread(job, what, self._writer, Work(self._ended, self._progress))
        except BuildCancelled:
            raise NotApplied("the reign ended while an index was built") from None
        except BuildFailed as error:
            raise StorageError(str(error)) from None
        except OSError as error:
            raise StoreFull(f"cannot write segment files into {self._writer.folder}: {error}") from None

    async def _require_room(self, size: int) -> None:
        """CacheFull or StoreFull when the output does not fit; half of the reserve is left to flushes."""
        await self._cache.require(size)
        room = await self._room()
        if room is not None and room < size + self._settings.reserve_bytes // 2:
            raise StoreFull(f"{size} bytes are needed to write segments anew, {room} are free in the store's volume")

    async def _put(self, made: Merge, told: Callable[[int], None]) -> None:
        """Into the store, then into a manifest."""
        files = made.new_files
        counts = False
        try:
            await keep_trying(lambda: self._cache.upload(files), self._ended, self._sleep, self._complain)
            self._complain("")
            told(sum(file.size for file in files))
            await self._publisher.take_in(made)
            counts = True
        finally:
            # Also when it counts: if all its rows have died meanwhile, the manifest leaves it out.
            self._abandoned([file.name for file in files])
            if not counts:
                self._writer.discard(files)
                self._cache.give_up(files)
