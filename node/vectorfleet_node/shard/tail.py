"""How far the log goes: what a read asks before it is served, as strong as its consistency level wants.

`replica` asks it for reads, for following and before it takes over. The trap is what a check proves: only a question
sent after a call began says anything about writes acknowledged before it, so a call joins a check that is still to be
sent, never one in flight.
"""

from __future__ import annotations

from collections.abc import Callable

from vectorfleet_node.shard.follower import Follower
from vectorfleet_node.shard.port import Behind, NotReady
from vectorfleet_node.shard.reign import Reign
from vectorfleet_node.shard.settings import Clock
from vectorfleet_node.shard.sharing import SharedRun
from vectorfleet_node.storage.log import Log
from vectorfleet_node.storage.record import UnknownRecord
from vectorfleet_node.storage.store import DataLoss


class Tail:
    """check: brings the follower to the log's tail. reign: of this replica, None while another leads."""

    def __init__(
        self,
        shard: int,
        log: Log,
        follower: Follower,
        clock: Clock,
        *,
        reign: Callable[[], Reign | None],
        step_down: Callable[[Reign], None],
    ) -> None:
        self.check = SharedRun(self._run)
        self._shard = shard
        self._log = log
        self._follower = follower
        self._clock = clock
        self._reign = reign
        self._step_down = step_down

    async def wait_for(self, position: int) -> None:
        """See `Replica`."""
        if self._follower.state.position < position:
            await self.check.join()
        if self._follower.state.position < position:
            raise Behind(f"shard {self._shard} ends at {self._follower.state.position}; {position} was asked for")

    async def make_strong(self) -> None:
        """See `Replica`."""
        if not self._follower.loaded:
            raise NotReady(self._follower.message or "the shard is being loaded")
        await self.check.join()

    async def make_fresh(self, max_staleness: float) -> None:
        """See `Replica`."""
        if not self._follower.loaded or self._clock.monotonic() - self._follower.checked > max_staleness:
            await self.make_strong()

    async def _run(self) -> None:
        """Brings the state to what the log's tail was after this began."""
        reign = self._reign()
        if reign is None or not await self._check_reign(reign):
            await self._follower.catch_up()

    async def _check_reign(self, reign: Reign) -> bool:
        """Whether the reign goes on: the first slot it has not sent to holds nothing, and all before it are its own."""
        asked = self._clock.monotonic()
        for position in range(self._follower.state.position + 1, reign.leadership.last_sent + 2):
            try:
                entry = await self._log.read(position)
            except (DataLoss, UnknownRecord):
                self._step_down(reign)
                raise
            if entry is not None and not reign.leadership.wrote(entry.record):
                self._step_down(reign)
            elif entry is not None and self._reign() is reign:
                self._follower.apply(entry)
        if self._reign() is not reign:
            return False
        self._follower.checked = max(self._follower.checked, asked)
        return True
