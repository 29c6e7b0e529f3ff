"""A reign: all that leads a shard for one epoch. Begun when the fence has landed and thrown away at its end.

`replica` begins one from its `Realm`. Five things run side by side: `leadership` sends records, `publisher` flushes,
`compaction` merges, `importing` makes segments of what clients bring, `collector` deletes garbage. The trap is a reign
that outlives its end: who stepped down never resumes an epoch, so every piece asks whether the reign has ended before
it does anything that others can see.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from vectorfleet.schema import CollectionSchema
from vectorfleet_node.engine.port import Engine
from vectorfleet_node.shard.cache import SegmentCache
from vectorfleet_node.shard.collector import Collector
from vectorfleet_node.shard.compaction import Compactor
from vectorfleet_node.shard.importing import Importer, ImportTurns
from vectorfleet_node.shard.leadership import Leadership
from vectorfleet_node.shard.loader import Loader
from vectorfleet_node.shard.port import InDoubt
from vectorfleet_node.shard.publisher import Publisher
from vectorfleet_node.shard.seal import Sealer
from vectorfleet_node.shard.settings import Clock, Observer, ShardSettings
from vectorfleet_node.shard.sharing import observe_result
from vectorfleet_node.shard.state import ShardState
from vectorfleet_node.shard.writing import SegmentWriter
from vectorfleet_node.storage.log import Entry, Log, Sleep
from vectorfleet_node.storage.record import Pin, Unpin
from vectorfleet_node.storage.store import Store

Complain = Callable[[str, str], None]  # who, what is wrong ("" when it is right again)
COMPLAINERS: Final = ("publisher", "compactor", "collector", "importer")


class Reign:
    """Runs its pieces until `end`."""

    def __init__(
        self,
        state: ShardState,
        leadership: Leadership,
        publisher: Publisher,
        compactor: Compactor,
        collector: Collector,
        importer: Importer,
    ) -> None:
        self._state = state
        self.leadership = leadership
        self.publisher = publisher
        self.compactor = compactor
        self.collector = collector
        self.importer = importer
        self._sending = asyncio.create_task(leadership.run())
        self._jobs = [asyncio.create_task(work) for work in (publisher.run(), compactor.run(), collector.run())]
        for task in (self._sending, *self._jobs):
            task.add_done_callback(observe_result)

    @property
    def has_unpublished_rows(self) -> bool:
        """Whether there is something to flush."""
        return self._state.layout.unpublished

    @property
    def unfinished(self) -> bool:
        """Whether something goes on although it has ended: a record that is undecided, or an import."""
        return self.leadership.undecided or self.importer.busy

    async def flush(self) -> None:
        """Publishes a manifest of now or later. NotApplied or NotReady when the reign ends before."""
        await self.publisher.sealing.join()

    async def pin(self, name: str) -> Pin:
        """See `ShardReplica.pin`; NotApplied when the reign ended before."""
        state = self._state
        while name not in state.pins:
            if not state.newest_published:
                await self.flush()
            # A manifest that falls below the boundary before the pin lands is refused by the fold: then once more.
            await self._control(Pin(name, state.newest_published, state.position))
        return Pin(name, *state.pins[name])

    async def unpin(self, name: str) -> None:
        """See `ShardReplica.unpin`; NotApplied when the reign ended before."""
        if name in self._state.pins:
            await self._control(Unpin(name))
            self.collector.wake()

    async def _control(self, body: Pin | Unpin) -> None:
        try:
            await asyncio.shield(self.leadership.control(body))
        except asyncio.CancelledError:
            raise InDoubt(f"a record for pin {body.name} is on its way to the log; ask again") from None
        if self.leadership.ended:
            raise InDoubt(f"a record for pin {body.name} is in the log, but another node may lead by now; ask again")

    def end(self) -> None:
        """Stops all jobs and sending; a record under way goes on until its slot decides."""
        self.leadership.end()
        for job in self._jobs:
            job.cancel()
        self.publisher.sealing.cancel()

    async def close(self) -> None:
        """Ends the tasks. What was under way and is undecided is in doubt."""
        self.end()
        self.leadership.abandon()
        self._sending.cancel()
        closing = (self.publisher.sealing.close(), self.importer.close())
        await asyncio.gather(self._sending, *self._jobs, *closing, return_exceptions=True)


@dataclass(frozen=True)
class Realm:
    """What every reign of one replica is made from."""

    store: Store
    log: Log
    cache: SegmentCache
    loader: Loader
    engine: Engine
    collection: CollectionSchema
    uid: str
    shard: int
    clock: Clock
    sleep: Sleep
    new_id: Callable[[], str]
    settings: ShardSettings
    observer: Observer
    turns: ImportTurns

    def begin(
        self,
        state: ShardState,
        *,
        landed: Callable[[Entry, float], None],
        lost: Callable[[], None],
        adopt: Callable[[], Awaitable[None]],
        complain: Complain,
    ) -> Reign:
        """A reign over the state, whose newest fence is this process's own.

        landed: a record of the reign is in the log, sent at that time. lost: another's record was found instead.
        adopt: brings the layout to the newest published manifest.
        """
        leadership = self._leadership(state, landed, lost)
        state.installed = leadership.admission.pump
        collector = Collector(
            self.store,
            self.log,
            state,
            self.loader.read_manifest,
            shard=self.shard,
            sleep=self.sleep,
            settings=self.settings,
            observer=self.observer,
            ended=lambda: leadership.ended,
            complain=partial(complain, "collector"),
        )
        writer = self._writer(state)
        publisher = self._publisher(state, leadership, writer, collector, adopt, partial(complain, "publisher"))
        importer = self._importer(state, leadership, writer, collector, partial(complain, "importer"))
        compactor = Compactor(
            state,
            self.cache,
            writer,
            publisher,
            sleep=self.sleep,
            settings=self.settings,
            observer=self.observer,
            room=self.store.room,
            importing=lambda: importer.busy,
            ended=lambda: leadership.ended,
            abandoned=collector.abandoned,
            complain=partial(complain, "compactor"),
        )
        return Reign(state, leadership, publisher, compactor, collector, importer)

    def _leadership(
        self, state: ShardState, landed: Callable[[Entry, float], None], lost: Callable[[], None]
    ) -> Leadership:
        return Leadership(
            self.log,
            state,
            uid=self.uid,
            shard=self.shard,
            clock=self.clock,
            sleep=self.sleep,
            new_id=self.new_id,
            settings=self.settings,
            observer=self.observer,
            landed=landed,
            lost=lost,
            room=self.store.room,
        )

    def _importer(
        self,
        state: ShardState,
        leadership: Leadership,
        writer: SegmentWriter,
        collector: Collector,
        complain: Callable[[str], None],
    ) -> Importer:
        return Importer(
            state,
            leadership,
            self.cache,
            writer,
            self.turns,
            shard=self.shard,
            collection=self.collection,
            new_id=self.new_id,
            sleep=self.sleep,
            settings=self.settings,
            observer=self.observer,
            room=self.store.room,
            abandoned=collector.abandoned,
            complain=complain,
        )

    def _writer(self, state: ShardState) -> SegmentWriter:
        return SegmentWriter(
            self.cache.folder,
            self.collection,
            self.engine,
            state.epoch,
            state.format,
            self.new_id,
            self.observer.index_built,
            self.cache.found_rotten,
        )

    def _publisher(
        self,
        state: ShardState,
        leadership: Leadership,
        writer: SegmentWriter,
        collector: Collector,
        adopt: Callable[[], Awaitable[None]],
        complain: Callable[[str], None],
    ) -> Publisher:
        return Publisher(
            self.store,
            state,
            leadership,
            self.cache,
            Sealer(writer),
            collector,
            uid=self.uid,
            shard=self.shard,
            clock=self.clock,
            sleep=self.sleep,
            settings=self.settings,
            observer=self.observer,
            adopt=adopt,
            complain=complain,
        )
