"""The pods of a fleet: the StatefulSet that serves, and the Job that removes the data in the end.

Both run the node's image with the same mounts, under PodSecurity `restricted`. The trap: a change of anything in the
pod template makes every pod outdated, so nothing may go in there that changes by itself.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from vectorfleet.topology import API_PORT, HTTP_PORT, PEER_PORT
from vectorfleet_operator.model import names
from vectorfleet_operator.model.base import amount
from vectorfleet_operator.model.observed import Observed
from vectorfleet_operator.model.spec import DeletionPolicy, VectorCollectionSpec
from vectorfleet_operator.planner.children.common import child, selector
from vectorfleet_operator.planner.fleet import DATA_PATH

CONTAINER = "node"
CACHE, DATA = "cache", "data"
CACHE_PATH = "/var/cache/vectorfleet"
CACHE_PART = Decimal("0.85")  # of the volume: the rest is for its file system and for files being made
CONFIG_PATH = "/etc/vectorfleet"
USER = 65532
GRACE_SECONDS = 60
PURGE_LABEL = f"{names.GROUP}/purge"
PURGE_ATTEMPTS = 6
PURGE_KEPT_SECONDS = 30  # a failed Job goes after this, and the next one is made


def stateful_set(observed: Observed, spec: VectorCollectionSpec, image: str, replicas: int) -> dict[str, Any]:
    """The nodes. Pods are replaced by the operator only (OnDelete), and all start at once (Parallel)."""
    pod = _pod(observed, spec, image, [])
    pod.update(
        topologySpreadConstraints=[
            _spread(observed, key) for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
        ],
        terminationGracePeriodSeconds=GRACE_SECONDS,
    )
    container = pod["containers"][0]
    container.update(
        ports=[
            {"name": name, "containerPort": port, "protocol": "TCP"}
            for name, port in (("grpc", API_PORT), ("peer", PEER_PORT), ("http", HTTP_PORT))
        ],
        startupProbe={**_probe("/healthz"), "periodSeconds": 2, "failureThreshold": 150},
        livenessProbe={**_probe("/healthz"), "periodSeconds": 10, "failureThreshold": 6},
        readinessProbe={**_probe("/readyz"), "periodSeconds": 2, "failureThreshold": 2},
    )
    content: dict[str, Any] = {
        "replicas": replicas,
        "serviceName": names.peers(observed.name),
        "podManagementPolicy": "Parallel",
        "updateStrategy": {"type": "OnDelete"},
        "selector": {"matchLabels": selector(observed)},
        "template": {"metadata": {"labels": names.labels(observed.name)}, "spec": pod},
    }
    claims = _claims(observed, spec)
    if claims:
        content["volumeClaimTemplates"] = claims
        content["persistentVolumeClaimRetentionPolicy"] = _retention(spec)
    return child(observed, "StatefulSet", names.stateful_set(observed.name), "apps/v1", spec=content)


def purge_job(observed: Observed, spec: VectorCollectionSpec, image: str) -> dict[str, Any]:
    """Runs `purge` once: it marks the data as deleted, then deletes it."""
    pod = _pod(observed, spec, image, ["purge"])
    pod["restartPolicy"] = "Never"
    job = {
        "backoffLimit": PURGE_ATTEMPTS,
        "ttlSecondsAfterFinished": PURGE_KEPT_SECONDS,
        "template": {"metadata": {"labels": {PURGE_LABEL: observed.name}}, "spec": pod},
    }
    return child(observed, "Job", names.purge(observed.name), "batch/v1", spec=job)


def _pod(observed: Observed, spec: VectorCollectionSpec, image: str, args: list[str]) -> dict[str, Any]:
    template = spec.nodes.template
    container: dict[str, Any] = {
        "name": CONTAINER,
        "image": image,
        "env": _environment(spec),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": _mounts(spec),
    }
    resources = template.resources.model_dump(exclude_defaults=True)
    pod: dict[str, Any] = {
        "serviceAccountName": names.stateful_set(observed.name),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {**container, **({"args": args} if args else {}), **({"resources": resources} if resources else {})}
        ],
        "volumes": _volumes(observed, spec, claimed=not args),
    }
    for field in ("node_selector", "tolerations", "affinity"):
        value = template.model_dump(mode="json", by_alias=True, include={field}, exclude_none=True, exclude_unset=True)
        pod.update({key: content for key, content in value.items() if content})
    return pod


def _environment(spec: VectorCollectionSpec) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"name": "VECTORFLEET_NODE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
    ]
    if spec.nodes.cache is not None:
        found.append({"name": "VECTORFLEET_CACHE_BYTES", "value": str(int(amount(spec.nodes.cache.size) * CACHE_PART))})
    return found


def _mounts(spec: VectorCollectionSpec) -> list[dict[str, Any]]:
    mounts: list[dict[str, Any]] = [
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - an emptyDir of the pod
        {"name": "topology", "mountPath": f"{CONFIG_PATH}/topology", "readOnly": True},
        {"name": "peer", "mountPath": f"{CONFIG_PATH}/peer", "readOnly": True},
        {"name": CACHE, "mountPath": CACHE_PATH},
    ]
    if spec.storage.credentials is not None:
        mounts.append({"name": "credentials", "mountPath": f"{CONFIG_PATH}/credentials", "readOnly": True})
    if spec.storage.volume is not None:
        mounts.append({"name": DATA, "mountPath": DATA_PATH})
    return mounts


def _volumes(observed: Observed, spec: VectorCollectionSpec, *, claimed: bool) -> list[dict[str, Any]]:
    """Volumes that are not claimed for each pod; a Job (`claimed` false) has no claims."""
    volumes: list[dict[str, Any]] = [
        {"name": "tmp", "emptyDir": {}},
        {"name": "topology", "configMap": {"name": names.topology(observed.name)}},
        {"name": "peer", "secret": {"secretName": names.peers(observed.name)}},
    ]
    if spec.nodes.cache is None or not claimed:
        volumes.append({"name": CACHE, "emptyDir": {}})
    if spec.storage.credentials is not None:
        # Optional, so that a pod without it starts and says what is missing instead of hanging in ContainerCreating.
        secret = {"secretName": spec.storage.credentials.secret_ref.name, "optional": True}
        volumes.append({"name": "credentials", "secret": secret})
    return volumes


def _claims(observed: Observed, spec: VectorCollectionSpec) -> list[dict[str, Any]]:
    wanted = spec.storage.volume or spec.nodes.cache
    if wanted is None:
        return []
    claim: dict[str, Any] = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": wanted.size}},
    }
    if wanted.storage_class_name:
        claim["storageClassName"] = wanted.storage_class_name
    return [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": DATA if spec.storage.volume else CACHE, "labels": names.labels(observed.name)},
            "spec": claim,
        }
    ]


def _retention(spec: VectorCollectionSpec) -> dict[str, str]:
    """A cache goes with its pod. Data goes only with the resource, and only when the user said so."""
    if spec.storage.volume is None:
        return {"whenDeleted": "Delete", "whenScaled": "Delete"}
    deleted = "Delete" if spec.deletion_policy is DeletionPolicy.DELETE else "Retain"
    return {"whenDeleted": deleted, "whenScaled": "Retain"}


def _spread(observed: Observed, key: str) -> dict[str, Any]:
    return {
        "maxSkew": 1,
        "topologyKey": key,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": selector(observed)},
    }


def _probe(path: str) -> dict[str, Any]:
    return {"httpGet": {"path": path, "port": "http"}, "timeoutSeconds": 2}
