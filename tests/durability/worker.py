"""The process that is killed: one production `ShardReplica` over a real store, and clients that write to it.

`zygote` forks it. It does what it is told over a connection, and tells each write before it is sent and each answer
after it came. When the other end of the connection goes away it ends.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tests.durability.operations import SCHEMA, SHARD, UID, operation, part_of
from tests.sim.oracle import rows_of
from vectorfleet.descriptor import COLLECTION_OBJECT, CollectionDescriptor
from vectorfleet.partition import KEY_HASH
from vectorfleet.topology import StorageLocation
from vectorfleet_node.engine.cpu import CpuEngine
from vectorfleet_node.shard.port import InDoubt, NotApplied, NotLeader, Overloaded
from vectorfleet_node.shard.replica import ShardReplica
from vectorfleet_node.shard.rowhash import to_hex
from vectorfleet_node.shard.settings import ShardSettings
from vectorfleet_node.storage.log import Log, genesis
from vectorfleet_node.storage.open import open_store
from vectorfleet_node.storage.store import StorageError, StoreFull

_PATIENCE = 1.0
_PAUSE = 0.02
_AGAIN = 8  # every so many writes one is sent again although it was acknowledged


@dataclass(frozen=True)
class Plan:
    """What a worker is given at its start. padding: see `operation`."""

    location: StorageLocation
    credentials: Mapping[str, str]
    cache: Path
    seed: int
    settings: ShardSettings
    padding: int = 300


@dataclass(frozen=True)
class Turn:
    """Where a lane goes on: the write's number, and the floor of its first attempt when it was sent before."""

    lane: int
    number: int
    floor: int | None = None


@dataclass
class Clock:
    """The machine's."""

    def monotonic(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()


@dataclass
class Worker:
    """Commands are the methods that say so. What it tells, `Truth.hear` takes in."""

    connection: Connection
    plan: Plan
    loading: bool = False
    lanes: list[asyncio.Task[None]] = field(default_factory=list)

    async def run(self) -> None:
        """Until it is told to stop."""
        store = await asyncio.to_thread(open_store, self.plan.location, self.plan.credentials)
        with suppress(StorageError):  # also when it is there: then nothing has to be written
            descriptor = CollectionDescriptor(uid=UID, collection=SCHEMA, key_hash=KEY_HASH)
            await store.create(COLLECTION_OBJECT, descriptor.model_dump_json().encode())
            await Log(store, UID, SHARD, sleep=asyncio.sleep).create_first(genesis(UID, SHARD, bytes(16), 1))
        self.replica = ShardReplica(
            store,
            UID,
            SCHEMA,
            SHARD,
            CpuEngine(build_threads=1),
            self.plan.cache,
            owner=secrets.token_hex(8),
            address=f"worker:{os.getpid()}",
            clock=Clock(),
            sleep=asyncio.sleep,
            new_id=lambda: secrets.token_hex(16),
            settings=self.plan.settings,
        )
        await self.replica.start()
        self.tell("started")
        commands: asyncio.Queue[Any] = asyncio.Queue()
        asyncio.get_running_loop().add_reader(self.connection.fileno(), lambda: commands.put_nowait(self.hear()))
        while (command := await commands.get())[0] != "stop":
            await getattr(self, command[0])(*command[1:])
        await self.halt()
        await self.replica.stop()
        self.tell("stopped")

    def hear(self) -> Any:
        """The next command. Nobody there any more: the end, at once."""
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            os._exit(0)

    def tell(self, *message: Any) -> None:
        """To whoever keeps the ledger."""
        try:
            self.connection.send(message)
        except OSError:
            os._exit(0)

    async def lead(self) -> None:
        """Takes over."""
        try:
            await self.replica.take_over()
        except (NotLeader, StorageError) as error:
            self.tell("cannot lead", str(error))
        else:
            self.tell("leads", self.replica.view().position)

    async def show(self, at_least: int) -> None:
        """A strong read: tells all rows, and the row hash that is kept. at_least: the position that must be in it."""
        await self.replica.make_strong()
        view = self.replica.view()
        row_hash = to_hex(self.replica._follower.state.row_hash)
        self.tell("shown", at_least, view.position, rows_of(view), row_hash)

    async def flush(self) -> None:
        """Tells before and after."""
        self.tell("flushing")
        try:
            await self.replica.flush()
        except (StorageError, NotLeader, NotApplied) as error:
            self.tell("not flushed", type(error).__name__, str(error))
        else:
            self.tell("flushed")

    async def load(self, turns: list[Turn]) -> None:
        """Clients begin to write, beside those that do."""
        self.loading = True
        self.lanes += [asyncio.create_task(self.client(turn)) for turn in turns]

    async def halt(self) -> None:
        """Clients end, each when it knows the fate of its write."""
        self.loading = False
        await asyncio.gather(*self.lanes)
        self.lanes = []
        self.tell("halted", self.replica.leads)

    async def client(self, turn: Turn) -> None:
        """Writes until told to end, or until somebody else leads."""
        lane, number, floor = turn.lane, turn.number, turn.floor
        try:
            while (self.loading or floor is not None) and await self.write(lane, number, floor):
                number, floor = number + 1, None
        except BaseException as error:
            self.tell("failed", f"lane {lane}, write {number}: {error!r}")
            raise

    async def write(self, lane: int, number: int, floor: int | None) -> bool:
        """Sends one write until its fate is known; False when this node does not lead any more."""
        write, doubtful = operation(self.plan.seed, lane, number, self.plan.padding), floor is not None
        part = part_of(write)
        if floor is None:
            floor = self.replica.view().position
        self.tell("sent", lane, number, floor)
        while True:
            try:
                position = await self.replica.append(write.request_id, floor, part, patience=_PATIENCE)
            except (NotApplied, NotLeader):
                self.tell("in doubt" if doubtful else "refused", lane, number)
                return False
            except InDoubt:
                doubtful = True
            except StoreFull as error:
                self.tell("full", lane, number, str(error))
            except (Overloaded, StorageError) as error:
                self.tell("not now", lane, number, str(error))
            else:
                self.tell("acked", lane, number, position)
                if number % _AGAIN == 0:
                    with suppress(NotApplied, NotLeader, StorageError, Overloaded):
                        self.tell("acked", lane, number, await self.replica.append(write.request_id, floor, part))
                return True
            if not self.loading and not doubtful:
                self.tell("given up", lane, number)
                return False
            await asyncio.sleep(_PAUSE)


def main(connection: Connection, plan: Plan) -> None:
    """The life of a forked worker."""
    asyncio.run(Worker(connection, plan).run())
