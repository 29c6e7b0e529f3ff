"""Creates the collection at a URL or adopts the one that is there. Called when a node opens a collection.

Many nodes may do so at once. The first record of shard 0 settles the uid: whoever creates it, all others take its uid,
so that two halves of a race never write records that do not belong together.
"""

from __future__ import annotations

from collections.abc import Callable

from pydantic import ValidationError

from vectorfleet.descriptor import COLLECTION_OBJECT, TOMBSTONE_OBJECT, CollectionDescriptor
from vectorfleet.partition import KEY_HASH
from vectorfleet.topology import CollectionTopology
from vectorfleet_node.storage import paths
from vectorfleet_node.storage.claims import newest_claim
from vectorfleet_node.storage.evolution import extended, refusals
from vectorfleet_node.storage.log import TAIL, Log, Sleep, genesis
from vectorfleet_node.storage.parallel import for_each
from vectorfleet_node.storage.store import DataLoss, StorageError, Store, StoreUnavailable

FORMAT = 1


class CollectionDeleted(StorageError):
    """The data at the URL was deleted on purpose; the URL is not used again."""


class SchemaMismatch(StorageError):
    """The data has another schema. differences: one sentence each."""

    def __init__(self, differences: list[str]) -> None:
        super().__init__("; ".join(differences))
        self.differences = tuple(differences)


async def adopt_or_create(
    store: Store,
    topology: CollectionTopology,
    *,
    new_uid: Callable[[], str],
    new_nonce: Callable[[], bytes],
    now_milliseconds: Callable[[], int],
    sleep: Sleep,
) -> CollectionDescriptor:
    """What `collection.json` says, its schema as last extended and extended by the topology's.

    Raises CollectionDeleted, SchemaMismatch, DataLoss (something that must be there is missing, or the data is not the
    collection that the topology means) or any other StorageError; after StoreUnavailable it may be called again.
    """
    if await store.get(TOMBSTONE_OBJECT) is not None:
        raise CollectionDeleted(f"the collection at {topology.storage.url} was deleted")
    descriptor = await read_descriptor(store)
    if descriptor is None:
        if topology.uid:
            raise DataLoss(
                f"{COLLECTION_OBJECT} is missing at {topology.storage.url}, where collection {topology.uid} was created"
            )
        creation = _Creation(store, topology, new_nonce, now_milliseconds, sleep)
        descriptor = await creation.run(new_uid())
    if topology.uid not in ("", descriptor.uid):
        raise DataLoss(
            f"{topology.storage.url} holds collection {descriptor.uid}; collection {topology.uid} is expected there"
        )
    newest = await newest_claim(store)
    present = newest[1].collection if newest else descriptor.collection
    if differences := refusals(present, topology.collection):
        raise SchemaMismatch(differences)
    await _require_first_records(store, descriptor, sleep)
    return descriptor.model_copy(update={"collection": extended(present, topology.collection)})


async def read_descriptor(store: Store) -> CollectionDescriptor | None:
    """`collection.json`, or None when it is absent. DataLoss when it cannot be read."""
    data = await store.get(COLLECTION_OBJECT)
    if data is None:
        return None
    try:
        descriptor = CollectionDescriptor.model_validate_json(data)
    except ValidationError as error:
        raise DataLoss(f"{COLLECTION_OBJECT} cannot be read: {error.errors()[0]['msg']}") from None
    if (descriptor.format, descriptor.key_hash) != (FORMAT, KEY_HASH):
        raise DataLoss(
            f"{COLLECTION_OBJECT} has format {descriptor.format} and key hash {descriptor.key_hash}; "
            f"this version reads format {FORMAT} and key hash {KEY_HASH}"
        )
    return descriptor


async def _require_first_records(store: Store, descriptor: CollectionDescriptor, sleep: Sleep) -> None:
    async def require(shard: int) -> None:
        # Slot 1 is a fence and fences are never collected: without it the shard's data is gone, not empty.
        if await Log(store, descriptor.uid, shard, sleep=sleep).read(1) is None:
            raise DataLoss(f"{paths.log_slot(shard, 1)} is missing: shard {shard} has lost its log")

    await for_each(range(descriptor.collection.shards), require)


class _Creation:
    """Every shard's slot 1 first, `collection.json` last: once it is there, everything it promises is."""

    def __init__(
        self,
        store: Store,
        topology: CollectionTopology,
        new_nonce: Callable[[], bytes],
        now_milliseconds: Callable[[], int],
        sleep: Sleep,
    ) -> None:
        self._store = store
        self._topology = topology
        self._new_nonce = new_nonce
        self._now = now_milliseconds
        self._sleep = sleep
        self._used = False  # some shard's log goes on after slot 1

    async def run(self, proposed: str) -> CollectionDescriptor:
        schema = self._topology.collection
        uid = await self._first_record(proposed, 0)

        async def create(shard: int) -> None:
            settled = await self._first_record(uid, shard)
            if settled != uid:
                raise DataLoss(f"{paths.log_slot(shard, 1)} is of collection {settled}, shard 0 of {uid}")

        await for_each(range(1, schema.shards), create)
        if self._used:
            return await self._created_meanwhile()
        body = CollectionDescriptor(uid=uid, collection=schema, key_hash=KEY_HASH).model_dump_json().encode()
        await self._store.create(COLLECTION_OBJECT, body)
        descriptor = await read_descriptor(self._store)
        if descriptor is None:
            raise StoreUnavailable(f"{COLLECTION_OBJECT} could not be created: the store did not decide")
        return descriptor

    async def _first_record(self, uid: str, shard: int) -> str:
        log = Log(self._store, uid, shard, sleep=self._sleep)
        first = await log.create_first(genesis(uid, shard, self._new_nonce(), self._now()))
        log = Log(self._store, first.record.uid, shard, sleep=self._sleep)
        if await log.next_after(1, first.chain) is not TAIL:
            self._used = True
        return first.record.uid

    async def _created_meanwhile(self) -> CollectionDescriptor:
        descriptor = await read_descriptor(self._store)
        if descriptor is None:
            raise DataLoss(f"{COLLECTION_OBJECT} is missing at {self._topology.storage.url}, where shards hold data")
        return descriptor
