"""Writes the CRD, its copy in the Helm chart, and the API reference: `python -m vectorfleet_operator.model.generate`.

`make generate` calls it, and `make generated` fails when what it would write was not committed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from vectorfleet_operator.model import names
from vectorfleet_operator.model.base import RULES
from vectorfleet_operator.model.openapi import Schema, published, resolved
from vectorfleet_operator.model.reference import reference
from vectorfleet_operator.model.spec import RESOURCE_RULES, VectorCollectionSpec
from vectorfleet_operator.model.status import Status

ROOT = Path(__file__).resolve().parents[3]
HEADER = "# Made by `make generate` from operator/vectorfleet_operator/model; do not edit it here.\n"
COLUMNS = (
    ("Shards", "integer", ".spec.sharding.shards", 0),
    ("Replicas", "integer", ".spec.sharding.replicas", 0),
    ("Rows", "integer", ".status.rows", 0),
    ("Ready", "string", '.status.conditions[?(@.type=="Ready")].status', 0),
    ("Reason", "string", '.status.conditions[?(@.type=="Ready")].reason', 0),
    ("Nodes", "integer", ".status.nodes.ready", 1),
    ("Operation", "string", ".status.operation.type", 1),
    ("URL", "string", ".spec.storage.url", 1),
    ("Age", "date", ".metadata.creationTimestamp", 0),
)


def resource_schema() -> Schema:
    """The schema of the whole resource, with the private keys of `openapi`."""
    return {
        "type": "object",
        "description": " ".join((VectorCollectionSpec.__doc__ or "").split()),
        "required": ["spec"],
        RULES: list(RESOURCE_RULES),
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": resolved(VectorCollectionSpec),
            "status": resolved(Status),
        },
    }


def crd(annotations: dict[str, str] | None = None) -> dict[str, Any]:
    """The CustomResourceDefinition."""
    metadata: dict[str, Any] = {"name": f"{names.PLURAL}.{names.GROUP}"}
    if annotations:
        metadata["annotations"] = annotations
    version = {
        "name": names.VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": published(resource_schema())},
        "subresources": {
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.nodes.count",
                "statusReplicasPath": ".status.nodes.count",
                "labelSelectorPath": ".status.nodes.selector",
            },
        },
        "additionalPrinterColumns": [
            {"name": name, "type": kind, "jsonPath": path, "priority": priority}
            for name, kind, path, priority in COLUMNS
        ],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": metadata,
        "spec": {
            "group": names.GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": names.KIND,
                "listKind": f"{names.KIND}List",
                "plural": names.PLURAL,
                "singular": names.SINGULAR,
                "shortNames": [names.SHORT_NAME],
                "categories": [names.CATEGORY],
            },
            "versions": [version],
        },
    }


def files() -> dict[str, str]:
    """Path below the repository's root -> contents, of everything that is made from the models."""
    kept = _yaml(crd({"helm.sh/resource-policy": "keep"}))
    if "{{" in kept:
        raise ValueError("the CRD contains '{{', which Helm would take for a template")
    return {
        f"crds/{names.GROUP}_{names.PLURAL}.yaml": HEADER + _yaml(crd()),
        "charts/vectorfleet/templates/crd.yaml": f"{HEADER}{{{{- if .Values.crds.install }}}}\n{kept}{{{{- end }}}}\n",
        "docs/reference/api.md": reference(resource_schema(), RESOURCE_RULES),
    }


class _Dumper(yaml.SafeDumper):
    """Writes shared values out instead of as YAML anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _yaml(value: Any) -> str:
    return str(yaml.dump(value, Dumper=_Dumper, sort_keys=False, width=110, allow_unicode=True))


def main() -> None:
    for path, text in files().items():
        target = ROOT / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)


if __name__ == "__main__":
    main()
