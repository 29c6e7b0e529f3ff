"""What a replica does about rotten bytes in its cache: no answer comes from the segment until good files are mapped.

Readers and the scrub report a file; the segment that it belongs to is sick from then on and `replica` refuses to give a
view. Opening it anew sets the bad file aside, fetches it once more and checks it; the good copy takes the segment's
place. When the store's copy is bad too, the shard is loaded from what else there is: an older manifest and the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from vectorfleet_node.shard.blocks import Segment
from vectorfleet_node.shard.cache import SegmentCache
from vectorfleet_node.shard.port import Rotten
from vectorfleet_node.shard.state import ShardState
from vectorfleet_node.storage.log import Backoff, Sleep
from vectorfleet_node.storage.store import DataLoss, StorageError

_BACKOFF: Final = Backoff(shortest=0.5, longest=60.0)


class Healer:
    """Heals one replica's segments, one at a time.

    state: the replica's, of now. reload: loads the state from the store, without the segments in use.
    """

    def __init__(
        self,
        cache: SegmentCache,
        state: Callable[[], ShardState],
        reload: Callable[[], Awaitable[None]],
        sleep: Sleep,
    ) -> None:
        self._cache = cache
        self._state = state
        self._reload = reload
        self._sleep = sleep
        self._sick: dict[str, str] = {}  # name of a segment's rows file -> what is wrong
        self._woken = asyncio.Event()

    @property
    def message(self) -> str:
        """What is wrong and not healed yet; empty when nothing is."""
        return "; ".join(self._sick.values())

    def require_health(self) -> None:
        """Rotten when a segment in use is known to be."""
        if self._sick:
            raise Rotten(self.message)

    def found(self, file: str, problem: str) -> None:
        """A file of a segment is rotten. On the event loop only."""
        for segment in self._state().layout.segments:
            if any(entry.name == file for entry in segment.entry.files()):
                self._sick.setdefault(segment.entry.rows.name, f"{file} is rotten and is being replaced: {problem}")
                self._woken.set()

    async def run(self) -> None:
        """Heals whatever is reported, for ever."""
        failures = 0
        while True:
            await self._woken.wait()
            self._woken.clear()
            for name in list(self._sick):
                await self._heal(name)
            failures = failures + 1 if self._sick else 0
            if self._sick:
                await self._sleep(_BACKOFF.pause(failures))
                self._woken.set()

    async def _heal(self, name: str) -> None:
        state = self._state()
        segment = _named(state, name)
        try:
            if segment is not None:
                good = await self._cache.open(segment.entry)
                if not state.replace(good) and _named(self._state(), name) is not None:
                    return  # reindexed meanwhile: it may still be read from the bad file
            self._sick.pop(name, None)
        except DataLoss as error:
            self._sick[name] = str(error)
            await self._do_without(name)
        except StorageError as error:
            self._sick[name] = f"{name} is rotten and cannot be replaced yet: {error}"

    async def _do_without(self, name: str) -> None:
        try:
            await self._reload()
        except StorageError:
            return  # what is wrong is told already; somebody may mend the store
        if _named(self._state(), name) is None:
            self._sick.pop(name, None)


def _named(state: ShardState, name: str) -> Segment | None:
    return next((segment for segment in state.layout.segments if segment.entry.rows.name == name), None)
