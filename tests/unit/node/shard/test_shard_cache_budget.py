"""The budget of a node's cache: what is needed is held, what is not may stay, and what does not fit is told."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
from replicas import QUIET, contents, leading, make_replica, new_shard, running, until, upsert, write
from steered import SteeredStore

from vectorfleet_node.shard.budget import DAMAGED_BYTES, DAMAGED_FILES, CacheBudget, CacheFull
from vectorfleet_node.shard.port import NotReady


def files(folder: Path, **sizes: int) -> dict[Path, int]:
    """Files of these sizes, made."""
    made = {folder / name: size for name, size in sizes.items()}
    for path, size in made.items():
        path.write_bytes(bytes(size))
    return made


def sizes(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_size for path in folder.iterdir()}


def names(folder: Path) -> set[str]:
    return {path.name for path in sizes(folder)}


async def test_the_least_recently_used_files_go_first_for_new_ones(tmp_path: Path) -> None:
    budget = CacheBudget(100)
    await budget.found(files(tmp_path, old=30, new=30))
    await budget.hold(files(tmp_path, wanted=60), "shard 0")
    assert names(tmp_path) == {"new", "wanted"}
    assert budget.used == 90


async def test_a_file_that_is_let_go_stays_while_there_is_room_and_is_taken_again(tmp_path: Path) -> None:
    budget = CacheBudget(100)
    earlier = files(tmp_path, a=40, b=40)
    await budget.hold(earlier, "shard 0")
    await budget.keep_only(tmp_path, ["b"])
    assert names(tmp_path) == {"a", "b"}
    await budget.hold(earlier, "shard 0")
    await budget.hold(files(tmp_path, c=20), "shard 0")
    assert names(tmp_path) == {"a", "b", "c"}


async def test_what_is_held_is_never_evicted_and_what_does_not_fit_is_told_in_numbers(tmp_path: Path) -> None:
    budget = CacheBudget(100)
    await budget.hold(files(tmp_path, a=80), "shard 0")
    with pytest.raises(CacheFull, match=r"shard 7 needs 21 bytes .* 100 bytes .* 80 bytes.*VECTORFLEET_CACHE_BYTES"):
        await budget.hold({tmp_path / "b": 21}, "shard 7")
    await budget.hold({tmp_path / "c": 20}, "shard 7")
    assert names(tmp_path) == {"a"}
    assert budget.used == 100


async def test_without_a_limit_only_what_is_held_is_kept(tmp_path: Path) -> None:
    budget = CacheBudget()
    await budget.found(files(tmp_path, left=10))
    await budget.hold(files(tmp_path, a=10, b=10), "shard 0")
    assert names(tmp_path) == {"left", "a", "b"}
    await budget.keep_only(tmp_path, ["b"])
    assert names(tmp_path) == {"b"}


async def test_one_shards_files_are_not_let_go_by_another(tmp_path: Path) -> None:
    for shard in ("0", "1"):
        (tmp_path / shard).mkdir()
    budget = CacheBudget()
    await budget.hold(files(tmp_path / "0", a=10), "shard 0")
    await budget.hold(files(tmp_path / "1", b=10), "shard 1")
    await budget.keep_only(tmp_path / "1", [])
    assert names(tmp_path / "0") == {"a"}
    assert names(tmp_path / "1") == set()
    budget.forget(tmp_path / "0")
    assert budget.used == 0
    assert names(tmp_path / "0") == {"a"}


async def test_damaged_files_are_kept_for_a_look_but_not_many_and_not_large_ones(tmp_path: Path) -> None:
    budget = CacheBudget()
    for number in range(DAMAGED_FILES + 3):
        ((path, size),) = files(tmp_path, **{f"{number}.rows.damaged": 1}).items()
        await budget.set_aside(path, size)
    assert budget.damaged_in(tmp_path) == len(names(tmp_path)) == DAMAGED_FILES
    assert "0.rows.damaged" not in names(tmp_path)
    await budget.set_aside(tmp_path / "10.rows.damaged", DAMAGED_BYTES + 1)
    assert names(tmp_path) == set()


async def test_damaged_files_make_room_before_any_other(tmp_path: Path) -> None:
    budget = CacheBudget(100)
    await budget.found(files(tmp_path, spare=40))
    await budget.found(files(tmp_path, **{"x.rows.damaged": 40}))
    await budget.hold(files(tmp_path, a=50), "shard 0")
    assert names(tmp_path) == {"spare", "a"}


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_happens_held_files_stay_and_the_budget_is_kept(seed: int, tmp_path: Path) -> None:
    source = random.Random(seed)
    budget = CacheBudget(200)
    held: dict[Path, int] = {}
    for step in range(60):
        if source.random() < 0.7:
            wanted = {tmp_path / f"{source.randrange(30)}": 0 for _ in range(source.randint(1, 3))}
            wanted = {path: 10 + int(path.name) for path in wanted}
            try:
                await budget.hold(wanted, f"step {step}")
            except CacheFull:
                assert sum((held | wanted).values()) > 200, f"seed {seed}, step {step}"
            else:
                held |= wanted
                for path in wanted.keys() - {tmp_path / name for name in names(tmp_path)}:
                    path.write_bytes(bytes(wanted[path]))
        else:
            held = {path: size for path, size in held.items() if source.random() < 0.5}
            await budget.keep_only(tmp_path, [path.name for path in held])
        on_disk = sizes(tmp_path)
        assert held.keys() <= on_disk.keys(), f"seed {seed}, step {step}"
        assert budget.used == sum(on_disk.values()) <= 200, f"seed {seed}, step {step}"


async def shard_of(store: SteeredStore, folder: Path, count: int = 50) -> int:
    """A sealed shard; the size of its files."""
    await new_shard(store)
    async with leading(make_replica(store, folder, "maker")) as leader:
        await write(leader, upsert([f"k{number}" for number in range(count)], 1))
        await leader.flush()
    return sum(sizes(folder / "maker").values())


async def test_a_shard_that_does_not_fit_is_not_loaded_and_says_what_to_raise(tmp_path: Path) -> None:
    store = SteeredStore()
    size = await shard_of(store, tmp_path)
    budget = CacheBudget(size - 1)
    async with running(replica := make_replica(store, tmp_path, "b", budget=budget)):
        assert not replica.report().ready
        for told in (str(size), str(size - 1), "VECTORFLEET_CACHE_BYTES"):
            assert told in replica.report().message
        with pytest.raises(NotReady, match="VECTORFLEET_CACHE_BYTES"):
            replica.view()
        assert store.asked("download") == 0


async def test_a_shard_that_does_not_fit_is_loaded_once_it_does(tmp_path: Path) -> None:
    store = SteeredStore()
    size = await shard_of(store, tmp_path)
    budget = CacheBudget(size - 1)

    async def nap(_: float) -> None:
        budget.limit = size
        await asyncio.sleep(0.001)

    async with running(replica := make_replica(store, tmp_path, "b", budget=budget, sleep=nap)):
        await until(lambda: replica.report().ready)
        assert len(contents(replica.view())) == 50


async def test_a_shard_that_serves_goes_on_with_its_old_files_when_new_ones_do_not_fit(tmp_path: Path) -> None:
    store = SteeredStore()
    size = await shard_of(store, tmp_path)
    budget = CacheBudget(size + 10)
    leader = make_replica(store, tmp_path, "leader")
    async with leading(leader), running(follower := make_replica(store, tmp_path, "b", budget=budget)):
        await write(leader, upsert([f"n{number}" for number in range(60)], 2))
        await leader.flush()
        await until(lambda: "VECTORFLEET_CACHE_BYTES" in follower.report().message)
        await follower.make_strong()
        assert follower.report().ready
        assert contents(follower.view()) == contents(leader.view())
        assert budget.used <= size + 10


async def test_a_leader_whose_cache_is_full_does_not_flush_and_says_so_and_does_once_there_is_room(
    tmp_path: Path,
) -> None:
    store = SteeredStore()
    size = await shard_of(store, tmp_path)
    budget = CacheBudget(size + 100)
    async with leading(make_replica(store, tmp_path, "b", budget=budget)) as leader:
        await write(leader, upsert([f"n{number}" for number in range(60)], 2))
        before = contents(leader.view())
        with pytest.raises(CacheFull, match="VECTORFLEET_CACHE_BYTES"):
            await leader.flush()
        assert contents(leader.view()) == before
        budget.limit = 100 * size
        await leader.flush()
        assert contents(leader.view()) == before
        assert leader.report().growing_rows == 0
        assert budget.used == sum(sizes(tmp_path / "b").values())


async def test_files_of_an_earlier_manifest_are_evicted_for_those_of_a_new_one(tmp_path: Path) -> None:
    store = SteeredStore()
    size = await shard_of(store, tmp_path)
    budget = CacheBudget(4 * size)
    leader = make_replica(store, tmp_path, "leader")
    async with leading(leader), running(follower := make_replica(store, tmp_path, "b", budget=budget)):
        for round_ in range(12):
            await write(leader, upsert([f"k{number}" for number in range(50)], round_))
            await leader.flush()
            await follower.make_strong()
            await until(lambda: follower.report().growing_rows == 0)
        assert contents(follower.view()) == contents(leader.view())
    assert 2 * size < sum(sizes(tmp_path / "b").values()) <= 4 * size


async def test_a_replica_that_stopped_gives_its_budget_back(tmp_path: Path) -> None:
    store = SteeredStore()
    size = await shard_of(store, tmp_path)
    budget = CacheBudget(size)
    async with running(make_replica(store, tmp_path, "b", settings=QUIET, budget=budget)):
        assert budget.used == size
    assert budget.used == 0
