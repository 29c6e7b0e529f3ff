"""devcluster itself: what its own tests of values and files cannot show."""

from __future__ import annotations

import subprocess
import sys

from clusters import ROOT, Commands, DevCluster
from waiting import eventually

CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], 10250), timeout=1)"


def command(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "devcluster", *args], cwd=ROOT, capture_output=True, text=True, timeout=60
    )


def reaches(node: str, address: str) -> bool:
    """Whether a connection from the node to the kubelet at that address comes about."""
    enter = ["nsenter", f"--net=/run/netns/vectorfleet-{node}", sys.executable, "-c", CONNECT, address]
    return subprocess.run(enter, capture_output=True).returncode == 0


def test_the_nodes_are_in_different_zones(cluster: Commands, devcluster: DevCluster) -> None:
    zones = cluster.kubectl("get", "nodes", "-o", r"jsonpath={.items[*].metadata.labels.topology\.kubernetes\.io/zone}")
    assert sorted(zones.stdout.split()) == ["z1", "z2", "z3"]


def test_status_of_a_healthy_cluster_is_success(devcluster: DevCluster) -> None:
    told = command("status")
    assert told.returncode == 0, told.stderr
    assert "node n3: Ready" in told.stdout


def test_a_cluster_that_is_up_is_left_as_it_is(cluster: Commands, devcluster: DevCluster) -> None:
    uid = ("get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}")
    before = cluster.kubectl(*uid).stdout
    devcluster.start()
    assert cluster.kubectl(*uid).stdout == before


def test_an_unchanged_tree_keeps_its_images(devcluster: DevCluster, images: dict[str, str]) -> None:
    assert {part: devcluster.development.build_and_load(part) for part in images} == images


def test_a_partition_cuts_two_nodes_off_from_each_other_until_it_is_healed(devcluster: DevCluster) -> None:
    n2, n3 = "10.213.0.12", "10.213.0.13"
    assert reaches("n1", n2)
    assert command("partition", "n1", "n2").returncode == 0
    try:
        assert not reaches("n1", n2)
        assert reaches("n1", n3)
    finally:
        assert command("heal").returncode == 0
    eventually(lambda: reaches("n1", n2), timeout=10, what="n1 reaches n2 again")
