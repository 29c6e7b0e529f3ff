"""One simulated run: some nodes, one shard, a hostile world; then calm, in which everything must come right again."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

from vectorfleet_node.shard.settings import ShardSettings
from vectorfleet_node.storage import paths
from vectorfleet_node.storage.format import FORMAT, READABLE
from vectorfleet_node.storage.log import genesis

from .bucket import Bucket
from .chaos import Chaos
from .ending import collect_all, converge, converged, progress
from .ledger import Ledger
from .loop import SimulatedLoop
from .network import Faults, Network, NetworkStore
from .nodes import SHARD, UID, Node
from .oracle import Oracle
from .readers import pinner, reader
from .tracing import Trace
from .users import Users, elector, take_over
from .violation import Violation
from .volume import Volume
from .writers import writer

_STORE_CALLS: Final = 260  # at least so many in each run before calm
_ON_VOLUMES: Final = 5  # every fifth seed
_STALLED: Final = 0.4  # of the runs with a candidate that sleeps while its slot is used and collected
_MANIFESTS: Final = 4  # are published while a candidate is stalled: enough to have its slot collected
_LONGEST: Final = 3600.0  # virtual seconds of a run
_SOON: Final = 200.0  # virtual seconds in which calm must bring progress


class World:
    """Made for one seed. folder: for the caches of nodes; must be empty. show: gets what happens, line by line."""

    def __init__(self, seed: int, folder: Path, show: Callable[[str], None] | None = None) -> None:
        self.random = random.Random(seed)
        self.events: Counter[str] = Counter()
        self.loop = SimulatedLoop(self.random, _LONGEST)
        self.trace = Trace(self.loop.time, show)
        bucket = Bucket(self.loop.time)
        self.ledger = Ledger(UID, SHARD, lambda name: self._truth.get(paths.segment(SHARD, name)))
        self.network = Network(self.loop, bucket, self.random, self.events, self.trace)
        self.volume = Volume(seed, self.network, self.events, self.trace) if seed % _ON_VOLUMES == 0 else None
        self._truth = self.volume or bucket
        self.oracle = Oracle(self._truth, self.ledger, self.events)
        self._make_store = self.volume.open_store if self.volume else lambda: NetworkStore(self.network, bucket)
        self._folder = folder
        self._fleet_format = READABLE[0] if self.random.random() < 0.5 else FORMAT
        settings = _some_settings(self.random)
        count = 1 if self.volume else self.random.choice([2, 3, 3, 3, 4])
        self.nodes = [self._make_node(f"node-{number}", settings) for number in range(count)]
        self.users = Users(self.loop, self.nodes, self.oracle, self.random, self.events)

    def run(self) -> None:
        """Violation when a promise was broken."""
        try:
            self.loop.run(self._run())
        finally:
            self.events["manifest that was never published"] += self.oracle.unpublished
            if self.volume is not None:
                self.events["failed fsync"] += self.volume.disk.fired["sync error"]
                self.events["full disk"] += self.volume.disk.fired["full"]

    def _make_node(self, name: str, settings: ShardSettings) -> Node:
        return Node(
            name,
            self.loop,
            self._make_store,
            self._folder / name,
            self.random,
            settings,
            lambda: self._fleet_format,
            self.events,
            self.trace,
        )

    async def _run(self) -> None:
        self.network.mend()
        await self._make_store().create(paths.log_slot(SHARD, 1), genesis(UID, SHARD, bytes(16), 1))
        chaos = await self._hostile_time()
        users = self.users
        await self._must(progress(users), "no write was acknowledged")
        followers = [node for node in self.nodes if node.follows]
        stalled = bool(followers) and self.random.random() < _STALLED
        go_on = await chaos.stall_a_candidate(followers[0]) if stalled else lambda: None
        await self._must(collect_all(users, _MANIFESTS if stalled else 0), "garbage is left that nobody collects")
        go_on()
        chaos.disarm()
        await self._must(progress(users), "no write was acknowledged")
        await self._must(converge(users), "the nodes did not come to one state")
        for node in self.nodes:
            node.kill()
        self.nodes[0].start(keep_cache=False)
        await self._must(converged(users, self.nodes[0]), "a new node did not come up")

    async def _hostile_time(self) -> Chaos:
        users, volume = self.users, self.volume
        self.network.faults = Faults()
        if volume is not None:
            volume.be_hostile()
        chaos = self._make_chaos()
        chaos.begin()
        actors = [users.spawn(writer(users, f"w{number}")) for number in range(3)]
        actors += [users.spawn(work) for work in (reader(users), reader(users), pinner(users), elector(users))]
        trouble = self.loop.spawn(self.loop.main, chaos.run())
        while self.network.calls < _STORE_CALLS:
            await asyncio.sleep(1)
            if self.network.calls > _STORE_CALLS / 2:
                self._fleet_format = FORMAT
        trouble.cancel()
        chaos.end()
        self.trace("world", "is calm")
        users.over = True
        await asyncio.gather(*actors)
        return chaos

    def _make_chaos(self) -> Chaos:
        return Chaos(
            self.nodes,
            self.network,
            self.volume,
            self.oracle.power_lost,
            lambda node: self.users.begin(take_over(self.users, node)),
            self.random,
            self.events,
            self.trace,
        )

    async def _must(self, work: Coroutine[Any, Any, None], otherwise: str) -> None:
        try:
            async with asyncio.timeout(_SOON):
                await work
        except TimeoutError:
            reports = "; ".join(f"{node.name}: {node.replica and node.replica.report()}" for node in self.nodes)
            raise Violation(f"after {_SOON:.0f} s of calm {otherwise}: {self.oracle.garbage()}; {reports}") from None


def _some_settings(source: random.Random) -> ShardSettings:
    return ShardSettings(
        commit_window=source.choice([0.0, 0.01, 0.05]),
        batch_bytes=source.choice([1, 2000, 1 << 20]),
        queue_bytes=source.choice([1 << 20, 1 << 20, 6000]),
        growing_bytes=source.choice([1 << 20, 9_000]),
        reserve_bytes=2000,
        seal_rows=source.randint(3, 12),
        seal_idle=source.choice([1.6, 5.0]),
        publish_records=source.randint(10, 40),
        keep_manifests=source.choice([2, 2, 3]),
        tidy_idle=source.choice([3.0, 60.0]),
        reindex_idle=source.choice([0.0, 0.0, 2.0]),
        poll=0.25,
        poll_idle=source.choice([1.0, 3.0]),
    )
