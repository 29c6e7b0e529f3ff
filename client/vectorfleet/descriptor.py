"""The objects at a collection's URL that make the URL its identity: `collection.json` and `claims/<n>`.

`collection.json` is written once, create-if-absent. Claims are numbered objects, each create-if-absent; the highest
number counts. The holder adds one every CLAIM_RENEW_SECONDS; who wants the data watches, by its own monotonic clock,
until none was added for CLAIM_EXPIRY_SECONDS, or until the holder released it.
"""

from __future__ import annotations

from vectorfleet.schema import CollectionSchema, Frozen
from vectorfleet.topology import Claim

COLLECTION_OBJECT = "collection.json"
TOMBSTONE_OBJECT = "deleted"
CLAIMS_PREFIX = "claims/"
CLAIM_RENEW_SECONDS = 10.0
CLAIM_EXPIRY_SECONDS = 45.0


class CollectionDescriptor(Frozen):
    """Contents of `collection.json`."""

    format: int = 1
    uid: str
    collection: CollectionSchema
    key_hash: str  # how keys are spread over shards; "blake2b-64" is the only one
    origin: str = ""  # uid of the collection this one was restored or cloned from


class ClaimRecord(Frozen):
    """Contents of `claims/<n>`: who may serve the data, and the schema as last extended."""

    format: int = 1
    holder: Claim
    released: bool = False
    collection: CollectionSchema
    stamp: float  # seconds since the epoch by the writer's clock; for humans only
