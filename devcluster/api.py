"""Just enough of an API client to wait for things, for a call of kubectl costs a tenth of a second of CPU.

Called by `up` and `status`.
"""

from __future__ import annotations

import json
import ssl
import urllib.request
from pathlib import Path
from typing import Any, cast

from devcluster import layout

TIMEOUT = 3.0


class Api:
    """The API server, asked as the user of a kubeconfig that `pki.kubeconfig` wrote."""

    def __init__(self, kubeconfig: Path, authority: Path) -> None:
        config = json.loads(kubeconfig.read_text())
        self._token = config["users"][0]["user"]["token"]
        context = ssl.create_default_context(cafile=str(authority))
        # The cluster is on this machine: a proxy set for the user has no business here.
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )

    def get(self, path: str) -> str:
        """The body of a GET. Raises OSError (which URLError is) when the server does not answer, or refuses."""
        # The scheme is that of a constant.
        request = urllib.request.Request(  # noqa: S310
            layout.API_SERVER + path, headers={"Authorization": f"Bearer {self._token}"}
        )
        with self._opener.open(request, timeout=TIMEOUT) as reply:
            return cast(bytes, reply.read()).decode()

    def is_ready(self) -> bool:
        """Whether the API server says so."""
        try:
            return self.get("/readyz") == "ok"
        except OSError:
            return False

    def ready_nodes(self) -> dict[str, bool]:
        """Whether each node is Ready, by name."""
        return {item["metadata"]["name"]: condition(item, "Ready") for item in self._items("/api/v1/nodes")}

    def is_deployed(self, namespace: str, name: str) -> bool:
        """Whether a Deployment has at least one available replica."""
        try:
            found = json.loads(self.get(f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}"))
        except OSError:
            return False
        return bool(found.get("status", {}).get("availableReplicas", 0))

    def _items(self, path: str) -> list[dict[str, Any]]:
        try:
            return cast(list[dict[str, Any]], json.loads(self.get(path))["items"])
        except OSError:
            return []


def condition(item: dict[str, Any], kind: str) -> bool:
    """Whether the object's condition of that type is True."""
    conditions = item.get("status", {}).get("conditions", [])
    return any(entry["type"] == kind and entry["status"] == "True" for entry in conditions)
