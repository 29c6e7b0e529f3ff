"""Creating and adopting what is at a URL: one collection, whoever comes, whatever fails on the way."""

from __future__ import annotations

import asyncio
import itertools
import random

import pytest
from faults import Faults, FaultyStore

from vectorfleet.descriptor import COLLECTION_OBJECT, TOMBSTONE_OBJECT, ClaimRecord, CollectionDescriptor
from vectorfleet.schema import CollectionSchema, FieldSchema, FieldType, IndexType, VectorSchema
from vectorfleet.topology import Claim, CollectionTopology, ShardPlacement, StorageLocation
from vectorfleet_node.storage import paths
from vectorfleet_node.storage.collection import CollectionDeleted, SchemaMismatch, adopt_or_create
from vectorfleet_node.storage.log import genesis
from vectorfleet_node.storage.memory import MemoryStore
from vectorfleet_node.storage.record import Batch, Record, chain_value, decode, encode
from vectorfleet_node.storage.store import DataLoss, Store, StoreUnavailable

SHARDS = 3
CLAIM = Claim(cluster="c", namespace="n", name="articles")
LANG = FieldSchema(name="lang", type=FieldType.STRING)
YEAR = FieldSchema(name="year", type=FieldType.INT64)


def topology(uid: str = "", **schema: object) -> CollectionTopology:
    values: dict[str, object] = {"vectors": (VectorSchema(dimensions=4),), "fields": (LANG,), "shards": SHARDS}
    collection = CollectionSchema.model_validate(values | schema)
    return CollectionTopology(
        name="articles",
        uid=uid,
        claim=CLAIM,
        storage=StorageLocation(url="memory:///articles"),
        collection=collection,
        shards=tuple(ShardPlacement(id=shard, replicas=("a",)) for shard in range(collection.shards)),
    )


async def no_sleep(_: float) -> None:
    await asyncio.sleep(0)


async def opened(store: Store, wanted: CollectionTopology, uid: str = "mine") -> CollectionDescriptor:
    nonces = itertools.count()
    return await adopt_or_create(
        store,
        wanted,
        new_uid=lambda: uid,
        new_nonce=lambda: f"{uid}{next(nonces)}".encode().ljust(16),
        now_milliseconds=lambda: 1,
        sleep=no_sleep,
    )


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


async def test_an_empty_url_becomes_the_collection(store: MemoryStore) -> None:
    created = await opened(store, topology())
    assert created.uid == "mine"
    assert created.collection == topology().collection
    assert await store.list("") == [COLLECTION_OBJECT, *(paths.log_slot(shard, 1) for shard in range(SHARDS))]


async def test_the_same_topology_adopts_what_is_there(store: MemoryStore) -> None:
    created = await opened(store, topology())
    assert await opened(store, topology(), uid="other") == created
    assert await opened(store, topology(uid="mine"), uid="other") == created


async def test_collection_json_is_created_last() -> None:
    order: list[str] = []

    class Ordered(MemoryStore):
        async def create(self, key: str, body: bytes) -> bool:
            order.append(key)
            return await super().create(key, body)

    await opened(Ordered(), topology())
    assert order[-1] == COLLECTION_OBJECT
    assert len(order) == SHARDS + 1


@pytest.mark.parametrize("seed", range(30))
async def test_nodes_that_create_at_once_through_faults_agree_on_one_collection(seed: int) -> None:
    ledger = MemoryStore()
    store = FaultyStore(ledger, seed, Faults(outage=0))

    async def node(name: str) -> CollectionDescriptor:
        for _ in range(random.Random(f"{seed}{name}").randint(0, 60)):
            await asyncio.sleep(0)
        while True:
            try:
                return await opened(store, topology(), uid=name)
            except StoreUnavailable:
                continue

    agreed = await asyncio.gather(*(node(f"node{number}") for number in range(4)))
    assert all(descriptor == agreed[0] for descriptor in agreed), f"seed {seed}"
    for shard in range(SHARDS):
        body = await ledger.get(paths.log_slot(shard, 1))
        assert body is not None
        assert decode(body, uid=agreed[0].uid, shard=shard, position=1)


async def test_a_creation_that_was_cut_off_is_completed(store: MemoryStore) -> None:
    await store.create(paths.log_slot(0, 1), genesis("earlier", 0, b"e" * 16, 1))
    assert (await opened(store, topology())).uid == "earlier"


