"""The oracle of the simulation, fed by real processes: it reads the log's files as they appear, and hears the workers.

The objects lie in a folder of this machine in any case: a directory's store, and an S3 server's data, are files.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.durability.operations import SHARD, UID, operation, request_id
from tests.durability.worker import Turn
from tests.sim.bucket import Witness
from tests.sim.ledger import Ledger, Row, Write
from tests.sim.oracle import Oracle
from tests.sim.violation import Violation
from vectorfleet_node.storage import paths
from vectorfleet_node.storage.record import Publish


@dataclass
class FolderBucket:
    """What the oracle asks of a store, of one that is a folder."""

    folder: Path
    witness: Witness | None = None

    def get(self, key: str) -> bytes | None:
        """The object, or None."""
        try:
            return (self.folder / key).read_bytes()
        except FileNotFoundError:
            return None

    def keys(self, prefix: str) -> list[str]:
        """Keys below a prefix."""
        found = (path for path in (self.folder / prefix).parent.rglob("*") if path.is_file())
        keys = (path.relative_to(self.folder).as_posix() for path in found)
        return sorted(key for key in keys if key.startswith(prefix))


class _Sent(dict[str, Write]):
    """A record can be read from the log before the word that it was sent is heard: writes follow from their names."""

    def __init__(self, seed: int, padding: int) -> None:
        super().__init__()
        self._seed = seed
        self._padding = padding

    def __missing__(self, told: str) -> Write:
        lane, _, number = told.partition(":")
        return self.setdefault(told, operation(self._seed, int(lane), int(number), self._padding))


@dataclass
class Truth:
    """The ledger of one shard, and where each lane is.

    unknown: writes of lanes whose fate is not known: number and floor. counts: of what was heard and done.
    """

    folder: Path
    seed: int
    padding: int = 300
    unknown: dict[int, Turn] = field(default_factory=dict)
    last: dict[int, int] = field(default_factory=dict)
    acks: list[tuple[int, int]] = field(default_factory=list)  # lane, position
    counts: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        ledger = Ledger(UID, SHARD, lambda _: None, sent=_Sent(self.seed, self.padding))  # nothing here imports
        self.bucket = FolderBucket(self.folder)
        self.oracle = Oracle(self.bucket, ledger, self.events)

    @property
    def ledger(self) -> Ledger:
        """The fold."""
        return self.oracle.ledger

    def turns(self, lanes: Iterable[int]) -> list[Turn]:
        """Where lanes go on, the writes of unknown fate first of all."""
        return [self.unknown.get(lane) or Turn(lane, self.last.get(lane, 0) + 1) for lane in lanes]

    def read_log(self) -> int:
        """Takes in what has landed; the position of the last record."""
        while (body := self.bucket.get(paths.log_slot(SHARD, self.ledger.tail + 1))) is not None:
            self.oracle.created(paths.log_slot(SHARD, self.ledger.tail + 1), body)
        return self.ledger.tail

    def tally(self) -> Counter[str]:
        """All counts, with those that the log and the store tell."""
        tail = self.read_log()
        slots = len(self.bucket.keys(paths.log_prefix(SHARD)))
        found = Counter({"records": tail, "records collected": tail - slots})
        found["manifests published"] = sum(isinstance(record.body, Publish) for record in self.ledger.records)
        return self.counts + found

    def garbage(self) -> list[str]:
        """Objects that nothing needs any more."""
        self.read_log()
        return self.oracle.garbage()

    def hear(self, kind: str, *told: Any) -> None:
        """Takes in what a worker tells. Violation when it cannot be true."""
        self.counts[kind] += 1
        match kind:
            case "sent":
                lane, number, floor = told
                self.unknown.setdefault(lane, Turn(lane, number, floor))
                self.last[lane] = number
            case "acked":
                lane, number, position = told
                self.read_log()
                self.oracle.ack(request_id(lane, number), position, time.monotonic())
                self.acks.append((lane, position))
                self.unknown.pop(lane, None)
            case "refused" | "given up":
                lane, number = told
                self.read_log()
                self.oracle.refused(request_id(lane, number))
                self.unknown.pop(lane, None)
            case "shown":
                self._compare(*told)
            case "failed":
                raise Violation(f"a client met an error that is none: {told[0]}")

    def _compare(self, at_least: int, position: int, rows: dict[str, Row], row_hash: str) -> None:
        tail = self.read_log()
        if not at_least <= position <= tail:
            raise Violation(
                f"position {position} was shown; {at_least} was acknowledged before, the log ends at {tail}"
            )
        expected = {key: row for key, (_, row) in self.ledger.states[position].items()}
        wrong = {key for key in expected | rows if expected.get(key) != rows.get(key)}
        if wrong:
            some = "; ".join(f"{key} is {rows.get(key)}, not {expected.get(key)}" for key in sorted(wrong)[:3])
            raise Violation(f"{len(wrong)} rows at position {position} are wrong: {some}")
        if position == tail and row_hash != self.oracle.row_hash():
            raise Violation(f"the row hash at position {position} is not that of the rows")
