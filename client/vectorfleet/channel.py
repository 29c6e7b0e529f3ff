"""From the address a user gives to a gRPC target and its channel options. Used by both clients.

The trap: `localhost:7300` alone pins one address for ever; `dns:///` with round_robin follows a headless Service.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from vectorfleet.errors import InvalidArgument
from vectorfleet.topology import API_PORT

_SCHEMES = ("dns:", "ipv4:", "ipv6:", "unix:", "xds:", "passthrough:")


def target(address: str | Sequence[str]) -> str:
    """The gRPC target for `host`, `host:port`, several `ip:port`, or a target that is one already.

    The port defaults to 7300. Raises InvalidArgument for an empty address and for several addresses that are not IPs.
    """
    addresses = [address] if isinstance(address, str) else list(address)
    addresses = [part.strip() for item in addresses for part in _parts(item) if part.strip()]
    if not addresses:
        raise InvalidArgument("address is empty; expected host:port, e.g. localhost:7300")
    if len(addresses) == 1:
        only = addresses[0]
        return only if only.startswith(_SCHEMES) else f"dns:///{_with_port(only)}"
    versions = {_ip_version(item) for item in addresses}
    if len(versions) != 1 or None in versions:
        raise InvalidArgument(f"several addresses have to be IP addresses of one version, not {', '.join(addresses)}")
    return f"ipv{versions.pop()}:" + ",".join(_with_port(item) for item in addresses)


def _parts(item: str) -> list[str]:
    return [item] if item.startswith(_SCHEMES) else item.split(",")


def _host(address: str) -> str:
    if address.startswith("["):
        return address[1:].split("]", 1)[0]
    return address.rsplit(":", 1)[0] if address.count(":") == 1 else address


def _ip_version(address: str) -> int | None:
    try:
        return ipaddress.ip_address(_host(address)).version
    except ValueError:
        return None


def _with_port(address: str) -> str:
    if address.startswith("["):
        return address if "]:" in address else f"{address}:{API_PORT}"
    if address.count(":") > 1:
        return f"[{address}]:{API_PORT}"
    return address if ":" in address else f"{address}:{API_PORT}"


def options() -> list[tuple[str, Any]]:
    """Channel options: round robin over all addresses, pings that notice a dead peer, no limit on message size."""
    return [
        ("grpc.service_config", json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})),
        ("grpc.primary_user_agent", f"vectorfleet-python/{version('vectorfleet')}"),
        ("grpc.keepalive_time_ms", 10_000),
        ("grpc.keepalive_timeout_ms", 5_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.min_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", 3_000),
        ("grpc.dns_min_time_between_resolutions_ms", 2_000),
        ("grpc.max_receive_message_length", -1),
        ("grpc.max_send_message_length", -1),
    ]
