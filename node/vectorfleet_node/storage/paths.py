"""Names of the objects below a collection's URL. Everything that reads or writes one takes its name from here."""

from __future__ import annotations

from vectorfleet.descriptor import CLAIMS_PREFIX

SHARDS_PREFIX = "shards/"
_DIGITS = 20  # of 2^64: names of numbered objects sort as their numbers do


def numbered(prefix: str, number: int) -> str:
    """A name whose order among its siblings is the order of the numbers."""
    return f"{prefix}{number:0{_DIGITS}d}"


def number_of(key: str) -> int | None:
    """The number a numbered object's key ends with; None when it is not such a key."""
    name = key.rsplit("/", 1)[-1]
    return int(name) if len(name) == _DIGITS and name.isascii() and name.isdigit() else None


def shard_prefix(shard: int) -> str:
    """Prefix of everything that belongs to one shard."""
    return f"{SHARDS_PREFIX}{shard}/"


def log_prefix(shard: int) -> str:
    """Prefix of a shard's log slots."""
    return f"{shard_prefix(shard)}log/"


def log_slot(shard: int, position: int) -> str:
    """The object that is record `position` of a shard's log."""
    return numbered(log_prefix(shard), position)


def manifests_prefix(shard: int) -> str:
    """Prefix of a shard's manifests."""
    return f"{shard_prefix(shard)}manifests/"


def manifest(shard: int, position: int) -> str:
    """The manifest of a shard's state at a log position."""
    return numbered(manifests_prefix(shard), position)


def segments_prefix(shard: int) -> str:
    """Prefix of a shard's segment files."""
    return f"{shard_prefix(shard)}segments/"


def segment(shard: int, name: str) -> str:
    """A file of a segment, `name` being `<epoch>-<random>-<hash>.<kind>`."""
    return f"{segments_prefix(shard)}{name}"


def boundaries_prefix(shard: int, level: int) -> str:
    """Prefix of a shard's markers of one level."""
    return f"{shard_prefix(shard)}boundary/{level}/"


def boundary(shard: int, level: int, block: int) -> str:
    """The marker that slots of a block of 64 (level 1) or 16384 (level 2) may have been collected."""
    return f"{boundaries_prefix(shard, level)}{block}"


def claim(number: int) -> str:
    """The claim with a number."""
    return numbered(CLAIMS_PREFIX, number)
