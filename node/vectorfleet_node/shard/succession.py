"""How a replica becomes its shard's leader: a fence in the next slot, and the look that makes sure of it.

Called by `replica`, which begins a reign when `win` returns. The trap is a candidate that was paused for long: its
fence may take a slot that had been used and collected, and then it leads nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from vectorfleet_node.shard.follower import Follower
from vectorfleet_node.shard.leadership import entry_of, next_record
from vectorfleet_node.shard.port import NotLeader, ShardError
from vectorfleet_node.shard.settings import Clock
from vectorfleet_node.shard.sharing import SharedRun
from vectorfleet_node.shard.state import ShardState
from vectorfleet_node.storage.format import FORMAT
from vectorfleet_node.storage.log import Backoff, Log, Sleep
from vectorfleet_node.storage.record import Fence
from vectorfleet_node.storage.store import StorageError

_FORMAT_LOOK: Final = 5.0  # seconds


class Succession:
    """One replica's attempts. check: brings the follower to the log's tail. owner, address: what the fence names.

    fleet_format: the highest format that every replica of the shard reads, as far as is known.
    """

    def __init__(
        self,
        log: Log,
        follower: Follower,
        check: SharedRun,
        *,
        uid: str,
        shard: int,
        owner: str,
        address: str,
        clock: Clock,
        sleep: Sleep,
        new_id: Callable[[], str],
        fleet_format: Callable[[], int],
    ) -> None:
        self._log = log
        self._follower = follower
        self._check = check
        self._uid = uid
        self._shard = shard
        self._owner = owner
        self._address = address
        self._clock = clock
        self._sleep = sleep
        self._new_id = new_id
        self._fleet_format = fleet_format

    async def win(self) -> None:
        """Returns when the newest fence is this process's own and applied; NotLeader when somebody else won."""
        while True:
            await self._check.join()
            state = self._follower.state
            epoch = state.epoch + 1
            fence = Fence(self._owner, self._address, self.next_format(state))
            wall = self._clock.wall()
            entry = entry_of(next_record(self._uid, self._shard, state, epoch, fence, self._new_id(), wall))
            if await self._log.append(entry.record.position, entry.data) is None:
                break
            await self._check.join()
            if self._follower.state.epoch >= epoch:
                raise self._lost()
        if await self._collected(entry.record.position):
            await self._follower.reload()
            raise self._lost()
        self._follower.apply(entry)
        if self._follower.state.epoch != epoch:
            raise self._lost()

    def next_format(self, state: ShardState) -> int:
        """What a leader after that state writes: never less than before it, and nothing that a replica cannot read."""
        return max(state.format, min(FORMAT, self._fleet_format()))

    async def raise_formats(self, leads: Callable[[], bool], renew: Callable[[], Awaitable[None]]) -> None:
        """Renews this process's fence when all replicas read a newer format than the one in use; looks for ever."""
        while True:
            await self._sleep(_FORMAT_LOOK)
            if leads() and self.next_format(self._follower.state) > self._follower.state.format:
                with suppress(ShardError, StorageError):  # then nobody leads, and the next leader raises it
                    await renew()

    def _lost(self) -> NotLeader:
        state = self._follower.state
        return NotLeader(state.owner, state.address)

    async def _collected(self, position: int) -> bool:
        attempt = 0
        while True:
            try:
                return await self._log.collected(position)
            except StorageError:  # the fence stands: giving up would leave the shard without a leader that knows it
                await self._sleep(Backoff().pause(attempt))
                attempt += 1
