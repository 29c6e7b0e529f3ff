"""Bytes that rot while a shard is served: found, never served, healed, told; what the store lost is written anew."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from pathlib import Path

import pytest
from replicas import (
    SCHEMA,
    Counts,
    abandon,
    contents,
    delete,
    leading,
    make_replica,
    new_shard,
    row_hash,
    running,
    until,
    upsert,
    vectors_of,
    write,
)
from steered import SteeredStore

from vectorfleet.schema import IndexType, VectorSchema
from vectorfleet_node.engine.port import SearchOptions
from vectorfleet_node.query.model import SearchSpec
from vectorfleet_node.query.rows import get_rows
from vectorfleet_node.query.search import search_shard
from vectorfleet_node.shard.port import NotReady, Rotten
from vectorfleet_node.shard.replica import ShardReplica
from vectorfleet_node.shard.scrub import Scrubber
from vectorfleet_node.shard.view import Key
from vectorfleet_node.storage import paths

GRAPH = SCHEMA.model_copy(
    update={"vectors": (VectorSchema(name="default", dimensions=64, index=IndexType.HNSW),), "shards": 1}
)
KEYS: list[Key] = [f"key {number}" for number in range(600)]
QUERIES = vectors_of(20, 99, 64)
KINDS = ["rows", "vectors", "index", "fields"]


async def made(store: SteeredStore, folder: Path) -> dict[Key, tuple[object, ...]]:
    """A sealed shard of several blocks a file, written in `folder`/maker; its rows."""
    await new_shard(store)
    async with leading(make_replica(store, folder, "maker", schema=GRAPH)) as leader:
        await write(leader, upsert(KEYS, 1, schema=GRAPH, lang="a language " * 20))
        await leader.flush()
        await write(leader, delete(*KEYS[:3]))
        await write(leader, upsert(KEYS[3:6], 2, schema=GRAPH))
        await leader.flush()
        return contents(leader.view())


def victim(folder: Path, kind: str) -> Path:
    """The largest file of a kind."""
    return max(folder.glob(f"*.{kind}"), key=lambda path: path.stat().st_size)


def flip(path: Path, offset: int, bit: int = 0) -> None:
    """In place, so that whoever has mapped the file sees it."""
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1 << bit]))


def places(path: Path, source: random.Random, count: int) -> list[int]:
    """Random offsets, some of them in the first and the last bytes."""
    size = path.stat().st_size
    ends = [source.randrange(64), size - 1 - source.randrange(64)]
    return ends + [source.randrange(size) for _ in range(count - 2)]


def answers(replica: ShardReplica) -> list[object]:
    """What clients get: every row by key, and searches over the graph. Rotten instead of anything wrong."""
    view = replica.view()
    rows = get_rows(view, GRAPH, KEYS, ("lang", "year"), True)
    spec = SearchSpec(GRAPH, "default", QUERIES, 5, None, SearchOptions(), ("lang", "year"), True)
    hits = search_shard(view, spec).hits
    return [
        rows.keys, rows.fields.to_pylist(), rows.vectors["default"].tobytes(),
        *((hit.keys, hit.fields.to_pylist(), hit.scores.tobytes()) for hit in hits),
    ]  # fmt: skip


def scrubber(replica: ShardReplica, number: int) -> Scrubber:
    """0: of the files here. 1: of the store's. It never rests."""

    async def rest(_: float) -> None:
        await asyncio.sleep(0)

    found = replica._upkeep._scrubbers[number]
    found.sleep, found.period = rest, 1.0
    return found


async def scrub(replica: ShardReplica) -> None:
    await scrubber(replica, 0).pass_once()


async def scrub_store(replica: ShardReplica) -> None:
    await scrubber(replica, 1).pass_once()


async def healed(replica: ShardReplica) -> None:
    await until(lambda: replica.report().ready)


@pytest.mark.parametrize("kind", [*KINDS, "requests"])
@pytest.mark.parametrize("seed", range(3))
async def test_a_bit_that_flipped_anywhere_while_nobody_looked_is_found_before_use(
    kind: str, seed: int, tmp_path: Path
) -> None:
    store, source = SteeredStore(), random.Random(f"{kind} {seed}")
    rows = await made(store, tmp_path)
    path = victim(tmp_path / "maker", kind)
    for number, offset in enumerate(places(path, source, 4), 1):
        flip(path, offset, source.randrange(8))
        async with running(replica := make_replica(store, tmp_path, "maker", schema=GRAPH)):
            assert contents(replica.view()) == rows, f"{kind}, seed {seed}, offset {offset}"
            assert store.asked("download") == number
            assert replica.report().quarantined == 1
            assert replica.report().ready


