"""How much of its clients' writes a node holds at a time, and how long one of them may wait for room.

Both services take from the one budget before they do anything with a write, so that a slow store cannot fill the
process with requests; the shards have limits of their own (`shard.admission`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from vectorfleet_node.shard.port import Overloaded

WRITE_BYTES: Final = 256 << 20
_CALL_BYTES: Final = 16 << 10  # of a call beside its message
_RETRY_SECONDS: Final = 1.0
_PATIENT_PART: Final = 0.8  # of a deadline: the rest is for sending what was let in, and for the answer's way


def patience_of(remaining: float) -> float:
    """How long a write may wait for room, given the seconds until its caller's deadline."""
    return max(0.0, remaining) * _PATIENT_PART


class WriteBudget:
    """Bytes of the writes in progress on this node. refused: told the reason of each refusal, for a metric."""

    def __init__(self, limit: int = WRITE_BYTES, refused: Callable[[str], None] = lambda _: None) -> None:
        self.taken = 0
        self._limit = limit
        self._refused = refused

    @contextmanager
    def taking(self, size: int) -> Iterator[None]:
        """Counts a write of `size` bytes until it is answered. Overloaded at once when too many are in progress."""
        size += _CALL_BYTES
        # One larger than the budget passes alone: it could never be written otherwise.
        if self.taken and self.taken + size > self._limit:
            self._refused("node")
            raise Overloaded(
                f"this node is at work on {self.taken} bytes of writes, of {self._limit} allowed; {size} more do not "
                "fit; nothing was sent",
                _RETRY_SECONDS,
            )
        self.taken += size
        try:
            yield
        finally:
            self.taken -= size
