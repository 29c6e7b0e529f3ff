"""Services, NetworkPolicy, PodDisruptionBudget and ServiceAccount of a fleet."""

from __future__ import annotations

from typing import Any

from vectorfleet.topology import API_PORT, HTTP_PORT, PEER_PORT
from vectorfleet_operator.model import names
from vectorfleet_operator.model.observed import Observed
from vectorfleet_operator.model.spec import VectorCollectionSpec
from vectorfleet_operator.planner.children.common import child, selector, stamped


def _port(name: str, number: int) -> dict[str, Any]:
    return {"name": name, "port": number, "targetPort": name, "protocol": "TCP"}


def service_account(observed: Observed, spec: VectorCollectionSpec) -> dict[str, Any]:
    """The pods' identity towards the cloud. It has no token: nodes have no business with the Kubernetes API."""
    account = child(observed, "ServiceAccount", names.stateful_set(observed.name), automountServiceAccountToken=False)
    return stamped(account, **spec.nodes.template.service_account.annotations)


def client_service(observed: Observed) -> dict[str, Any]:
    """Leads clients to ready nodes."""
    spec = {"selector": selector(observed), "ports": [_port("grpc", API_PORT)]}
    return child(observed, "Service", names.stateful_set(observed.name), spec=spec)


def peer_service(observed: Observed) -> dict[str, Any]:
    """Names every node, ready or not: a node must reach the others before it can be ready."""
    spec = {
        "clusterIP": "None",
        "publishNotReadyAddresses": True,
        "selector": selector(observed),
        "ports": [_port("peer", PEER_PORT), _port("http", HTTP_PORT)],
    }
    return child(observed, "Service", names.peers(observed.name), spec=spec)


def disruption_budget(observed: Observed) -> dict[str, Any]:
    """Lets evictions take one node at a time."""
    spec = {"maxUnavailable": 1, "selector": {"matchLabels": selector(observed)}}
    return child(observed, "PodDisruptionBudget", names.stateful_set(observed.name), "policy/v1", spec=spec)


def network_policy(observed: Observed) -> dict[str, Any]:
    """Clients and metrics from anywhere; peer calls from the fleet itself and the operator."""
    peers = [
        {"podSelector": {"matchLabels": selector(observed)}},
        {
            "namespaceSelector": {
                "matchLabels": {"kubernetes.io/metadata.name": observed.environment.operator_namespace}
            }
        },
    ]
    spec = {
        "podSelector": {"matchLabels": selector(observed)},
        "policyTypes": ["Ingress"],
        "ingress": [
            {"ports": [{"port": port, "protocol": "TCP"} for port in (API_PORT, HTTP_PORT)]},
            {"from": peers, "ports": [{"port": PEER_PORT, "protocol": "TCP"}]},
        ],
    }
    return child(observed, "NetworkPolicy", names.stateful_set(observed.name), "networking.k8s.io/v1", spec=spec)
