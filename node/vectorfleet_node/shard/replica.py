"""One shard on this node: the `Replica` that the API layer talks to. It loads, follows the log, and leads when told to.

It owns the pieces and passes between them: `follower` keeps the state, a `reign` sends records and seals. Everything
runs on one event loop, so a record is applied between two steps of anybody else. The trap is what a check proves: only
a question sent after a call began says anything about writes acknowledged before it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from vectorfleet.schema import CollectionSchema
from vectorfleet_node.engine.port import Engine
from vectorfleet_node.shard.budget import CacheBudget
from vectorfleet_node.shard.cache import SegmentCache
from vectorfleet_node.shard.follower import Follower
from vectorfleet_node.shard.leadership import Leadership, entry_of, next_record
from vectorfleet_node.shard.loader import Loader
from vectorfleet_node.shard.port import (
    Behind,
    DeletePart,
    InDoubt,
    NotLeader,
    NotReady,
    ReplicaReport,
    TooOld,
    UpsertPart,
)
from vectorfleet_node.shard.publisher import Publisher
from vectorfleet_node.shard.reign import Reign
from vectorfleet_node.shard.seal import Sealer
from vectorfleet_node.shard.settings import Clock, Observer, ShardSettings
from vectorfleet_node.shard.sharing import SharedRun, observe_result, wait_shared
from vectorfleet_node.shard.validation import request_of
from vectorfleet_node.shard.view import ShardView
from vectorfleet_node.storage.log import Backoff, Entry, Log, Sleep
from vectorfleet_node.storage.record import FORMAT, Batch, Fence, UnknownRecord
from vectorfleet_node.storage.store import DataLoss, StorageError, Store


class ShardReplica:
    """Implements `port.Replica`.

    Args:
        store, uid, collection, shard: whose data; slot 1 of the shard's log must exist.
        engine: builds and opens indexes.
        cache: this shard's folder for segment files; made when absent, its contents may be lost at any time.
        owner: random per process start; what fences name. address: this node's peer address.
        clock, sleep, new_id: time and randomness; new_id gives 32 random hex digits.
        budget: the node's, for the files of all its shards; without one nothing limits them.
    """

    def __init__(
        self,
        store: Store,
        uid: str,
        collection: CollectionSchema,
        shard: int,
        engine: Engine,
        cache: Path,
        *,
        owner: str,
        address: str,
        clock: Clock,
        sleep: Sleep,
        new_id: Callable[[], str],
        settings: ShardSettings | None = None,
        observer: Observer | None = None,
        budget: CacheBudget | None = None,
    ) -> None:
        self._store = store
        self._uid = uid
        self._collection = collection
        self._shard = shard
        self._engine = engine
        self._owner = owner
        self._address = address
        self._clock = clock
        self._sleep = sleep
        self._new_id = new_id
        self._settings = settings or ShardSettings()
        self._observer = observer or Observer()
        self._log = Log(store, uid, shard, sleep=sleep)
        self._cache = SegmentCache(
            store, shard, cache, engine, collection, self._observer.index_loaded, budget, self._observer.rotten
        )
        loader = Loader(store, self._log, self._cache, uid=uid, shard=shard, collection=collection, sleep=sleep)
        self._follower = Follower(
            loader,
            self._log,
            self._cache,
            clock=clock,
            sleep=sleep,
            settings=self._settings,
            applied=self._applied,
        )
        self._check = SharedRun(self._run_check)
        self._reign: Reign | None = None
        self._ended: list[Reign] = []  # reigns whose last record may still be undecided
        self._taking: asyncio.Task[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def shard(self) -> int:
        """See `Replica`."""
        return self._shard

    @property
    def leader(self) -> tuple[str, str]:
        """See `Replica`."""
        return (self._follower.state.owner, self._follower.state.address) if self._follower.loaded else ("", "")

    @property
    def leads(self) -> bool:
        """See `Replica`."""
        return self._reign is not None

    def report(self) -> ReplicaReport:
        """See `Replica`."""
        message = self._follower.message
        if not self._follower.loaded:
            return ReplicaReport(self._shard, False, False, 0, 0, 0, 0, (), message)
        state = self._follower.state
        entries = [segment.entry for segment in state.layout.segments]
        return ReplicaReport(
            shard=self._shard,
            ready=not self._follower.damage,
            leader=self.leads,
            position=state.position,
            rows=state.rows,
            growing_rows=state.layout.live_growing_rows,
            bytes=sum(file.size for entry in entries for file in entry.files()),
            indexes=tuple(sorted({index.kind.value for entry in entries for index in entry.indexes.values()})),
            message=message,
        )

    def view(self) -> ShardView:
        """See `Replica`."""
        return self._follower.state.snapshot()

    async def start(self) -> None:
        """See `Replica`."""
        await self._cache.prepare()
        self._spawn(self._follower.run(self._check.join))
        self._spawn(self._follower.follow_manifests())
        await self._follower.settled.wait()

    async def stop(self) -> None:
        """See `Replica`."""
        reigns = [*self._ended, *([self._reign] if self._reign else [])]
        self._reign = None
        for reign in reigns:
            reign.end()
        if reigns:
            deciding = [asyncio.ensure_future(reign.leadership.decided()) for reign in reigns]
            patience = asyncio.ensure_future(self._sleep(self._settings.stop_patience))
            await asyncio.wait([patience, *deciding], return_when=asyncio.FIRST_COMPLETED)
        tasks = [*self._tasks, *([self._taking] if self._taking else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*(reign.close() for reign in reigns), return_exceptions=True)
        await asyncio.gather(self._check.close(), self._follower.adoption.close(), *tasks, return_exceptions=True)
        self._cache.close()

    async def append(self, request_id: str, floor: int, part: UpsertPart | DeletePart) -> int:
        """See `Replica`. ValueError when the part does not fit the collection."""
        state = self._follower.state
        if self._follower.damage:
            raise NotReady(self._follower.damage)
        reign = self._reign
        if reign is None:
            raise NotLeader(*self.leader)
        known = state.requests.position(request_id)
        if known is not None:
            return known
        landed = reign.leadership.find(request_id)
        if landed is None:
            if floor < state.requests.low:
                raise TooOld(
                    f"request {request_id} was first sent when the shard was at {floor} or later; ids up to position "
                    f"{state.requests.low} are forgotten, so whether it was applied cannot be known"
                )
            landed = reign.leadership.submit(*request_of(request_id, part, self._collection))
        try:
            return await asyncio.shield(landed)
        except asyncio.CancelledError:
            raise InDoubt(f"request {request_id} is on its way to the log; send it again to learn its fate") from None

    async def take_over(self) -> None:
        """See `Replica`. A cancelled caller does not end the attempt: its fence may be on the way."""
        if self._reign is None and (self._taking is None or self._taking.done()):
            self._taking = asyncio.create_task(self._take_over())
            self._taking.add_done_callback(observe_result)
        if self._taking is not None:
            await wait_shared(self._taking)

    async def wait_for(self, position: int) -> None:
        """See `Replica`."""
        if self._follower.state.position < position:
            await self._check.join()
        if self._follower.state.position < position:
            raise Behind(f"shard {self._shard} ends at {self._follower.state.position}; {position} was asked for")

    async def make_strong(self) -> None:
        """See `Replica`."""
        if not self._follower.loaded:
            raise NotReady(self._follower.message or "the shard is being loaded")
        await self._check.join()

    async def make_fresh(self, max_staleness: float) -> None:
        """See `Replica`."""
        if not self._follower.loaded or self._clock.monotonic() - self._follower.checked > max_staleness:
            await self.make_strong()

    async def flush(self) -> None:
        """See `Replica`. DataLoss when the files would not hold exactly the rows; nothing is published then."""
        reign = self._reign
        if reign is None:
            raise NotLeader(*self.leader)
        if self._follower.state.layout.growing_rows:
            try:
                await reign.publisher.sealing.join()
            except NotReady:
                raise NotLeader(*self.leader) from None

    async def _run_check(self) -> None:
        """Brings the state to what the log's tail was after this began."""
        if self._reign is None or not await self._check_reign(self._reign):
            await self._follower.catch_up()

    async def _check_reign(self, reign: Reign) -> bool:
        """Whether the reign goes on: the first slot it has not sent to holds nothing, and all before it are its own."""
        asked = self._clock.monotonic()
        for position in range(self._follower.state.position + 1, reign.leadership.last_sent + 2):
            try:
                entry = await self._log.read(position)
            except (DataLoss, UnknownRecord):
                self._step_down(reign)
                raise
            if entry is not None and not reign.leadership.wrote(entry.record):
                self._step_down(reign)
            elif entry is not None and self._reign is reign:
                self._follower.apply(entry)
        if self._reign is not reign:
            return False
        self._follower.checked = max(self._follower.checked, asked)
        return True

    async def _take_over(self) -> None:
        while self._reign is None:
            await self._check.join()
            state = self._follower.state
            epoch = state.epoch + 1
            fence = Fence(self._owner, self._address, FORMAT)
            wall = self._clock.wall()
            entry = entry_of(next_record(self._uid, self._shard, state, epoch, fence, self._new_id(), wall))
            if await self._log.append(entry.record.position, entry.data) is None:
                await self._begin(entry)
                return
            await self._check.join()
            if self._follower.state.epoch >= epoch:
                raise NotLeader(*self.leader)

    async def _begin(self, fence: Entry) -> None:
        """Leads, unless the fence took a slot that had been used and collected."""
        if await self._collected(fence.record.position):
            await self._follower.load()
            raise NotLeader(*self.leader)
        self._follower.apply(fence)
        state = self._follower.state
        if state.epoch != fence.record.epoch:
            raise NotLeader(*self.leader)
        leadership = Leadership(
            self._log,
            state,
            uid=self._uid,
            shard=self._shard,
            clock=self._clock,
            sleep=self._sleep,
            new_id=self._new_id,
            settings=self._settings,
            observer=self._observer,
            landed=self._landed,
            lost=lambda: self._step_down(self._reign),
        )
        built = self._observer.index_built
        sealer = Sealer(self._cache.folder, self._collection, self._engine, state.epoch, self._new_id, built)
        publisher = Publisher(
            self._store,
            state,
            leadership,
            self._cache,
            sealer,
            uid=self._uid,
            shard=self._shard,
            clock=self._clock,
            sleep=self._sleep,
            settings=self._settings,
            adopt=self._follower.adoption.join,
            complain=self._complain,
        )
        self._reign = Reign(leadership, publisher)

    async def _collected(self, position: int) -> bool:
        attempt = 0
        while True:
            try:
                return await self._log.collected(position)
            except StorageError:  # the fence stands: giving up would leave the shard without a leader that knows it
                await self._sleep(Backoff().pause(attempt))
                attempt += 1

    def _landed(self, entry: Entry, sent: float) -> None:
        self._follower.apply(entry)
        # The slot was empty when the record was sent, so nobody had written behind the state until then.
        self._follower.checked = max(self._follower.checked, sent)

    def _applied(self, entry: Entry) -> None:
        if self._reign is not None:
            self._reign.leadership.applied(entry)
            if isinstance(entry.record.body, Batch):
                self._reign.publisher.last_write = self._clock.monotonic()

    def _step_down(self, reign: Reign | None) -> None:
        if reign is not None and self._reign is reign:
            self._reign = None
            reign.end()
            self._ended.append(reign)
            self._follower.wake()

    def _complain(self, message: str) -> None:
        self._follower.complaint = message

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        task.add_done_callback(self._report_end)
        self._tasks.append(task)

    def _report_end(self, task: asyncio.Task[None]) -> None:
        """A task that should run for ever ended: told, instead of a replica that silently stands still."""
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._follower.damage = f"stopped by an internal error: {error!r}"
            self._follower.settled.set()
