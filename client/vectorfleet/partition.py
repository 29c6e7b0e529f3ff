"""Which shard a key belongs to: part of the stored format, so nodes and clients share this one function.

Nodes split writes by it; the client names the keys of a shard that did not take its part.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

Key = str | int
KEY_HASH: Final = "blake2b-64"  # as `collection.json` records it


def key_bytes(key: Key) -> bytes:
    """The canonical bytes of a key: UTF-8, or eight little-endian bytes."""
    return key.encode() if isinstance(key, str) else key.to_bytes(8, "little", signed=True)


def key_digest(key: Key) -> bytes:
    """The key's 64-bit hash, big-endian."""
    return blake2b(key_bytes(key), digest_size=8).digest()


def shard_of(key: Key, shards: int) -> int:
    """The shard whose hash range holds the key: ranges are equal parts of the 64-bit hash space, in order."""
    return int.from_bytes(key_digest(key), "big") * shards >> 64


def hashes_of(shard: int, shards: int) -> range:
    """The hashes of the keys that `shard_of` gives to the shard."""
    return range(*(-(-(each << 64) // shards) for each in (shard, shard + 1)))
