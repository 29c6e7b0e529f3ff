"""Writers fight over one log through thousands of faults; a log that lacks one of its rules is caught."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace

import pytest
from fleets import SHARD, UID, Violation, World

from vectorfleet_node.storage import log as logs
from vectorfleet_node.storage import paths
from vectorfleet_node.storage.log import BEHIND, TAIL, End, Entry, Log
from vectorfleet_node.storage.record import decode, encode
from vectorfleet_node.storage.store import StorageError

SEEDS = 40


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "SMALL_BLOCK", 4)
    monkeypatch.setattr(logs, "LARGE_BLOCK", 16)


def run(seed: int, log_class: type[Log] = Log) -> World:
    world = World(seed, log_class)
    try:
        asyncio.run(world.run())
    except Violation as violation:
        raise Violation(f"seed {seed}: {violation}") from None
    return world


def test_no_acknowledged_write_is_lost_and_no_tail_is_imagined() -> None:
    worlds = [run(seed) for seed in range(SEEDS)]
    # A simulation in which nothing happens proves nothing.
    assert sum(len(world.acked) for world in worlds) > 50 * SEEDS
    assert sum(world.taken_over for world in worlds) > 2 * SEEDS
    assert sum(world.collected for world in worlds) > 10 * SEEDS
    assert sum(len(world.refused) for world in worlds) > 0


def test_a_run_repeats_for_its_seed() -> None:
    assert run(7).ledger.first == run(7).ledger.first


class TrustsExists(Log):
    """Takes "exists" for "mine landed"."""

    async def append(self, position: int, body: bytes) -> Entry | None:
        while True:
            try:
                await self._store.create(paths.log_slot(SHARD, position), body)
            except StorageError:
                continue
            return None


class TakesExistsForLost(Log):
    """Takes "exists" for "another's landed", without looking."""

    async def append(self, position: int, body: bytes) -> Entry | None:
        while True:
            try:
                if await self._store.create(paths.log_slot(SHARD, position), body):
                    return None
            except StorageError:
                continue
            return self._entry(body, position)


class NewBodyOnRetry(Log):
    """Draws a new nonce for each attempt after the first."""

    landed = b""

    async def append(self, position: int, body: bytes) -> Entry | None:
        key = paths.log_slot(SHARD, position)
        record = decode(body, uid=UID, shard=SHARD, position=position)
        for attempt in itertools.count():
            if attempt:
                body = encode(replace(record, nonce=record.nonce.rstrip()[:14].ljust(15) + bytes([attempt % 256])))
            self.landed = body
            try:
                if await self._store.create(key, body):
                    return None
                found = await self._store.get(key)
            except StorageError:
                continue
            if found == body:
                return None
            if found is not None:
                return self._entry(found, position)
        return None


class BoundaryFirst(Log):
    """Looks for the marker, then for the slot."""

    async def next_after(self, position: int, chain: int) -> Entry | End:
        gone = await self.collected(position + 1)
        entry = await self.read(position + 1)
        if entry is None:
            return BEHIND if gone else TAIL
        return entry if entry.record.previous == chain else BEHIND


class NoBoundary(Log):
    """Takes every missing slot for the tail."""

    async def collected(self, position: int) -> bool:
        return False


@pytest.mark.parametrize("mutant", [TrustsExists, TakesExistsForLost, NewBodyOnRetry, BoundaryFirst, NoBoundary])
def test_a_log_without_one_of_its_rules_is_found_out(mutant: type[Log]) -> None:
    for seed in range(10 * SEEDS):
        try:
            run(seed, mutant)
        except Violation:
            return
    pytest.fail(f"{mutant.__name__} went unnoticed in {10 * SEEDS} seeds")
