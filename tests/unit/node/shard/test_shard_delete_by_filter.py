"""Deletes by filter: what matches just before the record is deleted, nothing else, and once."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from replicas import QUIET, contents, leading, make_replica, new_shard, running, until, upsert, write
from steered import SteeredStore

from vectorfleet_node.shard.port import InDoubt, NotLeader, NotReady, Rotten, SelectPart
from vectorfleet_node.shard.view import Key, ShardView
from vectorfleet_node.storage.memory import MemoryStore


def of_year(year: int) -> SelectPart:
    """The rows with that year."""

    def select(view: ShardView, limit: int) -> list[Key]:
        found: list[Key] = []
        for block in view.blocks:
            years = block.rows.column("year").to_pylist()
            keys = block.rows.column("key").to_pylist()
            found += [keys[row] for row in np.flatnonzero(block.live) if years[row] == year]
        return found[:limit]

    return SelectPart(select)


async def test_what_matches_is_deleted_from_growing_and_sealed_rows_and_counted(tmp_path: Path) -> None:
    store = MemoryStore()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path, "a")) as replica:
        await write(replica, upsert(["a", "b", "c"], year=1))
        await replica.flush()
        await write(replica, upsert(["b", "d"], year=2))
        await write(replica, upsert(["e"], year=1))
        await replica.append("gone", 0, of_year(1))
        assert set(contents(replica.view())) == {"b", "d"}
        assert replica.deleted("gone") == 3
        assert replica.deleted("another") is None
    async with running(again := make_replica(store, tmp_path, "b")):
        assert set(contents(again.view())) == {"b", "d"}


async def test_writes_that_were_queued_before_are_seen_and_those_after_are_not_undone(tmp_path: Path) -> None:
    store = MemoryStore()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path, "a")) as replica:
        await write(replica, upsert(["stays", "goes"], year=1))
        await asyncio.gather(
            write(replica, upsert(["stays"], year=2)),  # would be lost by a delete of what matched before it
            write(replica, upsert(["goes-too"], year=1)),
            replica.append("gone", 0, of_year(1)),
            write(replica, upsert(["later"], year=1)),
        )
        assert set(contents(replica.view())) == {"stays", "later"}
        assert replica.deleted("gone") == 2


async def test_a_retry_is_applied_once_also_when_nothing_matched_and_by_a_new_leader(tmp_path: Path) -> None:
    store = MemoryStore()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path, "a")) as replica:
        position = await replica.append("none", 0, of_year(1))
        assert replica.deleted("none") == 0
        await write(replica, upsert(["a"], year=1))
        assert await replica.append("none", 0, of_year(1)) == position
        assert set(contents(replica.view())) == {"a"}
        one, other = await asyncio.gather(replica.append("two", 0, of_year(1)), replica.append("two", 0, of_year(1)))
        assert one == other
        assert replica.deleted("two") == 1
        await write(replica, upsert(["a"], year=1))
    async with leading(make_replica(store, tmp_path, "b")) as successor:
        assert await successor.append("two", 0, of_year(1)) == one
        assert set(contents(successor.view())) == {"a"}
        assert successor.deleted("two") is None


async def test_many_rows_take_several_records_and_a_retry_finishes_what_was_begun(tmp_path: Path) -> None:
    store = MemoryStore()
    await new_shard(store)
    keys: list[Key] = [f"row-{number:02}" for number in range(25)]
    async with leading(make_replica(store, tmp_path, "a", settings=replace(QUIET, delete_keys=10))) as replica:
        await write(replica, upsert([*keys, "stays"], year=1))
        await write(replica, upsert(["stays"], year=2))
        before = replica.view().position
        assert await replica.append("gone", 0, of_year(1)) == before + 3
        assert set(contents(replica.view())) == {"stays"}
        assert replica.deleted("gone") == 25
        await write(replica, upsert(keys, year=1))
        half = asyncio.create_task(replica.append("half", 0, of_year(1)))
        await until(lambda: len(contents(replica.view())) < 26)
        half.cancel()
        await asyncio.wait([half])
        await replica.append("half", 0, of_year(1))
        assert set(contents(replica.view())) == {"stays"}
        assert replica.deleted("half") == 25


async def test_a_reign_that_ends_while_the_record_is_on_its_way_does_not_say_that_nothing_was_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SteeredStore()
    await new_shard(store)
    settings = replace(QUIET, poll=1e6, poll_idle=1e6)  # the state gets the record from nobody else
    async with leading(make_replica(store, tmp_path, "a", settings=settings)) as replica:
        await write(replica, upsert(["goes"], year=1))
        monkeypatch.setattr(replica._follower, "wake", lambda: None)
        store.hold_reply("create shards/0/log/")
        deleting = asyncio.create_task(replica.append("gone", 0, of_year(1)))
        await until(lambda: store.waiting)
        replica._step_down(replica._reign)
        store.release()
        with pytest.raises(InDoubt, match="send it again"):
            await deleting
    async with running(again := make_replica(store, tmp_path, "b")):
        assert contents(again.view()) == {}


@pytest.mark.parametrize("error", [Rotten("a bad block"), RuntimeError("a bug")])
async def test_a_filter_that_fails_does_not_stop_the_writes_behind_it(tmp_path: Path, error: Exception) -> None:
    def select(view: ShardView, limit: int) -> list[Key]:
        raise error

    store = MemoryStore()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path, "a")) as replica:
        failing = asyncio.create_task(replica.append("fails", 0, SelectPart(select)))
        await asyncio.gather(write(replica, upsert(["a"])), write(replica, upsert(["b"])))
        with pytest.raises(NotReady if isinstance(error, Rotten) else RuntimeError):
            await failing
        assert set(contents(replica.view())) == {"a", "b"}
    with pytest.raises(NotLeader):
        async with running(follower := make_replica(store, tmp_path, "b")):
            await follower.append("elsewhere", 0, of_year(1))


@pytest.mark.parametrize("seed", range(4))
async def test_any_mixture_of_writes_ends_as_if_they_came_one_after_the_other(tmp_path: Path, seed: int) -> None:
    """Each write's position orders them; a delete by filter must have deleted what matched at its own."""
    rng = random.Random(seed)
    store = MemoryStore()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path, "a")) as replica:
        done: list[tuple[int, int, str, list[Key], int]] = []  # position, order of submission

        async def one(number: int) -> None:
            kind, year = rng.choice(["upsert", "upsert", "select"]), rng.randint(1, 3)
            keys: list[Key] = [f"row-{key}" for key in rng.sample(range(12), 3)]
            part = upsert(keys, number, year=year) if kind == "upsert" else of_year(year)
            position = await replica.append(f"request-{number}", 0, part)
            done.append((position, number, kind, keys, year))

        for start in range(0, 60, 6):
            await asyncio.gather(*(one(number) for number in range(start, start + 6)))
            if rng.random() < 0.3:
                await replica.flush()
        expected: dict[Key, int] = {}
        for _, _, kind, keys, year in sorted(done):
            if kind == "upsert":
                expected |= dict.fromkeys(keys, year)
            else:
                expected = {key: value for key, value in expected.items() if value != year}
        assert {key: row[1] for key, row in contents(replica.view()).items()} == expected, f"seed {seed}"
