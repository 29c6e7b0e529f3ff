"""The store that misbehaves does so: each fault fires, and has the effect that its name says."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest
from faults import CALM, Faults, FaultyStore

from vectorfleet_node.storage.memory import MemoryStore
from vectorfleet_node.storage.store import StorageError, StoreFull, StoreUnavailable

PROBABILITIES = [fault.name for fault in fields(Faults) if isinstance(fault.default, float)]


async def test_every_fault_fires_and_is_counted(tmp_path: Path) -> None:
    store = FaultyStore(MemoryStore(), 1, replace(Faults(), full=0.02, short_read=0.05, bit_flip=0.05))
    source = tmp_path / "source"
    source.write_bytes(b"segment")
    for number in range(1500):
        for operation in (
            store.create(f"log/{number}", b"record"),
            store.get(f"log/{number}"),
            store.list("log/"),
            store.upload("segments/x", source),
            store.download("segments/x", tmp_path / "target"),
            store.delete(f"log/{number - 20}"),
        ):
            try:
                await operation
            except StorageError:
                continue
    assert {name: store.fired[name] for name in PROBABILITIES if not store.fired[name]} == {}


async def test_a_lost_reply_hides_that_it_happened_and_a_lost_request_that_it_did_not() -> None:
    for fault, happened in (("lost_reply", True), ("lost_request", False), ("busy", False)):
        store = FaultyStore(MemoryStore(), 1, replace(CALM, **{fault: 1.0}))
        with pytest.raises(StoreUnavailable):
            await store.create("log/1", b"record")
        store.faults = CALM
        assert (await store.get("log/1") is not None) == happened, fault


async def test_false_for_a_create_is_no_answer() -> None:
    for fault, happened in (("undecided", False), ("exists", True)):
        store = FaultyStore(MemoryStore(), 1, replace(CALM, **{fault: 1.0}))
        assert not await store.create("log/1", b"record")
        assert (await store.get("log/1") is not None) == happened, fault


async def test_a_create_that_timed_out_lands_later() -> None:
    store = FaultyStore(MemoryStore(), 1, replace(CALM, late=1.0))
    with pytest.raises(StoreUnavailable):
        await store.create("log/1", b"record")
    assert await store.get("log/1") is None
    for _ in range(60):
        await store.list("")
    assert await store.get("log/1") == b"record"


async def test_damage_is_in_what_is_read_and_not_in_what_is_stored() -> None:
    store = FaultyStore(MemoryStore(), 1)
    store.faults = CALM
    await store.create("log/1", b"record")
    store.faults = replace(CALM, short_read=1.0)
    assert len(await store.get("log/1") or b"") < len(b"record")
    store.faults = replace(CALM, bit_flip=1.0)
    assert await store.get("log/1") != b"record"
    store.faults = CALM
    assert await store.get("log/1") == b"record"


async def test_a_full_store_refuses_writes_and_nothing_else() -> None:
    store = FaultyStore(MemoryStore(), 1, replace(CALM, full=1.0))
    with pytest.raises(StoreFull):
        await store.put("a", b"x")
    assert await store.get("a") is None
    await store.delete("a")
