"""Addresses and names do not clash, with each other or with the machine."""

from __future__ import annotations

import ipaddress
import itertools
import json

import pytest

from devcluster import layout, network
from devcluster.errors import DevclusterError


def test_no_two_machines_share_an_address_or_a_pod_range() -> None:
    machines = [layout.CONTROL_PLANE, *layout.nodes(layout.MAX_NODES)]
    ranges = [ipaddress.ip_network(address) for machine in machines for address in machine.addresses]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(ranges, 2))
    for machine in machines:
        assert ipaddress.ip_address(machine.address) in layout.MACHINES
        assert machine.pods is None or ipaddress.IPv4Network(machine.pods).subnet_of(layout.PODS)


def test_interface_names_fit_the_kernel() -> None:
    machines = [layout.CONTROL_PLANE, *layout.nodes(layout.MAX_NODES)]
    assert all(len(name) <= 15 for name in (layout.BRIDGE, *(machine.veth for machine in machines)))


def test_every_node_is_its_own_zone() -> None:
    assert [node.zone for node in layout.nodes(3)] == ["z1", "z2", "z3"]


@pytest.mark.parametrize(("name", "wanted"), [("n2", "n2"), ("2", "n2"), ("cp", "cp")])
def test_a_machine_can_be_called_by_name_or_number(name: str, wanted: str) -> None:
    assert layout.machine(name).name == wanted


@pytest.mark.parametrize("name", ["n0", "n10", "x", "n", ""])
def test_an_unknown_machine_is_told_what_is_allowed(name: str) -> None:
    with pytest.raises(ValueError, match=r"1 to 9|expected cp, n1"):
        layout.machine(name)


def test_a_network_that_the_machine_uses_already_is_refused_by_name() -> None:
    routes = [{"dst": "default", "dev": "eth0"}, {"dst": "10.214.7.0/24", "dev": "tun0"}]
    with pytest.raises(DevclusterError, match=r"10\.214\.0\.0/16.*10\.214\.7\.0/24 on tun0"):
        network.check_addresses_are_free(json.dumps(routes))


def test_other_networks_and_our_own_bridge_are_no_obstacle() -> None:
    routes = [{"dst": "192.0.2.0/24", "dev": "eth0"}, {"dst": str(layout.MACHINES), "dev": layout.BRIDGE}]
    network.check_addresses_are_free(json.dumps(routes))


def test_a_partition_covers_the_node_and_its_pods() -> None:
    assert "{ 10.213.0.12, 10.214.2.0/24 }" in network.cut(layout.node(2))
