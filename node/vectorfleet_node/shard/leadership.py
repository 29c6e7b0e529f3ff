"""One reign of a leader over its shard's log: the queue, group commit, and exactly one record under way at a time.

Made by `replica` when its fence has landed, thrown away when the reign ends: who stepped down never resumes an epoch.
The trap is doubt: whether a record landed is decided by its slot alone, so a send goes on until the slot is known,
whoever has given up waiting, and no other body is ever sent to the same slot.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from vectorfleet_node.shard.admission import Admission, Held
from vectorfleet_node.shard.port import InDoubt, NotApplied
from vectorfleet_node.shard.selection import Selection
from vectorfleet_node.shard.settings import Clock, Observer, ShardSettings
from vectorfleet_node.shard.sharing import observe_result
from vectorfleet_node.shard.state import ShardState
from vectorfleet_node.storage.log import Entry, Log, Sleep
from vectorfleet_node.storage.record import (
    Batch,
    BatchRequest,
    Body,
    Fence,
    Pin,
    Publish,
    Record,
    UnknownRecord,
    Unpin,
    chain_value,
    encode,
)
from vectorfleet_node.storage.store import DataLoss, StorageError

_REQUEST_OVERHEAD: Final = 64


@dataclass
class _Waiting:
    """A request and who waits for its position. size: in its record; cost: in memory."""

    request: BatchRequest
    size: int
    cost: int
    selection: Selection | None = None  # what `request` and `size` are made by when its turn has come
    landed: asyncio.Future[int] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def __post_init__(self) -> None:
        self.landed.add_done_callback(observe_result)

    @property
    def alone(self) -> bool:
        """Whether no request may stand before it in its record."""
        return self.selection is not None or self.request.segment is not None


@dataclass(frozen=True)
class _Control:
    """A record that is not a client's write, and who waits for its position."""

    body: Publish | Pin | Unpin | Batch
    landed: asyncio.Future[int]
    cost: int = 0  # not worth counting


@dataclass(frozen=True)
class _Sending:
    """The record under way, and who waits for its position."""

    record: Record
    waiting: tuple[_Waiting | _Control, ...]
    since: float


