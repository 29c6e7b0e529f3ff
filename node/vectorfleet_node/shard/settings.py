"""What `ShardReplica` takes from outside: its clocks, its observers and its settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


class Clock(Protocol):
    """Where time comes from."""

    def monotonic(self) -> float:
        """Seconds that never go back; only differences mean something."""

    def wall(self) -> float:
        """Seconds since the epoch; for the stamps in records, never for safety."""


def _ignore_seconds(_: float) -> None:
    pass


def _ignore() -> None:
    pass


def _ignore_name(_: str) -> None:
    pass


@dataclass(frozen=True)
class Observer:
    """Told what happens, for metrics.

    appended: seconds from sending a record to knowing that it is in the log.
    index_built, index_loaded: one call for each vector index that was built, or opened from an artefact.
    rotten: the name of each file of this node's cache that was found damaged and set aside.
    """

    appended: Callable[[float], None] = _ignore_seconds
    index_built: Callable[[], None] = _ignore
    index_loaded: Callable[[], None] = _ignore
    rotten: Callable[[str], None] = _ignore_name


@dataclass(frozen=True)
class ShardSettings:
    """Sizes and times of one replica; times in seconds.

    commit_window: shortest time between two sends to the log: 0.005 suits a local folder, 0.05 a remote store.
    batch_bytes: requests are put into one record up to this size; a bigger request is a record of its own.
    queue_bytes: writes waiting for their turn; beyond it they are refused.
    undecided_limit: new writes are refused once a send has been undecided for so long.
    seal_rows, seal_bytes, seal_idle: growing rows are sealed when so many, so large, or when none came for so long.
    publish_records, publish_bytes: a manifest is published when the log since the last is so long, for quick starts.
    poll, poll_idle: pause between two looks for new records, when there were some and when there were none.
    stop_patience: how long `stop` waits for the send under way to be decided.
    """

    commit_window: float = 0.005
    batch_bytes: int = 4 << 20
    queue_bytes: int = 64 << 20
    undecided_limit: float = 2.0
    seal_rows: int = 100_000
    seal_bytes: int = 128 << 20
    seal_idle: float = 2.0
    publish_records: int = 1000
    publish_bytes: int = 64 << 20
    poll: float = 0.1
    poll_idle: float = 1.0
    stop_patience: float = 3.0
