"""What the API layer asks of a shard's replica, and the errors it must turn into statuses.

`replica.py` implements it; the API's tests use small fakes of it. Errors:

    ShardError
    ├── NotLeader      another process leads: nothing was applied; ask `owner` at `address`
    ├── NotApplied     the write is not in the log and never will be; the same request id may be sent again
    ├── InDoubt        the write may still land; send it again with the same request id to learn its fate
    ├── TooOld         the request is older than the request table reaches: its fate cannot be known any more
    ├── NotReady       not loaded yet
    ├── Rotten         a segment's file is damaged on this node and is being replaced: ask another replica, or later
    ├── Overloaded     no room or no time for the request: nothing was done; try again after `retry_after` seconds
    ├── TooNew         the shard is written in a format that has no way to say this; nothing was done
    └── Behind         the log does not (yet) reach the position that was asked for
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from vectorfleet_node.shard.view import Key, ShardView


class ShardError(Exception):
    """A replica could not do what was asked."""


class NotLeader(ShardError):
    """Another process owns the newest fence. `address` is its peer address, empty when nobody has led yet."""

    def __init__(self, owner: str, address: str) -> None:
        super().__init__(f"shard is led by {owner or 'nobody'} at {address or 'no address'}")
        self.owner = owner
        self.address = address


class NotApplied(ShardError):
    """The write did not reach the log and never will under this attempt."""


class InDoubt(ShardError):
    """The write's fate is not known yet; it may still land."""


class TooOld(ShardError):
    """The request's floor is below what the request table remembers."""


class NotReady(ShardError):
    """The replica is not loaded."""


class Rotten(ShardError):
    """Bytes on this node's disk are not what was written; nothing of them was served. The message names the file."""


class Behind(ShardError):
    """The position asked for is beyond the log's checked tail."""


class TooNew(ShardError):
    """The newest fence says an older format, which cannot say what was asked for: some replica would not read it."""


class Overloaded(ShardError):
    """There was no room for a write, or no time for a search; nothing was done. retry_after: in seconds."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


@dataclass(frozen=True)
class UpsertPart:
    """Rows of one shard, in the schema `batch.arrow_schema(collection)`, keys distinct."""

    rows: pa.RecordBatch


@dataclass(frozen=True)
class DeletePart:
    """Keys of one shard."""

    keys: tuple[Key, ...]


@dataclass(frozen=True)
class SelectPart:
    """The rows of one shard that `select` finds are to be deleted.

    select: keys of at most so many live rows of the view, all of them if there are fewer. Runs in a thread; Rotten.
    """

    select: Callable[[ShardView, int], list[Key]]


Part = UpsertPart | DeletePart | SelectPart


@dataclass(frozen=True)
class IndexReport:
    """Segments whose `vector` has the same kind of index for the same reason; for humans."""

    vector: str
    kind: str
    reason: str
    segments: int
    rows: int


@dataclass(frozen=True)
class ReplicaReport:
    """A replica for humans, the operator and metrics."""

    shard: int
    ready: bool
    leader: bool
    position: int
    rows: int
    growing_rows: int
    bytes: int
    indexes: tuple[str, ...]
    message: str  # empty, or why it is not ready / what is wrong
    quarantined: int = 0  # damaged files of this node's cache that are kept for a look
    growing_bytes: int = 0  # memory of rows in no segment and, where it leads, of writes on their way to the log
    writes_waiting: int = 0  # writes that wait for room
    segments: int = 0
    live_bytes: int = 0  # of `bytes`, what is for live rows
    compaction: str = ""  # what is being merged or indexed now, for humans
    index_details: tuple[IndexReport, ...] = ()


class Replica(Protocol):
    """One shard on this node. Everything runs on one event loop; builds and scans run in threads."""

    @property
    def shard(self) -> int:
        """The shard's id."""

    @property
    def leader(self) -> tuple[str, str]:
        """(owner id, peer address) of the newest fence seen; ("", "") before anybody led."""

    @property
    def leads(self) -> bool:
        """Whether this process owns the newest fence it knows of."""

    @property
    def ready(self) -> bool:
        """Whether it answers; as its report says, and cheap."""

    def report(self) -> ReplicaReport:
        """The present state; never blocks, never raises."""

    def view(self) -> ShardView:
        """The newest applied state. NotReady before the replica has loaded."""

    async def start(self) -> None:
        """Loads to the tail and begins to follow.

        Retries while the store is unavailable; DataLoss leaves it not ready, with a message.
        """

    async def stop(self) -> None:
        """Ends all tasks; decides the put in flight first, within seconds. Never deletes anything in the store."""

    async def append(self, request_id: str, floor: int, part: Part, patience: float = 0.0) -> int:
        """Makes the part durable and returns its log position; the same request id is applied once.

        A SelectPart deletes what it finds in the state just before its record, so no write that was acknowledged before
        is missed and none that came later is undone. What is too much for one record takes several, each with what
        then matches: the part is done with the last of them, and not atomic.

        Waits up to `patience` seconds for room. Raises NotLeader, NotApplied, InDoubt (also when cancelled by a
        deadline the put goes on), TooOld, NotReady, Overloaded, or a StorageError when nothing was sent.
        """

    def stored(self, request_id: str, floor: int) -> int | None:
        """Leader: the log position of a request that is known to be in the log, None when there is none.

        Asks nothing: cheap, for who would otherwise send much to be told that it is there. NotLeader, NotReady, TooOld.
        """

    async def import_rows(
        self, request_id: str, floor: int, rows: AsyncIterable[pa.RecordBatch], patience: float = 0.0
    ) -> int:
        """Leader: makes a part of a bulk import durable as a segment of its own; its log position.

        rows: record batches in the schema `batch.arrow_schema(collection)`, of this shard, keys distinct in all of
        them together; read once, in order, and not at all when the request is stored already. What it raises is passed
        on, and nothing was imported then.

        The rows become visible together, as of that position: they replace earlier versions of their keys, whenever
        their sending began, and later writes replace them. The same request id is applied once. Once all rows have been
        read, a cancelled caller (InDoubt) does not end the import; the same id, sent again, joins it.

        Waits up to `patience` seconds for its turn: a node works on few parts at a time. ValueError for rows that do
        not fit the collection or are too many for a part; otherwise raises as `append`, TooNew in a shard of format 1.
        """

    def deleted(self, request_id: str) -> int | None:
        """How many rows a SelectPart deleted through this process; None when it did not, or that is forgotten."""

    async def take_over(self) -> None:
        """Writes a fence so that this process leads. Returns when it leads; NotLeader when somebody else won."""

    async def wait_for(self, position: int) -> None:
        """Session: returns once the view is at `position` or later. Behind when the tail, checked now, is lower."""

    async def make_strong(self) -> None:
        """Strong: returns once the view has every write acknowledged before this call began. Asks the store."""

    async def make_fresh(self, max_staleness: float) -> None:
        """Bounded: returns once the view is at most `max_staleness` seconds old; asks the store only when it must."""

    async def flush(self) -> None:
        """Leader: seals the growing rows now. NotLeader elsewhere."""