async def test_a_deleted_collection_is_refused(store: MemoryStore) -> None:
    await opened(store, topology())
    await store.create(TOMBSTONE_OBJECT, b"{}")
    with pytest.raises(CollectionDeleted, match="memory:///articles"):
        await opened(store, topology())


async def test_a_collection_that_existed_is_not_created_anew(store: MemoryStore) -> None:
    with pytest.raises(DataLoss, match=r"collection\.json is missing at memory:///articles, where collection gone"):
        await opened(store, topology(uid="gone"))
    assert await store.list("") == []


async def test_a_lost_collection_json_over_data_is_data_loss_not_a_new_collection(store: MemoryStore) -> None:
    await opened(store, topology())
    first = await store.get(paths.log_slot(1, 1))
    assert first is not None
    batch = Record("mine", 1, 2, 1, b"n" * 16, 2, chain_value(first), Batch(()))
    await store.create(paths.log_slot(1, 2), encode(batch))
    await store.delete(COLLECTION_OBJECT)
    with pytest.raises(DataLoss, match="where shards hold data"):
        await opened(store, topology())
    assert await store.get(COLLECTION_OBJECT) is None


async def test_another_collection_than_the_expected_one_is_refused(store: MemoryStore) -> None:
    await opened(store, topology())
    with pytest.raises(DataLoss, match="holds collection mine; collection yours is expected"):
        await opened(store, topology(uid="yours"))


async def test_a_shard_that_lost_its_first_record_is_not_an_empty_shard(store: MemoryStore) -> None:
    await opened(store, topology())
    await store.delete(paths.log_slot(2, 1))
    with pytest.raises(DataLoss, match="shard 2 has lost its log"):
        await opened(store, topology())


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"uid": 1}', b"\xff\xfe"])
async def test_a_damaged_collection_json_is_data_loss(store: MemoryStore, body: bytes) -> None:
    await store.put(COLLECTION_OBJECT, body)
    with pytest.raises(DataLoss, match=r"collection\.json cannot be read"):
        await opened(store, topology())


async def test_a_newer_format_is_refused_with_both_numbers(store: MemoryStore) -> None:
    created = await opened(store, topology())
    await store.put(COLLECTION_OBJECT, created.model_copy(update={"format": 2}).model_dump_json().encode())
    with pytest.raises(DataLoss, match=r"format 2 .* reads format 1"):
        await opened(store, topology())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"vectors": (VectorSchema(dimensions=8),)}, r"4 x Cosine in the data and 8 x Cosine in the spec"),
        ({"shards": 5}, r"sharding.shards is 3 in the data and 5 in the spec"),
        ({"fields": ()}, r"fields\[lang\] is in the data and not in the spec"),
        (
            {"vectors": (VectorSchema(dimensions=4), VectorSchema(name="image", dimensions=8))},
            r"vectors\[image\] is new: adding a vector .* is not supported yet",
        ),
    ],
)
async def test_a_schema_that_contradicts_the_data_is_refused_in_words(
    store: MemoryStore, change: dict[str, object], sentence: str
) -> None:
    await opened(store, topology())
    with pytest.raises(SchemaMismatch, match=sentence) as refused:
        await opened(store, topology(**change))
    assert len(refused.value.differences) == 1


async def test_new_fields_come_last_and_an_index_may_change(store: MemoryStore) -> None:
    await opened(store, topology())
    exact = VectorSchema(dimensions=4, index=IndexType.EXACT)
    adopted = await opened(store, topology(fields=(YEAR, LANG), vectors=(exact,)))
    assert adopted.collection.fields == (LANG, YEAR)
    assert adopted.collection.vectors == (exact,)


async def test_the_schema_counts_as_last_extended(store: MemoryStore) -> None:
    created = await opened(store, topology())
    extended = created.collection.model_copy(update={"fields": (LANG, YEAR)})
    claim = ClaimRecord(holder=CLAIM, released=True, collection=extended, stamp=0)
    await store.create(paths.claim(1), claim.model_dump_json().encode())
    with pytest.raises(SchemaMismatch, match=r"fields\[year\] is in the data and not in the spec"):
        await opened(store, topology())
    wrong = FieldSchema(name="year", type=FieldType.STRING)
    with pytest.raises(SchemaMismatch, match=r"fields\[year\] is Int64 in the data and String in the spec"):
        await opened(store, topology(fields=(LANG, wrong)))
