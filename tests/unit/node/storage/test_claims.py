"""Claims: one fleet serves the data, another waits until it may."""

from __future__ import annotations

import asyncio
import random

import pytest
from faults import CALM, Faults, FaultyStore

from vectorfleet.descriptor import CLAIM_EXPIRY_SECONDS, CLAIM_RENEW_SECONDS, CLAIMS_PREFIX, ClaimRecord
from vectorfleet.schema import CollectionSchema, FieldSchema, FieldType, VectorSchema
from vectorfleet.topology import Claim
from vectorfleet_node.storage import paths
from vectorfleet_node.storage.claims import (
    KEPT,
    ClaimKeeper,
    Held,
    Lost,
    Released,
    Waiting,
    newest_claim,
)
from vectorfleet_node.storage.memory import MemoryStore
from vectorfleet_node.storage.store import DataLoss, Store, StoreUnavailable

OURS = Claim(cluster="blue", namespace="search", name="articles")
THEIRS = Claim(cluster="green", namespace="search", name="articles")
SCHEMA = CollectionSchema(vectors=(VectorSchema(dimensions=4),), shards=1)
LANG = FieldSchema(name="lang", type=FieldType.STRING)
EXTENDED = SCHEMA.model_copy(update={"fields": (LANG,)})


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def keeper(store: Store, claim: Claim, clock: Clock, schema: CollectionSchema = SCHEMA) -> ClaimKeeper:
    return ClaimKeeper(store, claim, schema, monotonic=clock, wall=lambda: 0.0)


async def newest(store: Store) -> tuple[int, ClaimRecord]:
    found = await newest_claim(store)
    assert found is not None
    return found


async def test_the_first_to_come_holds_the_data_and_the_second_waits(store: MemoryStore, clock: Clock) -> None:
    assert await keeper(store, OURS, clock).step() == Held()
    assert await keeper(store, THEIRS, clock).step() == Waiting(OURS)


async def test_the_nodes_of_a_fleet_hold_it_together_and_add_one_claim_per_period(
    store: MemoryStore, clock: Clock
) -> None:
    nodes = [keeper(store, OURS, clock) for _ in range(3)]
    for period in range(1, 4):
        for _ in range(2):
            assert [await node.step() for node in nodes] == [Held()] * 3
        assert (await newest(store))[0] == period
        clock.now += CLAIM_RENEW_SECONDS


async def test_a_claim_that_is_renewed_is_waited_for(store: MemoryStore, clock: Clock) -> None:
    holder, rival = keeper(store, OURS, clock), keeper(store, THEIRS, clock)
    for _ in range(20):
        assert await holder.step() == Held()
        assert await rival.step() == Waiting(OURS)
        clock.now += CLAIM_RENEW_SECONDS


async def test_a_claim_that_is_not_renewed_is_taken_and_its_holder_learns_of_it(
    store: MemoryStore, clock: Clock
) -> None:
    holder, rival = keeper(store, OURS, clock), keeper(store, THEIRS, clock)
    await holder.step()
    assert await rival.step() == Waiting(OURS)
    clock.now += CLAIM_EXPIRY_SECONDS - 1
    assert await rival.step() == Waiting(OURS)
    clock.now += 1
    assert await rival.step() == Held()
    assert await holder.step() == Lost(THEIRS)
    clock.now += 10 * CLAIM_EXPIRY_SECONDS
    assert await holder.step() == Lost(THEIRS)
    assert (await newest(store))[1].holder == THEIRS


async def test_a_rival_judges_by_its_own_watch_from_when_it_first_looked(store: MemoryStore, clock: Clock) -> None:
    await keeper(store, OURS, clock).step()
    clock.now += 10 * CLAIM_EXPIRY_SECONDS
    assert await keeper(store, THEIRS, clock).step() == Waiting(OURS)


async def test_a_released_claim_is_free_at_once(store: MemoryStore, clock: Clock) -> None:
    holder, rival = keeper(store, OURS, clock), keeper(store, THEIRS, clock)
    await holder.step()
    assert await rival.step() == Waiting(OURS)
    await holder.release()
    assert holder.state == Released()
    assert await rival.step() == Held()


async def test_a_release_by_one_node_ends_it_for_the_whole_fleet(store: MemoryStore, clock: Clock) -> None:
    one, other = keeper(store, OURS, clock), keeper(store, OURS, clock)
    await one.step()
    await other.step()
    await one.release()
    clock.now += 10 * CLAIM_RENEW_SECONDS
    assert await other.step() == Released()
    assert (await newest(store))[1].released


async def test_a_node_that_starts_after_the_release_claims_again(store: MemoryStore, clock: Clock) -> None:
    holder = keeper(store, OURS, clock)
    await holder.step()
    await holder.release()
    assert await keeper(store, OURS, clock).step() == Held()


