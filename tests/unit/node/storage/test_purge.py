"""Deleting a collection's data: all of it, only ours, and again if it was cut off."""

from __future__ import annotations

import pytest
from test_claims import OURS, THEIRS, Clock, keeper

from vectorfleet.descriptor import CLAIM_EXPIRY_SECONDS, COLLECTION_OBJECT, TOMBSTONE_OBJECT
from vectorfleet_node.storage import paths
from vectorfleet_node.storage.claims import ClaimedByOther, ClaimKeeper
from vectorfleet_node.storage.memory import MemoryStore
from vectorfleet_node.storage.purge import purge
from vectorfleet_node.storage.store import StoreUnavailable


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def filled(store: MemoryStore) -> MemoryStore:
    for key in (COLLECTION_OBJECT, paths.log_slot(0, 1), paths.log_slot(3, 7), paths.segment(0, "1-a-b.rows")):
        await store.put(key, b"x")
    return store


async def purged(store: MemoryStore, clock: Clock, renewing: ClaimKeeper | None = None) -> None:
    async def sleep(seconds: float) -> None:
        clock.now += seconds
        if renewing is not None:
            await renewing.step()

    await purge(store, OURS, monotonic=clock, sleep=sleep)


async def test_everything_but_the_tombstone_goes(clock: Clock) -> None:
    store = await filled(MemoryStore())
    await keeper(store, OURS, clock).step()
    await purged(store, clock)
    assert await store.list("") == [TOMBSTONE_OBJECT]
    await purged(store, clock)
    assert await store.list("") == [TOMBSTONE_OBJECT]


async def test_the_tombstone_comes_first_and_a_purge_that_was_cut_off_is_resumed(clock: Clock) -> None:
    class Breaks(MemoryStore):
        deletions = 2

        async def delete(self, key: str) -> None:
            if self.deletions == 0:
                raise StoreUnavailable("away")
            self.deletions -= 1
            await super().delete(key)

    store = Breaks()
    await filled(store)
    with pytest.raises(StoreUnavailable):
        await purged(store, clock)
    assert TOMBSTONE_OBJECT in await store.list("")
    store.deletions = 100
    await purged(store, clock)
    assert await store.list("") == [TOMBSTONE_OBJECT]


async def test_what_a_late_writer_adds_is_swept_too(clock: Clock) -> None:
    class LateWriter(MemoryStore):
        pending = 1

        async def delete(self, key: str) -> None:
            await super().delete(key)
            if self.pending:
                self.pending -= 1
                await self.put(paths.log_slot(0, 9), b"late")

    store = LateWriter()
    await filled(store)
    await purged(store, clock)
    assert await store.list("") == [TOMBSTONE_OBJECT]


async def test_data_that_another_serves_is_not_touched(clock: Clock) -> None:
    store = await filled(MemoryStore())
    rival = keeper(store, THEIRS, clock)
    await rival.step()
    with pytest.raises(ClaimedByOther, match="search/articles in cluster green"):
        await purged(store, clock, renewing=rival)
    assert TOMBSTONE_OBJECT not in await store.list("")


async def test_data_that_another_left_behind_is_deleted_after_watching_its_claim(clock: Clock) -> None:
    store = await filled(MemoryStore())
    await keeper(store, THEIRS, clock).step()
    began = clock.now
    await purged(store, clock)
    assert clock.now - began >= CLAIM_EXPIRY_SECONDS
    assert await store.list("") == [TOMBSTONE_OBJECT]


async def test_data_that_another_released_is_deleted_at_once(clock: Clock) -> None:
    store = await filled(MemoryStore())
    rival = keeper(store, THEIRS, clock)
    await rival.step()
    await rival.release()
    began = clock.now
    await purged(store, clock)
    assert clock.now - began < CLAIM_EXPIRY_SECONDS
