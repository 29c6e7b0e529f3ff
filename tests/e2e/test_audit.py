"""The operator may do what it does and nothing more, by the API server's audit log of all tests before this one."""

from __future__ import annotations

import json

from clusters import DevCluster
from conftest import SYSTEM

USER = f"system:serviceaccount:{SYSTEM}:vectorfleet"
RIGHTS = {"roles", "rolebindings", "clusterroles", "clusterrolebindings"}
Grant = tuple[str, str, str]


def requests(devcluster: DevCluster) -> tuple[set[Grant], set[Grant]]:
    """(group, resource, verb) that the operator was allowed, and those it was denied.

    While the chart is uninstalled its rights are gone before its pod is: what is denied then says nothing.
    """
    allowed: set[Grant] = set()
    denied: set[Grant] = set()
    removed: set[tuple[str, str]] = set()  # rights of the chart that are not there now
    with devcluster.audit_log.open() as log:
        for line in log:
            event = json.loads(line)
            reference = event.get("objectRef")
            if reference is None:
                continue
            right = (reference["resource"], reference.get("name", ""))
            if reference["resource"] in RIGHTS and right[1].startswith("vectorfleet"):
                if event["verb"] == "delete":
                    removed.add(right)
                elif event["verb"] in ("create", "patch", "update"):
                    removed.discard(right)
            if event["user"].get("username") != USER:  # none where nobody was authenticated
                continue
            resource = "/".join(filter(None, (reference["resource"], reference.get("subresource"))))
            grant = (reference.get("apiGroup", ""), resource, event["verb"])
            decision = event.get("annotations", {}).get("authorization.k8s.io/decision")
            if decision == "forbid" and removed:
                continue
            (denied if decision == "forbid" else allowed).add(grant)
            # A server-side apply of something absent is logged as a patch, and needs the right to create.
            answer = event.get("responseStatus", {})
            if event["verb"] == "patch" and answer.get("code") == 201:
                allowed.add((*grant[:2], "create"))
            if "cannot create resource" in answer.get("message", ""):
                denied.add((*grant[:2], "create"))
    return allowed, denied


def granted(devcluster: DevCluster, kubectl_json: object) -> set[Grant]:
    """Every (group, resource, verb) of the chart's roles."""
    assert isinstance(kubectl_json, dict)
    return {
        (group, resource, verb)
        for role in kubectl_json["items"]
        for rule in role["rules"]
        for group in rule.get("apiGroups", [])
        for resource in rule.get("resources", [])
        for verb in rule["verbs"]
    }


def test_every_granted_verb_was_used_and_none_was_denied(devcluster: DevCluster, operator: object) -> None:
    from clusters import Commands

    roles = json.loads(
        Commands(devcluster)
        .kubectl("get", "clusterroles,roles", "-A", "-l", "app.kubernetes.io/name=vectorfleet", "-o", "json")
        .stdout
    )
    used, denied = requests(devcluster)
    assert not denied
    assert granted(devcluster, roles) - used == set()
