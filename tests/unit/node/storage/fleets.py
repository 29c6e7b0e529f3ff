"""Writers that contend for one shard's log over a faulty store, and the oracle that watches them.

The writers follow, take over, write, publish and collect garbage as the protocol says, on the production `Log`.
"""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import dataclass, field

from faults import CALM, FaultyStore

from vectorfleet_node.storage import log as logs
from vectorfleet_node.storage import paths
from vectorfleet_node.storage.log import TAIL, End, Entry, Log, genesis
from vectorfleet_node.storage.memory import MemoryStore
from vectorfleet_node.storage.record import Batch, BatchRequest, Body, Fence, Publish, Record, decode, encode
from vectorfleet_node.storage.store import StoreUnavailable

UID, SHARD, WRITERS = "collection", 0, 3


class Violation(AssertionError):
    """The log broke a promise."""


class Ledger(MemoryStore):
    """Remembers the first body of each slot for ever, whatever is deleted."""

    def __init__(self) -> None:
        super().__init__()
        self.first: dict[int, bytes] = {}
        self.landed: dict[int, int] = {}  # how often a create of the slot succeeded

    async def create(self, key: str, body: bytes) -> bool:
        created = await super().create(key, body)
        position = paths.number_of(key)
        if created and position is not None and key.startswith(paths.log_prefix(SHARD)):
            self.first.setdefault(position, body)
            self.landed[position] = self.landed.get(position, 0) + 1
        return created


@dataclass
class State:
    """What a writer has folded so far; also what the manifests of this simulation hold."""

    position: int = 0
    chain: int = 0
    epoch: int = 0
    stamp: int = 0
    owner: str = ""
    published: list[int] = field(default_factory=list)

    def apply(self, entry: Entry) -> None:
        record = entry.record
        self.position, self.chain, self.stamp = record.position, entry.chain, record.stamp
        match record.body:
            case Fence(owner=owner):
                self.epoch, self.owner = record.epoch, owner
            case Publish(manifest=manifest):
                self.published.append(manifest)


class World:
    """One run. `run` raises Violation when a promise is broken."""

    def __init__(self, seed: int, log_class: type[Log], operations: int = 1500) -> None:
        self.random = random.Random(seed)
        self.ledger = Ledger()
        self.store = FaultyStore(self.ledger, seed)
        self.acked: dict[str, int] = {}
        self.refused: set[str] = set()
        self.taken_over = 0
        self.collected = 0
        self._log_class = log_class
        self._operations = operations
        self._serial = 0

    @property
    def over(self) -> bool:
        return self.store.operations >= self._operations

    def serial(self) -> int:
        self._serial += 1
        return self._serial

    def log(self) -> Log:
        return self._log_class(self.store, UID, SHARD, sleep=self.sleep)

    async def sleep(self, _: float) -> None:
        for _ in range(self.random.randint(1, 20)):
            await asyncio.sleep(0)

    async def run(self) -> None:
        await self.ledger.create(paths.log_slot(SHARD, 1), genesis(UID, SHARD, b"g" * 16, 1))
        writers = [asyncio.create_task(Writer(self, f"w{number}").run()) for number in range(WRITERS)]
        self.store.at(self._operations, self._calm_down)
        await asyncio.gather(*writers)
        self.judge()

    def _calm_down(self) -> None:
        self.store.faults = CALM

    def judge(self) -> None:
        """Compares what writers were told with the log as it was written."""
        first = self.ledger.first
        if sorted(first) != list(range(1, max(first) + 1)):
            raise Violation(f"the log has a hole: {sorted(first)}")
        where: dict[str, int] = {}
        epoch, owner, chain = 0, "", 0
        for position in sorted(first):
            record = decode(first[position], uid=UID, shard=SHARD, position=position)
            if record.previous != chain:
                raise Violation(f"record {position} does not chain")
            chain = logs.chain_value(first[position])
            if isinstance(record.body, Fence):
                epoch, owner = record.epoch, record.body.owner
            elif (record.epoch, _writer(record)) != (epoch, owner):
                raise Violation(f"record {position} of epoch {record.epoch} is in the log under epoch {epoch}")
            if isinstance(record.body, Batch):
                where |= {request.request_id: position for request in record.body.requests}
        for request, position in self.acked.items():
            if where.get(request) != position:
                raise Violation(f"{request} was acknowledged at {position} and is at {where.get(request)}")
        if both := self.refused & where.keys():
            raise Violation(f"{both} were reported as not applied and are in the log")


