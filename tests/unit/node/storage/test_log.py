"""The log, step by step: what decides an append, and what comes after a record."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from vectorfleet_node.storage import paths
from vectorfleet_node.storage.log import BEHIND, TAIL, Backoff, Entry, Log, genesis
from vectorfleet_node.storage.memory import MemoryStore
from vectorfleet_node.storage.record import Batch, Body, Fence, Record, Unpin, chain_value, encode
from vectorfleet_node.storage.store import (
    CredentialsRefused,
    DataLoss,
    StorageError,
    StoreFull,
    StoreUnavailable,
)

UID = "collection"


class ScriptedStore(MemoryStore):
    """Runs a hook before an operation on a key; creates may be made to fail, before or after they land."""

    def __init__(self) -> None:
        super().__init__()
        self.before_get: dict[str, Callable[[], Awaitable[None]]] = {}
        self.failures: list[tuple[StorageError | None, bool]] = []  # per create: what it raises, and whether it lands
        self.sent: list[bytes] = []

    async def create(self, key: str, body: bytes) -> bool:
        self.sent.append(body)
        error, lands = self.failures.pop(0) if self.failures else (None, True)
        created = await super().create(key, body) if lands else False
        if error is not None:
            raise error
        return created

    async def get(self, key: str) -> bytes | None:
        if hook := self.before_get.pop(key, None):
            await hook()
        return await super().get(key)


async def no_sleep(_: float) -> None:
    return None


@pytest.fixture
def store() -> ScriptedStore:
    return ScriptedStore()


@pytest.fixture
def log(store: ScriptedStore) -> Log:
    return Log(store, UID, 0, sleep=no_sleep)


def record(position: int, previous: int, body: Body | None = None, nonce: bytes = b"n" * 16) -> bytes:
    return encode(Record(UID, 0, position, 1, nonce, position, previous, body or Batch(())))


async def written(store: ScriptedStore, count: int) -> list[bytes]:
    """Records 1..count, in the store; the first is a fence."""
    made = [genesis(UID, 0, b"g" * 16, 1)]
    while len(made) < count:
        made.append(record(len(made) + 1, chain_value(made[-1])))
    for position, body in enumerate(made, start=1):
        await store.put(paths.log_slot(0, position), body)
    return made


async def test_an_append_whose_reply_was_lost_is_recognised_as_ours(store: ScriptedStore, log: Log) -> None:
    store.failures = [(StoreUnavailable("lost"), True)]
    assert await log.append(2, record(2, 0)) is None
    assert store.sent == [record(2, 0)]


async def test_an_append_that_did_not_land_is_sent_again_with_the_same_bytes(store: ScriptedStore, log: Log) -> None:
    store.failures = [(StoreUnavailable("timed out"), False), (None, False), (CredentialsRefused("403"), False)]
    assert await log.append(2, record(2, 0)) is None
    assert store.sent == [record(2, 0)] * 4


async def test_an_append_that_lost_its_slot_learns_to_whom(store: ScriptedStore, log: Log) -> None:
    rival = record(2, 0, Fence("rival", "there:7301", 1))
    await store.put(paths.log_slot(0, 2), rival)
    lost = await log.append(2, record(2, 0))
    assert lost is not None
    assert lost.record.body == Fence("rival", "there:7301", 1)


@pytest.mark.parametrize("refusal", [CredentialsRefused("403"), StoreFull("no room")])
async def test_an_append_that_was_refused_at_once_says_so(
    store: ScriptedStore, log: Log, refusal: StorageError
) -> None:
    store.failures = [(refusal, False)]
    with pytest.raises(type(refusal)):
        await log.append(2, record(2, 0))
    assert await store.get(paths.log_slot(0, 2)) is None


async def test_a_rivals_damaged_record_is_damage_not_victory(store: ScriptedStore, log: Log) -> None:
    await store.put(paths.log_slot(0, 2), b"rotten")
    with pytest.raises(DataLoss):
        await log.append(2, record(2, 0))


async def test_the_pauses_between_attempts_grow_and_end_growing() -> None:
    pauses = [Backoff(0.1, 1.0).pause(attempt) for attempt in range(100)]
    assert pauses[:5] == [0.1, 0.2, 0.4, 0.8, 1.0]
    assert max(pauses) == 1.0


async def test_a_log_is_read_in_order_to_its_tail(store: ScriptedStore, log: Log) -> None:
    made = await written(store, 3)
    position, chain = 0, 0
    while isinstance(found := await log.next_after(position, chain), Entry):
        assert found.data == made[position]
        position, chain = found.record.position, found.chain
    assert (position, found) == (3, TAIL)


async def test_a_collected_slot_is_behind_not_the_tail(store: ScriptedStore, log: Log) -> None:
    made = await written(store, 3)
    await store.create(paths.boundary(0, 1, 0), b"")
    await store.delete(paths.log_slot(0, 3))
    assert await log.next_after(2, chain_value(made[1])) is BEHIND


async def test_a_slot_under_the_large_marker_alone_is_behind(store: ScriptedStore, log: Log) -> None:
    await store.create(paths.boundary(0, 2, 0), b"")
    assert await log.next_after(2, 7) is BEHIND


async def test_a_record_that_does_not_chain_is_behind(store: ScriptedStore, log: Log) -> None:
    await written(store, 2)
    await store.put(paths.log_slot(0, 3), record(3, 12345, Fence("dead candidate", "", 1)))
    assert await log.next_after(2, 1) is BEHIND


async def test_a_fence_that_chains_in_a_collected_slot_may_be_a_dead_candidates(store: ScriptedStore, log: Log) -> None:
    first, second = await written(store, 2)
    await store.create(paths.log_slot(0, 3), record(3, chain_value(second), Fence("sleeper", "", 1)))
    assert isinstance(await log.next_after(2, chain_value(second)), Entry)
    await store.create(paths.boundary(0, 1, 0), b"")
    assert await log.next_after(2, chain_value(second)) is BEHIND
    assert isinstance(await log.next_after(1, chain_value(first)), Entry)


async def test_a_record_that_lands_between_the_looks_is_found(store: ScriptedStore, log: Log) -> None:
    made = await written(store, 2)
    following = record(3, chain_value(made[1]))

    async def land_and_mark() -> None:
        await store.put(paths.log_slot(0, 3), following)
        await store.put(paths.boundary(0, 1, 0), b"")

    store.before_get[paths.boundary(0, 1, 0)] = land_and_mark
    found = await log.next_after(2, chain_value(made[1]))
    assert isinstance(found, Entry)
    assert found.data == following


async def test_a_slot_that_is_collected_between_two_looks_is_not_the_tail(store: ScriptedStore, log: Log) -> None:
    made = await written(store, 3)
    slot, marker = paths.log_slot(0, 3), paths.boundary(0, 1, 0)
    looks = 0

    async def collect() -> None:
        nonlocal looks
        looks += 1
        if looks == 2:
            await store.put(marker, b"")
            await store.delete(slot)

    store.before_get = {slot: collect, marker: collect}
    assert await log.next_after(2, chain_value(made[1])) is not TAIL


async def test_markers_that_change_hands_between_two_looks_are_seen(store: ScriptedStore, log: Log) -> None:
    small, large = paths.boundary(0, 1, 0), paths.boundary(0, 2, 0)
    await store.create(small, b"")
    looks = 0

    async def change_hands() -> None:
        nonlocal looks
        looks += 1
        if looks == 2:  # garbage collection runs between the two, whichever comes second
            await store.put(large, b"")
            await store.delete(small)

    store.before_get = {small: change_hands, large: change_hands}
    assert await log.collected(5)


async def test_a_damaged_record_is_never_skipped(store: ScriptedStore, log: Log) -> None:
    await written(store, 2)
    await store.put(paths.log_slot(0, 2), b"rotten")
    with pytest.raises(DataLoss, match="record 2 of shard 0"):
        await log.next_after(1, 0)


async def test_the_first_record_belongs_to_whoever_created_it(store: ScriptedStore, log: Log) -> None:
    first = await log.create_first(genesis("theirs", 0, b"t" * 16, 5))
    second = await log.create_first(genesis(UID, 0, b"o" * 16, 6))
    assert first == second
    assert second.record.uid == "theirs"


async def test_a_first_record_that_is_no_fence_is_damage(store: ScriptedStore, log: Log) -> None:
    await store.put(paths.log_slot(0, 1), record(1, 0, Unpin("x")))
    with pytest.raises(DataLoss, match="not a fence"):
        await log.create_first(genesis(UID, 0, b"o" * 16, 6))


async def test_a_first_record_nobody_decided_on_is_asked_for_again(store: ScriptedStore, log: Log) -> None:
    store.failures = [(None, False)]
    with pytest.raises(StoreUnavailable):
        await log.create_first(genesis(UID, 0, b"o" * 16, 6))
