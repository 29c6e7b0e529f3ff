"""One reign of a leader over its shard's log: the queue, group commit, and exactly one record under way at a time.

Made by `replica` when its fence has landed, thrown away when the reign ends: who stepped down never resumes an epoch.
The trap is doubt: whether a record landed is decided by its slot alone, so a send goes on until the slot is known,
whoever has given up waiting, and no other body is ever sent to the same slot.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from vectorfleet_node.shard.port import InDoubt, NotApplied
from vectorfleet_node.shard.settings import Clock, Observer, ShardSettings
from vectorfleet_node.shard.sharing import observe_result
from vectorfleet_node.shard.state import ShardState
from vectorfleet_node.storage.log import Entry, Log, Sleep
from vectorfleet_node.storage.record import (
    Batch,
    BatchRequest,
    Body,
    Publish,
    Record,
    UnknownRecord,
    chain_value,
    encode,
)
from vectorfleet_node.storage.store import DataLoss, StorageError, StoreUnavailable

_REQUEST_OVERHEAD: Final = 64


@dataclass
class _Waiting:
    """A request and who waits for its position."""

    request: BatchRequest
    size: int
    landed: asyncio.Future[int] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def __post_init__(self) -> None:
        self.landed.add_done_callback(observe_result)


@dataclass(frozen=True)
class _Sending:
    """The record under way."""

    record: Record
    requests: tuple[_Waiting, ...]
    since: float


def next_record(uid: str, shard: int, state: ShardState, epoch: int, body: Body, new_id: str, wall: float) -> Record:
    """The record that follows the state: the next slot, chained, with a later stamp and a nonce of its own."""
    stamp = max(state.stamp + 1, int(wall * 1000))
    return Record(uid, shard, state.position + 1, epoch, bytes.fromhex(new_id), stamp, state.chain, body)


def entry_of(record: Record) -> Entry:
    """The record as it will stand in the log."""
    data = encode(record)
    return Entry(record, chain_value(data), data)


class Leadership:
    """Sends what is queued, in order.

    `applied` must be called for every record that the replica applies, and `end` when another's record was seen.
    """

    def __init__(
        self,
        log: Log,
        state: ShardState,
        *,
        uid: str,
        shard: int,
        clock: Clock,
        sleep: Sleep,
        new_id: Callable[[], str],
        settings: ShardSettings,
        observer: Observer,
        landed: Callable[[Entry, float], None],
        lost: Callable[[], None],
    ) -> None:
        self.epoch = state.epoch
        self.ended = False
        self._log = log
        self._state = state
        self._uid = uid
        self._shard = shard
        self._clock = clock
        self._sleep = sleep
        self._new_id = new_id
        self._settings = settings
        self._observer = observer
        self._landed = landed
        self._lost = lost
        self._queue: deque[_Waiting] = deque()
        self._queued_bytes = 0
        self._pending: dict[str, asyncio.Future[int]] = {}
        self._publish: tuple[Publish, asyncio.Future[int]] | None = None
        self._sending: _Sending | None = None
        self._decided = asyncio.Event()
        self._decided.set()
        self._work = asyncio.Event()
        self._last_send = -float("inf")

    @property
    def last_sent(self) -> int:
        """The last slot that this reign has used: the state's position, or the next while a record is undecided."""
        return self._sending.record.position if self._sending else self._state.position

    def wrote(self, record: Record) -> bool:
        """Whether this reign wrote the record: an epoch has one owner."""
        return record.epoch == self.epoch

    def find(self, request_id: str) -> asyncio.Future[int] | None:
        """The outcome to come of a request that is queued or under way."""
        return self._pending.get(request_id)

    def submit(self, request: BatchRequest, size: int) -> asyncio.Future[int]:
        """Queues a request; the future gives its position, NotApplied, InDoubt or a StorageError. Never cancel it.

        StoreUnavailable at once when the store has not decided the record under way for long, or too much is queued.
        """
        undecided = self._clock.monotonic() - self._sending.since if self._sending else 0.0
        if undecided > self._settings.undecided_limit:
            raise StoreUnavailable(f"the object store has not answered a write for {undecided:.1f} s; nothing was sent")
        if self._queued_bytes + size > self._settings.queue_bytes and self._queue:
            raise StoreUnavailable(
                f"{self._queued_bytes} bytes of writes are waiting for the object store; nothing was sent"
            )
        waiting = _Waiting(request, size + _REQUEST_OVERHEAD)
        self._pending[request.request_id] = waiting.landed
        waiting.landed.add_done_callback(lambda _: self._pending.pop(request.request_id, None))
        self._queue.append(waiting)
        self._queued_bytes += waiting.size
        self._work.set()
        return waiting.landed

    def publish(self, body: Publish) -> asyncio.Future[int]:
        """Sends a publish record before anything that is queued. One at a time; the future as `submit` has it."""
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        future.add_done_callback(observe_result)
        if self.ended:
            future.set_exception(_not_applied())
            return future
        self._publish = (body, future)
        self._work.set()
        return future

    async def run(self) -> None:
        """Sends until the reign ends."""
        while not self.ended:
            await self._work.wait()
            pause = self._last_send + self._settings.commit_window - self._clock.monotonic()
            if pause > 0:
                await self._sleep(pause)
            if not self.ended:
                await self._send_next()
            if not self._queue and self._publish is None:
                self._work.clear()

    def applied(self, entry: Entry) -> None:
        """The replica has applied a record; if it is the one under way, its requests have landed."""
        if self._sending is not None and entry.record.position == self._sending.record.position:
            self._settle(entry.record.position)

    def end(self) -> None:
        """Ends the reign: what is queued will not be applied; what is under way is for its slot to decide."""
        self.ended = True
        self._work.set()
        for waiting in self._queue:
            _settle(waiting.landed, _not_applied())
        self._queue.clear()
        if self._publish is not None and (self._sending is None or not isinstance(self._sending.record.body, Publish)):
            _settle(self._publish[1], _not_applied())
            self._publish = None

    async def decided(self) -> None:
        """Waits until no record is under way."""
        await self._decided.wait()

    def abandon(self) -> None:
        """The process stops: what is under way may still land."""
        self._settle(InDoubt("the node stopped before the object store had decided; send the request again"))

    async def _send_next(self) -> None:
        body, requests = self._next_body()
        if body is None:
            return
        wall = self._clock.wall()
        record = next_record(self._uid, self._shard, self._state, self.epoch, body, self._new_id(), wall)
        entry = entry_of(record)
        since = self._last_send = self._clock.monotonic()
        self._sending = _Sending(record, requests, since)
        self._decided.clear()
        try:
            winner = await self._log.append(record.position, entry.data)
        except DataLoss as error:  # it may be this very record, damaged since
            self._settle(InDoubt(f"the write's slot in the log cannot be read: {error}"))
            self._lost()
        except UnknownRecord as error:
            self._settle(_not_applied(error))
            self._lost()
        except StorageError as error:
            self._settle(error)
        else:
            self._finish(entry, winner, since)

    def _finish(self, entry: Entry, winner: Entry | None, since: float) -> None:
        if winner is not None:
            self._settle(_not_applied())
            self._lost()
            return
        self._observer.appended(self._clock.monotonic() - since)
        if self.ended:
            self._settle(entry.record.position)
        else:
            self._landed(entry, since)

    def _next_body(self) -> tuple[Body | None, tuple[_Waiting, ...]]:
        if self._publish is not None:
            return self._publish[0], ()
        taken: list[_Waiting] = []
        room = self._settings.batch_bytes
        while self._queue and (not taken or self._queue[0].size <= room):
            taken.append(self._queue.popleft())
            room -= taken[-1].size
            self._queued_bytes -= taken[-1].size
        return (Batch(tuple(waiting.request for waiting in taken)) if taken else None), tuple(taken)

    def _settle(self, outcome: int | Exception) -> None:
        sending, self._sending = self._sending, None
        self._decided.set()
        if sending is None:
            return
        for waiting in sending.requests:
            _settle(waiting.landed, outcome)
        if isinstance(sending.record.body, Publish) and self._publish is not None:
            _, future = self._publish
            self._publish = None
            _settle(future, outcome)


def _settle(future: asyncio.Future[int], outcome: int | Exception) -> None:
    if future.done():
        return
    if isinstance(outcome, int):
        future.set_result(outcome)
    else:
        future.set_exception(outcome)


def _not_applied(cause: Exception | None = None) -> NotApplied:
    why = f": {cause}" if cause else ""
    return NotApplied(f"another node leads this shard now; the write is not in the log and never will be{why}")
