"""How much of its clients' writes a node holds at a time, by its memory, and how long one of them may wait for room.

Both services take from the one budget before they do anything with a write, so that a slow store cannot fill the
process with requests; the shards have limits of their own (`shard.admission`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from vectorfleet_node.shard.port import Overloaded
from vectorfleet_node.shard.settings import ShardSettings

_WRITES: Final = (16, 256 << 20)  # one part in so many of the memory, at most so much
_GROWING: Final = (4, 1 << 30)
_CALL_BYTES: Final = 16 << 10  # of a call beside its message
_RETRY_SECONDS: Final = 1.0
_PATIENT_PART: Final = 0.8  # of a deadline: the rest is for sending what was let in, and for the answer's way


def patience_of(remaining: float) -> float:
    """How long a write may wait for room, given the seconds until its caller's deadline."""
    return max(0.0, remaining) * _PATIENT_PART


@dataclass(frozen=True)
class Limits:
    """What writes may take on one node, in bytes.

    writes: those in progress. growing: rows not flushed yet, in memory, of all shards here together. reserve: of a
    volume, kept free for what is not a client's write.
    """

    writes: int = _WRITES[1]
    growing: int = _GROWING[1]
    reserve: int = ShardSettings.reserve_bytes

    @classmethod
    def for_memory(cls, memory: int | None) -> Limits:
        """What suits a process with so much memory, in bytes; None: with plenty."""
        if memory is None:
            return cls()
        writes, growing = (min(memory // part, most) for part, most in (_WRITES, _GROWING))
        return cls(writes, growing)

    def growing_of_shard(self, shards: int) -> int:
        """The part of `growing` for one of `shards` shards."""
        return min(self.growing // max(1, shards), ShardSettings.growing_bytes)


class WriteBudget:
    """Bytes of the writes in progress on this node. refused: told the reason of each refusal, for a metric."""

    def __init__(self, limit: int = Limits.writes, refused: Callable[[str], None] = lambda _: None) -> None:
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
