"""One bridge, and a network namespace with a cable to it for each machine. Called by `up`, `node stop` and `partition`.

Routes to every node's pods stand in every namespace, the control plane's included (kubectl exec, webhooks), and in the
root one, so that tests on this machine reach pods directly.
"""

from __future__ import annotations

import ipaddress
import json
import socket
from collections.abc import Iterable
from pathlib import Path

from devcluster import layout, mounts
from devcluster.commands import run
from devcluster.errors import DevclusterError
from devcluster.layout import Machine

PARTITION = "vectorfleet_partition"
NAMESPACES = Path("/run/netns")


def check_addresses_are_free(routes: str) -> None:
    """Raises DevclusterError if a route of this machine (`ip -j route`) overlaps with the cluster's networks."""
    for route in json.loads(routes):
        if route["dst"] == "default" or route.get("dev") == layout.BRIDGE:
            continue
        taken = ipaddress.ip_network(route["dst"], strict=False)
        for wanted in (layout.MACHINES, layout.PODS, layout.SERVICES):
            if taken.overlaps(wanted):
                raise DevclusterError(
                    f"devcluster uses {wanted}, and this machine has a route to {taken} on {route.get('dev')}"
                )


def make(machines: list[Machine]) -> None:
    """Makes the bridge and every machine's namespace, cable and routes."""
    check_addresses_are_free(run("ip", "-j", "-4", "route"))
    _ip(
        None,
        [
            f"link add {layout.BRIDGE} type bridge",
            f"addr add {layout.HOST}/{layout.MACHINES.prefixlen} dev {layout.BRIDGE}",
            f"link set {layout.BRIDGE} up",
        ],
    )
    for machine in machines:
        _plug_in(machine)
    _ip(None, [f"route add {machine.pods} via {machine.address}" for machine in machines if machine.pods])
    for machine in machines:
        others = [other for other in machines if other.pods and other != machine]
        _ip(machine, [f"route add {other.pods} via {other.address}" for other in others])


def _plug_in(machine: Machine) -> None:
    run("ip", "netns", "add", machine.netns)
    _ip(
        None,
        [
            f"link add {machine.veth} type veth peer name eth0 netns {machine.netns}",
            f"link set {machine.veth} master {layout.BRIDGE} up",
        ],
    )
    _ip(
        machine,
        [
            f"addr add {machine.address}/{layout.MACHINES.prefixlen} dev eth0",
            "link set eth0 up",
            "link set lo up",
            f"route add default via {layout.HOST}",
        ],
    )
    run("nsenter", f"--net=/run/netns/{machine.netns}", "sysctl", "-qw", "net.ipv4.ip_forward=1")


def _ip(machine: Machine | None, lines: Iterable[str]) -> None:
    where = ["-n", machine.netns] if machine else []
    run("ip", *where, "-batch", "-", stdin="\n".join(lines) + "\n")


def set_link(machine: Machine, up: bool) -> None:
    """Plugs the machine's cable in or pulls it out."""
    run("ip", "link", "set", machine.veth, "up" if up else "down")


def partition(one: Machine, other: Machine) -> None:
    """Silently drops everything between two machines and their pods, both ways. Adds to what is cut already."""
    for here, there in ((one, other), (other, one)):
        _nft(here, cut(there))


def cut(there: Machine) -> str:
    """The nftables script that makes a machine deaf to another one and its pods."""
    return f"""
table ip {PARTITION} {{
    set deaf_to {{ type ipv4_addr; flags interval; auto-merge; }}
    chain incoming {{ type filter hook prerouting priority raw; }}
}}
flush chain ip {PARTITION} incoming
add rule ip {PARTITION} incoming ip saddr @deaf_to drop
add element ip {PARTITION} deaf_to {{ {", ".join(there.addresses)} }}
"""


def heal(machines: list[Machine]) -> None:
    """Undoes every partition."""
    for machine in machines:
        _nft(machine, f"table ip {PARTITION} {{ }}\ndelete table ip {PARTITION}\n")


def _nft(machine: Machine, script: str) -> None:
    run("nsenter", f"--net=/run/netns/{machine.netns}", "nft", "-f", "-", stdin=script)


def remove() -> None:
    """Removes our namespaces, cables and the bridge, whatever is left of them."""
    for namespace in json.loads(run("ip", "-j", "netns", "list") or "[]"):
        if namespace["name"].startswith(layout.NETNS_PREFIX):
            run("ip", "netns", "delete", namespace["name"])
    if NAMESPACES.is_dir() and not any(NAMESPACES.iterdir()):
        # `ip netns add` mounts this folder onto itself, and does so again when somebody needs it.
        mounts.unmount_below(NAMESPACES)
    links = [link["ifname"] for link in json.loads(run("ip", "-j", "link", "show") or "[]") if _is_ours(link)]
    # The bridge goes last; a cable may have gone with its namespace in the meantime.
    for name in sorted(links, key=lambda name: name == layout.BRIDGE):
        run("ip", "link", "delete", name, check=False)


def _is_ours(link: dict[str, str]) -> bool:
    return layout.BRIDGE in (link["ifname"], link.get("master"))


def check_port_is_free(port: int) -> None:
    """Raises DevclusterError if a program of this machine listens on that port of the bridge's address already."""
    if accepts(layout.HOST, port):
        raise DevclusterError(
            f"port {port} is taken by another program of this machine, which listens on every address"
        )


def accepts(host: str, port: int) -> bool:
    """Whether something listens there."""
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False
