"""What Kopf is used for: watches that wake the queue, and nothing else.

Only `on.event` handlers, which keep no state in the resources and add no finalizer of their own. The trap: our own
status patches come back as events, so an event of a collection counts only when more than its status changed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import kopf

from vectorfleet_operator.handlers.queue import Key
from vectorfleet_operator.model import names

# Pods and their StatefulSet change by themselves. Other children only change when somebody meddles with them, which the
# next regular look finds; so the operator needs no right to list them all.
CHILDREN = (("apps", "v1", "statefulsets"), ("", "v1", "pods"))


def settings() -> kopf.OperatorSettings:
    """Kopf's settings: no events and no peering of its own, watches that notice when they hang."""
    made = kopf.OperatorSettings()
    made.posting.enabled = False
    # Not our own finalizer: Kopf takes its own off whatever has no handler for deletions.
    made.persistence.finalizer = f"{names.GROUP}/unused"
    made.watching.server_timeout = 300
    made.watching.client_timeout = 310
    made.watching.connect_timeout = 10
    made.watching.inactivity_timeout = 70
    made.networking.request_timeout = 15
    made.queueing.worker_limit = 32
    made.execution.default_backoff = 5
    made.peering.standalone = True
    # Scanning lists CRDs and namespaces, which the operator has no other reason to be allowed to.
    made.scanning.disabled = True
    made.process.ultimate_exiting_timeout = None
    for child in CHILDREN:
        made.watching.label_selectors[child] = names.COLLECTION_LABEL
    return made


def registry(wake: Callable[[Key], None], kubeconfig: str) -> kopf.OperatorRegistry:
    """Handlers that wake the queue."""
    made = kopf.OperatorRegistry()
    seen: dict[str, Any] = {}

    @kopf.on.login(registry=made)
    def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_with_kubeconfig(**kwargs) if kubeconfig else kopf.login_with_service_account(**kwargs)

    @kopf.on.event(names.GROUP, names.VERSION, names.PLURAL, registry=made)
    async def collection_changed(body: kopf.Body, **_: Any) -> None:
        metadata = body["metadata"]
        state = (metadata.get("generation"), metadata.get("deletionTimestamp"), metadata.get("finalizers"))
        if seen.get(metadata["uid"]) != state:
            seen[metadata["uid"]] = state
            wake((str(metadata["namespace"]), str(metadata["name"])))

    async def child_changed(body: kopf.Body, **_: Any) -> None:
        metadata = body["metadata"]
        wake((str(metadata["namespace"]), str(metadata["labels"][names.COLLECTION_LABEL])))

    for group, version, plural in CHILDREN:
        labels = {names.COLLECTION_LABEL: kopf.PRESENT}
        kopf.on.event(group, version, plural, labels=labels, registry=made)(child_changed)
    return made
