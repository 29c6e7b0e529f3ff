"""What is not imported: rows that do not fit, parts too large or too many, and nothing is left of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from replicas import (
    FLOOR,
    QUIET,
    SCHEMA,
    batches,
    bring,
    leading,
    make_replica,
    new_shard,
    rows_of,
    seen,
    until,
    upsert,
)
from steered import SteeredStore

from vectorfleet_node.shard.port import Overloaded, TooNew
from vectorfleet_node.storage.memory import MemoryStore
from vectorfleet_node.storage.store import StoreFull


async def test_in_a_shard_of_format_1_nothing_can_be_imported(tmp_path: Path) -> None:
    store = MemoryStore()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path, fleet_format=lambda: 1)) as leader:
        with pytest.raises(TooNew, match="format 1"):
            await bring(leader, ["a"])
        assert seen(leader) == {}


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (upsert(["a", "b", "a"]).rows, "key 'a' is in the part twice"),
        (upsert(["a"]).rows[:0], "at least one row"),
        (upsert(["a"]).rows.drop_columns(["field.lang"]), "rows have the columns"),
        (
            pa.RecordBatch.from_arrays(
                [pa.nulls(1, f.type) for f in upsert(["a"]).rows.schema], schema=upsert(["a"]).rows.schema
            ),
            "column key has nulls",
        ),
    ],
)
async def test_rows_that_do_not_fit_are_refused_and_leave_nothing(
    tmp_path: Path, rows: pa.RecordBatch, told: str
) -> None:
    store = MemoryStore()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path)) as leader:
        with pytest.raises(ValueError, match=told):
            await leader.import_rows("import", FLOOR, batches(rows))
        assert not list((tmp_path / "a").glob("*"))
        assert seen(leader) == {}
        await bring(leader, ["a"], 1)
        assert seen(leader) == rows_of(["a"], 1)


async def test_keys_of_another_shard_are_refused(tmp_path: Path) -> None:
    store = MemoryStore()
    await new_shard(store)
    schema = SCHEMA.model_copy(update={"shards": 2})
    async with leading(make_replica(store, tmp_path, schema=schema)) as leader:
        with pytest.raises(ValueError, match="belongs to another shard"):
            await bring(leader, [f"k{number}" for number in range(50)])
        assert not list((tmp_path / "a").glob("*"))


async def test_a_part_that_is_too_large_is_refused_while_it_is_read(tmp_path: Path) -> None:
    store = MemoryStore()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path, settings=replace(QUIET, import_bytes=2000))) as leader:
        rows = upsert([f"k{number}" for number in range(30)]).rows

        async def endless() -> AsyncIterator[pa.RecordBatch]:
            while True:
                yield rows

        with pytest.raises(ValueError, match="2000 are allowed: send smaller parts"):
            await leader.import_rows("import", FLOOR, endless())
        assert not list((tmp_path / "a").glob("*"))


async def test_what_the_rows_raise_ends_the_import(tmp_path: Path) -> None:
    store = MemoryStore()
    await new_shard(store)

    async def broken() -> AsyncIterator[pa.RecordBatch]:
        yield upsert(["a"]).rows
        raise ConnectionError("gone")

    async with leading(make_replica(store, tmp_path)) as leader:
        with pytest.raises(ConnectionError):
            await leader.import_rows("import", FLOOR, broken())
        assert not list((tmp_path / "a").glob("*"))
        assert leader.stored("import", FLOOR) is None
        assert seen(leader) == {}


async def test_few_parts_are_imported_at_once_and_who_waits_too_long_is_told_to_come_again(tmp_path: Path) -> None:
    store = SteeredStore()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path)) as leader:
        store.hold("upload")
        held = [asyncio.create_task(bring(leader, [f"k{number}"], 0, f"r{number}")) for number in range(4)]
        await until(lambda: store.waiting >= 4)
        with pytest.raises(Overloaded) as refused:
            await bring(leader, ["more"], 0, "more", 0.05)
        assert refused.value.retry_after
        waiting = asyncio.create_task(bring(leader, ["waits"], 0, "waits", 60))
        await asyncio.sleep(0.01)
        store.release()
        await asyncio.gather(*held, waiting)
        assert len(seen(leader)) == 5
        assert len(await asyncio.gather(*(bring(leader, [f"m{number}"], 0, f"m{number}") for number in range(4)))) == 4


async def test_a_volume_without_room_refuses_a_part_and_loses_nothing(tmp_path: Path) -> None:
    class Tight(MemoryStore):
        left: int | None = None

        async def room(self) -> int | None:
            return self.left

    store = Tight()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path, settings=replace(QUIET, reserve_bytes=1000))) as leader:
        store.left = 1000
        with pytest.raises(StoreFull, match="1000 bytes are free on the volume"):
            await bring(leader, ["a", "b"])
        assert not list((tmp_path / "a").glob("*"))
        store.left = None
        await bring(leader, ["a", "b"])
        assert seen(leader) == rows_of(["a", "b"])
