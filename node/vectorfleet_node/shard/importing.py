"""Bulk imports: a part's rows become a segment beside the log, and one record makes all of them count at once.

An `Importer` belongs to a reign; `intake` gives it a caller's rows. Four steps: the rows are spooled to files; a record
without requests reserves a log position, whose sequences the rows get; the segment is written, read back and uploaded;
a record that names it is queued like any write. The traps: until that record is in the log nothing names the files, so
only a leader of their epoch may commit them, and who steps down leaves them to the next one's collection; and where the
record's fate is not known, nobody touches them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from functools import partial
from typing import Final

import pyarrow as pa

from vectorfleet.partition import hashes_of
from vectorfleet.schema import CollectionSchema
from vectorfleet_node.shard.admission import REQUEST_MEMORY, RETRY_AFTER
from vectorfleet_node.shard.blocks import Segment
from vectorfleet_node.shard.cache import SegmentCache
from vectorfleet_node.shard.leadership import Leadership
from vectorfleet_node.shard.port import InDoubt, NotApplied, Overloaded, TooNew
from vectorfleet_node.shard.publisher import keep_trying
from vectorfleet_node.shard.rowhash import to_hex, total
from vectorfleet_node.shard.settings import Observer, ShardSettings
from vectorfleet_node.shard.sharing import observe_result
from vectorfleet_node.shard.spool import Spool, misplaced_key
from vectorfleet_node.shard.state import ShardState
from vectorfleet_node.shard.writing import SegmentWriter
from vectorfleet_node.storage.format import IMPORTS
from vectorfleet_node.storage.log import Sleep
from vectorfleet_node.storage.record import BatchRequest
from vectorfleet_node.storage.segment import KEY
from vectorfleet_node.storage.store import DataLoss, StoreFull

PARALLEL: Final = 4  # parts that a node works on at once
_LOOK_BYTES: Final = 64 << 20  # spooled between two looks for room
_COPIES: Final = 2  # of a part's bytes, that its segment takes: an index may be as large as what it is of
_COMMIT_PATIENCE: Final = 30.0  # seconds: so much was done for the record that it may wait for room

Find = Callable[[], "asyncio.Future[int] | None"]  # the outcome of a request, if it is known or under way


class ImportTurns:
    """The turns of a node's imports: `limit` parts at once, in all of its shards."""

    def __init__(self, limit: int = PARALLEL) -> None:
        self._limit = limit
        self._free = asyncio.Semaphore(limit)

    async def take(self, patience: float, sleep: Sleep) -> None:
        """Waits up to `patience` seconds for a turn. Overloaded when there is none."""
        if not self._free.locked():
            await self._free.acquire()
            return
        taking, timer = asyncio.ensure_future(self._free.acquire()), asyncio.ensure_future(sleep(patience))
        taken = False
        try:
            await asyncio.wait([taking, timer], return_when=asyncio.FIRST_COMPLETED)
            taken = taking.done()
        finally:
            timer.cancel()
            if not taken and not taking.cancel():
                self._free.release()
        if not taken:
            raise Overloaded(f"{self._limit} parts are being imported on this node; nothing was done", RETRY_AFTER)

    def give_back(self) -> None:
        """Ends a turn."""
        self._free.release()


