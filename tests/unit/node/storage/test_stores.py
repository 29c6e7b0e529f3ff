"""What every store must do, and what a directory must do to keep what it was given."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import pytest

from vectorfleet_node.storage import files, paths
from vectorfleet_node.storage.disk import RealDisk
from vectorfleet_node.storage.local import LocalStore
from vectorfleet_node.storage.memory import MemoryStore
from vectorfleet_node.storage.observed import ObservedStore
from vectorfleet_node.storage.probe import probe
from vectorfleet_node.storage.store import DataLoss, Store, StoreFull, StoreUnavailable, UnsafeStore


@pytest.fixture(params=["memory", "local"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return MemoryStore() if request.param == "memory" else LocalStore.open(tmp_path / "data")


@pytest.fixture
def local(tmp_path: Path) -> LocalStore:
    return LocalStore.open(tmp_path / "data")


def leftovers(folder: Path) -> list[Path]:
    return list(folder.rglob(f"{files.TEMPORARY_PREFIX}*"))


async def test_only_the_first_create_counts(store: Store) -> None:
    assert await store.create("a/b", b"first")
    assert not await store.create("a/b", b"second")
    assert await store.get("a/b") == b"first"


async def test_of_many_simultaneous_creates_one_wins(store: Store) -> None:
    bodies = [bytes([number]) for number in range(16)]
    created = await asyncio.gather(*(store.create("slot", body) for body in bodies))
    assert sum(created) == 1
    assert await store.get("slot") == bodies[created.index(True)]


async def test_what_is_absent_is_none(store: Store) -> None:
    assert await store.get("a/b") is None
    await store.create("a/b", b"")
    assert await store.get("a") is None
    assert await store.get("a/b/c") is None


async def test_a_deleted_object_is_gone_and_may_be_deleted_again(store: Store) -> None:
    await store.put("a/b", b"x")
    await store.delete("a/b")
    await store.delete("a/b")
    assert await store.get("a/b") is None


async def test_put_replaces(store: Store) -> None:
    await store.put("a", b"1")
    await store.put("a", b"2")
    assert await store.get("a") == b"2"


async def test_keys_are_listed_in_order_after_a_key_under_any_prefix(store: Store) -> None:
    for key in ("b/10", "b/2", "a", "bb", "c/1", "b/3/x"):
        await store.put(key, b"")
    assert await store.list("") == ["a", "b/10", "b/2", "b/3/x", "bb", "c/1"]
    assert await store.list("b/") == ["b/10", "b/2", "b/3/x"]
    assert await store.list("b") == ["b/10", "b/2", "b/3/x", "bb"]
    assert await store.list("b/", after="b/10") == ["b/2", "b/3/x"]
    assert await store.list("nothing/") == []


async def test_files_go_up_and_come_down(store: Store, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(os.urandom(3_000_000))
    await store.upload("segments/x", source)
    await store.download("segments/x", target)
    assert target.read_bytes() == source.read_bytes()
    assert not leftovers(tmp_path)


async def test_a_missing_file_is_data_loss(store: Store, tmp_path: Path) -> None:
    with pytest.raises(DataLoss, match="segments/x"):
        await store.download("segments/x", tmp_path / "target")


async def test_a_safe_store_passes_the_probe_and_is_left_clean(store: Store) -> None:
    await asyncio.gather(*(probe(store) for _ in range(5)))
    assert await store.list("") == []


class Overwrites(MemoryStore):
    """Ignores the condition, as some S3 servers do."""

    async def create(self, key: str, body: bytes) -> bool:
        await self.put(key, body)
        return True


class OverwritesQuietly(MemoryStore):
    """Says "exists", and overwrites all the same."""

    async def create(self, key: str, body: bytes) -> bool:
        created = await super().create(key, body)
        await self.put(key, body)
        return created


class ChecksThenWrites(MemoryStore):
    """Honours the condition unless two come at once."""

    async def create(self, key: str, body: bytes) -> bool:
        absent = await self.get(key) is None
        await asyncio.sleep(0)
        if absent:
            await self.put(key, body)
        return absent


class OverwritesOnceSettled(MemoryStore):
    """Refuses, and overwrites all the same, after the object has been read."""

    read = False

    async def get(self, key: str) -> bytes | None:
        self.read = True
        return await super().get(key)

    async def create(self, key: str, body: bytes) -> bool:
        created = await super().create(key, body)
        if self.read:
            await self.put(key, body)
        return created


class AcceptsRivals(MemoryStore):
    """Keeps the first of those that come at once, and tells all of them that they won."""

    read = False

    async def get(self, key: str) -> bytes | None:
        self.read = True
        return await super().get(key)

    async def create(self, key: str, body: bytes) -> bool:
        return await super().create(key, body) or not self.read


class Undecided(MemoryStore):
    async def create(self, key: str, body: bytes) -> bool:
        return False


@pytest.mark.parametrize(
    "unsafe", [Overwrites, OverwritesQuietly, ChecksThenWrites, OverwritesOnceSettled, AcceptsRivals]
)
async def test_a_store_that_breaks_create_if_absent_is_found_out(unsafe: type[MemoryStore]) -> None:
    store = unsafe()
    with pytest.raises(UnsafeStore):
        await probe(store)
    assert await store.list("") == []


async def test_a_store_that_decides_nothing_is_not_called_unsafe() -> None:
    with pytest.raises(StoreUnavailable):
        await probe(Undecided())


@pytest.mark.parametrize("key", ["../x", "a/../../x", "/etc/passwd", "a//b", "", ".hidden", "a/.tmp-1", "a\0b"])
async def test_no_key_leads_out_of_the_directory(local: LocalStore, key: str) -> None:
    with pytest.raises(ValueError, match="not an object's key"):
        await local.put(key, b"x")


async def test_a_created_file_is_synced_before_it_gets_its_name_and_the_name_after(
    local: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    real_fsync, real_link = os.fsync, os.link

    def fsync(descriptor: int) -> None:
        steps.append("sync " + Path(f"/proc/self/fd/{descriptor}").readlink().name[:5])
        real_fsync(descriptor)

    def link(source: Path, target: Path) -> None:
        steps.append("link")
        real_link(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "link", link)
    await local.create("dir/slot", b"x")
    # The names of new directories come first, each in its parent.
    assert steps[-3:] == ["sync .tmp-", "link", "sync dir"]
    assert "sync data" in steps[:-3]


async def test_after_a_failed_fsync_nothing_is_acknowledged_any_more(
    local: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await local.create("log/1", b"old")

    def failing(disk: RealDisk, path: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(RealDisk, "sync_folder", failing)
        with pytest.raises(StoreUnavailable):
            await local.create("log/2", b"new")
    # The disk is well again, but what it dropped is unknown: the name may be visible and not durable.
    with pytest.raises(StoreUnavailable, match="may not be durable"):
        await local.get("log/2")
    with pytest.raises(StoreUnavailable, match="restart"):
        await local.create("log/3", b"x")
    assert await local.get("log/1") == b"old"


async def test_a_full_disk_refuses_writes_and_serves_reads(local: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    await local.create("log/1", b"old")

    def full(source: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as filled:
        filled.setattr(os, "link", full)
        with pytest.raises(StoreFull):
            await local.create("log/2", b"new")
    assert await local.get("log/1") == b"old"
    assert await local.list("") == ["log/1"]
    assert await local.create("log/2", b"new")


async def test_a_file_system_without_links_is_unsafe(local: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(UnsafeStore, match="hard links"):
        await local.create("log/1", b"x")


async def test_what_a_crash_left_behind_is_ignored_and_swept(tmp_path: Path) -> None:
    store = LocalStore.open(tmp_path)
    await store.create("log/1", b"x")
    leftover = tmp_path / "log" / f"{files.TEMPORARY_PREFIX}dead"
    leftover.write_bytes(b"half")
    assert await store.list("") == ["log/1"]
    LocalStore.open(tmp_path)
    assert leftovers(tmp_path) == []


async def test_opening_writes_the_newest_record_of_each_log_anew(tmp_path: Path) -> None:
    store = LocalStore.open(tmp_path)
    for position in (1, 2):
        await store.create(paths.log_slot(0, position), bytes([position]))
    before = [(tmp_path / paths.log_slot(0, position)).stat().st_ino for position in (1, 2)]
    reopened = LocalStore.open(tmp_path)
    after = [(tmp_path / paths.log_slot(0, position)).stat().st_ino for position in (1, 2)]
    assert before[0] == after[0]
    assert before[1] != after[1]
    assert await reopened.get(paths.log_slot(0, 2)) == b"\x02"


async def test_operations_are_counted_with_their_outcomes() -> None:
    seen: list[tuple[str, str, float]] = []
    ticks = iter(range(100))
    store = ObservedStore(MemoryStore(), lambda *event: seen.append(event), lambda: float(next(ticks)))
    await store.create("a", b"x")
    await store.get("a")
    with pytest.raises(DataLoss):
        await store.download("missing", Path("nowhere"))
    assert seen == [("create", "ok", 1.0), ("get", "ok", 1.0), ("download", "DataLoss", 1.0)]
