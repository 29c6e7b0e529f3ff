"""Indexes of fields in the life of a shard: they come with segments and go with them; rotten ones decide nothing."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from replicas import (
    SCHEMA,
    Counts,
    contents,
    delete,
    leading,
    make_replica,
    new_shard,
    row_hash,
    running,
    segments_of,
    until,
    upsert,
    write,
)
from steered import SteeredStore

from vectorfleet.schema import CollectionSchema
from vectorfleet_node.query.filters import compile_filter
from vectorfleet_node.query.rows import count
from vectorfleet_node.shard.blocks import Segment
from vectorfleet_node.shard.port import Rotten
from vectorfleet_node.shard.replica import ShardReplica
from vectorfleet_node.storage import paths

KEYS = [f"k{number}" for number in range(40)]


def marked(*names: str) -> CollectionSchema:
    fields = tuple(field.model_copy(update={"indexed": field.name in names}) for field in SCHEMA.fields)
    return SCHEMA.model_copy(update={"fields": fields})


def largest(replica: ShardReplica) -> Segment:
    return max(segments_of(replica), key=lambda segment: segment.entry.count)


def passing(replica: ShardReplica, text: str) -> int:
    return count(replica.view(), compile_filter(text, SCHEMA))


async def sealed(store: SteeredStore, folder: Path, schema: CollectionSchema, fleet_format: int = 2) -> None:
    """A shard of one segment, with a row that is gone and one that is not sealed."""
    await new_shard(store)
    maker = make_replica(store, folder, "maker", schema=schema, fleet_format=lambda: fleet_format)
    async with leading(maker) as leader:
        await write(leader, upsert(KEYS, 1))
        await leader.flush()
        await write(leader, delete("k7"))
        await write(leader, upsert(["k3"], 2))


async def test_a_field_that_is_marked_later_gets_its_index_in_segments_that_are_there(tmp_path: Path) -> None:
    store = SteeredStore()
    await sealed(store, tmp_path, marked())
    for number, names in enumerate([("year",), ("lang", "year"), ()]):
        schema, counts = marked(*names), Counts()
        async with leading(make_replica(store, tmp_path, f"r{number}", schema=schema, counts=counts)) as leader:
            rows, hashed, before = contents(leader.view()), row_hash(leader), largest(leader)
            expected = passing(leader, f"year >= {number} and lang != 'x{number}'")
            await leader.compact()
            after, built = largest(leader), len(counts.reindexed)
            assert all(set(segment.fields) == set(names) for segment in segments_of(leader))
            assert (after.entry.rows, after.entry.vectors) == (before.entry.rows, before.entry.vectors)
            assert (after.entry.fields is None) == (not names)
            assert (contents(leader.view()), row_hash(leader)) == (rows, hashed)
            assert passing(leader, f"{number} <= year and lang != 'x{number}'") == expected
            assert built >= 1
            await leader.compact()
            assert len(counts.reindexed) == built, "what is there is not built again"


async def test_in_format_1_no_field_is_indexed_and_manifests_are_as_they_were(tmp_path: Path) -> None:
    store = SteeredStore()
    await sealed(store, tmp_path, marked("lang"), fleet_format=1)
    assert not [key for key in store.keys("segments/") if key.endswith(".fields")]
    body = await store.get((await store.list(paths.manifests_prefix(0)))[-1])
    assert body is not None
    assert b'"segments":[{"count"' in body
    assert b"fields" not in body


async def test_an_index_of_fields_that_the_store_lost_is_done_without_and_written_anew(tmp_path: Path) -> None:
    store = SteeredStore()
    await sealed(store, tmp_path, marked("lang"))
    [lost] = [key for key in store.keys("segments/") if key.endswith(".fields")]
    await store.delete(lost)
    async with leading(make_replica(store, tmp_path, "b")) as replica:
        expected = sum(lang is not None and lang >= "d" for lang in langs(replica))
        assert replica.report().ready
        assert lost.rsplit("/", 1)[-1] in replica.report().message
        assert segments_of(replica)[0].fields == {}
        assert passing(replica, "lang >= 'd'") == expected
        await replica._upkeep.mender.mend()
        assert replica.report().message == ""
        assert set(segments_of(replica)[0].fields) == {"lang"}
        assert passing(replica, "'d' <= lang") == expected
    async with running(fresh := make_replica(store, tmp_path, "c")):
        assert set(segments_of(fresh)[0].fields) == {"lang"}
        assert passing(fresh, "lang >=  'd'") == expected


def langs(replica: ShardReplica) -> list[str | None]:
    found = []
    for block in replica.view().blocks:
        found += [lang for lang, live in zip(block.rows["lang"].to_pylist(), block.live, strict=True) if live]
    return found


@pytest.mark.parametrize("seed", range(3))
async def test_an_index_that_rots_while_it_is_open_decides_nothing_and_is_healed(seed: int, tmp_path: Path) -> None:
    store, source = SteeredStore(), random.Random(seed)
    await sealed(store, tmp_path, marked("lang"))
    async with running(replica := make_replica(store, tmp_path, "maker")):
        expected = sum(lang is not None and lang >= "d" for lang in langs(replica))
        assert passing(replica, f"lang >= 'd' and lang != 'before {seed}'") == expected
        (path,) = (tmp_path / "maker").glob("*.fields")
        with path.open("r+b") as file:
            at = source.randrange(path.stat().st_size - 200)
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 1 << source.randrange(8)]))
        with pytest.raises(Rotten, match="fields"):
            passing(replica, f"lang >= 'd' and lang != 'after {seed}'")
        await until(lambda: replica.report().quarantined and replica.report().ready)
        assert passing(replica, f"lang >= 'd' and lang != 'after {seed}'") == expected
