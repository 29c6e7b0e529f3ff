"""Lets a leader's client writes in while there is room for them; who finds none waits in line, and is refused at last.

`leadership` asks here before it queues a request, and calls `pump` whenever something became less: a record was
decided, rows were flushed. Only client writes pass here: what flushes the memory (publish, fence, pin) never waits
behind them. The trap is the gap between "there is room" and "it is queued": what was let in is counted at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from math import inf
from typing import Final

from vectorfleet_node.shard.blocks import ROW_MEMORY
from vectorfleet_node.shard.port import DeletePart, Overloaded, UpsertPart
from vectorfleet_node.shard.settings import Clock, Observer, ShardSettings
from vectorfleet_node.storage.log import Sleep
from vectorfleet_node.storage.store import StoreFull, StoreUnavailable

REQUEST_MEMORY: Final = 2048  # of a queued request beside its data, in bytes
RETRY_AFTER: Final = 1.0  # seconds; a flush takes about as long
FULL_RETRY_AFTER: Final = 5.0  # a full volume is emptied by people, or by the next collection

_ROOM_AGE: Final = 0.25  # seconds that the room on a volume is taken to be what it was; the reserve covers the rest


@dataclass(frozen=True)
class Held:
    """What a leader holds for its clients' writes, in bytes; undecided: seconds since the record under way was sent."""

    growing: int
    queued: int
    sending: int
    undecided: float

    @property
    def unflushed(self) -> int:
        """All that a flush has to write before its memory is free."""
        return self.growing + self.queued + self.sending


def cost_of(part: UpsertPart | DeletePart, size: int) -> int:
    """Memory that a write takes until it is flushed, given its size in the log; in bytes, rounded up."""
    rows = part.rows.num_rows if isinstance(part, UpsertPart) else len(part.keys)
    return size + REQUEST_MEMORY + ROW_MEMORY * rows


@dataclass(eq=False)
class _Waiter:
    size: int
    entered: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


@dataclass(frozen=True)
class _Obstacle:
    """Why a write cannot be let in. reason: a metric's label."""

    reason: str
    error: Exception


class Admission:
    """The gate of one reign.

    held: what the leader holds now. room: bytes that can still be written to the store's volume, None: no limit known.
    """

    def __init__(
        self,
        shard: int,
        held: Callable[[], Held],
        room: Callable[[], Awaitable[int | None]],
        *,
        settings: ShardSettings,
        clock: Clock,
        sleep: Sleep,
        observer: Observer,
    ) -> None:
        self._shard = shard
        self._held = held
        self._room = room
        self._settings = settings
        self._clock = clock
        self._sleep = sleep
        self._observer = observer
        self._waiters: dict[int, _Waiter] = {}  # by number, in the order of arrival
        self._arrivals = 0
        self._entering = 0  # bytes that were let in and are not queued yet
        self._asked = -inf
        self._spare: float = 0  # bytes of the volume that may still be given to writes, when asked last
        self._ended: Callable[[], Exception] | None = None

    @property
    def waiting(self) -> int:
        """How many writes wait for room."""
        return len(self._waiters)

    @property
    def wants_flush(self) -> bool:
        """Whether writes wait until rows have been flushed."""
        obstacle = self._obstacle(self._head().size) if self._waiters else None
        return obstacle is not None and obstacle.reason == "memory"

    @asynccontextmanager
    async def entering(self, size: int, patience: float) -> AsyncIterator[None]:
        """Waits up to `patience` seconds, in line, until a write of `size` bytes may be queued; queue it inside.

        Overloaded, StoreUnavailable or StoreFull when it may not, all before anything was sent.
        """
        if self._ended is not None:
            raise self._ended()
        if self._waiters or self._obstacle(size):
            await self._wait(size, patience)
        else:
            self._entering += size
        try:
            await self._take_room(size)
            yield
        finally:
            self._entering -= size
            self.pump()

    def pump(self) -> None:
        """Lets in who waits, in order, as far as there is room."""
        while self._waiters and self._obstacle(self._head().size) is None:
            waiter = self._waiters.pop(next(iter(self._waiters)))
            self._entering += waiter.size
            waiter.entered.set_result(None)

    def end(self, error: Callable[[], Exception]) -> None:
        """Nobody is let in any more; who waits gets the error."""
        self._ended = error
        waiters, self._waiters = self._waiters, {}
        for waiter in waiters.values():
            waiter.entered.set_exception(error())

    def _head(self) -> _Waiter:
        return next(iter(self._waiters.values()))

    async def _wait(self, size: int, patience: float) -> None:
        self._arrivals += 1
        number, waiter = self._arrivals, _Waiter(size)
        self._waiters[number] = waiter
        timer = asyncio.ensure_future(self._sleep(patience))
        try:
            await asyncio.wait([waiter.entered, timer], return_when=asyncio.FIRST_COMPLETED)
            self.pump()
            if not waiter.entered.done():
                raise self._refusal()
            waiter.entered.result()
        except asyncio.CancelledError:
            if waiter.entered.done() and not waiter.entered.exception():
                self._entering -= size
            raise
        finally:
            timer.cancel()
            if self._waiters.pop(number, None):
                waiter.entered.cancel()
            self.pump()

    def _refusal(self) -> Exception:
        """Why who is first in line is not let in, which is why nobody behind is."""
        obstacle = self._obstacle(self._head().size)
        assert obstacle is not None, "who is first in line would have been let in"
        self._observer.refused(obstacle.reason)
        return obstacle.error

    def _obstacle(self, size: int) -> _Obstacle | None:
        held, settings = self._held(), self._settings
        if held.undecided > settings.undecided_limit:
            message = f"the object store has not answered a write for {held.undecided:.1f} s; nothing was sent"
            return _Obstacle("store", StoreUnavailable(message, RETRY_AFTER))
        queued = held.queued + self._entering
        if queued and queued + size > settings.queue_bytes:
            message = (
                f"shard {self._shard} has {queued} bytes of writes waiting for the object store, of "
                f"{settings.queue_bytes} allowed, and {self.waiting} more writes in line; nothing was sent"
            )
            return _Obstacle("queue", Overloaded(message, RETRY_AFTER))
        unflushed = held.unflushed + self._entering
        if unflushed and unflushed + size > settings.growing_bytes:
            message = (
                f"shard {self._shard} has {unflushed} bytes of rows in memory that are not flushed yet, of "
                f"{settings.growing_bytes} allowed; {size} more do not fit, {self.waiting} writes are in line; "
                "nothing was sent"
            )
            return _Obstacle("memory", Overloaded(message, RETRY_AFTER))
        return None

    async def _take_room(self, size: int) -> None:
        """StoreFull when the volume has not room for the write beside what is under way and the reserve."""
        now = self._clock.monotonic()
        if size <= self._spare and now < self._asked + _ROOM_AGE:
            self._spare -= size
            return
        room = await self._room()
        held, reserve = self._held(), self._settings.reserve_bytes
        promised = held.queued + held.sending + self._entering - size
        self._asked, self._spare = now, inf if room is None else room - promised - reserve
        if size > self._spare:
            self._observer.refused("volume")
            raise StoreFull(
                f"{room} bytes are free on the volume, {reserve} are kept for flushing what is there and {promised} "
                f"for writes under way: no room for {size} more; nothing was sent",
                FULL_RETRY_AFTER,
            )
        self._spare -= size
