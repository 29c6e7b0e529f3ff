"""The request table: which request ids the log holds, so that a retry is applied once. Part of the folded state.

It remembers the last 2^18 ids; `low` is the newest log position among the forgotten. A request that may have been sent
before `low` and is not in the table might be in the log or not: it is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from vectorfleet_node.storage.manifest import RequestsEntry

_MERGE_RATIO: Final = 2
CAPACITY: Final = 1 << 18


class RequestTable:
    """Request ids and the log positions of their records, oldest first. A pure function of the log: no clock."""

    def __init__(self, requests: list[tuple[str, int]] | None = None, low: int = 0) -> None:
        self._positions: dict[str, int] = {}
        self.low = low
        for request_id, position in requests or []:
            self.add(request_id, position)

    def __len__(self) -> int:
        return len(self._positions)

    def position(self, request_id: str) -> int | None:
        """Where the request landed, or None when the table does not have it."""
        return self._positions.get(request_id)

    def add(self, request_id: str, position: int) -> None:
        """Remembers a request of the newest record; forgets the oldest beyond the capacity."""
        self._positions[request_id] = position
        while len(self._positions) > CAPACITY:
            oldest = next(iter(self._positions))
            self.low = max(self.low, self._positions.pop(oldest))

    def after(self, position: int) -> list[tuple[str, int]]:
        """The requests of later records than `position`, oldest first."""
        newer = []
        for request_id, landed in reversed(self._positions.items()):
            if landed <= position:
                break
            newer.append((request_id, landed))
        return newer[::-1]

    def unsaved(self, files: Sequence[RequestsEntry]) -> tuple[tuple[RequestsEntry, ...], list[tuple[str, int]]]:
        """Which of the files to keep, and the requests to write into a new one: those of no kept file.

        Files about as small as the new one are replaced by it, so that their number stays logarithmic.
        """
        kept = list(files)
        new = self.after(kept[-1].through if kept else 0)
        while kept and new and kept[-1].count <= _MERGE_RATIO * len(new):
            kept.pop()
            new = self.after(kept[-1].through if kept else 0)
        while kept and sum(file.count for file in kept[1:]) + len(new) >= CAPACITY:
            kept.pop(0)
        return tuple(kept), new