def next_record(uid: str, shard: int, state: ShardState, epoch: int, body: Body, new_id: str, wall: float) -> Record:
    """The record that follows the state: the next slot, chained, with a later stamp and a nonce of its own."""
    stamp = max(state.stamp + 1, int(wall * 1000))
    written = body.format if isinstance(body, Fence) else state.format
    return Record(uid, shard, state.position + 1, epoch, bytes.fromhex(new_id), stamp, state.chain, body, written)


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
        room: Callable[[], Awaitable[int | None]],
    ) -> None:
        self.epoch = state.epoch
        self.ended = False
        self.admission = Admission(
            shard, self.held, room, settings=settings, clock=clock, sleep=sleep, observer=observer
        )
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
        self._controls: deque[_Control] = deque()
        self._sending: _Sending | None = None
        self._decided = asyncio.Event()
        self._decided.set()
        self._work = asyncio.Event()
        self._worthwhile = asyncio.Event()  # half a record's worth is queued
        self._last_send = -float("inf")

    @property
    def last_sent(self) -> int:
        """The last slot that this reign has used: the state's position, or the next while a record is undecided."""
        return self._sending.record.position if self._sending else self._state.position

    def held(self) -> Held:
        """What is held in memory for clients' writes."""
        sending = self._sending
        return Held(
            growing=self._state.layout.growing_bytes,
            queued=self._queued_bytes,
            sending=sum(waiting.cost for waiting in sending.waiting) if sending else 0,
            undecided=self._clock.monotonic() - sending.since if sending else 0.0,
        )

    def wrote(self, record: Record) -> bool:
        """Whether this reign wrote the record: an epoch has one owner."""
        return record.epoch == self.epoch

    @property
    def undecided(self) -> bool:
        """Whether a record is under way."""
        return self._sending is not None

    def find(self, request_id: str) -> asyncio.Future[int] | None:
        """The outcome to come of a request that is queued or under way."""
        return self._pending.get(request_id)

    def submit(self, request: BatchRequest, size: int, cost: int) -> asyncio.Future[int]:
        """Queues a request that `admission` let in; the future gives its position, NotApplied, InDoubt or a
        StorageError. Never cancel it.
        """
        if self.ended:
            raise _not_applied()
        return self._enqueue(_Waiting(request, size + _REQUEST_OVERHEAD, cost))

    def select(self, selection: Selection, cost: int) -> asyncio.Future[int]:
        """As `submit`, for what the selection finds in the state just before its record, or what finding it raises."""
        if self.ended:
            raise _not_applied()
        return self._enqueue(_Waiting(BatchRequest(selection.request_id, None), 0, cost, selection))

    def _enqueue(self, waiting: _Waiting) -> asyncio.Future[int]:
        request, cost = waiting.request, waiting.cost
        self._pending[request.request_id] = waiting.landed
        waiting.landed.add_done_callback(lambda _: self._pending.pop(request.request_id, None))
        self._queue.append(waiting)
        self._queued_bytes += cost
        if self._queued_bytes >= self._settings.batch_bytes // 2:
            self._worthwhile.set()
        self._work.set()
        return waiting.landed

    def reserve(self) -> asyncio.Future[int]:
        """Reserves a position, as `control`: nobody but the caller may use the sequences of its rows."""
        return self._control(Batch(()))

    def control(self, body: Publish | Pin | Unpin) -> asyncio.Future[int]:
        """Sends a control record before any client's write, in turn with other control records.

        Else a memory that is full could never be flushed: the writes ahead wait for the flush. The future as `submit`
        has it.
        """
        return self._control(body)

    def _control(self, body: Publish | Pin | Unpin | Batch) -> asyncio.Future[int]:
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        future.add_done_callback(observe_result)
        if self.ended:
            future.set_exception(_not_applied())
            return future
        self._controls.append(_Control(body, future))
        self._work.set()
        return future

    async def run(self) -> None:
        """Sends until the reign ends."""
        while not self.ended:
            await self._work.wait()
            await self._window()
            if not self.ended:
                await self._send_next()
            if not self._queue and not self._controls:
                self._work.clear()

    async def _window(self) -> None:
        """Waits until the commit window has passed, or half a record's worth is queued: more would not pay."""
        pause = self._last_send + self._settings.commit_window - self._clock.monotonic()
        if pause <= 0 or self._worthwhile.is_set():
            return
        waits = [asyncio.ensure_future(self._sleep(pause)), asyncio.ensure_future(self._worthwhile.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def applied(self, entry: Entry) -> None:
        """The replica has applied a record; if it is the one under way, its requests have landed."""
        if self._sending is not None and entry.record.position == self._sending.record.position:
            self._settle(entry.record.position)

    def end(self) -> None:
        """Ends the reign: what is queued will not be applied; what is under way is for its slot to decide."""
        self.ended = True
        self._work.set()
        self.admission.end(_not_applied)
        for waiting in self._queue:
            _settle(waiting.landed, _not_applied())
        self._queue.clear()
        for control in self._controls:
            _settle(control.landed, _not_applied())
        self._controls.clear()

    async def decided(self) -> None:
        """Waits until no record is under way."""
        await self._decided.wait()

    def abandon(self) -> None:
        """The process stops: what is under way may still land."""
        self._settle(InDoubt("the node stopped before the object store had decided; send the request again"))

    async def _evaluate(self, waiting: _Waiting, selection: Selection) -> None:
        """Nothing is under way and nothing is sent meanwhile, so the state stays what the record will follow."""
        try:
            request, size = await asyncio.to_thread(selection.evaluate, self._state.snapshot())
        except Exception as error:  # noqa: BLE001 - whatever a filter runs into is its caller's; the queue goes on
            _settle(waiting.landed, error)
            if not self.ended:
                self._queue.popleft()
                self._queued_bytes -= waiting.cost
        else:
            waiting.request, waiting.size = request, size + _REQUEST_OVERHEAD

    async def _send_next(self) -> None:
        if self._queue and not self._controls and (selection := self._queue[0].selection) is not None:
            await self._evaluate(self._queue[0], selection)
        body, waiting = self._next_body()
        if body is None:
            return
        wall = self._clock.wall()
        record = next_record(self._uid, self._shard, self._state, self.epoch, body, self._new_id(), wall)
        entry = entry_of(record)
        since = self._last_send = self._clock.monotonic()
        self._sending = _Sending(record, waiting, since)
        self._decided.clear()
        self.admission.pump()
        try:
            # Its rows are decoded and hashed meanwhile: both take about as long, and the event loop is free.
            winner, _ = await asyncio.gather(
                self._log.append(record.position, entry.data), asyncio.to_thread(self._state.prepare, record)
            )
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

    def _next_body(self) -> tuple[Body | None, tuple[_Waiting | _Control, ...]]:
        if self._controls:
            control = self._controls.popleft()
            return control.body, (control,)
        taken: list[_Waiting] = []
        room = self._settings.batch_bytes
        while self._queue and (not taken or (self._queue[0].size <= room and not self._queue[0].alone)):
            taken.append(self._queue.popleft())
            room -= taken[-1].size
            self._queued_bytes -= taken[-1].cost
            if taken[-1].request.segment is not None:
                break
        if self._queued_bytes < self._settings.batch_bytes // 2:
            self._worthwhile.clear()
        return (Batch(tuple(waiting.request for waiting in taken)) if taken else None), tuple(taken)

    def _settle(self, outcome: int | Exception) -> None:
        sending, self._sending = self._sending, None
        self._decided.set()
        self.admission.pump()
        if sending is None:
            return
        for waiting in sending.waiting:
            _settle(waiting.landed, outcome)


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
