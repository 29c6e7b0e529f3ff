"""The one module that talks to the Kubernetes API: plain manifests in, plain manifests out.

Used by the other adapters. It needs no discovery, because the operator knows the few kinds that it touches; a kind that
is not in KINDS cannot be touched. The trap: server-side apply makes what is missing, so it needs `create` beside
`patch`, and must never be used on what only somebody else may make (pods).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import aiohttp
from kubernetes.aio import client, config
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.dynamic import DynamicClient

from vectorfleet_operator.model import names
from vectorfleet_operator.model.observed import Manifest

FIELD_MANAGER = "vectorfleet-operator"
TIMEOUT_SECONDS = 5  # with the lease's renew deadline, less than its duration: no request outlives leadership
MERGE_PATCH, APPLY_PATCH = "application/merge-patch+json", "application/apply-patch+yaml"
NOT_FOUND, CONFLICT = 404, 409


class ApiError(Exception):
    """The API server refused (`code` as HTTP has it) or did not answer (`code` 0)."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class _Kind:
    kind: str
    plural: str
    group: str = ""
    version: str = "v1"
    namespaced: bool = True

    def path(self, namespace: str | None, *parts: str) -> str:
        root = ["apis", self.group] if self.group else ["api"]
        scope = ["namespaces", namespace] if self.namespaced and namespace else []
        return "/".join(["", *root, self.version, *scope, self.plural, *filter(None, parts)])


KINDS = {
    kind.kind: kind
    for kind in (
        _Kind(names.KIND, names.PLURAL, names.GROUP, names.VERSION),
        _Kind("StatefulSet", "statefulsets", "apps"),
        _Kind("Job", "jobs", "batch"),
        _Kind("Pod", "pods"),
        _Kind("Service", "services"),
        _Kind("ServiceAccount", "serviceaccounts"),
        _Kind("ConfigMap", "configmaps"),
        _Kind("Secret", "secrets"),
        _Kind("PodDisruptionBudget", "poddisruptionbudgets", "policy"),
        _Kind("NetworkPolicy", "networkpolicies", "networking.k8s.io"),
        _Kind("Event", "events", "events.k8s.io"),
        _Kind("Lease", "leases", "coordination.k8s.io"),
        _Kind("Node", "nodes", namespaced=False),
        _Kind("Namespace", "namespaces", namespaced=False),
    )
}


class Kubernetes:
    """An API server, with the operator's own identity."""

    def __init__(self, api: client.ApiClient) -> None:
        self._api = api
        self._dynamic = DynamicClient(api)  # type: ignore[no-untyped-call]  # the package has no types here

    @classmethod
    async def connect(cls, kubeconfig: str = "") -> Self:
        """By the service account of this pod, or by `kubeconfig` outside a cluster."""
        settings = client.Configuration()
        if kubeconfig:
            await config.load_kube_config(config_file=kubeconfig, client_configuration=settings)  # type: ignore[no-untyped-call]
        else:
            config.load_incluster_config(client_configuration=settings)  # type: ignore[no-untyped-call]
        return cls(client.ApiClient(configuration=settings))

    async def close(self) -> None:
        await self._api.close()  # type: ignore[no-untyped-call]

    async def get(self, kind: str, namespace: str | None, name: str) -> dict[str, Any] | None:
        """The object, or None."""
        try:
            return await self._request("get", kind, namespace, name)
        except ApiError as error:
            if error.code == NOT_FOUND:
                return None
            raise

    async def list(self, kind: str, namespace: str | None, label_selector: str = "") -> list[dict[str, Any]]:
        """The objects with these labels."""
        options = {"label_selector": label_selector} if label_selector else {}
        found = await self._request("get", kind, namespace, **options)
        return list(found["items"])

    async def create(self, manifest: Manifest) -> dict[str, Any]:
        """Makes the object; ApiError CONFLICT when there is one."""
        return await self._request(
            "post", manifest["kind"], manifest["metadata"]["namespace"], body=manifest, field_manager=FIELD_MANAGER
        )

    async def replace(self, manifest: Manifest) -> dict[str, Any]:
        """Replaces the object; ApiError CONFLICT when it changed since `manifest` was read."""
        metadata = manifest["metadata"]
        return await self._request("put", manifest["kind"], metadata["namespace"], metadata["name"], body=manifest)

    async def apply(self, manifest: Manifest, subresource: str = "") -> dict[str, Any]:
        """Server-side apply: these fields are the operator's from now on, whoever had them."""
        metadata = manifest["metadata"]
        return await self._request(
            "patch", manifest["kind"], metadata["namespace"], metadata["name"], subresource=subresource, body=manifest,
            content_type=APPLY_PATCH, field_manager=FIELD_MANAGER, force_conflicts="true",
        )  # fmt: skip

    async def merge_patch(self, kind: str, namespace: str, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Changes these fields of an object that exists."""
        return await self._request("patch", kind, namespace, name, body=body, content_type=MERGE_PATCH)

    async def delete(self, kind: str, namespace: str, name: str, uid: str) -> None:
        """Deletes the object with this uid; nothing happens when it is gone or another one."""
        try:
            await self._request("delete", kind, namespace, name, body={"preconditions": {"uid": uid}})
        except ApiError as error:
            if error.code not in (NOT_FOUND, CONFLICT):
                raise

    async def _request(
        self,
        method: str,
        kind: str,
        namespace: str | None,
        name: str | None = None,
        subresource: str = "",
        **options: Any,
    ) -> dict[str, Any]:
        path = KINDS[kind].path(namespace, name or "", subresource)
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
        try:
            answer = await self._dynamic.request(
                method, path, serializer=lambda _, data: data, _request_timeout=timeout, **options
            )
        except ApiException as error:
            raise ApiError(int(error.status or 0), _message(error)) from error
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise ApiError(0, f"no answer from the API server: {error or type(error).__name__}") from error
        return dict(answer)


def _message(error: ApiException) -> str:
    """What the API server said, without headers."""
    try:
        return str(json.loads(error.body or "")["message"])
    except (TypeError, KeyError, ValueError):
        return str(error.reason)