async def test_a_release_of_what_another_holds_changes_nothing(store: MemoryStore, clock: Clock) -> None:
    await keeper(store, OURS, clock).step()
    rival = keeper(store, THEIRS, clock)
    await rival.step()
    await rival.release()
    assert (await newest(store))[1] == ClaimRecord(holder=OURS, collection=SCHEMA, stamp=0)


async def test_an_extended_schema_is_claimed_at_once_and_never_forgotten(store: MemoryStore, clock: Clock) -> None:
    newer, older = keeper(store, OURS, clock), keeper(store, OURS, clock)
    await newer.step()
    await older.step()
    newer.extend(EXTENDED)
    await newer.step()
    assert (await newest(store))[1].collection == EXTENDED
    await older.step()
    clock.now += CLAIM_RENEW_SECONDS
    await older.step()  # it renews, and has not heard of the new field
    number, record = await newest(store)
    assert number == 3
    assert record.collection == EXTENDED


async def test_old_claims_are_deleted(store: MemoryStore, clock: Clock) -> None:
    node = keeper(store, OURS, clock)
    for _ in range(3 * KEPT):
        await node.step()
        clock.now += CLAIM_RENEW_SECONDS
    assert await store.list(CLAIMS_PREFIX) == [paths.claim(2 * KEPT + number) for number in range(1, KEPT + 1)]


async def test_a_stalled_node_that_wins_a_deleted_number_is_not_fooled(store: MemoryStore, clock: Clock) -> None:
    class Stalls(MemoryStore):
        """While one create is under way, the rest of the world goes on for a long time."""

        stalled = False

        async def create(self, key: str, body: bytes) -> bool:
            if key == paths.claim(2) and not self.stalled:
                self.stalled = True
                rival = keeper(self, THEIRS, clock)
                await rival.step()
                clock.now += CLAIM_EXPIRY_SECONDS
                for _ in range(2 * KEPT):
                    await rival.step()
                    clock.now += CLAIM_RENEW_SECONDS
            return await super().create(key, body)

    store = Stalls()
    holder = keeper(store, OURS, clock)
    await holder.step()
    clock.now += CLAIM_RENEW_SECONDS
    assert await holder.step() == Lost(THEIRS)


async def test_a_listing_that_lags_does_not_hide_the_newest_claim(clock: Clock) -> None:
    class Lags(MemoryStore):
        async def list(self, prefix: str, *, after: str = "") -> list[str]:
            return (await super().list(prefix, after=after))[:-3]

    store = Lags()
    node = keeper(store, OURS, clock)
    for _ in range(7):
        await node.step()
        clock.now += CLAIM_RENEW_SECONDS
    assert (await newest(store))[0] == 7


async def test_a_listing_of_deleted_claims_only_decides_nothing(store: MemoryStore) -> None:
    class Stale(MemoryStore):
        async def list(self, prefix: str, *, after: str = "") -> list[str]:
            return [paths.claim(1)]

    with pytest.raises(StoreUnavailable, match="listing lags"):
        await newest_claim(Stale())


async def test_a_damaged_claim_is_reported(store: MemoryStore, clock: Clock) -> None:
    await store.put(paths.claim(1), b"{")
    with pytest.raises(DataLoss, match="claims/00000000000000000001"):
        await keeper(store, OURS, clock).step()


async def test_a_store_that_is_away_leaves_the_state_as_it_is(store: MemoryStore, clock: Clock) -> None:
    class Away(MemoryStore):
        away = False

        async def list(self, prefix: str, *, after: str = "") -> list[str]:
            if self.away:
                raise StoreUnavailable("away")
            return await super().list(prefix, after=after)

    store = Away()
    node = keeper(store, OURS, clock)
    await node.step()
    store.away = True
    with pytest.raises(StoreUnavailable):
        await node.step()
    assert node.state == Held()


@pytest.mark.parametrize("seed", range(20))
async def test_through_faults_two_fleets_are_never_both_told_that_they_hold_it_for_long(seed: int) -> None:
    """Both may believe it for a moment, while one has not looked; after everyone has looked, one does."""
    clock, rng = Clock(), random.Random(seed)
    store = FaultyStore(MemoryStore(), seed, Faults(lagging_list=0))
    fleets = {claim: [keeper(store, claim, clock) for _ in range(2)] for claim in (OURS, THEIRS)}
    everyone = [node for nodes in fleets.values() for node in nodes]

    async def look(node: ClaimKeeper) -> bool:
        try:
            await node.step()
        except StoreUnavailable:
            return False
        return True

    for _ in range(60):
        clock.now += rng.choice([1, 5, CLAIM_RENEW_SECONDS, CLAIM_EXPIRY_SECONDS])
        await asyncio.gather(*(look(node) for node in everyone if rng.random() < 0.7))
    store.faults = CALM
    clock.now += CLAIM_EXPIRY_SECONDS
    for _ in range(2):
        for node in everyone:
            await look(node)
    holding = {claim for claim, nodes in fleets.items() if any(node.state == Held() for node in nodes)}
    assert len(holding) <= 1, f"seed {seed}: {[node.state for node in everyone]}"
