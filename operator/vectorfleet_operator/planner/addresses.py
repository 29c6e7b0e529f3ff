"""Where the operator reaches the nodes: pods' own addresses, since cluster DNS may not be at hand where it runs."""

from __future__ import annotations

from collections.abc import Iterable

from vectorfleet.topology import PEER_PORT
from vectorfleet_operator.model.observed import Observed


def peer_address(ip: str) -> str:
    """Where a pod's Peer service listens."""
    return f"[{ip}]:{PEER_PORT}" if ":" in ip else f"{ip}:{PEER_PORT}"


def of(observed: Observed, nodes: Iterable[str]) -> tuple[str, ...]:
    """Addresses of those of `nodes` that have one."""
    wanted = set(nodes)
    return tuple(peer_address(pod.address) for pod in observed.pods if pod.name in wanted and pod.address)


def reporting(observed: Observed) -> tuple[str, ...]:
    """Addresses of the nodes that answered."""
    return of(observed, observed.reports)