class Importer:
    """Imports for one reign.

    room: bytes that the store has room for, None: no limit is known. abandoned: told the names of files that only the
    log may name from now on. complain: told what is wrong, "" when all is well.
    """

    def __init__(
        self,
        state: ShardState,
        leadership: Leadership,
        cache: SegmentCache,
        writer: SegmentWriter,
        turns: ImportTurns,
        *,
        shard: int,
        collection: CollectionSchema,
        new_id: Callable[[], str],
        sleep: Sleep,
        settings: ShardSettings,
        observer: Observer,
        room: Callable[[], Awaitable[int | None]],
        abandoned: Callable[[Iterable[str]], None],
        complain: Callable[[str], None],
    ) -> None:
        self._state = state
        self._leadership = leadership
        self._cache = cache
        self._writer = writer
        self._turns = turns
        self._collection = collection
        self._new_id = new_id
        self._sleep = sleep
        self._settings = settings
        self._observer = observer
        self._room = room
        self._abandoned = abandoned
        self._complain = complain
        self._running: dict[str, asyncio.Task[int]] = {}  # by request
        self._span = hashes_of(shard, collection.shards)

    @property
    def busy(self) -> bool:
        """Whether parts are being imported."""
        return bool(self._running)

    async def begin(
        self, request_id: str, rows: AsyncIterable[pa.RecordBatch], patience: float, find: Find
    ) -> asyncio.Future[int]:
        """Reads the rows; the future gives the part's position, or raises as `port.Replica.import_rows` says.

        An import of the same request that is under way is joined, and the rows are not read. Never cancel the future.
        """
        if request_id in self._running:
            return self._running[request_id]
        if self._state.format < IMPORTS:
            raise TooNew(
                f"the shard is written in format {self._state.format}, in which nothing can be imported: wait until "
                "all of its nodes run this version"
            )
        await self._turns.take(patience, self._sleep)
        spool = Spool(self._cache.folder, self._collection, self._new_id, self._settings.import_bytes)
        try:
            await self._fill(spool, rows)
            if self._leadership.ended:
                raise _ended()
            found = self._running.get(request_id) or find()
        except BaseException:
            await self._put_away(spool)
            raise
        if found is not None:  # another attempt was quicker
            await self._put_away(spool)
            return found
        task = self._running[request_id] = asyncio.create_task(self._import(request_id, spool, find))
        task.add_done_callback(observe_result)
        task.add_done_callback(partial(self._done, request_id))
        return task

    async def close(self) -> None:
        """Ends what is under way, after the reign's end; a record that was sent is for its slot to decide."""
        for task in self._running.values():
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    async def _put_away(self, spool: Spool) -> None:
        """Ends the turn of an import that came to nothing."""
        self._turns.give_back()
        await asyncio.to_thread(spool.remove)

    def _done(self, request_id: str, _: asyncio.Task[int]) -> None:
        del self._running[request_id]
        self._turns.give_back()

    async def _fill(self, spool: Spool, rows: AsyncIterable[pa.RecordBatch]) -> None:
        looked = -_LOOK_BYTES
        async for batch in rows:
            if spool.bytes >= looked + _LOOK_BYTES:
                looked = spool.bytes
                await self._require_room((1 + _COPIES) * spool.bytes)
            try:
                await asyncio.to_thread(spool.append, batch)
            except OSError as error:
                raise self._full(error) from None
        await self._require_room((1 + _COPIES) * spool.bytes)

    async def _require_room(self, size: int) -> None:
        """CacheFull or StoreFull when a segment of that size would not fit beside what clients may still write."""
        await self._cache.require(size)
        room = await self._room()
        if room is not None and room < size + self._settings.reserve_bytes:
            self._observer.refused("volume")
            raise StoreFull(
                f"{room} bytes are free on the volume and {self._settings.reserve_bytes} of them are kept: no room to "
                f"import {size} more; nothing was imported"
            )

    def _full(self, error: OSError) -> StoreFull:
        return StoreFull(f"cannot write segment files into {self._cache.folder}: {error}; nothing was imported")

    async def _import(self, request_id: str, spool: Spool, find: Find) -> int:
        try:
            position = await self._leadership.reserve()
            segment = await asyncio.to_thread(self._build, spool, position)
        except OSError as error:
            raise self._full(error) from None
        finally:
            await asyncio.to_thread(spool.remove)
        try:
            await self._upload(segment)
        except BaseException:
            self._drop(segment)
            raise
        self._observer.flushed(sum(file.size for file in segment.entry.files()))
        return await self._commit(request_id, segment, find)

    def _build(self, spool: Spool, position: int) -> Segment:
        """The segment, read back and checked. Slow: run it in a thread. NotApplied when the reign has ended."""
        part = spool.part(position)
        output = self._writer.write([part])
        found, expected = self._writer.row_hash(output.entry), total(part.hashes)
        content = output.content
        keys = content.rows.column(KEY).chunk(0)
        stray = misplaced_key(keys, content.keys.hashes, content.keys.rows, self._span)
        if not self._leadership.ended and (found == expected).all() and stray is None:
            return output
        self._writer.discard(output.entry.files())
        if self._leadership.ended:
            raise _ended()
        if stray is not None:
            raise ValueError(f"key {stray!r} belongs to another shard")
        raise DataLoss(
            f"an imported segment holds rows with hash {to_hex(found)}; they were sent with {to_hex(expected)}"
        )

    async def _upload(self, segment: Segment) -> None:
        """Into the store, however long that takes; NotApplied when the reign ends before, StoreFull at once."""
        try:
            await keep_trying(
                lambda: self._cache.upload(segment.entry.files()),
                lambda: self._leadership.ended,
                self._sleep,
                lambda problem: self._complain(f"an imported segment {problem}"),
                at_once=(DataLoss, StoreFull),
            )
        except NotApplied:
            raise _ended() from None
        self._complain("")

    async def _commit(self, request_id: str, segment: Segment, find: Find) -> int:
        named = segment.entry.model_dump_json().encode()
        cost = len(named) + REQUEST_MEMORY
        submitted = False
        try:
            async with self._leadership.admission.entering(cost, _COMMIT_PATIENCE):
                landed = find()  # another attempt may have been let in elsewhere, and applied here since
                if landed is None:
                    self._state.offer(segment)
                    request = BatchRequest(request_id, None, segment=named)
                    landed = self._leadership.submit(request, len(named), cost)
                    landed.add_done_callback(partial(self._decided, segment))
                    submitted = True
        finally:
            if not submitted:
                self._drop(segment)
        return await asyncio.shield(landed)

    def _decided(self, segment: Segment, landed: asyncio.Future[int]) -> None:
        error = landed.exception()
        if error is None:
            # From now on the log and then manifests name the files; when none does any more they are garbage.
            self._abandoned(segment.entry.names())
        elif not isinstance(error, InDoubt):
            self._drop(segment)

    def _drop(self, segment: Segment) -> None:
        """Nothing in the log will ever name the segment."""
        self._state.withdraw(segment)
        self._writer.discard(segment.entry.files())
        self._cache.give_up(segment.entry.files())
        self._abandoned(segment.entry.names())


def _ended() -> NotApplied:
    return NotApplied("another node leads this shard now; nothing was imported")
