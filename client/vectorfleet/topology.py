"""Which node holds which shard: written by the operator, read by every node.

It reaches a node twice: as `topology.json` in a mounted ConfigMap when it starts, and pushed by `Peer.PutTopology`
afterwards. (fence, version) orders topologies; a node never goes back to a lower one.
"""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from vectorfleet.schema import CollectionSchema, Frozen

API_PORT = 7300
PEER_PORT = 7301
HTTP_PORT = 7302


class ConsistencyLevel(StrEnum):
    """What a read without a level of its own gets."""

    STRONG = "Strong"
    SESSION = "Session"
    BOUNDED = "Bounded"
    EVENTUAL = "Eventual"


class Claim(Frozen):
    """The one VectorCollection that may serve the data at a URL."""

    cluster: str  # uid of the cluster's kube-system namespace; "local" outside Kubernetes
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name} in cluster {self.cluster}"


class StorageLocation(Frozen):
    """Where the data of a collection lives. Credentials are mounted beside the topology, never in it."""

    url: str  # s3://bucket/prefix, gs://…, az://…, file:///absolute/path or memory:///name (tests)
    endpoint: str = ""
    region: str = ""


class ShardPlacement(Frozen):
    """The nodes that hold one shard, preferred leader first."""

    id: int = Field(ge=0)
    replicas: tuple[str, ...]


class NodeAddress(Frozen):
    """How the others reach a node."""

    name: str
    peer: str  # host:port of the Peer service
    zone: str = ""


class CollectionTopology(Frozen):
    """One collection as its nodes need to see it."""

    name: str
    uid: str = ""  # of collection.json, once known: empty lets a node create the collection, else it must be there
    claim: Claim
    storage: StorageLocation
    collection: CollectionSchema
    shards: tuple[ShardPlacement, ...]
    consistency: ConsistencyLevel = ConsistencyLevel.SESSION
    max_staleness_seconds: float = 1.0

    def shards_on(self, node: str) -> tuple[int, ...]:
        """Ids of the shards placed on `node`."""
        return tuple(shard.id for shard in self.shards if node in shard.replicas)


class Topology(Frozen):
    """All that a fleet's nodes need to know of each other."""

    fence: int = Field(ge=0, default=0)  # leaseTransitions of the operator that wrote it
    version: int = Field(ge=0, default=0)  # grows with each change
    nodes: tuple[NodeAddress, ...] = ()
    collections: tuple[CollectionTopology, ...] = ()

    @property
    def order(self) -> tuple[int, int]:
        """What decides which of two topologies is newer."""
        return (self.fence, self.version)
