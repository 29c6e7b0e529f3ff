"""How often each rare thing happened in a run: a fault that never fires proves nothing.

Whoever makes a thing happen, or sees it, counts it under one of the names below; `table` prints them all.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

# Steps at which a node can be ambushed: requests by what they do, and work in threads.
STEPS: Final = (
    *("batch", "commit", "fence", "publish", "pin", "manifest", "upload", "download", "list", "marker", "delete"),
    *("seal", "merge", "reindex", "import", "open"),
)

ENOUGH: Final = 50  # times in a run of the CI's length

RARE: Final = (
    # the network and the store
    "lost request",
    "lost reply",
    "late request",
    "repeated request",
    "503",
    "409",
    "store full",
    "lagging list",
    "outage",
    "bit flip in a download",
    "short read of a download",
    # the log
    *(f"append: {fate}" for fate in ("lost request", "lost reply", "late request", "repeated request", "409")),
    "zombie append that found its slot taken",
    "fence that found its slot taken",
    "late create of a record that was collected",
    "fence into a collected slot",
    "take-over",
    "take-over that failed",
    "write told not applied",
    "write in doubt",
    "write that a retry found in the log",
    "import",
    "import in doubt",
    "import told not applied",
    "import that a retry found in the log",
    "file of no record collected",
    "write sent twice at once",
    "call cancelled by its deadline",
    "too old",
    "refused: memory",
    "refused: queue",
    "refused: store",
    "format raised",
    # nodes
    "crash",
    "stop",
    "pause",
    "clock jump",
    "rot in a cache",
    "rotten file set aside",
    "reload of a node that fell behind",
    "session beyond the tail refused",
    # flush, compaction, collection, pins
    "flush",
    "merge",
    "crash during a merge",
    "reindex",
    "index build that failed",
    "manifest that was never published",
    "slot collected",
    "manifest collected",
    "segment file collected",
    "small marker",
    "large marker",
    "pin",
    "pinned position read",
    # ambushes
    *(f"crash before {step}" for step in STEPS),
    *(f"pause before {step}" for step in STEPS),
    # a node on a volume
    "power cut",
    "power cut inside an operation",
    "unsynced record lost",
    "failed fsync",
    "full disk",
)


def table(events: Counter[str]) -> str:
    """All of RARE, how often each happened, those that happened too seldom marked."""
    width = max(map(len, RARE))
    return "\n".join(
        f"{name:<{width}}  {events[name]:>8}{'' if events[name] >= ENOUGH else '   too seldom'}" for name in RARE
    )


def too_seldom(events: Counter[str]) -> list[str]:
    """Which of RARE did not happen often enough."""
    return [name for name in RARE if events[name] < ENOUGH]
