"""A collection's host: it tells what stands between it and the data, and heals when that is mended."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from fake_fleet import SCHEMA, FakeReplica, collection
from real_fleet import MortalStore, eventually

from vectorfleet.descriptor import TOMBSTONE_OBJECT, CollectionDescriptor
from vectorfleet.schema import CollectionSchema, VectorSchema
from vectorfleet.topology import Claim, CollectionTopology
from vectorfleet.v1 import peer_pb2
from vectorfleet_node.api.host import CollectionHost, Environment, HostedShard
from vectorfleet_node.storage.claims import ClaimKeeper
from vectorfleet_node.storage.collection import adopt_or_create
from vectorfleet_node.storage.memory import MemoryStore
from vectorfleet_node.storage.store import CredentialsMissing, CredentialsRefused, DataLoss, Store, StoreNotFound

HERE = collection({0: ("n0",), 1: ("n0", "n1")}).model_copy(update={"uid": ""})
Hosting = Callable[..., Awaitable[CollectionHost]]


class LockedStore(MortalStore):
    """Refuses everything with `error` while there is one. overwrites: creates do, as on some S3 servers."""

    error: Exception | None = None
    overwrites = False

    def __getattr__(self, name: str) -> Any:
        inner = super().__getattr__(name)

        async def guarded(*args: Any, **kwargs: Any) -> Any:
            if self.error is not None:
                raise self.error
            if name == "create" and self.overwrites:
                await self.put(*args)
                return True
            return await inner(*args, **kwargs)

        return guarded


async def adopt(store: Store, topology: CollectionTopology) -> CollectionDescriptor:
    return await adopt_or_create(
        store,
        topology,
        new_uid=lambda: secrets.token_hex(8),
        new_nonce=lambda: secrets.token_bytes(16),
        now_milliseconds=lambda: int(time.time() * 1000),
        sleep=asyncio.sleep,
    )


def keeper(store: Store, topology: CollectionTopology, schema: CollectionSchema) -> ClaimKeeper:
    return ClaimKeeper(store, topology.claim, schema, monotonic=time.monotonic, wall=time.time)


@pytest.fixture
def store() -> LockedStore:
    return LockedStore(MemoryStore())


@pytest.fixture
async def host(store: LockedStore, tmp_path: Path) -> AsyncIterator[Callable[[CollectionTopology], CollectionHost]]:
    """Starts hosts of node n0 whose replicas are fakes."""
    made: list[CollectionHost] = []

    def replica(hosted: HostedShard) -> FakeReplica:
        hosted.cache.mkdir(parents=True, exist_ok=True)
        return FakeReplica(shard=hosted.shard)

    def start(topology: CollectionTopology) -> CollectionHost:
        environment = Environment("n0", tmp_path, lambda location: store, adopt, keeper, replica)
        made.append(CollectionHost(topology, environment, lambda: None))
        made[-1].start()
        return made[-1]

    yield start
    for entry in made:
        await entry.stop()


async def until(host: CollectionHost, state: peer_pb2.StorageState) -> peer_pb2.CollectionReport:
    """The host's report once it tells this state."""

    async def check() -> peer_pb2.CollectionReport | None:
        report = host.report()
        return report if report.storage == state else None

    return await eventually(check, what=peer_pb2.StorageState.Name(state))


Start = Callable[[CollectionTopology], CollectionHost]


async def test_a_store_that_overwrites_is_never_served(store: LockedStore, host: Start) -> None:
    store.overwrites = True
    started = host(HERE)

    async def decided() -> peer_pb2.CollectionReport | None:
        report = started.report()
        return report if report.storage != peer_pb2.STORAGE_STARTING else None

    report = await eventually(decided, what="a state after the start")
    assert (report.storage, list(report.shards)) == (peer_pb2.STORAGE_UNSAFE, [])


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (CredentialsRefused("403"), peer_pb2.STORAGE_CREDENTIALS_REFUSED),
        (CredentialsMissing("no secret"), peer_pb2.STORAGE_CREDENTIALS_MISSING),
        (StoreNotFound("no bucket"), peer_pb2.STORAGE_NOT_FOUND),
        (DataLoss("gone"), peer_pb2.STORAGE_DATA_LOSS),
        (ValueError("storage.url is 'x'"), peer_pb2.STORAGE_UNREACHABLE),
    ],
)
async def test_what_is_wrong_at_the_start_is_told_and_heals(
    store: LockedStore, host: Start, error: Exception, state: peer_pb2.StorageState
) -> None:
    store.error = error
    started = host(HERE)
    report = await until(started, state)
    assert str(error) in report.message
    assert str(error) in started.waiting()[0]
    store.error = None
    report = await until(started, peer_pb2.STORAGE_OK)
    assert (report.uid != "", report.message) == (True, "")
    assert [shard.id for shard in report.shards] == [0, 1]
    assert started.waiting() == []


