"""Carries out the actions of a plan, in their order, and stops at the first that fails.

Called by `handlers.reconcile`. Before each action the lease is checked: an operator that lost it must not act any more.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import structlog

from vectorfleet_operator.adapters.kubernetes import CONFLICT, NOT_FOUND, ApiError, Kubernetes
from vectorfleet_operator.adapters.observe import CREDENTIALS_ANNOTATION, Sight
from vectorfleet_operator.adapters.peers import Peers
from vectorfleet_operator.model import names
from vectorfleet_operator.model.observed import Observed
from vectorfleet_operator.planner.actions import (
    Action,
    Apply,
    CreatePeerSecret,
    DeletePod,
    Emit,
    PatchStatus,
    PutTopology,
    RefreshCredentials,
    ReleaseClaim,
    SetFinalizers,
)
from vectorfleet_operator.planner.children.config import SECRET_KEY

MAX_NOTE = 1024
log = structlog.get_logger()


class Actor:
    """Acts in one cluster for as long as `may_act` does not raise."""

    def __init__(self, kubernetes: Kubernetes, peers: Peers, instance: str, may_act: Callable[[], None]) -> None:
        self._kubernetes = kubernetes
        self._peers = peers
        self._instance = instance
        self._may_act = may_act

    async def act(self, sight: Sight, actions: tuple[Action, ...]) -> None:
        """Does `actions`. ApiError names what the API server refused."""
        for action in actions:
            self._may_act()
            await self._one(sight, action)

    async def _one(self, sight: Sight, action: Action) -> None:
        observed = sight.observed
        match action:
            case Apply(manifest, reason):
                await self._apply(observed, manifest, reason)
            case CreatePeerSecret(manifest):
                await self._create_secret(manifest)
            case SetFinalizers(finalizers, version):
                body = {"metadata": {"finalizers": list(finalizers), "resourceVersion": version}}
                await self._kubernetes.merge_patch(names.KIND, observed.namespace, observed.name, body)
            case DeletePod(name, uid, reason):
                log.info("delete pod", namespace=observed.namespace, pod=name, reason=reason)
                await self._kubernetes.delete("Pod", observed.namespace, name, uid)
            case RefreshCredentials(pod, version):
                await self._annotate(observed, pod, version)
            case PutTopology(addresses, topology):
                await self._peers.put_topology(addresses, sight.secret, topology)
            case ReleaseClaim(addresses, collection):
                released = await self._peers.release_claim(addresses, sight.secret, collection)
                log.info("release claim", namespace=observed.namespace, collection=collection, released=released)
            case Emit():
                await self._emit(observed, action)
            case PatchStatus(status):
                await self._patch_status(observed, status)

    async def _apply(self, observed: Observed, manifest: Any, reason: str) -> None:
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        log.info("apply", namespace=observed.namespace, kind=kind, name=name, reason=reason)
        try:
            await self._kubernetes.apply(manifest)
        except ApiError as error:
            raise ApiError(error.code, f"{kind} {name}: {error}") from error

    async def _create_secret(self, manifest: Any) -> None:
        content = {**manifest, "stringData": {SECRET_KEY: secrets.token_urlsafe(32)}}
        try:
            await self._kubernetes.create(content)
        except ApiError as error:
            if error.code != CONFLICT:
                raise ApiError(error.code, f"Secret {manifest['metadata']['name']}: {error}") from error

    async def _annotate(self, observed: Observed, pod: str, version: str) -> None:
        body = {"metadata": {"annotations": {CREDENTIALS_ANNOTATION: version}}}
        try:
            await self._kubernetes.merge_patch("Pod", observed.namespace, pod, body)
        except ApiError as error:
            if error.code != NOT_FOUND:
                raise

    async def _patch_status(self, observed: Observed, status: dict[str, Any]) -> None:
        manifest = {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "metadata": {"name": observed.name, "namespace": observed.namespace, "uid": observed.uid},
            "status": status,
        }
        await self._kubernetes.apply(manifest, subresource="status")

    async def _emit(self, observed: Observed, event: Emit) -> None:
        """Best effort: an event that cannot be told must not keep the rest from being done."""
        try:
            await self._kubernetes.create(event_manifest(observed, event, self._instance, datetime.now(UTC)))
        except ApiError as error:
            if error.code != CONFLICT:
                log.warning("event was not recorded", reason=event.reason, error=str(error))


def event_manifest(observed: Observed, event: Emit, instance: str, now: datetime) -> dict[str, Any]:
    """The Event, named after its content, so that telling it twice makes one."""
    content = "\n".join((observed.uid, event.type, event.reason, event.message, event.once))
    digest = hashlib.sha256(content.encode()).hexdigest()[:16]
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": f"{observed.name}.{digest}", "namespace": observed.namespace},
        "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "reportingController": f"{names.GROUP}/operator",
        "reportingInstance": instance[:128],
        "action": event.reason,
        "reason": event.reason,
        "type": str(event.type),
        "note": event.message[:MAX_NOTE],
        "regarding": {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "name": observed.name,
            "namespace": observed.namespace,
            "uid": observed.uid,
        },
    }
