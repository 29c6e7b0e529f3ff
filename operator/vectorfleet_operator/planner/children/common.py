"""What all children have in common, and whether one has to be applied again.

A child is applied when its stamp (a hash of the manifest) or any field of the manifest differs from the live object:
the stamp finds what was taken out of a manifest, the comparison what somebody else changed. The trap: the API server
writes quantities in its own form, and fills in defaults, so only what the manifest says is compared.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from vectorfleet_operator.model import names
from vectorfleet_operator.model.base import amount
from vectorfleet_operator.model.observed import Manifest, Observed

STAMP = f"{names.GROUP}/applied"


def child(observed: Observed, kind: str, name: str, api_version: str = "v1", **content: Any) -> dict[str, Any]:
    """A manifest of a child of `observed`, with labels, owner and stamp."""
    manifest = {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": observed.namespace,
            "labels": names.labels(observed.name),
            "ownerReferences": [
                {
                    "apiVersion": names.API_VERSION,
                    "kind": names.KIND,
                    "name": observed.name,
                    "uid": observed.uid,
                    "controller": True,
                }
            ],
        },
        **content,
    }
    return stamped(manifest)


def stamped(manifest: Mapping[str, Any], **annotations: str) -> dict[str, Any]:
    """`manifest` with `annotations` and the hash of it all."""
    metadata = dict(manifest["metadata"])
    metadata["annotations"] = {**metadata.get("annotations", {}), **annotations}
    metadata["annotations"].pop(STAMP, None)
    content = {**manifest, "metadata": metadata}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
    return {**content, "metadata": {**metadata, "annotations": {**metadata["annotations"], STAMP: digest}}}


def selector(observed: Observed) -> dict[str, str]:
    """The label that all pods of the fleet have, and nothing but them."""
    return {names.COLLECTION_LABEL: observed.name}


def differs(live: Manifest | None, wanted: Manifest) -> bool:
    """Whether `wanted` has to be applied."""
    if live is None:
        return True
    stamps = [manifest["metadata"].get("annotations", {}).get(STAMP) for manifest in (live, wanted)]
    return stamps[0] != stamps[1] or not _contains(live, wanted)


def belongs_to(live: Manifest, uid: str) -> bool:
    """Whether the resource with this uid owns `live`."""
    return any(owner.get("uid") == uid for owner in live["metadata"].get("ownerReferences", ()))


def is_ours(live: Manifest) -> bool:
    """Whether an operator of this kind made `live`, for whatever resource."""
    return bool(live["metadata"].get("labels", {}).get(names.MANAGED_BY_LABEL) == names.MANAGED_BY)


def _contains(live: Any, wanted: Any) -> bool:
    if isinstance(wanted, Mapping):
        return isinstance(live, Mapping) and all(
            _contains(live.get(key), value) for key, value in wanted.items() if value or key in live
        )
    if isinstance(wanted, list | tuple):
        return (
            isinstance(live, list | tuple)
            and len(live) == len(wanted)
            and all(_contains(one, other) for one, other in zip(live, wanted, strict=True))
        )
    return bool(live == wanted) or _same_quantity(live, wanted)


def _same_quantity(live: Any, wanted: Any) -> bool:
    try:
        return amount(str(live)) == amount(str(wanted))
    except ValueError:
        return False