async def test_refused_credentials_of_a_running_host_are_told_while_it_goes_on_serving(
    store: LockedStore, host: Start
) -> None:
    started = host(HERE)
    await until(started, peer_pb2.STORAGE_OK)
    replica = started.replica(0)
    store.error = CredentialsRefused("403")
    report = await until(started, peer_pb2.STORAGE_CREDENTIALS_REFUSED)
    assert "still served" in report.message
    assert started.replica(0) is replica
    assert started.waiting() == []
    store.error = None
    await until(started, peer_pb2.STORAGE_OK)


async def test_a_second_claimant_waits_and_names_the_holder(host: Start) -> None:
    await until(host(HERE), peer_pb2.STORAGE_OK)
    rival = host(HERE.model_copy(update={"claim": Claim(cluster="c", namespace="n", name="rival")}))
    report = await until(rival, peer_pb2.STORAGE_CLAIMED)
    assert report.claim_holder == str(HERE.claim)
    assert report.claim_holder in report.message
    assert list(report.shards) == []
    assert rival.waiting() != []


async def test_a_claim_that_another_took_stops_the_replicas(store: LockedStore, host: Start) -> None:
    started = host(HERE)
    await until(started, peer_pb2.STORAGE_OK)
    thief = keeper(store, HERE.model_copy(update={"claim": Claim(cluster="d", namespace="n", name="thief")}), SCHEMA)
    await thief._observe()
    await thief._add(released=False)
    report = await until(started, peer_pb2.STORAGE_CLAIMED)
    assert "n/thief in cluster d" in report.claim_holder

    async def stopped() -> bool:
        return list(started.replicas()) == []

    await eventually(stopped, what="the replicas stop")


async def test_another_schema_and_a_tombstone_are_told(store: LockedStore, host: Start) -> None:
    await until(host(HERE), peer_pb2.STORAGE_OK)
    other = SCHEMA.model_copy(update={"vectors": (VectorSchema(dimensions=3),)})
    report = await until(host(HERE.model_copy(update={"collection": other})), peer_pb2.STORAGE_SCHEMA_MISMATCH)
    assert "2 x Cosine in the data and 3 x Cosine in the spec" in report.message
    await store.put(TOMBSTONE_OBJECT, b"{}")
    report = await until(host(HERE), peer_pb2.STORAGE_DELETED)
    assert "deleted" in report.message


async def test_only_the_shards_placed_here_run_and_have_a_cache(host: Start, tmp_path: Path) -> None:
    started = host(HERE)
    report = await until(started, peer_pb2.STORAGE_OK)
    folder = tmp_path / report.uid
    assert {path.name for path in folder.iterdir()} == {"0", "1"}
    await started.update(HERE.model_copy(update={"shards": collection({0: ("n1",), 1: ("n0",)}).shards}))
    assert [replica.shard for replica in started.replicas()] == [1]
    assert {path.name for path in folder.iterdir()} == {"1"}
    await started.stop()
    await started.remove_cache()
    assert not folder.exists()


async def test_a_replica_that_is_loading_keeps_the_node_from_being_ready(host: Start) -> None:
    started = host(HERE)
    await until(started, peer_pb2.STORAGE_OK)
    replica = started.replica(1)
    assert isinstance(replica, FakeReplica)
    replica.ready = False
    assert started.waiting() == ["things: shard 1: loading"]
