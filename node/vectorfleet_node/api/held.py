"""The views that scans hold on this node, so that every page of one shard is read at one log position.

Used by `scans` on the event loop. Each view keeps segment files and growing rows alive, so their number and the time
that nobody asks for one are limited. The trap is a reply that is lost on its way: a scan that has come to its end is
kept for a while, because its last page may be asked for again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from vectorfleet.schema import CollectionSchema
from vectorfleet_node.query.scan import Order
from vectorfleet_node.shard.port import Overloaded
from vectorfleet_node.shard.view import ShardView

HELD_AT_MOST: Final = 64
IDLE_SECONDS: Final = 300.0
_ENDED_SECONDS: Final = 30.0
_SWEEP_SECONDS: Final = 10.0
_RETRY_SECONDS: Final = 5.0


@dataclass(frozen=True)
class HeldScan:
    """A view of one shard and the rows of it that the scan reads. schema: what the view's rows have."""

    collection: str
    shard: int
    schema: CollectionSchema
    view: ShardView
    order: Order


@dataclass
class _Entry:
    scan: HeldScan
    expires: float
    ended: bool = False


class HeldScans:
    """At most `limit` scans that have not ended, by id; each is let go after `idle` seconds without a call."""

    def __init__(
        self,
        new_id: Callable[[], str],
        clock: Callable[[], float],
        limit: int = HELD_AT_MOST,
        idle: float = IDLE_SECONDS,
    ) -> None:
        self._new_id = new_id
        self._clock = clock
        self._limit = limit
        self._idle = idle
        self._entries: dict[str, _Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def require_room(self) -> None:
        """Overloaded when no further scan can be held."""
        self.sweep()
        running = sum(not entry.ended for entry in self._entries.values())
        if running >= self._limit:
            message = (
                f"this node holds {running} scans, of {self._limit} allowed; each ends after {self._idle:g} s idle"
            )
            raise Overloaded(message, _RETRY_SECONDS)

    def hold(self, scan: HeldScan) -> str:
        """Keeps the scan and names it. Overloaded as `require_room`."""
        self.require_room()
        name = self._new_id()
        self._entries[name] = _Entry(scan, self._clock() + self._idle)
        return name

    def find(self, name: str, collection: str, shard: int) -> HeldScan | None:
        """The scan of that shard, for another `idle` seconds from now; None when it is gone."""
        self.sweep()
        entry = self._entries.get(name)
        if entry is None or (entry.scan.collection, entry.scan.shard) != (collection, shard):
            return None
        if not entry.ended:
            entry.expires = self._clock() + self._idle
        return entry.scan

    def ended(self, name: str) -> None:
        """The last page was read; it may be asked for once more, if its reply is lost."""
        entry = self._entries.get(name)
        if entry is not None and not entry.ended:
            entry.ended, entry.expires = True, self._clock() + _ENDED_SECONDS

    def drop(self, name: str) -> None:
        """Lets go of a scan now."""
        self._entries.pop(name, None)

    def forget(self, collection: str) -> None:
        """Lets go of all scans of a collection that is gone."""
        self._entries = {name: entry for name, entry in self._entries.items() if entry.scan.collection != collection}

    def sweep(self) -> None:
        """Lets go of what has expired."""
        now = self._clock()
        self._entries = {name: entry for name, entry in self._entries.items() if entry.expires > now}

    async def run(self) -> None:
        """Sweeps for ever."""
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            self.sweep()
