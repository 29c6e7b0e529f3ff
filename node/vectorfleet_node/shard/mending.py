"""A leader's care for the store: what is damaged there is written anew, in new objects, from the good files here.

`replica` runs a `Mender`. It learns of damage from the scrub of the store's copies, and from segments whose index could
not be had and was built here. A replica that does not lead only tells.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from vectorfleet_node.shard.blocks import Segment
from vectorfleet_node.shard.layout import Layout
from vectorfleet_node.shard.port import ShardError
from vectorfleet_node.storage.log import Sleep
from vectorfleet_node.storage.store import StorageError

_PAUSE: Final = 10.0  # seconds between two looks


class Mender:
    """Mends one shard.

    key: of the object that is a file. layout: of now, None before the shard is loaded. leads: whether this node does.
    rewrite: writes the segment with that rows file anew. flush: publishes a manifest.
    """

    def __init__(
        self,
        key: Callable[[str], str],
        layout: Callable[[], Layout | None],
        leads: Callable[[], bool],
        rewrite: Callable[[str], Awaitable[None]],
        flush: Callable[[], Awaitable[None]],
        sleep: Sleep,
    ) -> None:
        self._key = key
        self._layout = layout
        self._leads = leads
        self._rewrite = rewrite
        self._flush = flush
        self._sleep = sleep
        self._damaged: dict[str, str] = {}  # file -> what is wrong with the store's copy

    @property
    def message(self) -> str:
        """What is damaged in the store and not written anew yet; empty when nothing is."""
        layout = self._layout()
        damaged = [file for segment in layout.segments for file in self._damage(segment)] if layout else []
        damaged += self._damaged_requests(layout) if layout else []
        return f"damaged in the store, to be written anew: {', '.join(map(self._key, damaged))}" if damaged else ""

    def found(self, file: str, problem: str) -> None:
        """The store's copy of a file in use is damaged."""
        self._damaged[file] = problem

    async def run(self) -> None:
        """Mends what is found while this node leads, for ever."""
        while True:
            await self._sleep(_PAUSE)
            if self._leads() and self.message:
                await self.mend()

    async def mend(self) -> None:
        """Writes everything that is known to be damaged anew, as far as that can be done now."""
        layout = self._layout()
        assert layout is not None, "who leads has a state"
        try:
            for name in [segment.entry.rows.name for segment in layout.segments if self._damage(segment)]:
                await self._rewrite(name)
            if self._damaged_requests(layout):
                layout.requests = ()  # so that the next manifest names a new file with all of them
                await self._flush()
        except (StorageError, ShardError):
            return  # another leads now, or it is tried again
        self._damaged.clear()

    def _damage(self, segment: Segment) -> Iterable[str]:
        names = [file.name for file in segment.entry.files()]
        return [name for name in names if name in self._damaged or name in segment.rebuilt]

    def _damaged_requests(self, layout: Layout) -> list[str]:
        return [entry.file.name for entry in layout.requests if entry.file.name in self._damaged]