@pytest.mark.parametrize("kind", ["rows", "vectors"])
@pytest.mark.parametrize("seed", range(4))
async def test_a_bit_that_flips_under_an_open_segment_is_never_served(kind: str, seed: int, tmp_path: Path) -> None:
    store, source = SteeredStore(), random.Random(f"{kind} {seed}")
    await made(store, tmp_path)
    async with running(replica := make_replica(store, tmp_path, "maker", schema=GRAPH)):
        right = answers(replica)
        for offset in places(path := victim(tmp_path / "maker", kind), source, 6):
            flip(path, offset, source.randrange(8))
            with suppress(Rotten):
                assert answers(replica) == right, f"{kind}, seed {seed}, offset {offset}"
            await scrub(replica)
            await healed(replica)
            assert answers(replica) == right
        assert store.asked("download") == 6


async def test_a_query_that_runs_into_rot_begins_the_healing(tmp_path: Path) -> None:
    store = SteeredStore()
    await made(store, tmp_path)
    async with running(replica := make_replica(store, tmp_path, "maker", schema=GRAPH)):
        right = answers(replica)
        path = victim(tmp_path / "maker", "vectors")
        store.hold("download")
        flip(path, path.stat().st_size // 2)
        with pytest.raises(Rotten, match=path.name):
            answers(replica)
        await until(lambda: not replica.report().ready)
        assert path.name in replica.report().message
        with pytest.raises(Rotten, match=path.name):
            replica.view()
        store.release()
        await healed(replica)
        assert answers(replica) == right
        assert replica.report().quarantined == 1
        assert path.with_name(path.name + ".damaged").exists()


@pytest.mark.parametrize("kind", KINDS)
async def test_the_scrub_finds_rot_that_nobody_reads_and_nothing_is_answered_until_it_is_healed(
    kind: str, tmp_path: Path
) -> None:
    store, source = SteeredStore(), random.Random(kind)
    await made(store, tmp_path)
    async with running(replica := make_replica(store, tmp_path, "maker", schema=GRAPH)):
        right = answers(replica)
        await scrub(replica)
        assert replica.report().ready
        path = victim(tmp_path / "maker", kind)
        for offset in places(path, source, 4):
            flip(path, offset)
            store.hold("download")
            await scrub(replica)
            assert not replica.report().ready
            assert path.name in replica.report().message
            with pytest.raises(Rotten, match=path.name):
                replica.view()
            store.release()
            await healed(replica)
            assert answers(replica) == right


async def test_a_file_that_vanished_or_was_cut_under_an_open_segment_is_fetched_again(tmp_path: Path) -> None:
    store = SteeredStore()
    await made(store, tmp_path)
    async with running(replica := make_replica(store, tmp_path, "maker", schema=GRAPH)):
        right = answers(replica)
        victim(tmp_path / "maker", "vectors").unlink()
        await scrub(replica)
        await healed(replica)
        cut = victim(tmp_path / "maker", "rows")
        shorter = cut.with_name("shorter")
        shorter.write_bytes(cut.read_bytes()[:-100])
        shorter.replace(cut)
        await scrub(replica)
        await healed(replica)
        assert answers(replica) == right
        assert store.asked("download") == 2


async def test_the_scrub_reads_every_byte_in_its_period_and_no_faster_than_it_may(tmp_path: Path) -> None:
    store = SteeredStore()
    await made(store, tmp_path)
    naps: list[float] = []

    async def nap(seconds: float) -> None:
        naps.append(seconds)

    read: list[int] = []
    async with running(replica := make_replica(store, tmp_path, "maker", schema=GRAPH)):
        slow = scrubber(replica, 0)
        object.__setattr__(slow.check, "scrubbed", read.append)
        slow.sleep, slow.period, slow.most = nap, 1000.0, 1e9
        await slow.pass_once()
        size = sum(file.size for file in replica._follower.state.layout.local_files)
        assert sum(read) == size
        assert sum(naps) == pytest.approx(1000.0)
        naps.clear()
        slow.most = size / 5000
        await slow.pass_once()
        assert sum(naps) == pytest.approx(5000.0)


async def test_rot_is_told_once_for_each_file_that_was_set_aside(tmp_path: Path) -> None:
    store = SteeredStore()
    await made(store, tmp_path)
    told: list[str] = []
    async with running(replica := make_replica(store, tmp_path, "maker", schema=GRAPH)):
        object.__setattr__(replica._observer, "rotten", lambda file, _: told.append(file))
        path = victim(tmp_path / "maker", "vectors")
        flip(path, 70_000)
        flip(path, 140_000)
        with pytest.raises(Rotten):
            answers(replica)
        await until(lambda: told)
        await healed(replica)
    assert told == [path.name]


async def test_a_flush_that_began_before_the_healing_does_not_bring_the_rotten_file_back(tmp_path: Path) -> None:
    store = SteeredStore()
    await made(store, tmp_path)
    async with leading(make_replica(store, tmp_path, "maker2", schema=GRAPH)) as leader:
        await write(leader, upsert(["new"], 7, schema=GRAPH))
        before = dict(contents(leader.view()))
        path = victim(tmp_path / "maker2", "vectors")
        store.hold("upload")
        flush = asyncio.ensure_future(leader.flush())
        await until(lambda: store.waiting)
        flip(path, 70_000)
        await scrub(leader)
        await healed(leader)
        assert leader.report().quarantined == 1
        store.release()
        await flush
        assert leader.report().growing_rows == 0
        assert contents(leader.view()) == before


async def test_segments_are_merged_again_once_a_rotten_input_is_healed(tmp_path: Path) -> None:
    store = SteeredStore()
    rows = await made(store, tmp_path)
    async with leading(make_replica(store, tmp_path, "m", schema=GRAPH)) as leader:
        (name,) = [s.entry.rows.name for s in leader._follower.state.layout.segments if s.entry.count > 100]
        flip(victim(tmp_path / "m", "vectors"), 70_000)
        with pytest.raises(Rotten):
            await leader.rewrite(name)
        await until(lambda: leader.report().quarantined)
        await healed(leader)
        await leader.rewrite(name)
        assert contents(leader.view()) == rows
        assert victim(tmp_path / "m", "vectors").exists()


async def test_an_index_that_the_store_lost_is_built_from_the_vectors_and_the_leader_writes_it_anew(
    tmp_path: Path,
) -> None:
    store = SteeredStore()
    rows = await made(store, tmp_path)
    lost = paths.segment(0, victim(tmp_path / "maker", "index").name)
    await store.delete(lost)
    counts = Counts()
    replica = make_replica(store, tmp_path, "b", schema=GRAPH, counts=counts)
    async with leading(replica):
        assert counts.built == 1
        assert replica.report().ready
        assert lost.rsplit("/", 1)[-1] in replica.report().message
        assert contents(replica.view()) == rows
        await scrub(replica)
        assert replica.report().ready, "an index in memory is no missing file"
        right = answers(replica)[:3]
        await replica._upkeep.mender.mend()
        assert replica.report().message == ""
        assert answers(replica)[:3] == right
    counts = Counts()
    async with running(fresh := make_replica(store, tmp_path, "c", schema=GRAPH, counts=counts)):
        assert contents(fresh.view()) == rows
        assert (fresh.report().message, counts.built) == ("", 0)


async def test_vectors_that_are_rotten_everywhere_are_taken_from_the_log_while_it_has_them(tmp_path: Path) -> None:
    store = SteeredStore()
    rows = await made(store, tmp_path)
    async with running(replica := make_replica(store, tmp_path, "b", schema=GRAPH)):
        path = victim(tmp_path / "b", "vectors")
        store.rot(path.name)
        flip(path, 70_000)
        await scrub(replica)
        await healed(replica)
        assert contents(replica.view()) == rows
        assert path.name in replica.report().message


async def test_rows_that_are_rotten_everywhere_take_the_shard_away_and_the_object_is_named(tmp_path: Path) -> None:
    store = SteeredStore()
    await made(store, tmp_path)
    async with leading(make_replica(store, tmp_path, "b", schema=GRAPH)) as replica:
        await store.delete(paths.log_slot(0, 2))
        path = victim(tmp_path / "b", "vectors")
        good = store.inner._objects[paths.segment(0, path.name)]
        store.rot(path.name)
        flip(path, 70_000)
        await scrub(replica)
        await until(lambda: "damaged in the store" in replica.report().message)
        assert path.name in replica.report().message
        assert not replica.report().ready
        assert not replica.leads, "another replica may have a good copy"
        with pytest.raises((Rotten, NotReady), match=path.name):
            replica.view()
        store.inner._objects[paths.segment(0, path.name)] = good
        await healed(replica)


@pytest.mark.parametrize("kind", [*KINDS, "requests"])
@pytest.mark.parametrize("gone", [False, True])
async def test_a_leader_notices_that_the_store_lost_a_file_and_writes_it_anew(
    kind: str, gone: bool, tmp_path: Path
) -> None:
    store = SteeredStore()
    rows = await made(store, tmp_path)
    replica = make_replica(store, tmp_path, "b", schema=GRAPH)
    async with leading(replica):
        hashed = row_hash(replica)
        await scrub_store(replica)
        assert replica.report().message == ""
        name = victim(tmp_path / "b", kind).name
        if gone:
            await store.delete(paths.segment(0, name))
        else:
            store.rot(name)
        await scrub_store(replica)
        assert replica.report().ready
        assert name in replica.report().message
        await replica._upkeep.mender.mend()
        assert replica.report().message == ""
        assert list((tmp_path / "b").glob("*.tmp")) == []
        await abandon(replica)
    async with running(fresh := make_replica(store, tmp_path, "c", schema=GRAPH)):
        assert (contents(fresh.view()), row_hash(fresh)) == (rows, hashed)
        assert fresh.report().message == ""
        assert fresh.report().growing_rows == 0
