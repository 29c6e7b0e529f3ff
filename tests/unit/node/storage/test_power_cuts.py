"""A directory store on a disk that forgets what was not synced: what a caller was told holds after any power cut."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.sim.disk import DiskFaults, PowerCut, SimulatedDisk
from vectorfleet_node.storage import paths
from vectorfleet_node.storage.local import LocalStore
from vectorfleet_node.storage.store import StorageError, StoreFull, StoreUnavailable

ROOT = Path("/volume/collections/words")
SLOT = paths.log_slot(0, 2)
Step = tuple[str, str, bytes]


def script(seed: int) -> list[Step]:
    """Operations on few keys, so that names are taken, replaced and removed."""
    chance = random.Random(seed)
    keys = [paths.log_slot(0, 1), SLOT, "shards/0/manifests/2", "shards/1/boundary/1/0", "collection.json", "a/b/c/d"]
    operations = ["create", "create", "create", "put", "upload", "delete"]
    return [
        (chance.choice(operations), chance.choice(keys), chance.randbytes(chance.randint(1, 40))) for _ in range(14)
    ]


@dataclass
class Told:
    """What the callers know: the contents of each key, and those that it may have since something went wrong."""

    known: dict[str, bytes | None] = field(default_factory=dict)
    perhaps: dict[str, set[bytes | None]] = field(default_factory=dict)

    def allowed(self, key: str) -> set[bytes | None]:
        return {self.known.get(key)} | self.perhaps.get(key, set())

    def learn(self, key: str, body: bytes | None) -> None:
        self.known[key] = body
        self.perhaps.pop(key, None)


async def perform(store: LocalStore, step: Step, folder: Path, told: Told) -> None:
    operation, key, body = step
    doubtful = key in told.perhaps
    told.perhaps.setdefault(key, set()).add(None if operation == "delete" else body)
    if operation == "create":
        created = await store.create(key, body)
        learned = body if created else await store.get(key)
        assert learned in told.allowed(key)
        told.learn(key, learned)
    elif operation == "put":
        await store.put(key, body)
        told.learn(key, body)
    elif operation == "upload":
        source = folder / "source"
        source.write_bytes(body)
        await store.upload(key, source)
        told.learn(key, body)
    else:
        await store.delete(key)
        if doubtful:  # it may have been gone before, and not durably: the protocol deletes what nobody looks for
            told.perhaps[key].add(told.known.get(key))
            told.known[key] = None
        else:
            told.learn(key, None)


async def run_until_the_cut(disk: SimulatedDisk, steps: list[Step], folder: Path, told: Told) -> bool:
    """Whether the power was cut; a store that refuses to write is started anew, as a node would be."""
    store: LocalStore | None = None
    try:
        for step in steps:
            with suppress(StorageError):
                store = store or LocalStore.open(ROOT, disk)
                await perform(store, step, folder, told)
                continue
            store = None
    except PowerCut:
        return True
    return False


async def check(disk: SimulatedDisk, told: Told) -> None:
    store = LocalStore.open(ROOT, disk)
    assert not [path for path in disk.files(ROOT) if path.name.startswith(".")]
    for key in {*told.known, *told.perhaps}:
        assert await store.get(key) in told.allowed(key), key


@pytest.mark.parametrize("seed", range(6))
async def test_what_was_told_survives_a_power_cut_before_any_operation(seed: int, tmp_path: Path) -> None:
    steps = script(seed)
    lost: Counter[str] = Counter()
    operation = 0
    cut = True
    while cut:
        operation += 1
        disk, told = SimulatedDisk(seed), Told()
        disk.cut_before(operation)
        cut = await run_until_the_cut(disk, steps, tmp_path, told)
        disk.power_cut(random.Random(operation))
        # The machine loses power once more while the node starts.
        disk.cut_before(disk.operations + operation % 12)
        with suppress(PowerCut):
            LocalStore.open(ROOT, disk)
        disk.power_cut(random.Random(operation + 1))
        await check(disk, told)
        lost += disk.fired
    assert operation > 60
    assert lost["lost name"] > 20
    assert lost["lost contents"] > 0


async def test_what_was_told_survives_syncs_that_fail_and_a_power_cut(tmp_path: Path) -> None:
    fired: Counter[str] = Counter()
    for seed in range(150):
        disk, told = SimulatedDisk(seed, DiskFaults(sync_error=0.08)), Told()
        await run_until_the_cut(disk, script(seed), tmp_path, told)
        disk.faults = DiskFaults()
        disk.power_cut(random.Random(seed))
        await check(disk, told)
        fired += disk.fired
    assert fired["sync error"] > 100
    assert fired["lost name"] > 100


@pytest.fixture
def disk() -> SimulatedDisk:
    return SimulatedDisk(1)


async def every_outcome(make: Callable[[SimulatedDisk], object]) -> AsyncIterator[LocalStore]:
    """The store after a power cut that followed what `make` does, for many ways in which the cut may go."""
    for seed in range(20):
        disk = SimulatedDisk(seed)
        await asyncio.to_thread(asyncio.run, make(disk))  # type: ignore[arg-type]
        disk.power_cut(random.Random(seed))
        yield LocalStore.open(ROOT, disk)


async def test_a_reader_is_not_shown_a_record_that_a_power_cut_may_take() -> None:
    """Between a record's link and the folder's sync it can be seen, and who sees it may acknowledge it."""
    loop = asyncio.get_running_loop()
    for seed in range(20):
        disk = SimulatedDisk(seed)
        store = LocalStore.open(ROOT, disk)
        await store.create(paths.log_slot(0, 1), b"fence")
        seen: list[bytes | None] = []

        def look(operation: str, path: Path, store: LocalStore = store, seen: list[bytes | None] = seen) -> None:
            if operation == "unlink" and path.parent.name == "log" and not seen:
                seen.append(asyncio.run_coroutine_threadsafe(store.get(SLOT), loop).result(10))
                raise PowerCut("here")

        disk.before = look
        with pytest.raises(PowerCut):
            await store.create(SLOT, b"record")
        assert seen == [b"record"]
        disk.before = lambda _operation, _path: None
        disk.power_cut(random.Random(seed))
        assert await LocalStore.open(ROOT, disk).get(SLOT) == b"record"


async def test_a_record_that_an_earlier_process_failed_to_sync_is_durable_once_the_next_has_started() -> None:
    async def make(disk: SimulatedDisk) -> None:
        store = LocalStore.open(ROOT, disk)
        await store.create(paths.log_slot(0, 1), b"fence")
        disk.before = lambda operation, path: fail_sync(disk, operation == "sync_folder")
        with pytest.raises(StoreUnavailable):
            await store.create(SLOT, b"record")
        disk.before = lambda _operation, _path: None
        disk.faults = DiskFaults()
        assert await LocalStore.open(ROOT, disk).get(SLOT) == b"record"

    async for store in every_outcome(make):
        assert await store.get(SLOT) == b"record"


async def test_who_is_told_that_an_object_exists_can_build_on_it() -> None:
    key = "shards/0/boundary/1/0"

    async def make(disk: SimulatedDisk) -> None:
        store = LocalStore.open(ROOT, disk)
        await store.create("shards/0/boundary/1/1", b"")
        disk.before = lambda operation, path: fail_sync(disk, operation == "sync_folder")
        with pytest.raises(StoreUnavailable):
            await store.create(key, b"slots here may be gone")
        disk.before = lambda _operation, _path: None
        disk.faults = DiskFaults()
        assert not await LocalStore.open(ROOT, disk).create(key, b"another")

    async for store in every_outcome(make):
        assert await store.get(key) == b"slots here may be gone"


def fail_sync(disk: SimulatedDisk, fails: bool) -> None:
    disk.faults = DiskFaults(sync_error=1.0 if fails else 0.0)


async def test_a_sync_error_that_another_was_told_of_ends_writing_too(disk: SimulatedDisk) -> None:
    store = LocalStore.open(ROOT, disk)
    await store.create("a/1", b"x")
    await store.create("b/1", b"x")
    disk.before = lambda operation, path: fail_sync(disk, operation == "sync_folder" and path.name == "a")
    with pytest.raises(StoreUnavailable, match="fsync of"):
        await store.delete("a/1")
    with pytest.raises(StoreUnavailable, match="restart this node"):
        await store.create("b/2", b"x")


async def test_a_node_starts_on_a_full_disk_and_writes_once_there_is_room(disk: SimulatedDisk) -> None:
    store = LocalStore.open(ROOT, disk)
    await store.create(SLOT, b"record")
    disk.faults = DiskFaults(capacity=8)
    store = LocalStore.open(ROOT, disk)
    assert await store.room() == 2
    assert await store.get(SLOT) == b"record"
    with pytest.raises(StoreFull, match="no room"):
        await store.create(paths.log_slot(0, 3), b"")
    disk.faults = DiskFaults(capacity=100)
    assert await store.create(paths.log_slot(0, 3), b"next")
    assert await store.get(SLOT) == b"record"
    assert disk.fired["full"] == 2


async def test_a_full_disk_keeps_no_half_of_what_did_not_fit(disk: SimulatedDisk) -> None:
    store = LocalStore.open(ROOT, disk)
    disk.faults = DiskFaults(capacity=10)
    with pytest.raises(StoreFull):
        await store.create("a/1", bytes(11))
    assert await store.list("") == []
    assert await store.room() == 10
