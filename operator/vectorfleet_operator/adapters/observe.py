"""Reads everything that a plan needs, afresh, into one frozen value.

Called by `handlers.reconcile` before each plan. Nothing is taken from a cache but the zones of Kubernetes nodes, which
do not change while a node lives. A resource that cannot be understood is observed too: the planner says so in its
status.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from vectorfleet_operator.adapters.kubernetes import Kubernetes
from vectorfleet_operator.adapters.peers import Peers
from vectorfleet_operator.model import names
from vectorfleet_operator.model.observed import Credentials, Environment, NodeReport, Observed, Pod
from vectorfleet_operator.model.spec import VectorCollectionSpec
from vectorfleet_operator.planner.addresses import peer_address
from vectorfleet_operator.planner.children.config import SECRET_KEY
from vectorfleet_operator.planner.fleet import ordinal

ZONE_LABEL = "topology.kubernetes.io/zone"
REVISION_LABEL = "controller-revision-hash"
CREDENTIALS_ANNOTATION = f"{names.GROUP}/credentials"


@dataclass(frozen=True)
class Sight:
    """An observation, and the fleet's secret, which the planner has no business with."""

    observed: Observed
    secret: str


class Observer:
    """Observes collections of one cluster."""

    def __init__(self, kubernetes: Kubernetes, peers: Peers) -> None:
        self._kubernetes = kubernetes
        self._peers = peers
        self._zones: dict[str, str] = {}

    async def observe(self, namespace: str, name: str, environment: Environment) -> Sight | None:
        """The collection as it is now; None when there is no such resource."""
        resource = await self._kubernetes.get(names.KIND, namespace, name)
        if resource is None:
            return None
        spec, problems = parse(resource.get("spec"))
        children, pods, credentials, terminating = await asyncio.gather(
            self._children(namespace, name),
            self._pods(namespace, name),
            self._credentials(namespace, spec),
            self._is_terminating(resource),
        )
        secret = secret_of(children.get(("Secret", names.peers(name))))
        observed = Observed(
            resource=resource,
            spec=spec,
            problems=problems,
            environment=environment,
            children=children,
            pods=pods,
            credentials=credentials,
            namespace_terminating=terminating,
        )
        reports = await self._reports(pods, secret, name)
        return Sight(replace(observed, reports=reports), secret)

    async def _children(self, namespace: str, name: str) -> dict[tuple[str, str], dict[str, Any]]:
        wanted = [
            ("StatefulSet", names.stateful_set(name)),
            ("Service", names.stateful_set(name)),
            ("Service", names.peers(name)),
            ("ServiceAccount", names.stateful_set(name)),
            ("PodDisruptionBudget", names.stateful_set(name)),
            ("NetworkPolicy", names.stateful_set(name)),
            ("ConfigMap", names.topology(name)),
            ("Secret", names.peers(name)),
            ("Job", names.purge(name)),
        ]
        found = await asyncio.gather(*(self._kubernetes.get(kind, namespace, child) for kind, child in wanted))
        return {key: child for key, child in zip(wanted, found, strict=True) if child is not None}

    async def _pods(self, namespace: str, name: str) -> tuple[Pod, ...]:
        found = await self._kubernetes.list("Pod", namespace, f"{names.COLLECTION_LABEL}={name}")
        ours = [pod for pod in found if re.fullmatch(rf"{re.escape(name)}-\d+", pod["metadata"]["name"])]
        hosts = {host for pod in ours if (host := pod["spec"].get("nodeName"))}
        await asyncio.gather(*(self._learn_zone(host) for host in hosts - set(self._zones)))
        return tuple(sorted((pod_from(pod, self._zones) for pod in ours), key=lambda pod: pod.ordinal))

    async def _learn_zone(self, host: str) -> None:
        node = await self._kubernetes.get("Node", None, host)
        if node is not None:
            self._zones[host] = str(node["metadata"].get("labels", {}).get(ZONE_LABEL, ""))

    async def _credentials(self, namespace: str, spec: VectorCollectionSpec | None) -> Credentials | None:
        if spec is None or spec.storage.credentials is None:
            return None
        name = spec.storage.credentials.secret_ref.name
        secret = await self._kubernetes.get("Secret", namespace, name)
        return Credentials(name, str(secret["metadata"]["resourceVersion"]) if secret else None)

    async def _is_terminating(self, resource: Mapping[str, Any]) -> bool:
        """Whether the namespace goes, which matters only to a resource that goes as well."""
        if not resource["metadata"].get("deletionTimestamp"):
            return False
        namespace = await self._kubernetes.get("Namespace", None, resource["metadata"]["namespace"])
        return namespace is None or bool(namespace["metadata"].get("deletionTimestamp"))

    async def _reports(self, pods: tuple[Pod, ...], secret: str, name: str) -> dict[str, NodeReport]:
        addresses = {pod.name: peer_address(pod.address) for pod in pods if pod.address}
        return await self._peers.reports(addresses, secret, name) if secret else {}


def parse(spec: object) -> tuple[VectorCollectionSpec | None, tuple[str, ...]]:
    """The spec, or what is wrong with it, one sentence per field."""
    try:
        return VectorCollectionSpec.model_validate(spec), ()
    except ValidationError as error:
        problems = []
        for found in error.errors()[:8]:
            field = ".".join(["spec", *map(str, found["loc"])])
            value = "" if isinstance(found["input"], dict | list) or found["input"] is None else f" {found['input']!r}"
            problems.append(f"{field}{value}: {found['msg'].removeprefix('Value error, ')}")
        return None, tuple(problems)


def secret_of(secret: Mapping[str, Any] | None) -> str:
    """The key to send, "" when there is none: the first line of the Secret's content."""
    try:
        content = base64.b64decode((secret or {})["data"][SECRET_KEY]).decode()
    except (KeyError, TypeError, binascii.Error, UnicodeDecodeError):
        return ""
    return next((line.strip() for line in content.splitlines() if line.strip()), "")


def pod_from(pod: Mapping[str, Any], zones: Mapping[str, str]) -> Pod:
    """What matters of a pod."""
    metadata, status = pod["metadata"], pod.get("status", {})
    host = str(pod["spec"].get("nodeName", ""))
    conditions = {found["type"]: found for found in status.get("conditions", ())}
    return Pod(
        name=str(metadata["name"]),
        uid=str(metadata["uid"]),
        created=datetime.fromisoformat(str(metadata["creationTimestamp"]).replace("Z", "+00:00")),
        ordinal=ordinal(str(metadata["name"])),
        address=str(status.get("podIP", "")),
        host=host,
        zone=zones.get(host, ""),
        ready=conditions.get("Ready", {}).get("status") == "True",
        terminating=bool(metadata.get("deletionTimestamp")),
        revision=str(metadata.get("labels", {}).get(REVISION_LABEL, "")),
        credentials=str(metadata.get("annotations", {}).get(CREDENTIALS_ANNOTATION, "")),
        trouble=_trouble(status, conditions),
    )


def _trouble(status: Mapping[str, Any], conditions: Mapping[str, Mapping[str, Any]]) -> str:
    scheduled = conditions.get("PodScheduled", {})
    if scheduled.get("status") == "False":
        return f"{scheduled.get('reason', 'not scheduled')}: {scheduled.get('message', '')}"
    for container in status.get("containerStatuses", ()):
        waiting = container.get("state", {}).get("waiting", {})
        if waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
            return f"{waiting['reason']}: {waiting.get('message', '')}"
    return ""
