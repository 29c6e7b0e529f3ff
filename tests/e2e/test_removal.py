"""The last test: the cluster is removed, and the machine is as it was."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from clusters import DevCluster


def lines(*command: str) -> list[str]:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def test_a_removed_cluster_leaves_nothing_on_the_machine(
    devcluster: DevCluster, request: pytest.FixtureRequest
) -> None:
    if request.config.getoption("--keep-cluster"):
        pytest.skip("the cluster is to be kept")
    devcluster.stop()
    ours = "/var/lib/vectorfleet-devcluster"
    programs = [line for line in lines("ps", "-eo", "args") if f"{ours}/" in line]
    assert not [line for line in programs if line.startswith(f"{ours}/bin/") or "containerd-shim" in line]
    assert not [line for line in lines("cat", "/proc/self/mountinfo") if ours in line]
    assert not [line for line in lines("ip", "netns", "list") if line.startswith("vectorfleet-")]
    assert not [line for line in lines("ip", "-o", "link") if "vectorfleet0" in line]
    assert not [line for line in lines("ip", "route") if "10.213." in line]
    assert not [path for path in Path("/sys/fs/cgroup").rglob("vectorfleet") if path.is_dir()]
    assert not Path(ours).exists()
