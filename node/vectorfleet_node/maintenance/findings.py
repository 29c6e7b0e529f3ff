"""What a check can find, as values: a fixed list of kinds with what each means and what to do. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Any, Final

from vectorfleet_node.maintenance.facts import ShardFacts

_OFFSET: Final = re.compile(r"\boffset (\d+)")


class Severity(StrEnum):
    """damage: data is lost or will be. warning: something to know. garbage: takes up room and nothing else."""

    DAMAGE = "damage"
    WARNING = "warning"
    GARBAGE = "garbage"


@dataclass(frozen=True)
class _Told:
    severity: Severity
    meaning: str
    remedy: str


_REPAIR: Final = "run fsck --repair; it says what it can rebuild without loss"
_COLLECTED_LATER: Final = "nothing: the leader collects it, or already was about to"


class Kind(Enum):
    """Kinds of findings; the value's texts are for humans."""

    COLLECTION = _Told(
        Severity.DAMAGE,
        "no node can open the collection without it",
        "put back the object from a copy; the shards' own objects are not affected",
    )
    CLAIM = _Told(
        Severity.DAMAGE,
        "no fleet can learn who holds the data, so none will serve it",
        "delete the damaged claim: nodes write a new one",
    )
    DELETED = _Told(
        Severity.WARNING,
        "the collection was deleted on purpose; what is left here is not used by anybody",
        "delete the rest, or delete the object `deleted` if that was a mistake",
    )
    RECORD_DAMAGED = _Told(Severity.DAMAGE, "replicas that need this record stop before it", _REPAIR)
    RECORD_MISSING = _Told(
        Severity.DAMAGE, "nothing allowed this slot to be deleted: replicas that need it stop before it", _REPAIR
    )
    RECORD_ORDER = _Told(
        Severity.DAMAGE, "the record is whole and does not belong here: replicas that need it stop before it", _REPAIR
    )
    NEWER = _Told(
        Severity.WARNING,
        "a newer version wrote this; this version cannot check it or what follows from it",
        "run the fsck of that version",
    )
    FENCE_MISSING = _Told(
        Severity.WARNING,
        "fences are never deleted; a leader that was paused since that epoch could take the free slot for the log's "
        "end",
        "make sure that no node of that time still runs; nothing else is affected",
    )
    MARKER_EARLY = _Told(
        Severity.DAMAGE,
        "the marker allows slots to be missing that the log still needs",
        _REPAIR,
    )
    PIN_LOST = _Told(
        Severity.DAMAGE,
        "the pinned position (a backup or clone may be reading it) cannot be read any more",
        "take the backup again; fsck --repair --accept-loss ends the pin",
    )
    MANIFEST_MISSING = _Told(
        Severity.DAMAGE, "the log says that this manifest counts: loading falls back to an older one", _REPAIR
    )
    MANIFEST_DAMAGED = _Told(
        Severity.DAMAGE, "loading falls back to an older manifest, as far as the log reaches back", _REPAIR
    )
    MANIFEST_WRONG = _Told(
        Severity.DAMAGE,
        "its checksums are right and it contradicts the log: whoever wrote it lost or doubled something",
        _REPAIR,
    )
    FILE_MISSING = _Told(Severity.DAMAGE, "manifests name this file, and without it they cannot be loaded", _REPAIR)
    FILE_DAMAGED = _Told(Severity.DAMAGE, "the manifests that name this file cannot be loaded", _REPAIR)
    FILE_WRONG = _Told(Severity.DAMAGE, "its checksums are right and its contents contradict the rest", _REPAIR)
    SLOT_LEFT = _Told(Severity.GARBAGE, "below the boundary, unreadable and needed by nothing", _COLLECTED_LATER)
    MANIFEST_LEFT = _Told(
        Severity.GARBAGE, "no record of the log says that it counts, or the log has moved on", _COLLECTED_LATER
    )
    FILE_LEFT = _Told(Severity.GARBAGE, "no manifest that counts names it", _COLLECTED_LATER)
    UNKNOWN = _Told(Severity.GARBAGE, "not an object of this collection", "delete it if you know that it is yours")
    QUARANTINED = _Told(
        Severity.GARBAGE, "a copy of what an earlier repair replaced", "look at it if you like, then delete it"
    )

    @property
    def severity(self) -> Severity:
        """How bad."""
        return self.value.severity

    @property
    def damage(self) -> bool:
        """Whether data is lost or will be."""
        return self.severity is Severity.DAMAGE

    @property
    def label(self) -> str:
        """The kind's name for programs, as `record-damaged`."""
        return self.name.lower().replace("_", "-")


@dataclass(frozen=True)
class Finding:
    """One thing that was found. key: of the object. position: log position it is about. size: bytes, if known."""

    kind: Kind
    key: str
    problem: str
    shard: int | None = None
    position: int | None = None
    size: int | None = None

    @property
    def offset(self) -> int | None:
        """Where in the object, when the problem says so."""
        found = _OFFSET.search(self.problem)
        return int(found[1]) if found else None

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        told = self.kind.value
        return {
            "severity": self.kind.severity.value,
            "kind": self.kind.label,
            "key": self.key,
            "offset": self.offset,
            "shard": self.shard,
            "position": self.position,
            "bytes": self.size,
            "problem": self.problem,
            "meaning": told.meaning,
            "remedy": told.remedy,
        }


@dataclass
class ShardReport:
    """What was checked of one shard and what was found. segments, files: of manifests that count; garbage: bytes."""

    shard: int
    tail: int = 0
    records: int = 0
    epoch: int = 0
    boundary: int = 0
    manifests: int = 0
    segments: int = 0
    files: int = 0
    bytes: int = 0
    rows: int | None = None
    facts: ShardFacts = field(default_factory=ShardFacts)
    findings: list[Finding] = field(default_factory=list)

    def add(self, kind: Kind, key: str, problem: str, *, position: int | None = None, size: int | None = None) -> None:
        """Notes a finding of this shard."""
        self.findings.append(Finding(kind, key, problem, self.shard, position, size))


@dataclass
class Report:
    """A whole check."""

    url: str
    uid: str = ""
    shards: list[ShardReport] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)  # of the collection's own objects

    @property
    def all_findings(self) -> list[Finding]:
        """The collection's, then each shard's."""
        return self.findings + [finding for shard in self.shards for finding in shard.findings]

    def of(self, severity: Severity) -> list[Finding]:
        """Those of one severity."""
        return [finding for finding in self.all_findings if finding.kind.severity is severity]

    @property
    def clean(self) -> bool:
        """Whether there is no damage."""
        return not self.of(Severity.DAMAGE)

    @property
    def complete(self) -> bool:
        """Whether everything could be checked: nothing was written by a newer version."""
        return all(finding.kind is not Kind.NEWER for finding in self.all_findings)
