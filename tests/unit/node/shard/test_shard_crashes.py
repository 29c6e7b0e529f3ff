"""Replicas killed at random points over a faulty store, from a seed: what was acknowledged is there, once, afterwards.

The oracle folds the log by itself, with a dictionary, and knows nothing of manifests or segments.
"""

from __future__ import annotations

import asyncio
import io
import random
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa
import pytest
from faults import CALM, Faults, FaultyStore
from replicas import QUIET, UID, abandon, contents, delete, located, make_replica, new_shard, row_hash, running, upsert

from vectorfleet_node.shard.port import DeletePart, InDoubt, NotApplied, ShardError, UpsertPart
from vectorfleet_node.shard.replica import ShardReplica
from vectorfleet_node.storage import paths
from vectorfleet_node.storage.memory import MemoryStore
from vectorfleet_node.storage.record import Batch, Publish, decode
from vectorfleet_node.storage.store import StorageError

KEYS = [f"k{number}" for number in range(15)]
SETTINGS = replace(QUIET, seal_idle=0.03, seal_rows=8, undecided_limit=0.2, poll=0.002, poll_idle=0.01)
FAULTS = Faults(stall=0.003, stall_turns=100)


async def hurried(seconds: float) -> None:
    """Sleeps, but not as long as it is told."""
    await asyncio.sleep(min(seconds / 20, 0.01))


class RememberingStore(MemoryStore):
    """Knows what every log slot held first, also after it was collected."""

    def __init__(self) -> None:
        super().__init__()
        self.log: dict[str, bytes] = {}

    async def create(self, key: str, body: bytes) -> bool:
        created = await super().create(key, body)
        if created and key.startswith(paths.log_prefix(0)):
            self.log.setdefault(key, body)
        return created


@dataclass
class Run:
    """One seeded run: two places for a replica, clients that write and retry, and a hand that kills."""

    seed: int
    folder: Path
    inner: RememberingStore = field(default_factory=RememberingStore)
    acked: dict[str, int] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    starts: int = 0

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.store = FaultyStore(self.inner, self.seed, FAULTS)
        self.places: list[ShardReplica] = []

    async def start(self) -> ShardReplica:
        self.starts += 1
        name = f"{self.seed}-{self.starts}"
        # The cache folder outlives a process or does not.
        folder = self.folder / f"place{self.rng.randrange(2)}-{self.starts * self.rng.randrange(2)}"
        replica = make_replica(self.store, folder, name, settings=SETTINGS, sleep=hurried)
        await replica.start()
        return replica

    async def kill(self, place: int) -> None:
        await abandon(self.places[place])
        self.places[place] = await self.start()

    def part(self) -> UpsertPart | DeletePart:
        keys = self.rng.sample(KEYS, self.rng.randint(1, 4))
        return delete(*keys) if self.rng.random() < 0.25 else upsert(keys, self.rng.randrange(10**6))

    async def client(self, name: str, writes: int) -> None:
        for number in range(writes):
            request_id, part, doubtful = f"{name}-{number}", self.part(), False
            for _ in range(self.rng.randint(1, 8)):
                replica = self.rng.choice(self.places)
                try:
                    async with asyncio.timeout(0.1):
                        position = await replica.append(request_id, 1 << 40, part)
                except NotApplied:
                    continue
                except (ShardError, StorageError, TimeoutError) as error:
                    doubtful |= isinstance(error, InDoubt)
                    await asyncio.sleep(0.002)
                    continue
                assert self.acked.setdefault(request_id, position) == position
                if self.rng.random() < 0.8:  # else: sent again although it was acknowledged
                    break
            if not doubtful and request_id not in self.acked:
                self.refused.add(request_id)

    async def elect(self) -> None:
        replica = self.rng.choice(self.places)
        try:
            async with asyncio.timeout(0.1):
                await replica.take_over()
        except (ShardError, StorageError, TimeoutError):
            pass

    async def go(self, steps: int) -> None:
        await new_shard(self.inner)
        self.places = [await self.start(), await self.start()]
        clients = [asyncio.create_task(self.client(f"c{number}", 25)) for number in range(3)]
        for _ in range(steps):
            await asyncio.sleep(self.rng.random() * 0.04)
            if self.rng.random() < 0.35:
                await self.kill(self.rng.randrange(2))
            if not any(replica.leads for replica in self.places) or self.rng.random() < 0.1:
                await self.elect()
        await asyncio.gather(*clients)
        for replica in self.places:
            await abandon(replica)
        self.store.faults = CALM

    def oracle(self) -> tuple[dict[object, tuple[object, ...]], dict[str, list[int]], int]:
        """The rows, where each request landed, and how many manifests were published, from the log alone."""
        rows: dict[object, tuple[object, ...]] = {}
        landed: dict[str, list[int]] = {}
        published = 0
        for expected, key in enumerate(sorted(self.inner.log), 1):
            position = paths.number_of(key)
            assert position == expected, f"hole in the log at {expected}"
            body = decode(self.inner.log[key], uid=UID, shard=0, position=position).body
            published += isinstance(body, Publish)
            for request in body.requests if isinstance(body, Batch) else ():
                landed.setdefault(request.request_id, []).append(position)
                for deleted in request.deletes:
                    rows.pop(deleted, None)
                for row in read(request.upsert) if request.upsert else ():
                    vector = pa.array(row["vector.default"], pa.float32()).to_numpy().tobytes()
                    rows[row["key"]] = (row["field.lang"], row["field.year"], vector)
        return rows, landed, published


def read(data: bytes) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = pa.ipc.open_stream(io.BytesIO(data)).read_all().to_pylist()
    return rows


@pytest.mark.parametrize("seed", range(12))
async def test_every_acknowledged_write_survives_any_kill_and_is_applied_once(seed: int, tmp_path: Path) -> None:
    run = Run(seed, tmp_path)
    await run.go(steps=20)
    rows, landed, published = run.oracle()
    assert run.acked, "nothing was ever acknowledged: the run proves nothing"
    assert all(len(positions) == 1 for positions in landed.values()), "a request is in the log twice"
    for request_id, position in run.acked.items():
        assert landed.get(request_id) == [position], f"{request_id} was acknowledged at {position}"
    assert not run.refused & landed.keys(), "told that it will never be applied, and it is in the log"
    fresh = make_replica(run.store, tmp_path / "fresh", f"{seed}-last", settings=QUIET)
    replayed = MemoryStore()
    replayed._objects = dict(run.inner.log)
    plain = make_replica(replayed, tmp_path / "plain", f"{seed}-plain", settings=QUIET)
    async with running(fresh, plain):
        for replica in (fresh, plain):
            assert replica.report().ready, replica.report()
            assert contents(replica.view()) == rows
            assert set(located(replica.view(), list(KEYS))) == set(rows)
        assert row_hash(fresh) == row_hash(plain)
        print(f"seed {seed}: {len(run.acked)} acked, {len(landed)} landed, {published} published, {run.starts} starts")
