"""One frozen picture of a fleet: its resource, its children, its pods and what the nodes say of themselves.

`adapters.observe` makes it afresh before each plan, `planner` reads it and nothing else. The trap: a report is only as
true as it is fresh, so a node that does not answer has none here, whatever it said before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from vectorfleet_operator.model import names
from vectorfleet_operator.model.spec import VectorCollectionSpec

Manifest = Mapping[str, Any]


class StorageState(StrEnum):
    """What stands between a node and the data; the value is the reason that conditions show."""

    STARTING = "Starting"
    OK = "Serving"
    UNREACHABLE = "StorageUnreachable"
    CREDENTIALS_MISSING = "CredentialsMissing"
    CREDENTIALS_REFUSED = "CredentialsRefused"
    NOT_FOUND = "StorageNotFound"
    UNSAFE = "StorageUnsafe"
    CLAIMED = "ClaimedByOther"
    SCHEMA_MISMATCH = "SchemaMismatch"
    DELETED = "Deleted"
    DATA_LOSS = "DataLoss"


@dataclass(frozen=True, order=True)
class IndexReport:
    """A kind of index that some of a shard's segments have for a named vector, and why."""

    vector: str
    kind: str
    reason: str


@dataclass(frozen=True)
class ShardReport:
    """One shard as the node that holds it sees it."""

    id: int
    ready: bool = False
    leader: bool = False
    position: int = 0
    rows: int = 0
    index_details: tuple[IndexReport, ...] = ()


@dataclass(frozen=True)
class NodeReport:
    """What a node answered to Peer.Report about this collection."""

    node: str
    topology: tuple[int, int] = (0, 0)  # (fence, version) in use
    storage: StorageState = StorageState.STARTING
    message: str = ""
    uid: str = ""
    claim_holder: str = ""
    shards: tuple[ShardReport, ...] = ()

    def ready_shards(self) -> frozenset[int]:
        """Ids of the shards that this node serves."""
        return frozenset(shard.id for shard in self.shards if shard.ready)


@dataclass(frozen=True)
class Pod:
    """A pod of the fleet. `host` is empty until it is scheduled; `zone` also where hosts have no zone label."""

    name: str
    uid: str
    created: datetime
    ordinal: int = 0
    address: str = ""
    host: str = ""
    zone: str = ""
    ready: bool = False
    terminating: bool = False
    revision: str = ""
    credentials: str = ""  # resource version of the Secret that the kubelet was last asked to mount
    trouble: str = ""  # why it does not start, when Kubernetes says so


@dataclass(frozen=True)
class Credentials:
    """The user's Secret for the object store."""

    name: str
    version: str | None  # its resource version; None when there is no such Secret


@dataclass(frozen=True)
class Environment:
    """What is the same for every collection."""

    cluster: str  # uid of the kube-system namespace
    fence: int  # leaseTransitions of this operator's lease
    node_image: str  # for specs without an image
    operator_namespace: str
    operator_version: str


@dataclass(frozen=True)
class Observed:
    """Everything that a plan is made from."""

    resource: Manifest
    spec: VectorCollectionSpec | None  # None when the object cannot be understood
    problems: tuple[str, ...]  # then, one sentence per field
    environment: Environment
    children: Mapping[tuple[str, str], Manifest] = field(default_factory=dict)  # by (kind, name)
    pods: tuple[Pod, ...] = ()
    reports: Mapping[str, NodeReport] = field(default_factory=dict)  # by node
    credentials: Credentials | None = None  # None when the spec names no Secret
    namespace_terminating: bool = False

    @property
    def name(self) -> str:
        return str(self.resource["metadata"]["name"])

    @property
    def namespace(self) -> str:
        return str(self.resource["metadata"]["namespace"])

    @property
    def uid(self) -> str:
        """Uid of the resource; not of the data."""
        return str(self.resource["metadata"]["uid"])

    @property
    def generation(self) -> int:
        return int(self.resource["metadata"].get("generation", 0))

    @property
    def status(self) -> Manifest:
        """The status as it is now."""
        return dict(self.resource.get("status") or {})

    @property
    def deleted_at(self) -> str | None:
        """When deletion was asked for."""
        asked: str | None = self.resource["metadata"].get("deletionTimestamp")
        return asked

    @property
    def finalizers(self) -> tuple[str, ...]:
        return tuple(self.resource["metadata"].get("finalizers") or ())

    @property
    def data_uid(self) -> str:
        """Id of the data once this collection served it: as a node reports it or the status remembers it, else ""."""
        serving = (report for report in self.reports.values() if report.storage is StorageState.OK)
        reported = next((report.uid for report in serving if report.uid), "")
        return reported or str((self.status.get("storage") or {}).get("uid", ""))

    @property
    def live_replicas(self) -> int:
        """`spec.replicas` of the StatefulSet, 0 where there is none."""
        found = self.child("StatefulSet", names.stateful_set(self.name))
        return int(found["spec"].get("replicas", 1)) if found else 0

    def child(self, kind: str, name: str) -> Manifest | None:
        """A child as the API server has it."""
        return self.children.get((kind, name))

    def pod(self, name: str) -> Pod | None:
        """The pod `name`."""
        return next((pod for pod in self.pods if pod.name == name), None)
