"""Writes through a leading replica: durable, applied once, in whole batches; and what is told when they cannot be."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from replicas import (
    QUIET,
    TestClock,
    contents,
    delete,
    leading,
    make_replica,
    new_shard,
    row_hash,
    running,
    until,
    upsert,
    write,
)
from steered import SteeredStore

from vectorfleet_node.shard import requests as request_table
from vectorfleet_node.shard.port import InDoubt, NotLeader, NotReady, Overloaded, TooOld
from vectorfleet_node.storage.local import LocalStore
from vectorfleet_node.storage.memory import MemoryStore
from vectorfleet_node.storage.record import Batch, decode
from vectorfleet_node.storage.store import StorageError, Store, StoreUnavailable


def store_of(kind: str, folder: Path) -> Store:
    return MemoryStore() if kind == "memory" else LocalStore.open(folder / "store")


@pytest.mark.parametrize("kind", ["memory", "local"])
async def test_what_was_acknowledged_is_there_after_a_restart(kind: str, tmp_path: Path) -> None:
    store = store_of(kind, tmp_path)
    await new_shard(store)
    async with leading(make_replica(store, tmp_path, "a")) as replica:
        await write(replica, upsert(["a", "b", "c"], 1))
        await write(replica, upsert(["b"], 2, lang=None, year=7))
        await write(replica, delete("c"))
        rows, hashed = contents(replica.view()), row_hash(replica)
    assert set(rows) == {"a", "b"}
    assert rows["b"][:2] == (None, 7)
    async with running(again := make_replica(store, tmp_path, "b")):
        assert contents(again.view()) == rows
        assert row_hash(again) == hashed
        assert again.report().ready


async def test_a_retry_with_the_same_id_is_applied_once(tmp_path: Path) -> None:
    store = MemoryStore()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path, "a")) as replica:
        first = await write(replica, upsert(["a"], 1), "same")
        await write(replica, upsert(["a"], 2))
        rows = contents(replica.view())
        assert await write(replica, upsert(["a"], 1), "same") == first
        assert contents(replica.view()) == rows


async def test_a_retry_at_a_new_leader_is_applied_once_whether_or_not_the_first_was_sealed(tmp_path: Path) -> None:
    store = MemoryStore()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path, "a")) as replica:
        sealed = await write(replica, upsert(["a"], 1), "sealed")
        await replica.flush()
        growing = await write(replica, upsert(["b"], 1), "growing")
        await write(replica, upsert(["a", "b"], 2))
        rows = contents(replica.view())
    async with leading(make_replica(store, tmp_path, "b")) as replica:
        assert await write(replica, upsert(["a"], 1), "sealed") == sealed
        assert await write(replica, upsert(["b"], 1), "growing") == growing
        assert contents(replica.view()) == rows


async def test_a_retry_joins_the_attempt_that_is_under_way(tmp_path: Path) -> None:
    store = SteeredStore()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path, "a")) as replica:
        store.hold("create shards/0/log")
        attempts = [asyncio.create_task(write(replica, upsert(["a"], 1), "same")) for _ in range(3)]
        await until(lambda: store.waiting)
        attempts.append(asyncio.create_task(write(replica, upsert(["a"], 1), "same")))
        await asyncio.sleep(0.01)
        store.release()
        assert len(set(await asyncio.gather(*attempts))) == 1
    assert len(store.keys("log/")) == 3


async def test_a_caller_that_gives_up_is_in_doubt_and_its_write_lands(tmp_path: Path) -> None:
    store = SteeredStore()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path, "a")) as replica:
        store.hold("create shards/0/log")
        with pytest.raises(InDoubt):
            async with asyncio.timeout(0.02):
                await write(replica, upsert(["a"], 1), "doubtful")
        store.release()
        position = await write(replica, upsert(["a"], 1), "doubtful")
        assert position == 3
        assert set(contents(replica.view())) == {"a"}


async def test_a_write_whose_replies_are_lost_is_acknowledged_once_it_is_found_in_the_log(tmp_path: Path) -> None:
    store = SteeredStore()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path, "a")) as replica:
        store.lose_replies = True
        assert await write(replica, upsert(["a"], 1)) == 3
        assert await write(replica, upsert(["b"], 1)) == 4


async def test_a_write_that_was_said_to_have_failed_is_not_in_the_log(tmp_path: Path) -> None:
    store, keys = SteeredStore(), ["a", "b", "c"]
    await new_shard(store)
    async with leading(make_replica(store, tmp_path, "a")) as replica:
        store.lose_replies = True
        outcomes = await asyncio.gather(*(write(replica, upsert([key])) for key in keys), return_exceptions=True)
        store.lose_replies = False
    async with running(fresh := make_replica(store, tmp_path, "b")):
        failed = {key for key, outcome in zip(keys, outcomes, strict=True) if isinstance(outcome, StorageError)}
        assert not failed & set(contents(fresh.view()))


async def test_a_request_older_than_the_table_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_table, "CAPACITY", 2)
    store = MemoryStore()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path, "a")) as replica:
        positions = [await write(replica, upsert(["a"], n), f"r{n}", floor=2) for n in range(2)]
        await write(replica, upsert(["a"], 9), "r9", floor=positions[-1])
        with pytest.raises(TooOld, match="r0"):
            await write(replica, upsert(["a"], 0), "r0", floor=positions[0] - 1)
        await replica.flush()
    async with leading(make_replica(store, tmp_path, "b")) as replica:
        with pytest.raises(TooOld):
            await write(replica, upsert(["a"], 0), "r0", floor=positions[0] - 1)


async def test_writes_that_wait_for_a_send_share_the_next_record(tmp_path: Path) -> None:
    store = SteeredStore()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path, "a")) as replica:
        store.hold("create shards/0/log")
        first = asyncio.create_task(write(replica, upsert(["a"], 1)))
        await until(lambda: store.waiting)
        others = [asyncio.create_task(write(replica, upsert([f"b{n}"], n))) for n in range(20)]
        await asyncio.sleep(0.01)
        store.release()
        assert (await first, set(await asyncio.gather(*others))) == (3, {4})


async def test_a_record_is_filled_to_its_size_and_a_larger_part_is_not_split(tmp_path: Path) -> None:
    store = SteeredStore()
    await new_shard(store)
    settings = replace(QUIET, batch_bytes=4000)
    async with leading(make_replica(store, tmp_path, "a", settings=settings)) as replica:
        store.hold("create shards/0/log")
        writes = [asyncio.create_task(write(replica, upsert(["first"])))]
        await until(lambda: store.waiting)
        sizes = [1, 1, 200, 1, 1]
        writes += [
            asyncio.create_task(write(replica, upsert([f"{number}-{row}" for row in range(size)])))
            for number, size in enumerate(sizes)
        ]
        await asyncio.sleep(0.01)
        store.release()
        assert await asyncio.gather(*writes) == [3, 4, 4, 5, 6, 6]


async def test_an_idle_log_sends_at_once_and_a_busy_one_waits_for_its_window(tmp_path: Path) -> None:
    store, pauses = MemoryStore(), []

    async def sleep(seconds: float) -> None:
        if seconds < 1:
            pauses.append(seconds)
        await asyncio.sleep(min(seconds, 0.01))

    await new_shard(store)
    settings = replace(QUIET, commit_window=0.5, poll=50, poll_idle=50)
    async with leading(make_replica(store, tmp_path, "a", settings=settings, sleep=sleep)) as replica:
        await write(replica, upsert(["a"]))
        assert pauses == []
        await write(replica, upsert(["b"]))
        assert pauses == [pytest.approx(0.5, abs=0.2)]


async def test_half_a_records_worth_does_not_wait_for_the_window(tmp_path: Path) -> None:
    store = MemoryStore()
    await new_shard(store)
    settings = replace(QUIET, commit_window=1e6, batch_bytes=40_000)
    async with leading(make_replica(store, tmp_path, "a", settings=settings)) as replica, asyncio.timeout(60):
        await write(replica, upsert(["a"]))
        small = asyncio.create_task(write(replica, upsert(["b"])))
        await asyncio.sleep(0.01)
        assert not small.done()
        large = [f"c{number}" for number in range(400)]
        assert await asyncio.gather(small, write(replica, upsert(large))) == [4, 4]


async def test_a_reader_sees_a_part_whole_or_not_at_all(tmp_path: Path) -> None:
    store = MemoryStore()
    await new_shard(store)
    keys = [f"k{number}" for number in range(50)]
    async with leading(make_replica(store, tmp_path, "a")) as replica:
        writer = asyncio.create_task(write_years(make_writer(replica), keys))
        seen = set()
        while not writer.done():
            years = {row[1] for row in contents(replica.view()).values()}
            assert len(years) <= 1, f"a view mixes the writes of the years {years}"
            seen |= years
            await asyncio.sleep(0)
        await writer
    assert len(seen) > 5


def make_writer(replica):  # type: ignore[no-untyped-def]
    async def write_year(keys: list[str], year: int) -> None:
        await write(replica, upsert(keys, year, year=year))
        if year % 5 == 0:
            await replica.flush()

    return write_year


async def write_years(write_year, keys: list[str]) -> None:  # type: ignore[no-untyped-def]
    for year in range(1, 21):
        await write_year(keys, year)


async def test_who_does_not_lead_says_who_does(tmp_path: Path) -> None:
    store = MemoryStore()
    await new_shard(store)
    leader, follower = make_replica(store, tmp_path, "a"), make_replica(store, tmp_path, "b")
    async with leading(leader), running(follower):
        for refused in (write(follower, upsert(["x"])), follower.flush()):
            with pytest.raises(NotLeader) as told:
                await refused
            assert (told.value.owner, told.value.address) == ("owner-a", "a:7301")


async def test_nothing_is_taken_before_it_is_loaded(tmp_path: Path) -> None:
    replica = make_replica(MemoryStore(), tmp_path)
    for refused in (write(replica, upsert(["x"])), replica.make_strong(), replica.wait_for(1), replica.make_fresh(1)):
        with pytest.raises(NotReady):
            await refused
    with pytest.raises(NotReady):
        replica.view()
    assert not replica.report().ready


def with_a_null_inside(rows: pa.RecordBatch) -> pa.RecordBatch:
    """The first number of the first vector is missing."""
    number = rows.schema.get_field_index("vector.default")
    vectors = rows.column(number).to_pylist()
    vectors[0][0] = None
    return rows.set_column(number, rows.schema.field(number), pa.array(vectors, rows.schema.field(number).type))


async def test_a_write_that_does_not_fit_is_refused_and_the_next_one_is_taken(tmp_path: Path) -> None:
    store = MemoryStore()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path, "a")) as replica:
        good = upsert(["a"])
        for bad, what in [
            (type(good)(good.rows.drop_columns(["field.year"])), "field.year"),
            (type(good)(good.rows.slice(0, 0)), "0 rows"),
            (type(good)(with_a_null_inside(good.rows)), "column vector.default has nulls"),
            (delete("a", 5), "key 5"),
        ]:
            with pytest.raises(ValueError, match=what):
                await write(replica, bad)
        with pytest.raises(ValueError, match="65 characters"):
            await write(replica, good, "x" * 65)
        assert await write(replica, good) == 3


async def test_with_the_store_away_reads_go_on_writes_fail_fast_and_the_pending_one_lands_later(tmp_path: Path) -> None:
    store, clock = SteeredStore(), TestClock()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path, "a", clock=clock)) as replica:
        await write(replica, upsert(["a"]))
        store.down = True
        creates = store.asked("create shards/0/log")
        pending = asyncio.create_task(write(replica, upsert(["b"])))
        await until(lambda: store.asked("create shards/0/log") > creates)
        clock.added += QUIET.undecided_limit + 1
        with pytest.raises(StoreUnavailable, match="nothing was sent"):
            await write(replica, upsert(["c"]))
        with pytest.raises(StoreUnavailable):
            await replica.make_strong()
        assert set(contents(replica.view())) == {"a"}
        await until(lambda: "does not answer" in replica.report().message)
        assert replica.report().ready
        store.down = False
        assert await pending == 4
        await write(replica, upsert(["c"]))
        assert set(contents(replica.view())) == {"a", "b", "c"}
        await until(lambda: not replica.report().message)


async def test_a_full_queue_refuses_more_when_nobody_wants_to_wait(tmp_path: Path) -> None:
    store = SteeredStore()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path, "a", settings=replace(QUIET, queue_bytes=2000))) as replica:
        store.hold("create shards/0/log")
        tasks = [asyncio.create_task(write(replica, upsert([f"k{number}"]))) for number in range(10)]
        await until(lambda: any(task.done() for task in tasks))
        store.release()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, Overloaded)]
    assert 1 <= len(refused) < 10
    log = [
        decode(store.inner._objects[key], uid=None, shard=0, position=n) for n, key in enumerate(store.keys("log/"), 1)
    ]
    landed = [request for record in log if isinstance(record.body, Batch) for request in record.body.requests]
    assert len(landed) == 10 - len(refused)
