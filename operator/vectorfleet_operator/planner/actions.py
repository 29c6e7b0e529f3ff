"""What a plan may ask for, as values with reasons. `adapters.act` is the only one that carries them out.

The order of a plan's actions matters: what others rely on comes first, and the first failure ends the pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from vectorfleet.topology import Topology
from vectorfleet_operator.model.observed import Manifest

WORKING = 2.0  # seconds until the next look while something is in progress
STEADY = 10.0


class EventType(StrEnum):
    """Kubernetes' two types of events."""

    NORMAL = "Normal"
    WARNING = "Warning"


@dataclass(frozen=True)
class SetFinalizers:
    """Replaces the resource's finalizers, unless the resource changed since it was observed."""

    finalizers: tuple[str, ...]
    resource_version: str


@dataclass(frozen=True)
class CreatePeerSecret:
    """Makes the fleet's secret from fresh randomness, unless there is one."""

    manifest: Manifest  # without the secret itself


@dataclass(frozen=True)
class Apply:
    """Server-side apply of a child, whole."""

    manifest: Manifest
    reason: str


@dataclass(frozen=True)
class DeletePod:
    """Deletes one pod; `uid` makes sure that it is the one that was looked at."""

    name: str
    uid: str
    reason: str


@dataclass(frozen=True)
class RefreshCredentials:
    """Annotates a pod, so that its kubelet mounts the Secret as it is now instead of within a minute or two."""

    pod: str
    version: str


@dataclass(frozen=True)
class PutTopology:
    """Pushes the topology to nodes, best effort: they also have it mounted."""

    addresses: tuple[str, ...]
    topology: Topology


@dataclass(frozen=True)
class ReleaseClaim:
    """Asks nodes to give the claim back, best effort: a claim also expires."""

    addresses: tuple[str, ...]
    collection: str


@dataclass(frozen=True)
class Emit:
    """An Event about the resource. The same (reason, message, once) makes it once."""

    type: EventType
    reason: str
    message: str
    once: str = ""


@dataclass(frozen=True)
class PatchStatus:
    """Replaces the status."""

    status: dict[str, Any]


Action = (
    SetFinalizers
    | CreatePeerSecret
    | Apply
    | DeletePod
    | RefreshCredentials
    | PutTopology
    | ReleaseClaim
    | Emit
    | PatchStatus
)


@dataclass(frozen=True)
class Plan:
    """What to do now, and when to look again (seconds)."""

    actions: tuple[Action, ...] = ()
    look_again: float = STEADY
