"""One collection on this node: opens its store, holds its claim, runs its replicas, and says how that goes.

It never gives up: whatever is wrong with the store is told in `state` and `message` and tried again, so that a mended
secret heals without a restart. Replicas run while the claim is held, also while the store is
away: loaded data is served.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from vectorfleet.descriptor import CollectionDescriptor
from vectorfleet.schema import CollectionSchema
from vectorfleet.topology import CollectionTopology, StorageLocation
from vectorfleet.v1 import peer_pb2
from vectorfleet_node import logs
from vectorfleet_node.api.describe import shard_report
from vectorfleet_node.api.tasks import stop_task, watch_task
from vectorfleet_node.shard.port import Replica
from vectorfleet_node.storage import claims, collection, store
from vectorfleet_node.storage.claims import ClaimKeeper
from vectorfleet_node.storage.probe import probe
from vectorfleet_node.storage.store import StorageError, Store

FIRST_RETRY_SECONDS = 0.2
LONGEST_RETRY_SECONDS = 5.0
CHECK_SECONDS = 2.0
_CHECK_TIMEOUT_SECONDS = 10.0
_STATES: tuple[tuple[type[Exception], peer_pb2.StorageState], ...] = (
    (store.CredentialsMissing, peer_pb2.STORAGE_CREDENTIALS_MISSING),
    (store.CredentialsRefused, peer_pb2.STORAGE_CREDENTIALS_REFUSED),
    (store.StoreNotFound, peer_pb2.STORAGE_NOT_FOUND),
    (store.UnsafeStore, peer_pb2.STORAGE_UNSAFE),
    (store.DataLoss, peer_pb2.STORAGE_DATA_LOSS),
    (claims.ClaimedByOther, peer_pb2.STORAGE_CLAIMED),
    (collection.SchemaMismatch, peer_pb2.STORAGE_SCHEMA_MISMATCH),
    (collection.CollectionDeleted, peer_pb2.STORAGE_DELETED),
)


@dataclass(frozen=True)
class HostedShard:
    """What a replica is made of."""

    topology: CollectionTopology
    uid: str
    schema: CollectionSchema  # as the data has it: that of the topology and fields that an older one does not know
    shard: int
    store: Store
    cache: Path


@dataclass(frozen=True)
class Environment:
    """What a host needs of its node. `adopt` and `keeper` bind clocks and randomness."""

    node: str
    cache: Path
    open_store: Callable[[StorageLocation], Store]
    adopt: Callable[[Store, CollectionTopology], Awaitable[CollectionDescriptor]]
    keeper: Callable[[Store, CollectionTopology, CollectionSchema], ClaimKeeper]
    make_replica: Callable[[HostedShard], Replica]


def state_of(error: Exception) -> peer_pb2.StorageState:
    """The state that an error of the store stands for; what is not known is an unreachable store."""
    return next((state for kind, state in _STATES if isinstance(error, kind)), peer_pb2.STORAGE_UNREACHABLE)


class CollectionHost:
    """Runs from `start` to `stop`."""

    def __init__(self, topology: CollectionTopology, environment: Environment, loaded: Callable[[], None]) -> None:
        """loaded: called whenever a replica has loaded."""
        self.topology = topology
        self._environment = environment
        self._loaded = loaded
        self._state = peer_pb2.STORAGE_STARTING
        self._message = "opening the object store"
        self._holder = ""
        self._uid = ""
        self._schema = topology.collection
        self._store: Store | None = None
        self._keeper: ClaimKeeper | None = None
        self._serving = False
        self._replicas: dict[int, Replica] = {}
        self._starting: dict[int, asyncio.Task[None]] = {}
        self._changing = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    # -- what others ask --------------------------------------------------------------------------------------------

    @property
    def uid(self) -> str:
        """The collection's id; empty until collection.json was read or made."""
        return self._uid

    @property
    def schema(self) -> CollectionSchema:
        """The schema in use."""
        return self._schema

    def replica(self, shard: int) -> Replica | None:
        """The replica of a shard on this node."""
        return self._replicas.get(shard)

    def replicas(self) -> Iterator[Replica]:
        """All replicas on this node."""
        yield from list(self._replicas.values())

    def waiting(self) -> list[str]:
        """What keeps the shards placed here from answering, a sentence each."""
        placed = self.topology.shards_on(self._environment.node)
        if placed and not self._serving:
            return [f"{self.topology.name}: {self._message}"]
        found = []
        for shard in placed:
            replica = self._replicas.get(shard)
            report = replica.report() if replica else None
            if report is None or not report.ready:
                found.append(f"{self.topology.name}: shard {shard}: {(report and report.message) or 'loading'}")
        return found

    def report(self) -> peer_pb2.CollectionReport:
        """For the operator and the other nodes."""
        return peer_pb2.CollectionReport(
            name=self.topology.name,
            uid=self._uid,
            storage=self._state,
            message=self._message,
            claim_holder=self._holder,
            shards=[shard_report(replica.report()) for _, replica in sorted(self._replicas.items())],
        )

    # -- what the node tells it -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begins to open the collection, and goes on until `stop`."""
        self._task = asyncio.create_task(self._run())
        watch_task(self._task, f"host of {self.topology.name}")

    async def stop(self) -> None:
        """Ends everything; decides the puts in flight. Deletes nothing."""
        await stop_task(self._task)
        await self._stop_replicas()

    async def update(self, topology: CollectionTopology) -> None:
        """Follows the topology: starts and stops replicas, or opens all anew for other data or another schema."""
        before, self.topology = self.topology, topology
        if (before.storage, before.claim, before.collection) != (topology.storage, topology.claim, topology.collection):
            await self.stop()
            self._tell(peer_pb2.STORAGE_STARTING, "opening the object store")
            self.start()
        elif self._serving:
            await self._place()

    async def release(self) -> bool:
        """Gives the claim back for the whole fleet, then stops the replicas; whether it was held."""
        if self._keeper is None:
            return False
        await self._keeper.release()
        await self._stop_replicas()
        return True

    async def remove_cache(self) -> None:
        """Removes what this node keeps of the collection on its own disk."""
        if self._uid:
            await asyncio.to_thread(shutil.rmtree, self._environment.cache / self._uid, ignore_errors=True)

    # -- its life ---------------------------------------------------------------------------------------------------

    def _tell(self, state: peer_pb2.StorageState, message: str, holder: str = "") -> None:
        if (state, message) != (self._state, self._message):
            name = peer_pb2.StorageState.Name(state)
            logs.logger().info("storage", collection=self.topology.name, state=name, message=message)
        self._state, self._message, self._holder = state, message, holder

    def _tell_error(self, error: Exception) -> None:
        holder = str(error.holder) if isinstance(error, claims.ClaimedByOther) else ""
        self._tell(state_of(error), str(error) or type(error).__name__, holder)

    async def _run(self) -> None:
        pause = FIRST_RETRY_SECONDS
        while True:
            try:
                await self._open()
                pause = FIRST_RETRY_SECONDS
                await self._serve()
            except (StorageError, ValueError, OSError, TimeoutError) as error:
                self._tell_error(error)
            await self._stop_replicas()
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_RETRY_SECONDS)

    async def _open(self) -> None:
        """Returns when the collection is open and the claim is held."""
        opened = self._environment.open_store(self.topology.storage)
        await probe(opened)
        descriptor = await self._environment.adopt(opened, self.topology)
        self._store, self._uid, self._schema = opened, descriptor.uid, descriptor.collection
        self._keeper = self._environment.keeper(opened, self.topology, self._schema)
        while not isinstance(state := await self._keeper.step(), claims.Held):
            holder = getattr(state, "holder", None)
            if holder is not None:
                message = f"waiting for the claim of {holder}: it must be released, or not be renewed for 45 s"
                self._tell(peer_pb2.STORAGE_CLAIMED, message, str(holder))
            await asyncio.sleep(CHECK_SECONDS / 2)

    async def _serve(self) -> None:
        """Returns when the claim is lost."""
        assert self._keeper is not None
        self._serving = True
        await self._place()
        self._tell(peer_pb2.STORAGE_OK, "")
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            try:
                async with asyncio.timeout(_CHECK_TIMEOUT_SECONDS):
                    state = await self._keeper.step()
            except (StorageError, TimeoutError) as error:
                self._tell(
                    state_of(error), f"{error or 'the object store does not answer'}; loaded data is still served"
                )
                continue
            if isinstance(state, claims.Lost):
                raise claims.ClaimedByOther(state.holder)
            if isinstance(state, claims.Released):
                await self._rest()
            self._tell(peer_pb2.STORAGE_OK, "")

    async def _rest(self) -> None:
        """The claim was given up on purpose: nothing is served until the topology says something new."""
        await self._stop_replicas()
        self._tell(peer_pb2.STORAGE_CLAIMED, "the claim was released; apply the collection again to serve it")
        await asyncio.Event().wait()

    async def _place(self) -> None:
        """Runs exactly the replicas that the topology places here, and keeps the cache of no other."""
        wanted = set(self.topology.shards_on(self._environment.node))
        folder = self._environment.cache / self._uid
        async with self._changing:
            for shard in sorted(wanted - set(self._replicas)):
                self._start_replica(shard, folder / str(shard))
            for shard in set(self._replicas) - wanted:
                await self._stop_replica(shard)
            await asyncio.to_thread(_keep_only, folder, {str(shard) for shard in wanted})

    def _start_replica(self, shard: int, cache: Path) -> None:
        assert self._store is not None
        hosted = HostedShard(self.topology, self._uid, self._schema, shard, self._store, cache)
        replica = self._environment.make_replica(hosted)
        self._replicas[shard] = replica
        self._starting[shard] = asyncio.create_task(self._load(replica))
        watch_task(self._starting[shard], f"start of shard {shard} of {self.topology.name}")

    async def _load(self, replica: Replica) -> None:
        await replica.start()
        self._loaded()

    async def _stop_replica(self, shard: int) -> None:
        # Forgotten only when it has stopped, so that one who is interrupted here can be called again.
        await stop_task(self._starting.get(shard))
        await self._replicas[shard].stop()
        del self._replicas[shard]

    async def _stop_replicas(self) -> None:
        self._serving = False
        async with self._changing:
            await asyncio.gather(*(self._stop_replica(shard) for shard in list(self._replicas)))


def _keep_only(folder: Path, names: set[str]) -> None:
    if folder.is_dir():
        for path in folder.iterdir():
            if path.name not in names:
                shutil.rmtree(path, ignore_errors=True)