class Writer:
    """One process: follows, and now and then leads."""

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self._name = name
        self._random = random.Random(world.random.random())
        self._log = world.log()
        self._state = State()

    async def run(self) -> None:
        while not self._world.over:
            try:
                await self._turn()
            except StoreUnavailable:
                await self._world.sleep(0)

    @property
    def _leads(self) -> bool:
        return self._state.owner == self._owner

    @property
    def _owner(self) -> str:
        return self._name

    async def _turn(self) -> None:
        if not self._leads:
            if not await self._catch_up() or self._leads or self._random.random() > 0.15:
                return
            await self._take_over()
        elif self._random.random() < 0.25:
            await self._publish()
        elif self._random.random() < 0.02:
            self._state = State()  # a restart that keeps its name would be a second owner; it begins as a follower
            self._name = f"{self._name}'"
        else:
            await self._write()

    async def _catch_up(self) -> bool:
        while True:
            wanted = self._state.position + 1
            existed = wanted in self._world.ledger.first
            found = await self._log.next_after(self._state.position, self._state.chain)
            if isinstance(found, Entry):
                self._state.apply(found)
            elif found is TAIL:
                if existed:
                    raise Violation(f"slot {wanted} was written and is taken for the tail")
                return True
            elif not await self._load():
                return False

    async def _load(self) -> bool:
        for key in reversed(await self._world.store.list(paths.manifests_prefix(SHARD))):
            data = await self._world.store.get(key)
            if data is not None and (paths.number_of(key) or 0) > self._state.position:
                self._state = State(**json.loads(data))
                return True
        return False

    async def _take_over(self) -> None:
        position, epoch = self._state.position + 1, self._state.epoch + 1
        if await self._append(Fence(self._owner, "address", 1), epoch) and await self._log.collected(position):
            self._state = State()  # the slot had been used and collected: this fence is no record
        elif self._leads:
            self._world.taken_over += 1

    async def _write(self) -> None:
        requests = tuple(
            BatchRequest(f"{self._owner}.{self._world.serial()}", b"rows") for _ in range(self._random.randint(1, 3))
        )
        position = self._state.position + 1
        names = {request.request_id for request in requests}
        if await self._append(Batch(requests), self._state.epoch):
            self._world.acked |= dict.fromkeys(names, position)
        else:
            self._world.refused |= names

    async def _append(self, body: Body, epoch: int) -> bool:
        state = self._state
        position = state.position + 1
        nonce = f"{self._owner}.{self._world.serial()}".encode().ljust(16, b" ")
        data = encode(Record(UID, SHARD, position, epoch, nonce, state.stamp + 1, state.chain, body))
        other = await self._log.append(position, data)
        if other is not None:
            # Applied by catching up, if it chains: a dead candidate's fence in a collected slot does not.
            state.owner = "" if state.owner == self._owner else state.owner
            return False
        data = getattr(self._log, "landed", data)  # a mutant may send other bytes than it was given
        state.apply(Entry(decode(data, uid=UID, shard=SHARD, position=position), logs.chain_value(data), data))
        return True

    async def _publish(self) -> None:
        state, store = self._state, self._world.store
        position, epoch = state.position, state.epoch
        body = json.dumps(vars(state)).encode()
        key = paths.manifest(SHARD, position)
        await store.create(key, body)
        if await store.get(key) != body:
            return
        boundary = state.published[-1] if state.published else 0
        if await self._append(Publish(position, 0, boundary), epoch):
            await self._collect(boundary)

    async def _collect(self, boundary: int) -> None:
        store = self._world.store
        for block in range((boundary + 1) // logs.SMALL_BLOCK):
            await self._mark(paths.boundary(SHARD, 1, block))
            for position in range(block * logs.SMALL_BLOCK, (block + 1) * logs.SMALL_BLOCK):
                slot = paths.log_slot(SHARD, position)
                data = await store.get(slot)
                if data and not isinstance(decode(data, uid=UID, shard=SHARD, position=position).body, Fence):
                    await store.delete(slot)
                    self._world.collected += 1
        for block in range((boundary + 1) // logs.LARGE_BLOCK):
            await self._mark(paths.boundary(SHARD, 2, block))
            ratio = logs.LARGE_BLOCK // logs.SMALL_BLOCK
            for small in range(block * ratio, (block + 1) * ratio):
                await store.delete(paths.boundary(SHARD, 1, small))

    async def _mark(self, key: str) -> None:
        while await self._world.store.get(key) is None:
            await self._world.store.create(key, b"collected")


def _writer(record: Record) -> str:
    return record.nonce.decode().strip().rpartition(".")[0]


def outcome(end: End | Entry) -> str:
    """A word for assertions."""
    return end.value if isinstance(end, End) else f"record {end.record.position}"
