"""A store that is slower than the writers: memory stays bounded, who waits is served or told, and reads go on."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from replicas import (
    DIMENSIONS,
    QUIET,
    UID,
    contents,
    delete,
    leading,
    make_replica,
    nearest,
    new_shard,
    running,
    until,
    upsert,
    vectors_of,
)
from steered import SteeredStore

from vectorfleet_node.shard.port import NotApplied, NotLeader, Overloaded
from vectorfleet_node.shard.replica import ShardReplica
from vectorfleet_node.shard.settings import ShardSettings
from vectorfleet_node.storage.memory import MemoryStore
from vectorfleet_node.storage.paths import number_of
from vectorfleet_node.storage.record import Batch, decode
from vectorfleet_node.storage.store import StoreUnavailable

LIMIT = 400_000
SMALL = replace(QUIET, growing_bytes=LIMIT, queue_bytes=100_000)
LONG = 1e9
ANY_FLOOR = 1 << 40


@dataclass
class Time:
    """A clock that a test turns; whoever sleeps wakes when it is turned far enough."""

    now: float = 1000.0
    sleepers: list[tuple[float, asyncio.Future[None]]] = field(default_factory=list)

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.get_running_loop().create_future()
        if seconds > 0:
            self.sleepers.append((self.now + seconds, woken))
        else:
            woken.get_loop().call_soon(lambda: woken.done() or woken.set_result(None))
        await woken

    async def turn(self, seconds: float) -> None:
        self.now += seconds
        due = [woken for until, woken in self.sleepers if until <= self.now]
        self.sleepers = [sleeper for sleeper in self.sleepers if sleeper[0] > self.now]
        for woken in due:
            if not woken.done():
                woken.set_result(None)
        await asyncio.sleep(0)


class RememberingStore(SteeredStore):
    """Remembers the request ids of all batches that came into the log, also when they have been collected since."""

    def __init__(self) -> None:
        super().__init__()
        self.request_ids: list[str] = []

    async def create(self, key: str, body: bytes) -> bool:
        created = await super().create(key, body)
        if created and "/log/" in key:
            record = decode(body, uid=UID, shard=0, position=number_of(key) or 0)
            requests = record.body.requests if isinstance(record.body, Batch) else ()
            self.request_ids += [request.request_id for request in requests]
        return created


class UnsteadyStore(RememberingStore):
    """Each call takes a random number of turns of the event loop; `watch` is called at each."""

    def __init__(self, seed: int, watch: Callable[[], None]) -> None:
        super().__init__()
        self.random = random.Random(seed)
        self.watch = watch

    async def _pass(self, call: str) -> None:
        for _ in range(self.random.choice((0, 1, 2, 20))):
            self.watch()
            await asyncio.sleep(0)
        await super()._pass(call)


def begin(replica: ShardReplica, name: str, rows: int = 1, patience: float = LONG) -> asyncio.Task[int]:
    part = upsert([f"{name}-{row}" for row in range(rows)])
    return asyncio.create_task(replica.append(name, ANY_FLOOR, part, patience))


@asynccontextmanager
async def full(
    tmp_path: Path, settings: ShardSettings = SMALL
) -> AsyncIterator[tuple[RememberingStore, ShardReplica, Time]]:
    """A leader whose memory is full of rows and whose flush stands still; the clock does too."""
    store, time = RememberingStore(), Time()
    await new_shard(store)
    replica = make_replica(store, tmp_path, settings=settings, clock=time, sleep=time.sleep)  # type: ignore[arg-type]
    async with leading(replica):
        for rows in (20, 1):
            for number in itertools.count():
                try:
                    await begin(replica, f"filler-{rows}-{number}", rows, patience=0)
                except Overloaded:
                    break
        store.hold("upload")
        yield store, replica, time
        store.release()


@pytest.mark.parametrize("seed", range(2))
async def test_memory_stays_below_its_limit_whatever_the_writers_do(seed: int, tmp_path: Path) -> None:
    chance, highest = random.Random(seed), 0

    def watch() -> None:
        nonlocal highest
        if replica._reign is not None:
            highest = max(highest, replica._reign.leadership.held().unflushed)

    store = UnsteadyStore(seed, watch)
    replica = make_replica(store, tmp_path, settings=SMALL)
    await new_shard(store)
    expected: dict[str, bool] = {}

    async def writer(name: str) -> None:
        for number in range(80):
            keys = [f"{name}-{number}-{row}" for row in range(chance.randint(1, 30))]
            await replica.append(f"{name}/{number}/u", ANY_FLOOR, upsert(keys), LONG)
            expected.update(dict.fromkeys(keys, True))
            gone = chance.sample(keys, len(keys) // 3)
            if gone:
                await replica.append(f"{name}/{number}/d", ANY_FLOOR, delete(*gone), LONG)
                expected.update(dict.fromkeys(gone, False))
            watch()

    async def flusher() -> None:
        while True:
            await until(lambda: replica.report().writes_waiting)
            await replica.flush()

    async with leading(replica):
        flushing = asyncio.create_task(flusher())
        await asyncio.gather(*(writer(f"w{number}") for number in range(16)))
        flushing.cancel()
        await asyncio.gather(flushing, return_exceptions=True)
        assert set(contents(replica.view())) == {key for key, there in expected.items() if there}, f"seed {seed}"
    assert len(store.request_ids) > 2000
    assert LIMIT / 2 < highest <= LIMIT, f"seed {seed}"


async def test_reads_answer_while_writes_wait_and_the_writes_land_when_the_flush_goes_on(tmp_path: Path) -> None:
    async with full(tmp_path) as (store, replica, _):
        waiting = [begin(replica, f"late-{number}") for number in range(20)]
        flushing = asyncio.create_task(replica.flush())
        await until(lambda: store.waiting)
        assert replica.report().writes_waiting == 20
        before = contents(replica.view())
        assert len(before) > 500
        await replica.make_strong()
        assert len(nearest(replica.view(), vectors_of(1, 7, DIMENSIONS))[0]) == 5
        assert not any(task.done() for task in waiting)
        store.release()
        await flushing
        assert replica.report().writes_waiting == 0, "the flush has let them in"
        positions = await asyncio.gather(*waiting)
        assert positions == sorted(positions)
        assert set(contents(replica.view())) == set(before) | {f"late-{number}-0" for number in range(20)}


async def test_a_write_that_waited_in_vain_is_refused_and_never_lands(tmp_path: Path) -> None:
    async with full(tmp_path) as (store, replica, time):
        hasty, patient = begin(replica, "hasty", patience=5.0), begin(replica, "patient", patience=50.0)
        await until(lambda: replica.report().writes_waiting == 2)
        await time.turn(4.9)
        assert not hasty.done()
        await time.turn(0.2)
        with pytest.raises(Overloaded, match="nothing was sent"):
            await hasty
        store.release()
        await replica.flush()
        await patient
        await replica.flush()
        assert "hasty" not in store.request_ids
        assert "hasty-0" not in contents(replica.view())
        assert await replica.append("hasty", ANY_FLOOR, upsert(["hasty-0"])) > await patient


async def test_writes_that_wait_make_a_flush_due(tmp_path: Path) -> None:
    settings = replace(SMALL, seal_idle=8e6)
    async with full(tmp_path, settings) as (store, replica, time):
        store.release()
        await until(lambda: any(until_ > time.now + 9e5 for until_, _ in time.sleepers))
        waits = begin(replica, "waits")
        await until(lambda: replica.report().writes_waiting)
        await time.turn(1e6)  # the publisher's next look, long before the rows are idle
        assert (await asyncio.wait([waits], timeout=10))[0], "no flush has made room"


async def test_two_attempts_of_one_request_that_both_wait_are_applied_once(tmp_path: Path) -> None:
    async with full(tmp_path) as (store, replica, _):
        attempts = [begin(replica, "same") for _ in range(3)]
        await until(lambda: replica.report().writes_waiting == 3)
        store.release()
        await replica.flush()
        assert len(set(await asyncio.gather(*attempts))) == 1
        assert store.request_ids.count("same") == 1


async def test_who_gives_up_while_waiting_is_not_in_doubt_because_nothing_was_sent(tmp_path: Path) -> None:
    async with full(tmp_path) as (store, replica, _):
        gone = begin(replica, "gone")
        await until(lambda: replica.report().writes_waiting)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        store.release()
        await replica.flush()
        assert "gone" not in store.request_ids


async def test_a_leader_that_lost_its_shard_turns_the_waiting_writes_away_at_once(tmp_path: Path) -> None:
    async with full(tmp_path) as (store, replica, _):
        waiting = [begin(replica, f"late-{number}") for number in range(5)]
        await until(lambda: replica.report().writes_waiting == 5)
        async with leading(make_replica(store.inner, tmp_path, "heir")) as heir:
            await replica.make_strong()
            assert not (await asyncio.wait(waiting, timeout=10))[1], "they wait for a leader that is none"
            outcomes = await asyncio.gather(*waiting, return_exceptions=True)
            assert [type(outcome) for outcome in outcomes] == [NotApplied] * 5
            with pytest.raises(NotLeader):
                await begin(replica, "more")
            assert not any("late" in str(key) for key in contents(heir.view()))


async def test_a_store_that_does_not_decide_makes_writes_wait_and_then_refuses_them(tmp_path: Path) -> None:
    store, time = RememberingStore(), Time()
    await new_shard(store)
    replica = make_replica(store, tmp_path, clock=time, sleep=time.sleep)  # type: ignore[arg-type]
    async with leading(replica):
        store.hold("create shards/0/log")
        sent = begin(replica, "sent")
        await until(lambda: store.waiting)
        await time.turn(QUIET.undecided_limit + 1)
        hasty, patient = begin(replica, "hasty", patience=5), begin(replica, "patient", patience=50)
        await until(lambda: replica.report().writes_waiting == 2)
        await time.turn(6)
        with pytest.raises(StoreUnavailable, match="nothing was sent") as told:
            await hasty
        assert told.value.retry_after
        store.release()
        assert await patient == await sent + 1
        assert store.request_ids == ["sent", "patient"]


async def test_stopping_turns_waiting_writes_away(tmp_path: Path) -> None:
    async with full(tmp_path) as (store, replica, _):
        waits = begin(replica, "waits")
        await until(lambda: replica.report().writes_waiting)
        store.release()
        await replica.stop()
        with pytest.raises(NotApplied):
            await waits


async def test_a_new_leader_of_more_rows_than_it_may_hold_flushes_them_and_takes_writes(tmp_path: Path) -> None:
    store = MemoryStore()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path, "roomy")) as roomy:
        await begin(roomy, "many", rows=2000)
    time = Time()
    narrow = make_replica(store, tmp_path, "narrow", settings=SMALL, clock=time, sleep=time.sleep)  # type: ignore[arg-type]
    async with running(narrow):
        await narrow.take_over()
        assert narrow.report().growing_bytes > LIMIT
        waits = begin(narrow, "waits")
        await until(lambda: narrow.report().writes_waiting)
        await narrow.flush()
        await waits
        assert narrow.report().growing_bytes < LIMIT


class NoDownloads(SteeredStore):
    """A store that gives everything but segment files."""

    broken = True

    async def download(self, key: str, path: Path) -> None:
        if self.broken:
            raise StoreUnavailable(f"{key} cannot be read")
        await super().download(key, path)


async def test_a_follower_that_cannot_adopt_manifests_stops_reading_before_its_memory_is_full(tmp_path: Path) -> None:
    store = NoDownloads()
    await new_shard(store)
    leader = make_replica(store.inner, tmp_path, "leader", settings=SMALL)
    async with leading(leader), running(follower := make_replica(store, tmp_path, "follower", settings=SMALL)):
        for number in range(36):
            await leader.append(f"r{number}", ANY_FLOOR, upsert([f"{number}-{row}" for row in range(100)]))
            if number % 8 == 7:
                await leader.flush()
        await until(lambda: follower.report().growing_bytes > 2 * LIMIT)
        with pytest.raises(StoreUnavailable, match="cannot be read"):
            await follower.make_strong()
        assert follower.report().growing_bytes < 2.2 * LIMIT
        assert follower.report().position < leader.report().position
        assert contents(follower.view())
        assert "cannot be read" in follower.report().message
        store.broken = False
        await until(lambda: follower.report().position == leader.report().position)
        await follower.make_strong()
        assert contents(follower.view()) == contents(leader.view())
        await until(lambda: follower.report().growing_bytes < LIMIT)
