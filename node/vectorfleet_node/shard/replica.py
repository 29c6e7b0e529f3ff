"""One shard on this node: the `Replica` that the API layer talks to. It loads, follows the log, and leads when told to.

It owns the pieces and passes between them: `follower` keeps the state, `tail` tells how far the log goes, a `reign`
sends records, flushes, merges and collects. Everything runs on one event loop, so a record is applied between two steps
of anybody else. The trap is a reign that is over: whatever was begun in it must find that out by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from vectorfleet.schema import CollectionSchema
from vectorfleet_node.engine.port import Engine
from vectorfleet_node.shard.budget import CacheBudget
from vectorfleet_node.shard.cache import SegmentCache
from vectorfleet_node.shard.follower import Follower
from vectorfleet_node.shard.importing import ImportTurns
from vectorfleet_node.shard.intake import Intake
from vectorfleet_node.shard.loader import Loader
from vectorfleet_node.shard.port import NotApplied, NotLeader, NotReady, Part, ReplicaReport
from vectorfleet_node.shard.reign import COMPLAINERS, Realm, Reign
from vectorfleet_node.shard.reporting import index_details, report_loaded
from vectorfleet_node.shard.settings import Clock, Observer, ShardSettings
from vectorfleet_node.shard.sharing import observe_result, wait_shared
from vectorfleet_node.shard.succession import Succession
from vectorfleet_node.shard.tail import Tail
from vectorfleet_node.shard.upkeep import Upkeep
from vectorfleet_node.shard.view import ShardView
from vectorfleet_node.storage.format import FORMAT
from vectorfleet_node.storage.log import Entry, Log, Sleep
from vectorfleet_node.storage.record import Batch, Pin
from vectorfleet_node.storage.store import Store

Result = TypeVar("Result")


class ShardReplica:
    """Implements `port.Replica`.

    Args:
        store, uid, collection, shard: whose data; slot 1 of the shard's log must exist.
        engine: builds and opens indexes.
        cache: this shard's folder for segment files; made when absent, its contents may be lost at any time.
        owner: random per process start; what fences name. address: this node's peer address.
        clock, sleep, new_id: time and randomness; new_id gives 32 random hex digits.
        budget: the node's, for the files of all its shards; without one nothing limits them.
        turns: the node's, for the imports of all its shards.
        fleet_format: the highest format that every replica of the shard reads, as far as is known.
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
        turns: ImportTurns | None = None,
        fleet_format: Callable[[], int] = lambda: FORMAT,
    ) -> None:
        self._collection = collection
        self._engine = engine
        self._shard = shard
        self._clock = clock
        self._sleep = sleep
        self._settings = settings or ShardSettings()
        self._observer = observer or Observer()
        self._log = Log(store, uid, shard, sleep=sleep)
        self._cache = SegmentCache(store, shard, cache, engine, collection, self._observer, budget)
        loader = Loader(store, self._log, self._cache, uid=uid, shard=shard, collection=collection, sleep=sleep)
        self._follower = self._make_follower(loader)
        self._tail = Tail(shard, self._log, self._follower, clock, reign=lambda: self._reign, step_down=self._step_down)
        self._check = self._tail.check
        self._succession = Succession(
            self._log,
            self._follower,
            self._check,
            uid=uid,
            shard=shard,
            owner=owner,
            address=address,
            clock=clock,
            sleep=sleep,
            new_id=new_id,
            fleet_format=fleet_format,
        )
        self._realm = Realm(
            store,
            self._log,
            self._cache,
            loader,
            engine,
            collection,
            uid,
            shard,
            clock,
            sleep,
            new_id,
            self._settings,
            self._observer,
            turns or ImportTurns(),
        )
        self._upkeep = self._make_upkeep()
        self._intake = Intake(
            collection,
            self._follower,
            self._leading,
            clock=clock,
            new_id=new_id,
            settings=self._settings,
        )
        self._reign: Reign | None = None
        self._ended: list[Reign] = []  # reigns of which something may still go on
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

    @property
    def ready(self) -> bool:
        """See `Replica`."""
        return self._follower.loaded and not (self._follower.damage or self._upkeep.sickness)

    def report(self) -> ReplicaReport:
        """See `Replica`."""
        follower, upkeep = self._follower, self._upkeep
        message = follower.damage or upkeep.sickness or follower.message or upkeep.message
        if not self._follower.loaded:
            return ReplicaReport(self._shard, False, False, 0, 0, 0, 0, (), message)
        return report_loaded(
            self._shard,
            self._follower.state,
            self._reign,
            ready=self.ready,
            quarantined=self._cache.quarantined,
            message=message,
            index_details=index_details(self._follower.state, self._collection.vectors, self._engine),
        )

    def view(self) -> ShardView:
        """See `Replica`."""
        snapshot = self._follower.state.snapshot()
        self._upkeep.require_health()
        return snapshot

    async def start(self) -> None:
        """See `Replica`."""
        self._upkeep.listen(asyncio.get_running_loop())
        await self._cache.prepare()
        self._spawn(self._follower.run(self._check.join))
        self._spawn(self._follower.follow_manifests())
        self._spawn(self._succession.raise_formats(lambda: self.leads, self._renew))
        for work in self._upkeep.jobs():
            self._spawn(work)
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

    async def append(self, request_id: str, floor: int, part: Part, patience: float = 0.0) -> int:
        """See `Replica`. ValueError when the part does not fit the collection."""
        return await self._intake.append(request_id, floor, part, patience)

    async def import_rows(
        self, request_id: str, floor: int, rows: AsyncIterable[pa.RecordBatch], patience: float = 0.0
    ) -> int:
        """See `Replica`."""
        return await self._intake.import_rows(request_id, floor, rows, patience)

    def stored(self, request_id: str, floor: int) -> int | None:
        """See `Replica`."""
        return self._intake.stored(request_id, floor)

    def deleted(self, request_id: str) -> int | None:
        """See `Replica`."""
        return self._intake.deleted(request_id)

    async def take_over(self) -> None:
        """See `Replica`. A cancelled caller does not end the attempt: its fence may be on the way."""
        if self._reign is None and (self._taking is None or self._taking.done()):
            self._taking = asyncio.create_task(self._take_over())
            self._taking.add_done_callback(observe_result)
        if self._taking is not None:
            await wait_shared(self._taking)

    async def wait_for(self, position: int) -> None:
        """See `Replica`."""
        await self._tail.wait_for(position)

    async def make_strong(self) -> None:
        """See `Replica`."""
        await self._tail.make_strong()

    async def make_fresh(self, max_staleness: float) -> None:
        """See `Replica`."""
        await self._tail.make_fresh(max_staleness)

    async def flush(self) -> None:
        """See `Replica`. DataLoss when the files would not hold exactly the rows; nothing is published then."""
        if self._leading().has_unpublished_rows:
            await self._as_leader(lambda reign: reign.flush())

    async def compact(self) -> None:
        """Leader: merges segments until nothing is left to merge. NotLeader elsewhere; a StorageError."""
        await self._as_leader(lambda reign: reign.compactor.settle())

    async def rewrite(self, name: str) -> None:
        """Leader: writes the segment with that rows file anew from this node's good copy. As `compact`."""
        await self._as_leader(lambda reign: reign.compactor.rewrite(name))

    async def pin(self, name: str) -> Pin:
        """Leader: keeps this moment readable, whatever is flushed, merged and collected, until `unpin`.

        What `Loader.load_at` needs: the newest published manifest and the log up to now. The same name gives the same
        pin. NotLeader; InDoubt: it may be pinned, call again; a StorageError when nothing was sent.
        """
        return await self._as_leader(lambda reign: reign.pin(name))

    async def unpin(self, name: str) -> None:
        """Leader: ends a pin, if there is one of that name. Raises as `pin`."""
        await self._as_leader(lambda reign: reign.unpin(name))

    def _make_upkeep(self) -> Upkeep:
        return Upkeep(
            self._cache,
            self._follower,
            self._settings,
            self._observer,
            self._sleep,
            leads=lambda: self.leads,
            step_down=lambda: self._step_down(self._reign),
            rewrite=self.rewrite,
            publish=lambda: self._as_leader(lambda reign: reign.flush()),
        )

    def _make_follower(self, loader: Loader) -> Follower:
        return Follower(
            loader,
            self._log,
            self._cache,
            clock=self._clock,
            sleep=self._sleep,
            settings=self._settings,
            applied=self._applied,
        )

    def _leading(self) -> Reign:
        if self._reign is None:
            raise NotLeader(*self.leader)
        return self._reign

    async def _as_leader(self, work: Callable[[Reign], Awaitable[Result]]) -> Result:
        """Work of the reign; NotLeader when there is none, or it ends before."""
        try:
            return await work(self._leading())
        except (NotReady, NotApplied):
            raise NotLeader(*self.leader) from None

    async def _take_over(self) -> None:
        await self._succession.win()
        self._reign = self._realm.begin(
            self._follower.state,
            landed=self._landed,
            lost=lambda: self._step_down(self._reign),
            adopt=self._follower.adoption.join,
            complain=self._complain,
        )

    async def _renew(self) -> None:
        """Leads on under a new fence. Writes that wait are not applied, so whoever sent them sends them again."""
        if (reign := self._reign) is not None:
            self._step_down(reign)
            await reign.leadership.decided()
            await self.take_over()

    def _landed(self, entry: Entry, sent: float) -> None:
        self._follower.apply(entry)
        # The slot was empty when the record was sent, so nobody had written behind the state until then.
        self._follower.checked = max(self._follower.checked, sent)

    def _applied(self, entry: Entry) -> None:
        reign = self._reign
        if reign is None:
            return
        if not reign.leadership.wrote(entry.record):
            # Brought by a look at the log that was under way when the reign began: its slot is not ours.
            self._step_down(reign)
            return
        reign.leadership.applied(entry)
        if isinstance(entry.record.body, Batch):
            reign.publisher.last_write = self._clock.monotonic()

    def _step_down(self, reign: Reign | None) -> None:
        if reign is not None and self._reign is reign:
            self._reign = None
            reign.end()
            for who in COMPLAINERS:
                self._complain(who, "")
            self._ended = [*(earlier for earlier in self._ended if earlier.unfinished), reign]
            self._follower.wake()

    def _complain(self, who: str, message: str) -> None:
        self._follower.complain(who, message)

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
